"""How far the task ratings can be trusted: hide a fifth of the published scores, predict them from the rest.

Prints the share of pairs of models ordered right within a benchmark, the coverage of the 80% intervals and the mean
error.

    python -m benchmarks.quality_holdout
"""

from __future__ import annotations

from catalog.quality import load_scores, to_score
from sizing.evidence import EvidencePrior, HoldOut, hold_out
from sizing.recommend import TASKS

SEEDS = range(5)


def measure_holdout(prior: EvidencePrior | None = None) -> tuple[HoldOut, ...]:
    """One hold-out of 20% per seed, on the scores of the catalog that count for a task."""
    scores = [score for row in load_scores() if (score := to_score(row)) is not None]
    return tuple(hold_out(scores, TASKS, prior, share=0.2, seed=seed) for seed in SEEDS)


def main() -> None:
    """Print one line per hold-out and the mean."""
    results = measure_holdout()
    for seed, result in zip(SEEDS, results, strict=True):
        print(
            f"seed {seed}: {result.n_held} scores hidden, {result.ordered_right:.1%} of {result.n_pairs} pairs ordered "
            f"right, {result.coverage:.0%} inside the 80% interval, mean error {result.mean_error_points:.1f} points"
        )
    pairs = sum(r.n_pairs for r in results)
    print(f"all: {sum(r.n_right for r in results) / pairs:.1%} of {pairs} pairs ordered right")


if __name__ == "__main__":
    main()
