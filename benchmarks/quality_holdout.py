"""How far the task ratings can be trusted: hide a fifth of the published scores, predict them from the rest.

Prints the share of pairs of models ordered right within a benchmark, of all pairs and of those more than two standard
errors apart, the coverage of the 80% intervals and the mean error; then what the fit says of publishers' own scores,
of thinking turned off, and of size and date. All of it follows from the committed data; nothing is stored.

    python -m benchmarks.quality_holdout
"""

from __future__ import annotations

from collections.abc import Sequence

from catalog.quality import list_traits, load_scores, to_score
from catalog.queries import list_models
from catalog.store import open_catalog
from sizing.evidence import AbilityFit, EvidencePrior, Score, Traits, fit_abilities, tabulate_scores
from sizing.evidence_holdout import HoldOut, hold_out
from sizing.recommend import TASKS

SEEDS = range(5)
LEAST_ORDERED_RIGHT = 0.85
"""Of the pairs more than two standard errors apart; below it the command ends with 1."""


def load_evidence() -> tuple[tuple[Score, ...], Traits]:
    """The catalog's scores that count for a task, and its models' traits."""
    scores = tuple(score for row in load_scores() if (score := to_score(row)) is not None)
    return scores, list_traits(list_models(open_catalog()))


def measure_holdout(
    scores: Sequence[Score], traits: Traits | None = None, prior: EvidencePrior | None = None, share: float = 0.2
) -> tuple[HoldOut, ...]:
    """One hold-out per seed, on the scores of the catalog that count for a task."""
    return tuple(hold_out(scores, TASKS, prior, share, seed, traits) for seed in SEEDS)


def describe_fit(fit: AbilityFit) -> str:
    """What the fit on all scores says beside abilities, in log-odds."""
    lost = ", ".join(f"{task} {value:.2f}" for task, value in zip(TASKS, fit.no_thinking, strict=True))
    total, active, year = fit.trait_weights
    return (
        f"publishers' own scores lie {fit.optimism:+.2f} above independent ones (log-odds)\n"
        f"thinking turned off costs: {lost}\n"
        f"ability goes with: {total:+.2f} a doubling of parameters, {active:+.2f} of active ones, {year:+.2f} a year"
    )


def main() -> int:
    """Print one line per hold-out, the mean, and the fit; 1 where fewer pairs are ordered right than promised."""
    scores, traits = load_evidence()
    results = measure_holdout(scores, traits)
    for seed, result in zip(SEEDS, results, strict=True):
        print(
            f"seed {seed}: {result.n_held} scores hidden, {result.ordered_right:.1%} of {result.n_pairs} pairs ordered "
            f"right, {result.clear_ordered_right:.1%} of {result.n_clear} more than two standard errors apart, "
            f"{result.coverage:.0%} inside the 80% interval, mean error {result.mean_error_points:.1f} points"
        )
    pairs, clear = sum(r.n_pairs for r in results), sum(r.n_clear for r in results)
    share = sum(r.n_clear_right for r in results) / clear
    print(
        f"all: {sum(r.n_right for r in results) / pairs:.1%} of {pairs} pairs ordered right, "
        f"{share:.1%} of the {clear} more than two standard errors apart"
    )
    print(describe_fit(fit_abilities(tabulate_scores(scores, TASKS, traits)[0])))
    return 0 if share >= LEAST_ORDERED_RIGHT else 1


if __name__ == "__main__":
    raise SystemExit(main())
