# ruff: noqa: E501 (an attack a line)
"""What the sandbox must hold: every attack fails, and no attack looks like a success."""

from __future__ import annotations

import os
import platform
import signal
import sys
import tempfile
import time
from pathlib import Path

import pytest

from evals import sandbox
from evals.sandbox import Case, Limits, SandboxResult, are_equal, find_sandbox_obstacle, run_cases
from evals.sandbox_child import ALLOW, ARCHITECTURES, COMPUTING, LOOKING, OPENAT, build_filter

pytestmark = pytest.mark.skipif(bool(find_sandbox_obstacle()), reason=find_sandbox_obstacle() or "runs here")
LIMITS = Limits(wall_s=8.0, cpu_s=2)
DOUBLE = [Case((2,), 4), Case((5,), 10)]


def run(source: str, with_landlock: bool = True, cases: list[Case] | None = None) -> SandboxResult:
    return run_cases(source, "f", cases or DOUBLE, LIMITS, with_landlock)


@pytest.mark.parametrize("with_landlock", [True, False])
def test_a_right_function_passes(with_landlock: bool) -> None:
    source = "import math, re, itertools, collections\ndef f(x):\n    return int(math.sqrt(4)) * x"
    assert run(source, with_landlock) == SandboxResult(2, 2, "passed", "")


def test_a_wrong_function_says_what_it_gave() -> None:
    result = run("def f(x): return x + 2")
    assert (result.n_passed, result.n_cases, result.kind) == (1, 2, "failed")
    assert "(5)" in result.reason and "7" in result.reason and "10" in result.reason


ATTACKS = {
    "connects": "import _socket\ndef f(x):\n    _socket.socket(2, 1).connect(('127.0.0.1', {port}))\n    return x * 2",
    "reads a secret at home": "def f(x):\n    return len(open({secret!r}).read()) and x * 2",
    "reads by descriptor": "import os\ndef f(x):\n    os.read(os.open({secret!r}, os.O_RDONLY), 9)\n    return x * 2",
    "lists a folder": "import os\ndef f(x):\n    return len(os.listdir({folder!r})) and x * 2",
    "reads its parent's memory": "import os\ndef f(x):\n    open(f'/proc/{{os.getppid()}}/environ').read()\n    return x * 2",
    "writes outside": "def f(x):\n    open({target!r}, 'w').write('x')\n    return x * 2",
    "writes in its folder": "def f(x):\n    open('a.txt', 'w').write('x')\n    return x * 2",
    "creates by descriptor": "import os\ndef f(x):\n    os.open({target!r}, os.O_RDWR | os.O_CREAT)\n    return x * 2",
    "makes a folder": "import os\ndef f(x):\n    os.mkdir({target!r})\n    return x * 2",
    "removes a file": "import os\ndef f(x):\n    os.unlink({secret!r})\n    return x * 2",
    "renames a file": "import os\ndef f(x):\n    os.rename({secret!r}, {target!r})\n    return x * 2",
    "forks": "import os\ndef f(x):\n    while True:\n        os.fork()",
    "starts a thread": "import _thread\ndef f(x):\n    _thread.start_new_thread(print, ())\n    return x * 2",
    "runs a program": "import os\ndef f(x):\n    os.execv('/bin/true', ['true'])",
    "runs a shell": "import os\ndef f(x):\n    return os.system('true') == 0 and x * 2",
    "kills its parent": "import os\ndef f(x):\n    os.kill(os.getppid(), 15)\n    return x * 2",
    "kills its group": "import os\ndef f(x):\n    os.killpg(0, 9)\n    return x * 2",
    "raises its limits": "import resource\ndef f(x):\n    resource.setrlimit(resource.RLIMIT_AS, (-1, -1))\n    return x * 2",
    "leaves its session": "import os\ndef f(x):\n    os.setsid()\n    return x * 2",
    "traces by ctypes": "import ctypes\ndef f(x):\n    ok = ctypes.CDLL(None).ptrace(0, 0, 0, 0)\n    return x * 2 if ok == 0 else None",
    "exits early": "import os\nos._exit(0)",
    "exits within": "import sys\ndef f(x):\n    sys.exit(0)",
    "exits at load": "raise SystemExit(0)",
    "prints a marker": "print('{{\"value\": 4}}')\nprint('2 of 2 passed')\ndef f(x): return None",
    "patches the comparison": "import json, builtins\njson.dumps = lambda v: '4'\nbuiltins.all = lambda i: True\ndef f(x): return None",
    "patches the harness": "import __main__\n__main__.answer_call = lambda *a: {{'value': True, 'passed': True}}\ndef f(x): return 0",
    "returns a value equal to all": "class E(int):\n    def __eq__(self, o): return True\n    __hash__ = None\ndef f(x): return E(3)",
    "closes the output": "import os\nos.close(1)\ndef f(x): return x * 2",
    "raises what cannot be told": "class B(Exception):\n    def __str__(self): raise SystemExit\ndef f(x): raise B",
    "crashes": "import ctypes\ndef f(x): ctypes.string_at(0)",
    "recurses for ever": "def f(x): return f(x)",
    "has no function": "g = 1",
    "does not parse": "def f(x) return",
    "is empty": "",
    "returns a cycle": "def f(x):\n    a = []\n    a.append(a)\n    return a",
    "returns a set": "def f(x): return {{x}}",
    "returns true for one": "def f(x): return True",
    "returns NaN": "def f(x): return float('nan')",
}


@pytest.mark.parametrize("with_landlock", [True, False], ids=["landlock", "no landlock"])
@pytest.mark.parametrize("name", ATTACKS)
def test_no_attack_succeeds_or_passes(name: str, with_landlock: bool, tmp_path: Path) -> None:
    import socket

    secret, target = tmp_path / "secret.txt", tmp_path / "target"
    secret.write_text("the secret")
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        server.settimeout(0.05)
        places = {
            "secret": str(secret),
            "target": str(target),
            "folder": str(tmp_path),
            "port": server.getsockname()[1],
        }
        result = run(ATTACKS[name].format(**places), with_landlock)
        with pytest.raises(TimeoutError):
            server.accept()
    assert result.n_passed == 0 and result.kind not in ("passed", "refused"), result
    assert result.reason and len(result.reason) < 400
    assert secret.read_text() == "the secret" and not target.exists()
    assert os.getpid() and sorted(p.name for p in tmp_path.iterdir()) == ["secret.txt"]


def test_the_same_secret_is_read_where_nothing_forbids_it(tmp_path: Path) -> None:
    """The attack itself works: it is the sandbox that stops it."""
    secret = tmp_path / "secret.txt"
    secret.write_text("the secret")
    names: dict[str, object] = {}
    exec(ATTACKS["reads a secret at home"].format(secret=str(secret)), names)
    assert names["f"](2) == 4  # type: ignore[operator]


def test_a_file_of_the_person_s_home_stays_closed() -> None:
    home = Path.home()
    with tempfile.NamedTemporaryFile("w", dir=home, prefix=".weighbridge-test-") as file:
        file.write("a key")
        file.flush()
        for with_landlock in (True, False):
            result = run(f"def f(x):\n    return open({file.name!r}).read()", with_landlock, [Case((1,), "a key")])
            assert result.n_passed == 0 and "PermissionError" in result.reason


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        ("def f(x):\n    while True: pass", "timeout"),
        ("while True: pass\ndef f(x): return 1", "timeout"),
        ("import time\ndef f(x):\n    time.sleep(60)", "timeout"),
        ("import signal\nfor s in (signal.SIGXCPU, signal.SIGTERM):\n    signal.signal(s, signal.SIG_IGN)\n"
         "def f(x):\n    while True: pass", "timeout"),
        ("def f(x):\n    while True:\n        try:\n            while True: pass\n        except BaseException: pass", "timeout"),
        ("def f(x): return len(bytearray(2**33))", "memory"),
        ("def f(x):\n    a = []\n    while True: a.append(bytearray(10**7))", "memory"),
        ("import os\ndef f(x):\n    while True: os.write(1, b'x' * 65536)", "output"),
        ("def f(x):\n    while True: print('y' * 1000)", "output"),
    ],
)  # fmt: skip
def test_hogs_are_stopped(source: str, kind: str) -> None:
    limits = Limits(wall_s=4.0, cpu_s=2, memory_bytes=256 * 2**20)
    result = run_cases(source, "f", DOUBLE, limits)
    assert (result.n_passed, result.kind) == (0, kind)


def test_a_large_answer_is_not_taken() -> None:
    result = run("def f(x): return 'y' * 100_000")
    assert result.n_passed == 0 and "characters" in result.reason


def test_cases_passed_before_the_end_are_counted() -> None:
    result = run("import os\ndef f(x):\n    if x == 5: os._exit(0)\n    return x * 2")
    assert (result.n_passed, result.kind) == (1, "failed") and "ended the process" in result.reason


def test_forged_lines_cannot_guess_the_values() -> None:
    source = "import os\nos.write(1, b'{\"value\": 1}\\n' * 9)\ndef f(x): return x * 2"
    assert run(source).n_passed == 0


def test_the_child_has_no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_TOKEN", "abc")
    result = run("import os\ndef f(x): return sorted(os.environ)", cases=[Case((1,), [])])
    assert "SECRET_TOKEN" not in result.reason and "HOME" not in result.reason


def test_nothing_of_the_child_stays(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    started: list[int] = []
    real = sandbox.subprocess.Popen

    def spy(*arguments: object, **settings: object) -> object:
        child = real(*arguments, **settings)  # type: ignore[call-overload]
        started.append(child.pid)
        return child

    monkeypatch.setattr(sandbox.subprocess, "Popen", spy)
    assert run("import time\ndef f(x):\n    time.sleep(60)").kind == "timeout"
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ProcessLookupError):
        os.kill(started[0], 0)


@pytest.mark.parametrize(
    ("system", "machine"), [("darwin", "arm64"), ("win32", "AMD64"), ("linux", "riscv64")]
)  # fmt: skip
def test_elsewhere_it_refuses_and_says_why(system: str, machine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    result = run_cases("def f(x): return x * 2", "f", DOUBLE)
    assert (result.n_passed, result.n_cases, result.kind) == (0, 2, "refused") and "sandbox" in result.reason


@pytest.mark.parametrize("machine", sorted(ARCHITECTURES))
@pytest.mark.parametrize("may_open", [True, False])
def test_the_filter_lets_only_listed_calls_pass(machine: str, may_open: bool) -> None:
    """Run the filter program by an interpreter of our own, over every call number there is."""
    program = build_filter(machine, may_open)
    listed = {*COMPUTING[machine], *(LOOKING[machine] if may_open else ())}
    for number in range(600):
        allowed = run_filter(program, number, ARCHITECTURES[machine], 0) == ALLOW
        assert allowed == (number in listed or (may_open and number == OPENAT[machine])), number
    for flags in (1, 2, 0x40, 0x200, 0x410000, 0x41):
        assert run_filter(program, OPENAT[machine], ARCHITECTURES[machine], flags) != ALLOW
    other = next(mark for name, mark in ARCHITECTURES.items() if name != machine)
    assert run_filter(program, COMPUTING[machine][0], other, 0) != ALLOW
    assert run_filter(program, COMPUTING[machine][0] | 0x40000000, ARCHITECTURES[machine], 0) != ALLOW


def run_filter(program: bytes, number: int, architecture: int, flags: int) -> int:
    import struct

    words = {0: number, 4: architecture, 32: flags}
    steps = [struct.unpack_from("=HBBI", program, at) for at in range(0, len(program), 8)]
    value, at = 0, 0
    while True:
        code, yes, no, k = steps[at]
        at += 1
        if code == 0x06:
            return int(k)
        if code == 0x20:
            value = words[k]
            continue
        taken = {0x15: value == k, 0x45: bool(value & k), 0x35: value >= k}[code]
        at += yes if taken else no


@pytest.mark.parametrize(
    ("got", "expected", "equal"),
    [(2.0, 2, True), (True, 1, False), (1, True, False), (0.1 + 0.2, 0.3, True), ([1, [2]], [1, [2]], True), ("1", 1, False),
     ({"a": 1}, {"a": 1.0}, True), ({"a": 1}, {"a": 1, "b": 2}, False), (None, None, True), (None, 0, False),
     (float("nan"), float("nan"), False), ([], {}, False), (10**400, 1.5, False), (10**20 + 1, 10**20, False)],
)  # fmt: skip
def test_values_are_compared_as_json(got: object, expected: object, equal: bool) -> None:
    assert are_equal(got, expected) is equal


def test_two_runs_side_by_side_do_not_meet() -> None:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda k: run(f"def f(x): return x * {k}"), (2, 3, 2, 3)))
    assert [r.n_passed for r in results] == [2, 0, 2, 0]


def test_the_parent_keeps_its_own_limits() -> None:
    import resource

    before = resource.getrlimit(resource.RLIMIT_AS), signal.getsignal(signal.SIGTERM)
    run("def f(x): return x * 2")
    assert (resource.getrlimit(resource.RLIMIT_AS), signal.getsignal(signal.SIGTERM)) == before
    assert time.monotonic() > 0
