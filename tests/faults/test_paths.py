"""No path that a page is given leads where it should not: links, dots, pipes, devices, /proc, an app open to others."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
from pathlib import Path

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from catalog.local_models import find_local_models
from evals.home import find_home
from evals.own_suites import clean_name, save_own_suite
from evals.run_files import find_run_path
from evals.tested_models import MODEL_FILE
from pages.ui import evaluation, local_files, reach
from sizing.errors import BadInputError, UserStoreError, WeighbridgeError

APP = Path(__file__).resolve().parents[2] / "app.py"
SECRET = "what nobody may read here"


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A folder with a model, and beside it a file that is nobody's business."""
    (tmp_path / "secret.txt").write_text(SECRET)
    folder = tmp_path / "models"
    folder.mkdir()
    shutil.copy(MODEL_FILE, folder / "model.gguf")
    return folder


@pytest.fixture
def exposed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The app as if it were bound to every address, its user's stores elsewhere."""
    monkeypatch.setattr(st, "get_option", lambda name: "0.0.0.0" if name == "server.address" else None)
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    for name in ("HF_HOME", "HF_HUB_CACHE", "XDG_CACHE_HOME", "OLLAMA_MODELS", reach.FOLDERS_VARIABLE):
        monkeypatch.delenv(name, raising=False)


def test_a_model_file_is_read(models: Path) -> None:
    assert evaluation.read_file_facts(str(models / "model.gguf")).problem == ""


@pytest.mark.parametrize(
    "path",
    ["/etc/passwd", "/etc/shadow", "/proc/self/environ", "/proc/self/mem", "/dev/zero", "/dev/stdin", "/sys/kernel"],
)
def test_what_is_no_model_file_is_not_even_looked_at(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation, "load_header", lambda path: pytest.fail("it was opened"))
    facts = evaluation.read_file_facts(path)
    assert facts.problem.endswith("a model file's name ends in .gguf")
    assert evaluation.read_file_facts(path + "-not-there").problem.endswith("a model file's name ends in .gguf")


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("/proc/self/environ", "the system's own"),
        ("/dev/zero", "the system's own"),
        ("/dev/stdin", ""),
        ("../secret.txt", "no usable GGUF file"),
        ("pipe", "no regular file"),
        (".", "is a folder"),
        ("gone", "there is no file"),
        ("link.gguf", "there is no file"),
    ],
)
def test_a_name_that_ends_rightly_and_leads_elsewhere_is_refused(models: Path, target: str, words: str) -> None:
    os.mkfifo(models / "pipe")
    (models / "link.gguf").symlink_to(target)
    problem = evaluation.read_file_facts(str(models / "link.gguf")).problem
    assert problem and words in problem
    assert SECRET[:4] not in problem  # not even the first bytes, which a magic number would be
    findings = find_local_models((), (models,))
    assert [m.name for m in findings.models] == ["model"]


@pytest.mark.parametrize("text", ["models/model.gguf", "../model.gguf", "", "x" * 1001, "/a|b.gguf", "/a\0b.gguf"])
def test_a_path_that_is_none_is_refused(text: str) -> None:
    assert evaluation.read_file_facts(text).problem


@pytest.mark.parametrize("folder", ["/proc", "/proc/self/fd", "/dev", "/dev/../proc/self", "/sys/kernel"])
def test_no_folder_of_the_system_is_looked_through(folder: str) -> None:
    assert "the system's own" in local_files.check_folder(folder)
    assert not any(str(m.paths[0]).startswith(folder) for m in local_files.find_models((folder,)).models)


def test_a_link_to_such_a_folder_is_that_folder(models: Path) -> None:
    (models / "p").symlink_to("/proc/self")
    assert "the system's own" in local_files.check_folder(str(models / "p"))


def test_an_app_open_to_others_looks_only_where_its_owner_said(
    models: Path, exposed: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside, outside = models / "model.gguf", models.parent / "other.gguf"
    shutil.copy(MODEL_FILE, outside)
    (models / "link.gguf").symlink_to(outside)
    for path in (inside, outside):
        assert "open to other machines" in evaluation.read_file_facts(str(path)).problem
    assert "open to other machines" in local_files.check_folder(str(models))
    assert local_files.find_models((str(models),)).models == ()
    monkeypatch.setenv(reach.FOLDERS_VARIABLE, f"{models}{os.pathsep}/nowhere")
    assert evaluation.read_file_facts(str(inside)).problem == "" and local_files.check_folder(str(models)) == ""
    dots = str(models / ".." / "other.gguf")
    for path in (str(outside), str(models / "link.gguf"), dots, f"{models}-more/x.gguf"):
        assert "open to other machines" in evaluation.read_file_facts(path).problem
    assert "open to other machines" in local_files.check_folder(str(models / ".."))


@pytest.mark.parametrize(
    ("address", "is_open"),
    [("127.0.0.1", False), ("::1", False), ("localhost", False), ("0.0.0.0", True), ("::", True), ("box.lan", True)],
)
def test_the_address_bound_tells_whether_others_come(
    address: str, is_open: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(st, "get_option", lambda name: address)
    assert reach.is_exposed() == is_open


def test_a_link_with_paths_in_it_opens_no_file(models: Path) -> None:
    address = {"models": "file:/etc/passwd|file:/proc/self/environ", "folders": "/proc|/etc"}
    for page in ("evaluate", "imports"):
        app = AppTest.from_file(str(APP), default_timeout=60)
        app.switch_page(f"pages/{page}.py")
        for name, value in address.items():
            app.query_params[name] = value
        app.run()
        assert not app.exception
        said = "\n".join(str(getattr(element, "value", "")) for element in app.main)
        assert "root:" not in said and "PATH=" not in said


@pytest.mark.parametrize("name", ["../../x", "/etc/cron.d/x", "a/b", "..", "x\0y", "~/x", "CON"])
def test_names_the_person_gives_stay_in_their_folder(name: str, tmp_path: Path) -> None:
    item = {"id": "1", "prompt": "p", "scorer": "exact", "expected": '"a"', "category": "", "choices": []}
    try:
        saved = save_own_suite(tmp_path, name, [item])
    except BadInputError:
        saved = None
    assert saved is None or saved.resolve().is_relative_to(tmp_path.resolve())
    assert all(path.is_relative_to(tmp_path) for path in tmp_path.rglob("*"))
    with contextlib.suppress(BadInputError):
        assert "/" not in clean_name(name)
    with pytest.raises(BadInputError):
        find_run_path(tmp_path, name if name != "CON" else "../CON")


def test_a_user_without_a_home_is_told_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(uid: int) -> None:
        raise KeyError(uid)

    for name in ("HOME", "WEIGHBRIDGE_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", refuse)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserStoreError, match="cannot be made .*home.* name another in WEIGHBRIDGE_HOME"):
        find_home()
    assert not any(tmp_path.iterdir())  # no folder called "~"
    assert not reach.find_user_home().exists()
    monkeypatch.setenv("WEIGHBRIDGE_HOME", "~nobody-of-this-name/x")
    with pytest.raises(WeighbridgeError, match="WEIGHBRIDGE_HOME"):
        find_home()
