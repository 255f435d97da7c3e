"""The catalog benchmark at a tiny size: its imports are as it says, and it prints a column for each size."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import catalog as benchmark
from catalog.import_store import ImportStore
from catalog.queries import all_weights
from catalog.spec_json import shape_of
from catalog.store import open_catalog


@pytest.mark.parametrize(("distinct", "n_shapes"), [(False, 2), (True, 80)])
def test_imports_share_shapes_unless_told_not_to(distinct: bool, n_shapes: int) -> None:
    made = benchmark.make_imports(open_catalog(), 80, distinct)
    assert len({m.card.model_id for m in made}) == 80
    shapes = {shape_of(m.card.spec) for m in made}
    assert len(shapes) == n_shapes or (distinct and len(shapes) > 70)
    assert any(m.files for m in made) and any(not m.files for m in made)


def test_made_imports_can_be_kept_and_opened(tmp_path: Path) -> None:
    made = benchmark.make_imports(open_catalog(), 40)
    ImportStore(tmp_path).keep_many(made)
    opened = open_catalog(imports=tmp_path)
    assert len(opened.cards) == opened.n_curated + 40 and not opened.notes
    weights = all_weights(opened)
    assert all(set(weights[m.card.model_id]) == set(m.weights) for m in made)


def test_prints_a_column_for_each_size(capsys: pytest.CaptureFixture[str]) -> None:
    assert benchmark.main(["--imports", "30", "--repeat", "1"]) == 0
    out = capsys.readouterr().out
    assert "30 imports" in out and "kept_context_s" in out and "1.0x" in out


def test_refuses_a_size_of_nothing() -> None:
    with pytest.raises(SystemExit):
        benchmark.main(["--imports", "0"])
