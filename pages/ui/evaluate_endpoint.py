"""A server as a model to test: its address, its key kept in this session alone, and who answers there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import streamlit as st

from evals.plans import ModelKind
from evals.results import RunSummary
from pages.ui import frame, inputs
from pages.ui.evaluation import Endpoint, probe_endpoint
from pages.ui.markdown_text import escape_markdown
from sizing.errors import WeighbridgeError

API_WORDS = {"chat": "Chat", "completion": "Completion"}
_KEPT = "endpoints"


def list_endpoints(summaries: Sequence[RunSummary]) -> tuple[Endpoint, ...]:
    """Servers of this session, then those of earlier runs, whose keys nobody kept."""
    found: dict[str, Endpoint] = {e.name: e for e in inputs.recall(_KEPT, ())}
    for summary in summaries:
        model = summary.run.plan.model
        if model.kind is ModelKind.ENDPOINT and "|" not in model.name:
            found.setdefault(model.name, Endpoint(model.name, model.url, model.api, model.remote_name))
    return tuple(found.values())


def find_key(url: str) -> str:
    """The key this session holds for an address; empty for none."""
    return next((e.key for e in inputs.recall(_KEPT, ()) if url and e.url == url), "")


def show() -> None:
    """Address, kind, model name and key; Probe says what answered, Add puts it among the models."""
    st.text_input("Address", key="endpoint_url", placeholder="http://127.0.0.1:8080/v1", max_chars=500)
    st.segmented_control(
        "Asked by",
        tuple(API_WORDS),
        format_func=API_WORDS.__getitem__,
        default="chat",
        required=True,
        key="endpoint_api",
    )
    st.text_input("Model's name there", key="endpoint_model", placeholder="The only one", max_chars=200)
    st.text_input("Key", type="password", key="endpoint_key", placeholder="None", max_chars=1000)
    st.caption("The key stays in the memory of this session: it is in no file, no address and no log.")
    with st.container(horizontal=True, gap="small"):
        st.button("Probe", key="endpoint_probe", icon=":material/sensors:", on_click=probe)
        st.button("Add", key="endpoint_add", icon=":material/add:", on_click=add)
    problem, said = inputs.recall("endpoint_said", ("", ""))
    if problem:
        st.warning(problem, icon=":material/dns:")
    elif said:
        st.success(said, icon=":material/dns:")


def shorten_url(url: str) -> str:
    """An address as a name: its host and port."""
    return url.strip().split("://", 1)[-1].split("/", 1)[0][:80] or "server"


def add_found(url: str, model: str) -> None:
    """Put a model of a server that was found on this machine among those of the Evaluate page."""
    name = model.replace("|", "/")
    found = Endpoint(name, f"{url.rstrip('/').removesuffix('/v1')}/v1", "chat", model)
    others = tuple(e for e in inputs.recall(_KEPT, ()) if e.name != name)
    inputs.remember(_KEPT, (*others, found))
    inputs.add_value("models", f"endpoint:{name}")
    inputs.remember("servers_added", (*inputs.recall("servers_added", ()), url))


def read_boxes() -> Endpoint:
    """The server in the boxes, as they stand now: a callback given their values would hold earlier ones."""
    url, remote_name = inputs.typed("endpoint_url"), inputs.typed("endpoint_model")
    name = (remote_name or shorten_url(url)).replace("|", "/")
    return Endpoint(name, url, inputs.typed("endpoint_api") or "chat", remote_name, inputs.typed("endpoint_key"))


def probe() -> None:
    """Ask who is there; the next run of the page says what came of it."""
    inputs.remember("endpoint_said", say_probe(read_boxes()))


def say_probe(asked: Endpoint) -> tuple[str, str]:
    """What went wrong, or who answered; one of the two is empty."""
    try:
        return "", escape_markdown(frame.to_sentence(probe_endpoint(asked)))
    except WeighbridgeError as error:
        return escape_markdown(frame.to_sentence(str(error))), ""


def add() -> None:
    """Put the server among the models of this session; a wrong address is said instead."""
    from evals.endpoint import check_endpoint_url

    try:
        asked = read_boxes()
        asked = replace(asked, url=check_endpoint_url(asked.url))
    except WeighbridgeError as error:
        inputs.remember("endpoint_said", (escape_markdown(frame.to_sentence(str(error))), ""))
        return
    others = tuple(e for e in inputs.recall(_KEPT, ()) if e.name != asked.name)
    inputs.remember(_KEPT, (*others, asked))
    inputs.remember("endpoint_said", ("", escape_markdown(f"{asked.name} is among the models.")))
    inputs.add_value("models", f"endpoint:{asked.name}")
