"""Models on this disk: every program's store as it lays it out, and the folders that try to lead a search astray."""

from __future__ import annotations

import hashlib
import json
import os
import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog import local_models, local_walk
from catalog.gguf_header import load_header
from catalog.gguf_spec import read_header_spec
from catalog.hub_files import find_recipe
from catalog.local_models import LocalFindings, LocalModel, find_local_models
from catalog.local_walk import SearchLimits
from catalog.model_stores import HUB, LLAMA_CPP, LM_STUDIO, OLLAMA, Store, list_stores
from tools.fuzz_gguf import STRING, U32, Draft, DraftKey, draft_llama, text

HOME = Path("/people/someone")


def add_model(path: Path, architecture: bytes = b"llama", less_bytes: int = 0, kind: bytes = b"") -> Path:
    """A small sound GGUF file (its data a hole), cut short by `less_bytes`."""
    draft = draft_llama()
    draft.keys[0] = DraftKey(b"general.architecture", STRING, text(architecture))
    if kind:
        draft.keys.append(DraftKey(b"general.type", STRING, text(kind)))
    return write(draft, path, less_bytes)


def write(draft: Draft, path: Path, less_bytes: int = 0) -> Path:
    head, n_bytes = draft.write()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(head)
    os.truncate(path, n_bytes - less_bytes)
    return path


def add_parts(folder: Path, name: str, n: int, absent: tuple[int, ...] = ()) -> list[Path]:
    """A model split by llama.cpp's gguf-split: keys in the first part, tensors in all."""
    paths = []
    whole = draft_llama().tensors
    for i in range(n):
        draft = draft_llama()
        draft.tensors = whole[i::n]
        offset = 0
        for tensor in draft.tensors:
            tensor.offset = offset
            n_values = tensor.shape[0] * (tensor.shape[1] if len(tensor.shape) > 1 else 1)
            offset += -(-n_values * (2 if tensor.type_number else 4) // 32) * 32
        draft.data_bytes = offset
        draft.keys = draft.keys if i == 0 else []
        for key, value in (("no", i), ("count", n), ("tensors.count", len(whole))):
            draft.keys.append(DraftKey(f"split.{key}".encode(), U32, value.to_bytes(4, "little")))
        if i + 1 not in absent:
            paths.append(write(draft, folder / f"{name}-{i + 1:05}-of-{n:05}.gguf"))
    return paths


def add_hub_file(hub: Path, repo: str, name: str, revision: str = "a" * 40, source: Path | None = None) -> Path:
    """A file as the Hub's client caches it: a blob by its hash, and a link to it in a snapshot."""
    folder = hub / f"models--{repo.replace('/', '--')}"
    made = source or add_model(hub.parent / "made.gguf")
    blob = folder / "blobs" / hashlib.sha256(name.encode()).hexdigest()
    blob.parent.mkdir(parents=True, exist_ok=True)
    if not blob.exists():
        blob.write_bytes(made.read_bytes())
    link = folder / "snapshots" / revision / name
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(os.path.relpath(blob, link.parent))
    return link


def add_ollama_model(store: Path, place: str, layers: list[tuple[str, object]]) -> Path:
    path = store / "manifests" / place
    path.parent.mkdir(parents=True, exist_ok=True)
    listed = [{"mediaType": f"application/vnd.ollama.image.{kind}", "digest": digest} for kind, digest in layers]
    path.write_text(json.dumps({"schemaVersion": 2, "layers": listed}))
    return path


def add_blob(store: Path, number: int, **made: object) -> str:
    digest = f"{number:064x}"
    add_model(store / "blobs" / f"sha256-{digest}", **made)  # type: ignore[arg-type]
    return f"sha256:{digest}"


def find(program: str, folder: Path, limits: SearchLimits | None = None) -> LocalFindings:
    return find_local_models([Store(program, folder)], limits=limits)


def find_in(folder: Path, limits: SearchLimits | None = None) -> LocalFindings:
    return find_local_models([], [folder], limits)


def only(findings: LocalFindings) -> LocalModel:
    assert findings.problems == () and findings.truncated == ()
    (model,) = findings.models
    return model


# ---------------------------------------------------------------- where


def folders_of(program: str, environment: dict[str, str], home: Path = HOME, platform: str = "linux") -> list[str]:
    stores = list_stores(environment, home, platform=platform)
    return [str(store.folder) for store in stores if store.program == program]


@pytest.mark.parametrize(
    ("environment", "wanted"),
    [
        ({}, "/people/someone/.cache/huggingface/hub"),
        ({"XDG_CACHE_HOME": "/x"}, "/x/huggingface/hub"),
        ({"XDG_CACHE_HOME": "/x", "HF_HOME": "/h"}, "/h/hub"),
        ({"HF_HOME": "/h", "HF_HUB_CACHE": "/c"}, "/c"),
        ({"HF_HOME": "~/models"}, "/people/someone/models/hub"),
        ({"HUGGINGFACE_HUB_CACHE": "/old", "HF_HOME": "/h"}, "/old"),
        ({"HF_HOME": "relative/path"}, "/people/someone/.cache/huggingface/hub"),
        ({"HF_HOME": "/x\0y"}, "/people/someone/.cache/huggingface/hub"),
    ],
)
def test_the_hub_s_cache_is_where_its_client_keeps_it(environment: dict[str, str], wanted: str) -> None:
    """huggingface_hub/constants.py."""
    assert folders_of(HUB, environment) == [wanted]


def test_ollama_keeps_models_at_home_or_where_its_service_runs() -> None:
    """docs/faq.md: ~/.ollama/models, /usr/share/ollama/.ollama/models for the Linux service, else OLLAMA_MODELS."""
    found = folders_of(OLLAMA, {})
    assert found[:2] == ["/people/someone/.ollama/models", "/usr/share/ollama/.ollama/models"]
    assert "/var/lib/ollama" in found
    assert folders_of(OLLAMA, {"OLLAMA_MODELS": "/big/ollama"})[0] == "/big/ollama"


def test_llama_cpp_s_older_cache_depends_on_the_system() -> None:
    """common/common.cpp, `fs_get_cache_directory`."""
    assert folders_of(LLAMA_CPP, {}) == ["/people/someone/.cache/llama.cpp"]
    assert folders_of(LLAMA_CPP, {"XDG_CACHE_HOME": "/x"}) == ["/x/llama.cpp"]
    assert folders_of(LLAMA_CPP, {"LLAMA_CACHE": "/l"}) == ["/l"]
    assert folders_of(LLAMA_CPP, {}, platform="darwin") == ["/people/someone/Library/Caches/llama.cpp"]
    assert folders_of(LLAMA_CPP, {"LOCALAPPDATA": "/a"}, platform="win32") == ["/a/llama.cpp"]


def test_lm_studio_s_own_settings_say_where_it_keeps_models(tmp_path: Path) -> None:
    assert folders_of(LM_STUDIO, {}, tmp_path) == [
        str(tmp_path / ".lmstudio/models"),
        str(tmp_path / ".cache/lm-studio/models"),
    ]
    (tmp_path / ".lmstudio-home-pointer").write_text(f"{tmp_path}/elsewhere\n")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/settings.json").write_text(json.dumps({"downloadsFolder": "/big/gguf"}))
    assert folders_of(LM_STUDIO, {}, tmp_path)[:2] == ["/big/gguf", str(tmp_path / "elsewhere/models")]


@pytest.mark.parametrize(
    "settings", ["", "[1]", "{", '{"downloadsFolder": 7}', "[" * 100_000, '{"downloadsFolder": "x"}']
)
def test_settings_that_cannot_be_read_are_no_settings(settings: str, tmp_path: Path) -> None:
    (tmp_path / ".lmstudio").mkdir()
    (tmp_path / ".lmstudio/settings.json").write_text(settings)
    assert folders_of(LM_STUDIO, {}, tmp_path)[0] == str(tmp_path / ".lmstudio/models")


def test_a_folder_two_programs_share_is_one_place() -> None:
    stores = list_stores({"HF_HUB_CACHE": "/m", "LLAMA_CACHE": "/m", "OLLAMA_MODELS": "/m"}, HOME)
    assert [store.program for store in stores if store.folder == Path("/m")] == [HUB]


# ---------------------------------------------------------------- what


def test_a_cached_file_of_the_hub_is_found_by_its_repository(tmp_path: Path) -> None:
    link = add_hub_file(tmp_path / "hub", "bartowski/Some-Model-GGUF", "Some-Model-Q4_K_M.gguf")
    model = only(find(HUB, tmp_path / "hub"))
    assert (model.name, model.repo_id) == ("Some-Model-Q4_K_M", "bartowski/Some-Model-GGUF")
    assert (model.store, model.label, model.architecture) == (HUB, "Q4_K_M", "llama")
    assert model.paths == (link,)
    assert model.n_params == 86_336 == load_header(link).n_params
    assert model.size_bytes == link.stat().st_size and model.missing_bytes == 0 and model.problem is None
    assert model.content_key == (link.stat().st_dev, link.stat().st_ino)
    assert model.modified_ns == link.stat().st_mtime_ns
    reading = read_header_spec([load_header(link)], "bartowski/Some-Model-GGUF", label=model.label)
    assert reading.spec.n_layers == 2 and reading.weights.quant == "Q4_K_M"


def test_a_blob_in_two_revisions_is_one_model_and_folders_in_a_repository_count(tmp_path: Path) -> None:
    hub = tmp_path / "hub"
    for revision in ("a" * 40, "b" * 40):
        add_hub_file(hub, "org/m", "Q8_0/m-Q8_0.gguf", revision)
    add_hub_file(hub, "org/m", "config.json")
    model = only(find(HUB, hub))
    assert (model.name, model.label) == ("m-Q8_0", "Q8_0")


def test_a_repository_that_leads_out_of_itself_is_not_followed(tmp_path: Path) -> None:
    hub = tmp_path / "hub"
    secret = add_model(tmp_path / "secret.gguf")
    link = add_hub_file(hub, "org/m", "m.gguf")
    link.unlink()
    link.symlink_to(secret)
    (hub / "models--a--b").symlink_to(hub / "models--org--m")
    add_hub_file(hub, "org/gone", "gone.gguf").resolve().unlink()
    (hub / "models--org--m" / "blobs" / "0123.incomplete").write_bytes(b"x")
    findings = find(HUB, hub)
    assert findings.models == ()
    said = "\n".join(findings.problems)
    for part in ("leads out of", "models--a--b is no folder of its own", "a file that is not there", "not finished"):
        assert part in said


def test_ollama_s_models_are_named_as_it_names_them(tmp_path: Path) -> None:
    store = tmp_path / "models"
    library = "registry.ollama.ai/library"
    projector = add_blob(store, 2, architecture=b"clip")
    add_ollama_model(store, f"{library}/llama3.2/1b", [("model", add_blob(store, 1)), ("projector", projector)])
    add_ollama_model(store, "registry.ollama.ai/someone/tuned/latest", [("model", add_blob(store, 1))])
    add_ollama_model(store, "hf.co/bartowski/X-GGUF/Q4_K_M", [("template", "sha256:x"), ("model", add_blob(store, 3))])
    add_ollama_model(store, f"{library}/cloudy/cloud", [("license", "sha256:0")])
    findings = find(OLLAMA, store)
    assert findings.problems == ()
    by_name = {model.name: model for model in findings.models}
    assert set(by_name) == {"llama3.2:1b", "someone/tuned:latest", "hf.co/bartowski/X-GGUF:Q4_K_M"}
    small = by_name["llama3.2:1b"]
    assert small.projector == store / "blobs" / f"sha256-{2:064x}"
    assert small.paths == (store / "blobs" / f"sha256-{1:064x}",)
    assert (small.label, small.architecture) == ("F16", "llama")
    assert small.content_key == by_name["someone/tuned:latest"].content_key
    assert by_name["hf.co/bartowski/X-GGUF:Q4_K_M"].repo_id == "bartowski/X-GGUF"


@pytest.mark.parametrize(
    "digest", ["sha256:../../../etc/passwd", "sha256:" + "g" * 64, "../x", "", None, 7, ["a"], "sha256:" + "0" * 65]
)
def test_a_digest_that_is_none_leads_nowhere(digest: object, tmp_path: Path) -> None:
    add_ollama_model(tmp_path, "registry.ollama.ai/library/x/latest", [("model", digest)])
    findings = find(OLLAMA, tmp_path)
    assert findings.models == ()
    assert "no SHA-256 digest" in findings.problems[0]


def test_a_broken_store_of_ollama_says_what_is_wrong(tmp_path: Path) -> None:
    library = tmp_path / "manifests/registry.ollama.ai/library"
    outside = add_model(tmp_path.parent / "outside.gguf")
    (tmp_path / "blobs").mkdir()
    (tmp_path / "blobs" / f"sha256-{5:064x}").symlink_to(outside)
    (tmp_path / "blobs" / f"sha256-{6:064x}-partial").write_bytes(b"x")
    add_ollama_model(tmp_path, "registry.ollama.ai/library/lost/latest", [("model", f"sha256:{4:064x}")])
    add_ollama_model(tmp_path, "registry.ollama.ai/library/out/latest", [("model", f"sha256:{5:064x}")])
    add_ollama_model(tmp_path, "registry.ollama.ai/library/parts/latest", [("tensor", f"sha256:{7:064x}")])
    for name, content in (("nojson", "{"), ("list", "[]"), ("deep", "[" * 200_000), ("huge", " " * (2 << 20))):
        (library / name).mkdir()
        (library / name / "latest").write_text(content)
    (library / "fifo").mkdir()
    os.mkfifo(library / "fifo" / "latest")
    (library / "linked").symlink_to(library / "lost")
    (library / "a\nb").mkdir()
    findings = find(OLLAMA, tmp_path)
    assert findings.models == ()
    said = "\n".join(findings.problems)
    for part in (
        "lost:latest in Ollama's store lacks",
        "leads out of",
        "not finished",
        "tensor by tensor",
        "is a pipe",
    ):
        assert part in said
    assert said.count("no manifest that can be read") == 3 and "list/latest is a manifest without layers" in said
    assert "linked is no name" in said and "a\\nb is no name" in said
    assert all(problem.isprintable() for problem in findings.problems)


def test_lm_studio_s_folders_are_repositories_and_llama_cpp_s_are_not(tmp_path: Path) -> None:
    add_model(tmp_path / "lmstudio-community" / "Phi-4-GGUF" / "Phi-4-Q6_K.gguf")
    assert only(find(LM_STUDIO, tmp_path)).repo_id == "lmstudio-community/Phi-4-GGUF"
    assert only(find(LLAMA_CPP, tmp_path)).repo_id == ""


def test_llama_cpp_s_cache_may_have_either_layout(tmp_path: Path) -> None:
    add_model(tmp_path / "ggml-org_gemma_gemma-Q4_0.gguf")
    (tmp_path / "ggml-org_gemma_other.gguf.downloadInProgress").write_bytes(b"x")
    add_hub_file(tmp_path, "ggml-org/gpt-oss", "gpt-oss-mxfp4.gguf", source=add_model(tmp_path.parent / "made.gguf"))
    findings = find(LLAMA_CPP, tmp_path)
    assert [(m.name, m.repo_id, m.label) for m in findings.models] == [
        ("gpt-oss-mxfp4", "ggml-org/gpt-oss", "MXFP4"),
        ("ggml-org_gemma_gemma-Q4_0", "", "Q4_0"),
    ]
    assert findings.problems == ("ggml-org_gemma_other.gguf.downloadInProgress is a download that has not finished",)


def test_parts_are_joined_in_order(tmp_path: Path) -> None:
    paths = add_parts(tmp_path, "Big-UD-Q4_K_XL", 3)
    model = only(find_in(tmp_path))
    assert (model.name, model.label, model.paths) == ("Big-UD-Q4_K_XL", "UD-Q4_K_XL", tuple(paths))
    assert model.size_bytes == sum(path.stat().st_size for path in paths)
    assert model.n_params == 86_336
    reading = read_header_spec([load_header(path) for path in model.paths], "someone/big")
    assert reading.spec.n_layers == 2


@pytest.mark.parametrize("absent", [(2,), (1,), (1, 3)])
def test_missing_parts_are_named(absent: tuple[int, ...], tmp_path: Path) -> None:
    add_parts(tmp_path, "Big-Q8_0", 3, absent)
    model = only(find_in(tmp_path))
    assert model.missing_parts == absent
    assert model.problem == f"{len(absent)} of 3 parts are missing: {', '.join(map(str, absent))}"
    assert model.architecture == (None if 1 in absent else "llama")


def test_a_file_cut_short_says_by_how_much(tmp_path: Path) -> None:
    add_model(tmp_path / "m-Q4_K_M.gguf", less_bytes=1000)
    model = only(find_in(tmp_path))
    assert model.missing_bytes == 1000
    assert model.problem is not None and "1,000 bytes are missing" in model.problem


def test_a_projector_is_beside_its_model_and_no_model(tmp_path: Path) -> None:
    beside = add_model(tmp_path / "vision" / "mmproj-model-f16.gguf", architecture=b"clip")
    add_model(tmp_path / "vision" / "vision-Q4_K_M.gguf")
    add_model(tmp_path / "lora.gguf", kind=b"adapter")
    assert only(find_in(tmp_path)).projector == beside


def test_an_architecture_without_a_table_is_found_with_the_reason(tmp_path: Path) -> None:
    add_model(tmp_path / "m.gguf", architecture=b"brandnew")
    model = only(find_in(tmp_path))
    assert (model.architecture, model.missing_bytes, model.missing_parts) == ("brandnew", 0, ())
    assert model.problem is not None and "no tensor table for architecture 'brandnew'" in model.problem


def test_one_file_in_two_places_has_one_key(tmp_path: Path) -> None:
    link = add_hub_file(tmp_path / "hub", "org/m", "m-Q4_0.gguf")
    store = tmp_path / "ollama"
    (store / "blobs").mkdir(parents=True)
    (store / "blobs" / f"sha256-{9:064x}").hardlink_to(link.resolve())
    add_ollama_model(store, "registry.ollama.ai/library/m/latest", [("model", f"sha256:{9:064x}")])
    found = find_local_models([Store(HUB, tmp_path / "hub"), Store(OLLAMA, store)]).models
    assert [model.store for model in found] == [HUB, OLLAMA]
    assert found[0].content_key == found[1].content_key


@pytest.mark.parametrize(
    ("stem", "label"),
    [
        ("Qwen3-30B-A3B-UD-Q4_K_XL", "UD-Q4_K_XL"),
        ("Llama-3.2-1B-Instruct.i1-IQ2_XXS", "i1-IQ2_XXS"),
        ("gpt-oss-20b-mxfp4", "MXFP4"),
        ("phi-4-bf16", "BF16"),
        ("mistral-7b-v0.1.Q5_K_S", "Q5_K_S"),
        ("Qwen2.5-7B", ""),
        ("model_q4_0", "Q4_0"),
        ("Q8", ""),
        ("phi.q8_0", "Q8_0"),
        ("Llama-3.2-1B-fp16", "F16"),
        ("aqua-q4x", ""),
    ],
)
def test_the_quantization_is_read_from_a_name(stem: str, label: str) -> None:
    assert find_recipe(f"{stem}.gguf") == label


# ---------------------------------------------------------------- what is none


def test_what_lies_in_a_folder_beside_models_ends_in_a_sentence(tmp_path: Path) -> None:
    folder, outside = tmp_path / "chosen", tmp_path / "outside"
    add_model(folder / "good.gguf")
    add_model(outside / "secret.gguf")
    (folder / "empty.gguf").touch()
    (folder / "text.gguf").write_text("<html>Not found</html>")
    (folder / "cut.gguf").write_bytes((folder / "good.gguf").read_bytes()[:100])
    os.mkfifo(folder / "pipe.gguf")
    (folder / "out.gguf").symlink_to(outside / "secret.gguf")
    (folder / "outdir").symlink_to(outside, target_is_directory=True)
    (folder / "loop.gguf").symlink_to(folder / "loop.gguf")
    (folder / "null.gguf").symlink_to("/dev/null")
    (folder / "cycle").symlink_to(folder, target_is_directory=True)
    (folder / "dir.gguf").mkdir()
    (folder / "half.gguf.part").write_bytes(b"GGUF")
    (folder / "notes.txt").write_text("x")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(folder / "s.gguf"))
        findings = find_in(folder)
    assert [model.name for model in findings.models] == ["good"]
    assert findings.truncated == ()
    said = "\n".join(findings.problems)
    for name, part in (
        ("empty.gguf", "is empty"),
        ("text.gguf", "no GGUF file"),
        ("cut.gguf", "cannot hold"),
        ("pipe.gguf", "is a pipe"),
        ("out.gguf", "leads out of"),
        ("null.gguf", "leads out of"),
        ("loop.gguf", "cannot be looked at"),
        ("s.gguf", "is a socket"),
        ("half.gguf.part", "not finished"),
    ):
        assert any(name in line and part in line for line in findings.problems), (name, part, said)
    assert len(findings.problems) == 9
    assert "secret" not in "".join(str(model) for model in findings.models)


def test_a_link_within_the_folder_is_followed_and_names_the_same_file(tmp_path: Path) -> None:
    real = add_model(tmp_path / "a" / "model.bin")
    (tmp_path / "b.gguf").symlink_to(real)
    assert only(find_in(tmp_path)).paths == (tmp_path / "b.gguf",)


def test_a_chosen_folder_may_itself_be_a_link(tmp_path: Path) -> None:
    add_model(tmp_path / "real" / "m.gguf")
    (tmp_path / "link").symlink_to(tmp_path / "real", target_is_directory=True)
    assert only(find_in(tmp_path / "link")).name == "m"


def test_a_folder_that_is_none_is_said_and_a_store_that_is_none_is_not(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "absent", tmp_path / "file"):
        assert find_in(path).problems == (f"{path} is no folder that can be looked through",)
    for program in (HUB, OLLAMA, LM_STUDIO, LLAMA_CPP):
        assert find(program, tmp_path / "absent") == LocalFindings((), (), ())
        assert find(program, tmp_path / "file") == LocalFindings((), (), ())


def test_an_unreadable_folder_is_said_and_the_rest_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add_model(tmp_path / "locked" / "m.gguf")
    add_model(tmp_path / "open" / "n.gguf")
    scandir = os.scandir

    def refuse(path: Path) -> object:
        if Path(path).name == "locked":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(local_walk.os, "scandir", refuse)
    findings = find_in(tmp_path)
    assert [model.name for model in findings.models] == ["n"]
    assert findings.problems == (f"{tmp_path}/locked cannot be read: Permission denied",)


def test_an_unreadable_file_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = add_model(tmp_path / "m.gguf")

    def refuse(path: Path) -> object:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(local_models, "load_header", refuse)
    assert find_in(tmp_path).problems == (f"{path}: it cannot be read: Permission denied",)


def test_depth_entries_files_and_time_have_an_end(tmp_path: Path) -> None:
    deep = tmp_path
    for _ in range(6):
        deep = deep / "d"
    add_model(deep / "deep.gguf")
    for i in range(20):
        add_model(tmp_path / f"m{i:02}.gguf")
    shallow = find_in(tmp_path, SearchLimits(depth=3))
    assert len(shallow.models) == 20
    assert shallow.truncated == (f"{tmp_path} has folders more than 3 levels deep, which are left out",)
    few = find_in(tmp_path, SearchLimits(n_files=5))
    assert len(few.models) == 5 and "5 files were found" in few.truncated[0]
    entries = find_in(tmp_path, SearchLimits(n_entries=10))
    assert len(entries.models) <= 10 and "10 entries were looked at" in entries.truncated[0]
    late = find_in(tmp_path, SearchLimits(seconds=-1))
    assert late.models == () and "seconds had passed" in late.truncated[0]


def test_problems_without_end_are_counted(tmp_path: Path) -> None:
    for i in range(30):
        (tmp_path / f"e{i:02}.gguf").touch()
    findings = find_in(tmp_path, SearchLimits(n_problems=10))
    assert len(findings.problems) == 11 and findings.problems[-1] == "and 20 more"


def test_names_in_any_bytes_are_shown_on_one_line(tmp_path: Path) -> None:
    add_model(tmp_path / "a\nb\x1b[31m.gguf")
    (tmp_path / "e\r.gguf").touch()
    raw = os.fsencode(tmp_path) + b"/\xff\xfe.gguf"
    Path(os.fsdecode(raw)).write_bytes((tmp_path / "a\nb\x1b[31m.gguf").read_bytes())
    findings = find_in(tmp_path)
    assert len(findings.models) + len(findings.problems) == 3
    assert all(model.name.isprintable() for model in findings.models)
    assert all(problem.isprintable() for problem in findings.problems)


def test_a_header_is_read_once_while_its_file_stays_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = add_model(tmp_path / "m.gguf")
    read: list[Path] = []
    load = local_models.load_header
    monkeypatch.setattr(local_models, "load_header", lambda path: read.append(path) or load(path))
    assert only(find_in(tmp_path)) == only(find_in(tmp_path))
    assert len(read) == 1
    os.utime(path, ns=(1, 1))
    assert only(find_in(tmp_path)).modified_ns == 1
    assert len(read) == 2


def test_only_headers_are_read(tmp_path: Path) -> None:
    """A file of a terabyte is found as soon as one of a kilobyte: its data are a hole that nobody reads."""
    draft = draft_llama()
    head, _ = draft.write()
    path = tmp_path / "large.gguf"
    path.write_bytes(head)
    os.truncate(path, 1 << 40)
    assert only(find_in(tmp_path)).size_bytes == 1 << 40


@given(st.text(max_size=40))
def test_any_name_gives_a_label_or_none(stem: str) -> None:
    label = find_recipe(stem)
    assert not label or label.casefold() in stem.casefold().replace("fp16", "f16").replace("fp32", "f32")
