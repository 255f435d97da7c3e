"""Published memory of fine-tuning: every row has its source, and ours is as near as we say."""

from __future__ import annotations

from pathlib import Path
from statistics import median

import pytest

from catalog.finetune_logs import FILE, check_training_logs, load_training_logs
from catalog.models import DATA_DIR
from catalog.store import open_catalog
from sizing.__main__ import main
from sizing.errors import DataFileError

MEDIAN_WITHIN, WORST_WITHIN = 0.15, 0.45
"""What is published leaves the sequence open in most rows; they are makers' rules of thumb, and ours is no better."""

CHECKS = check_training_logs(open_catalog())


def test_there_are_enough_figures_and_each_has_a_source():
    logs = load_training_logs()
    assert len(logs) >= 16 and all(log.source_url.startswith("https://") and log.mind for log in logs)


def test_the_median_error_is_what_we_say_and_none_is_far_off():
    errors = [abs(c.error) for c in CHECKS]
    assert median(errors) <= MEDIAN_WITHIN
    assert max(errors) <= WORST_WITHIN


def test_what_was_measured_is_within_a_tenth():
    measured = [c for c in CHECKS if c.log.kind == "measured"]
    assert len(measured) == 2
    assert all(abs(c.error) < 0.1 for c in measured)


def test_the_command_prints_every_figure_and_the_median(capsys):
    assert main(["finetune-check"]) == 0
    told = capsys.readouterr().out.splitlines()
    assert len(told) == len(CHECKS) + 1 and "median" in told[-1]


def test_a_row_that_says_nothing_usable_is_named_by_file_and_line(tmp_path: Path):
    text = (DATA_DIR / FILE).read_text(encoding="utf-8")
    (tmp_path / FILE).write_text(text.replace(",lora,", ",dora,", 1), encoding="utf-8")
    with pytest.raises(DataFileError, match=r"finetune_memory\.csv:3: .*dora"):
        load_training_logs(tmp_path)
