"""The pages under each fault: they open, and the person reads what is wrong and what to do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from catalog import import_store
from catalog.import_store import ImportStore
from catalog.store import open_catalog
from evals import user_store
from evals.user_store import UserStore
from pages.ui import cached
from tests.catalog.import_cases import make_import
from tests.faults.conftest import SmallDisk
from tests.faults.test_user_database import damage, hold
from tests.pages.eval_runs import QWEN, write_run

APP = Path(__file__).resolve().parents[2] / "app.py"
PAGES = ("choose", "evaluate", "imports")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The person's folder, with no answer remembered of another one."""
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("WEIGHBRIDGE_HOME", str(folder))
    monkeypatch.setattr(user_store, "LOCK_WAIT_S", 0.05)
    monkeypatch.setattr(import_store, "LOCK_WAIT_S", 0.05)
    st.cache_data.clear()
    yield folder
    st.cache_data.clear()


@pytest.fixture
def own_catalog(home: Path) -> Iterator[ImportStore]:
    """One import in the folder, and a catalog opened anew for it."""
    store = ImportStore(home)
    store.keep(make_import(open_catalog(), "a/one"))
    cached.renew_catalog()
    yield store
    cached.renew_catalog()


def look_at_pages() -> dict[str, str]:
    """Open the pages one after the other as a person would; the warnings and errors of each, as one text."""
    app = AppTest.from_file(str(APP), default_timeout=60)
    told = {}
    for page in PAGES:
        if page != "choose":
            app.switch_page(f"pages/{page}.py")
        app.run()
        assert not app.exception, f"{page}: {app.exception}"
        told[page] = "\n".join(note.value for note in (*app.warning, *app.error)).replace("\\", "")
        assert len(app.main) > 1, f"{page} is empty"
    return told


def expect_everywhere(*words: str) -> None:
    for page, text in look_at_pages().items():
        for word in words:
            assert word in text, f"{page} does not say {word!r}: {text!r}"


def test_nothing_is_wrong_and_nothing_is_said(home: Path) -> None:
    assert set(look_at_pages().values()) == {""}


def test_no_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "file").write_text("")
    monkeypatch.setenv("WEIGHBRIDGE_HOME", str(home / "file" / "home"))
    expect_everywhere("Your folder for results and imports cannot be made", "WEIGHBRIDGE_HOME")


def test_a_read_only_home(home: Path, no_writing: Callable[[Path], None]) -> None:
    write_run(home, QWEN, [True] * 5)
    no_writing(home)
    expect_everywhere("cannot be written, so nothing new is kept")


def test_a_full_disk(home: Path, disk: SmallDisk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEIGHBRIDGE_HOME", str(disk.path))
    write_run(disk.path, QWEN, [True] * 5)
    disk.fill()
    expect_everywhere("is full", "free some room")


def test_a_damaged_database(home: Path) -> None:
    write_run(home, QWEN, [True] * 5)
    UserStore(home).path.write_bytes(b"no database" * 400)
    expect_everywhere("user.duckdb was damaged and made anew", "user.damaged-1.duckdb")


def test_a_database_in_use_and_then_let_go(home: Path) -> None:
    write_run(home, QWEN, [True] * 5)
    with UserStore(home).open(writing=True):
        pass
    with hold(UserStore(home).path, 60) as holder:
        expect_everywhere("user.duckdb is in use by another process; close the other app")
        holder.kill()
    st.cache_data.clear()  # three seconds later
    assert "in use" not in "".join(look_at_pages().values())


def test_damaged_imports(own_catalog: ImportStore) -> None:
    damage(own_catalog.path, "other")
    expect_everywhere("imports.duckdb was damaged and made anew", "imports.damaged-1.duckdb")


def test_imports_in_use_and_then_let_go(own_catalog: ImportStore) -> None:
    with hold(own_catalog.path, 60) as holder:
        expect_everywhere("imported models are left out: imports.duckdb is in use by another process")
        holder.kill()
    st.cache_data.clear()  # three seconds later
    assert "left out" not in "".join(look_at_pages().values())
    assert "a/one" in cached.list_imported_ids()
