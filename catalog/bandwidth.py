"""How fast this machine's memory is read, measured in a fraction of a second."""

from __future__ import annotations

import ctypes
import os
import threading
import time
from collections import Counter
from functools import lru_cache

from sizing.units import MIB

MEASURE_S = 0.3
WINDOW_S = 0.05
BUFFER_BYTES = 32 * MIB
MAX_THREADS = 16


@lru_cache(maxsize=1)
def measure_host_bandwidth() -> float | None:
    """Bytes of main memory read per second by all cores together; None where it cannot be measured. Kept per process.

    Each thread lets the C library's `memchr` look through its own 32 MiB for a byte that is not there, over and over
    for 0.3 s: a plain read of memory, like that of weights while decoding, and outside Python's lock. The best
    twentieth of a second counts, since other programs' work only ever lowers it.
    """
    try:
        library = ctypes.CDLL("msvcrt" if os.name == "nt" else None)
        scan = library.memchr
        scan.argtypes, scan.restype = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t], ctypes.c_void_p
        n_threads = min(_count_usable_threads(), MAX_THREADS)
        buffers = [ctypes.create_string_buffer(BUFFER_BYTES) for _ in range(n_threads)]
    except (AttributeError, OSError, MemoryError):
        return None
    ends: list[list[float]] = [[] for _ in range(n_threads)]
    start = threading.Barrier(n_threads + 1)

    def work(index: int) -> None:
        buffer = buffers[index]
        ctypes.memset(buffer, 1, BUFFER_BYTES)  # untouched pages would all be one page of zeros
        start.wait(timeout=5)
        until = time.perf_counter() + MEASURE_S
        while time.perf_counter() < until:
            scan(buffer, 2, BUFFER_BYTES)
            ends[index].append(time.perf_counter())

    threads = [threading.Thread(target=work, args=(i,), daemon=True) for i in range(n_threads)]
    try:
        for thread in threads:
            thread.start()
        start.wait(timeout=5)
    except (RuntimeError, threading.BrokenBarrierError):
        return None
    began = time.perf_counter()
    for thread in threads:
        thread.join(timeout=5)
    return best_rate(began, [end for thread_ends in ends for end in thread_ends], BUFFER_BYTES)


def best_rate(began: float, ends: list[float], n_bytes: int) -> float | None:
    """Bytes per second of the best whole window, from when each scan of `n_bytes` ended; None without a whole window.

    >>> best_rate(0.0, [0.01, 0.02, 0.07, 0.11], 1000)
    40000.0
    """
    windows = Counter(int((end - began) / WINDOW_S) for end in ends)
    last = max(windows, default=0)
    whole = [count for window, count in windows.items() if window < last]
    return max(whole) * n_bytes / WINDOW_S if whole else None


def _count_usable_threads() -> int:
    """Processors this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return max(len(os.sched_getaffinity(0)), 1)
    return os.cpu_count() or 1
