"""A machine in words: the one text that names it on a command line and in an address.

    machine = part { "+" part }
    part    = what [ "*" count ] [ "(" memory ( "used" | "usable" ) ")" ]
    what    = "this" | a device of the catalog | card | host | unified
    card    = memory [ backend ] "card" [ rates ]              24 GiB card at 936 GB/s
    host    = memory DDR [ "-" MT/s ] [ "x" channels "ch" ]    128 GB DDR5-4800 x8ch
            | memory "RAM" [ "of" processor ] [ rates ]        64 GB RAM at 60 GB/s
    unified = memory [ backend ] "unified" [ rates ]           128 GiB unified at 273 GB/s
    rates   = "at" bandwidth "GB/s" [ "and" arithmetic "TFLOPS" ]

Memory is binary whether it says GB or GiB, as chips are made; bandwidth is decimal, as vendors write it. What is left
out is unknown, and what has to be assumed is said in the notes of the device. "Usable" is what a model may take in all,
where that was read and need not be assumed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from sizing.errors import BadInputError
from sizing.hardware import Device, DeviceKind
from sizing.units import GIB, MIB, TIB, format_bytes

THIS = "this"
THIS_NAMES = (THIS, "this machine")
MAX_CARDS = 15
"""llama.cpp runs one model over at most 16 backends, the host's among them (ggml-backend.cpp,
GGML_SCHED_MAX_BACKENDS)."""
MAX_TEXT_CHARACTERS = 400

DDR_SPEEDS = {
    "DDR3": 1600,
    "DDR4": 3200,
    "DDR5": 5600,
    "LPDDR4X": 4266,
    "LPDDR5": 6400,
    "LPDDR5X": 7500,
}
"""Transfers in MT/s that are assumed where only the type is named: the usual parts of each."""
DEFAULT_CHANNELS = 2
CHANNEL_BYTES = 8
"""Width of a memory channel, 64 bit (a DDR5 module's two half channels counted as one)."""

CARD_BACKENDS = ("cuda", "rocm", "vulkan", "sycl")
UNIFIED_BACKENDS = ("metal", "cuda", "rocm", "vulkan")

EXAMPLES = "'24 GiB card at 936 GB/s', '64 GB DDR5-5600 x2ch', '64 GB RAM at 60 GB/s' or '128 GiB unified at 273 GB/s'"

_UNITS = {"mib": MIB, "mb": MIB, "gib": GIB, "gb": GIB, "tib": TIB, "tb": TIB}
_MEMORY = r"(?P<size>\d{1,7}(?:\.\d{1,4})?) ?(?P<unit>[mgt]i?b)"
_BACKEND = r"(?: (?P<backend>[a-z]{1,12}))?"
_RATES = r"(?: at (?P<gb_per_s>\d{1,9}(?:\.\d{1,4})?) ?gb/s)?(?: (?:and|at) (?P<tflops>\d{1,9}(?:\.\d{1,4})?) ?tflops)?"
_CHANNELS = r"(?: ?x? ?(?P<channels>\d{1,4}) ?(?:ch|channels?|-channel))?"
_CARD = re.compile(rf"{_MEMORY}{_BACKEND} card{_RATES}")
_UNIFIED = re.compile(rf"{_MEMORY}{_BACKEND} unified(?: memory)?{_RATES}")
_RAM = re.compile(rf"{_MEMORY} ram(?: of (?P<processor>[\w .@/-]{{1,80}}?))?{_RATES}", re.IGNORECASE)
_DDR = re.compile(rf"{_MEMORY} (?P<ddr>(?:lp)?ddr\dx?)(?:-(?P<mt_per_s>\d{{1,6}}))?{_CHANNELS}")
_USED = re.compile(rf"\(\s*(?:{_MEMORY} used|used {_MEMORY.replace('size', 'size2').replace('unit', 'unit2')})\s*\)")
_USABLE = re.compile(rf"\(\s*{_MEMORY} usable\s*\)")
_BEGINS_WITH_MEMORY = re.compile(rf"{_MEMORY}\b")


@dataclass(frozen=True, slots=True)
class MachinePart:
    """One part of a machine as written: what it is, how many of it, and bytes of each that other programs hold.

    `usable_bytes` of each is what a model may take, where the text says so; then nothing is said of other programs.
    """

    name: str
    count: int = 1
    used_bytes: int = 0
    usable_bytes: int = 0

    @property
    def text(self) -> str:
        """The part as the grammar writes it: 'RTX 4090*2 (3 GiB used)'."""
        count = f"*{self.count}" if self.count > 1 else ""
        if self.usable_bytes:
            return f"{self.name}{count} ({format_gib_figure(self.usable_bytes)} GiB usable)"
        used = f" ({format_gib_figure(self.used_bytes)} GiB used)" if self.used_bytes else ""
        return f"{self.name}{count}{used}"


@dataclass(frozen=True, slots=True)
class Described:
    """A device described instead of named. Bandwidth in bytes/s and arithmetic in operations/s, None where unknown.

    `ddr` is the memory type of a host ('' where its bandwidth is given instead), `mt_per_s` its million transfers a
    second (None: the usual ones of the type), `channels` its 64-bit channels. `backend` '' takes the usual one.
    `processor` names that of a host, '' where it is unknown.
    """

    kind: DeviceKind
    memory_bytes: int
    bandwidth_bytes_per_s: float | None = None
    fp16_flops: float | None = None
    backend: str = ""
    ddr: str = ""
    mt_per_s: int | None = None
    channels: int = DEFAULT_CHANNELS
    processor: str = ""

    def __post_init__(self) -> None:
        most = {DeviceKind.GPU: 1024, DeviceKind.UNIFIED: 4096, DeviceKind.CPU: 65_536}[self.kind]
        what = {DeviceKind.GPU: "a card", DeviceKind.UNIFIED: "unified memory", DeviceKind.CPU: "RAM"}[self.kind]
        if not 0.25 * GIB <= self.memory_bytes <= most * GIB:
            raise BadInputError(f"{what} wants 0.25 to {most:,} GiB, got {self.memory_bytes / GIB:,g} GiB")
        for name, value, top in (
            ("bandwidth", self.bandwidth_bytes_per_s, 1e14),
            ("arithmetic", self.fp16_flops, 1e17),
        ):
            if value is not None and not 0 < value <= top:
                unit, step = ("GB/s", 1e9) if name == "bandwidth" else ("TFLOPS", 1e12)
                raise BadInputError(
                    f"{what}: {name} wants more than 0 and at most {top / step:,.0f} {unit}, or nothing where it is "
                    f"unknown; got {value / step:g}"
                )
        known = CARD_BACKENDS if self.kind is DeviceKind.GPU else UNIFIED_BACKENDS
        if self.backend and (self.kind is DeviceKind.CPU or self.backend not in known):
            raise BadInputError(f"{what} wants one of {', '.join(known)} before its kind, got {self.backend!r}")
        if self.ddr and self.ddr not in DDR_SPEEDS:
            raise BadInputError(f"RAM wants one of {', '.join(DDR_SPEEDS)}, got {self.ddr!r}")
        if self.mt_per_s is not None and not 200 <= self.mt_per_s <= 20_000:
            raise BadInputError(f"{self.ddr} wants 200 to 20,000 MT/s, got {self.mt_per_s:,}")
        if not 1 <= self.channels <= 32:
            raise BadInputError(f"RAM wants 1 to 32 channels, got {self.channels:,}")

    @property
    def text(self) -> str:
        """The device as the grammar writes it."""
        size = format_gib_figure(self.memory_bytes)
        if self.ddr:
            speed = f"-{self.mt_per_s}" if self.mt_per_s else ""
            channels = f" x{self.channels}ch" if self.channels != DEFAULT_CHANNELS else ""
            return f"{size} GB {self.ddr}{speed}{channels}"
        kind = {DeviceKind.GPU: "card", DeviceKind.UNIFIED: "unified", DeviceKind.CPU: "RAM"}[self.kind]
        backend = f"{self.backend} " if self.backend else ""
        rates = f" at {_write_rate(self.bandwidth_bytes_per_s / 1e9)} GB/s" if self.bandwidth_bytes_per_s else ""
        if self.fp16_flops:
            rates += f" {'and' if rates else 'at'} {_write_rate(self.fp16_flops / 1e12)} TFLOPS"
        unit = "GB" if self.kind is DeviceKind.CPU else "GiB"
        processor = f" of {self.processor}" if self.processor else ""
        return f"{size} {unit} {backend}{kind}{processor}{rates}"

    def build(self) -> Device:
        """The device, with what is assumed about it in its notes."""
        build = {DeviceKind.CPU: _build_host, DeviceKind.GPU: _build_card, DeviceKind.UNIFIED: _build_unified}
        return build[self.kind](self)


def format_gib_figure(n_bytes: int) -> str:
    """Bytes in GiB as the grammar writes them: whole where they are whole, never an exponent.

    >>> format_gib_figure(64 * GIB), format_gib_figure(3 * GIB // 2)
    ('64', '1.5')
    """
    return f"{n_bytes / GIB:.4f}".rstrip("0").rstrip(".")


def _write_rate(figure: float) -> str:
    """A rate with at most the four decimals that are read, never zero."""
    return f"{max(figure, 0.0001):.4f}".rstrip("0").rstrip(".")


def read_parts(text: str) -> tuple[MachinePart, ...]:
    """The parts of a machine's text, not looked up yet. Raises BadInputError naming what cannot be read.

    >>> [p.text for p in read_parts("2 x RTX 3090 (1 GiB used) + 64 GB DDR5")]
    ['RTX 3090*2 (1 GiB used)', '64 GB DDR5']
    """
    if len(text) > MAX_TEXT_CHARACTERS:
        raise BadInputError(f"a machine's name has at most {MAX_TEXT_CHARACTERS} characters, got {len(text):,}")
    parts = re.split(r"(?<!max)\+", text, flags=re.IGNORECASE)  # "Ryzen AI Max+ 395" is one name
    return tuple(_read_part(part, text) for part in parts)


def write_parts(parts: Sequence[MachinePart]) -> str:
    """The text of a machine; neighbours that are the same are counted together.

    >>> write_parts([MachinePart("RTX 3090"), MachinePart("RTX 3090"), MachinePart("64 GB DDR5-5600")])
    'RTX 3090*2 + 64 GB DDR5-5600'
    """
    merged: list[MachinePart] = []
    for part in parts:
        if merged and replace(merged[-1], count=part.count) == part:
            merged[-1] = replace(part, count=part.count + merged[-1].count)
        else:
            merged.append(part)
    return " + ".join(part.text for part in merged)


def read_described(text: str) -> Described | None:
    """The device a text describes, None where it describes none. Raises BadInputError for a figure out of range.

    >>> read_described("128 GB DDR5-4800 x8ch").build().bandwidth_bytes_per_s / 1e9
    307.2
    """
    folded = " ".join(text.casefold().split())
    if match := _DDR.fullmatch(folded):
        return Described(
            DeviceKind.CPU,
            _read_memory(match),
            ddr=match["ddr"].upper(),
            mt_per_s=int(match["mt_per_s"]) if match["mt_per_s"] else None,
            channels=int(match["channels"] or DEFAULT_CHANNELS),
        )
    for kind, pattern in ((DeviceKind.GPU, _CARD), (DeviceKind.UNIFIED, _UNIFIED), (DeviceKind.CPU, _RAM)):
        if match := pattern.fullmatch(folded if kind is not DeviceKind.CPU else " ".join(text.split())):
            return Described(
                kind,
                _read_memory(match),
                bandwidth_bytes_per_s=float(match["gb_per_s"]) * 1e9 if match["gb_per_s"] else None,
                fp16_flops=float(match["tflops"]) * 1e12 if match["tflops"] else None,
                backend=match.groupdict().get("backend") or "",
                processor=match.groupdict().get("processor") or "",
            )
    return None


def looks_described(text: str) -> bool:
    """Whether a text begins as a description does, with memory: then the grammar helps more than near names."""
    return _BEGINS_WITH_MEMORY.match(text.strip().casefold()) is not None


def hold_used(device: Device, used_bytes: int) -> Device:
    """The device with `used_bytes` held by other programs. Raises BadInputError where nothing would be left."""
    if not used_bytes:
        return device
    if used_bytes >= device.usable_bytes:
        raise BadInputError(
            f"{device.name} has {format_bytes(device.usable_bytes)} usable and {format_bytes(used_bytes)} of it is "
            "said to be used: nothing is left; give less or leave the device out"
        )
    note = f"{format_bytes(used_bytes)} is held by other programs, as given"
    return replace(device, usable_bytes=device.usable_bytes - used_bytes, notes=(*device.notes, note))


def set_usable(device: Device, usable_bytes: int) -> Device:
    """The device with as much for a model as was given. Raises BadInputError for more than it has."""
    if not usable_bytes:
        return device
    if usable_bytes > device.memory_bytes:
        raise BadInputError(
            f"{device.name} has {format_bytes(device.memory_bytes)} and {format_bytes(usable_bytes)} of it is said to "
            "be usable; give less"
        )
    notes = tuple(n for n in device.notes if not n.startswith("assumed:") or "memory" not in n)
    return replace(device, usable_bytes=usable_bytes, notes=(*notes, f"{format_bytes(usable_bytes)} usable, as given"))


def system_reserve_bytes(memory_bytes: int) -> int:
    """What a host described or listed leaves to its system: a tenth, at least 3 GiB and at most 16, never over half.

    The rule of the listed hosts (catalog/data/hardware.md), so that the same RAM is the same however it is named.
    """
    return min(min(max(memory_bytes // 10, 3 * GIB), 16 * GIB), memory_bytes // 2)


def _build_host(told: Described) -> Device:
    notes = ["assumed: a tenth of the memory, 3 to 16 GiB, stays with the system"]
    bandwidth = told.bandwidth_bytes_per_s
    if told.ddr:
        speed = told.mt_per_s or DDR_SPEEDS[told.ddr]
        bandwidth = float(told.channels * CHANNEL_BYTES * speed * 1_000_000)
        channels = "1 channel" if told.channels == 1 else f"{told.channels} channels"
        assumed = "" if told.mt_per_s else " (assumed)"
        notes.append(f"{channels} of 64 bit at {speed} MT/s{assumed}: peak of the memory, not of a program")
    elif bandwidth is None:
        notes.append("memory bandwidth unknown: write for instance 64 GB DDR5-5600 instead of 64 GB RAM")
    size = format_gib_figure(told.memory_bytes)
    return Device(
        name=told.text if told.ddr else told.processor or f"{size} GB RAM",
        kind=DeviceKind.CPU,
        memory_bytes=told.memory_bytes,
        usable_bytes=told.memory_bytes - system_reserve_bytes(told.memory_bytes),
        bandwidth_bytes_per_s=bandwidth,
        fp16_flops=told.fp16_flops,
        notes=tuple(notes),
        memory_type="" if not told.ddr else "lpddr" if told.ddr.startswith("LP") else "ddr",
    )


def _build_card(told: Described) -> Device:
    backend = told.backend or CARD_BACKENDS[0]
    notes = ["assumed: 2% of the card's memory stays with the driver"]
    if not told.backend:
        notes.append(f"assumed: the card runs {backend}; say rocm, vulkan or sycl before 'card' where it does not")
    notes += _say_unknown(told, "the card")
    return Device(
        name=f"{format_gib_figure(told.memory_bytes)} GiB card",
        kind=DeviceKind.GPU,
        memory_bytes=told.memory_bytes,
        usable_bytes=int(told.memory_bytes * 0.98),
        bandwidth_bytes_per_s=told.bandwidth_bytes_per_s,
        fp16_flops=told.fp16_flops,
        backend=backend,
        notes=tuple(notes),
    )


def _build_unified(told: Described) -> Device:
    small = told.memory_bytes <= 36 * GIB
    share = "two thirds" if small else "three quarters"
    notes = [f"assumed: {share} of unified memory is the accelerator's working set, as on a Mac of this size"]
    notes += _say_unknown(told, "the memory")
    return Device(
        name=f"{format_gib_figure(told.memory_bytes)} GiB unified",
        kind=DeviceKind.UNIFIED,
        memory_bytes=told.memory_bytes,
        usable_bytes=told.memory_bytes * 2 // 3 if small else told.memory_bytes * 3 // 4,
        bandwidth_bytes_per_s=told.bandwidth_bytes_per_s,
        fp16_flops=told.fp16_flops,
        backend=told.backend or UNIFIED_BACKENDS[0],
        notes=tuple(notes),
    )


def _say_unknown(told: Described, what: str) -> list[str]:
    return [] if told.bandwidth_bytes_per_s else [f"the bandwidth of {what} is unknown, so no speed is shown"]


def _read_memory(match: re.Match[str]) -> int:
    return int(float(match["size"]) * _UNITS[match["unit"].casefold()])


def _read_part(part: str, text: str) -> MachinePart:
    name, used_bytes, usable_bytes = part.strip(), 0, 0
    if match := _USABLE.search(name.casefold()):
        usable_bytes = _read_memory(match)
        name = f"{name[: match.start()].strip()}{name[match.end() :].strip()}"
    elif match := _USED.search(name.casefold()):
        size, unit = match["size"] or match["size2"], match["unit"] or match["unit2"]
        used_bytes = int(float(size) * _UNITS[unit])
        name = f"{name[: match.start()].strip()}{name[match.end() :].strip()}"
    elif re.search(r"\([^)]*(used|free|[gm]i?b)", name.casefold()):
        raise BadInputError(f"memory in use is written (3 GiB used) or (20 GiB usable), got {part.strip()!r}")
    if match := re.match(r"(\d{1,9})\s*[x×]\s*(?=\S)", name):  # "2 x RTX 3090", as people say it
        name = f"{name[match.end() :]}*{match[1]}"
    number = "1"
    if "*" in name:
        name, _, number = name.rpartition("*")
        name = name.strip()
    if not name or not re.fullmatch(r"\s*-?\d{1,9}\s*", number):
        raise BadInputError(f'a machine wants "this", NAME, NAME*N, a described part, or these with +, got {text!r}')
    count = int(number)
    if not 1 <= count <= MAX_CARDS:
        raise BadInputError(f"a machine wants 1 to {MAX_CARDS} cards of a kind, got {count} in {text!r}")
    return MachinePart(name, count, used_bytes, usable_bytes)
