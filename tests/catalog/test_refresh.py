"""The catalog's facts against what the Hub says, and accepted ones written into a copy of the family files."""

from __future__ import annotations

import difflib
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog.family_edit import edit_record, format_value
from catalog.hub_config import read_config
from catalog.imported import FileWeights, HubFile, HubRepository, ImportedModel, ParamCheck
from catalog.models import ModelCard, load_families
from catalog.refresh import FactChange, apply_changes, diff_facts, diff_imported, find_family_file
from sizing.architectures import ARCHITECTURES
from sizing.errors import BadInputError, DataFileError, UnknownNameError
from tests.catalog.card_configs import build_config

CARDS = {card.model_id: card for card in load_families()}
LLAMA = "meta-llama/Llama-3.2-1B-Instruct"
GEMMA = "google/gemma-3-27b-it"


def make_repository(card: ModelCard, **changed: Any) -> HubRepository:
    """The Hub saying just what the card says."""
    plain = {
        "repo_id": card.model_id,
        "revision": "0" * 40,
        "author": card.model_id.split("/")[0],
        "created_on": "2024-01-01",
        "modified_on": "2026-01-01",
        "gated": "manual" if card.gated else "",
        "is_private": False,
        "n_downloads": 10,
        "n_likes": 2,
        "pipeline_tag": "text-generation",
        "library": "transformers",
        "tags": (),
        "license_tag": card.license_id,
        "license_name": "",
        "license_url": "",
        "base_models": (),
        "languages": (),
        "n_params_by_type": (("BF16", card.n_params_reported),),
        "n_params_stated": card.n_params_reported,
        "files": (),
        "config": build_config(card) if card.spec.architecture in ARCHITECTURES else {"model_type": "mllama"},
    }
    return HubRepository(**{**plain, **changed})


def list_fields(changes: tuple[FactChange, ...]) -> dict[str, tuple[object, object]]:
    return {change.field: (change.old, change.new) for change in changes}


def change_config(card: ModelCard, **changed: Any) -> dict[str, Any]:
    """The card's config with keys of its text model changed."""
    config = build_config(card)
    config.get("text_config", config).update(changed)
    return config


# ---------------------------------------------------------------- curated cards


@pytest.mark.parametrize("card", CARDS.values(), ids=list(CARDS))
def test_a_hub_that_agrees_changes_nothing(card: ModelCard) -> None:
    assert list_fields(diff_facts(card, make_repository(card))) == (
        {"gated": (None, False)} if card.gated is None else {}
    )


def test_a_hub_that_says_nothing_changes_nothing() -> None:
    card = CARDS[LLAMA]
    silent = make_repository(card, license_tag="", n_params_stated=None, config=None)
    assert diff_facts(card, silent) == ()


@pytest.mark.parametrize(
    ("changed", "field", "values"),
    [
        ({"gated": ""}, "gated", (True, False)),
        ({"license_tag": "mit"}, "license", ("llama3.2", "mit")),
        ({"license_tag": "MIT "}, "license", ("llama3.2", "mit")),
        ({"license_tag": "other", "license_name": "Qwen Research"}, "license", ("llama3.2", "qwen-research")),
        ({"n_params_stated": 5}, "n_params_reported", (1_235_814_400, 5)),
    ],
)
def test_what_the_repository_says_of_itself(changed: dict[str, Any], field: str, values: tuple[object, object]) -> None:
    card = CARDS[LLAMA]
    found = diff_facts(card, make_repository(card, **changed))
    assert list_fields(found) == {field: values}
    assert found[0].is_applicable
    assert found[0].source_url == f"https://huggingface.co/{LLAMA}/tree/{'0' * 40}"


def test_an_unknown_licence_is_shown_but_not_taken_over() -> None:
    card = CARDS[LLAMA]
    (found,) = diff_facts(card, make_repository(card, license_tag="other", license_name="acme-1"))
    assert (found.new, found.is_applicable) == ("acme-1", False)
    assert "licenses.toml" in found.note


def test_a_licence_the_hub_has_no_tag_for_is_left_alone() -> None:
    card = next(c for c in CARDS.values() if c.license_id == "modified-mit-kimi")
    assert diff_facts(card, make_repository(card, license_tag="other", license_name="modified-mit")) == ()
    (found,) = diff_facts(card, make_repository(card, license_tag="mit"))
    assert (found.field, found.new, found.is_applicable) == ("license", "mit", True)


def test_a_moved_repository_is_named() -> None:
    card = CARDS[LLAMA]
    (found,) = diff_facts(card, make_repository(card, repo_id="meta/Llama-3.2-1B"))
    assert (found.field, found.is_applicable, found.new) == ("id", False, "meta/Llama-3.2-1B")


def test_plain_facts_of_a_shape_can_be_taken_over_and_tables_cannot() -> None:
    card = CARDS[GEMMA]
    config = change_config(card, max_position_embeddings=262_144, sliding_window=512, intermediate_size=4096)
    found = {change.field: change for change in diff_facts(card, make_repository(card, config=config))}
    assert list(found) == ["context_tokens", "n_params", "n_active_params", "window.tokens", "ffn_dim"]
    assert (found["context_tokens"].old, found["context_tokens"].new) == (131_072, 262_144)
    assert (found["ffn_dim"].old, found["ffn_dim"].new) == (21_504, 4096)
    assert found["context_tokens"].is_applicable and found["ffn_dim"].is_applicable
    assert not found["window.tokens"].is_applicable
    assert "by hand" in found["window.tokens"].note


def test_more_experts_are_counted_too() -> None:
    card = CARDS["Qwen/Qwen3-30B-A3B"]
    found = list_fields(diff_facts(card, make_repository(card, config=change_config(card, num_experts_per_tok=4))))
    assert found["moe.n_active_experts"] == (8, 4)
    assert found["n_active_params"][1] < card.spec.n_active_params  # type: ignore[operator]
    assert set(found) == {"moe.n_active_experts", "n_active_params"}


def test_more_layers_keep_their_pattern() -> None:
    card = CARDS[GEMMA]
    found = list_fields(diff_facts(card, make_repository(card, config=change_config(card, num_hidden_layers=68))))
    assert set(found) == {"n_layers", "n_params", "n_active_params"}


def test_what_only_the_tensor_table_knows_is_still_seen() -> None:
    card = CARDS[LLAMA]
    config = change_config(card, rope_scaling=None)
    (found,) = diff_facts(card, make_repository(card, config=config))
    assert (found.field, found.is_applicable) == ("tensor table", False)


def test_the_published_format() -> None:
    card = CARDS[LLAMA]
    config = {**build_config(card), "quantization_config": {"quant_method": "fp8"}}
    (found,) = diff_facts(card, make_repository(card, config=config))
    assert (found.field, found.old, found.new, found.is_applicable) == ("quant_native", None, "FP8", True)


def test_a_config_that_cannot_be_read_is_one_change_with_the_reason() -> None:
    card = CARDS[LLAMA]
    (found,) = diff_facts(card, make_repository(card, config={"model_type": "acme"}))
    assert (found.field, found.is_applicable) == ("config.json", False)
    assert "'acme'" in found.note


# ---------------------------------------------------------------- into the family file


def read_record(file: Path, model_id: str) -> dict[str, Any]:
    records = tomllib.loads(file.read_text(encoding="utf-8"))["model"]
    return next(record for record in records if record["id"] == model_id)


def make_change(field: str, old: Any, new: Any, is_applicable: bool = True) -> FactChange:
    return FactChange(field, old, new, "https://huggingface.co/a/b", is_applicable)


def list_changed_lines(before: str, after: str) -> list[str]:
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), lineterm="", n=0)
    return [line for line in lines if line[:1] in "+-" and line[:3] not in ("+++", "---")]


def test_only_the_accepted_lines_and_the_day_change(data_copy: Path) -> None:
    file = find_family_file(data_copy, LLAMA)
    text = file.read_text(encoding="utf-8")
    text = text.replace("context_tokens = 131_072\n", "context_tokens = 131_072  # as its card says\n", 1)
    file.write_text("# kept\n" + text, encoding="utf-8")
    before = file.read_text(encoding="utf-8")
    changes = [
        make_change("context_tokens", 131_072, 262_144),
        make_change("head_dim", 64, 128),
        make_change("gated", True, False),
        make_change("license", "llama3.2", "mit"),
    ]
    apply_changes(file, LLAMA, changes, "2026-11-25")
    assert list_changed_lines(before, file.read_text(encoding="utf-8")) == [
        '-license = "llama3.2"',
        '+license = "mit"',
        "-gated = true",
        "+gated = false",
        "-head_dim = 64",
        "+head_dim = 128",
        "-context_tokens = 131_072  # as its card says",
        "+context_tokens = 262_144  # as its card says",
        '-as_of = "2026-11"',
        '+as_of = "2026-11-25"',
    ]
    card = next(c for c in load_families(data_copy) if c.model_id == LLAMA)
    assert (card.spec.context_tokens, card.license_id, card.gated, card.as_of) == (262_144, "mit", False, "2026-11-25")
    assert sorted(path.suffix for path in file.parent.iterdir()) == [".toml"] * len(list(file.parent.iterdir()))


def test_a_key_the_record_lacks_is_written_where_it_belongs(data_copy: Path) -> None:
    file = find_family_file(data_copy, LLAMA)
    file.write_text(file.read_text(encoding="utf-8").replace("gated = true\n", ""), encoding="utf-8")
    before = file.read_text(encoding="utf-8")
    apply_changes(
        file, LLAMA, [make_change("gated", None, True), make_change("quant_native", None, "FP8")], "2026-11-25"
    )
    after = file.read_text(encoding="utf-8")
    assert list_changed_lines(before, after)[:2] == ["+gated = true", '+quant_native = "FP8"']
    lines = after.splitlines()
    assert lines[lines.index("gated = true") - 1].startswith("openness")
    assert lines[lines.index('quant_native = "FP8"') - 1].startswith("n_params_reported")


def test_line_endings_are_kept(data_copy: Path) -> None:
    file = find_family_file(data_copy, LLAMA)
    file.write_bytes(file.read_bytes().replace(b"\n", b"\r\n"))
    apply_changes(file, LLAMA, [make_change("quant_native", None, "FP8")], "2026-11-25")
    assert file.read_bytes().count(b"\n") == file.read_bytes().count(b"\r\n")


def test_a_refresh_end_to_end_leaves_nothing_to_refresh(data_copy: Path) -> None:
    card = CARDS["Qwen/Qwen3-8B"]
    repository = make_repository(card, gated="auto", config=change_config(card, max_position_embeddings=131_072))
    changes = diff_facts(card, repository)
    assert set(list_fields(changes)) == {"gated", "context_tokens"}
    apply_changes(find_family_file(data_copy, card.model_id), card.model_id, changes, "2026-11-25")
    refreshed = next(c for c in load_families(data_copy) if c.model_id == card.model_id)
    assert diff_facts(refreshed, repository) == ()


def test_what_breaks_the_catalog_is_taken_back(data_copy: Path) -> None:
    """A pattern of 62 layers does not fit 3: the file is as before, to the byte, and the error names it."""
    file = find_family_file(data_copy, GEMMA)
    before = file.read_bytes()
    with pytest.raises(DataFileError, match="put back as it was") as caught:
        apply_changes(file, GEMMA, [make_change("n_layers", 62, 3)], "2026-11-25")
    assert caught.value.file == str(file) and caught.value.line > 1
    assert file.read_bytes() == before
    assert load_families(data_copy)
    assert not list(file.parent.glob(".*"))


@pytest.mark.parametrize(
    ("changes", "as_of", "words"),
    [
        ([], "2026-11-25", "nothing to write"),
        ([make_change("gated", True, False)], "today", "as_of wants"),
        ([make_change("window.tokens", 1024, 512)], "2026-11-25", "window.tokens cannot be changed"),
        ([make_change("gated", True, False, is_applicable=False)], "2026-11-25", "gated cannot be changed"),
        ([make_change("id", LLAMA, "x/y")], "2026-11-25", "id cannot be changed"),
        ([make_change("as_of", "2026-11", "2026-12")], "2026-11-25", "as_of cannot be changed"),
        ([make_change("vocab_size", 128_256, "many")], "2026-11-25", "vocab_size wants int, got 'many'"),
        ([make_change("vocab_size", 128_256, True)], "2026-11-25", "vocab_size wants int, got True"),
        ([make_change("gated", True, 1)], "2026-11-25", "gated wants bool"),
        ([make_change("gated", True, None)], "2026-11-25", "gated wants bool"),
        ([make_change("license", "llama3.2", 'mit"\nname = "x')], "2026-11-25", "printable"),
        ([make_change("license", "llama3.2", " ")], "2026-11-25", "printable"),
        ([make_change("gated", True, False), make_change("gated", True, True)], "2026-11-25", "twice"),
        ([make_change("vocab_size", 7, 8)], "2026-11-25", "refresh again"),
        ([make_change("quant_native", "FP8", "INT4")], "2026-11-25", "has no quant_native"),
    ],
)
def test_what_cannot_be_written_leaves_the_file_alone(
    data_copy: Path, changes: list[FactChange], as_of: str, words: str
) -> None:
    file = find_family_file(data_copy, LLAMA)
    before = file.read_bytes()
    with pytest.raises(BadInputError, match=words):
        apply_changes(file, LLAMA, changes, as_of)
    assert file.read_bytes() == before


def test_a_model_of_another_file_is_not_found_in_this_one(data_copy: Path) -> None:
    file = find_family_file(data_copy, LLAMA)
    with pytest.raises(UnknownNameError, match="gemma"):
        apply_changes(file, GEMMA, [make_change("gated", True, False)], "2026-11-25")


def test_a_file_outside_a_families_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="families"):
        apply_changes(tmp_path / "x.toml", LLAMA, [make_change("gated", True, False)], "2026-11-25")


def test_a_file_that_is_no_toml_is_refused(data_copy: Path) -> None:
    file = find_family_file(data_copy, LLAMA)
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(DataFileError, match="cannot be read"):
        apply_changes(file, LLAMA, [make_change("gated", True, False)], "2026-11-25")


def test_a_disk_that_refuses_leaves_the_old_file(data_copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = find_family_file(data_copy, LLAMA)
    before = file.read_bytes()

    def refuse(self: Path, target: Path) -> Path:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(DataFileError, match="cannot be written"):
        apply_changes(file, LLAMA, [make_change("gated", True, False)], "2026-11-25")
    assert file.read_bytes() == before
    assert not list(file.parent.glob(".*"))


def test_the_file_of_a_model(data_copy: Path) -> None:
    assert find_family_file(data_copy, GEMMA).name == "gemma-3.toml"
    assert find_family_file(None, LLAMA).name == "llama-3.2.toml"
    with pytest.raises(UnknownNameError, match="gemma-3-27b-it"):
        find_family_file(data_copy, "google/gemma-3-27b")


def test_a_key_within_a_note_is_not_the_key() -> None:
    text = (
        'family = "X"\norg = "Y"\n\n[[model]]\nid = "a/b"\nnotes = [\n"n_layers = 3",\n]\n'
        'n_layers = 2\nas_of = "2026-11"\n\n[model.extras]\nn_layers = 5\n'
        '\n[[model]]\nid = "a/c"\nn_layers = 2\nas_of = "2026-11"\n'
    )
    edited = edit_record(text, "a/b", [make_change("n_layers", 2, 4)], "2026-12", "x.toml")
    assert list_changed_lines(text, edited) == [
        "-n_layers = 2",
        '-as_of = "2026-11"',
        "+n_layers = 4",
        '+as_of = "2026-12"',
    ]


def test_a_record_in_one_long_text_is_left_to_a_person() -> None:
    text = 'family = "X"\n[[model]]\nid = "a/b"\nnotes = """\nas_of = "2026-11"\n"""\nn_layers = 2\nas_of = "2026-11"\n'
    with pytest.raises(DataFileError, match="by hand"):
        edit_record(text, "a/b", [make_change("n_layers", 2, 4)], "2026-12", "x.toml")


FILES = {
    model_id: find_family_file(None, model_id)
    for model_id in (LLAMA, GEMMA, "openai/gpt-oss-20b", "zai-org/GLM-5.2", "LiquidAI/LFM2-8B-A1B")
}


@settings(max_examples=60, deadline=None)
@given(
    model_id=st.sampled_from(sorted(FILES)),
    values=st.dictionaries(
        st.sampled_from(["n_params", "n_params_reported", "vocab_size"]), st.integers(1, 10**13), min_size=1
    ),
    license_id=st.none() | st.text(st.characters(min_codepoint=32, codec="utf-8"), min_size=1).filter(str.strip),
)
def test_any_accepted_values_change_just_themselves(
    model_id: str, values: dict[str, int], license_id: str | None
) -> None:
    file = FILES[model_id]
    text = file.read_text(encoding="utf-8")
    old = read_record(file, model_id)
    wanted: dict[str, Any] = dict(values)
    if license_id is not None and license_id.isprintable():
        wanted["license"] = license_id
    changes = [make_change(key, old[key], new) for key, new in wanted.items()]
    edited = edit_record(text, model_id, changes, "2026-11-30", str(file))
    expected = tomllib.loads(text)
    next(r for r in expected["model"] if r["id"] == model_id).update(wanted, as_of="2026-11-30")
    assert tomllib.loads(edited) == expected
    assert len(edited.splitlines()) == len(text.splitlines())


@given(st.integers(-(10**15), 10**15) | st.booleans() | st.text())
def test_values_are_written_as_toml_reads_them(value: int | bool | str) -> None:
    if isinstance(value, str) and not value.isprintable():
        return
    assert tomllib.loads(f"x = {format_value(value)}")["x"] == value


# ---------------------------------------------------------------- imported models


def make_imported(**changed: Any) -> tuple[ImportedModel, HubRepository]:
    """An imported model and the repository it came from, unchanged since."""
    card = CARDS["Qwen/Qwen3-0.6B"]
    files = (
        FileWeights("Q4_K_M", ("m-Q4_K_M.gguf",), 400, ("a" * 64,), None),
        FileWeights("Q8_0", ("m-Q8_0-1.gguf", "m-Q8_0-2.gguf"), 700, ("", ""), None),
    )
    listed = (
        HubFile("m-Q4_K_M.gguf", 400, "a" * 64),
        HubFile("m-Q8_0-1.gguf", 500, "b" * 64),
        HubFile("m-Q8_0-2.gguf", 200, "c" * 64),
        HubFile("mmproj-f16.gguf", 50, ""),
        HubFile("README.md", 5, ""),
    )
    repository = make_repository(card, files=listed, **changed)
    model = ImportedModel(
        card=card,
        origin="hub",
        repo_id=card.model_id,
        revision="0" * 40,
        shape_from="config.json",
        check=ParamCheck(card.spec.n_params, card.n_params_reported, ""),
        imported_at="2026-11-25T00:00:00Z",
        files=files,
        license_tag=card.license_id,
        n_downloads=10,
        n_likes=2,
    )
    return model, repository


def test_an_imported_model_that_did_not_change() -> None:
    assert diff_imported(*make_imported()) == ()


def test_an_imported_model_that_moved_on() -> None:
    model, repository = make_imported(
        revision="1" * 40, n_downloads=11, n_likes=None, license_tag="other", license_name="acme", gated="auto"
    )
    found = diff_imported(model, repository)
    assert list_fields(found) == {
        "revision": ("0" * 40, "1" * 40),
        "license": ("apache-2.0", "other"),
        "license_name": ("", "acme"),
        "gated": (False, True),
        "downloads": (10, 11),
    }
    assert all(change.is_applicable for change in found)


def test_files_that_came_went_and_changed() -> None:
    model, repository = make_imported()
    files = (
        HubFile("m-Q4_K_M.gguf", 400, "d" * 64),
        HubFile("m-Q8_0-1.gguf", 500, "b" * 64),
        HubFile("m-Q2_K.gguf", 300, ""),
        HubFile("m.imatrix.gguf", 1, ""),
    )
    found = {c.field: c for c in diff_imported(model, replace(repository, files=files))}
    assert set(found) == {"file Q4_K_M", "file Q8_0", "file m-Q2_K.gguf"}
    assert (found["file Q4_K_M"].new, found["file Q4_K_M"].note) == ("d" * 64, "another content of the same size")
    assert (found["file Q8_0"].old, found["file Q8_0"].new) == (700, None)
    assert found["file Q8_0"].note == "1 of 2 parts are gone"
    assert (found["file m-Q2_K.gguf"].old, found["file m-Q2_K.gguf"].new) == (None, 300)
    grown = (HubFile("m-Q4_K_M.gguf", 401, "a" * 64), *repository.files[1:])
    (change,) = diff_imported(model, replace(repository, files=grown))
    assert (change.field, change.old, change.new) == ("file Q4_K_M", 400, 401)


def test_shapes_of_an_imported_model() -> None:
    model, _ = make_imported()
    config = change_config(model.card, max_position_embeddings=32_768)
    _, repository = make_imported(config=config)
    assert list_fields(diff_imported(model, repository)) == {"context_tokens": (40_960, 32_768)}
    from_header = replace(model, shape_from="GGUF header")
    assert diff_imported(from_header, repository) == ()
    _, broken = make_imported(config={"model_type": "acme"})
    (change,) = diff_imported(model, broken)
    assert (change.field, change.is_applicable) == ("config.json", False)


def test_another_repository_is_not_compared() -> None:
    model, repository = make_imported()
    with pytest.raises(BadInputError, match="other/model"):
        diff_imported(model, replace(repository, repo_id="other/model"))
    with pytest.raises(BadInputError, match="a file"):
        diff_imported(replace(model, origin="file", repo_id=""), repository)


def test_facts_of_a_read_config_are_those_of_the_card() -> None:
    """The comparison goes through the same facts on both sides: a card read from its own config differs in none."""
    card = CARDS["zai-org/GLM-5.2"]
    reading = read_config(build_config(card), card.model_id, card.name)
    assert diff_facts(replace(card, spec=reading.spec), make_repository(card)) == ()
