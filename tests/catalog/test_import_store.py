"""Imported models: kept and found again whole, replaced and forgotten, and citizens of the catalog."""

from __future__ import annotations

import tempfile
import threading
from dataclasses import replace
from pathlib import Path

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog.candidates import list_candidates
from catalog.import_store import FILE_NAME, SCHEMA_VERSION, ImportStore
from catalog.license_rules import allows
from catalog.licenses import UNKNOWN, find_license
from catalog.queries import (
    all_weights,
    find_model,
    find_weigh_gap,
    find_weights,
    list_models,
    list_sources,
    list_weights,
)
from catalog.spec_json import read_shape, shape_of, write_shape
from catalog.store import Catalog, open_catalog
from sizing.errors import BadInputError, UnknownNameError, UnsupportedError, UserStoreError
from tests.catalog.import_cases import make_file, make_import

LIKE = "Qwen/Qwen3-8B"


@pytest.fixture
def store(tmp_path: Path) -> ImportStore:
    return ImportStore(tmp_path / "home")


def test_what_is_kept_is_found_again_whole(catalog: Catalog, store: ImportStore) -> None:
    weights = {w.quant: w for w in list_weights(catalog, LIKE)}
    unreadable = replace(make_file("IQ2_M", weights["IQ2_M"]), weights=None, types=(), gap="the header was cut off")
    model = make_import(
        catalog,
        "someone/tuned",
        files=(make_file("UD-Q4_K_XL", weights["Q4_K_M"]), make_file("Q8_0", weights["Q8_0"], 3), unreadable),
        notes=("merged twice",),
        license_tag="other",
        license_name="house rules",
        license_url="https://example.org/rules",
    )
    store.keep(model)
    assert store.find("someone/tuned") == model
    assert ImportStore(store.home).load() == (model,)
    assert store.list_ids() == ("someone/tuned",)
    assert store.find("someone/other") is None


def test_every_shape_of_the_catalog_survives_the_store(catalog: Catalog) -> None:
    for card in catalog.cards:
        shape = shape_of(card.spec)
        assert read_shape(write_shape(shape)) == shape, card.model_id


@settings(deadline=None, max_examples=60)
@given(st.text(max_size=60) | st.just('{"groups": [{"layers": [0], "attention": {"kind": "full"}}]}'))
def test_a_text_that_is_no_shape_is_refused(text: str) -> None:
    with pytest.raises(BadInputError, match="shape as JSON"):
        read_shape(text)


def test_an_empty_folder_has_no_imports_and_is_left_empty(store: ImportStore) -> None:
    assert store.load() == () and store.list_ids() == () and store.find("a/b") is None
    assert not store.forget("a/b") and not store.path.exists()


def test_to_import_again_replaces_the_model_whole(catalog: Catalog, store: ImportStore) -> None:
    store.keep_many([make_import(catalog, "someone/tuned"), make_import(catalog, "someone/else")])
    newer = make_import(catalog, "someone/tuned", files=(), revision="f" * 40, like="Qwen/Qwen3-4B")
    store.keep(newer)
    assert store.find("someone/tuned") == newer
    assert store.list_ids() == ("someone/else", "someone/tuned")


def test_equal_shapes_and_weights_are_kept_once(catalog: Catalog, store: ImportStore) -> None:
    store.keep_many([make_import(catalog, f"someone/tuned-{i}") for i in range(30)])
    with duckdb.connect(str(store.path), read_only=True) as db:
        counts = db.execute(
            "SELECT (SELECT count(*) FROM shapes), (SELECT count(*) FROM weight_sets), "
            "(SELECT count(*) FROM type_sets), (SELECT count(*) FROM weighings), (SELECT count(*) FROM models)"
        ).fetchall()
    assert counts == [(1, 3, 1, 2, 30)]


def test_to_forget_drops_what_nobody_else_uses(catalog: Catalog, store: ImportStore) -> None:
    store.keep_many([make_import(catalog, "a/one"), make_import(catalog, "a/two", like="Qwen/Qwen3-4B")])
    assert store.forget("a/two") and not store.forget("a/two")
    assert store.list_ids() == ("a/one",)
    with duckdb.connect(str(store.path), read_only=True) as db:
        assert db.execute("SELECT count(*) FROM shapes").fetchall() == [(1,)]
        assert db.execute("SELECT count(*) FROM weight_sets").fetchall() == [(3,)]
        assert db.execute("SELECT count(DISTINCT weighing_id) FROM weighings").fetchall() == [(1,)]


def test_one_bad_model_keeps_all_out(catalog: Catalog, store: ImportStore) -> None:
    good = make_import(catalog, "a/good")
    store.keep(good)
    bad = make_import(catalog, "a/bad")
    with pytest.raises(BadInputError, match="none of 2 is kept"):
        store.keep_many([replace(good, n_likes=8), replace(bad, n_downloads=-1)])
    assert store.load() == (good,)


@pytest.mark.parametrize("model_id", ["", " a/b", "a/b\n", "a/\x1b[31mb", "x" * 401])
def test_an_id_no_address_can_hold_is_refused(catalog: Catalog, store: ImportStore, model_id: str) -> None:
    with pytest.raises(BadInputError, match="id wants"):
        store.keep(make_import(catalog, model_id))


@pytest.mark.parametrize("label", ["", "a/b", "Q4\n", "<b>", "x" * 65, " Q4_K_M"])
def test_a_label_that_is_no_name_is_refused(catalog: Catalog, store: ImportStore, label: str) -> None:
    weights = list_weights(catalog, LIKE)[0]
    with pytest.raises(BadInputError, match="quantization's name"):
        store.keep(make_import(catalog, "a/b", files=(make_file(label, weights),)))


def test_weights_of_another_model_are_refused(catalog: Catalog, store: ImportStore) -> None:
    foreign = list_weights(catalog, "Qwen/Qwen3-32B")[:1]
    with pytest.raises(BadInputError, match="the shape has 36 layers, the weights have 64"):
        store.keep(make_import(catalog, "a/b", weighed=foreign))


def test_a_shape_weighed_before_need_not_be_weighed_again(catalog: Catalog, store: ImportStore) -> None:
    first = make_import(catalog, "a/one")
    assert store.find_known_weights(first.card.spec) is None
    store.keep(first)
    again = replace(first.card.spec, model_id="b/two", name="two", context_tokens=1024)
    assert store.find_known_weights(again) == first.weighed
    assert store.find_known_weights(replace(again, vocab_size=again.vocab_size + 64)) is None
    assert store.find_known_weights(replace(again, architecture="nobody-knows")) is None


def test_a_newer_file_is_refused_and_the_catalog_opens_without_it(catalog: Catalog, store: ImportStore) -> None:
    store.keep(make_import(catalog, "a/one"))
    with duckdb.connect(str(store.path)) as db:
        db.execute(f"UPDATE about SET schema_version = {SCHEMA_VERSION + 1}")
    with pytest.raises(UserStoreError, match="another version of this app"):
        store.load()
    opened = open_catalog(imports=store.home)
    assert len(opened.cards) == len(catalog.cards)
    assert any("left out" in note and "another version" in note for note in opened.notes)


def test_a_folder_that_is_a_file_is_said(catalog: Catalog, tmp_path: Path) -> None:
    (tmp_path / "home").write_text("no folder")
    with pytest.raises(UserStoreError):
        ImportStore(tmp_path / "home").keep(make_import(catalog, "a/one"))
    assert open_catalog(imports=tmp_path / "home").n_curated == len(catalog.cards)


def test_readers_and_a_writer_take_turns(catalog: Catalog, store: ImportStore) -> None:
    store.keep(make_import(catalog, "a/one"))
    problems: list[BaseException] = []

    def read() -> None:
        try:
            for _ in range(5):
                assert store.find("a/one") is not None
        except BaseException as error:
            problems.append(error)

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    for i in range(5):
        store.keep(make_import(catalog, f"a/more-{i}"))
    for thread in threads:
        thread.join()
    assert problems == [] and len(store.list_ids()) == 6


@pytest.fixture(scope="module")
def merged(catalog: Catalog, tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    """A catalog with imports of several kinds."""
    store = ImportStore(tmp_path_factory.mktemp("merged"))
    weights = {w.quant: w for w in list_weights(catalog, LIKE)}
    local = make_import(catalog, "local/my-file", base_models=(), origin="file", repo_id="", revision="")
    store.keep_many(
        [
            make_import(catalog, "someone/tuned"),
            make_import(catalog, "someone/tuned-again", base_models=("someone/tuned",), n_downloads=5),
            make_import(catalog, "lonely/model", base_models=("nobody/knows",), license_tag="llamish"),
            make_import(catalog, "lonely/second", base_models=(), license_tag="llamish", license_name=""),
            make_import(catalog, "other/Qwen3-8B", license_tag="", weighed=(), files=(), weigh_gap="no such graph"),
            make_import(
                catalog,
                LIKE,
                files=(make_file("UD-Q2_K_XL", weights["Q2_K"]), make_file("Q4_K_M", weights["Q4_K_M"])),
            ),
            replace(local, card=replace(local.card, sources=("/models/my file.gguf",), release="", tasks=())),
        ]
    )
    return open_catalog(imports=store.home)


def test_imports_stand_behind_the_curated_models(catalog: Catalog, merged: Catalog) -> None:
    assert merged.cards[: merged.n_curated] == catalog.cards
    assert {c.model_id for c in merged.cards[merged.n_curated :]} == {
        "someone/tuned",
        "someone/tuned-again",
        "lonely/model",
        "lonely/second",
        "other/Qwen3-8B",
        "local/my-file",
    }
    assert merged.notes == catalog.notes
    assert len(list_models(merged)) == len({c.name.casefold() for c in merged.cards}), "names are told apart"


def test_the_family_is_the_base_models_else_the_publisher(merged: Catalog) -> None:
    families = {c.model_id: c.family for c in merged.cards}
    assert families["someone/tuned"] == families[LIKE] == families["someone/tuned-again"]
    assert families["lonely/model"] == families["lonely/second"] == "lonely"


def test_a_known_licence_is_taken_and_an_unknown_one_allows_nothing(merged: Catalog) -> None:
    cards = {c.model_id: c for c in merged.cards}
    assert cards["someone/tuned"].license_id == "apache-2.0"
    unread = find_license(merged.licenses, cards["lonely/model"].license_id)
    assert unread.license_id == cards["lonely/second"].license_id == "hub:llamish"
    assert unread.commercial == UNKNOWN and not allows(unread, "commercial").allowed and not unread.verified
    assert find_license(merged.licenses, cards["other/Qwen3-8B"].license_id).name == "no licence stated"
    rows = merged.fetch("SELECT commercial FROM licenses WHERE license_id = 'hub:llamish'")
    assert rows == [("unknown",)]


def test_names_of_imports_are_found(merged: Catalog) -> None:
    assert find_model(merged, "SOMEONE/tuned").model_id == "someone/tuned"
    assert find_model(merged, "tuned-again").model_id == "someone/tuned-again"
    assert find_model(merged, "Qwen3-8B").model_id == LIKE, "the catalog's own goes first"
    with pytest.raises(UnknownNameError) as caught:
        find_model(merged, "someone/tunde")
    assert "someone/tuned" in caught.value.near


def test_weights_of_imports_are_those_of_their_files_and_recipes(catalog: Catalog, merged: Catalog) -> None:
    parent = {w.quant: w for w in list_weights(catalog, LIKE)}
    found = {w.quant: w for w in list_weights(merged, "someone/tuned")}
    assert list(found) == ["Q8_0", "Q4_K_M", "UD-Q4_K_XL"]
    assert found["Q8_0"] == parent["Q8_0"]
    assert found["UD-Q4_K_XL"].tensor_bytes == parent["Q4_K_M"].tensor_bytes + 3200
    card = find_model(merged, "someone/tuned")
    assert find_weights(merged, card, "UD-Q4_K_XL") == found["UD-Q4_K_XL"]
    with pytest.raises(UnsupportedError, match="UD-Q4_K_XL"):
        find_weights(merged, card, "Q2_K")
    everything = all_weights(merged)
    assert everything["someone/tuned"] == tuple(found.values())
    assert everything["someone/tuned"] is everything["someone/tuned-again"], "equal weights are one object"


def test_a_curated_model_keeps_its_facts_and_gains_the_files_it_has_not(catalog: Catalog, merged: Catalog) -> None:
    before, after = list_weights(catalog, LIKE), list_weights(merged, LIKE)
    assert find_model(merged, LIKE) == find_model(catalog, LIKE)
    assert [w for w in after if w.quant != "UD-Q2_K_XL"] == list(before)
    assert all_weights(merged)[LIKE] == after


def test_a_model_without_weights_says_why(merged: Catalog) -> None:
    assert list_weights(merged, "other/Qwen3-8B") == ()
    assert find_weigh_gap(merged, "other/Qwen3-8B") == "no such graph"
    assert find_weigh_gap(merged, "someone/tuned") is None


def test_sources_of_imports_are_listed(merged: Catalog) -> None:
    sources = {s.source_url for s in list_sources(merged)}
    assert any(s.startswith("https://huggingface.co/someone/tuned/tree/") for s in sources)
    assert "file:/models/my file.gguf" in sources


def test_imports_are_candidates_without_evidence_of_their_own(merged: Catalog) -> None:
    found = {c.spec.model_id: c for c in list_candidates(merged, "chat", "commercial")}
    tuned = found["someone/tuned"]
    assert tuned.quality is None and tuned.license_allowed and len(tuned.weights) == 3
    assert not found["lonely/model"].license_allowed
    assert found["other/Qwen3-8B"].gap == "no such graph"
    assert found[LIKE].quality is not None


SLY = ["'; DROP TABLE models; --", "a'b\"c", "\U0001f999 <b>", "%_*", "javascript:alert(1)", "http://e.org/ x", ""]


@settings(deadline=None, max_examples=8)
@given(st.lists(st.tuples(*[st.sampled_from(SLY)] * 5), min_size=1, max_size=6))
def test_whatever_a_card_says_the_catalog_opens(catalog: Catalog, rows: list[tuple[str, ...]]) -> None:
    made = [
        replace(
            one := make_import(catalog, f"sly/{i}", base_models=(base,)),
            card=replace(one.card, org=org, family=org or "x", spec=replace(one.card.spec, name=tag or "x")),
            license_tag=tag,
            license_name=name,
            license_url=url,
        )
        for i, (org, base, tag, name, url) in enumerate(rows)
    ]
    with tempfile.TemporaryDirectory() as folder:
        ImportStore(Path(folder)).keep_many(made)
        opened = open_catalog(imports=Path(folder))
    assert opened.notes == catalog.notes
    assert len(opened.cards) == opened.n_curated + len(made)
    assert len({c.name.casefold() for c in opened.cards}) == len(opened.cards)
    for card in opened.cards[opened.n_curated :]:
        terms = find_license(opened.licenses, card.license_id)
        assert terms.url.startswith("http") and " " not in terms.url
        assert find_model(opened, card.model_id) is card


def test_a_family_is_looked_for_through_a_ring_of_bases_and_given_up(catalog: Catalog, store: ImportStore) -> None:
    store.keep_many(
        [
            make_import(catalog, "ring/a", base_models=("ring/b",)),
            make_import(catalog, "ring/b", base_models=("ring/a",)),
        ]
    )
    opened = open_catalog(imports=store.home)
    assert {c.family for c in opened.cards[opened.n_curated :]} == {"ring"}


def test_the_catalog_is_locked_with_imports_too(merged: Catalog, tmp_path: Path) -> None:
    with pytest.raises(duckdb.Error):
        merged.fetch(f"ATTACH '{tmp_path / FILE_NAME}'")
    assert merged.fetch("SELECT count(*) FROM duckdb_databases() WHERE database_name = 'kept'") == [(0,)]
