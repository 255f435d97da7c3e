"""Folded knobs of the Size page: cache and batch, where the layers go, and what stands beside the model."""

from __future__ import annotations

from collections.abc import Mapping

import streamlit as st

from catalog.models import ModelCard
from pages.ui import cached, frame, inputs
from pages.ui.questions import HandPlacement
from sizing.errors import BadInputError, UnknownNameError
from sizing.hardware import Machine
from sizing.launch import Beside
from sizing.placement import Offload
from sizing.quants import KV_TYPES
from sizing.units import format_bytes

DEFAULT_DRAFT_QUANTS = ("Q8_0", "Q4_K_M")
UBATCHES = tuple(str(2**n) for n in range(5, 13))
CACHE_FIELDS = ("kv_k", "kv_v", "ubatch", "flash")


def show_cache_knobs() -> None:
    """The cache's types, the micro-batch and flash attention, folded under a name that says what is set."""
    values = {name: str(inputs.read(name)) for name in CACHE_FIELDS}
    defaults = {name: inputs.FIELDS[name].default for name in CACHE_FIELDS}
    with st.popover(say_cache(values), type="tertiary", icon=":material/tune:", key="cache_settings"):
        inputs.choice("kv_k", "K cache", KV_TYPES)
        inputs.choice("kv_v", "V cache", KV_TYPES)
        inputs.choice("ubatch", "Micro-batch", with_present(UBATCHES, values["ubatch"]))
        inputs.choice("flash", "Flash attention", ("on", "off"), {"on": "On", "off": "Off"})
        st.caption("A smaller cache type holds more context. A larger micro-batch reads faster and takes more memory.")
        if values != defaults:
            st.button(
                "Defaults again", key="cache_clear", type="tertiary", on_click=inputs.set_fields, args=(defaults,)
            )


def say_cache(values: Mapping[str, str]) -> str:
    """'Cache f16, batch 512', 'K cache q8_0, V cache f16, batch 512, no flash attention'."""
    k, v = values["kv_k"], values["kv_v"]
    cache = f"Cache {k}" if k == v else f"K cache {k}, V cache {v}"
    return f"{cache}, batch {values['ubatch']}" + ("" if values["flash"] == "on" else ", no flash attention")


def with_present(options: tuple[str, ...], present: str) -> tuple[str, ...]:
    """The options, with a value from the address put in its place among them."""
    return tuple(sorted({*options, present}, key=int))


def show_placement_knobs(card: ModelCard, machine: Machine, offload: Offload | None) -> None:
    """The layers of each card and the experts on the host, folded; nothing where there is no choice."""
    if not machine.accelerators or machine.is_unified:
        return
    spec, n_cards = card.spec, len(machine.accelerators)
    everything = spec.n_layers + 1
    is_set = inputs.read_placement() != HandPlacement()
    with st.popover(
        f"Placement: {'automatic' if offload is None else 'by hand'}",
        type="tertiary",
        icon=":material/view_week:",
        key="by_hand",
    ):
        st.caption(f"{spec.n_layers} layers and the output, which counts as one. Empty means automatic.")
        inputs.auto_or_whole("gpu_layers", f"Layers on the card{'s' * (n_cards > 1)}, 0 to {everything}", everything)
        if n_cards > 1:
            example = ",".join(str(everything // n_cards + (i < everything % n_cards)) for i in range(n_cards))
            inputs.as_typed("split", f"Layers of each of {n_cards} cards", f"for instance {example}")
        if spec.is_moe:
            inputs.auto_or_whole("cpu_moe", "Layers from the first whose experts stay on the host", spec.n_layers)
            inputs.as_typed("expert_layers", "And those of these layers", "for instance 20-25,40")
        if is_set:
            st.button("Automatic again", key="by_hand_clear", type="tertiary", on_click=inputs.clear_placement)


def read_offload(card: ModelCard, machine: Machine) -> Offload | None:
    """The placement by hand; what it gets wrong is said, and the placement is automatic then."""
    try:
        return inputs.read_placement().to_offload(card.spec, machine)
    except BadInputError as error:
        said = inputs.say_refusal(error, "the automatic placement")
        st.warning(frame.to_sentence(said), icon=":material/view_week:")
        return None


def show_beside_knobs(card: ModelCard, draft: tuple[str, str] | None) -> None:
    """A draft model and the projector, folded; nothing where the catalog knows of neither."""
    drafts, projector = cached.list_drafts(card.model_id), cached.find_projector_bytes(card)
    if not drafts and not projector:
        return
    beside = inputs.read_beside()
    has_projector = bool(projector and beside.has_projector)
    kept = [w for w, has in (("draft", draft is not None), ("projector", has_projector)) if has]
    label = f"Beside it: {' + '.join(kept) or 'nothing'}"
    with st.popover(label, type="tertiary", icon=":material/add_box:", key="beside_it"):
        if drafts:
            names = {c.model_id: c.spec.name for c in drafts}
            if draft is not None:
                names.setdefault(draft[0], cached.find_card(draft[0]).spec.name)
            shown = draft[0] if draft else ""
            inputs.choice("draft", "Draft model", ("", *names), {"": "None", **names}, shown=shown)
            st.caption("It guesses the next tokens, the model checks them. Only models of its vocabulary are offered.")
        if draft is not None:
            known = tuple(w.quant for w in cached.list_weights(draft[0]))
            inputs.choice("draft_quant", "Quantization of the draft", known, shown=draft[1])
        if projector:
            options = {"off": "Not counted", "on": f"Counted, {format_bytes(projector)}"}
            inputs.segments("projector", "Vision or audio projector", tuple(options), options)


def read_beside(card: ModelCard) -> tuple[tuple[str, str] | None, bool]:
    """The draft as id and quantization, and whether the projector counts; what is wrong with them is said."""
    beside = inputs.read_beside()
    projector = beside.has_projector
    if projector and not cached.find_projector_bytes(card):
        st.warning(f"{card.spec.name} has no projector in the catalog. Counting none.", icon=":material/add_box:")
        projector = False
    if not beside.draft:
        return None, projector
    try:
        draft = cached.find_card(beside.draft)
        if not cached.can_draft(card, draft):
            raise BadInputError(cached.say_why_no_draft(card, draft))
    except (UnknownNameError, BadInputError) as error:
        said = inputs.say_refusal(error, "no draft")
        st.warning(frame.to_sentence(said), icon=":material/add_box:")
        return None, projector
    known = [w.quant for w in cached.list_weights(draft.model_id)]
    quant = next((q for q in (beside.draft_quant, *DEFAULT_DRAFT_QUANTS) if q in known), known[0])
    if quant != beside.draft_quant:
        said = f"{draft.spec.name} has no {beside.draft_quant}. Using {quant} instead."
        st.warning(said, icon=":material/add_box:")
    return (draft.model_id, quant), projector


def name_beside(sized: cached.Sized, setup: cached.Setup) -> Beside:
    """What the launch command loads beside the model."""
    if sized.pair is None or setup.draft is None:
        return Beside(has_projector=setup.has_projector)
    draft = cached.find_card(setup.draft[0]).spec
    layers = sized.pair.draft.n_gpu_layers if setup.machine.accelerators else None
    return Beside((draft.name, setup.draft[1]), layers, setup.has_projector)
