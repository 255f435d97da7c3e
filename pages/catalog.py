"""Catalog: every model with its facts, where they come from, and what nobody checked yet."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

import pandas as pd
import streamlit as st

from catalog.license_rules import NOT_LEGAL_ADVICE, Verdict
from catalog.licenses import UNKNOWN, License
from catalog.models import ModelCard
from catalog.quality import ScoreRow
from catalog.search import search_models
from pages.ui import cached, charts, frame, inputs, license_words, tables, words
from pages.ui.markdown_text import escape_markdown
from sizing.errors import UnknownNameError
from sizing.units import format_params, format_tokens

MAX_ROWS = 500
"""Models that the list shows; of more, the first."""
RARE_FILTERS = (
    "family", "licence_id", "openness", "modality", "at_least", "params_from", "params_to", "facts", "origin"
)  # fmt: skip
FILTERS = ("find", "suits", *RARE_FILTERS)


def show() -> None:
    """How many models there are, the filters, the list on the left and the chosen model's card on the right."""
    ids, n_found = search_models(cached.catalog(), inputs.read_catalog_search(), MAX_ROWS)
    show_count(n_found, len(cached.list_cards()))
    show_filters()
    found = cached.find_cards(ids)
    chosen = find_chosen()
    left, right = st.columns([7, 4], gap="medium")
    with left:
        picked = show_list(found, n_found)
    with right:
        card = picked or chosen or (found[0] if found else None)
        if card is not None:
            show_card(card)


def show_count(n_found: int, n_all: int) -> None:
    """The headline: how many models the filters leave; with none, what to do."""
    if not n_found:
        told, under = "No model matches these filters", "Take one of them away, or clear all."
    else:
        n_set = len(list_set(FILTERS))
        count = f"{n_found:,} of {n_all:,} models" if n_set else f"{n_all:,} models"
        told = f"{count} {'matches' if n_found == 1 else 'match'}" if n_set else count
        under = "Every fact with its source; what nobody checked is said to be unverified."
    st.html(f'<h1 class="wb-answer">{told}.</h1><p class="wb-quiet">{under}</p>')


def list_set(names: Iterable[str]) -> list[str]:
    """Those of some fields that are not at their defaults."""
    return [n for n in names if inputs.read(n) != inputs.FIELDS[n].parse(inputs.FIELDS[n].default)]


def show_filters() -> None:
    """What narrows the list; the rarer ones fold into a popover that says how many are set."""
    options = cached.list_catalog_options()
    n_rare = len(list_set(RARE_FILTERS))
    with st.container(horizontal=True, gap="small", vertical_alignment="bottom"):
        with st.container(width=340):
            inputs.text("find", "Find", "Part of a name or publisher")
        with st.container(width=260):
            inputs.several("suits", "Made for", options.tasks)
        with st.popover(f"Filters: {n_rare} set" if n_rare else "Filters", icon=":material/tune:"):
            inputs.several("family", "Family", with_present("family", options.families))
            inputs.several("licence_id", "Licence", with_present("licence_id", options.licenses))
            inputs.several("openness", "Openness", inputs.OPENNESS)
            inputs.several("modality", "Reads or makes", options.modalities)
            inputs.whole("at_least", "Context of at least, tokens", 0, inputs.MAX_CONTEXT_TOKENS, step=8192)
            least, most = st.columns(2)
            with least:
                inputs.whole("params_from", "Parameters from, B", 0, inputs.MAX_BILLIONS)
            with most:
                inputs.whole("params_to", "Up to, B (0: any)", 0, inputs.MAX_BILLIONS)
            inputs.segments("facts", "Facts", tuple(inputs.VERIFIED_WORDS), inputs.VERIFIED_WORDS)
            if cached.catalog().has_imports:
                inputs.segments("origin", "Where from", tuple(inputs.ORIGIN_WORDS), inputs.ORIGIN_WORDS)
        if list_set(FILTERS):
            st.button("Clear all", type="tertiary", icon=":material/filter_alt_off:", on_click=clear_filters)


def clear_filters() -> None:
    """Show every model again."""
    inputs.set_fields({name: inputs.FIELDS[name].default for name in FILTERS})


def with_present(field: str, options: tuple[str, ...]) -> tuple[str, ...]:
    """The options, and those values of the address that are not offered though they count."""
    return tuple(dict.fromkeys((*options, *inputs.read(field))))


def find_chosen() -> ModelCard | None:
    """The model in the address; an unknown one is said so."""
    name = inputs.read_size_choice().model
    if not name:
        return None
    try:
        return cached.find_card(name)
    except UnknownNameError as error:
        st.warning(frame.to_sentence(str(error)), icon=":material/edit_location_alt:")
        return None


def show_list(found: tuple[ModelCard, ...], n_found: int) -> ModelCard | None:
    """The list itself, of very many the first; returns the card of the picked row."""
    if not found:
        return None
    more = f" The first {len(found):,} are listed, {n_found - len(found):,} more match." if n_found > len(found) else ""
    st.caption(f"Pick a row to read its card.{more}")
    table = pd.DataFrame(
        {
            "Model": [c.spec.name for c in found],
            "Publisher": [c.org for c in found],
            "Released": [c.release or words.UNKNOWN for c in found],
            "Parameters, B": [c.spec.n_params / 1e9 for c in found],
            "Active, B": [c.spec.n_active_params / 1e9 for c in found],
            "Context, tokens": [c.spec.context_tokens for c in found],
            "Licence": [words.shorten_license(cached.find_license(c.license_id).name) for c in found],
            "Facts": ["read" if c.confidence == "read" else "unverified" for c in found],
        }
    )
    tables.show_table(
        words.style_table(table),
        "catalog_rows",
        name="catalog",
        height=frame.table_height(len(found), 620),
        selection_mode="single-row",
        column_config={
            **frame.right_aligned(),
            "Model": st.column_config.TextColumn(width=190),
            "Licence": st.column_config.TextColumn(width=128),
        },
    )
    picked = inputs.picked_row("catalog_rows")
    if picked is None or picked >= len(found):
        return None
    inputs.set_field("model", found[picked].model_id)
    return found[picked]


def show_card(card: ModelCard) -> None:
    """One model: what decides, where to take it, what is unverified; its shape and sources folded."""
    with st.container(border=True, key="model_card"):
        st.html(
            f'<h2 class="wb-answer">{escape(card.spec.name)}</h2>'
            f'<p class="wb-quiet">{escape(charts.roomy(describe(card)))}</p>'
        )
        st.html(frame.facts_html(list_facts(card)))
        with st.container(horizontal=True, gap="small", vertical_alignment="center"):
            frame.link_to_size(card.model_id, "", "Size it")
            frame.link_to_compare(card.model_id)
            frame.link_to_licenses(card.model_id, "Why this verdict")
        with st.container(horizontal=True, gap="small", vertical_alignment="center"):
            with st.popover("Licence terms", type="tertiary", icon=":material/description:"):
                show_license(cached.find_license(card.license_id), cached.find_verdict(card.model_id))
            scores = cached.list_scores(card.model_id)
            if scores:
                label = "1 published score" if len(scores) == 1 else f"{len(scores)} published scores"
                with st.popover(label, type="tertiary", icon=":material/leaderboard:"):
                    show_scores(scores)
        if card.unverified or card.confidence != "read":
            lines = card.unverified or (frame.RECALLED,)
            st.markdown(list_lines("Unverified", lines))
        with st.expander("Shape, notes and sources"):
            show_background(card)


def show_background(card: ModelCard) -> None:
    """What seldom decides: the shape, what was noted about it, and where the facts come from."""
    st.html(frame.facts_html(list_shape(card)))
    if card.notes:
        st.markdown(list_lines("Notes", card.notes))
    st.markdown(f"**Sources**, as of {card.as_of}\n" + "\n".join(f"- {format_link(source)}" for source in card.sources))


def list_lines(head: str, lines: tuple[str, ...]) -> str:
    """Lines of plain text under a head, as markdown."""
    return f"**{head}**  \n" + "  \n".join(escape_markdown(frame.to_sentence(line)) for line in lines)


def show_license(terms: License, verdict: Verdict) -> None:
    """What a licence asks, in short, with the address of its text, and what follows for the profile."""
    st.markdown(f"For your profile: **{license_words.format_outcome(verdict.outcome)}**.")
    if verdict.is_inherited:
        st.markdown(f"Decided by {escape_markdown(verdict.decided_by)}, which the model was made from.")
    allowed = {"yes": "allowed", "conditional": "allowed on conditions", "no": "not allowed"}
    if terms.commercial == UNKNOWN:
        st.markdown(f"**{escape_markdown(terms.name)}**: what it allows is not in the catalog.")
    else:
        research = "allowed" if terms.research else "not allowed"
        st.markdown(f"**{terms.name}**: commercial use {allowed[terms.commercial]}, research use {research}.")
    if terms.conditions:
        st.markdown("\n".join(f"- {frame.to_sentence(c)}" for c in terms.conditions))
    doubt = "" if terms.verified else " Some of this summary is not verified against the text."
    st.caption(f"[Text of the licence]({terms.url}), read {terms.as_of}. {NOT_LEGAL_ADVICE}{doubt}")


def show_scores(scores: tuple[ScoreRow, ...]) -> None:
    """Published scores as they were published, each with who reported it."""
    table = pd.DataFrame(
        {
            "Benchmark": [" ".join(filter(None, (s.benchmark, s.variant))) for s in scores],
            "Score": [s.score for s in scores],
            "Reported by": [s.reported_by for s in scores],
            "Independent": ["yes" if s.independent else "publisher" for s in scores],
            "Source": [s.source_url for s in scores],
        }
    )
    link = st.column_config.LinkColumn(display_text=r"https?://(?:www\.)?([^/]+)")
    tables.show_table(
        words.style_table(table),
        "scores",
        name=f"scores-{scores[0].model_id}",
        height=300,
        width=640,
        column_config={"Source": link},
    )


def describe(card: ModelCard) -> str:
    """One sentence that says what a model is."""
    spec = card.spec
    active = "" if not spec.is_moe else f", {format_params(spec.n_active_params)} active for each token"
    released = card.release or "at an unknown date"
    return f"{card.org}, released {released}. {format_params(spec.n_params)} parameters{active}."


def list_facts(card: ModelCard) -> tuple[tuple[str, str], ...]:
    """The facts of a card that decide something, as name and text."""
    terms = cached.find_license(card.license_id)
    gated = {True: "yes, accept the terms first", False: "no", None: words.UNKNOWN}[card.gated]
    return (
        ("Licence", f"{terms.name}, {card.openness}"),
        ("For your profile", license_words.format_outcome(cached.find_verdict(card.model_id).outcome)),
        ("Gated download", gated),
        ("Context", f"{format_tokens(card.spec.context_tokens)} tokens"),
        ("Made for", ", ".join(card.tasks) or words.UNKNOWN),
        ("Modalities", ", ".join(card.modalities)),
    )


def list_shape(card: ModelCard) -> tuple[tuple[str, str], ...]:
    """How a model is built and where it is published, as name and text."""
    spec = card.spec
    facts = [("Layers", describe_layers(card)), ("Width, vocabulary", f"{spec.hidden_dim:,}, {spec.vocab_size:,}")]
    if card.quant_native:
        facts.append(("Published in", card.quant_native))
    if spec.n_params_projector:
        tower = format_params(spec.n_params_projector)
        facts.append(("Vision or audio tower", f"{tower} parameters in a file of its own"))
    return (*facts, ("Architecture", spec.architecture), ("Repository", card.model_id))


def describe_layers(card: ModelCard) -> str:
    """How many layers attend how: '48: 40 GQA sliding 1024, 8 GQA'."""
    counts: dict[str, int] = {}
    for group in card.spec.groups:
        kinds = []
        if group.attention is not None:
            kinds.append(group.attention.name + (" (shared cache)" if group.attention.shares_kv else ""))
        if group.recurrent is not None:
            kinds.append(str(group.recurrent.kind).replace("_", " "))
        name = " with ".join(kinds) or "feed-forward only"
        counts[name] = counts.get(name, 0) + group.count
    told = ", ".join(f"{n} {name}" for name, n in counts.items()) if len(counts) > 1 else next(iter(counts))
    return f"{card.spec.n_layers}: {told}" + (", mixture of experts" if card.spec.is_moe else "")


def format_link(url: str) -> str:
    """A link in markdown whose text is short enough to read: the host and the end of the path."""
    host, _, path = url.partition("://")[2].partition("/")
    tail = path if len(path) < 44 else "…/" + "/".join(path.split("/")[-2:])[-42:].lstrip("/")
    return f"[{host}/{tail}]({url})" if host else url


with frame.kind_errors():
    frame.open_page()
    show()
