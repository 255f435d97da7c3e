"""How long a large catalog takes: import, open, search and rank, against the curated catalog alone.

    python -m benchmarks.catalog [--imports 100 2000 20000] [--distinct]

The imports are made up, each like a fine-tune that somebody uploaded. Of N imports there are about N/40 distinct shapes
and at most 500: those of the catalog's models, where more are needed with another vocabulary and head width. Most
models weigh what the engine said of their shape in every recipe; half of them are in GGUF files too, as one of six
kinds of publishers make them (two files, the usual dozen, one file of a mix of their own, ...). With `--distinct` no
two shapes and no two weights are alike, which no hub shows: the worst case.

Two rankings are timed. "New context": nothing about it is kept from before. "Kept context": what a context costs each
model is kept, as when only the machine changes. All sizes and the curated catalog are timed in one run, so that a busy
machine slows them all; ratios are to the curated catalog.
"""

from __future__ import annotations

import argparse
import gc
import random
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import psutil

from benchmarks.rank import CONTEXT_TOKENS, example_machine, perturb
from catalog.candidates import list_candidates
from catalog.import_store import ImportStore
from catalog.imported import FileWeights, ImportedModel, ParamCheck
from catalog.search import CatalogSearch, search_models
from catalog.store import Catalog, open_catalog
from sizing.memory import WeightBytes
from sizing.recommend import Candidate, Needs, Ranker
from sizing.units import MIB
from sizing.weights import find_shape_crumbs
from sizing.workload import Workload

MODELS_PER_SHAPE = 40
MAX_SHAPES = 500
MIXES: tuple[tuple[str, ...], ...] = (
    (),
    (),
    (),
    ("Q4_K_M",),
    ("Q4_K_M", "Q8_0"),
    ("Q2_K", "Q3_K_S", "Q3_K_M", "Q3_K_L", "Q4_K_S", "Q4_K_M", "Q5_K_S", "Q5_K_M", "Q6_K", "Q8_0", "IQ4_XS"),
)
"""Recipes of which a model has files, each list as likely as the next."""

OWN_MIXES = (("UD-Q2_K_XL", "Q2_K"), ("UD-Q4_K_XL", "Q4_K_M"), ("UD-Q5_K_XL", "Q5_K_M"), ("UD-Q6_K_XL", "Q6_K"))
"""Mixes of a publisher's own, and the recipe each is near to."""

SEARCHES = (
    CatalogSearch(),
    CatalogSearch(text="tune 7"),
    CatalogSearch(tasks=("code",), min_context_tokens=32768, licenses=("apache-2.0", "mit")),
)

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Timing:
    """One catalog: its size, and seconds of each step; `import_s` is None for the curated catalog alone."""

    n_imports: int
    n_models: int
    n_offers: int
    n_rows: int
    import_s: float | None
    open_s: float
    search_s: float
    candidates_s: float
    columns_s: float
    new_context_s: float
    kept_context_s: float
    resident_bytes: int


def make_shapes(originals: Sequence[Candidate], n_imports: int, distinct: bool, dice: random.Random) -> list[Candidate]:
    """The shapes the imports have, each with its weights in every recipe."""
    n_shapes = n_imports if distinct else max(1, min(MAX_SHAPES, n_imports // MODELS_PER_SHAPE))
    return [
        originals[i] if not distinct and i < len(originals) else perturb(originals[i % len(originals)], i, dice)
        for i in range(n_shapes)
    ]


def make_files(weights: Sequence[WeightBytes], dice: random.Random) -> tuple[FileWeights, ...]:
    """GGUF files of a model: plain recipes, and of one model in ten a publisher's own mixes, a little heavier."""
    known = {w.quant: w for w in weights}
    chosen = [known[q] for q in dice.choice(MIXES) if q in known]
    if dice.random() < 0.1:
        chosen += [
            replace(known[base], quant=own, output_bytes=known[base].output_bytes * 5 // 4)
            for own, base in OWN_MIXES
            if base in known
        ]
    return tuple(FileWeights(w.quant, (f"model-{w.quant}.gguf",), w.tensor_bytes, ("",), w) for w in chosen)


def make_imports(catalog: Catalog, n_imports: int, distinct: bool = False, seed: int = 1) -> list[ImportedModel]:
    """Made-up imports, as the module's head says."""
    dice = random.Random(seed)
    cards = {card.model_id: card for card in catalog.cards}
    originals = [c for c in list_candidates(catalog, "chat", "any") if c.weights]
    shapes = make_shapes(originals, n_imports, distinct, dice)
    tags = [x.license_id for x in catalog.licenses] + ["other", "", "openrail", "bigscience-bloom-rail-1.0"]
    out = []
    for i in range(n_imports):
        shape = shapes[i % len(shapes)]
        parent = cards[originals[i % len(shapes) % len(originals)].spec.model_id]
        model_id = f"tuner{dice.randrange(n_imports)}/tuned-{i}"
        address = f"https://huggingface.co/{model_id}/tree/{i:040x}"
        card = replace(
            parent,
            spec=replace(shape.spec, model_id=model_id, name=f"{parent.name} tune {i}"),
            org=model_id.split("/")[0],
            sources=(address,),
            notes=(),
        )
        out.append(
            ImportedModel(
                card=card,
                origin="hub",
                repo_id=model_id,
                revision=f"{i:040x}",
                shape_from="config.json",
                check=ParamCheck(card.spec.n_params, None, "the files state no number"),
                imported_at="2026-11-25T00:00:00+00:00",
                weighed=shape.weights,
                files=make_files(shape.weights, dice),
                license_tag=dice.choice(tags),
                base_models=(parent.model_id,) if dice.random() < 0.8 else (),
                n_downloads=int(10 ** dice.uniform(0, 6)),
                n_likes=dice.randrange(1000),
            )
        )
    return out


def clock(ask: Callable[[], Result]) -> tuple[float, Result]:
    """Seconds a question takes, and its answer."""
    started = time.perf_counter()
    answer = ask()
    return time.perf_counter() - started, answer


def measure(n_imports: int, distinct: bool, repeat: int) -> Timing:
    """Time every step with so many imports, the best of `repeat` where a step can be repeated; 0 is none."""
    with tempfile.TemporaryDirectory() as folder:
        import_s = None
        if n_imports:
            made = make_imports(open_catalog(), n_imports, distinct)
            import_s, _ = clock(lambda: ImportStore(Path(folder)).keep_many(made))
            del made
        gc.collect()
        before = psutil.Process().memory_info().rss
        opens = [clock(lambda: open_catalog(imports=Path(folder))) for _ in range(repeat)]
        catalog = opens[-1][1]
        open_s = min(seconds for seconds, _ in opens)
        del opens
        search_s = max(min(time_search(catalog, search) for _ in range(repeat)) for search in SEARCHES)
        find_shape_crumbs.cache_clear()  # what one size taught is not the next one's
        candidates_s, candidates = clock(lambda: list_candidates(catalog, "chat", "any"))
        columns_s, ranker = clock(lambda: Ranker(candidates))
        gc.collect()
        resident = psutil.Process().memory_info().rss - before
        fresh = [Needs("chat", Workload(context_tokens=CONTEXT_TOKENS - 64 * (turn + 1))) for turn in range(repeat)]
        new = [time_answer(ranker, needs) for needs in fresh]
        kept = [time_answer(ranker, fresh[-1]) for _ in range(repeat)]
        return Timing(
            n_imports=n_imports,
            n_models=len(catalog.cards),
            n_offers=len(ranker.columns.rows),
            n_rows=len(ranker.table.quant),
            import_s=import_s,
            open_s=open_s,
            search_s=search_s,
            candidates_s=candidates_s,
            columns_s=columns_s,
            new_context_s=min(new),
            kept_context_s=min(kept),
            resident_bytes=resident,
        )


def time_search(catalog: Catalog, search: CatalogSearch) -> float:
    """Seconds a search takes."""
    return clock(lambda: search_models(catalog, search))[0]


def time_answer(ranker: Ranker, needs: Needs) -> float:
    """Seconds until the whole answer is there, in words."""
    return clock(lambda: ranker.recommend(example_machine(), needs, sensitivity=False))[0]


STEPS = ("open_s", "search_s", "candidates_s", "columns_s", "new_context_s", "kept_context_s")


def print_timings(timings: Sequence[Timing]) -> None:
    """A column for each size; in brackets the ratio to the curated catalog."""
    base = timings[0]
    print(f"{'':<14}" + "".join(f"{t.n_imports:>12,} imports " for t in timings))
    for name in ("n_models", "n_offers", "n_rows"):
        print(f"{name:<14}" + "".join(f"{getattr(t, name):>20,} " for t in timings))
    print(
        f"{'import_s':<14}"
        + "".join("" if t.import_s is None else f"{t.import_s:>20.2f} " for t in timings).rjust(21 * len(timings))
    )
    for name in STEPS:
        cells = (f"{getattr(t, name):10.3f} ({getattr(t, name) / getattr(base, name):6.1f}x) " for t in timings)
        print(f"{name:<14}" + "".join(f"{cell:>21}" for cell in cells))
    print(f"{'MiB more':<14}" + "".join(f"{t.resident_bytes / MIB:>20,.0f} " for t in timings))


def main(arguments: Sequence[str] | None = None) -> int:
    """Time the curated catalog and each size, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.catalog", description=__doc__.splitlines()[0])
    parser.add_argument("--imports", type=int, nargs="+", default=[100, 2000, 20_000], help="numbers of imports")
    parser.add_argument("--distinct", action="store_true", help="no two shapes and no two weights alike")
    parser.add_argument("--repeat", type=int, default=3, help="turns; the best counts")
    options = parser.parse_args(arguments)
    if min(options.imports) < 1 or not 1 <= options.repeat <= 20:
        parser.error("--imports wants numbers of at least 1, --repeat one from 1 to 20")
    print_timings([measure(n, options.distinct, options.repeat) for n in (0, *options.imports)])
    return 0


if __name__ == "__main__":
    sys.exit(main())
