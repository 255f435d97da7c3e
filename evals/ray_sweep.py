"""A sweep on Ray: each cell a task on some node, its lines brought back while it runs. The one module that holds Ray.

The driver holds the lock of every run file under way and alone writes it, so that neither the app nor another sweep
takes such a run for its own. A cell whose node or worker died is given to another with the lines that came back.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evals.jobs import LOOK_EVERY_S, MAX_ATTEMPTS
from evals.own_suites import FOLDER as OWN_FOLDER
from evals.own_suites import clean_name
from evals.plans import OWN_PREFIX, EvalPlan
from evals.run_files import RunFile, RunState, load_run, open_run_file
from evals.sweep import Sweep
from evals.sweep_node import CellTask, iterate_cell
from evals.sweep_run import Tell, describe_end, name_cell, prepare_cell
from sizing.errors import BadInputError, UnsupportedError
from sizing.hardware import Machine

LOCAL = "local"
"""The address that stands for a Ray of our own on this machine."""

LOCAL_ENVIRONMENT = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
"""Ray's switch, whatever the system, to listen on the loopback interface alone (ray/_private/ray_constants.py,
ENABLE_RAY_CLUSTER, and services.py, get_node_ip_address); read when Ray is first imported."""

OBJECT_STORE_BYTES = 128 * 1024**2
"""Run files and their lines are all that passes through a local Ray; Ray itself wants at least 75 MiB."""

CONNECT_S = 5.0

ROOT = Path(__file__).resolve().parent.parent
UNNEEDED = (".git", ".venv", ".wheels", ".setup", "benchmarks", "docs", "pages", "tests", "tools")
"""What a node's worker does not import; the rest of this repository is sent to a cluster by Ray."""

Watch = Callable[[Path, str], Callable[[], None]]
"""Makes what is called after each new line of a cell, from its run file and its name."""


@dataclass(frozen=True, slots=True)
class RayPlace:
    """Where a sweep runs: LOCAL or a cluster's address, and how many cells at once (None: as many as have room)."""

    address: str
    n_workers: int | None = None

    def __post_init__(self) -> None:
        if self.address.startswith("ray://"):
            raise BadInputError(
                f"--ray wants HOST:PORT, 'auto' on a machine of the cluster, or 'local'; got {self.address!r}"
            )
        if self.n_workers is not None and not 1 <= self.n_workers <= 4096:
            raise BadInputError(f"--workers wants a whole number from 1 to 4,096, got {self.n_workers!r}")


@dataclass(slots=True)
class Active:
    """A cell under way: its place in the sweep, its run file held open, and how many died of it."""

    place: int
    path: Path
    file: RunFile
    look: Callable[[], None]
    n_deaths: int = 0


def load_ray(place: RayPlace) -> Any:
    """The module `ray`, told to send no usage statistics. Raises UnsupportedError with what to install."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    if place.address == LOCAL:
        os.environ.update(LOCAL_ENVIRONMENT)
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))  # else Ray keeps one in the person's folder
    try:
        import ray
    except ImportError as error:
        raise UnsupportedError(
            "Ray is not installed; install it with: pip install -r requirements-ray.txt (or leave --ray out)"
        ) from error
    return ray


@contextlib.contextmanager
def open_ray(place: RayPlace) -> Iterator[Any]:
    """Ray, started on this machine's loopback alone or joined at an address, left at the end.

    Raises UnsupportedError where Ray is not installed, does not start or does not answer.
    """
    ray = load_ray(place)
    check_address(place.address)
    silent: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR", "configure_logging": False}
    # Ray tells of deaths on standard output, which is for results alone
    to_errors = contextlib.redirect_stdout(sys.stderr)
    with to_errors, tempfile.TemporaryDirectory(prefix="wb-ray-", ignore_cleanup_errors=True) as folder:
        try:
            if place.address == LOCAL:
                ray.init(
                    address=LOCAL,
                    num_cpus=place.n_workers or 1,
                    num_gpus=0,
                    include_dashboard=False,
                    object_store_memory=OBJECT_STORE_BYTES,
                    runtime_env={"env_vars": {"PYTHONPATH": str(ROOT)}},
                    _temp_dir=folder,
                    **silent,
                )
            else:
                sent = {"working_dir": str(ROOT), "excludes": list(UNNEEDED)}
                ray.init(address=place.address, runtime_env=sent, **silent)
        except (OSError, RuntimeError, ValueError) as error:
            said = " ".join(str(error).split())[:300]
            raise UnsupportedError(
                f"Ray at {place.address!r} cannot be used ({said}); a cluster that wants a token is joined with "
                "RAY_AUTH_MODE=token and RAY_AUTH_TOKEN set as there"
            ) from error
        try:
            yield ray
        finally:
            ray.shutdown()


def check_address(address: str) -> None:
    """Raises UnsupportedError where nobody listens at HOST:PORT: Ray itself would try for more than a minute."""
    host, colon, port = address.rpartition(":")
    if not colon:
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_S).close()
    except (OSError, ValueError, OverflowError) as error:
        raise UnsupportedError(
            f"nobody answers at {address!r} ({error}); --ray wants the HOST:PORT that `ray start --head` prints"
        ) from error


def run_on_ray(
    home: Path,
    sweep: Sweep,
    place: RayPlace,
    detect: Callable[[], Machine],
    tell: Tell,
    watch: Watch = lambda path, name: lambda: None,
    command: Sequence[str] = (),
) -> None:
    """Work off every cell that is not done, as many at once as there is room.

    Cells under way when this is interrupted are cancelled, what they finished stays. `command` starts a worker on a
    node, by default the node's own.
    """
    with open_ray(place) as ray:
        driver = Driver(home, sweep, place, detect, tell, watch, command, ray)
        try:
            driver.work()
        except BaseException:
            driver.leave()
            raise


class Driver:
    """Gives cells to Ray and writes down what comes back."""

    def __init__(
        self,
        home: Path,
        sweep: Sweep,
        place: RayPlace,
        detect: Callable[[], Machine],
        tell: Tell,
        watch: Watch,
        command: Sequence[str],
        ray: Any,
    ) -> None:
        self.home = home
        self.sweep = sweep
        self.place = place
        self.detect = detect
        self.tell = tell
        self.watch = watch
        self.command = tuple(command)
        self.ray = ray
        self.waiting = deque(range(len(sweep.cells)))
        self.active: dict[Any, Active] = {}

    def work(self) -> None:
        """Until every cell has ended."""
        while self.waiting or self.active:
            self.fill()
            if not self.active:
                continue
            ready, _ = self.ray.wait(list(self.active), num_returns=1, timeout=LOOK_EVERY_S)
            for stream in ready:
                self.take(stream)

    def fill(self) -> None:
        """Begin cells while there is room."""
        while self.waiting and len(self.active) < self.count_slots(self.sweep.cells[self.waiting[0]]):
            place = self.waiting.popleft()
            name, path = name_cell(self.sweep, place), prepare_cell(self.home, self.sweep.cells[place])
            if path is None:
                self.tell(f"{name}: done already")
                continue
            file = open_run_file(path)
            if file is None:
                self.tell(f"{name}: another process works on it; left alone")
                continue
            n_kept = len(load_run(path).items)
            self.tell(f"{name}: goes on after {n_kept} items" if n_kept else f"{name}: begins")
            self.submit(Active(place, path, file, self.watch(path, name)))

    def count_cpus(self, cell: EvalPlan) -> int:
        """Ray's CPUs for one cell: its threads, else a whole node of a cluster. A local Ray has one for each worker."""
        if self.place.address == LOCAL:
            return 1
        cpus = [int(node["Resources"].get("CPU", 0)) for node in self.ray.nodes() if node["Alive"]]
        return cell.settings.n_threads or min((n for n in cpus if n > 0), default=1)

    def count_slots(self, cell: EvalPlan) -> int:
        """Cells like this one that may run at once, at least one."""
        if self.place.n_workers is not None or self.place.address == LOCAL:
            return self.place.n_workers or 1
        cpus = [int(node["Resources"].get("CPU", 0)) for node in self.ray.nodes() if node["Alive"]]
        return max(sum(n // self.count_cpus(cell) for n in cpus), 1)

    def submit(self, active: Active) -> None:
        """Give a cell to Ray, from what its file holds now."""
        cell = self.sweep.cells[active.place]
        task = CellTask(
            cell.run_id,
            active.path.read_bytes(),
            self.sweep.model_sha256.get(cell.model.path, ""),
            self.detect,
            self.load_own(cell),
            self.command,
        )
        # Ray's own retry would begin the cell anew; ours begins where its lines end
        remote = self.ray.remote(num_cpus=self.count_cpus(cell), max_retries=0, num_returns="streaming")(iterate_cell)
        self.active[remote.remote(task)] = active

    def load_own(self, cell: EvalPlan) -> dict[str, bytes]:
        """The files of the cell's own suites, by name."""
        names = [clean_name(s.removeprefix(OWN_PREFIX)) for s in cell.suites if s.startswith(OWN_PREFIX)]
        return {f"{name}.jsonl": (self.home / OWN_FOLDER / f"{name}.jsonl").read_bytes() for name in names}

    def take(self, stream: Any) -> None:
        """The next lines of a cell, its end, or the death of whatever worked on it."""
        active = self.active[stream]
        try:
            lines = self.ray.get(next(stream))
        except StopIteration:
            self.finish(stream, RunState.FAILED, "its task ended without a word")
        except self.ray.exceptions.RayTaskError as error:
            said = " ".join(str(error.cause or error).split())[:400]
            self.finish(stream, RunState.FAILED, f"its task failed unexpectedly ({said})")
        except self.ray.exceptions.RayError as error:
            self.try_again(stream, type(error).__name__)
        else:
            active.file.append_lines(lines)
            active.look()

    def try_again(self, stream: Any, how: str) -> None:
        """Give a cell whose worker or node died to another, or end it after MAX_ATTEMPTS deaths."""
        active = self.active[stream]
        active.n_deaths += 1
        if load_run(active.path).state.is_over:  # it had told its end before
            self.finish(stream, RunState.DONE, "")
        elif active.n_deaths >= MAX_ATTEMPTS:
            reason = f"its Ray worker or node died {active.n_deaths} times ({how}), perhaps for want of memory"
            self.finish(stream, RunState.FAILED, reason)
        else:
            n_kept = len(load_run(active.path).items)
            name = name_cell(self.sweep, active.place)
            self.tell(f"{name}: its worker or node died ({how}); another goes on after {n_kept} items")
            active.file.say("the worker or its node died; another goes on where it stopped")
            del self.active[stream]
            self.submit(active)

    def finish(self, stream: Any, state: RunState, reason: str) -> None:
        """Let go of a cell; `state` and `reason` are its end where its lines told none."""
        active = self.active.pop(stream)
        with active.file:
            if not load_run(active.path).state.is_over:
                active.file.end(state, reason)
        self.tell(f"{name_cell(self.sweep, active.place)}: {describe_end(load_run(active.path))}")

    def leave(self) -> None:
        """End every cell under way as cancelled; what they finished stays."""
        for stream in list(self.active):
            self.finish(stream, RunState.CANCELLED, "")
