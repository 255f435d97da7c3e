"""The Import page against a Hub on this machine: search, import past failures, files, downloads, what is here."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from catalog.import_store import ImportStore
from catalog.importing_local import import_file
from catalog.models import load_families
from evals import weigh
from pages.ui import cached, import_jobs, inputs
from tests.catalog.hub_models import DEMO, make_demo, make_small, make_small_gguf
from tests.catalog.model_hub import ModelHub, ModelRepository

OpenPage = Callable[..., AppTest]
SECRET = "hf_" + "s" * 34
TIMEOUT_S = 60.0
APP = Path(__file__).resolve().parents[2] / "app.py"


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A person's folder and a cache that are empty, and no store of another program."""
    home = tmp_path / "home"
    monkeypatch.setenv("WEIGHBRIDGE_HOME", str(home))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path / "person"))
    monkeypatch.setenv("HF_TOKEN", SECRET)
    monkeypatch.setattr(weigh, "ask_weights", lambda spec: "llama.cpp was not asked in this test")
    st.cache_resource.clear()
    yield home
    st.cache_resource.clear()


@pytest.fixture
def model_hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModelHub]:
    broken = ModelRepository("eve/broken", {"config.json": b"<html>"})
    with ModelHub([make_small(), make_small_gguf(), make_demo(), broken], tokens=[SECRET]) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        yield hub


@pytest.fixture
def open_page() -> OpenPage:
    """Open a page straight from a link: one run of the script, no other page before it."""

    def run(page: str = "imports", **address: str) -> AppTest:
        app = AppTest.from_file(str(APP), default_timeout=90)
        app.switch_page(f"pages/{page}.py")
        for name, value in address.items():
            app.query_params[name] = value
        return app.run()

    return run


def html_of(app: AppTest) -> str:
    return " ".join(e.proto.body for e in app.get("html"))


def said_by(app: AppTest) -> str:
    return " ".join(e.value for e in [*app.warning, *app.error])


def wait_until(is_done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not is_done():
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.05)


def import_by_name(app: AppTest, *names: str) -> AppTest:
    app.text_area(key="hub_names").set_value("\n".join(names))
    app.button(key="hub_import_names").click().run()
    wait_until(lambda: not import_jobs.imports().is_busy)
    return app.run()


def test_opening_the_page_asks_nothing_of_the_network(open_page: OpenPage, model_hub: ModelHub) -> None:
    app = open_page("imports")
    assert not app.exception
    assert "Nothing was imported yet" in html_of(app)
    assert model_hub.asked == []


def test_a_search_lists_repositories_and_an_import_makes_citizens(open_page: OpenPage, model_hub: ModelHub) -> None:
    app = open_page("imports", hub="small")
    app.button(key="hub_search").click().run()
    assert list(app.dataframe[0].value["Repository"]) == ["ada/Small-135M", "ada/Small-135M-GGUF"]
    app = import_by_name(app, "ada/Small-135M-GGUF", "eve/broken", "nobody/there")
    assert "1 of 3 repositories imported, 2 refused" in html_of(app)
    assert "eve/broken" in html_of(app) and "nobody/there" in html_of(app)
    assert "1 model was imported" in html_of(app)
    assert cached.find_card("ada/Small-135M-GGUF").spec.n_layers == 30
    assert SECRET not in html_of(app) + said_by(app)


def test_an_imported_mix_is_sized_offline_under_its_own_name(
    open_page: OpenPage, model_hub: ModelHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    import_by_name(open_page("imports"), "ada/Small-135M-GGUF")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    n_asked = len(model_hub.asked)
    app = open_page("size", model="ada/Small-135M-GGUF", quant="UD-Q4_K_XL", machine="RTX 4090")
    assert not app.exception
    assert "UD-Q4_K_XL" in html_of(app)
    assert any("small-UD-Q4_K_XL.gguf" in code.value for code in app.code)
    assert len(model_hub.asked) == n_asked


def test_a_file_is_fetched_once_and_then_offered(open_page: OpenPage, model_hub: ModelHub) -> None:
    import_by_name(open_page("imports"), "weighbridge/demo-GGUF")
    model = cached.find_import("weighbridge/demo-GGUF")
    assert model is not None
    app = open_page("size", model="weighbridge/demo-GGUF", quant="F16", context="512")
    app.button(key="get_file").click().run()
    jobs = import_jobs.downloads()
    wait_until(lambda: all(state.is_over for _, state in jobs.list_all()))
    ((fetched, state),) = jobs.list_all()
    assert (state.status, fetched.title) == ("done", f"{model.card.name} at F16")
    assert state.path is not None and state.path.read_bytes() == DEMO.read_bytes()
    app = open_page("size", model="weighbridge/demo-GGUF", quant="F16", context="512")
    assert f"On this machine: {state.path}" in html_of(app)
    assert any(str(state.path) in code.value for code in app.code)
    app = open_page("imports")
    assert "Here, and checked" in html_of(app)


def test_a_download_that_fails_says_why_and_can_go_on(open_page: OpenPage, model_hub: ModelHub) -> None:
    import_by_name(open_page("imports"), "weighbridge/demo-GGUF")
    model_hub.repositories["weighbridge/demo-GGUF"].gated = "manual"
    app = open_page("size", model="weighbridge/demo-GGUF", quant="F16", context="512")
    app.button(key="get_file").click().run()
    jobs = import_jobs.downloads()
    wait_until(lambda: all(state.is_over for _, state in jobs.list_all()))
    app = open_page("imports")
    assert "gated" in said_by(app)
    model_hub.repositories["weighbridge/demo-GGUF"].gated = ""
    next(b for b in app.button if b.label == "Go on").click().run()
    wait_until(lambda: all(state.is_over for _, state in jobs.list_all()))
    assert jobs.list_all()[0][1].status == "done"


def test_what_the_hub_says_otherwise_is_shown_and_taken_over(
    open_page: OpenPage, model_hub: ModelHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    import_by_name(open_page("imports"), "ada/Small-135M-GGUF")
    monkeypatch.setattr(inputs, "picked_row", lambda key: 0 if key == "imported_rows" else None)
    app = open_page("imports")
    app.button(key="compare_import").click().run()
    assert "The Hub says just what was imported" in html_of(app)
    repository = model_hub.repositories["ada/Small-135M-GGUF"]
    repository.files = {k: v for k, v in repository.files.items() if "UD-" not in k}
    app.button(key="compare_import").click().run()
    table = next(d.value for d in app.dataframe if "The Hub now" in d.value.columns)
    assert "revision" in list(table["Fact"])
    app.button(key="take_changes").click().run()
    wait_until(lambda: not import_jobs.imports().is_busy)
    app = open_page("imports")
    model = cached.find_import("ada/Small-135M-GGUF")
    assert model is not None and model.revision == repository.commit and len(model.files) == 1


def test_forgetting_an_import_takes_it_out_of_the_catalog(open_page: OpenPage, model_hub: ModelHub) -> None:
    import_by_name(open_page("imports"), "ada/Small-135M-GGUF")
    cached.open_imports().forget("ada/Small-135M-GGUF")
    app = open_page("imports")
    assert "Nothing was imported yet" in html_of(app)


@pytest.mark.parametrize("names", ["../../etc/passwd", "a/b/c", "https://huggingface.co/a/b", "a b", "x" * 300])
def test_a_name_that_is_none_is_refused_in_words(open_page: OpenPage, model_hub: ModelHub, names: str) -> None:
    app = import_by_name(open_page("imports"), names)
    assert not app.exception
    assert "0 repository imported, 1 refused" in html_of(app)
    assert model_hub.asked == []


def test_no_network_is_a_sentence(open_page: OpenPage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    app = open_page("imports")
    app.button(key="hub_search").click().run(timeout=60)
    assert not app.exception
    assert "online" in said_by(app) and "On this machine need no network" in said_by(app)


def test_files_on_this_machine_are_found_sized_and_offered(open_page: OpenPage, own_home: Path, tmp_path: Path) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "demo-F16.gguf").write_bytes(DEMO.read_bytes())
    (folder / "web.gguf").write_text("<html>")
    app = open_page("imports", folders=str(folder))
    assert not app.exception
    table = next(d.value for d in app.dataframe if "Kept by" in d.value.columns)
    assert list(table["Quantization"]) == ["F16"]
    assert any(e.label.startswith("Left out: 1") for e in app.expander)


def test_a_picked_file_is_taken_in_and_told_at_once(
    open_page: OpenPage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "demo-F16.gguf").write_bytes(DEMO.read_bytes())
    monkeypatch.setattr(inputs, "picked_rows", lambda key: (0,) if key == "local_rows" else ())
    app = open_page("imports", folders=str(folder))
    table = next(d.value for d in app.dataframe if "Kept by" in d.value.columns)
    assert "State" not in table.columns  # every file is complete
    app.button(key="local_import").click().run()
    assert not app.exception
    assert "1 model was imported" in html_of(app).replace("\u00a0", " ")
    assert "Size demo-F16 at F16" in [link.proto.label for link in app.get("page_link")]


def test_a_local_file_becomes_a_model_to_size(open_page: OpenPage, own_home: Path) -> None:
    found = import_file([DEMO], "weighbridge-demo", "F16", load_families())
    ImportStore(own_home).keep(found)
    app = open_page("size", model="local/weighbridge-demo", quant="F16", context="512")
    assert not app.exception
    assert "weighbridge-demo" in html_of(app)
    assert any(str(DEMO) in code.value for code in app.code)


def test_a_folder_that_is_none_is_said(open_page: OpenPage) -> None:
    app = open_page("imports", folders="/nowhere/at/all")
    assert not app.exception
    assert any(e.label.startswith("Left out") for e in app.expander)


def test_a_damaged_imports_file_leaves_the_app_alive(open_page: OpenPage, own_home: Path) -> None:
    own_home.mkdir(parents=True, exist_ok=True)
    (own_home / "imports.duckdb").write_bytes(b"no database at all" * 100)
    st.cache_resource.clear()
    assert not open_page("choose", machine="RTX 4090").exception
    app = open_page("imports")
    assert not app.exception
    assert "imports.duckdb was damaged and made anew" in said_by(app).replace("\\", "")


def test_the_query_of_the_address_is_the_query_that_is_asked(open_page: OpenPage, model_hub: ModelHub) -> None:
    app = open_page("imports", hub_base="ada/Small-135M", hub_files="gguf")
    app.button(key="hub_search").click().run()
    assert list(app.dataframe[0].value["Repository"]) == ["ada/Small-135M-GGUF"]
    asked = dict(model_hub.asked[-1].query)
    assert "pipeline_tag" not in asked
    assert inputs.HUB_LIMIT >= 50
