"""The child of the sandbox: locks itself in, then runs a stranger's function on given arguments and tells its values.

Run by path with `python -I -S -B`, never imported for its effects. It reads one JSON object from standard input and
writes one JSON line per call: `{"value": ...}` or `{"error": "..."}`. It never learns which values are right: whatever
the stranger's code patches, prints or forges here, it cannot claim a success it did not compute.

What holds it, in this order, each set before the first line of the stranger's code is compiled: limits of memory, time
and file size; no new privileges; Landlock (the kernel opens files below the standard library only, and only to read);
a seccomp list of the few system calls that computing needs. Sockets, other programs, new processes and threads,
signals to others and every way to write a file are not on the list and fail with "Operation not permitted". Where
the kernel has no Landlock, opening files is taken off the list too, and only the modules loaded below can be imported.
Landlock does not hide names: that a file exists and how large it is can be seen, though not told to anybody but the
parent, which shows a short extract of a wrong value.

Sources: linux/seccomp.h, linux/filter.h, linux/landlock.h (kernel documentation, userspace-api/landlock.rst and
seccomp_filter.rst); numbers of the calls from the kernel's x86 syscall_64.tbl and asm-generic/unistd.h.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import platform
import resource
import signal
import struct
import sys
from collections.abc import Sequence
from typing import Any

PRELOADED = (
    "abc array ast base64 bisect calendar cmath collections collections.abc contextlib copy csv dataclasses datetime "
    "decimal difflib enum fractions functools hashlib heapq html io itertools keyword math numbers operator queue "
    "random re statistics string textwrap time typing types unicodedata uuid warnings"
).split()
"""Loaded before the door closes, so that a solution may import them whatever the kernel has."""

ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
"""The kernel's own mark of each machine (linux/audit.h)."""

# fmt: off
COMPUTING = {
    "x86_64": (0, 1, 3, 5, 8, 9, 10, 11, 12, 13, 14, 15, 17, 19, 20, 24, 25, 28, 35, 39, 60, 63, 79, 96, 100, 102, 104,
               107, 108, 131, 186, 202, 219, 228, 229, 230, 231, 318, 324, 334),
    "aarch64": (63, 64, 57, 80, 62, 222, 226, 215, 214, 134, 135, 139, 67, 65, 66, 124, 216, 233, 101, 172, 93, 160,
                17, 169, 153, 174, 176, 175, 177, 132, 178, 98, 128, 113, 114, 115, 94, 278, 283, 293),
}
# fmt: on
"""read write close fstat lseek mmap mprotect munmap brk, own signal masks, pread readv writev sched_yield mremap
madvise nanosleep getpid exit uname getcwd clocks, own user numbers, sigaltstack gettid futex exit_group getrandom
membarrier rseq. `kill`, `fcntl`, `ioctl`, `prctl` and `prlimit64` are left out on purpose."""

LOOKING = {"x86_64": (4, 6, 21, 217, 262, 267, 332), "aarch64": (48, 61, 78, 79, 291)}
"""stat, access, readlink, getdents: what an import needs beside opening; only where Landlock holds."""

OPENAT = {"x86_64": 257, "aarch64": 56}
WRITING_FLAGS = 0x3 | 0x40 | 0x200 | 0x400000
"""O_WRONLY, O_RDWR, O_CREAT, O_TRUNC and O_TMPFILE, the same on both machines."""

ALLOW, DENY, KILL = 0x7FFF0000, 0x00050001, 0x80000000
"""SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO with EPERM, SECCOMP_RET_KILL_PROCESS."""

LOAD_WORD, JUMP_EQUAL, JUMP_ANY_BIT, JUMP_AT_LEAST, RETURN = 0x20, 0x15, 0x45, 0x35, 0x06
OFFSET_NUMBER, OFFSET_ARCHITECTURE, OFFSET_FLAGS = 0, 4, 32
X32_BIT = 0x40000000

PR_SET_PDEATHSIG, PR_SET_NO_NEW_PRIVS, PR_SET_DUMPABLE, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 1, 38, 4, 22, 2
LANDLOCK_CREATE, LANDLOCK_ADD, LANDLOCK_RESTRICT = 444, 445, 446
READ_FILE, READ_DIR = 1 << 2, 1 << 3
LARGEST_ANSWER_CHARS = 65_536


def set_limits(memory_bytes: int, cpu_s: int) -> None:
    """Bounds on address space, processor time, files written (none), open files, processes and core dumps."""
    for limit, value in (
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, 32),
        (resource.RLIMIT_NPROC, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_CPU, cpu_s),
    ):
        resource.setrlimit(limit, (value, value))


def call_kernel(libc: ctypes.CDLL, what: str, number: int, *arguments: Any) -> int:
    """One system call; OSError names `what` where the kernel refuses."""
    got = int(libc.syscall(ctypes.c_long(number), *arguments))
    if got < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")
    return got


def find_landlock_version(libc: ctypes.CDLL) -> int:
    """The kernel's Landlock version, 0 where it has none."""
    return max(0, int(libc.syscall(ctypes.c_long(LANDLOCK_CREATE), None, ctypes.c_size_t(0), ctypes.c_uint32(1))))


def close_files(libc: ctypes.CDLL, version: int, readable: Sequence[str]) -> None:
    """Landlock: no file may be opened but those below `readable`, and these only to read."""
    handled = (1 << 13) - 1
    for since, bits in ((2, 1 << 13), (3, 1 << 14), (5, 1 << 15)):
        handled |= bits if version >= since else 0
    words = [handled] + ([0b11] if version >= 4 else []) + ([0b11] if version >= 6 else [])
    rules = struct.pack(f"={len(words)}Q", *words)
    ruleset = call_kernel(libc, "Landlock", LANDLOCK_CREATE, rules, ctypes.c_size_t(len(rules)), ctypes.c_uint32(0))
    for folder in readable:
        fd = os.open(folder, os.O_PATH | os.O_CLOEXEC)
        beneath = struct.pack("=Qi", READ_FILE | READ_DIR, fd)
        call_kernel(libc, "Landlock", LANDLOCK_ADD, ctypes.c_int(ruleset), ctypes.c_int(1), beneath, ctypes.c_uint32(0))
        os.close(fd)
    call_kernel(libc, "Landlock", LANDLOCK_RESTRICT, ctypes.c_int(ruleset), ctypes.c_uint32(0))
    os.close(ruleset)


def build_filter(machine: str, may_open: bool) -> bytes:
    """The seccomp program: other machines' calls kill, listed calls pass, `openat` passes to read, the rest fails."""
    lines = [
        (LOAD_WORD, 0, 0, OFFSET_ARCHITECTURE),
        (JUMP_EQUAL, 1, 0, ARCHITECTURES[machine]),
        (RETURN, 0, 0, KILL),
        (LOAD_WORD, 0, 0, OFFSET_NUMBER),
        (JUMP_AT_LEAST, 0, 1, X32_BIT),
        (RETURN, 0, 0, KILL),
    ]
    for number in COMPUTING[machine] + (LOOKING[machine] if may_open else ()):
        lines += [(JUMP_EQUAL, 0, 1, number), (RETURN, 0, 0, ALLOW)]
    if may_open:
        lines += [(JUMP_EQUAL, 0, 3, OPENAT[machine]), (LOAD_WORD, 0, 0, OFFSET_FLAGS)]
        lines += [(JUMP_ANY_BIT, 1, 0, WRITING_FLAGS), (RETURN, 0, 0, ALLOW)]
    lines.append((RETURN, 0, 0, DENY))
    return b"".join(struct.pack("=HBBI", *line) for line in lines)


def lock_in(readable: Sequence[str], with_landlock: bool) -> None:
    """Everything after this runs without network, processes, signals to others or files; OSError where it fails."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    for option, value in ((PR_SET_PDEATHSIG, int(signal.SIGKILL)), (PR_SET_NO_NEW_PRIVS, 1), (PR_SET_DUMPABLE, 0)):
        if libc.prctl(option, ctypes.c_ulong(value), ctypes.c_ulong(0), ctypes.c_ulong(0), ctypes.c_ulong(0)):
            raise OSError(ctypes.get_errno(), f"prctl {option} was refused")
    version = find_landlock_version(libc) if with_landlock else 0
    if version:
        close_files(libc, version, readable)
    program = build_filter(platform.machine(), version > 0)
    buffer = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("@HP", len(program) // 8, ctypes.addressof(buffer))
    unused = ctypes.c_ulong(0)
    if libc.prctl(PR_SET_SECCOMP, ctypes.c_ulong(SECCOMP_MODE_FILTER), header, unused, unused):
        raise OSError(ctypes.get_errno(), "the seccomp filter was refused")


def describe_error(error: BaseException) -> str:
    """An error's name and text, short; the stranger's classes may lie or raise again."""
    try:
        return f"{type(error).__name__}: {error}"[:200]
    except BaseException:
        return "an error that cannot be told"


def write_line(line: dict[str, Any]) -> None:
    """One answer line on the descriptor of the answers, whatever `sys.stdout` has become."""
    data = json.dumps(line).encode() + b"\n"
    while data:
        data = data[os.write(1, data) :]


def answer_call(function: Any, arguments: Sequence[Any]) -> dict[str, Any]:
    """The value of one call as data, or why there is none."""
    try:
        value = function(*arguments)
        text = json.dumps(value)
    except BaseException as error:
        return {"error": describe_error(error)}
    if len(text) > LARGEST_ANSWER_CHARS:
        return {"error": f"the value is {len(text)} characters long, more than {LARGEST_ANSWER_CHARS}"}
    return {"value": json.loads(text)}


def main() -> None:
    """Read the job, lock in, run it, leave without any exit handler."""
    job = json.loads(sys.stdin.buffer.read())
    for name in PRELOADED:
        importlib.import_module(name)
    sys.dont_write_bytecode = True
    try:
        set_limits(job["memory_bytes"], job["cpu_s"])
        lock_in(job["readable"], job["with_landlock"])
    except (OSError, ValueError, KeyError) as error:
        write_line({"refused": describe_error(error)})
        os._exit(3)
    write_line({"locked": True})
    names: dict[str, Any] = {"__name__": "solution"}
    try:
        exec(compile(job["source"], "solution.py", "exec"), names)
        function = names[job["entry"]]
    except KeyError:
        write_line({"broken": f"no function named {job['entry']} is defined"})
    except BaseException as error:
        write_line({"broken": describe_error(error)})
    else:
        for arguments in job["calls"]:
            write_line(answer_call(function, arguments))
    os._exit(0)


if __name__ == "__main__":
    main()
