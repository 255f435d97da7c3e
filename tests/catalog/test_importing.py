"""Imports from a Hub on this machine: facts exact, failures passed and listed, nothing kept that was not read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from catalog.gguf_weights import count_weight_bytes
from catalog.hub import Hub
from catalog.import_store import ImportStore
from catalog.importing import MAX_IMPORTS, Outcome, Progress, import_repositories, import_repository, make_label
from catalog.licenses import find_license
from catalog.queries import find_model, list_weights
from catalog.store import open_catalog
from sizing.errors import BadInputError, HubError, UnsupportedError
from sizing.memory import WeightBytes
from sizing.specs import ModelSpec
from sizing.tensors import list_tensors
from tests.catalog.hub_models import (
    SMALL,
    SMALL_PARAMS,
    find_spec,
    make_demo,
    make_small,
    make_small_gguf,
    mix_types,
)
from tests.catalog.model_hub import Fault, ModelFile, ModelHub, ModelRepository

WEIGHED = WeightBytes("Q8_0", 10, 20, (30,) * 30, (0,) * 30, 10)


class Engine:
    """Answers in llama.cpp's place, and counts how often it was asked."""

    def __init__(self, answer: tuple[WeightBytes, ...] | str = (WEIGHED,)) -> None:
        self.answer = answer
        self.asked: list[str] = []

    def weigh(self, spec: ModelSpec) -> tuple[WeightBytes, ...] | str:
        self.asked.append(spec.model_id)
        return self.answer


@pytest.fixture
def model_hub() -> Iterator[ModelHub]:
    with ModelHub([make_small(), make_small_gguf(), make_demo()]) as hub:
        yield hub


def run(model_hub: ModelHub, home: Path, *repo_ids: str, engine: Engine | None = None) -> list[Outcome]:
    hub = Hub(model_hub.url, "", wait=lambda seconds: None)
    return list(import_repositories(repo_ids, hub, ImportStore(home), (engine or Engine()).weigh))


def test_a_config_gives_the_shape_and_the_count_agrees_with_the_files(model_hub: ModelHub, tmp_path: Path) -> None:
    (outcome,) = run(model_hub, tmp_path, "ada/Small-135M")
    model = outcome.model
    assert model is not None and outcome.problem == ""
    assert model.card.spec.groups == find_spec(SMALL).groups
    assert (model.check.n_counted, model.check.n_stated) == (SMALL_PARAMS, SMALL_PARAMS)
    assert model.check.is_equal
    assert model.card.license_id == "apache-2.0"
    assert model.revision == model_hub.repositories["ada/Small-135M"].commit
    assert model.card.source_url.endswith(f"/ada/Small-135M/tree/{model.revision}")
    assert model.weighed == (WEIGHED,)


def test_a_count_that_disagrees_is_told(tmp_path: Path) -> None:
    repository = make_small()
    repository.safetensors = {"BF16": SMALL_PARAMS + 49152 * 576}
    with ModelHub([repository]) as model_hub:
        (outcome,) = run(model_hub, tmp_path, repository.repo_id)
    assert outcome.model is not None
    assert not outcome.model.check.is_equal
    assert "28,311,552" in outcome.model.check.note
    assert any("28,311,552" in text for text in outcome.model.card.unverified)


def test_gguf_files_are_weighed_to_the_byte_by_their_own_mix(model_hub: ModelHub, tmp_path: Path) -> None:
    (outcome,) = run(model_hub, tmp_path, "ada/Small-135M-GGUF")
    model = outcome.model
    assert model is not None
    assert [f.label for f in model.files] == ["UD-Q4_K_XL", "Q8_0"]
    spec = find_spec(SMALL)
    types = mix_types(spec, "q4_0", "q8_0")
    bits = {"q4_0": 4.5, "q8_0": 8.5}
    expected = sum(t.n_elements * bits.get(types.get(t.name, ""), 32) / 8 for t in list_tensors(spec))
    mixed = model.files[0]
    assert mixed.weights is not None and mixed.weights.tensor_bytes == expected
    assert dict(mixed.types)["blk.0.attn_q.weight"] == "q4_0"
    file = model_hub.repositories["ada/Small-135M-GGUF"].find("small-UD-Q4_K_XL.gguf")
    assert file is not None and (mixed.size_bytes, mixed.sha256) == (file.n_bytes, (file.sha256,))
    assert any("mmproj" in note for note in model.notes)


def test_headers_cost_parts_of_files(model_hub: ModelHub, tmp_path: Path) -> None:
    run(model_hub, tmp_path, "ada/Small-135M-GGUF")
    sizes = sum(a.n_sent for a in model_hub.list_asked("cdn"))
    assert 0 < sizes <= 2 * 256 * 1024


def test_an_import_is_a_citizen_of_the_catalog_without_a_network(model_hub: ModelHub, tmp_path: Path) -> None:
    run(model_hub, tmp_path, "ada/Small-135M", "ada/Small-135M-GGUF")
    catalog = open_catalog(imports=tmp_path)
    card = find_model(catalog, "ada/Small-135M")
    assert card.family == find_model(catalog, SMALL).family
    assert [w.quant for w in list_weights(catalog, card.model_id)] == ["Q8_0"]
    files = list_weights(catalog, "ada/Small-135M-GGUF")
    assert {w.quant for w in files} == {"Q8_0", "UD-Q4_K_XL"}
    assert find_license(catalog.licenses, card.license_id).commercial == "yes"


def test_a_shape_weighed_before_is_not_asked_about_again(model_hub: ModelHub, tmp_path: Path) -> None:
    model_hub.repositories["bob/Other"] = make_small("bob/Other")
    engine = Engine()
    run(model_hub, tmp_path, "ada/Small-135M", "bob/Other", engine=engine)
    assert engine.asked == ["ada/Small-135M"]


def test_an_engine_that_gives_no_answer_leaves_a_gap_not_a_failure(model_hub: ModelHub, tmp_path: Path) -> None:
    (outcome,) = run(model_hub, tmp_path, "ada/Small-135M", engine=Engine("no llama.cpp here"))
    assert outcome.model is not None
    assert (outcome.model.weighed, outcome.model.weigh_gap) == ((), "no llama.cpp here")


def test_fifty_repositories_go_on_past_failures_and_list_them(tmp_path: Path) -> None:
    good = [make_small(f"ada/model-{i}") for i in range(44)]
    unknown = make_small("eve/unknown", model_type="retnet9", architectures=["RetNet9ForCausalLM"])
    broken = ModelRepository("eve/broken", {"config.json": b"<html>no</html>"})
    empty = ModelRepository("eve/empty", {"README.md": b"nothing"})
    absurd = make_small("eve/absurd", num_hidden_layers="many")
    gated = ModelRepository("eve/gated", {"config.json": b"{}"}, gated="manual")
    wrong_file = ModelRepository("eve/wrong", {"model-Q4_K_M.gguf": ModelFile(b"<html>", 10_000)})
    bad = [unknown, broken, empty, absurd, gated, wrong_file]
    wanted = [r.repo_id for r in (*good[:20], *bad, *good[20:])]
    seen: list[Progress] = []
    with ModelHub([*good, *bad]) as model_hub:
        hub = Hub(model_hub.url, "", wait=lambda seconds: None)
        outcomes = list(import_repositories(wanted, hub, ImportStore(tmp_path), Engine().weigh, report=seen.append))
    assert [o.repo_id for o in outcomes] == wanted
    failed = {o.repo_id: o for o in outcomes if o.model is None}
    assert set(failed) == {r.repo_id for r in bad}
    assert "RetNet9ForCausalLM" in failed["eve/unknown"].problem or "retnet9" in failed["eve/unknown"].problem
    assert failed["eve/broken"].kind == "not_json"
    assert failed["eve/gated"].kind == "gated"
    assert "num_hidden_layers" in failed["eve/absurd"].problem
    assert len(ImportStore(tmp_path).list_ids()) == 44
    assert [p.n_done for p in seen] == sorted(p.n_done for p in seen) and seen[-1].n_all == 50


def test_one_broken_file_does_not_lose_the_others(tmp_path: Path) -> None:
    repository = make_small_gguf()
    repository.files = {**repository.files, "small-Q2_K.gguf": ModelFile(b"<html>not found</html>", 9_000_000)}
    with ModelHub([repository]) as model_hub:
        (outcome,) = run(model_hub, tmp_path, repository.repo_id)
    assert outcome.model is not None
    gaps = {f.label: f.gap for f in outcome.model.files}
    assert gaps["Q8_0"] is None and "no GGUF file" in str(gaps["Q2_K"])


def test_a_file_of_another_model_is_not_sized_by_this_ones_shape(tmp_path: Path) -> None:
    other = find_spec("Qwen/Qwen3-0.6B")
    repository = make_small_gguf()
    from tests.catalog.hub_models import make_gguf

    files = {"config.json": make_small().files["config.json"], "small-F16.gguf": make_gguf(other)}
    repository.files = files
    with ModelHub([repository]) as model_hub:
        (outcome,) = run(model_hub, tmp_path, repository.repo_id)
    assert outcome.model is not None
    assert "28 layers" in str(outcome.model.files[0].gap)


def test_nobody_there_ends_the_row_at_once(tmp_path: Path) -> None:
    hub = Hub("http://127.0.0.1:9", "", wait=lambda seconds: None)
    outcomes = list(import_repositories(["a/b", "c/d", "e/f"], hub, ImportStore(tmp_path), Engine().weigh))
    assert [o.kind for o in outcomes] == ["offline"] * 3
    assert outcomes[1].problem.startswith("not tried")


def test_a_stop_keeps_what_was_kept(model_hub: ModelHub, tmp_path: Path) -> None:
    hub = Hub(model_hub.url, "", wait=lambda seconds: None)
    outcomes: list[Outcome] = []
    row = import_repositories(
        ["ada/Small-135M", "ada/Small-135M-GGUF"],
        hub,
        ImportStore(tmp_path),
        Engine().weigh,
        is_stopped=lambda: bool(outcomes),
    )
    for outcome in row:
        outcomes.append(outcome)
    assert [o.repo_id for o in outcomes] == ["ada/Small-135M"]
    assert ImportStore(tmp_path).list_ids() == ("ada/Small-135M",)


def test_too_many_and_none_are_refused(model_hub: ModelHub, tmp_path: Path) -> None:
    for repo_ids in ([], [f"a/{i}" for i in range(MAX_IMPORTS + 1)]):
        with pytest.raises(BadInputError, match="1 to 1,000"):
            run(model_hub, tmp_path, *repo_ids)


def test_remote_code_is_never_a_reason_to_import(tmp_path: Path) -> None:
    config = json.dumps({"model_type": "mystery", "auto_map": {"AutoConfig": "configuration_mystery.Config"}})
    repository = ModelRepository(
        "eve/code", {"config.json": config.encode(), "configuration_mystery.py": b"raise SystemExit"}
    )
    with ModelHub([repository]) as model_hub:
        hub = Hub(model_hub.url, "")
        with pytest.raises(UnsupportedError, match="mystery"):
            import_repository("eve/code", hub, ImportStore(tmp_path), Engine().weigh)
        assert model_hub.list_asked(path="configuration_mystery.py") == []


def test_a_gated_header_stops_that_repository(tmp_path: Path) -> None:
    repository = make_small_gguf()
    with ModelHub([repository]) as model_hub:
        path = f"/{repository.repo_id}/resolve/{repository.commit}/small-Q8_0.gguf"
        model_hub.faults[path] = Fault(status=403, headers={"X-Error-Code": "GatedRepo"})
        (outcome,) = run(model_hub, tmp_path, repository.repo_id)
    assert outcome.model is None and outcome.kind == "gated"


def test_the_demonstration_model_is_read_off_its_header(model_hub: ModelHub, tmp_path: Path) -> None:
    (outcome,) = run(model_hub, tmp_path, "weighbridge/demo-GGUF")
    assert outcome.model is not None and outcome.model.shape_from == "GGUF header"
    from catalog.gguf_header import load_header
    from tests.catalog.hub_models import DEMO

    header = load_header(DEMO)
    assert outcome.model.files[0].weights is not None
    assert outcome.model.files[0].weights.tensor_bytes == count_weight_bytes([header]).tensor_bytes
    assert outcome.model.check.is_equal


def test_a_token_that_the_hub_repeats_is_in_no_database(tmp_path: Path) -> None:
    token = "hf_" + "q" * 34
    repository = make_small_gguf()
    repository.told = {"author": token, "tags": [f"license:{token}", "gguf"], "cardData": {"license_name": token}}
    with ModelHub([repository], tokens=[token]) as model_hub:
        hub = Hub(model_hub.url, token)
        outcomes = list(import_repositories([repository.repo_id], hub, ImportStore(tmp_path), Engine().weigh))
        assert any(a.headers.get("authorization") == f"Bearer {token}" for a in model_hub.list_asked("hub"))
    assert outcomes[0].model is not None
    kept = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert kept and token.encode() not in kept
    assert token not in repr(outcomes)


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("Q4_K_M", "Q4_K_M"),
        ("UD-Q4_K_XL", "UD-Q4_K_XL"),
        ("../../etc/passwd", "....etcpasswd"),
        ("<script>", "script"),
        ("模型", "file"),
        ("x" * 200, "x" * 64),
    ],
)
def test_a_label_out_of_a_file_name_is_plain(text: str, label: str) -> None:
    assert make_label(text) == label


def test_a_hub_error_says_its_kind() -> None:
    assert HubError("busy", "later", 429, 3.0).retry_after_s == 3.0
