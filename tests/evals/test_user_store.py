"""The person's database: what goes in comes out. How it can be unusable is tried in tests/faults."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from evals.user_store import UserStore
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


def test_the_folder_is_the_one_the_environment_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEIGHBRIDGE_HOME", str(tmp_path / "mine"))
    UserStore().keep_verify(RESULT)
    assert UserStore(tmp_path / "mine").list_verifies()[0].result == RESULT


def test_a_home_that_is_a_file_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "home").write_text("")
    monkeypatch.setenv("WEIGHBRIDGE_HOME", str(tmp_path / "home"))
    with pytest.raises(UserStoreError, match="WEIGHBRIDGE_HOME"):
        UserStore()
