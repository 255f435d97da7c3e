"""One opened catalog for all tests of this room, and a copy of its data for those that break it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from catalog.models import DATA_DIR
from catalog.store import Catalog, open_catalog


@pytest.fixture(scope="session")
def catalog() -> Catalog:
    return open_catalog()


@pytest.fixture
def data_copy(tmp_path: Path) -> Path:
    """The repository's facts without the weights, free to be broken."""
    folder = tmp_path / "data"
    shutil.copytree(DATA_DIR, folder, ignore=shutil.ignore_patterns("*.parquet"))
    return folder
