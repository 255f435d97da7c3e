"""The person's database held, full, read-only, damaged, shared: a clear message each time, and no result lost."""

from __future__ import annotations

import dataclasses
import os
import random
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest

from evals import rescue, user_store
from evals.bench_result import RESULTS_FILE
from evals.eval_store import ingest_evals, list_known
from evals.lines import append_line, read_lines
from evals.measured_here import load_measured_here
from evals.user_store import UserStore
from evals.verify_file import FILE_NAME as VERIFIES
from sizing.errors import StoreRebuiltError, UserStoreError
from sizing.store_problems import StoreProblem, explain_store_problem, find_store_problem, name_aside
from tests.evals.test_user_store import RESULT
from tests.faults.conftest import SmallDisk
from tests.pages.eval_runs import QWEN, QWEN_ID, write_run

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as `fill` leaves it, made once."""
    return fill(tmp_path_factory.mktemp("filled"))


@pytest.fixture
def home(filled: Path, tmp_path: Path) -> Path:
    """A folder of its own with the same in it."""
    return Path(shutil.copytree(filled, tmp_path / "home"))


def fill(home: Path) -> Path:
    """Two runs taken in, a comparison in its file and one of old in the database."""
    write_run(home, QWEN, [True] * 12 + [False] * 8)
    write_run(home, QWEN, [True] * 10, number=2, suite="logic", title="Logic")
    store = UserStore(home)
    assert ingest_evals(store) == 2
    with store.open(writing=True) as db:
        db.execute(
            "INSERT INTO verifies VALUES (1, '2026-01-01T00:00:00+00:00', 'old/model', 'Q8_0', 'box', 'engine', 1.0, "
            "1, 0, 4096, 1, 512, 2048, 'f16', 'f16', true, false, false)"
        )
    store.keep_verify(RESULT, "2026-01-02T03:04:05+00:00")
    return home


def damage(path: Path, how: str) -> None:
    """Spoil a file the way disks, copies and people do."""
    whole = bytearray(path.read_bytes())
    if how == "cut":
        whole = whole[: len(whole) // 2]
    elif how == "other":
        whole = bytearray(b"no database at all" * 400)
    elif how == "zeros":
        whole = bytearray(20_000)
    elif how == "empty":
        whole = bytearray()
    elif how == "head":
        whole[100:160] = bytes(60)
    elif how == "pages":
        for place in range(12_288, len(whole), 4096):
            whole[place + 64 : place + 128] = os.urandom(64)
    path.write_bytes(whole)


HOW = ("cut", "other", "zeros", "empty", "head", "pages")


@pytest.mark.parametrize("how", HOW)
def test_a_damaged_database_is_moved_aside_and_filled_again_from_the_files_of_the_runs(home: Path, how: str) -> None:
    store = UserStore(home)
    damage(store.path, how)
    damaged = store.path.read_bytes()
    scores = {(m.suite, m.value, m.n_items) for m in load_measured_here(home) if m.model_id == QWEN_ID}
    assert scores == {("arithmetic", 0.6, 20), ("logic", 1.0, 10)}
    assert (home / "user.damaged-1.duckdb").read_bytes() == damaged  # nothing of it is lost
    assert [k.result for k in store.list_verifies() if k.line_id] == [RESULT]
    assert "user.duckdb was damaged and made anew" in store.find_note() and "user.damaged-1" in store.find_note()
    store.keep_verify(RESULT)
    assert sum(k.result == RESULT for k in store.list_verifies()) == 2


def test_what_is_in_no_other_file_is_read_out_of_the_damaged_one(home: Path) -> None:
    store = UserStore(home)
    told = r"damaged and made anew; the old one is user\.damaged-1\.duckdb"
    with pytest.raises(StoreRebuiltError, match=told), store.open(writing=False):
        raise duckdb.IOException("Corrupt database file: computed checksum 1 does not match stored checksum 2")
    assert [k.result.model_id for k in store.list_verifies()] == [RESULT.model_id, "old/model"]
    assert list_known(store) == {}
    assert len(load_measured_here(home)) == 2


def test_a_damaged_database_is_said_once_where_the_question_cannot_be_repeated(home: Path) -> None:
    store = UserStore(home)
    damage(store.path, "other")
    with pytest.raises(StoreRebuiltError):
        ingest_evals(store)
    assert ingest_evals(store) == 2


def test_a_second_damage_takes_another_name(home: Path) -> None:
    for number in (1, 2):
        damage(UserStore(home).path, "other")
        assert len(load_measured_here(home)) == 2
        assert (home / f"user.damaged-{number}.duckdb").exists()
    assert "user.damaged-1.duckdb, user.damaged-2.duckdb" in UserStore(home).find_note()
    for aside in rescue.list_aside(UserStore(home).path):
        aside.unlink()
    assert UserStore(home).find_note() == ""


def test_a_file_another_process_made_anew_stays(home: Path) -> None:
    store = UserStore(home)
    inode = rescue.find_inode(store.path)
    assert rescue.move_aside(store.path, inode) is not None
    store.path.write_bytes(b"made by another")
    assert rescue.move_aside(store.path, inode) is None
    assert store.path.read_bytes() == b"made by another"


def test_the_log_of_a_damaged_database_goes_with_it(home: Path) -> None:
    store = UserStore(home)
    log = store.path.with_name("user.duckdb.wal")
    log.write_bytes(b"torn")
    rescue.move_aside(store.path, rescue.find_inode(store.path))
    assert not log.exists() and (home / "user.damaged-1.duckdb.wal").read_bytes() == b"torn"


@pytest.mark.parametrize("seed", range(5))
def test_damage_anywhere_never_ends_the_process_nor_loses_a_score(home: Path, seed: int) -> None:
    chance = random.Random(seed)
    path = UserStore(home).path
    whole = bytearray(path.read_bytes())
    for _ in range(chance.randint(1, 6)):
        place = chance.randrange(len(whole))
        whole[place : place + chance.randint(1, 300)] = chance.randbytes(chance.randint(1, 300))
    path.write_bytes(whole[: chance.randrange(len(whole) // 2, len(whole) + 1)])
    assert len(load_measured_here(home)) == 2
    assert RESULT in [k.result for k in UserStore(home).list_verifies()]


HOLDER = """
import sys, time, duckdb
kept = duckdb.connect(sys.argv[1])
print("held", flush=True)
time.sleep(float(sys.argv[2]))
"""


def hold(path: Path, seconds: float) -> subprocess.Popen[bytes]:
    """Another process with the file open to write, for so long."""
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(path), str(seconds)], stdout=subprocess.PIPE)
    assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
    return holder


def test_a_database_in_use_is_said_and_a_comparison_is_kept_all_the_same(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(user_store, "LOCK_WAIT_S", 0.05)
    store = UserStore(home)
    with hold(store.path, 60) as holder:
        with pytest.raises(UserStoreError, match=r"user\.duckdb is in use by another process; close the other app"):
            ingest_evals(store)
        with pytest.raises(UserStoreError, match="in use by another process"):
            store.list_verifies()
        store.keep_verify(dataclasses.replace(RESULT, quant="Q2_K"))
        holder.kill()
    assert store.list_verifies()[0].result.quant == "Q2_K"
    assert not list(home.glob("*damaged*"))


def test_a_database_held_for_a_moment_is_waited_for(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(user_store, "LOCK_WAIT_S", 20.0)
    write_run(home, QWEN, [True] * 5, number=3)
    with hold(UserStore(home).path, 0.5):
        assert ingest_evals(UserStore(home)) == 1


WRITER = """
import sys
from pathlib import Path
from evals import user_store
from evals.eval_store import ingest_evals
from evals.user_store import UserStore
from tests.evals.test_user_store import RESULT
user_store.LOCK_WAIT_S = 30.0
home, first = Path(sys.argv[1]), int(sys.argv[2])
from tests.pages.eval_runs import QWEN, write_run
for number in range(first, first + 4):
    write_run(home, QWEN, [True] * 3, number=number)
    ingest_evals(UserStore(home))
    UserStore(home).keep_verify(RESULT)
"""


def test_two_apps_on_one_database_lose_nothing(tmp_path: Path) -> None:
    started = [subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path), str(n)], cwd=ROOT) for n in (10, 30)]
    assert [process.wait(timeout=100) for process in started] == [0, 0]
    store = UserStore(tmp_path)
    ingest_evals(store)
    assert len(list_known(store)) == 8
    assert len(store.list_verifies()) == 8


def test_a_full_disk_is_said_and_what_was_there_stays(disk: SmallDisk) -> None:
    home = fill(disk.path)
    write_run(home, QWEN, [True] * 5, number=3)
    disk.fill()
    store, n_kept = UserStore(home), 0
    with pytest.raises(UserStoreError, match=r"the disk is full .* free some room, nothing kept is lost"):
        ingest_evals(store)
    with pytest.raises(UserStoreError, match=r"verifies\.jsonl cannot be written, for the disk is full"):
        for _ in range(10):  # the last page of the file may take a few
            n_kept += 1
            store.keep_verify(RESULT)
    assert len(list_known(store)) == 2
    assert [k.result for k in store.list_verifies() if k.line_id] == [RESULT] * n_kept
    disk.empty()
    assert ingest_evals(store) == 1
    store.keep_verify(RESULT)
    assert len([k for k in store.list_verifies() if k.line_id]) == n_kept + 1
    assert not list(home.glob("*damaged*"))


LIMITED = """
import resource, sys
from pathlib import Path
from evals.lines import append_line
path = Path(sys.argv[1])
append_line(path, {"n": 1})
size = path.stat().st_size
resource.setrlimit(resource.RLIMIT_FSIZE, (size + 5, size + 5))
try:
    append_line(path, {"n": 2, "text": "x" * 100})
except OSError as error:
    print(error.strerror)
"""


def test_a_line_that_does_not_fit_leaves_no_half_of_it(tmp_path: Path) -> None:
    path = tmp_path / VERIFIES
    told = subprocess.run([sys.executable, "-c", LIMITED, str(path)], cwd=ROOT, capture_output=True, text=True)
    assert told.stdout == "File too large\n", told.stderr
    assert path.read_text() == '{"n": 1}\n'


def test_a_half_line_of_an_earlier_death_spoils_no_other(tmp_path: Path) -> None:
    path = tmp_path / RESULTS_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text('{"n": 1}\n{"n": 2, "tor')
    append_line(path, {"n": 3, "text": "line\u2028separator"})
    assert [record["n"] for record in read_lines(path)] == [1, 3]


def test_lines_of_many_threads_stay_whole(tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    texts = [str(n) * 5000 for n in range(8)]
    threads = [threading.Thread(target=append_line, args=(path, {"text": text})) for text in texts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(record["text"] for record in read_lines(path)) == texts


def test_a_read_only_folder_can_be_read_and_says_why_nothing_is_kept(
    home: Path, no_writing: Callable[[Path], None]
) -> None:
    write_run(home, QWEN, [True] * 5, number=3)
    no_writing(home)
    store = UserStore(home)
    assert len(store.list_verifies()) == 2 and len(list_known(store)) == 2
    for act in (lambda: ingest_evals(store), lambda: store.keep_verify(RESULT)):
        with pytest.raises(UserStoreError, match=r"cannot be written .* name another folder in WEIGHBRIDGE_HOME"):
            act()


def test_a_damaged_database_in_a_read_only_folder_says_both(home: Path, no_writing: Callable[[Path], None]) -> None:
    damage(UserStore(home).path, "other")
    no_writing(home)
    with pytest.raises(UserStoreError, match=r"is damaged .* the app could not do it itself") as raised:
        load_measured_here(home)
    assert not isinstance(raised.value, StoreRebuiltError)


def test_a_folder_in_the_place_of_the_database_is_said(tmp_path: Path) -> None:
    (tmp_path / "user.duckdb").mkdir()
    with pytest.raises(UserStoreError, match="cannot be written"):
        UserStore(tmp_path).list_verifies()
    assert (tmp_path / "user.duckdb").is_dir()


@pytest.mark.parametrize("shift", [-3 * 365 * 86400, 3 * 365 * 86400])
def test_a_clock_that_jumps_changes_no_order_of_what_was_kept(home: Path, shift: float) -> None:
    store = UserStore(home)
    when = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(time.time() + shift))
    store.keep_verify(dataclasses.replace(RESULT, quant="Q2_K"), when)
    store.keep_verify(dataclasses.replace(RESULT, quant="Q3_K_M"))
    assert [k.result.quant for k in store.list_verifies()][:2] == ["Q3_K_M", "Q2_K"]
    for path in home.rglob("*.jsonl"):
        os.utime(path, (time.time() + shift, time.time() + shift))
    assert ingest_evals(store) == 0 and len(load_measured_here(home)) == 2


@pytest.mark.parametrize(
    ("said", "kind", "advice"),
    [
        ("IO Error: Could not set lock on file", StoreProblem.IN_USE, "close the other app"),
        ("IO Error: Conflicting lock is held in python", StoreProblem.IN_USE, "close the other app"),
        ("Could not write file: No space left on device", StoreProblem.FULL, "free some room"),
        ("[Errno 122] Disk quota exceeded", StoreProblem.FULL, "free some room"),
        ("Cannot open file: Permission denied", StoreProblem.UNWRITABLE, "name another folder in WEIGHBRIDGE_HOME"),
        ("Cannot open file: Read-only file system", StoreProblem.UNWRITABLE, "WEIGHBRIDGE_HOME"),
        ("Trying to read a database file with version number 99", StoreProblem.NEWER, "update the app"),
        ("computed checksum 1 does not match stored checksum 2", StoreProblem.DAMAGED, "it is made anew"),
        ("Table with name verifies does not exist!", StoreProblem.OTHER, "move it away"),
        ("", StoreProblem.OTHER, "move it away"),
    ],
)
def test_every_problem_has_its_own_advice(said: str, kind: StoreProblem, advice: str) -> None:
    assert find_store_problem(said) is kind
    told = explain_store_problem("/data/user.duckdb", said, "it is made anew")
    assert advice in told and "\n" not in told


def test_names_aside_are_the_first_that_are_free() -> None:
    assert name_aside("user.duckdb", frozenset()) == "user.damaged-1.duckdb"
    assert name_aside("user.duckdb", frozenset({"user.damaged-1.duckdb"})) == "user.damaged-2.duckdb"
