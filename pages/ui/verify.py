"""Ask llama.cpp about the configuration on the page, and show its answer beside the formulas'."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from html import escape

import pandas as pd
import streamlit as st

from evals.dry_run import DryRunFailure
from evals.user_store import UserStore
from evals.verify import VerifyResult, verify
from pages.ui import cached, frame, tables
from sizing.errors import UserStoreError, WeighbridgeError
from sizing.hardware import Machine
from sizing.placement import Offload
from sizing.units import format_bytes
from sizing.workload import Workload

BUTTON = "Verify with the engine"
PART_WORDS = {
    "weight_bytes": "Weights",
    "kv_cache_bytes": "KV cache",
    "recurrent_state_bytes": "Recurrent state",
    "compute_bytes": "Compute",
    "output_bytes": "Output",
}
MAX_KEPT = 64

Asked = tuple[str, str, Workload, Machine, Offload | None]


@dataclass(frozen=True, slots=True)
class Shown:
    """What came of one question: the comparison, or why there is none, and what went wrong with keeping it."""

    result: VerifyResult | None
    problem: str | None


@st.cache_resource(show_spinner=False)
def answers() -> OrderedDict[Asked, Shown]:
    """What was asked since the app was started, the oldest forgotten first."""
    return OrderedDict()


@st.cache_resource(show_spinner=False)
def wanted() -> set[Asked]:
    """Questions whose button was pressed and that nobody asked yet."""
    return set()


@st.fragment
def show_verify(
    model_id: str,
    quant: str,
    workload: Workload,
    machine: Machine,
    offload: Offload | None = None,
    beside: Callable[[], None] | None = None,
    about: str | None = None,
) -> None:
    """A quiet button that asks llama.cpp, and what it said about just this configuration.

    `offload` None leaves the placement to the formulas. `beside` draws what stands in one row with the button,
    `about` says what the question leaves out.
    """
    asked: Asked = (model_id, quant, workload, machine, offload)
    with st.container(horizontal=True, gap="medium", vertical_alignment="center"):
        st.button(
            BUTTON,
            key="verify",
            type="tertiary",
            icon=":material/verified:",
            help=about,
            on_click=wanted().add,
            args=(asked,),
        )
        if beside is not None:
            beside()
    if asked in wanted():
        wanted().discard(asked)
        with st.spinner("Asking llama.cpp what it would allocate"):
            answers()[asked] = ask(asked)
        while len(answers()) > MAX_KEPT:
            answers().popitem(last=False)
    shown = answers().get(asked)
    if shown is None:
        return
    if shown.problem is not None:
        st.warning(frame.to_sentence(shown.problem), icon=":material/rule:")
    if shown.result is not None:
        show_result(shown.result)


def ask(asked: Asked) -> Shown:
    """Ask the engine and keep the answer in the person's database. Nothing is raised: a failure is a sentence."""
    model_id, quant, workload, machine, offload = asked
    try:
        weights = next(w for w in cached.list_weights(model_id) if w.quant == quant)
        types = cached.find_file_types(model_id, quant)
        result = verify(cached.find_card(model_id).spec, weights, workload, machine, offload, types=types)
    except (WeighbridgeError, StopIteration) as error:
        return Shown(None, f"llama.cpp was not asked: {error}")
    if isinstance(result, DryRunFailure):
        return Shown(None, f"llama.cpp gave no answer: {result.message}")
    try:
        UserStore().keep_verify(result)
    except UserStoreError as error:
        return Shown(result, f"the answer was not kept: {error}")
    return Shown(result, None)


def describe_result(result: VerifyResult) -> str:
    """The comparison in one sentence."""
    n = len(result.differences)
    engine = f"llama.cpp ({result.engine}) was asked and worked {result.engine_s:.2f} s"
    worst = result.worst
    if worst is None:
        return f"{engine}: all {n} figures are equal."
    equal = sum(d.is_equal for d in result.differences)
    more = "more" if worst.difference_bytes > 0 else "less"
    return (
        f"{engine}: {equal} of {n} figures are equal. The formulas ask for {format_bytes(abs(worst.difference_bytes))} "
        f"{more} at {PART_WORDS[worst.part].lower()} on {worst.device}, the largest difference."
    )


def show_result(result: VerifyResult) -> None:
    """One sentence, then part by part and device by device."""
    st.html(f'<p class="wb-quiet">{escape(describe_result(result))}</p>')
    tables.show_table(tabulate(result), "verify_parts", name="llama.cpp-against-formula", column_config=BYTES_CONFIG)
    with st.popover("What was asked", type="tertiary"):
        st.markdown("\n".join(f"- {frame.to_sentence(note)}" for note in result.notes))


BYTES_CONFIG = {
    name: st.column_config.NumberColumn(format="localized", alignment="right")
    for name in ("Formula, bytes", "llama.cpp, bytes", "Difference, bytes")
}


def tabulate(result: VerifyResult) -> pd.DataFrame:
    """The differences as a table; devices of one name are numbered."""
    names = {d.device_index: d.device for d in result.differences}
    doubles = [name for name in names.values() if list(names.values()).count(name) > 1]
    ranks = {i: 1 + sum(names[j] == name for j in names if j < i) for i, name in names.items()}
    label = {i: f"{name} ({ranks[i]})" if name in doubles else name for i, name in names.items()}
    rows = result.differences
    return pd.DataFrame(
        {
            "Device": [label[d.device_index] for d in rows],
            "Part": [PART_WORDS[d.part] for d in rows],
            "Formula, bytes": [d.estimate_bytes for d in rows],
            "llama.cpp, bytes": [d.engine_bytes for d in rows],
            "Difference, bytes": [d.difference_bytes for d in rows],
            "": ["equal" if not d.difference_bytes else "rounded" if d.is_equal else "differs" for d in rows],
        }
    )
