"""How long ranking takes: all models in all quantizations in one pass, against one model at a time.

    python -m benchmarks.rank [--models 120 16000] [--repeat 3]

The models are copies of the catalog's, each with its own vocabulary, head width and weight bytes, so that no two are
equal. One pass sizes, places, times and judges every row. The loop asks the same questions of one model after the
other with everything built beforehand, and the two take turns in the same run, so that a busy machine slows both. Of
a large set the loop walks a sample, and its time is scaled to the set. Both must give the same bytes.

Two questions are timed. "New context": nothing is kept from before but graphs, which serve every context. "Same
context": what a context costs each model is kept, as when only the machine, the task or the licence changes.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from catalog.candidates import list_candidates
from catalog.store import open_catalog
from sizing.hardware import Device, DeviceKind, Machine
from sizing.memory import WeightBytes
from sizing.recommend import Candidate, Needs, Ranker
from sizing.units import GB, GIB
from sizing.workload import Workload

LOOP_SAMPLE = 150
"""How many models the loop walks in one turn; its time is scaled when the set is larger."""

CONTEXT_TOKENS = 2048
"""Small enough that no model of the catalog is left out for its context."""


@dataclass(frozen=True, slots=True)
class Turns:
    """Seconds of one pass and of the loop over the same set, each the best of its turns."""

    pass_s: float
    loop_s: float

    @property
    def ratio(self) -> float:
        """How many times longer the loop takes."""
        return self.loop_s / self.pass_s


@dataclass(frozen=True, slots=True)
class Timing:
    """One set: its size, the seconds to build its columns, and the two questions asked of it."""

    n_models: int
    n_rows: int
    n_looped: int
    build_s: float
    new_context: Turns
    same_context: Turns


def example_machine() -> Machine:
    """A round 24 GiB card beside 64 GiB of memory, so that some rows fit, some offload and some do neither."""
    host = Device("RAM", DeviceKind.CPU, 64 * GIB, 58 * GIB, 60.0 * GB, None, "cpu")
    card = Device("card", DeviceKind.GPU, 24 * GIB, 23 * GIB, 900.0 * GB, 150e12, "cuda")
    return Machine("24 GiB card, 64 GiB memory", host, (card,))


def perturb(candidate: Candidate, copy: int, dice: random.Random) -> Candidate:
    """A model like `candidate` with other bytes: vocabulary, head width and weights moved by up to a third."""
    scale = dice.uniform(0.67, 1.33)

    def scaled(n_bytes: int) -> int:
        return int(n_bytes * scale) // 32 * 32

    def scaled_weights(weights: WeightBytes) -> WeightBytes:
        return replace(
            weights,
            input_bytes=scaled(weights.input_bytes),
            output_bytes=scaled(weights.output_bytes),
            token_embedding_bytes=scaled(weights.token_embedding_bytes),
            layer_bytes=tuple(map(scaled, weights.layer_bytes)),
            layer_expert_bytes=tuple(map(scaled, weights.layer_expert_bytes)),
        )

    step = dice.choice((-32, 0, 32, 64))
    groups = tuple(
        group
        if group.attention is None or group.attention.latent is not None
        else replace(group, attention=replace(group.attention, head_dim=max(32, group.attention.head_dim + step)))
        for group in candidate.spec.groups
    )
    spec = replace(
        candidate.spec,
        model_id=f"{candidate.spec.model_id}/{copy}",
        groups=groups,
        vocab_size=int(candidate.spec.vocab_size * scale),
    )
    return replace(candidate, spec=spec, weights=tuple(scaled_weights(w) for w in candidate.weights))


def make_candidates(originals: Sequence[Candidate], n_models: int, seed: int = 1) -> list[Candidate]:
    """`n_models` perturbed copies, taking the originals in turn."""
    dice = random.Random(seed)
    return [perturb(originals[i % len(originals)], i, dice) for i in range(n_models)]


def rank(rankers: Iterable[Ranker], machine: Machine, needs: Needs) -> list[np.ndarray]:
    """Utility of every row of each ranker: sized, placed, timed, judged and scored."""
    return [ranker.score(ranker.size(needs.workload, machine), needs)[0] for ranker in rankers]


def time_rank(rankers: Iterable[Ranker], machine: Machine, needs: Needs) -> float:
    """Seconds `rank` takes."""
    started = time.perf_counter()
    rank(rankers, machine, needs)
    return time.perf_counter() - started


def measure(candidates: Sequence[Candidate], machine: Machine, task: str, repeat: int) -> Timing:
    """Time the pass and the loop in turns. Raises RuntimeError when the two do not give the same bytes."""
    started = time.perf_counter()
    whole = Ranker(candidates)
    build_s = time.perf_counter() - started
    sample = random.Random(2).sample(range(len(candidates)), min(LOOP_SAMPLE, len(candidates)))
    singles = [Ranker([candidates[i]]) for i in sample]
    scale = len(candidates) / len(sample)
    same = Needs(task, Workload(context_tokens=CONTEXT_TOKENS))
    check_same(whole, singles, sample, machine, same)
    fresh = [Needs(task, Workload(context_tokens=CONTEXT_TOKENS - 64 * (turn + 1))) for turn in range(repeat)]
    return Timing(
        n_models=len(candidates),
        n_rows=len(whole.table.quant),
        n_looped=len(sample),
        build_s=build_s,
        new_context=take_turns(whole, singles, machine, fresh, scale),
        same_context=take_turns(whole, singles, machine, [fresh[-1]] * repeat, scale),
    )


def take_turns(
    whole: Ranker, singles: Sequence[Ranker], machine: Machine, needs: Sequence[Needs], scale: float
) -> Turns:
    """Pass, loop, pass, loop: one turn per entry of `needs`; the loop's time is multiplied by `scale`."""
    pass_s, loop_s = [], []
    for need in needs:
        pass_s.append(time_rank([whole], machine, need))
        loop_s.append(time_rank(singles, machine, need))
    return Turns(min(pass_s), min(loop_s) * scale)


def check_same(whole: Ranker, singles: Sequence[Ranker], sample: Sequence[int], machine: Machine, needs: Needs) -> None:
    """Raises RuntimeError unless one pass and the loop place the same bytes and give the same utility."""
    result = whole.size(needs.workload, machine)
    utility = whole.score(result, needs)[0]
    for model, single in zip(sample, singles, strict=True):
        own = slice(*whole.columns.first[model : model + 2].tolist())
        total = result.placement.total[whole.columns.rows[own]]
        alone = single.size(needs.workload, machine)
        same_bytes = np.array_equal(total, alone.placement.total)
        if not same_bytes or not np.array_equal(utility[own], single.score(alone, needs)[0]):
            raise RuntimeError(f"one pass and one model differ for {single.candidates[0].spec.model_id}")


def print_timing(timing: Timing) -> None:
    """One block per set."""
    sampled = "" if timing.n_looped == timing.n_models else f"; loop scaled from {timing.n_looped}"
    print(f"{timing.n_models:,} models, {timing.n_rows:,} rows (model, quantization){sampled}")
    print(f"  columns built once  {timing.build_s * 1e3:11,.1f} ms")
    for name, turns in (("new context", timing.new_context), ("same context", timing.same_context)):
        print(
            f"  {name:<14} pass {turns.pass_s * 1e3:11,.1f} ms, loop {turns.loop_s * 1e3:11,.1f} ms, "
            f"ratio {turns.ratio:7,.1f}",
            flush=True,
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Time each set and print it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rank", description=__doc__.splitlines()[0])
    parser.add_argument("--models", type=int, nargs="+", default=[120, 16_000], help="sizes of the sets")
    parser.add_argument("--repeat", type=int, default=3, help="turns; the best counts")
    options = parser.parse_args(arguments)
    if min(options.models) < 1 or not 1 <= options.repeat <= 20:
        parser.error("--models wants numbers of at least 1, --repeat one from 1 to 20")
    originals = [c for c in list_candidates(open_catalog(), "chat", "any") if c.weights]
    for n_models in options.models:
        print_timing(measure(make_candidates(originals, n_models), example_machine(), "chat", options.repeat))
    return 0


if __name__ == "__main__":
    sys.exit(main())
