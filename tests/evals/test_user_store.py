"""The person's database: what goes in comes out, and every way the file can be unusable says what to do."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from evals.user_store import FILE_NAME, Ingested, UserStore, explain_problem
from evals.verify import Difference, VerifyResult
from sizing.errors import UserStoreError
from sizing.workload import Workload

RESULT = VerifyResult(
    model_id="somebody/a-model",
    quant="Q4_K_M",
    machine="two cards",
    workload=Workload(8192, 4, n_ubatch=1024, kv_type_k="q8_0", kv_unified=True),
    engine="llama-cpp-python 1.2.3",
    engine_s=0.25,
    n_gpu_layers=33,
    n_cpu_moe=2,
    differences=(
        Difference("card", 1, "weight_bytes", 2**40, 2**40 - 1),
        Difference("card", 2, "output_bytes", 100, 4000, is_rounded=True),
    ),
)


def test_a_comparison_comes_back_as_it_was_newest_first(tmp_path: Path) -> None:
    store = UserStore(tmp_path)
    assert store.list_verifies() == ()
    store.keep_verify(RESULT, "2026-01-02T03:04:05+00:00")
    store.keep_verify(dataclasses.replace(RESULT, quant="Q8_0", differences=()), "2026-01-03T03:04:05+00:00")
    newest, oldest = UserStore(tmp_path).list_verifies()
    assert (newest.checked_at, newest.result.quant) == ("2026-01-03T03:04:05+00:00", "Q8_0")
    assert oldest.result == RESULT


def test_equality_and_the_worst_difference() -> None:
    assert not RESULT.is_equal
    assert RESULT.worst is RESULT.differences[0]  # 3,900 bytes of an output are what a log rounds away
    assert RESULT.difference_bytes == 1 - 3900
    assert dataclasses.replace(RESULT, differences=RESULT.differences[1:]).worst is None


def test_run_files_are_taken_in_once_however_often(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    runs.mkdir()
    lines = [json.dumps({"run_id": name, "speed": n}) for n, name in enumerate(("a", "b"))]
    (runs / "bench.jsonl").write_text("\n".join([*lines, '{"run_id": "cut', "[]", "", '{"run_id": 7}']))
    store = UserStore(tmp_path)
    assert store.ingest_runs() == Ingested(2, 0, 3)
    with (runs / "bench.jsonl").open("a") as file:
        file.write("\n" + json.dumps({"run_id": "c"}) + "\n")
    assert store.ingest_runs() == Ingested(1, 2, 3)
    assert store.ingest_runs() == Ingested(0, 3, 3)
    assert [json.loads(r)["run_id"] for r in store.list_runs("bench")] == ["a", "b", "c"]
    assert store.list_runs("other") == ()


def test_the_folder_is_the_one_the_environment_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEIGHBRIDGE_HOME", str(tmp_path / "mine"))
    UserStore().keep_verify(RESULT)
    assert (tmp_path / "mine" / FILE_NAME).exists()


@pytest.mark.parametrize("content", [b"no database at all" * 400, b"\0" * 20_000])
def test_a_damaged_file_is_an_error_that_says_what_to_do(content: bytes, tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(content)
    store = UserStore(tmp_path)
    for operation in (store.list_verifies, lambda: store.keep_verify(RESULT)):
        with pytest.raises(UserStoreError, match=r"user\.duckdb is damaged or of another version .* move it away"):
            operation()
    assert (tmp_path / FILE_NAME).read_bytes() == content  # nothing of it is lost


def test_a_file_cut_short_is_an_error(tmp_path: Path) -> None:
    store = UserStore(tmp_path)
    store.keep_verify(RESULT)
    whole = store.path.read_bytes()
    store.path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserStoreError, match="move it away"):
        store.list_verifies()


HOLDER = """
import sys, duckdb
kept = duckdb.connect(sys.argv[1])
print("held", flush=True)
sys.stdin.read()
"""


def test_a_file_in_use_by_another_process_is_an_error(tmp_path: Path) -> None:
    store = UserStore(tmp_path)
    store.keep_verify(RESULT)
    asked = [sys.executable, "-c", HOLDER, str(store.path)]
    with subprocess.Popen(asked, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
        with pytest.raises(UserStoreError, match="in use by another process; close the other app"):
            store.keep_verify(RESULT)
        with pytest.raises(UserStoreError, match="in use by another process"):
            store.list_verifies()
        holder.kill()
    assert len(store.list_verifies()) == 1


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="needs an owner whom permissions bind")
def test_a_folder_that_cannot_be_written_can_still_be_read(tmp_path: Path) -> None:
    store = UserStore(tmp_path)
    store.keep_verify(RESULT)
    store.path.chmod(0o444)
    tmp_path.chmod(0o555)
    try:
        assert len(store.list_verifies()) == 1
        with pytest.raises(UserStoreError, match="cannot be written"):
            store.keep_verify(RESULT)
    finally:
        tmp_path.chmod(0o755)


def test_a_home_that_is_a_file_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "home").write_text("")
    monkeypatch.setenv("WEIGHBRIDGE_HOME", str(tmp_path / "home"))
    with pytest.raises(UserStoreError, match="WEIGHBRIDGE_HOME"):
        UserStore()


def test_every_problem_has_its_own_advice() -> None:
    path = Path("user.duckdb")
    assert "close the other app" in explain_problem(path, OSError("Could not set lock on file"))
    assert "free it or name another folder" in explain_problem(path, OSError("Permission denied"))
    assert "not a database of this app" in explain_problem(path, OSError("Table with name verifies does not exist!"))
