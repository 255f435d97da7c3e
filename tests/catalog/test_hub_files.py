"""Names of the Hub: which are refused, and how a repository's GGUF files come together as models."""

from __future__ import annotations

from pathlib import PurePosixPath, PureWindowsPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.hub_answers import read_repository
from catalog.hub_files import find_recipe, find_role, list_gguf_files
from catalog.hub_names import check_path, check_repo_id, check_revision, find_path_problem
from sizing.errors import HubError
from tests.catalog.model_hub import ModelFile, ModelRepository


def make_repository(*paths, size=1000):
    files = {path: ModelFile(path.encode(), size=size) for path in paths}
    return read_repository(ModelRepository("ada/tiny-GGUF", files).describe(with_blobs=True), "ada/tiny-GGUF")


@pytest.mark.parametrize("repo_id", ["gpt2", "meta-llama/Llama-3.1-8B-Instruct", "01-ai/Yi-1.5-9B", "a/b_c.d"])
def test_ids_of_the_hub_pass(repo_id):
    assert check_repo_id(repo_id) == repo_id


@pytest.mark.parametrize(
    "repo_id",
    [
        "",
        "a/b/c",
        "../etc",
        "a/..",
        "a/../b",
        "/a/b",
        "a/b/",
        "a\\b",
        "a b/c",
        "a/b\0",
        "a/b\n",
        "a/\u202egpt",
        "a/b?x",
        "a/b#c",
        "a/b%2e",
        "a--b/c",
        "a/b.git",
        "https://huggingface.co/a/b",
        "a/" + "b" * 100,
        ".hidden/x",
        "a/-",
        "é/b",
    ],
)
def test_ids_that_no_repository_has_are_refused_by_name(repo_id):
    with pytest.raises(HubError) as caught:
        check_repo_id(repo_id)
    assert caught.value.kind == "name"
    assert str(caught.value).isascii() and "\n" not in str(caught.value)


@pytest.mark.parametrize("revision", ["main", "v1.0", "refs/pr/3", "a" * 40, "feature/x_y"])
def test_revisions_pass(revision):
    assert check_revision(revision) == revision


@pytest.mark.parametrize("revision", ["", "../main", "/main", "a..b", "a//b", "main/", "a b", "a\0", "x" * 300, "-x"])
def test_revisions_that_climb_are_refused(revision):
    with pytest.raises(HubError, match="no revision"):
        check_revision(revision)


@pytest.mark.parametrize(
    "path", ["model.gguf", "UD-Q4_K_XL/model-00001-of-00002.gguf", "a b/c(1).gguf", "模型.gguf", "..x"]
)
def test_paths_pass(path):
    assert check_path(path) == path


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/etc/passwd",
        "../x",
        "a/../../x",
        "a/..",
        "./x",
        "a//b",
        "a/",
        "a\\b",
        "C:/x",
        "c:x",
        "~/x",
        "a\0b",
        "a\nb",
        "a\u202efugg.exe",
        "a\u2066b",
        "a\u200bb",
        "a\ud800",
        "x" * 2000,
        "a/" + "b" * 300,
        "a\x7fb",
        "a\u2028b",
    ],
)
def test_paths_that_climb_or_hide_are_refused(path):
    with pytest.raises(HubError) as caught:
        check_path(path)
    assert caught.value.kind == "name" and str(caught.value).isascii()


@given(st.text(max_size=40))
def test_a_path_that_passes_stays_below_its_folder(path):
    if find_path_problem(path) is None:
        for kind in (PurePosixPath, PureWindowsPath):
            joined = kind("root") / path
            assert kind("root") in joined.parents and ".." not in joined.parts


@pytest.mark.parametrize(
    ("path", "recipe"),
    [  # names as their uploaders write them: bartowski, unsloth, mradermacher, TheBloke, ggml-org, Qwen
        ("Llama-3.2-1B-Instruct-Q4_K_M.gguf", "Q4_K_M"),
        ("llama-2-7b.Q4_0.gguf", "Q4_0"),
        ("qwen2.5-7b-instruct-q5_k_m.gguf", "Q5_K_M"),
        ("Llama-3.2-1B.i1-IQ1_S.gguf", "i1-IQ1_S"),
        ("DeepSeek-R1-UD-Q2_K_XL-00001-of-00005.gguf", "UD-Q2_K_XL"),
        ("UD-IQ1_S/part-00001-of-00003.gguf", "UD-IQ1_S"),
        ("BF16/Qwen3-235B-00001-of-00010.gguf", "BF16"),
        ("gpt-oss-20b-mxfp4.gguf", "MXFP4"),
        ("model-fp16.gguf", "F16"),
        ("m-Q4_0_4_4.gguf", "Q4_0_4_4"),
        ("m-IQ4_NL.gguf", "IQ4_NL"),
        ("m-TQ1_0.gguf", "TQ1_0"),
        ("m-Q6_K_L.gguf", "Q6_K_L"),
        ("m-Q4_K_M-imat.gguf", "Q4_K_M"),
        ("m-imatrix-Q4_K_M.gguf", "Q4_K_M"),
        ("Qwen3-8B.gguf", ""),
        ("model-1B-chat.gguf", ""),
    ],
)
def test_the_recipe_is_read_off_the_name(path, recipe):
    assert find_recipe(path) == recipe
    assert find_role(path) == "model"


@pytest.mark.parametrize(
    ("path", "role"),
    [
        ("mmproj-model-f16.gguf", "projector"),
        ("gemma-3-4b-it-mmproj.gguf", "projector"),
        ("imatrix_unsloth.dat", "imatrix"),
        ("Llama.imatrix.gguf", "imatrix"),
        ("model-imatrix.gguf", "imatrix"),
        ("style-lora-F16.gguf", "adapter"),
        ("style-lora-merged-F16.gguf", "model"),
        ("ggml-vocab-llama.gguf", "vocabulary"),
    ],
)
def test_files_that_are_no_model_are_set_apart(path, role):
    assert find_role(path) == role


def test_parts_are_joined_in_order_and_summed():
    split = [f"BF16/m-BF16-0000{i}-of-00003.gguf" for i in (3, 1, 2)]
    groups = list_gguf_files(make_repository(*split, "m-Q4_K_M.gguf", "README.md"))
    assert [g.label for g in groups] == ["Q4_K_M", "BF16"]
    assert groups[1].paths == tuple(sorted(split))
    assert groups[1].size_bytes == 3000 and groups[1].is_model


def test_a_missing_part_is_said():
    (group,) = list_gguf_files(make_repository("m-Q8_0-00001-of-00003.gguf", "m-Q8_0-00003-of-00003.gguf"))
    assert not group.is_model
    assert group.reason == "of its 3 parts, 1 are not in the repository: 2"


def test_a_part_beyond_the_last_is_said():
    names = [f"m-Q8_0-0000{i}-of-00002.gguf" for i in (0, 1, 2)]
    (group,) = list_gguf_files(make_repository(*names))
    assert not group.is_model and "beside the 2" in str(group.reason)


def test_labels_are_unique_within_a_repository():
    repository = make_repository("a-Q4_K_M.gguf", "b-Q4_K_M.gguf", "x/c.gguf", "y/c.gguf", "d-q8_0.gguf")
    labels = [group.label for group in list_gguf_files(repository)]
    assert len(set(labels)) == 5
    assert {"a-Q4_K_M", "b-Q4_K_M", "Q8_0"} <= set(labels)


def test_apart_come_last_with_a_reason():
    groups = list_gguf_files(make_repository("mmproj-F16.gguf", "imatrix.dat", "m-Q4_0.gguf", "m.gguf.part1of2"))
    assert [g.role for g in groups] == ["model", "imatrix", "pieces", "projector"]
    assert all(g.reason for g in groups[1:]) and groups[0].reason is None


def test_a_file_of_unknown_length_is_no_model():
    (group,) = list_gguf_files(make_repository("m-Q4_0.gguf", size=0))
    assert not group.is_model and "how long" in str(group.reason)


NAMES = st.lists(
    st.builds(
        lambda folder, stem, recipe, tail: f"{folder}{stem}{recipe}{tail}.gguf",
        st.sampled_from(["", "x/", "Q4_0/"]),
        st.sampled_from(["m", "n", "mmproj"]),
        st.sampled_from(["", "-Q4_0", "-q4_0", ".Q8_0"]),
        st.sampled_from(["", "-00001-of-00002", "-00002-of-00002", "-00001-of-00001"]),
    ),
    unique=True,
    max_size=12,
)


@given(NAMES)
def test_every_file_is_in_one_group_and_every_label_is_its_own(paths):
    groups = list_gguf_files(make_repository(*paths))
    assert sorted(path for group in groups for path in group.paths) == sorted(paths)
    labels = [group.label for group in groups if group.role == "model"]
    assert len(set(labels)) == len(labels)
