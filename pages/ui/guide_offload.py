"""The guide on what may lie elsewhere: layers on the host, files on disk, and drafts beside the model."""

from __future__ import annotations

import streamlit as st

from pages.ui import cached, charts_guide, frame, guide_frame, words
from pages.ui.charts_base import SERIES
from pages.ui.charts_guide import Line
from pages.ui.guide_frame import Lesson, name_in_prose, say, tell
from sizing.errors import BadInputError, UnsupportedError
from sizing.fit import Verdict
from sizing.formulas import find_formulas
from sizing.hardware import DeviceKind, Machine
from sizing.lessons import count_read_bytes, expect_draft_tokens
from sizing.memory import WeightBytes
from sizing.placement import Offload
from sizing.specs import ModelSpec
from sizing.units import GB, THIN, format_bytes, format_figures

EXAMPLE_CARD = "RTX 3060 12GB"
"""What is offloaded to where the machine of the bar has no card of its own."""
DISK_BYTES_PER_S = 3 * GB
"""Assumed rate of a common NVMe disk."""
DRAWN_SHARES = (0.0, 0.25, 0.5, 0.75, 0.88)
"""Parts of the layers on the card that are drawn; the gain comes late, so points lie closer there."""
N_DRAFTED, ACCEPTED = 4, 0.7
"""Assumed: four drafted tokens, seven of ten of which hold."""


def show_offload(lesson: Lesson) -> None:
    """Layers on a card, the rest on the host; files mapped from disk; drafts."""
    if lesson.weights is None:
        say("Layers may lie on a card, on the host, or be read from disk as needed.")
        guide_frame.say_not_weighed(lesson)
        return
    machine = find_carded(lesson.machine)
    points = list_offloads(lesson, machine)
    say(say_offload(lesson, machine, points))
    left, right = guide_frame.split()
    with left:
        tell(
            "**Offload**: layers on a card run at its speed, the rest at the host's, one after the other. The slow "
            "part decides: half of the layers on a card is far from half of the gain.",
            say_mapping(lesson.spec, lesson.weights),
            *say_drafts(lesson),
        )
        guide_frame.show_formula(find_formulas("offload", "draft"))
        guide_frame.link_to_size(lesson, "Place the example's layers by hand", machine=machine.name)
    with right:
        where = frame.format_machine(machine)
        st.subheader(f"Answers against layers on the card, {where}", anchor=False)
        if len(points) < 2:
            st.caption("It does not run there in any division.")
            return
        told = tuple(f"{n} layers on the card: {format_figures(s)} tokens/s" for n, s in points)
        line = Line("tokens/s, middle", tuple(n for n, _ in points), tuple(s for _, s in points), told, SERIES[0])
        figure = charts_guide.lines_chart([line], "layers on the card", "tokens/s", is_log_x=False)
        frame.show_chart(figure, "guide_offload", "; ".join(told), name=f"speed-by-layers-{lesson.card.name}")


def find_carded(machine: Machine) -> Machine:
    """The machine of the bar where it has a card, else a common one."""
    if any(d.kind is DeviceKind.GPU for d in machine.accelerators):
        return machine
    return cached.find_named_machine(EXAMPLE_CARD)


def list_offloads(lesson: Lesson, machine: Machine) -> list[tuple[int, float]]:
    """Layers on the card and tokens/s, for each division that runs."""
    everything = lesson.spec.n_layers + 1
    found = []
    for n in sorted({*(round(everything * share) for share in DRAWN_SHARES), everything - 1, everything}):
        setup = cached.Setup(lesson.card.model_id, lesson.quant, lesson.workload, machine, Offload(n))
        try:
            told = cached.size_setup(setup).told
        except (BadInputError, UnsupportedError):
            continue
        decode = words.decode_of(told)
        if told.fit.verdict is not Verdict.DOES_NOT_FIT and decode is not None:
            found.append((n, decode.mid))
    return found


def say_offload(lesson: Lesson, machine: Machine, points: list[tuple[int, float]]) -> str:
    """What some layers on the card gain over none."""
    where = frame.format_machine(machine)
    if len(points) < 2:
        return f"{lesson.card.name} at {lesson.quant} cannot be divided over {where}."
    (none, slow), (n, fast) = points[0], points[-1]
    if none:
        return (
            f"{lesson.card.name} at {lesson.quant} reaches {format_figures(fast)} tokens/s with {n} layers on {where}."
        )
    return (
        f"{lesson.card.name} at {lesson.quant} on {where}: {format_figures(slow)} tokens/s from the host, "
        f"{format_figures(fast)} with {n} of {lesson.spec.n_layers + 1} layers on the card."
    )


def say_mapping(spec: ModelSpec, weights: WeightBytes) -> str:
    """What it means that files are mapped, and what missing memory costs."""
    read = count_read_bytes(spec, weights)
    seconds = read / DISK_BYTES_PER_S
    return (
        "**mmap**: llama.cpp maps the file instead of loading it. It starts at once, and what is not touched takes no "
        "memory; but what the system drops must come from disk again. If all of the "
        f"{format_bytes(read)} that a token reads did, at 3{THIN}GB/s (assumed), a token would take "
        f"{format_figures(seconds)} s. `--no-mmap` loads everything first, `--mlock` keeps it."
    )


def say_drafts(lesson: Lesson) -> tuple[str, ...]:
    """Speculative drafts in a sentence, and which models could draft."""
    expected = expect_draft_tokens(ACCEPTED, N_DRAFTED)
    told = (
        f"**Drafts**: a small model guesses {N_DRAFTED} tokens, the large one checks them in a step that reads its "
        f"weights once; if each holds with {ACCEPTED:.0%} (assumed), a step yields {format_figures(expected)} tokens."
    )
    drafts = cached.list_drafts(lesson.card.model_id)
    if not drafts:
        return (f"{told} No smaller model of the catalog shares this vocabulary.",)
    return (f"{told} {name_in_prose(drafts[0].name)} could draft for {name_in_prose(lesson.card.name)}.",)
