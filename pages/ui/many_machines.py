"""The same model over several machines: the network between them, what each holds, and the files that start it."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

import pandas as pd
import streamlit as st

from catalog.models import ModelCard
from pages.ui import cached, charts, engine_answers, frame, get_file, inputs, tables, words
from pages.ui.kept import BY_NUMBER
from pages.ui.markdown_text import escape_markdown
from sizing.cluster import (
    ENGINES,
    MAX_NODES,
    VLLM,
    Across,
    Cluster,
    ClusterPlan,
    ClusterRow,
    NodeUse,
    find_smallest,
    list_rows,
    plan_cluster,
)
from sizing.cluster_record import describe_fit, list_network_lines, say_plan
from sizing.engines import EngineSetup, find_engine
from sizing.errors import BadInputError, UnknownNameError, UnsupportedError
from sizing.estimate import check_context
from sizing.hardware import Machine
from sizing.interconnect import INTERCONNECTS, find_interconnect
from sizing.launch import ModelFiles
from sizing.launch.many_machines import list_cluster_launches
from sizing.memory import DeviceUse, Parts
from sizing.units import format_figures, format_range, format_tokens

HEADING = "Several machines"
SHARE_WORDS = {"layers": "Layers (pipeline)", "matrices": "Every layer (tensor)"}


@dataclass(frozen=True, slots=True)
class ClusterAsk:
    """What the section asks: a model in a format of an engine, and machines like the one on the page."""

    engine: str
    model_id: str
    weight_format: str
    context_tokens: int
    n_parallel: int
    kv_type: str
    node: Machine
    link: str
    across: Across

    def to_setup(self) -> EngineSetup:
        """The setup on one machine. Raises BadInputError, UnknownNameError."""
        spec = cached.find_card(self.model_id).spec
        check_context(spec, self.context_tokens)
        offer = engine_answers.find_offer(find_engine(self.engine), self.model_id, self.weight_format)
        return EngineSetup(
            spec, offer.weight_format, self.context_tokens, self.n_parallel, self.node, self.kv_type, offer.weights
        )


@st.cache_resource(show_spinner="Planning the machines", max_entries=64, hash_funcs=BY_NUMBER)
def plan(ask: ClusterAsk, n_nodes: int) -> ClusterPlan:
    """One number of machines. Raises UnsupportedError with the engine's reason."""
    cluster = Cluster(ask.node, n_nodes, find_interconnect(ask.link))
    return plan_cluster(ask.to_setup(), cluster, ask.engine, ask.across)


@st.cache_resource(show_spinner="Trying numbers of machines", max_entries=64, hash_funcs=BY_NUMBER)
def list_plan_rows(ask: ClusterAsk) -> tuple[tuple[ClusterRow, ...], int | None]:
    """The table, and the fewest machines that hold the model on their cards."""
    setup, link = ask.to_setup(), find_interconnect(ask.link)
    rows = tuple(list_rows(setup, ask.node, link, ask.engine, across=ask.across))
    try:
        smallest = find_smallest(setup, ask.node, link, ask.engine)
    except UnsupportedError:
        smallest = None
    return rows, smallest.cluster.n_nodes if smallest else None


cached.keep_with_catalog(plan, list_plan_rows)


def show(card: ModelCard, weight_format: str, question: frame.Question) -> None:
    """The section, folded until it is asked for; nothing for engines that stay on one machine."""
    wishes = question.wishes
    if wishes.engine not in ENGINES:
        return
    st.subheader(HEADING, anchor=False)
    inputs.switch("many", f"Plan {card.spec.name} over machines like this one")
    if inputs.read("many") != "on":
        return
    show_knobs(wishes.engine)
    kv_type = inputs.read_engine_choice().kv_type if wishes.engine == VLLM else inputs.read_size_choice().kv_type_k
    across = Across(inputs.read("share")) if wishes.engine == VLLM else Across.LAYERS
    ask = ClusterAsk(
        wishes.engine,
        card.model_id,
        weight_format,
        wishes.context_tokens,
        wishes.n_parallel,
        kv_type or "auto",
        question.machine,
        inputs.read("link"),
        across,
    )
    try:
        show_plan(plan(ask, inputs.read("nodes")))
        show_rows(ask)
    except UnsupportedError as error:
        st.markdown(escape_markdown(frame.to_sentence(str(error))))
    except (BadInputError, UnknownNameError) as error:
        st.warning(frame.to_sentence(str(error)), icon=":material/rule:")


def show_knobs(engine: str) -> None:
    """How many machines, what links them, and for vLLM what they share."""
    labels = {link.name: link.label for link in INTERCONNECTS.values()}
    with st.container(horizontal=True, gap="small", vertical_alignment="bottom"):
        inputs.choice("nodes", "Machines", tuple(str(n) for n in range(1, MAX_NODES + 1)), width=105)
        inputs.choice("link", "Link between them", tuple(labels), labels, width=300)
        if engine == VLLM:
            inputs.choice("share", "Machines share", tuple(SHARE_WORDS), SHARE_WORDS, width=210)


def show_plan(found: ClusterPlan) -> None:
    """The sentence, a bar for each machine, what the network costs, and the files."""
    verdict = frame.format_verdict(found.estimate.fit.verdict)
    lines = [describe_fit(found.estimate.fit), *list_network_lines(found)]
    if found.largest_context_tokens:
        lines.append(f"up to {format_tokens(found.largest_context_tokens)} tokens of context fit")
    items = "".join(f"<li>{escape(charts.roomy(frame.to_sentence(line)))}</li>" for line in lines if line)
    st.html(
        f'<p class="wb-figures"><span class="wb-verdict">{verdict}.</span> {escape(charts.roomy(say_plan(found)))}</p>'
        f'<ul class="wb-list">{items}</ul>'
    )
    bars = [to_bar(node, found.cluster.node) for node in found.nodes]
    alt = "; ".join(f"machine {node.number} holds {node.total_bytes / 2**30:.1f} GiB" for node in found.nodes)
    setup = found.setup
    name = f"memory-{setup.spec.name}-{setup.weight_format}-{len(bars)}-machines"
    frame.show_chart(charts.memory_bar(bars), "cluster_memory", f"Memory of each machine: {alt}", name)
    show_files(found)


def to_bar(node: NodeUse, machine: Machine) -> DeviceUse:
    """All of one machine that the model may be on, as one bar: its cards, or its memory where it has none."""
    cards = machine.accelerators or (machine.host,)
    held = [d for d in node.devices if d.name != machine.host.name or not machine.accelerators or machine.is_unified]
    parts = Parts(*(sum(getattr(d.parts, name) for d in held) for name in Parts.__dataclass_fields__))
    return DeviceUse(
        f"Machine {node.number}",
        sum(d.memory_bytes for d in cards),
        sum(d.usable_bytes for d in cards),
        parts,
        sum(d.n_layers for d in held),
    )


def show_files(found: ClusterPlan) -> None:
    """How to start it, file by file."""
    model_id = found.setup.spec.model_id
    file = get_file.name_file(model_id, found.setup.weight_format) if found.setup.weights is not None else None
    launches = list_cluster_launches(found, ModelFiles(model_id, gguf_file=file))
    if not launches:
        return
    for tab, launch in zip(st.tabs([launch.title for launch in launches]), launches, strict=True):
        with tab:
            st.code(launch.text, language=launch.language, wrap_lines=True)
            st.caption(f"{launch.file_name}. {launch.note}")


def show_rows(ask: ClusterAsk) -> None:
    """How many machines do what, and how few are enough."""
    rows, fewest = list_plan_rows(ask)
    name = cached.find_card(ask.model_id).spec.name
    st.caption(
        f"The fewest that hold {name}: {fewest}." if fewest else f"Not even {MAX_NODES} hold {name} on their cards."
    )
    plans = [row.plan for row in rows]
    table = pd.DataFrame(
        {
            "Machines": [str(row.n_nodes) for row in rows],
            "Fit": [frame.format_verdict(p.estimate.fit.verdict) if p else "cannot run it" for p in plans],
            "Speed, tokens/s": [format_speed(p) for p in plans],
            "Network's share of a token, %": [format_share(p) for p in plans],
            "Largest context, tokens": [(p.largest_context_tokens or 0) if p else 0 for p in plans],
        }
    )
    tables.show_table(
        words.style_table(table),
        "cluster_rows",
        column_config=frame.right_aligned("Machines", "Speed, tokens/s", "Network's share of a token, %"),
    )


def format_speed(found: ClusterPlan | None) -> str:
    """The decode interval, or why there is none."""
    if found is None or not found.estimate.fit.runs:
        return "does not run"
    speed = found.estimate.speed
    return format_range(speed.decode_tokens_per_s.low, speed.decode_tokens_per_s.high) if speed else words.UNKNOWN


def format_share(found: ClusterPlan | None) -> str:
    """The network's part of a token's time, in percent."""
    if found is None or not found.estimate.fit.runs:
        return "does not run"
    if found.network_share is None:
        return words.UNKNOWN
    return format_figures(100 * found.network_share)
