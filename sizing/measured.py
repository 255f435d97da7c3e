"""Scores measured on this box beside published ones: they reorder what was measured here, and nothing else.

A suite's score has its own scale: 71% of our arithmetic says nothing against 71 on a scale of published benchmarks.
What it does say is which of two models did better on the same items here. So published evidence keeps the scale, and
models measured on the same suite swap their places on it where the measurement tells them apart.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from sizing.candidate import Candidate, MeasuredHere, Quality, subtract_loss

LEAST_ITEMS = 20
"""Fewer items than this tell too little to move anything, whatever their interval says."""

SUITE_TASKS = MappingProxyType(
    {
        "arithmetic": ("math",),  # final answers of problems in several steps are checked
        "code": ("code",),  # functions are run against tests
        "logic": ("reasoning",),  # puzzles with one answer that needs several steps
        "instructions": ("chat",),  # stated constraints on the answer are kept, as IFEval asks
        "multilingual": ("multilingual",),  # the same kind of question in many languages
        "grounded": ("rag",),  # answers must come from the text given, or be refused
        "needle": ("rag",),  # a fact is found in a long text
        "json_extraction": ("rag",),  # fields are taken from a text given
        "tool_calls": ("rag",),  # the right function with the right arguments, which retrieval pipelines rest on
        "gsm8k": ("math",),
        "minerva_math": ("math",),
        "humaneval": ("code",),
        "mbpp": ("code",),
        "ifeval": ("chat",),
        "bbh": ("reasoning",),
        "arc_challenge": ("reasoning",),
        "mmlu": ("chat", "reasoning"),
        "mmlu_pro": ("chat", "reasoning"),
        "mgsm": ("math", "multilingual"),
        "global_mmlu": ("multilingual",),
    }
)
"""Which of our suites, and which of lm-eval's tasks by the start of their name, speak for which task.

It follows `catalog.quality.BENCHMARKS` where a suite has its like there. Left out: `classification` (labels of short
texts are no task of the list), the demonstration suites (they ask about a world that only the demonstration model was
told of), perplexity and speed, and a person's own suites, of which nobody here knows what they ask.
"""


def find_suite_tasks(suite: str) -> tuple[str, ...]:
    """The tasks a suite speaks for: 'needle@16384' as 'needle', 'gsm8k_cot' as 'gsm8k'; none for one unknown."""
    name = suite.split("@", 1)[0].removeprefix("lm:")
    if name in SUITE_TASKS:
        return SUITE_TASKS[name]
    stems = [stem for stem in SUITE_TASKS if name.startswith(f"{stem}_") and stem not in OWN_SUITES]
    return SUITE_TASKS[max(stems, key=len)] if stems else ()


OWN_SUITES = frozenset(
    "arithmetic code logic instructions multilingual grounded needle json_extraction tool_calls".split()
)
"""Suites of this repository: only their very name is theirs."""


def is_clearly_better(a: MeasuredHere, b: MeasuredHere) -> bool:
    """Whether a did better than b on the same suite beyond what their 95% intervals leave open.

    R. G. Newcombe, Stat. Med. 17 (1998) 873, method 10: the lower end of the difference of two rates is the
    difference less the root of the squares of the facing half-widths. The items being the same makes this cautious.
    """
    if a.suite != b.suite or a.is_higher_better != b.is_higher_better or min(a.n_items, b.n_items) < LEAST_ITEMS:
        return False
    if a.is_higher_better:
        return a.value - b.value > math.hypot(a.value - a.low, b.high - b.value)
    return b.value - a.value > math.hypot(a.high - a.value, b.value - b.low)


def take_measured(candidates: Sequence[Candidate], measured: Sequence[MeasuredHere], task: str) -> list[Candidate]:
    """The candidates with what was measured here for the task, and their evidence reordered by it.

    Of candidates with published evidence that were measured on the same suite, none stays above one that did clearly
    better here: their published scores, less the loss of the quantization that was measured, change hands. The others
    are not touched, and a model without published evidence is given no score. What a model gains or loses holds for
    all its quantizations, with an interval as wide as before.
    """
    of_model: dict[str, list[MeasuredHere]] = {}
    for score in measured:
        if task in find_suite_tasks(score.suite):
            of_model.setdefault(score.model_id, []).append(score)
    if not of_model:
        return list(candidates)
    out = [replace(c, measured=tuple(of_model.get(c.spec.model_id, ()))) for c in candidates]
    entries = [_Entry(i, _quality_as_measured(c)) for i, c in enumerate(out) if c.measured and c.quality is not None]
    entries = sorted((e for e in entries if e.score is not None), key=lambda e: -(e.score or 0.0))
    for place, entry in zip(entries, _order_entries(entries, out), strict=True):
        quality = out[entry.candidate].quality
        shift = (place.score or 0.0) - (entry.score or 0.0)
        if quality is not None and abs(shift) > 1e-9:
            out[entry.candidate] = replace(out[entry.candidate], quality=_move(quality, shift))
    return out


@dataclass(frozen=True, slots=True)
class _Entry:
    """A candidate by its number, with its published score less the loss of what was measured."""

    candidate: int
    score: float | None


def _quality_as_measured(candidate: Candidate) -> float | None:
    """The published score less the loss of the quantization that was measured on most items."""
    if candidate.quality is None:
        return None
    quant = max(candidate.measured, key=lambda m: m.n_items).quant
    loss = next((x for x in candidate.losses if x.quant == quant), None)
    return subtract_loss(candidate.quality, loss).score


def _order_entries(entries: Sequence[_Entry], candidates: Sequence[Candidate]) -> list[_Entry]:
    """Best published first among those that nobody left over clearly beats here; the best left over in a circle."""
    left, out = list(entries), []
    while left:
        free = [e for e in left if not any(_beats(candidates[o.candidate], candidates[e.candidate]) for o in left)]
        out.append((free or left)[0])
        left.remove(out[-1])
    return out


def _beats(a: Candidate, b: Candidate) -> bool:
    """Whether a did clearly better than b on a suite both were measured on, and on none clearly worse."""
    better = any(is_clearly_better(x, y) for x in a.measured for y in b.measured)
    return better and not any(is_clearly_better(y, x) for x in a.measured for y in b.measured)


def _move(quality: Quality, shift: float) -> Quality:
    """A score moved on its scale, its interval with it, both kept within 0..100."""
    low, score, high = (min(100.0, max(0.0, x + shift)) for x in (quality.low, quality.score, quality.high))
    return replace(quality, low=low, score=score, high=high, moved_points=quality.moved_points + shift)
