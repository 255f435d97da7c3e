"""A quantization's damage as measured here, lined up with what was published: labels, one unit, sources.

Published figures are others' measurements on other texts. They stand beside ours under the labels the catalog uses:
'same model', 'same family', 'generic'; ours is 'measured here'. This room knows no catalog, so they come as arguments.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Protocol

from evals.divergence_result import DivergenceResult
from sizing.errors import BadInputError

MEASURED_HERE = "measured here"
LABELS = (MEASURED_HERE, "same model", "same family", "generic")
"""From the nearest to the farthest."""

METRICS = {
    "perplexity_ratio": "perplexity against the reference's, 1 is none lost",
    "kl_divergence": "mean KL divergence per token, nats",
    "same_top_percent": "tokens whose most probable choice is unchanged, percent",
}
"""What is compared, in the order of the rows, with its unit."""


class Published(Protocol):
    """A published figure, as the catalog's `PublishedLoss` is one."""

    @property
    def label(self) -> str:
        """One of `LABELS` but the first."""

    @property
    def metric(self) -> str:
        """One of `METRICS`."""

    @property
    def value(self) -> float:
        """The figure, in its metric's unit."""

    @property
    def model(self) -> str:
        """Whose figure it is."""

    @property
    def test(self) -> str:
        """The text it was measured on."""

    @property
    def source_url(self) -> str:
        """Who says so."""


@dataclass(frozen=True, slots=True)
class MeasuredDamage:
    """One figure measured here, on `text`, over `n` scored tokens."""

    metric: str
    value: float
    stderr: float | None
    low: float | None
    high: float | None
    n: int
    text: str


@dataclass(frozen=True, slots=True)
class DamageRow:
    """One line of the table. `spread` says in words what `low` to `high` are, empty where there is none.

    `n` are the tokens of a measurement, or how many figures were published: then `value` is their median and `stderr`
    None. `texts` are what was read; `sources` the addresses of published figures and `models` whose they are.
    """

    label: str
    metric: str
    value: float
    stderr: float | None
    low: float | None
    high: float | None
    spread: str
    n: int
    texts: tuple[str, ...]
    sources: tuple[str, ...] = ()
    models: tuple[str, ...] = ()


def list_measured(result: DivergenceResult, text: str) -> tuple[MeasuredDamage, ...]:
    """The figures of a measurement that publications give too, in their units; `text` names what it read."""
    named = (
        ("perplexity_ratio", result.perplexity_ratio, 1),
        ("kl_divergence", result.kl_mean, 1),
        ("same_top_percent", result.top_agreement, 100),
    )
    return tuple(
        MeasuredDamage(
            metric,
            scale * e.value,
            _multiply(e.stderr, scale),
            _multiply(e.low, scale),
            _multiply(e.high, scale),
            result.n_tokens,
            text,
        )
        for metric, e, scale in named
    )


def line_up_damage(measured: Sequence[MeasuredDamage], published: Sequence[Published]) -> tuple[DamageRow, ...]:
    """All rows, metric by metric, nearest label first: each measurement, then one row of published figures per label.

    Raises BadInputError for a metric or label that is none of `METRICS` and `LABELS`.
    """
    for metric in [m.metric for m in measured] + [p.metric for p in published]:
        if metric not in METRICS:
            raise BadInputError(f"a metric wants one of {', '.join(METRICS)}, got {metric!r}")
    for row in published:
        if row.label not in LABELS[1:]:
            raise BadInputError(f"a published label wants one of {', '.join(LABELS[1:])}, got {row.label!r}")
    rows: list[DamageRow] = []
    for metric in METRICS:
        rows += [_take_measured(m) for m in measured if m.metric == metric]
        for label in LABELS[1:]:
            of_label = [p for p in published if (p.metric, p.label) == (metric, label)]
            if of_label:
                rows.append(_take_median(label, metric, of_label))
    return tuple(rows)


def _multiply(part: float | None, scale: int) -> float | None:
    return None if part is None else scale * part


def _take_measured(found: MeasuredDamage) -> DamageRow:
    spread = "" if found.low is None else "95% interval"
    return DamageRow(
        MEASURED_HERE,
        found.metric,
        found.value,
        found.stderr,
        found.low,
        found.high,
        spread,
        found.n,
        (found.text,),
    )


def _take_median(label: str, metric: str, rows: Sequence[Published]) -> DamageRow:
    values = [row.value for row in rows]
    several = len(values) > 1
    return DamageRow(
        label=label,
        metric=metric,
        value=median(values),
        stderr=None,
        low=min(values) if several else None,
        high=max(values) if several else None,
        spread=f"range of {len(values)} published" if several else "",
        n=len(values),
        texts=tuple(dict.fromkeys(row.test for row in rows)),
        sources=tuple(dict.fromkeys(row.source_url for row in rows)),
        models=tuple(dict.fromkeys(row.model for row in rows)),
    )
