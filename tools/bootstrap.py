"""Set this clone up: a virtual environment, the packages, and llama.cpp compiled once. Standard library only.

    python3 tools/bootstrap.py app     what `make run` needs; a failed compile is reported, the app still works
    python3 tools/bootstrap.py dev     what `make test` needs; a failed compile is a failure
    python3 tools/bootstrap.py engine  try the compile again after a failure

A second call compares one stamp with the requirement files and returns at once. The compiled wheel is kept in
`.wheels/` (or the folder WEIGHBRIDGE_WHEELS names) under a key of version, build flags, Python and machine.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
LOGS = ROOT / ".setup"
PYTHON = VENV / "bin" / "python"
ENGINE = "llama-cpp-python"
REQUIREMENTS = {"app": "requirements.txt", "dev": "requirements-dev.txt"}
STEP = re.compile(r"^\s*\[\s*(\d+)(?:/(\d+)|%)\]")
"""How ninja ([12/197]) and make ([ 12%]) count their steps."""


class SetupError(Exception):
    """Set-up cannot go on; the text says what is missing and what to do."""


@dataclass(frozen=True)
class EngineRequirement:
    """The engine's line in requirements.txt: the pinned requirement and the build flags it carries."""

    requirement: str
    version: str
    config_settings: tuple[str, ...]

    @property
    def wheel_folder(self) -> Path:
        """Where this version with these flags is kept for this Python on this machine."""
        tag = f"cp{sys.version_info.major}{sys.version_info.minor}-{sys.platform}-{platform.machine()}"
        flags = hashlib.sha256(" ".join(self.config_settings).encode()).hexdigest()[:8]
        base = Path(os.environ.get("WEIGHBRIDGE_WHEELS") or ROOT / ".wheels")
        return base / f"{ENGINE}-{self.version}-{tag}-{flags}"


def main(arguments: list[str]) -> int:
    """Do the set-up that was asked for; 0 done, 1 failed, 2 wrong usage."""
    if len(arguments) != 1 or arguments[0] not in ("app", "dev", "engine"):
        print("usage: python3 tools/bootstrap.py app|dev|engine", file=sys.stderr)
        return 2
    what = arguments[0]
    if what != "engine" and is_done(what):
        return 0
    try:
        check_python()
        LOGS.mkdir(exist_ok=True)
        with one_at_a_time():
            if what == "engine":
                write_stamp("app", engine=None)
            elif is_done(what):
                return 0
            return set_up("dev" if what == "dev" else "app", engine_required=what != "app")
    except SetupError as error:
        say(str(error))
        return 1


# ---------------------------------------------------------------- what is there already


def requirement_files(what: str) -> list[Path]:
    """The requirement file of `what` and every file it includes with -r."""
    found, todo = [], [ROOT / REQUIREMENTS[what]]
    while todo:
        path = todo.pop()
        found.append(path)
        included = re.findall(r"^-r\s+(\S+)", path.read_text(), flags=re.MULTILINE)
        todo += [path.parent / name for name in included]
    return found


def requirements_key(what: str) -> str:
    """A hash of the requirement files and of the Python that reads them: what the stamp is compared with."""
    digest = hashlib.sha256(f"{sys.version_info[:2]} {platform.machine()}".encode())
    for path in requirement_files(what):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def stamp_path(what: str) -> Path:
    """The stamp lies inside the environment, so that it goes when the environment goes."""
    return VENV / f".set-up-{what}.json"


def write_stamp(what: str, engine: bool | None) -> None:
    """Note that `what` is installed; `engine` None takes the note back."""
    path = stamp_path(what)
    if engine is None:
        path.unlink(missing_ok=True)
    else:
        path.write_text(json.dumps({"key": requirements_key(what), "engine": engine}))


def is_done(what: str) -> bool:
    """Whether the stamp answers for these requirement files. `dev` also wants the engine in place."""
    try:
        stamp = json.loads(stamp_path(what).read_text())
    except (OSError, ValueError):
        return False
    if stamp.get("key") != requirements_key(what) or not PYTHON.exists():
        return False
    return (what == "app" and stamp.get("engine") is False) or engine_is_installed()


def engine_is_installed() -> bool:
    """Whether llama.cpp stands in the environment with its RPC library, which a build without the flag lacks."""
    return any(VENV.glob("lib/python*/site-packages/llama_cpp/lib/libggml-rpc.*"))


# ---------------------------------------------------------------- the steps


def check_python() -> None:
    """Refuse a Python older than the packages support."""
    if sys.version_info < (3, 11):  # noqa: UP036 - the one file an older Python may be started with
        raise SetupError(
            f"Weighbridge needs Python 3.11 or newer; this is {platform.python_version()}. "
            "Install one and name it: make run PYTHON=python3.12"
        )


def set_up(what: str, *, engine_required: bool) -> int:
    """Environment, engine, packages, stamp. Returns the exit code."""
    started = time.monotonic()
    say(f"Setting up in {VENV.name}/ (once; needs the network).")
    make_environment()
    engine = read_engine_requirement()
    problem = install_engine(engine)
    install_packages(what, with_engine=problem is None)
    if problem is None and not engine_is_installed():
        problem = "the installed llama.cpp lacks libggml-rpc: it was built without -DGGML_RPC=ON"
    write_stamp(what, engine=problem is None)
    if what == "dev":
        write_stamp("app", engine=problem is None)
    say(f"Set up in {format_seconds(time.monotonic() - started)}.")
    if problem is None:
        return 0
    say(f"\nllama.cpp is not there: {problem}.")
    say("The app works without it: formulas work; asking the engine does not. Try again with: make engine")
    return 1 if engine_required else 0


def make_environment() -> None:
    """Create .venv with this Python unless one that runs is there."""
    if PYTHON.exists() and subprocess.run([PYTHON, "-m", "pip", "--version"], capture_output=True).returncode == 0:
        return
    say("Creating the virtual environment.")
    made = subprocess.run([sys.executable, "-m", "venv", "--clear", VENV], capture_output=True, text=True)
    if made.returncode:
        raise SetupError(
            f"python3 -m venv failed: {last_line(made.stdout + made.stderr)}\n"
            "On Debian and Ubuntu the module is a package of its own: apt install python3-venv"
        )


def read_engine_requirement() -> EngineRequirement:
    """The engine's line of requirements.txt, taken apart."""
    path = ROOT / REQUIREMENTS["app"]
    for line in path.read_text().splitlines():
        if line.startswith(ENGINE):
            words = shlex.split(line, comments=True)
            settings = tuple(word.split("=", 1)[1] for word in words[1:] if word.startswith("--config-settings="))
            return EngineRequirement(words[0], words[0].partition("==")[2], settings)
    raise SetupError(f"{path.name} has no line for {ENGINE}; restore it (git checkout {path.name})")


def install_engine(engine: EngineRequirement) -> str | None:
    """Install the kept wheel, compiling it first when there is none. Returns what went wrong, or None."""
    if engine_is_installed() and engine.version == installed_engine_version():
        return None
    wheel = find_wheel(engine)
    if wheel is None:
        problem = build_wheel(engine)
        wheel = find_wheel(engine)
        if problem or wheel is None:
            return problem or "the build left no wheel"
    # A wheel from pip's own cache may lack the flag and would be taken silently; a file cannot be mistaken.
    if pip("install", "--no-deps", "--force-reinstall", "--no-cache-dir", str(wheel)):
        return f"its wheel could not be installed (see {shown(LOGS / 'pip.log')})"
    return None


def installed_engine_version() -> str | None:
    """The version of the engine in the environment, read from the name of its metadata folder."""
    for folder in VENV.glob("lib/python*/site-packages/llama_cpp_python-*.dist-info"):
        return folder.name.removesuffix(".dist-info").partition("-")[2]
    return None


def find_wheel(engine: EngineRequirement) -> Path | None:
    """The wheel kept for this version and these flags."""
    return next(iter(sorted(engine.wheel_folder.glob("*.whl"))), None)


def build_wheel(engine: EngineRequirement) -> str | None:
    """Compile the engine into its wheel folder, showing the steps done. Returns what went wrong, or None."""
    compiler = os.environ.get("CXX", "").split(" ")[0] or "c++ g++ clang++"
    if not any(shutil.which(name) for name in compiler.split()):
        return (
            f"no C++ compiler (looked for {compiler.replace(' ', ', ')}); "
            "on Debian and Ubuntu: apt install g++ make, on macOS: xcode-select --install"
        )
    say(f"Compiling llama.cpp ({engine.requirement}). About 6 minutes on 2 cores; it is kept for next time.")
    building = engine.wheel_folder.with_name(engine.wheel_folder.name + ".part")
    shutil.rmtree(building, ignore_errors=True)
    building.mkdir(parents=True)
    command = [str(PYTHON), "-m", "pip", "wheel", "-v", "--no-deps", "--no-cache-dir", "--no-binary", ENGINE]
    command += [f"--config-settings={setting}" for setting in engine.config_settings]
    command += ["--wheel-dir", str(building), engine.requirement]
    log = LOGS / "engine-build.log"
    environment = {"CMAKE_BUILD_PARALLEL_LEVEL": str(count_cores()), **os.environ, "PYTHONUNBUFFERED": "1"}
    code = run_showing_steps(command, log, environment, find_compile_step)
    if code:
        return f"the compile failed ({find_compile_error(log)}; all of it in {shown(log)})"
    shutil.rmtree(engine.wheel_folder, ignore_errors=True)
    building.rename(engine.wheel_folder)
    return None


def install_packages(what: str, *, with_engine: bool) -> None:
    """Install the requirement files; without the engine, all but its line."""
    say("Installing packages (about 1 GB with everything they need).")
    path = ROOT / REQUIREMENTS[what]
    if not with_engine:
        lines = [line for file in requirement_files(what) for line in file.read_text().splitlines()]
        path = LOGS / f"without-engine-{what}.txt"
        path.write_text("\n".join(line for line in lines if not line.startswith((ENGINE, "-r"))) + "\n")
    if pip("install", "-r", str(path)):
        raise SetupError(
            f"pip could not install {REQUIREMENTS[what]}: {find_pip_error(LOGS / 'pip.log')}\n"
            f"All of its output is in {shown(LOGS / 'pip.log')}. Is the network reachable?"
        )


# ---------------------------------------------------------------- running things


def pip(*arguments: str) -> int:
    """Run the environment's pip, its output into a log, showing what it is at. Returns its exit code."""
    command = [str(PYTHON), "-m", "pip", "--disable-pip-version-check", *arguments]
    return run_showing_steps(command, LOGS / "pip.log", dict(os.environ), find_pip_step)


def find_pip_step(line: str) -> str | None:
    """The package pip is at, or None when the line names none."""
    match = re.match(r"\s*(Collecting|Downloading|Installing collected packages)\b:?\s*([\w.-]*)", line)
    if match is None:
        return None
    return "installing" if match[1].startswith("Installing") else f"{match[1].lower()} {match[2]}"


def find_compile_step(line: str) -> str | None:
    """The step counter of a build, or None when the line holds none."""
    match = STEP.match(line)
    if match is None:
        return None
    return f"[{match[1]}/{match[2]}]" if match[2] else f"[{match[1]}%]"


def run_showing_steps(
    command: list[str], log: Path, environment: dict[str, str], find_step: Callable[[str], str | None]
) -> int:
    """Run `command`, its output into `log`, and show the step it is at and the time it has taken: on one line that is
    rewritten in a terminal, every half minute where the output goes to a file. Returns the exit code."""
    started = shown_at = time.monotonic()
    terminal = sys.stdout.isatty()
    step = "preparing"
    with log.open("w") as out:
        child = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            cwd=ROOT,
            env=environment,
        )
        assert child.stdout is not None
        for line in child.stdout:
            out.write(line)
            step = find_step(line) or step
            now = time.monotonic()
            if now - shown_at >= (0.2 if terminal else 30):
                shown_at = now
                say(f"  {step}, {format_seconds(now - started)}", rewrite=terminal)
        code = child.wait()
    outcome = f"failed at {step}" if code else "done"
    say(f"  {outcome}, {format_seconds(time.monotonic() - started)}", rewrite=terminal)
    if terminal:
        print()
    return code


@contextmanager
def one_at_a_time() -> Iterator[None]:
    """Hold the set-up lock, so that `make run` and `make test` at once do not build into each other."""
    with (LOGS / "lock").open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("Another set-up of this clone is running; waiting for it.")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def count_cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def find_compile_error(log: Path) -> str:
    """The first line of a build log that names an error, for the one-line message."""
    for line in log.read_text(errors="replace").splitlines():
        if re.search(r"\b(fatal error|error):|CMake Error|No matching distribution|CMAKE_\w+_COMPILER not set", line):
            return " ".join(line.split())[:200]
    return last_line(log.read_text(errors="replace"))


def find_pip_error(log: Path) -> str:
    """pip's own last ERROR line."""
    text = log.read_text(errors="replace")
    errors = [line for line in text.splitlines() if line.startswith("ERROR")]
    return errors[-1] if errors else last_line(text)


def last_line(text: str) -> str:
    """The last line that is not blank, cut to 200 characters."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:200] if lines else "no output"


def shown(path: Path) -> str:
    """A path as the reader of a terminal in this clone would type it."""
    return str(path.relative_to(ROOT))


def format_seconds(seconds: float) -> str:
    """Seconds as 48 s or 6 min 17 s."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def say(text: str, *, rewrite: bool = False) -> None:
    """One line to the person; `rewrite` puts it over the line before."""
    print(f"\r\033[K{text}" if rewrite else text, end="" if rewrite else "\n", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
