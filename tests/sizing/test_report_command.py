"""`python -m sizing report`: one page in two forms, one line for what is wrong."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.license_command import read_profile
from sizing.__main__ import build_parser, main
from sizing.candidate import LICENSE_USES, TASKS, Needs
from sizing.license_profile import FIELDS_OF_USE, LicenseProfile
from sizing.report_command import format_report_command
from sizing.workload import Workload

ASK = ["report", "--task", "code", "--hardware", "RTX 4090", "--context", "16384"]


def test_the_page_goes_to_a_file_of_either_form_or_to_the_screen(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    page = tmp_path / "report.html"
    assert main([*ASK, "--out", str(page)]) == 0
    captured = capsys.readouterr()
    assert captured.out == "" and str(page) in captured.err
    text = page.read_text(encoding="utf-8")
    assert text.startswith("<!doctype html>") and "16,384 tokens" in text and "llama-server" in text
    assert main(ASK) == 0
    told = capsys.readouterr().out
    title = next(line for line in told.splitlines() if line.startswith("# "))
    assert title.removeprefix("# ").replace("\\", "") in text
    assert shlex.join(["python", "-m", "sizing", *ASK]) in told


@pytest.mark.parametrize(
    ("argv", "told"),
    [(["--out", "report.pdf"], "report.pdf"), (["--task", "cooking"], "cooking"), (["--context", "0"], "context")],
)
def test_what_is_wrong_is_said_in_one_line(argv: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", *argv]) == 2
    error = capsys.readouterr().err
    assert told in error and error.count("\n") == 1


def test_a_folder_that_is_not_there_is_said(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main([*ASK, "--out", str(tmp_path / "absent" / "report.md")]) == 1
    assert "absent" in capsys.readouterr().err


@given(
    st.sampled_from(TASKS),
    st.integers(1, 10**6),
    st.integers(1, 64),
    st.sampled_from(LICENSE_USES),
    st.builds(
        LicenseProfile,
        users_per_month=st.none() | st.integers(0, 10**9),
        revenue_usd_per_year=st.none() | st.integers(0, 10**12),
        region=st.sampled_from(("", "DE", "EU", "US")),
        fine_tunes=st.none() | st.booleans(),
        redistributes=st.none() | st.booleans(),
        trains_on_outputs=st.none() | st.booleans(),
        fields=st.frozensets(st.sampled_from(FIELDS_OF_USE)),
    ),
)
def test_the_command_asks_the_same_question(
    task: str, context: int, users: int, use: str, profile: LicenseProfile
) -> None:
    needs = Needs(task, Workload(context_tokens=context, n_parallel=users), 2.5, use, profile)
    words = shlex.split(format_report_command("RTX 4090*2 + 64 GB DDR5-5600", needs))
    assert words[:3] == ["python", "-m", "sizing"]
    args = build_parser().parse_args(words[3:])
    assert (args.task, args.context, args.parallel, args.min_speed) == (task, context, users, 2.5)
    assert (args.license_use, args.hardware) == (use, "RTX 4090*2 + 64 GB DDR5-5600")
    if use != "any":
        assert read_profile(args, "commercial") == profile
