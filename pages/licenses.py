"""Licences: what each allows to this profile, the clauses with their words, and why a model's verdict is what it is."""

from __future__ import annotations

from collections import Counter
from html import escape

import pandas as pd
import streamlit as st

from catalog.license_chain import count_outcomes
from catalog.license_rules import NOT_LEGAL_ADVICE, Outcome, Verdict, evaluate
from catalog.licenses import License
from catalog.models import ModelCard
from pages.ui import cached, frame, inputs, license_words, model_picker, tables, words
from pages.ui.charts import roomy
from pages.ui.markdown_text import escape_markdown
from sizing.errors import UnknownNameError
from sizing.license_profile import LicenseProfile
from sizing.profile_words import describe_profile

TABLE_PIXELS = 620


def show(question: frame.Question) -> None:
    """The counts, then one model's verdict, then the licences with the picked one's clauses."""
    profile = question.wishes.license_profile
    judged = cached.judge_all(profile)
    show_headline(profile, judged, question.wishes.license_use)
    card = find_chosen()
    show_model(card, profile)
    terms = find_terms(card)
    left, right = st.columns([7, 5], gap="medium")
    with left:
        picked = show_table(profile, judged)
    with right:
        show_terms(picked or terms, profile)


def show_headline(profile: LicenseProfile, judged: dict[str, tuple[Outcome, str]], license_use: str) -> None:
    """How many models there are of each verdict, and for whom."""
    shown = (
        " Nothing is filtered: any licence is asked for, judged here as commercial use." if license_use == "any" else ""
    )
    told = f"{describe_profile(profile)}{shown} {NOT_LEGAL_ADVICE}"
    st.html(
        f'<h1 class="wb-answer">{escape(roomy(license_words.say_counts(count_outcomes(judged))))}</h1>'
        f'<p class="wb-quiet">{escape(roomy(told))}</p>'
    )


def find_chosen() -> ModelCard:
    """The model in the address; for none or an unknown one, the first that is made from another."""
    name = inputs.read_size_choice().model
    if name:
        try:
            return cached.find_card(name)
        except UnknownNameError as error:
            said = f"{frame.to_sentence(str(error))} Showing another model instead."
            st.warning(said, icon=":material/edit_location_alt:")
    cards = cached.list_cards()
    return next((c for c in cards if c.base_models), cards[0])


def show_model(card: ModelCard, profile: LicenseProfile) -> None:
    """One model's verdict with its chain, what applies and what to watch."""
    verdict = cached.find_verdict(card.model_id, profile)
    with st.container(border=True, key="license_verdict"):
        model_picker.show(card, width=380)
        st.html(license_words.verdict_html(verdict, card.spec.name))
        has_more = len(verdict.links) > 1 or bool(verdict.watch)
        left, right = st.columns(2, gap="large") if has_more else (st.container(), None)
        with left:
            lines = license_words.list_findings(verdict.findings, names_models=len(verdict.links) > 1)
            st.markdown(
                "\n".join(f"- {line}" for line in lines) or "Nothing is asked for and nothing stands in the way."
            )
        if right is not None:
            with right:
                show_chain(verdict)


def show_chain(verdict: Verdict) -> None:
    """What a model was made from, where it was, and the limits its licences set that are not reached."""
    if len(verdict.links) > 1:
        st.html(frame.facts_html(license_words.list_links(verdict.links)))
    if verdict.watch:
        st.html('<p class="wb-quiet">Limits that are not reached yet:</p>')
        st.markdown("\n".join(f"- {frame.to_sentence(escape_markdown(c.says))}" for c in verdict.watch))


def find_terms(card: ModelCard) -> License:
    """The licence in the address; for none or an unknown one, that of the model."""
    name = inputs.read("terms")
    if name:
        try:
            return cached.find_license(name)
        except UnknownNameError as error:
            st.warning(frame.to_sentence(str(error)), icon=":material/edit_location_alt:")
    return cached.find_license(card.license_id)


def show_table(profile: LicenseProfile, judged: dict[str, tuple[Outcome, str]]) -> License | None:
    """Every licence with its verdict for the profile, the most used first; returns the picked one."""
    cards = cached.list_cards()
    uses = Counter(card.license_id for card in cards)
    blocked = Counter(card.license_id for card in cards if not judged[card.model_id][0].is_allowed)
    known = sorted(cached.catalog().licenses, key=lambda x: (-uses[x.license_id], x.name.casefold()))
    st.subheader(f"{len(known)} licences", anchor=False)
    st.caption(
        "The verdict is for a text model under the licence alone; “stopped” counts models that it, or a licence of "
        "what they were made from, stops for this profile. Pick a row to read its clauses."
    )
    table = pd.DataFrame(
        {
            "Licence": [words.shorten_license(x.name) for x in known],
            "Verdict": [license_words.format_outcome(evaluate(x, profile).outcome) for x in known],
            "Models": [uses[x.license_id] for x in known],
            "Stopped": [blocked[x.license_id] for x in known],
            "Clauses checked": [f"{sum(c.verified for c in x.clauses)} of {len(x.clauses)}" for x in known],
        }
    )
    figures = {name: st.column_config.NumberColumn(alignment="right") for name in ("Models", "Stopped")}
    tables.show_table(
        table,
        "license_rows",
        name="licences",
        height=frame.table_height(len(table), TABLE_PIXELS),
        selection_mode="single-row",
        column_config={
            "Licence": st.column_config.TextColumn(width="medium"),
            "Clauses checked": st.column_config.TextColumn(alignment="right"),
            **figures,
        },
    )
    row = inputs.picked_row("license_rows")
    if row is None or row >= len(known):
        return None
    inputs.set_field("terms", known[row].license_id)
    return known[row]


def show_terms(terms: License, profile: LicenseProfile) -> None:
    """One licence: its verdict and every clause with its words and its source."""
    verdict = evaluate(terms, profile)
    with st.container(border=True, key="license_terms"):
        st.html(license_words.verdict_html(verdict, terms.name, "wb-figures"))
        st.markdown("\n".join(f"- {line}" for line in license_words.list_clauses(terms)))
        st.caption(f"[Text of the licence]({terms.url}), read {terms.as_of}.")


with frame.kind_errors():
    asked = frame.open_page()
    show(asked)
    frame.link_onward("licenses", asked)
