"""Reading a machine's own description, part by part: pure functions over text and over a file tree given as a folder.

Nothing here raises for what is absent or odd: it answers None, or leaves the part out. Trees of /proc and /sys are
given by their root, so that a test can lay out any machine.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from sizing.units import GIB, KIB

INSTRUCTION_SETS: Mapping[str, str] = {
    "sse4_2": "SSE4.2",
    "avx": "AVX",
    "f16c": "F16C",
    "fma": "FMA",
    "avx2": "AVX2",
    "avx_vnni": "AVX-VNNI",
    "avx512f": "AVX-512",
    "avx512_vnni": "AVX512-VNNI",
    "avx512_bf16": "AVX512-BF16",
    "amx_int8": "AMX-INT8",
    "amx_bf16": "AMX-BF16",
    "asimd": "NEON",
    "asimddp": "DOTPROD",
    "i8mm": "I8MM",
    "bf16": "BF16",
    "sve": "SVE",
    "sve2": "SVE2",
    "sme": "SME",
}
"""Flags of /proc/cpuinfo that llama.cpp's CPU code is built for (ggml/CMakeLists.txt), and their usual names."""

INTEL_ARC_NAMES: Mapping[str, str] = {
    "0x56a0": "Arc A770",
    "0x56a1": "Arc A750",
    "0x56a2": "Arc A580",
    "0x56a5": "Arc A380",
    "0xe20b": "Arc B580",
    "0xe20c": "Arc B570",
    "0xe211": "Arc Pro B60",
    "0xe212": "Arc Pro B50",
    "0xe222": "Arc Pro B65",
    "0xe223": "Arc Pro B70",
}
"""PCI device ids of discrete Arc cards (https://dgpu-docs.intel.com/devices/hardware-table.html)."""

NO_LIMIT_BYTES = 1 << 60
"""cgroup v1 writes a number near 2^63 where there is no limit."""


@dataclass(frozen=True, slots=True)
class CpuInfo:
    """A processor as the system describes it; None and empty where it does not say."""

    name: str | None
    n_cores: int | None
    n_threads: int | None
    instruction_sets: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class MemoryInfo:
    """Main memory in bytes: what there is and what could be taken now without swapping."""

    total_bytes: int
    available_bytes: int


@dataclass(frozen=True, slots=True)
class MemoryLimit:
    """A control group's memory limit and what the group holds that cannot be dropped, in bytes."""

    limit_bytes: int
    used_bytes: int


@dataclass(frozen=True, slots=True)
class DrmCard:
    """A graphics device as Linux lists it: PCI ids and what its driver tells of its memory, in bytes."""

    card: str
    vendor: str
    device_id: str
    revision: str
    name: str | None
    vram_total_bytes: int | None
    vram_used_bytes: int | None
    shared_total_bytes: int | None
    bar_bytes: int | None


def parse_cpuinfo(text: str) -> CpuInfo:
    """/proc/cpuinfo of x86 or ARM. Cores are counted by (physical id, core id); ARM does not give them."""
    blocks = [_parse_pairs(block) for block in re.split(r"\n\s*\n", text.strip()) if block.strip()]
    processors = [b for b in blocks if "processor" in b]
    cores = {(b.get("physical id", "0"), b["core id"]) for b in processors if "core id" in b}
    first = processors[0] if processors else {}
    flags = (first.get("flags") or first.get("Features") or "").split()
    name = first.get("model name") or next((b["Hardware"] for b in blocks if "Hardware" in b), None)
    return CpuInfo(
        name=name or None,
        n_cores=len(cores) or None,
        n_threads=len(processors) or None,
        instruction_sets=tuple(label for flag, label in INSTRUCTION_SETS.items() if flag in flags),
    )


def _parse_pairs(block: str) -> dict[str, str]:
    pairs = (line.split(":", 1) for line in block.splitlines() if ":" in line)
    return {key.strip(): value.strip() for key, value in pairs}


def parse_meminfo(text: str) -> MemoryInfo | None:
    """/proc/meminfo. Before Linux 3.14 there is no MemAvailable: free memory and page cache stand in for it."""
    found = {m[1]: int(m[2]) * KIB for m in re.finditer(r"^(\w+):\s+(\d+) kB", text, re.MULTILINE)}
    if "MemTotal" not in found:
        return None
    spare = found.get("MemFree", 0) + found.get("Cached", 0) + found.get("Buffers", 0)
    return MemoryInfo(found["MemTotal"], min(found.get("MemAvailable", spare), found["MemTotal"]))


def read_memory_limit(proc: Path, sys: Path) -> MemoryLimit | None:
    """The tightest memory limit over this process' control group and its parents, v2 or v1; None without a limit.

    Page cache that can be dropped (`inactive_file`) does not count as used.
    """
    groups: dict[str, str] = {}
    for line in (read_text(proc / "self" / "cgroup") or "").splitlines():
        if line.count(":") >= 2:
            _, controllers, own = line.split(":", 2)
            groups[controllers] = own
    limits = []
    v1 = next((own for names, own in groups.items() if "memory" in names.split(",")), None)
    for root, path, files in (
        (sys / "fs" / "cgroup", groups.get(""), ("memory.max", "memory.current", "inactive_file")),
        (
            sys / "fs" / "cgroup" / "memory",
            v1,
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        ),
    ):
        for folder in _list_group_folders(root, path or "/"):
            limit = read_int(folder / files[0])
            if limit is None or limit >= NO_LIMIT_BYTES:
                continue
            used = read_int(folder / files[1]) or 0
            stat = re.search(rf"^{files[2]} (\d+)$", read_text(folder / "memory.stat") or "", re.MULTILINE)
            limits.append(MemoryLimit(limit, max(used - (int(stat[1]) if stat else 0), 0)))
    return min(limits, key=lambda x: (x.limit_bytes - x.used_bytes, x.limit_bytes), default=None)


def _list_group_folders(root: Path, path: str) -> list[Path]:
    """The group's folder and its parents up to the root; in a container often only the root exists."""
    parts = [p for p in PurePosixPath(path).parts if p not in ("/", "..")]
    return [root.joinpath(*parts[:n]) for n in range(len(parts), -1, -1)]


def read_cpu_quota(sys: Path) -> float | None:
    """Processors this control group may use (v2 `cpu.max`, v1 `cpu.cfs_quota_us`); None without a limit."""
    words = (read_text(sys / "fs" / "cgroup" / "cpu.max") or "").split()
    if len(words) == 2 and words[0].isdigit() and int(words[1]) > 0:
        return int(words[0]) / int(words[1])
    quota = read_int(sys / "fs" / "cgroup" / "cpu" / "cpu.cfs_quota_us")
    period = read_int(sys / "fs" / "cgroup" / "cpu" / "cpu.cfs_period_us")
    return quota / period if quota and period and quota > 0 else None


def list_drm_cards(sys: Path) -> tuple[DrmCard, ...]:
    """Graphics devices under /sys/class/drm, by number; render nodes and connectors are left out."""
    folder = sys / "class" / "drm"
    try:
        names = sorted((p.name for p in folder.iterdir() if re.fullmatch(r"card\d+", p.name)), key=lambda n: int(n[4:]))
    except OSError:
        return ()
    cards = []
    for name in names:
        device = folder / name / "device"
        vendor = read_text(device / "vendor")
        if not vendor:
            continue
        vram = read_int(device / "mem_info_vram_total") or read_int(folder / name / "lmem_total_bytes")
        cards.append(
            DrmCard(
                card=name,
                vendor=vendor,
                device_id=read_text(device / "device") or "",
                revision=read_text(device / "revision") or "",
                name=read_text(device / "product_name") or None,
                vram_total_bytes=vram,
                vram_used_bytes=read_int(device / "mem_info_vram_used"),
                shared_total_bytes=read_int(device / "mem_info_gtt_total"),
                bar_bytes=_parse_bar_bytes(read_text(device / "resource") or ""),
            )
        )
    return tuple(cards)


def _parse_bar_bytes(text: str) -> int | None:
    """Size of the largest memory window of a PCI device; with a resizable window, that of all its memory."""
    sizes = []
    for line in text.splitlines():
        words = line.split()
        if len(words) == 3 and all(re.fullmatch(r"0x[0-9a-fA-F]+", w) for w in words):
            start, end = int(words[0], 16), int(words[1], 16)
            if end > start:
                sizes.append(end - start + 1)
    return max(sizes, default=None)


def find_amd_name(ids_text: str, device_id: str, revision: str) -> str | None:
    """A card's name from libdrm's amdgpu.ids: lines of `device, revision, name` in hexadecimal without 0x."""
    wanted = (_fold_hex(device_id), _fold_hex(revision))
    for line in ids_text.splitlines():
        parts = [part.strip() for part in line.split(",", 2)]
        if len(parts) == 3 and (_fold_hex(parts[0]), _fold_hex(parts[1])) == wanted:
            return parts[2]
    return None


def _fold_hex(text: str) -> str:
    return text.strip().lower().removeprefix("0x").lstrip("0") or "0"


def apple_working_set_bytes(memory_bytes: int, wired_limit_mib: int | None = None) -> int:
    """What Metal lets a program take of unified memory.

    Two thirds up to 36 GiB and three quarters above, unless `iogpu.wired_limit_mb` says otherwise (0 is the default).
    Reported defaults: 10.67 of 16 GiB (https://github.com/exo-explore/exo/pull/1672), three quarters on larger
    machines (https://github.com/gpustack/gpustack/issues/1375). Newer systems allow more on large ones: 107.5 of
    128 GiB (https://github.com/antirez/ds4/pull/909).
    """
    if wired_limit_mib:
        return min(wired_limit_mib * KIB * KIB, memory_bytes)
    return memory_bytes * 2 // 3 if memory_bytes <= 36 * GIB else memory_bytes * 3 // 4


def read_text(path: Path) -> str | None:
    """A small file's text without surrounding blanks, None where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip().strip("\0")
    except OSError:
        return None


def read_int(path: Path) -> int | None:
    """A file that holds one whole number, None where it does not (a cgroup's 'max' too)."""
    text = read_text(path)
    return int(text) if text and re.fullmatch(r"-?\d+", text) else None
