"""The catalog's version: it follows the facts and nothing else."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from catalog.models import DATA_DIR
from catalog.queries import list_sources
from catalog.store import Catalog, open_catalog
from catalog.version import CatalogVersion, hash_facts, read_version
from sizing.errors import BadInputError


@pytest.fixture
def data_copy(tmp_path: Path) -> Path:
    """All of the repository's facts, free to be changed."""
    folder = tmp_path / "data"
    shutil.copytree(DATA_DIR, folder)
    return folder


def test_it_is_the_day_of_the_newest_fact_and_a_hash(catalog: Catalog) -> None:
    assert re.fullmatch(r"20\d\d-\d\d-\d\d\.[0-9a-f]{8}", catalog.version.text)
    assert catalog.version.newest == max(s.as_of for s in list_sources(catalog))
    assert read_version(catalog.version.text) == catalog.version


def test_the_same_files_elsewhere_have_the_same_version(catalog: Catalog, data_copy: Path) -> None:
    assert hash_facts(data_copy) == catalog.version.digest
    file = data_copy / "hardware.csv"
    file.write_bytes(file.read_bytes().replace(b"\n", b"\r\n"))
    (data_copy / "notes.md").write_text("words are no facts", encoding="utf-8")
    assert hash_facts(data_copy) == catalog.version.digest


@pytest.mark.parametrize("name", ["speeds.csv", "licenses.toml", "weights.parquet", "families/qwen3.toml"])
def test_one_changed_byte_is_another_version(catalog: Catalog, data_copy: Path, name: str) -> None:
    file = data_copy / name
    content = file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert hash_facts(data_copy) != catalog.version.digest


def test_a_fact_that_moves_to_another_file_is_another_version(data_copy: Path) -> None:
    before = hash_facts(data_copy)
    shutil.move(data_copy / "families" / "qwen3.toml", data_copy / "families" / "qwen3-again.toml")
    assert hash_facts(data_copy) != before


def test_a_newer_fact_moves_the_day(data_copy: Path) -> None:
    file = data_copy / "prices.csv"
    text = file.read_text(encoding="utf-8")
    day = open_catalog(data_copy).version.newest
    file.write_text(re.sub(r"20\d\d-\d\d-\d\d(?=[^\n]*\n?\Z)", "2031-01-02", text, count=1), encoding="utf-8")
    assert "2031-01-02" in file.read_text(encoding="utf-8")
    assert open_catalog(data_copy).version.newest == "2031-01-02" > day


@pytest.mark.parametrize(
    "text", ["", "latest", "2026-11-25", "2026-11-25.", "2026-11-25.3FA9C1D2", "2026-11-25.3fa9c1d2 ", "x" * 5000]
)
def test_what_is_no_version_is_refused_in_a_line(text: str) -> None:
    with pytest.raises(BadInputError, match=r"catalog wants a version such as 2026-11-25\.3fa9c1d2, got") as refusal:
        read_version(text)
    assert len(str(refusal.value)) < 200


def test_a_month_is_a_day_where_no_more_is_known() -> None:
    assert read_version("2026-11.00000000") == CatalogVersion("2026-11", "00000000")
