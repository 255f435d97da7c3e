"""Fine-tunes that nobody tested never displace known models, however many downloads or how kind their names."""

from __future__ import annotations

from pathlib import Path

import pytest

from catalog.candidates import list_candidates
from catalog.import_store import ImportStore
from catalog.queries import find_machine
from catalog.store import Catalog, open_catalog
from sizing.recommend import Needs, Ranker
from sizing.workload import Workload
from tests.catalog.import_cases import make_import

TUNES = ("someone/Qwen3-8B-Genius-AGI", "someone/Qwen3-8B-Uncensored-Max", "another/Super-Qwen-9000")


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory, catalog: Catalog) -> Catalog:
    home: Path = tmp_path_factory.mktemp("home")
    store = ImportStore(home)
    for model_id in TUNES:
        store.keep(make_import(catalog, model_id, n_downloads=90_000_000, n_likes=1_000_000))
    return open_catalog(imports=home)


@pytest.mark.parametrize("task", ["chat", "code", "math"])
@pytest.mark.parametrize("where", ["RTX 3060 12GB", "Laptop DDR5-4800 16GB"])
def test_the_answer_is_the_same_with_and_without_unknown_tunes(
    catalog: Catalog, crowded: Catalog, task: str, where: str
) -> None:
    needs = Needs(task, Workload(8192))
    plain, more = (Ranker(list_candidates(c, task, "any")) for c in (catalog, crowded))
    assert len(more.candidates) == len(plain.candidates) + len(TUNES)
    machine = find_machine(catalog, where)
    answer = more.recommend(machine, needs, sensitivity=False)
    known = [o for o in answer.options if o.utility is not None]
    ranked = {o.candidate.spec.model_id for o in known}
    assert not ranked & set(TUNES)
    assert more.evident.pick(machine, needs) == plain.evident.pick(machine, needs)
    tunes = [i for i, o in enumerate(answer.options) if o.candidate.spec.model_id in TUNES]
    assert tunes and min(tunes) >= len(known), "below every model with evidence"
    assert not any(answer.options[i].on_frontier for i in tunes)
    assert answer.best is not None and answer.best.candidate.spec.model_id not in TUNES
