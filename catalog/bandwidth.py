"""How fast this machine's memory is read, measured in a fraction of a second."""

from __future__ import annotations

import ctypes
import os
import threading
import time
from functools import lru_cache

from sizing.units import MIB

MEASURE_S = 0.2
BUFFER_BYTES = 32 * MIB
MAX_THREADS = 16
MAX_BUFFER_BYTES = 512 * MIB


@lru_cache(maxsize=1)
def measure_host_bandwidth() -> float | None:
    """Bytes of main memory read per second by all cores together; None where it cannot be measured. Kept per process.

    Each thread lets the C library's `memchr` look through its own 32 MiB for a byte that is not there, over and over
    for a fifth of a second: a plain read of memory, like that of weights while decoding, and outside Python's lock.
    Other programs' traffic lowers the answer.
    """
    try:
        library = ctypes.CDLL("msvcrt" if os.name == "nt" else None)
        scan = library.memchr
        scan.argtypes, scan.restype = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t], ctypes.c_void_p
        n_threads = min(_count_usable_threads(), MAX_THREADS, MAX_BUFFER_BYTES // BUFFER_BYTES)
        buffers = [ctypes.create_string_buffer(BUFFER_BYTES) for _ in range(n_threads)]
    except (AttributeError, OSError, MemoryError):
        return None
    done = [0.0] * n_threads
    start = threading.Barrier(n_threads)

    def work(index: int) -> None:
        buffer = buffers[index]
        ctypes.memset(buffer, 1, BUFFER_BYTES)  # untouched pages would all be one page of zeros
        start.wait(timeout=5)
        n_bytes, began = 0, time.perf_counter()
        while (spent := time.perf_counter() - began) < MEASURE_S:
            scan(buffer, 2, BUFFER_BYTES)
            n_bytes += BUFFER_BYTES
        done[index] = n_bytes / spent

    threads = [threading.Thread(target=work, args=(i,), daemon=True) for i in range(n_threads)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=5)
    return sum(done) if all(done) else None


def _count_usable_threads() -> int:
    """Processors this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return max(len(os.sched_getaffinity(0)), 1)
    return os.cpu_count() or 1
