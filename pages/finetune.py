"""Fine-tune: what training a model takes on this machine, what is the largest that fits, how long and what it costs."""

from __future__ import annotations

from html import escape

import pandas as pd
import streamlit as st

from catalog.models import ModelCard
from catalog.offers import list_rents
from pages.ui import cached, charts, charts_finetune, cost_plan, finetune_words, frame, inputs, launches, tables, words
from pages.ui.finetune_fields import ADAPTER_WORDS, OPTIMIZER_WORDS, PRECISION_WORDS, SHARDING_WORDS
from pages.ui.markdown_text import escape_markdown
from sizing.errors import BadInputError, UnknownNameError, UnsupportedError
from sizing.finetune import FineTuneEstimate
from sizing.finetune_lora import MAX_RANK, SEVEN, count_lora_params, list_target_names
from sizing.finetune_plan import plan_training
from sizing.finetune_record import TrainingCost, list_parts, name_setup, price_run, say_trainable
from sizing.finetune_setup import ATTENTIONS, LOSSES, MAX_BATCH, METHOD_WORDS, METHODS, FineTuneSetup
from sizing.finetune_speed import TrainingSpeed
from sizing.launch import list_training_launches
from sizing.units import format_bytes, format_figures, format_gib, format_params, format_range, format_tokens

GUIDE_RANK, GUIDE_PARAMS = 16, 83_886_080
"""What the guide to the open-weight landscape says LoRA of Llama 3.1 8B on seven projections trains."""


def show(question: frame.Question) -> None:
    """The answer, its bar and figures, the knobs, the methods side by side, time and cost."""
    card = frame.find_chosen(question)
    try:
        setup = read_setup(card, question)
        answer = cached.estimate_finetune(setup)
    except (BadInputError, UnknownNameError, UnsupportedError) as error:
        st.html(f'<h1 class="wb-answer">This run of {escape(card.spec.name)} cannot be sized.</h1>')
        st.warning(frame.to_sentence(str(error)), icon=":material/rule:")
        show_knobs(card, question)
        return
    show_answer(answer)
    show_knobs(card, question)
    left, right = st.columns([5, 6], gap="large")
    with left:
        show_largest(setup)
        show_time(answer, question)
    with right:
        show_methods(setup)
        show_claim(card, setup)
        show_program(answer)


def read_setup(card: ModelCard, question: frame.Question) -> FineTuneSetup:
    """The run in the address. Raises BadInputError for what contradicts itself."""
    return FineTuneSetup(
        card.spec,
        question.machine,
        method=inputs.read("method"),
        rank=inputs.read("rank"),
        targets=inputs.read("targets"),
        sequence_tokens=inputs.read("sequence"),
        micro_batch=inputs.read("micro_batch"),
        accumulation=inputs.read("accumulation"),
        optimizer=inputs.read("optimizer"),
        precision=inputs.read("precision"),
        adapter_bits=int(inputs.read("adapter_bits")),
        dropout=inputs.read("lora_dropout") == "on",
        checkpointing=inputs.read("checkpointing") == "on",
        attention=inputs.read("train_attention"),
        loss=inputs.read("loss"),
        sharding=inputs.read("sharding"),
        offload_optimizer=inputs.read("optimizer_offload") == "on",
    )


def show_answer(answer: FineTuneEstimate) -> None:
    """The sentence, the verdict with its reason, figures with their formulas, one bar for each device."""
    use, each = answer.fullest, ""
    if len(answer.devices) > 1:
        each = f" on each of {len(answer.devices)} cards"
    told = f"{format_gib(use.parts.total_bytes)} of {format_bytes(use.usable_bytes)}{each}"
    fails = "" if answer.fit.runs else " does not fit"
    reasons = frame.to_sentence("; ".join(answer.fit.reasons))
    st.html(
        f'<h1 class="wb-answer">{escape(name_setup(answer.setup))}{fails}: '
        f'<span class="wb-whole">{escape(charts.roomy(told))}.</span></h1>'
        f'<p><span class="wb-verdict">{frame.format_verdict(answer.fit.verdict)}, '
        f"{escape(charts.roomy(say_trainable(answer)))}.</span> "
        f'<span class="wb-quiet">{escape(reasons)}</span></p>'
    )
    devices = (*answer.devices, *((answer.host,) if answer.host else ()))
    alt = "; ".join(
        f"{u.name}, {format_bytes(u.parts.total_bytes)} of {format_bytes(u.usable_bytes)} usable: "
        + ", ".join(f"{word} {format_bytes(n)}" for word, n in list_parts(u) if n)
        for u in dict.fromkeys(devices)
    )
    frame.show_chart(charts_finetune.training_bar(devices), "finetune_memory", alt, name="fine-tune-memory")
    with st.container(horizontal=True, gap="medium"):
        with st.popover("How each part is worked out", type="tertiary", icon=":material/function:"):
            show_formulas(answer)
        with st.popover("What was assumed", type="tertiary", icon=":material/info:"):
            st.markdown("\n".join(f"- {frame.to_sentence(a)}" for a in answer.assumptions))


def show_formulas(answer: FineTuneEstimate) -> None:
    """Each part of the fullest card's memory, and the formula with this run's figures in it."""
    formulas = finetune_words.explain(answer)
    for purpose in charts_finetune.list_training_purposes(answer.fullest.parts):
        lines = "\n".join(f"- {escape_markdown(line)}" for line in formulas.get(purpose.name, ()))
        st.markdown(f"**{purpose.name}, {charts.roomy(format_bytes(purpose.n_bytes))}**\n{lines}")


def show_knobs(card: ModelCard, question: frame.Question) -> None:
    """One row: the model, the method and what people change; the rest folded."""
    choices = cached.list_choices()
    names = choices.with_model(card)
    method = inputs.read("method")
    with st.container(horizontal=True, gap="small"):
        inputs.choice("model", "Model", tuple(names), names, shown=card.model_id, width=300, may_type=choices.has_more)
        with st.container(width="content"):
            inputs.segments("method", "Method", METHODS, METHOD_WORDS)
        if method != "full":
            with st.container(width=110):
                inputs.whole("rank", "Rank", 1, MAX_RANK)
        with st.container(width=150):
            inputs.whole("sequence", "Sequence, tokens", 1, card.spec.context_tokens, step=256)
        with st.container(width=120):
            inputs.whole("micro_batch", "Micro batch", 1, MAX_BATCH, help="Sequences a card works on at once")
        inputs.choice("optimizer", "Optimizer", tuple(OPTIMIZER_WORDS), OPTIMIZER_WORDS, width=180)
    with (
        st.expander("Targets, precision, loss, several cards"),
        st.container(horizontal=True, gap="medium"),
    ):
        show_rare_knobs(card, question, method)


def show_rare_knobs(card: ModelCard, question: frame.Question, method: str) -> None:
    """What is rarely changed: where adapters sit, precision, checkpointing, loss, sharding."""
    if method == "full":
        inputs.choice("precision", "Precision", tuple(PRECISION_WORDS), PRECISION_WORDS, width=230)
    else:
        with st.container(width=330):
            inputs.as_typed("targets", "Target modules", "all-linear", say_targets(card))
        inputs.choice("adapter_bits", "Adapters in", tuple(ADAPTER_WORDS), ADAPTER_WORDS, width=140)
        inputs.switch("lora_dropout", "Dropout")
    inputs.switch("checkpointing", "Gradient checkpointing")
    inputs.segments("train_attention", "Attention", ATTENTIONS, {"flash": "Flash", "eager": "Eager"})
    inputs.segments("loss", "Loss", LOSSES, {"chunked": "In tiles (trl, Liger)", "full": "All logits"})
    with st.container(width=150):
        inputs.whole("accumulation", "Accumulation", 1, MAX_BATCH, help="Micro batches of one step")
    if len(question.machine.accelerators) > 1:
        inputs.choice("sharding", "Cards share", tuple(SHARDING_WORDS), SHARDING_WORDS, width=160)
    inputs.switch("optimizer_offload", "Optimizer in the host's memory")


def say_targets(card: ModelCard) -> str:
    """What LoRA can adapt in the model, as a hint."""
    try:
        return f"all-linear, or of these: {', '.join(list_target_names(card.spec))}"
    except UnsupportedError:
        return "all-linear"


def show_largest(setup: FineTuneSetup) -> None:
    """The largest rank, sequence and micro batch, each with everything else as it is."""
    st.subheader("The largest that fits", anchor=False)
    found = cached.find_largest_finetune(setup)
    if not any((found.rank, found.sequence_tokens, found.micro_batch)):
        st.markdown("No rank, length or micro batch makes it fit. Take another method, a smaller model or more memory.")
        return
    st.caption("Each alone, everything else as it is above.")
    rows = [
        ("Rank", found.rank, "no rank" if setup.is_lora else "LoRA and QLoRA only"),
        ("Sequence, tokens", found.sequence_tokens, "no length"),
        ("Micro batch", found.micro_batch, "not even one"),
    ]
    st.html(frame.facts_html((name, format_tokens(n) if n else why) for name, n, why in rows))
    if found.sequence_tokens == setup.spec.context_tokens:
        st.caption("The sequence stops at what the model was trained on, the rank at the model's width.")


def show_time(answer: FineTuneEstimate, question: frame.Question) -> None:
    """Hours and US$ for a number of tokens."""
    st.subheader("Time and cost", anchor=False)
    with st.container(horizontal=True, gap="small"):
        with st.container(width=210):
            inputs.number("train_tokens", "Tokens to train on, millions", 0.001, 1e8)
        with st.container(width=210):
            inputs.maybe_number("train_usd", "US$ an hour, all cards", 0, 100_000, "listed rent")
    if answer.speed is None:
        st.markdown("How long it takes is unknown: the arithmetic of these devices is not listed.")
        return
    n_tokens = inputs.read("train_tokens") * 1e6
    hours, rate = answer.speed.count_hours(n_tokens), answer.speed.tokens_per_s
    facts = [
        ("Speed", f"{format_range(rate.low, rate.high)} tokens/s"),
        ("Time", f"{format_range(hours.low, hours.high)} hours"),
        ("Steps", format_tokens(max(1, round(n_tokens / answer.setup.tokens_per_step)))),
    ]
    cost = find_cost(answer.speed, n_tokens, question)
    if cost is not None:
        facts.append(("Cost", f"US$ {format_range(cost.usd.low, cost.usd.high)} ({say_offer(cost)})"))
    else:
        facts.append(("Cost", f"{words.UNKNOWN}: no rent of this machine is listed; give a price above"))
    if not answer.fit.runs:
        st.caption("It does not fit; this is what it would take if it did.")
    st.html(frame.facts_html((k, charts.roomy(v)) for k, v in facts))
    st.caption(
        f"{format_figures(answer.speed.flops_per_token / 1e9)} billion operations a token; the cards at 21.3% to 46.2% "
        "of their BF16 arithmetic, as GPT-3 and PaLM trained (arXiv:2204.02311, table 3); QLoRA at 78% of LoRA's "
        "speed, as torchtune measured. Exchange between cards is left out."
    )


def find_cost(speed: TrainingSpeed, n_tokens: float, question: frame.Question) -> TrainingCost | None:
    """The cost at the person's price, else at the cheapest listed rent of the cards; None where there is neither."""
    own = inputs.read("train_usd")
    if own is not None:
        return price_run(speed, n_tokens, own, "your own figure", "")
    offers = list_rents(cost_plan.load_prices().prices, question.machine)
    rent = next((p for p in offers if p.usd_per_gpu_hour is not None), None)
    if rent is None or rent.usd_per_gpu_hour is None:
        return None
    per_hour = rent.usd_per_gpu_hour * len(question.machine.accelerators)
    return price_run(speed, n_tokens, per_hour, rent.name, rent.source_url)


def say_offer(cost: TrainingCost) -> str:
    """Whose price it is."""
    return f"US$ {format_figures(cost.usd_per_hour)} an hour, {cost.offer}"


def show_methods(setup: FineTuneSetup) -> None:
    """Full, LoRA and QLoRA beside each other on this machine."""
    st.subheader("The methods side by side", anchor=False)
    st.caption("The same model, sequence, batch and machine; memory of the fullest card, parameters trained.")
    rows = []
    for told in cached.compare_finetune_methods(setup):
        e = told.estimate
        if e is None:
            rows.append({"Method": METHOD_WORDS[told.method], "Fit": frame.to_title(told.gap)})
            continue
        p = e.fullest.parts
        rows.append(
            {
                "Method": METHOD_WORDS[told.method],
                "Fit": frame.format_verdict(e.fit.verdict),
                "In all, GiB": format_gib(p.total_bytes),
                "Weights, GiB": format_gib(p.weight_bytes),
                "Gradients, GiB": format_gib(p.gradient_bytes),
                "Optimizer, GiB": format_gib(p.optimizer_bytes),
                "Activations, GiB": format_gib(p.activation_bytes),
                "Trained": charts.roomy(format_params(e.n_trainable)),
            }
        )
    table = pd.DataFrame(rows).fillna("")
    right = [c for c in table.columns if c not in ("Method", "Fit")]
    tables.show_table(
        table,
        "finetune_methods",
        column_config={c: st.column_config.TextColumn(alignment="right") for c in right},
    )


def show_program(answer: FineTuneEstimate) -> None:
    """The program that does this run, where it fits and trl has one that holds what was sized."""
    if not answer.fit.runs:
        return
    try:
        plan = plan_training(answer.setup)
    except UnsupportedError as error:
        st.caption(f"No program is shown: {charts.roomy(str(error))}.")
        return
    launches.show(list_training_launches(plan), "finetune")


def show_claim(card: ModelCard, setup: FineTuneSetup) -> None:
    """What a guide says of Llama 3.1 8B, where it is asked about."""
    if "Llama-3.1-8B" not in card.model_id or not setup.is_lora:
        return
    at_rank = {rank: count_lora_params(card.spec, rank, SEVEN) for rank in (GUIDE_RANK, 2 * GUIDE_RANK)}
    st.caption(
        f"A guide says {GUIDE_PARAMS:,} trainable parameters for rank {GUIDE_RANK} on the seven projections. "
        f"peft counts {at_rank[GUIDE_RANK]:,}; rank {2 * GUIDE_RANK} gives {at_rank[2 * GUIDE_RANK]:,}."
    )


with frame.kind_errors():
    show(frame.open_page())
