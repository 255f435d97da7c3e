"""A view is a link: it says which facts it was made with, and shows the same on a computer that is another machine."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from urllib.parse import parse_qsl, urlsplit

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from catalog.machine import detect_machine
from catalog.store import open_catalog
from pages.ui import cached, inputs, share_link
from sizing.hardware import DeviceKind, Machine
from sizing.units import GIB

VERSION = open_catalog().version.text
OTHER = "2025-01-31.0123abcd"

Opener = Callable[..., AppTest]


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    """From when it is called, the machine the app runs on is a small one."""
    real = detect_machine()

    def move() -> None:
        host = replace(real.host, name="Tiny", memory_bytes=3 * GIB, usable_bytes=2 * GIB, bandwidth_bytes_per_s=5e9)
        monkeypatch.setattr(cached.queries, "detect_machine", lambda named=None: Machine("Tiny", host))
        st.cache_resource.clear()

    yield move
    st.cache_resource.clear()


def headline(app: AppTest) -> str:
    assert not app.exception, app.exception
    found = [e.proto.body for e in app.get("html") if "wb-answer" in e.proto.body]
    return re.sub(r"<[^>]+>", "", found[0])


def read_link(app: AppTest) -> dict[str, str]:
    (code,) = [c.value for c in app.code if "catalog=" in c.value]
    return dict(parse_qsl(urlsplit(code).query, keep_blank_values=True))


def captions(app: AppTest) -> str:
    return "\n".join(c.value for c in app.caption)


def test_every_address_holds_the_catalogs_version(open_page: Opener) -> None:
    app = open_page("choose")
    assert app.query_params["catalog"] in (VERSION, [VERSION])
    assert "made with catalog" not in captions(app)


def test_a_link_made_with_other_facts_says_so_until_something_is_changed(open_page: Opener) -> None:
    app = open_page("choose", catalog=OTHER, context="16384")
    said = [c.value for c in app.caption if OTHER in c.value]
    assert len(said) == 1 and VERSION in said[0] and "may differ" in said[0] and "2025-01-31" in said[0]
    assert "16,384" in headline(app) or "16,384" in str([e.proto.body for e in app.get("html")])
    app = app.run()
    assert OTHER in captions(app), "a mere rerun is no change"
    app.number_input(key="field_users").set_value(2).run()
    assert OTHER not in captions(app)
    assert app.query_params["catalog"] in (VERSION, [VERSION])


def test_the_notice_is_the_same_on_every_page_and_only_there_where_the_link_leads(open_page: Opener) -> None:
    app = open_page("size", catalog=OTHER)
    assert OTHER in captions(app)
    app.switch_page("pages/hardware.py")
    app.query_params.clear()
    app.run()
    assert OTHER not in captions(app)


@pytest.mark.parametrize("text", ["yesterday", "2025-01-31", "2025-01-31.0123abcd; drop", "x" * 3000])
def test_a_version_that_is_none_is_refused_in_words(open_page: Opener, text: str) -> None:
    app = open_page("choose", catalog=text)
    assert not app.exception
    (said,) = [w.value for w in app.warning if "atalog wants" in w.value]
    assert "wants a version such as" in said and "facts that are here" in said and len(said) < 250
    assert app.query_params["catalog"] in (VERSION, [VERSION])


@pytest.mark.parametrize("page", ["choose", "size", "hardware"])
def test_a_link_shows_the_same_headline_on_another_machine(
    open_page: Opener, elsewhere: Callable[[], None], page: str
) -> None:
    here = open_page(page, task="code", context="4096")
    link, told = read_link(here), headline(here)
    assert link["catalog"] == VERSION
    assert {"machine", "task", "context", "users", "speed", "licence", "engine", "lic_users"} <= set(link)
    assert "this" not in link["machine"].split()
    elsewhere()
    assert headline(open_page(page, task="code", context="4096")) != told, "the other machine is no other"
    assert headline(open_page(page, **link)) == told


def test_the_link_of_a_page_that_shows_the_recommended_model_names_it(open_page: Opener) -> None:
    app = open_page("size")
    link = read_link(app)
    assert headline(app).startswith(f"{cached.find_card(link['model']).name} at {link['quant']}:")
    named = open_page("size", model="Qwen/Qwen3-8B", quant="Q5_K_M", machine="RTX 4090")
    link = read_link(named)
    assert (link["model"], link["quant"], link["machine"]) == ("Qwen/Qwen3-8B", "Q5_K_M", "RTX 4090")


def onward(app: AppTest) -> tuple[str, dict[str, str]]:
    """The page that the foot leads to, and the fields it takes there."""
    assert not app.exception, app.exception
    (link,) = [e.proto for e in app.get("page_link") if e.proto.label.startswith("Next: ")]
    return link.page, dict(parse_qsl(link.query_string))


def test_the_path_leads_from_each_page_to_the_next_with_the_question(open_page: Opener) -> None:
    pages = ("choose", "size", "hardware", "compare", "licenses", "evaluate", "cost")
    for page, after in zip(pages, (*pages[1:], ""), strict=True):
        target, fields = onward(open_page(page, context="4096", task="code", model="Qwen/Qwen3-8B"))
        assert target == after
        assert (fields["context"], fields["task"], fields["catalog"]) == ("4096", "code", VERSION)
        assert fields["model"] == "Qwen/Qwen3-8B"
        assert page != "hardware" or fields["compare"] == "Qwen/Qwen3-8B"


def test_nothing_of_this_machine_or_of_other_pages_is_in_the_link(open_page: Opener) -> None:
    secret = "/srv/somebody/private"
    app = open_page(
        "evaluate",
        folders=f"{secret}|{secret}2",
        models=f"demo:Q8_0|file:{secret}/model.gguf|endpoint:my server",
        runs="20260101-abc",
        needle="8192",
    )
    app.text_input(key="endpoint_key").set_value("sk-very-secret").run()
    (code,) = [c.value for c in app.code if "catalog=" in c.value]
    for word in ("somebody", "private", "server", "20260101", "sk-very"):
        assert word not in code
    assert "needle=8192" in code and "models=demo" in code


def test_every_field_that_may_hold_a_path_or_a_server_stays_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new field has to be thought about: it may be part of a link, or be named here."""
    monkeypatch.setattr(st, "session_state", {"address": dict.fromkeys(inputs.FIELDS, "zz")})
    on_size = inputs.page_address("size", "RTX 4090")
    assert not {"folders", "runs", "models", "hub", "find", "topic", "compare", "tokens_in", "rank"} & set(on_size)
    assert on_size["machine"] == "RTX 4090" and on_size["model"] == "zz"
    assert {"compare", "compare_quant", "differs"} <= set(inputs.page_address("compare", "RTX 4090"))
    known = {name for names in inputs._OF_PAGE.values() for name in names}
    assert known <= set(inputs.FIELDS)


def test_the_link_keeps_host_and_path_and_nothing_else_of_the_address() -> None:
    link = share_link.build_link("https://me:pw@models.example/app/size?token=x#y", {"task": "code"})
    assert link == "https://models.example/app/size?task=code"
    assert share_link.find_page("https://models.example/app/size") == "size"
    assert share_link.find_page("http://127.0.0.1:8501/") == ""
    assert share_link.find_page(None) is None


def test_what_is_lost_is_said() -> None:
    shared = share_link.SharedMachine("24 GB RAM", ("what benches measured here: speeds are estimated",))
    said = share_link.say_what_it_holds(shared, True)
    assert "24 GB RAM" in said.replace("\u2009", " ").replace("\u00a0", " ") and "benches" in said
    assert "written out" not in share_link.say_what_it_holds(share_link.SharedMachine("RTX 4090"), False)


def test_the_machines_of_a_link_have_a_short_name_in_the_bar(open_page: Opener) -> None:
    app = open_page("choose", machine="23.55 GB RAM of AMD EPYC at 10.0663 GB/s and 0.6 TFLOPS (20.217 GiB usable)")
    labels = [p.proto.popover.label for p in app.get("popover")] if app.get("popover") else []
    assert not labels or any("23.55" in label and "TFLOPS" not in label for label in labels)
    assert cached._built_machine(app.query_params["machine"]).host.kind is DeviceKind.CPU
