"""What a ranking answers: a model in its best quantization as an option, options with what was ruled out, and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from sizing.candidate import Candidate, MeasuredHere, Needs, Quality, QuantLoss, RuledOut, subtract_loss
from sizing.estimate import ENGINE, Estimate
from sizing.fit import Verdict
from sizing.frontier import find_frontier
from sizing.units import format_figures, format_range

MAX_MEASURED_TOLD = 2
"""Scores measured here that an option's reasons tell; the Evaluate page has all."""


@dataclass(frozen=True, slots=True)
class Option:
    """One model in its best quantization for these needs. `utility` is None without evidence for the task.

    `on_frontier`: no other option is at least as good, as fast and as small, and better in one of the three.
    """

    candidate: Candidate
    quant: str
    estimate: Estimate
    loss: QuantLoss | None
    utility: float | None
    reasons: tuple[str, ...] = ()
    on_frontier: bool = False

    @property
    def quality(self) -> Quality | None:
        """Evidence for the task less what this quantization costs, with both uncertainties; None without evidence."""
        return None if self.candidate.quality is None else subtract_loss(self.candidate.quality, self.loss)

    @property
    def name(self) -> str:
        """The model's display name."""
        return self.candidate.spec.name

    @property
    def verdict(self) -> Verdict:
        """Fits, tight or offload."""
        return self.estimate.fit.verdict


@dataclass(frozen=True, slots=True)
class Recommendation:
    """The answer: `options` best first (with evidence before without), and what was ruled out.

    Of what runs without evidence the first are options and `n_more` are only counted; of what was ruled out, the first
    of each kind are told and `ruled_out_counts` counts all, most first.
    """

    options: tuple[Option, ...]
    ruled_out: tuple[RuledOut, ...]
    assumptions: tuple[str, ...]
    what_would_change: tuple[str, ...] = ()
    ruled_out_counts: tuple[tuple[str, int], ...] = ()
    n_more: int = 0

    @property
    def n_running(self) -> int:
        """How many models run here."""
        return len(self.options) + self.n_more

    @property
    def n_ruled_out(self) -> int:
        """How many models cannot be recommended."""
        return sum(n for _, n in self.ruled_out_counts)

    @property
    def best(self) -> Option | None:
        """The recommendation: the first option that has evidence, None when nothing with evidence runs."""
        return self.options[0] if self.options and self.options[0].utility is not None else None

    @property
    def runners_up(self) -> tuple[Option, ...]:
        """The two next options that have evidence, of other families where there are any."""
        if self.best is None:
            return ()
        rest = [o for o in self.options[1:] if o.utility is not None]
        families = {self.best.candidate.family}
        picked: list[Option] = []
        for option in rest:
            if option.candidate.family not in families and len(picked) < 2:
                picked.append(option)
                families.add(option.candidate.family)
        picked += [o for o in rest if o not in picked][: 2 - len(picked)]
        return tuple(picked)


def mark_frontier(options: Sequence[Option], *, by_weights: bool = False) -> tuple[Option, ...]:
    """The options, with those marked that no other beats in quality, speed and memory at once.

    With `by_weights` memory is that of the weights: what an engine that fills its cards really asks for.
    """
    speeds = [o.estimate.speed.decode_tokens_per_s.mid if o.estimate.speed else np.nan for o in options]
    scores = [o.quality.score if o.quality else np.nan for o in options]
    memories = [o.estimate.memory for o in options]
    sizes = [float(m.parts.weight_bytes if by_weights else m.total_bytes) for m in memories]
    marks = find_frontier(np.array(scores), np.array(speeds), np.array(sizes))
    return tuple(replace(o, on_frontier=bool(mark)) for o, mark in zip(options, marks, strict=True))


def list_reasons(option: Option, needs: Needs) -> tuple[str, ...]:
    """Why an option stands where it does: evidence, what was measured here, loss, speed and fit."""
    speed, fit = option.estimate.speed, option.estimate.fit
    out = [_tell_quality(option, needs.task)]
    out += [tell_measured(m) for m in option.candidate.measured[:MAX_MEASURED_TOLD]]
    out.append(_tell_loss(option))
    if speed is None:
        is_llama_cpp = option.estimate.memory.engine == ENGINE
        out.append("speed unknown" + ": this machine's bandwidth is not known" * is_llama_cpp)
    else:
        mid = format_range(speed.decode_tokens_per_s.low, speed.decode_tokens_per_s.high)
        out.append(f"{mid} tokens/s, bound by {speed.bound}")
    out.append(f"{fit.verdict}: {fit.reasons[0]}" if fit.reasons else str(fit.verdict))
    return tuple(line for line in out if line)


def _tell_quality(option: Option, task: str) -> str:
    quality = option.candidate.quality
    if quality is None:
        return f"quality for {task}: unknown, no published score in the catalog"
    scores = "score" if quality.n_scores == 1 else "scores"
    of_these = _tell_independent(quality)
    moved = ""
    if abs(quality.moved_points) >= 0.05:
        way = "up" if quality.moved_points > 0 else "down"
        moved = f"; moved {way} {format_figures(abs(quality.moved_points))} points by what was measured here"
    return (
        f"{task} evidence {format_figures(quality.score)} of 100 "
        f"({format_range(quality.low, quality.high)}) from {quality.n_scores} published {scores}{of_these}{moved}"
    )


def _tell_independent(quality: Quality) -> str:
    """How many of the scores are not the publisher's own, '' where that is not known."""
    n = quality.n_independent
    if n is None:
        return ""
    if n == 0:
        return ", the publisher's own"
    return ", independent" if n == quality.n_scores else f", {n} of them independent"


def _tell_loss(option: Option) -> str:
    loss, left = option.loss, option.quality
    if loss is None:
        return "" if option.quant in ("F16", "BF16") else f"{option.quant}: quantization loss unknown"
    text = f"{option.quant} costs about {format_figures(loss.points)} points"
    if loss.low is not None and loss.high is not None and loss.high > loss.low:
        text += f" ({format_range(loss.low, loss.high)})"
    text += f", published, {loss.label}"
    return text if left is None else f"{text}; {format_range(left.low, left.high)} is left"


def tell_measured(score: MeasuredHere) -> str:
    """'measured here: 71% (63 to 78) on arithmetic, n = 120', with the quantization that was measured."""
    share = score.is_higher_better and score.low >= 0 and score.high <= 1
    ends = (score.value, score.low, score.high)
    value, low, high = (f"{100 * x:.0f}" if share else format_figures(x) for x in ends)
    unit = "%" if share else ""
    title = score.title[:1].lower() + score.title[1:]
    return f"measured here: {value}{unit} ({low} to {high}) on {title}, n = {score.n_items:,}, at {score.quant}"
