"""Search: what DuckDB finds is what reading every card finds, in order, page by page."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from catalog.import_store import ImportStore
from catalog.models import CONFIDENCE, OPENNESS, ModelCard
from catalog.search import MAX_WORDS, ORDERS, CatalogSearch, list_filter_options, search_models
from catalog.store import Catalog, open_catalog
from sizing.errors import BadInputError, UnknownNameError
from tests.catalog.import_cases import make_import


@pytest.fixture(scope="module")
def merged(catalog: Catalog, tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    store = ImportStore(tmp_path_factory.mktemp("home"))
    names = ["some/Qwen3-tune", "some/llama-tune", "other/100%_wild*", "o'hara/it''s"]
    store.keep_many([make_import(catalog, name, n_downloads=10 * i) for i, name in enumerate(names)])
    return open_catalog(imports=store.home)


def matches(card: ModelCard, wanted: CatalogSearch) -> bool:
    """The same question to one card, told plainly."""
    text = f"{card.name} {card.model_id} {card.org} {card.family}".lower()
    return (
        all(word.lower() in text for word in wanted.text.split())
        and (not wanted.families or card.family in wanted.families)
        and (not wanted.licenses or card.license_id in wanted.licenses)
        and (not wanted.openness or card.openness in wanted.openness)
        and (not wanted.modalities or bool(set(wanted.modalities) & set(card.modalities)))
        and (not wanted.tasks or bool(set(wanted.tasks) & set(card.tasks)))
        and card.spec.context_tokens >= wanted.min_context_tokens
        and wanted.confidence in (None, card.confidence)
        and (wanted.min_params or 0) <= card.spec.n_params <= (wanted.max_params or 10**15)
    )


@settings(deadline=None, max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_finds_what_reading_every_card_finds(merged: Catalog, data: st.DataObject) -> None:
    options = list_filter_options(merged)

    def some(values: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(data.draw(st.lists(st.sampled_from(values), max_size=2, unique=True)))

    words = st.sampled_from(("qwen", "LLAMA", "8b", "tune", "%", "_", "'", "it", "instruct", "*", "100%"))
    wanted = CatalogSearch(
        text=" ".join(data.draw(st.lists(words, max_size=3))),
        families=some(options.families),
        licenses=some(options.licenses),
        openness=some(OPENNESS),
        modalities=some(options.modalities),
        tasks=some(options.tasks),
        min_context_tokens=data.draw(st.sampled_from((0, 8192, 131072))),
        confidence=data.draw(st.none() | st.sampled_from(CONFIDENCE)),
        min_params=data.draw(st.none() | st.just(7 * 10**9)),
        max_params=data.draw(st.none() | st.just(40 * 10**9)),
        order=data.draw(st.sampled_from(tuple(ORDERS))),
    )
    found, total = search_models(merged, wanted, limit=10_000)
    assert set(found) == {c.model_id for c in merged.cards if matches(c, wanted)}
    assert total == len(found) == len(set(found))
    first, second = search_models(merged, wanted, 3)[0], search_models(merged, wanted, 3, 3)[0]
    assert (*first, *second) == found[:6]


def test_orders_by_name_downloads_release_and_size(merged: Catalog) -> None:
    cards = {c.model_id: c for c in merged.cards}
    by = {order: search_models(merged, CatalogSearch(order=order), limit=10_000)[0] for order in ORDERS}
    names = [cards[i].name.lower() for i in by["name"]]
    assert names == sorted(names)
    assert by["downloads"][:4] == ("o'hara/it''s", "other/100%_wild*", "some/llama-tune", "some/Qwen3-tune")
    sizes = [cards[i].spec.n_params for i in by["params"]]
    assert sizes == sorted(sizes, reverse=True)
    releases = [cards[i].release for i in by["release"]]
    assert releases == sorted(releases, reverse=True)


def test_tells_imports_from_the_catalogs_own(merged: Catalog) -> None:
    assert search_models(merged, CatalogSearch(origins=("hub", "file")))[1] == 4
    assert search_models(merged, CatalogSearch(origins=("curated",)))[1] == merged.n_curated
    assert list_filter_options(merged).origins == ("curated", "hub")


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(max_size=60))
def test_any_text_is_words_and_never_sql(merged: Catalog, text: str) -> None:
    if len(text.split()) <= MAX_WORDS:
        found, total = search_models(merged, CatalogSearch(text=text))
        assert total == len(found) <= len(merged.cards)


def test_what_nobody_can_look_for_is_refused(merged: Catalog) -> None:
    with pytest.raises(BadInputError, match="at most"):
        CatalogSearch(text="a " * (MAX_WORDS + 1))
    with pytest.raises(BadInputError, match="at most"):
        CatalogSearch(text="a" * 500)
    with pytest.raises(UnknownNameError):
        CatalogSearch(order="random()")
    with pytest.raises(UnknownNameError):
        CatalogSearch(origins=("'; DROP TABLE models; --",))
    with pytest.raises(BadInputError):
        search_models(merged, CatalogSearch(), limit=-1)


def test_a_database_without_a_file_is_searched_too(catalog: Catalog, tmp_path: Path) -> None:
    empty = open_catalog(imports=tmp_path)
    assert search_models(empty, CatalogSearch())[1] == len(catalog.cards)


def test_of_very_many_values_the_catalogs_own_and_the_commonest_are_offered(
    catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = list_filter_options(catalog)
    monkeypatch.setattr("catalog.search.MAX_OPTIONS", len(own.families) + 1)
    publishers = ["rare/a", "common/b", "common/c", "seldom/d"]
    ImportStore(tmp_path).keep_many([make_import(catalog, name, base_models=()) for name in publishers])
    found = list_filter_options(open_catalog(imports=tmp_path))
    assert set(found.families) == {*own.families, "common"}
