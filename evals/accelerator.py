"""Formulas against accelerators: ghosts loaded for real on this machine's cards, every buffer and speed compared.

Each case has a child process of its own (`evals.bench_child`), so that what the driver takes for it can be told apart.
A ghost of the model is loaded as llama-server would load it; llama.cpp's log and its bytes by buffer type give the
buffers of every device, the driver what the process holds on each card, and the bench's own clock the speeds.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from evals.accelerator_plan import CONTEXT_TOKENS, Case
from evals.bench import CHILD_COMMAND, Session, count_threads
from evals.bench_result import Measurement, Skipped
from evals.bench_room import BenchPlan, estimate_workload
from evals.buffer_log import read_buffers, read_copies, read_parts
from evals.dry_run import DryRunFailure, EngineChild, ask_tensor_types, list_context_params
from evals.ghost import Ghost, NoRoom, open_ghost
from evals.turn import hold_turn
from evals.weigh import count_tensor_bytes, group_weight_bytes
from evals.weightless import ALIGNMENT
from sizing.architectures import TensorInfo
from sizing.errors import EngineError
from sizing.estimate import Estimate
from sizing.hardware import Device, Machine
from sizing.memory import Parts, WeightBytes
from sizing.placement import Offload
from sizing.quants import GGML_TYPES, find_quant
from sizing.specs import ModelSpec
from sizing.tensor_groups import INPUT_TENSORS
from sizing.tensors import list_tensors
from sizing.throughput import Interval
from sizing.units import GIB
from sizing.workload import Workload

DRIVER_COMMAND = (*CHILD_COMMAND, "--drivers")

LOAD_TIMEOUT_S = 1200.0
"""A large ghost is read through the page cache and sent over the link: minutes on a slow one."""

DRIVER_HOST_BYTES = 8 * GIB
"""Private memory of the host that a driver, its libraries and pinned buffers may take beside the model's own."""

DEEP_TOKENS = 4096
PREFILL_TOKENS = 512
WARM_UP_TOKENS = 64

BACKENDS = {"cuda": "cuda", "rocm": "rocm", "hip": "rocm", "vulkan": "vulkan", "mtl": "metal", "metal": "metal"}
BACKENDS |= {"sycl": "sycl", "rpc": "rpc"}
"""Names of ggml's registries, in lower case, and what this project calls them."""

BUILD_FLAGS = {"cuda": "GGML_CUDA", "rocm": "GGML_HIP", "vulkan": "GGML_VULKAN", "metal": "GGML_METAL"}
BUILD_FLAGS |= {"sycl": "GGML_SYCL"}

ROW_PADDING = 512
"""Elements that CUDA pads the last row of a quantized matrix to (ggml-cuda/common.cuh, MATRIX_ROW_PADDING); ROCm is
built from the same files."""

CARD_ALIGNMENT = 128
"""Bytes every tensor starts on in a card's buffer (ggml-cuda.cu, `ggml_backend_cuda_buffer_type_get_alignment`)."""

_LAYER = re.compile(r"blk\.(\d+)\.(.*)")


@dataclass(frozen=True, slots=True)
class CardReading:
    """What a driver tells of one card: its PCI address ('' unknown), bytes taken by all, and by the process if told."""

    bus_id: str
    used_bytes: int
    process_bytes: int | None = None


ReadCards = Callable[[int | None], Sequence[CardReading]]
"""Reads all cards; the argument is the process to look for."""


@dataclass(frozen=True, slots=True)
class EngineDevice:
    """An accelerator as llama.cpp names it: 'CUDA0', the card's own name, the backend as this project calls it."""

    name: str
    description: str
    backend: str
    free_bytes: int
    total_bytes: int
    bus_id: str


@dataclass(frozen=True, slots=True)
class Engine:
    """What is installed: llama-cpp-python's version, the features it was built with, the accelerators it reaches."""

    version: str
    features: str
    devices: tuple[EngineDevice, ...]


@dataclass(frozen=True, slots=True)
class Timed:
    """One speed beside its estimate (None where a rate of the machine is unknown), in tokens/s."""

    measurement: Measurement
    estimate: Interval | None


@dataclass(frozen=True, slots=True)
class CaseResult:
    """One case measured. Tuples over devices begin with the host; `loaded_bytes` and `worked_bytes` are over cards.

    `parts` is what llama.cpp allocated for the context, `grown_parts` after the work was done. `loaded_bytes` is what
    the driver booked to the process once loaded, `worked_bytes` after the work, None where it does not tell.
    `n_copies` is above one where batches are pipelined. `heaviest_bytes` is the heaviest layer on the host, or its
    routed experts where only they are there, `largest_tensor_bytes` the largest matrix among them; 0 without any.
    `padding_bytes` is the most a card's alignment and padding can add to this model. `mapped_bytes` is the stretch
    of the file from the first tensor of the host to the last, with what was reordered for the processor beside it; 0
    where weights of the host are not pages of the file.
    """

    case: Case
    workload: Workload
    estimate: Estimate
    parts: tuple[Parts, ...]
    grown_parts: tuple[Parts, ...]
    loaded_bytes: tuple[int | None, ...]
    worked_bytes: tuple[int | None, ...]
    n_copies: int
    heaviest_bytes: int
    largest_tensor_bytes: int
    padding_bytes: int
    mapped_bytes: int
    timed: tuple[Timed, ...]
    skipped: tuple[Skipped, ...]
    load_s: float
    is_finite: bool


@dataclass(frozen=True, slots=True)
class CaseFailure:
    """One case without an answer, and why in one line."""

    case: Case
    message: str


@dataclass(frozen=True)
class Place:
    """Where cases are run: the machine as the engine sees it, and how its drivers are read.

    `endpoints` are devices served elsewhere, which take the place of cards. `home` is where ghosts are written. `full`
    fills them with random values: a card that is held back by its power limit multiplies zeros faster than values.
    """

    machine: Machine
    devices: tuple[EngineDevice, ...]
    home: Path
    read_cards: ReadCards
    max_seconds: float = 120.0
    repetitions: int = 5
    endpoints: tuple[str, ...] = ()
    context_tokens: int = CONTEXT_TOKENS
    full: bool = False
    progress: Callable[[str], None] = field(default=lambda said: None)


def find_engine(endpoints: Sequence[str] = ()) -> Engine:
    """The installed llama.cpp and its accelerators. Raises EngineError when there is none to ask.

    As llama.cpp does, graphics that share the processor's memory count only where there is no card.
    """
    with EngineChild(DRIVER_COMMAND) as child:
        child.endpoints = tuple(endpoints)
        about = child.ask({"kind": "about"})
        listed = about if isinstance(about, DryRunFailure) else child.ask({"kind": "list_devices"})
    if isinstance(about, DryRunFailure) or isinstance(listed, DryRunFailure):
        failure = about if isinstance(about, DryRunFailure) else listed
        raise EngineError(failure.message if isinstance(failure, DryRunFailure) else "no answer")
    by_type: dict[str, list[EngineDevice]] = {}
    for d in listed["devices"]:
        backend = BACKENDS.get(re.sub(r"\d+.*", "", d["backend"]).lower(), d["backend"].lower())
        # devices over RPC are counted anew on each server, and so are their buffers, which name the server
        name = f"RPC0[{d['description']}]" if backend == "rpc" else d["name"]
        device = EngineDevice(name, d["description"], backend, d["free_bytes"], d["total_bytes"], d["id"].lower())
        by_type.setdefault(d["type"], []).append(device)
    devices = by_type.get("gpu") or by_type.get("igpu") or []
    return Engine(about["llama_cpp_python"], about["features"].strip(" |"), tuple(devices))


def explain_lack(engine: Engine, machine: Machine) -> str | None:
    """Why nothing can be tried here and what to do, in one line; None where there is an accelerator to try."""
    if engine.devices:
        return None
    if not machine.accelerators:
        return (
            "no accelerator was found on this machine; run this on one with a card and its driver, and with "
            f"llama-cpp-python built for it: {say_how_to_build('cuda', engine.version)}"
        )
    card = machine.accelerators[0]
    return (
        f"{card.name} is here, but the installed llama-cpp-python reaches no accelerator; build it anew: "
        f"{say_how_to_build(card.backend, engine.version)}"
    )


def say_how_to_build(backend: str, version: str) -> str:
    """The command that builds llama-cpp-python for a backend. A cached wheel would be taken whatever its flags are."""
    flag = BUILD_FLAGS.get(backend, BUILD_FLAGS["cuda"])
    return (
        f'CMAKE_ARGS="-D{flag}=ON -DGGML_RPC=ON" pip install --no-cache-dir --force-reinstall '
        f"--no-binary llama-cpp-python llama-cpp-python=={version}"
    )


def match_machine(machine: Machine, devices: Sequence[EngineDevice]) -> Machine:
    """The machine with the accelerators that llama.cpp uses, in its order and with the memory it finds free.

    Rates come from the detected card of the same name; where names differ but as many were detected, from the card at
    the same place. Raises EngineError for an accelerator that was not detected.
    """
    left = list(machine.accelerators)
    by_place = dict(enumerate(left)) if len(left) == len(devices) else {}
    cards = []
    for i, device in enumerate(devices):
        wanted = _fold(device.description)
        card = next((c for c in left if wanted and wanted == _fold(c.name)), by_place.get(i))
        if card is None:
            raise EngineError(
                f"llama.cpp offers {device.description or device.name!r}, which the detection of this machine did not "
                "find; see: python -m catalog detect"
            )
        if card in left:
            left.remove(card)
        if machine.is_unified:
            cards.append(replace(card, backend=device.backend))
            continue
        total = max(device.total_bytes, device.free_bytes, 1)
        cards.append(
            replace(
                card, backend=device.backend, memory_bytes=total, usable_bytes=min(device.free_bytes, total), notes=()
            )
        )
    return replace(machine, accelerators=tuple(cards), calibrations=())


def _fold(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", " ", name.lower()).replace("nvidia ", "").strip()


def measure_cases(cases: Sequence[Case], place: Place) -> Iterator[CaseResult | CaseFailure]:
    """Every case in turn, answered as it is done. Raises EngineError while another bench holds this machine."""
    with hold_turn(place.home) as mine:
        if not mine:
            raise EngineError("another bench or evaluation is running on this machine; wait for its end")
        for n, case in enumerate(cases, start=1):
            place.progress(f"[{n}/{len(cases)}] {case.name}")
            yield measure_case(case, place)


def measure_case(case: Case, place: Place) -> CaseResult | CaseFailure:
    """Load one ghost, read what it took, time it."""
    with EngineChild() as engine:
        types = ask_tensor_types(case.spec, [find_quant(case.quant)], engine)
    if isinstance(types, DryRunFailure):
        return CaseFailure(case, types.message)
    by_name = types[case.quant]
    before = place.read_cards(None)
    opened = open_ghost(case.spec, by_name, place.home / "ghosts", full=place.full)
    with opened as ghost, EngineChild(DRIVER_COMMAND) as child:
        if isinstance(ghost, NoRoom):
            return CaseFailure(case, ghost.message)
        child.endpoints = place.endpoints
        return _measure(case, place, child, ghost, by_name, before)


def _measure(
    case: Case,
    place: Place,
    child: EngineChild,
    ghost: Ghost,
    types: Mapping[str, str],
    before: Sequence[CardReading],
) -> CaseResult | CaseFailure:
    spec = case.spec
    weights = group_weight_bytes(case.quant, list_tensors(spec), types, spec.n_layers, spec.architecture)
    workload = Workload(min(place.context_tokens, spec.context_tokens))
    guess = estimate_workload(spec, weights, workload, place.machine, case.offload)
    opened = child.ask(_list_open_params(case, place, ghost, workload, guess), LOAD_TIMEOUT_S)
    if isinstance(opened, DryRunFailure):
        return CaseFailure(case, opened.message)
    loaded = read_held(before, place.read_cards(child.pid), place.devices)
    plan = BenchPlan((0,), min(PREFILL_TOKENS, workload.n_ctx_tokens), place.repetitions, place.max_seconds)
    session = Session(child, plan, time.monotonic() + place.max_seconds, place.progress)
    _time_everything(case, session, workload)
    grown = session.ask({"kind": "buffers"})
    worked = read_held(before, place.read_cards(child.pid), place.devices)
    if session.failure is not None:  # what was read before it ended is told all the same
        session.skip("anything further", 0, session.failure.message)
        worked = (None,) * len(loaded)
    parts, grown_parts = _read_all_parts(place, opened, grown)
    return CaseResult(
        case=case,
        workload=workload,
        estimate=guess,
        parts=parts,
        grown_parts=grown_parts,
        loaded_bytes=loaded,
        worked_bytes=worked,
        n_copies=read_copies(opened["log"]),
        heaviest_bytes=_find_heaviest_bytes(case, weights),
        largest_tensor_bytes=_find_largest_tensor_bytes(case, types),
        padding_bytes=count_padding(list_tensors(spec), types),
        mapped_bytes=_count_mapped_bytes(case, types, opened["log"]),
        timed=tuple(
            Timed(m, estimate_tried_speed(m.kind, count_speed_tokens(m), spec, weights, place.machine, case.offload))
            for m in session.measurements
        ),
        skipped=tuple(session.skipped),
        load_s=opened["seconds"],
        is_finite=session.finite,
    )


def _read_all_parts(
    place: Place, opened: Mapping[str, Any], grown: Mapping[str, Any] | None
) -> tuple[tuple[Parts, ...], tuple[Parts, ...]]:
    """Bytes by device after loading, and after the work."""
    names = [d.name for d in place.devices]
    parts = read_parts(opened["log"], opened["breakdown"], names)
    after = read_parts(opened["log"] + grown["log"], grown["breakdown"], names) if grown else parts
    return ((_pool(parts),), (_pool(after),)) if place.machine.is_unified else (parts, after)


def _list_open_params(case: Case, place: Place, ghost: Ghost, workload: Workload, guess: Estimate) -> dict[str, Any]:
    host = guess.memory.devices[0].parts
    offload = case.offload
    return {
        "kind": "open",
        "path": ghost.path,
        "unlink": ghost.unlink,
        "n_threads": count_threads(place.machine),
        "n_gpu_layers": offload.gpu_layers,
        "tensor_split": list(offload.tensor_split or ()),
        "expert_layers": list(range(min(offload.cpu_moe or 0, case.spec.n_layers))),
        "copy": False,
        "resident_limit_bytes": host.total_bytes + DRIVER_HOST_BYTES,
        **list_context_params(workload),
    }


def _time_everything(case: Case, session: Session, workload: Workload) -> None:
    """Decode at no depth, prefill of one batch, decode deep: what there is time and room for."""
    warm = session.ask({"kind": "warm_up", "n_tokens": WARM_UP_TOKENS})
    if warm is None:
        return
    token_s = float(warm["decode_seconds"])
    if not session.lacks_time("decode", 0, 5 * token_s):
        session.measure_decode(0, token_s, 0.3, copy=False)
    batch_s = float(warm["prefill_seconds"]) * session.plan.prefill_tokens / int(warm["n_tokens"])
    if not session.lacks_time("prefill", 0, batch_s):
        found = session.measure("prefill", 0, session.plan.prefill_tokens, session.left_s * 0.4, "empty")
        batch_s = min(found.seconds) if found else batch_s
    deep = DEEP_TOKENS
    if deep + 256 > workload.n_ctx_tokens:
        session.skip("decode", deep, f"the context holds {workload.n_ctx_tokens:,} tokens")
    elif not session.lacks_time("decode", deep, batch_s * deep / session.plan.prefill_tokens + 10 * token_s):
        session.measure_decode(deep, token_s, 0.8, copy=False)


def count_speed_tokens(m: Measurement) -> int:
    """The tokens a speed belongs to: those of the prompt, or those in the cache before decoding."""
    return m.n_tokens if m.kind == "prefill" else m.depth_tokens


def estimate_tried_speed(
    kind: str, n_tokens: int, spec: ModelSpec, weights: WeightBytes, machine: Machine, offload: Offload
) -> Interval | None:
    """The estimate of just what was timed: a prompt of `n_tokens`, or a cache that is half full with them."""
    workload = Workload(n_tokens if kind == "prefill" else max(2 * n_tokens, 256))
    speed = estimate_workload(spec, weights, workload, machine, offload).speed
    if speed is None:
        return None
    return speed.prefill_tokens_per_s if kind == "prefill" else speed.decode_tokens_per_s


def read_held(
    before: Sequence[CardReading], now: Sequence[CardReading], devices: Sequence[EngineDevice]
) -> tuple[int | None, ...]:
    """Bytes the process holds on each device: as its driver books them, else what is taken now and was not before.

    Cards are told apart by their PCI address; where that is unknown, by their order if there are as many.
    """
    out: list[int | None] = []
    for i, device in enumerate(devices):
        at = next((k for k, card in enumerate(now) if card.bus_id and card.bus_id == device.bus_id), None)
        if at is None and len(now) == len(devices) and not (device.bus_id and now[i].bus_id):
            at = i
        if at is None:
            out.append(None)
        elif now[at].process_bytes is not None:
            out.append(now[at].process_bytes)
        else:
            out.append(now[at].used_bytes - before[at].used_bytes if at < len(before) else None)
    return tuple(out)


def _pool(parts: Sequence[Parts]) -> Parts:
    """Everything added up: host and accelerator share one memory."""
    return Parts(
        sum(p.weight_bytes for p in parts),
        sum(p.kv_cache_bytes for p in parts),
        sum(p.recurrent_state_bytes for p in parts),
        sum(p.compute_bytes for p in parts),
        sum(p.output_bytes for p in parts),
    )


def _is_on_host(tensor: TensorInfo, case: Case) -> bool:
    """Whether a tensor of a layer stays on the host in this placement: with its layer, or as one of its experts."""
    found = _LAYER.match(tensor.name)
    if found is None:
        return False
    first = case.spec.n_layers + 1 - (case.offload.gpu_layers or 0)
    return int(found[1]) < first or (int(found[1]) < (case.offload.cpu_moe or 0) and "_exps" in found[2])


def _find_largest_tensor_bytes(case: Case, types: Mapping[str, str]) -> int:
    """The largest matrix of a layer that stays on the host; 0 for none."""
    kept = (t for t in list_tensors(case.spec) if len(t.shape) > 1 and _is_on_host(t, case))
    return max((count_tensor_bytes(t, types[t.name]) for t in kept), default=0)


def _count_mapped_bytes(case: Case, types: Mapping[str, str], log: str) -> int:
    """What the host's weights may show as: a stretch of the file and what was reordered beside it; 0 if not mapped."""
    sizes = {b.name: b.n_bytes for b in read_buffers(log) if b.part == "model"}
    return find_stretch_bytes(case, types) + sizes.get("CPU_REPACK", 0) if "CPU_Mapped" in sizes else 0


def _find_heaviest_bytes(case: Case, weights: WeightBytes) -> int:
    first = case.spec.n_layers + 1 - (case.offload.gpu_layers or 0)
    if first > 0:
        return max(weights.layer_bytes[:first])
    return max(weights.layer_expert_bytes[: case.offload.cpu_moe or 0], default=0)


def find_stretch_bytes(case: Case, types: Mapping[str, str]) -> int:
    """The bytes of the ghost from the first tensor that stays on the host to the end of the last one."""
    first = end = at = 0
    for tensor in list_tensors(case.spec):
        n_bytes = count_tensor_bytes(tensor, types[tensor.name])
        if tensor.name in INPUT_TENSORS or _is_on_host(tensor, case):
            first, end = (first, at + n_bytes) if end else (at, at + n_bytes)
        at += -(-n_bytes // ALIGNMENT) * ALIGNMENT
    return end - first


def count_padding(tensors: Sequence[TensorInfo], types: Mapping[str, str]) -> int:
    """The most that a card's buffers hold beyond the tensors: rows filled up (`ROW_PADDING`), places aligned."""
    total = 0
    for tensor in tensors:
        kind = GGML_TYPES[types[tensor.name]]
        missing = -tensor.shape[0] % ROW_PADDING if kind.block_elements > 1 else 0
        total += -(-missing // kind.block_elements) * kind.block_bytes + CARD_ALIGNMENT
    return total


def name_cards(cards: Sequence[Device]) -> str:
    """The cards in words: 'NVIDIA RTX A6000', '2 x RTX 3090'."""
    names = dict.fromkeys(d.name for d in cards)
    return " + ".join(f"{n} x {name}" if (n := sum(d.name == name for d in cards)) > 1 else name for name in names)
