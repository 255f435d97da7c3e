"""Imported models on every page: sized, ranked, searched, under labels that no recipe has and licences nobody read."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace

import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from catalog.import_store import ImportStore
from catalog.queries import list_weights
from catalog.rescue import list_aside
from catalog.store import open_catalog
from evals.home import find_home
from pages.ui import cached, frame, words
from tests.catalog.import_cases import make_file, make_import
from tests.pages.test_pages import html_of, warnings_of

OpenPage = Callable[..., AppTest]
RTX = {"machine": "RTX 4090"}
TUNED, OWN = "someone/tuned-8b", "UD-Q4_K_XL"


@pytest.fixture(scope="module", autouse=True)
def imports() -> Iterator[ImportStore]:
    """Three imports in the folder of this run, gone afterwards."""
    store, known = ImportStore(find_home()), open_catalog()
    weights = {w.quant: w for w in list_weights(known, "Qwen/Qwen3-8B")}
    only_file = make_import(known, "someone/only-a-file", weighed=(), files=(make_file(OWN, weights["Q4_K_M"]),))
    sly = make_import(known, "sly/model", license_tag="other", license_name="![x](http://e.org/p) $1$")
    store.keep_many([make_import(known, TUNED), only_file, replace(sly, notes=("[free](http://e.org)",))])
    cached.renew_catalog()
    yield store
    store.path.unlink()
    cached.renew_catalog()


def test_an_import_is_there_once_the_catalog_is_renewed(imports: ImportStore) -> None:
    machines = cached.list_devices()
    assert cached.list_cards()  # the catalog is open before anything is added
    imports.keep(make_import(open_catalog(), "someone/late"))
    assert all(c.model_id != "someone/late" for c in cached.list_cards())
    cached.renew_catalog()
    assert any(c.model_id == "someone/late" for c in cached.list_cards())
    assert cached.list_devices() is machines, "what does not depend on models is kept"
    imports.forget("someone/late")
    cached.renew_catalog()


def test_rankers_of_other_terms_share_their_columns() -> None:
    assert cached.ranker("chat", "any").columns is cached.ranker("code", "commercial").columns


@pytest.mark.parametrize("model", [TUNED, "someone/only-a-file"])
def test_size_takes_a_files_own_label(open_size: OpenPage, model: str) -> None:
    app = open_size(model=model, quant=OWN, **RTX)
    assert not app.exception and not app.error
    assert OWN not in warnings_of(app)
    answer = html_of(app).split('<h1 class="wb-answer">')[1].split("</h1>")[0]
    assert OWN in answer and "GiB" in answer
    (quant,) = [s for s in app.selectbox if s.label == "Quantization"]
    assert quant.value == OWN
    assert app.code[1].value.startswith("llama-server ")


def test_a_label_that_is_no_name_is_refused(open_size: OpenPage) -> None:
    app = open_size(model=TUNED, quant="<b>Q4</b>", **RTX)
    assert not app.exception
    assert "quant" in warnings_of(app)


def test_a_label_the_model_has_not_is_said(open_size: OpenPage) -> None:
    app = open_size(model=TUNED, quant="UD-Q2_K_XL", **RTX)
    assert not app.exception
    assert "is not listed for this model. Near: UD-Q4_K_XL" in warnings_of(app)


def test_hardware_takes_a_files_own_label(open_page: OpenPage) -> None:
    app = open_page("hardware", model="someone/only-a-file", quant=OWN)
    assert not app.exception and not app.error
    assert "wb-answer" in html_of(app) and OWN not in warnings_of(app)


def test_choose_shows_imports_below_what_has_evidence(open_page: OpenPage) -> None:
    app = open_page(**RTX)
    assert not app.exception
    (table,) = [d.value for d in app.dataframe if "Longest context, tokens" in d.value]
    names = table.iloc[:, 0].tolist()
    assert any("tuned-8b" in str(name) for name in names)
    ruled = [d.value for d in app.dataframe if "Why" in d.value]
    assert any("what it allows is not in the catalog" in str(why) for t in ruled for why in t["Why"])


@pytest.mark.parametrize(
    ("filters", "n_found"),
    [
        ({"find": "someone tuned"}, 1),
        ({"find": "SOMEONE"}, 2),
        ({"find": "someone", "origin": "curated"}, 0),
        ({"origin": "imported"}, 3),
        ({"origin": "imported", "params_from": "9"}, 0),
        ({"origin": "imported", "licence_id": "apache-2.0"}, 2),
    ],
)
def test_catalog_finds_imports(open_page: OpenPage, filters: dict[str, str], n_found: int) -> None:
    app = open_page("catalog", **filters)
    assert not app.exception
    if n_found:
        assert f'<h1 class="wb-answer">{n_found} of ' in html_of(app)
    else:
        assert "No model matches" in html_of(app)


def test_what_others_wrote_stays_text(open_page: OpenPage) -> None:
    app = open_page("catalog", model="sly/model")
    assert not app.exception
    shown = " ".join(m.value for m in app.markdown)
    assert "![x](" not in shown and "[free](" not in shown
    assert r"\!\[x\]\(http\://e.org/p\) \$1\$" in shown


def test_a_long_list_says_how_many_more(open_page: OpenPage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cached, "MAX_LISTED_IMPORTS", 1)
    cached.list_choices.clear()
    app = open_page("size", model=TUNED, quant=OWN, **RTX)
    assert not app.exception
    (model,) = [s for s in app.selectbox if s.label == "Model"]
    assert model.value == TUNED, "the model that is shown is offered"
    cached.list_choices.clear()


def test_sources_count_imports_too(open_page: OpenPage) -> None:
    app = open_page("sources")
    assert not app.exception
    (table,) = [d.value for d in app.dataframe if "Address" in d.value]
    assert any("huggingface.co/someone/tuned-8b" in str(address) for address in table["Address"])


def test_markdown_signs_are_escaped() -> None:
    assert frame.escape_markdown("a_b [x](y) :smile:") == r"a\_b \[x\]\(y\) \:smile\:"


def test_imports_that_cannot_be_read_are_said_and_the_rest_works(open_page: OpenPage, imports: ImportStore) -> None:
    kept = imports.path.read_bytes()
    imports.path.write_bytes(b"not a database" * 1000)
    cached.renew_catalog()
    try:
        app = open_page("catalog")
        assert not app.exception
        assert "imports.duckdb was damaged and made anew" in warnings_of(app).replace("\\", "")
        assert len(app.dataframe[0].value) > 150
    finally:
        imports.path.write_bytes(kept)
        for aside in list_aside(imports.path):
            aside.unlink()
        cached.renew_catalog()


def test_numbers_are_told_by_their_own_text_even_where_they_are_equal() -> None:
    frame_of = pd.DataFrame({"Speed": [1.5, 2.5, 1.5, math.nan, 4.0]})
    texts = [[("Speed", "1 to 2")], [("Speed", "2 to 3")], [("Speed", "1.4 to 1.6")], [("Speed", "unknown")], []]
    shown = words.style_table(frame_of, texts)
    assert shown.texts["Speed"] == ["1 to 2", "2 to 3", "1.4 to 1.6", "unknown", "4.00"]
