"""A marked token and a marked key, sent through the pages that use them: they stand in no file, log, page or export."""

from __future__ import annotations

import base64
import gzip
import json
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from evals import weigh
from evals.run_files import RunState, list_runs
from evals.user_store import UserStore
from pages.ui import cached, eval_queue, evaluation, import_jobs
from tests.catalog.hub_models import make_small, make_small_gguf
from tests.catalog.model_hub import Fault, ModelHub
from tests.evals.model_server import ModelServer

APP = Path(__file__).resolve().parents[2] / "app.py"
TOKEN = "hf_MarkedTokenOfNobody0123456789"
KEY = 'sk-Marked"Key/Of+Nobody0123456789'
PASSWORD = "MarkedPassword0123"


def list_forms(secret: str) -> tuple[str, ...]:
    """How a secret might be written down: as it is, cut, in JSON, in a link, in HTTP's basic form."""
    coded = base64.b64encode(secret.encode()).decode()
    return (secret, secret[: len(secret) // 2 + 3], json.dumps(secret)[1:-1], quote(secret, safe=""), coded)


FORMS = tuple(form for secret in (TOKEN, KEY, PASSWORD) for form in list_forms(secret))


def find_leaks(text: str) -> list[str]:
    return [form for form in FORMS if form in text]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Everything the app may write to, in one folder that is searched afterwards."""
    for name, value in {
        "WEIGHBRIDGE_HOME": tmp_path / "home",
        "HF_HUB_CACHE": tmp_path / "cache",
        "HF_HOME": tmp_path / "hf",
        "XDG_CACHE_HOME": tmp_path / "xdg",
        "TMPDIR": tmp_path,
        "HOME": tmp_path / "person",
        "HF_TOKEN": TOKEN,
        "WEIGHBRIDGE_API_KEY": KEY,
    }.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.setattr(weigh, "ask_weights", lambda spec: "llama.cpp was not asked in this test")
    st.cache_data.clear()
    cached.renew_catalog()
    yield tmp_path
    eval_queue.find_queue().close()
    st.cache_data.clear()
    st.cache_resource.clear()


def search_files(folder: Path) -> list[str]:
    """Files, and names of files, that hold a secret in any form."""
    found = []
    for path in folder.rglob("*"):
        data = path.read_bytes() if path.is_file() else b""
        if data[:2] == b"\x1f\x8b":
            data = gzip.decompress(data)
        if find_leaks(data.decode("latin-1")) or find_leaks(str(path)):
            found.append(str(path.relative_to(folder)))
    return found


def test_a_secret_that_was_written_would_be_found(tmp_path: Path) -> None:
    (tmp_path / "plain.log").write_text(f"Authorization: Bearer {KEY}")
    (tmp_path / "part.json").write_text(json.dumps({"said": TOKEN[:-3]}))
    (tmp_path / "run.jsonl.gz").write_bytes(gzip.compress(PASSWORD.encode()))
    (tmp_path / "harmless").write_text("***")
    assert sorted(search_files(tmp_path)) == ["part.json", "plain.log", "run.jsonl.gz"]


def read_page(app: AppTest) -> str:
    """Everything a page holds for its reader, and its address, but for the box a person types a key into."""
    assert not app.exception, app.exception
    shown = [str(e.proto) for e in app if getattr(e, "key", "") != "endpoint_key" and getattr(e, "proto", None)]
    text = "\n".join([*shown, str(app.query_params)])
    assert len(text) > 2000, "the page was not read"
    return text


def open_page(page: str, **address: str) -> AppTest:
    app = AppTest.from_file(str(APP), default_timeout=90)
    app.switch_page(f"pages/{page}.py")
    for name, value in address.items():
        app.query_params[name] = value
    return app.run()


def test_a_key_stands_in_nothing_that_a_run_leaves(
    home: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    pages = []
    with ModelServer(answer=lambda payload: f"you sent {KEY} and {TOKEN[:20]}"[: 10 + len(KEY)]) as server:
        app = open_page("evaluate", models="", suites="arithmetic", take="items", items="2")
        app.text_input(key="endpoint_url").set_value(f"http://me:{PASSWORD}@127.0.0.1:9/v1")
        app = app.button(key="endpoint_add").click().run()
        app.text_input(key="endpoint_url").set_value(server.url)
        app.text_input(key="endpoint_model").set_value("toy-1")
        app.text_input(key="endpoint_key").set_value(KEY)
        app = app.button(key="endpoint_probe").click().run()
        pages.append(read_page(app))
        app = app.button(key="endpoint_add").click().run()
        app = app.button(key="eval_start").click().run()
        pages.append(read_page(app))
        folder = Path(home / "home")
        ends = time.monotonic() + 90
        while not [run for run in list_runs(folder) if run.state.is_over]:
            assert time.monotonic() < ends, "the run did not end"
            time.sleep(0.1)
        assert any(f"Bearer {KEY}" == headers.get("Authorization") for _, _, headers, _ in server.requests)
    for page in ("evaluate", "choose", "accuracy"):
        pages.append(read_page(open_page(page)))
    summaries = evaluation.list_summaries()
    assert summaries[0].state is RunState.DONE, summaries[0].run.reason
    assert any("***" in item.output for item in summaries[0].run.items)
    exports = [evaluation.write_csv(summaries[0]), evaluation.write_json(summaries[0])]
    assert UserStore(folder).path.exists(), "the results are in no database, so nothing was tried"
    assert search_files(home) == []
    told = capfd.readouterr()
    for text in (*pages, *exports, caplog.text, told.out, told.err):
        assert find_leaks(text) == []


@pytest.mark.parametrize("fault", [None, "echo"])
def test_a_token_stands_in_nothing_that_the_hubs_pages_leave(
    home: Path,
    fault: str | None,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    with ModelHub([make_small(), make_small_gguf()], tokens=[TOKEN]) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        if fault:
            hub.faults["/api/models"] = Fault(status=400, headers={"X-Error-Message": f"bad {TOKEN} of {TOKEN[:9]}"})
        app = open_page("imports", hub_base="ada/Small-135M", hub_files="gguf")
        app = app.button(key="hub_search").click().run()
        pages = [read_page(app)]
        assert hub.asked and any(TOKEN in str(asked) for asked in hub.asked), "the token was not sent at all"
        if not fault:
            app.text_area(key="hub_names").set_value("ada/Small-135M-GGUF")
            app.button(key="hub_import_names").click().run()
            ends = time.monotonic() + 60
            while import_jobs.imports().is_busy:
                assert time.monotonic() < ends
                time.sleep(0.05)
            pages.append(read_page(open_page("imports")))
            pages.append(read_page(open_page("catalog")))
    assert search_files(home) == []
    told = capfd.readouterr()
    for text in (*pages, caplog.text, told.out, told.err):
        assert find_leaks(text) == []
