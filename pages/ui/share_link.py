"""The link of a page for somebody else: the question spelled out, and this machine in words."""

from __future__ import annotations

from urllib.parse import urlencode, urlsplit, urlunsplit

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from catalog.machine_share import SharedMachine, share_machine
from pages.ui import cached, inputs
from pages.ui.charts import roomy
from pages.ui.markdown_text import escape_markdown
from pages.ui.questions import Wishes
from sizing.hardware import Machine

LABEL = "Link"


def draw_place() -> DeltaGenerator:
    """The quiet button that opens to the link; returns the place that `fill` writes into."""
    with st.popover(LABEL, icon=":material/link:", type="tertiary", help="This view as a link for another computer"):
        return st.empty()


def fill(place: DeltaGenerator, wishes: Wishes, machine: Machine, **shown: str) -> None:
    """Write the link of the page that is open; `shown` is what it shows where the address sets nothing."""
    shared = share(wishes, machine)
    url = st.context.url
    address = inputs.page_address(find_page(url), shared.text, **shown)
    with place.container():
        st.code(build_link(url, address) or f"?{urlencode(address)}", language=None, wrap_lines=True)
        st.caption(say_what_it_holds(shared, wishes.machine != shared.text))


def share(wishes: Wishes, machine: Machine) -> SharedMachine:
    """The machine of the context bar for another computer."""
    return share_machine(cached.catalog(), wishes.machine, machine)


def say_what_it_holds(shared: SharedMachine, is_written_out: bool) -> str:
    """What a reader of the link sees, and what it cannot say."""
    told = "The whole question and the catalog's version; no file, folder, server or key."
    if is_written_out:
        told += f" This machine is written out: {shared.text}."
    if shared.lost:
        told += f" Lost on the way: {'; '.join(shared.lost)}."
    return roomy(escape_markdown(told))


def find_page(url: str | None) -> str | None:
    """The path of the page that is open, "" for the first one; None where the page does not know its address."""
    return urlsplit(url).path.rstrip("/").rsplit("/", 1)[-1] if url else None


def build_link(page_url: str | None, address: dict[str, str]) -> str:
    """The page's address with the question in it; "" where the page does not know its own.

    Of the page's address the host and the path are kept: names and passwords before the host are not for others.
    """
    parts = urlsplit(page_url or "")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return ""
    host = parts.netloc.rsplit("@", 1)[-1]
    return urlunsplit((parts.scheme, host, parts.path or "/", urlencode(address), ""))
