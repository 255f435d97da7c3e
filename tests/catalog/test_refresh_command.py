"""`python -m catalog refresh` and its kin against a Hub on this machine: shown first, taken over only when accepted."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from catalog import __main__ as command_line
from catalog import refresh_command
from catalog.hub_command import Given
from catalog.import_store import ImportStore
from catalog.models import DATA_DIR, load_families
from tests.catalog.hub_models import SMALL, SMALL_PARAMS, make_demo, make_small, make_small_gguf
from tests.catalog.model_hub import ModelHub

TOKEN = "hf_" + "t" * 34


@pytest.fixture(autouse=True)
def surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModelHub]:
    """A Hub, a person's folder, a cache, and a copy of the facts that may be edited."""
    shutil.copytree(DATA_DIR, tmp_path / "data")
    monkeypatch.setenv("WEIGHBRIDGE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr(refresh_command, "DATA_DIR", tmp_path / "data")
    monkeypatch.setattr(command_line, "ask_weights", lambda spec: "not asked in this test")
    with ModelHub([make_small(), make_small_gguf(), make_demo(), make_small(SMALL)], tokens=[TOKEN]) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        yield hub


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = command_line.main(list(words))
    told = capsys.readouterr()
    assert TOKEN not in told.out + told.err
    return code, told.out, told.err


def find_card(data: Path):  # type: ignore[no-untyped-def]
    return next(card for card in load_families(data) if card.model_id == SMALL)


def test_facts_as_the_hub_says_are_said_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "refresh", SMALL)[:2] == (0, f"{SMALL}: as the Hub says\n")


def test_a_difference_is_shown_and_left_where_nobody_accepts_it(
    capsys: pytest.CaptureFixture[str], surroundings: ModelHub, tmp_path: Path
) -> None:
    before = find_card(tmp_path / "data")
    surroundings.repositories[SMALL].gated = "manual"
    surroundings.repositories[SMALL].readers = [TOKEN]
    code, out, _ = run(capsys, "refresh", SMALL)
    assert code == 0 and "left: gated: false -> true" in out
    assert find_card(tmp_path / "data") == before


def test_what_is_accepted_is_written_with_its_date(
    capsys: pytest.CaptureFixture[str], surroundings: ModelHub, tmp_path: Path
) -> None:
    before = find_card(tmp_path / "data")
    surroundings.repositories[SMALL].gated = "auto"
    surroundings.repositories[SMALL].readers = [TOKEN]
    surroundings.repositories[SMALL].safetensors = {"BF16": SMALL_PARAMS + 1}
    code, out, _ = run(capsys, "refresh", SMALL, "--yes", "--field", "gated")
    after = find_card(tmp_path / "data")
    assert code == 0 and "taken over: gated" in out and "n_params_reported" not in out
    assert (after.gated, after.n_params_reported) == (True, before.n_params_reported)
    assert after.as_of > before.as_of and len(after.as_of) == 10


def test_json_lists_old_and_new(capsys: pytest.CaptureFixture[str], surroundings: ModelHub) -> None:
    surroundings.repositories[SMALL].safetensors = {"BF16": SMALL_PARAMS + 5}
    _, out, _ = run(capsys, "refresh", SMALL, "--json")
    (told,) = json.loads(out)
    change = next(c for c in told["changes"] if c["field"] == "n_params_reported")
    assert (change["old"], change["new"], change["is_applied"]) == (SMALL_PARAMS, SMALL_PARAMS + 5, False)
    assert change["source_url"].startswith("https://huggingface.co/")


def test_an_imported_model_is_taken_over_whole(
    capsys: pytest.CaptureFixture[str], surroundings: ModelHub, tmp_path: Path
) -> None:
    assert run(capsys, "import", "ada/Small-135M-GGUF")[0] == 0
    repository = surroundings.repositories["ada/Small-135M-GGUF"]
    repository.files = {k: v for k, v in repository.files.items() if "UD-" not in k}
    code, out, _ = run(capsys, "refresh", "--imported", "--yes")
    assert code == 0 and "revision" in out
    model = ImportStore(tmp_path / "home").find("ada/Small-135M-GGUF")
    assert model is not None and model.revision == repository.commit
    assert [f.label for f in model.files] == ["Q8_0"]


def test_a_model_the_hub_lacks_is_listed_and_fails_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "refresh", "Qwen/Qwen3-0.6B", SMALL)
    assert code == 1
    assert "Qwen/Qwen3-0.6B: not compared" in out and f"{SMALL}: as the Hub says" in out


@pytest.mark.parametrize(("words", "said"), [((), "--all"), (("no/such",), "unknown model")])
def test_wrong_usage_is_one_line(capsys: pytest.CaptureFixture[str], words: tuple[str, ...], said: str) -> None:
    code, _, err = run(capsys, "refresh", *words)
    assert code == 2 and said in err and len(err.splitlines()) == 1


# --- the other commands for models from elsewhere


def test_search_import_list_and_forget(capsys: pytest.CaptureFixture[str]) -> None:
    assert "ada/Small-135M-GGUF" in run(capsys, "search", "small", "--gguf")[1]
    code, out, err = run(capsys, "import", "ada/Small-135M", "nobody/there")
    assert code == 1
    assert "134,515,008" in out or "135M" in out
    assert "nobody/there: not imported" in out and "2 of 2" in err
    assert "ada/Small-135M" in run(capsys, "imports")[1]
    assert "ada/Small-135M" in run(capsys, "list")[1]
    assert run(capsys, "forget", "ada/Small-135M")[0] == 0
    assert "ada/Small-135M" not in run(capsys, "list")[1]
    assert run(capsys, "forget", "ada/Small-135M")[0] == 2


def test_imports_as_json_hold_every_file(capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, "import", "ada/Small-135M-GGUF")
    (model,) = json.loads(run(capsys, "imports", "--json")[1])
    assert [f["label"] for f in model["files"]] == ["UD-Q4_K_XL", "Q8_0"]
    assert all(f["size_bytes"] > f["tensor_bytes"] > 10**7 for f in model["files"])


def test_a_file_is_fetched_into_the_shared_cache(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, out, _ = run(capsys, "download", "weighbridge/demo-GGUF", "f16")
    path = Path(out.strip())
    assert code == 0 and path.is_file() and path.is_relative_to(tmp_path / "cache")
    code, _, err = run(capsys, "download", "weighbridge/demo-GGUF", "Q2_K")
    assert code == 2 and "F16" in err


def test_files_of_a_folder_are_listed(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.catalog.hub_models import DEMO

    monkeypatch.setenv("HOME", str(tmp_path / "person"))
    folder = tmp_path / "models"
    folder.mkdir()
    shutil.copy(DEMO, folder / "demo-F16.gguf")
    code, out, err = run(capsys, "local", str(folder))
    assert code == 0 and "demo-F16.gguf" in out and "1 models in files" in err
    assert run(capsys, "local", str(tmp_path / "nowhere"))[0] == 2


def test_the_shell_gives_the_persons_folder(tmp_path: Path) -> None:
    given = Given(lambda: tmp_path, lambda spec: "")
    assert given.open_store().home == tmp_path
