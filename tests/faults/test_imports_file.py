"""The file of imports held, full, read-only, damaged, shared: the catalog opens each time and says what is missing."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from catalog import import_store
from catalog.import_store import ImportStore
from catalog.store import Catalog, open_catalog
from sizing.errors import StoreRebuiltError, UserStoreError
from tests.catalog.import_cases import make_import
from tests.faults.conftest import SmallDisk
from tests.faults.test_user_database import damage, hold

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return open_catalog()


def fill(home: Path, catalog: Catalog, n: int = 3) -> ImportStore:
    store = ImportStore(home)
    store.keep_many(make_import(catalog, f"a/model-{i}") for i in range(n))
    return store


@pytest.mark.parametrize("how", ["cut", "other", "pages"])
def test_a_damaged_file_is_moved_aside_and_the_catalog_opens_at_once(
    catalog: Catalog, tmp_path: Path, how: str
) -> None:
    store = fill(tmp_path, catalog)
    damage(store.path, how)
    damaged = store.path.read_bytes()
    opened = open_catalog(imports=tmp_path)
    assert len(opened.cards) - opened.n_curated in (0, 3)
    assert any("imports.duckdb was damaged and made anew" in note for note in opened.notes)
    assert (tmp_path / "imports.damaged-1.duckdb").read_bytes() == damaged
    store.keep(make_import(catalog, "a/new"))
    assert "a/new" in store.list_ids()


def test_what_can_be_read_of_a_damaged_file_is_kept(catalog: Catalog, tmp_path: Path) -> None:
    store = fill(tmp_path, catalog)
    kept = store.load()
    told = r"damaged and made anew with 3 models .* which is imports\.damaged-1\.duckdb"
    with pytest.raises(StoreRebuiltError, match=told), store.open(writing=False):
        raise OSError("Corrupt database file: computed checksum 1 does not match stored checksum 2")
    assert store.load() == kept
    (tmp_path / "imports.damaged-1.duckdb").unlink()
    assert store.find_note() == "" and open_catalog(imports=tmp_path).notes == catalog.notes


def test_a_file_in_use_is_said_and_the_imports_are_back_once_it_is_let_go(
    catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(import_store, "LOCK_WAIT_S", 0.05)
    store = fill(tmp_path, catalog)
    with hold(store.path, 60) as holder:
        with pytest.raises(UserStoreError, match=r"imports\.duckdb is in use by another process"):
            store.keep(make_import(catalog, "a/new"))
        assert any("left out" in note and "in use" in note for note in open_catalog(imports=tmp_path).notes)
        holder.kill()
    assert len(open_catalog(imports=tmp_path).cards) == len(catalog.cards) + 3


def test_a_file_held_for_a_moment_is_waited_for(
    catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(import_store, "LOCK_WAIT_S", 20.0)
    store = fill(tmp_path, catalog)
    with hold(store.path, 0.3):
        assert len(open_catalog(imports=tmp_path).cards) == len(catalog.cards) + 3


WRITER = """
import sys
from pathlib import Path
from catalog import import_store
from catalog.store import open_catalog
from tests.catalog.import_cases import make_import
import_store.LOCK_WAIT_S = 30.0
catalog = open_catalog()
for number in range(4):
    import_store.ImportStore(Path(sys.argv[1])).keep(make_import(catalog, f"{sys.argv[2]}/m{number}"))
"""


def test_two_apps_on_one_file_lose_nothing(tmp_path: Path) -> None:
    started = [subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path), name], cwd=ROOT) for name in ("a", "b")]
    assert [process.wait(timeout=100) for process in started] == [0, 0]
    assert len(ImportStore(tmp_path).list_ids()) == 8


def test_a_full_disk_is_said_and_what_was_there_stays(catalog: Catalog, disk: SmallDisk) -> None:
    store = fill(disk.path, catalog)
    disk.fill()
    with pytest.raises(UserStoreError, match=r"the disk is full"):
        store.keep_many(make_import(catalog, f"b/model-{i}") for i in range(40))
    assert len(store.list_ids()) == 3
    disk.empty()
    store.keep(make_import(catalog, "b/model"))
    assert len(open_catalog(imports=disk.path).cards) == len(catalog.cards) + 4


def test_a_read_only_folder_can_be_read(catalog: Catalog, tmp_path: Path, no_writing: Callable[[Path], None]) -> None:
    store = fill(tmp_path, catalog)
    no_writing(tmp_path)
    assert len(open_catalog(imports=tmp_path).cards) == len(catalog.cards) + 3
    with pytest.raises(UserStoreError, match=r"cannot be written .* WEIGHBRIDGE_HOME"):
        store.keep(make_import(catalog, "a/new"))
