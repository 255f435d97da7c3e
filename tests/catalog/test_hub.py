"""The door to the Hub, against a Hub on this machine: what it asks, what it makes of answers, what it never tells."""

from __future__ import annotations

import gc
import io
import itertools
import json
import logging
import os
import pickle
import re
import subprocess
import sys
import time
import traceback
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from catalog import hub_http
from catalog.gguf_header import Limits
from catalog.hub import Hub, find_token
from catalog.hub_answers import HubQuery, read_hits, read_repository
from catalog.hub_secret import Secret, check_endpoint, find_cache_dir, find_endpoint
from sizing.errors import BadInputError, GgufError, HubError
from sizing.units import GIB, KIB, MIB
from tests.catalog.model_hub import Fault, ModelFile, ModelHub, ModelRepository, build_gguf, build_safetensors

TOKEN = "hf_InventedForTheTests0123"
LLAMA = "meta-llama/Llama-3.2-1B"
CONFIG = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 2048}
BIG = (1 << 20, 20_480)  # 40 GiB of f16
BAD_CODE = b"import os; os.abort()"


def make_repositories():
    card = {
        "license": "llama3.2",
        "license_name": "Llama 3.2",
        "license_link": "https://x.y/L",
        "language": ["en", "de"],
    }
    return [
        ModelRepository(
            LLAMA,
            {
                "config.json": json.dumps(CONFIG).encode(),
                "modeling_x.py": BAD_CODE,
                "model.safetensors": ModelFile(b"x"),
            },
            card=card,
            safetensors={"BF16": 1_235_814_400},
            n_downloads=900,
        ),
        ModelRepository(
            "ada/Llama-3.2-1B-GGUF",
            {"Llama-Q4_K_M.gguf": build_gguf(), "README.md": b"# x"},
            card={"license": "llama3.2", "base_model": LLAMA},
            tags=[f"base_model:quantized:{LLAMA}", f"base_model:{LLAMA}"],
            gguf={"total": 1_235_814_432, "architecture": "llama"},
            n_downloads=800,
        ),
        ModelRepository(
            "locked/model",
            {"config.json": json.dumps(CONFIG).encode()},
            gated="manual",
            readers=[TOKEN],
            safetensors={"BF16": 70_553_706_496},
            n_downloads=5,
            pipeline_tag="image-text-to-text",
        ),
        ModelRepository("secret/model", is_private=True, readers=[TOKEN], n_downloads=0),
    ]


@pytest.fixture
def model_hub(monkeypatch):
    for name in ("HF_ENDPOINT", "HF_TOKEN", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    with ModelHub(make_repositories(), tokens=[TOKEN, "hf_other_account_0000"]) as hub:
        yield hub


class Pauses(list):
    """Stands in for the clock: pauses are noted, not made."""

    def __call__(self, seconds):
        self.append(seconds)


def open_hub(model_hub, token="", **options):
    return Hub(model_hub.url, token, **{"timeout_s": 5.0, "wait": Pauses(), **options})


def fail(model_hub, act, token="", **options):
    """The HubError that `act` ends in."""
    hub = open_hub(model_hub, token, **options)
    with pytest.raises(HubError) as caught:
        act(hub)
    assert "\n" not in str(caught.value)
    return caught.value


# --- search


def test_a_search_tells_what_the_hub_tells(model_hub):
    first, second, *_ = open_hub(model_hub).search(HubQuery())
    assert (first.repo_id, first.author, first.n_downloads, first.n_likes) == (LLAMA, "meta-llama", 900, 3)
    assert (first.license_tag, first.pipeline_tag, first.modified_on) == ("llama3.2", "text-generation", "2024-06-02")
    assert (first.n_params, first.has_gguf, first.has_safetensors, first.gated) == (1_235_814_400, False, True, "")
    assert (second.n_params, second.has_gguf) == (1_235_814_432, True)
    assert second.base_models == (("quantized", LLAMA),)


@pytest.mark.parametrize(
    ("query", "names"),
    [
        (HubQuery("llama"), [LLAMA, "ada/Llama-3.2-1B-GGUF"]),
        (HubQuery(has_gguf=True), ["ada/Llama-3.2-1B-GGUF"]),
        (HubQuery(author="meta-llama"), [LLAMA]),
        (HubQuery(base_model=LLAMA), ["ada/Llama-3.2-1B-GGUF"]),
        (HubQuery(license_tag="llama3.2", limit=1), [LLAMA]),
        (HubQuery(task="image-text-to-text"), ["locked/model"]),
        (HubQuery(min_params=2_000_000_000), ["locked/model"]),
        (HubQuery(max_params=1_235_814_400), [LLAMA]),
        (HubQuery(min_params=1_235_814_401, max_params=1_300_000_000), ["ada/Llama-3.2-1B-GGUF"]),
        (HubQuery(min_downloads=800), [LLAMA, "ada/Llama-3.2-1B-GGUF"]),
        (HubQuery("nothing of the kind"), []),
    ],
)
def test_filters_hold(model_hub, query, names):
    assert [hit.repo_id for hit in open_hub(model_hub).search(query)] == names


@pytest.mark.parametrize("sort", ["downloads", "likes", "trending", "created", "modified"])
def test_the_hubs_own_words_for_orders_are_sent(model_hub, sort):
    open_hub(model_hub).search(HubQuery(sort=sort))
    sent = dict(model_hub.asked[-1].query)["sort"]
    assert sent == {"trending": "trendingScore", "created": "createdAt", "modified": "lastModified"}.get(sort, sort)
    assert "direction" not in dict(model_hub.asked[-1].query)


def make_many(n):
    return [ModelRepository(f"a/m{i:03}", n_downloads=1000 - i, safetensors={"F16": i + 1}) for i in range(n)]


def test_pages_are_followed_until_the_limit():
    with ModelHub(make_many(60), page_size=10) as model_hub:
        hits = open_hub(model_hub).search(HubQuery(limit=25))
        assert [hit.repo_id for hit in hits] == [f"a/m{i:03}" for i in range(25)]
        assert len(model_hub.asked) == 3
        assert len(open_hub(model_hub).search(HubQuery(limit=1000))) == 60


def test_a_filter_on_this_side_looks_through_more_pages():
    with ModelHub(make_many(60), page_size=10) as model_hub:
        hits = open_hub(model_hub).search(HubQuery(min_params=55, limit=2))
        assert [hit.n_params for hit in hits] == [55, 56]


def test_pages_without_end_end(model_hub):
    link = {"Link": f'<{model_hub.url}/api/models?cursor=0&again=1>; rel="next"', "Content-Type": "application/json"}
    model_hub.faults["/api/models"] = Fault(body=b"[]", headers=link)
    assert open_hub(model_hub).search(HubQuery()) == ()
    assert len(model_hub.asked) == 2  # the same page is not asked for again


def test_a_next_page_elsewhere_is_asked_of_the_same_hub(model_hub):
    link = {"Link": '<http://evil.example/steal?cursor=7>; rel="next"', "Content-Type": "application/json"}
    model_hub.faults["/api/models"] = Fault(body=b"[]", headers=link, times=1)
    open_hub(model_hub, TOKEN).search(HubQuery())
    assert [a.path for a in model_hub.asked] == ["/api/models", "/api/models"]
    assert model_hub.asked[1].query == [("cursor", "7")]


def test_a_search_can_be_stopped_between_pages():
    with ModelHub(make_many(60), page_size=10) as model_hub:
        answers = iter([False, True])
        error = fail(model_hub, lambda hub: hub.search(HubQuery(), stopped=lambda: next(answers)))
        assert error.kind == "stopped" and len(model_hub.asked) == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"limit": 0},
        {"limit": 1001},
        {"sort": "size"},
        {"min_params": 5, "max_params": 4},
        {"min_params": -1},
        {"text": "a\x00b"},
        {"text": "\u202eabc"},
        {"author": "x" * 300},
        {"base_model": "../x"},
    ],
)
def test_a_search_that_means_nothing_is_refused(wrong):
    with pytest.raises(BadInputError):
        HubQuery(**wrong)


# --- repositories


def test_a_repository_is_read_whole(model_hub):
    found = open_hub(model_hub).fetch_repository(LLAMA)
    repository = model_hub.repositories[LLAMA]
    assert (found.repo_id, found.revision, found.author) == (LLAMA, repository.commit, "meta-llama")
    assert (found.created_on, found.modified_on, found.gated, found.is_private) == (
        "2024-05-01",
        "2024-06-02",
        "",
        False,
    )
    assert (found.license_tag, found.license_name, found.license_url) == ("llama3.2", "Llama 3.2", "https://x.y/L")
    assert found.languages == ("en", "de")
    assert (found.n_params_by_type, found.n_params_stated) == ((("BF16", 1_235_814_400),), 1_235_814_400)
    by_path = {file.path: file for file in found.files}
    assert by_path["model.safetensors"].sha256 == ModelFile(b"x").sha256
    assert by_path["model.safetensors"].size_bytes == 1
    assert (by_path["config.json"].sha256, by_path["config.json"].size_bytes) == ("", len(json.dumps(CONFIG)))
    assert found.config == CONFIG and found.refused == ()


def test_only_config_json_is_fetched_of_all_files(model_hub):
    open_hub(model_hub).fetch_repository(LLAMA)
    assert [a.path.rpartition("/")[2] for a in model_hub.asked if "resolve" in a.path] == ["config.json"]


def test_a_commit_is_read_as_that_commit(model_hub):
    commit = model_hub.repositories[LLAMA].commit
    assert open_hub(model_hub).fetch_repository(LLAMA, commit).revision == commit


def test_base_models_come_with_their_relation(model_hub):
    assert open_hub(model_hub).fetch_repository("ada/Llama-3.2-1B-GGUF").base_models == (("quantized", LLAMA),)


def test_a_renamed_repository_is_followed(model_hub):
    model_hub.renamed["old/name"] = LLAMA
    assert open_hub(model_hub).fetch_repository("old/name").repo_id == LLAMA


def test_a_path_that_climbs_out_is_refused_and_said():
    files = {"config.json": b"{}", "../../.bashrc": b"x", "a\\b.gguf": b"x", "good.gguf": b"x"}
    with ModelHub([ModelRepository("a/b", files)]) as model_hub:
        found = open_hub(model_hub).fetch_repository("a/b")
    assert [file.path for file in found.files] == ["config.json", "good.gguf"]
    assert len(found.refused) == 2 and "'../../.bashrc'" in found.refused[0]


def test_a_file_listed_twice_counts_once():
    entry = {"rfilename": "m.gguf", "size": 5}
    told = {"sha": "0" * 40, "siblings": [entry, {**entry, "size": 6}, {"size": 1}, "x"]}
    found = read_repository(told, "a/b")
    assert [(file.path, file.size_bytes) for file in found.files] == [("m.gguf", 5)]
    assert len(found.refused) == 3


@pytest.mark.parametrize("name", ["tags", "cardData", "safetensors", "gated", "downloads", "author", "createdAt"])
@pytest.mark.parametrize("value", [None, 7, "text", [], [1, None], {}, {"parameters": 3, "total": "x"}, True])
def test_optional_fields_may_have_any_form(name, value):
    told = {"sha": "0" * 40, "siblings": [], name: value}
    found = read_repository(told, "a/b")
    assert found.repo_id == "a/b" and found.n_params_stated is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
FIELDS = "id sha siblings tags cardData safetensors gguf gated downloads likes author createdAt lastModified".split()


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.sampled_from(FIELDS), JSON) | JSON)
def test_json_of_any_form_ends_in_a_value_or_a_shape_error(told):
    for read in (lambda: read_hits([told]), lambda: read_hits(told), lambda: read_repository(told, "a/b")):
        try:
            read()
        except HubError as error:
            assert error.kind == "shape"


@pytest.mark.parametrize("told", [{"sha": None}, {"sha": "main"}, {"siblings": None}, {"siblings": "x"}])
def test_a_repository_without_commit_or_files_is_a_shape_error(told):
    with ModelHub([ModelRepository("a/b", told=told)]) as model_hub:
        assert fail(model_hub, lambda hub: hub.fetch_repository("a/b")).kind == "shape"


def test_texts_are_cleared_of_what_turns_or_hides():
    repository = ModelRepository("a/b", told={"author": "x\u202ey\x1b[31m", "tags": ["license:mit\u200b"]})
    found = read_repository(repository.describe(), "a/b")
    assert (found.author, found.license_tag) == ("xy[31m", "mit")


def test_a_missing_parameter_count_is_asked_for_a_second_time():
    files = {"model.safetensors": build_safetensors({"w": ("F32", (3, 4), 4)})}
    with ModelHub([ModelRepository("a/b", files)]) as model_hub:
        assert open_hub(model_hub).fetch_repository("a/b").n_params_stated is None
        assert [dict(a.query) for a in model_hub.asked] == [{"blobs": "true"}, {"expand": "safetensors"}]


@pytest.mark.parametrize(("content", "kind"), [(b"{nope", "not_json"), (b"[1]", "shape"), (b"<html>", "not_json")])
def test_a_config_that_is_none_is_said(content, kind):
    with ModelHub([ModelRepository("a/b", {"config.json": content})]) as model_hub:
        error = fail(model_hub, lambda hub: hub.fetch_repository("a/b"))
        assert error.kind == kind and "config.json" in str(error)


def test_a_config_too_large_is_not_fetched():
    with ModelHub([ModelRepository("a/b", {"config.json": b" " * (MIB + 1)})]) as model_hub:
        assert fail(model_hub, lambda hub: hub.fetch_repository("a/b")).kind == "size"
        assert model_hub.list_asked(path="config.json") == []


def test_a_config_larger_than_listed_is_cut_off(model_hub):
    path = f"/{LLAMA}/resolve/{model_hub.repositories[LLAMA].commit}/config.json"
    model_hub.faults[path] = Fault(body=b" " * (40 * MIB))
    assert fail(model_hub, lambda hub: hub.fetch_repository(LLAMA)).kind == "size"
    assert model_hub.asked[-1].n_sent < 20 * MIB  # what fits in the buffers between


@pytest.mark.parametrize("nested", [b"[" * 200_000, b'{"a":' * 200_000, b'{"a":' + b"9" * 10_000 + b"}"])
def test_json_that_nests_without_end_is_no_json(model_hub, nested):
    model_hub.faults["/api/models"] = Fault(body=nested, headers={"Content-Type": "application/json"})
    assert fail(model_hub, lambda hub: hub.search(HubQuery())).kind == "not_json"


# --- refusals and failures


def search(hub):
    return hub.search(HubQuery())


@pytest.mark.parametrize(
    ("act", "token", "kind", "status", "words"),
    [
        (lambda hub: hub.fetch_repository("no/such"), "", "missing", 401, "HF_TOKEN"),
        (lambda hub: hub.fetch_repository("no/such"), TOKEN, "missing", 404, "no/such"),
        (lambda hub: hub.fetch_repository(LLAMA, "v9"), "", "missing", 404, "v9"),
        (lambda hub: hub.fetch_repository("locked/model"), "", "gated", 401, "set HF_TOKEN"),
        (lambda hub: hub.fetch_repository("locked/model"), "hf_other_account_0000", "gated", 403, "agree to its terms"),
        (lambda hub: hub.fetch_repository("secret/model"), "", "missing", 401, "private"),
        (search, "hf_wrong_token_000000", "token", 401, "wrong"),
    ],
)
def test_refusals_say_what_to_do(model_hub, act, token, kind, status, words):
    error = fail(model_hub, act, token)
    assert (error.kind, error.status) == (kind, status)
    assert words in str(error)
    assert len(model_hub.asked) <= 2  # a refusal is not asked again


def test_a_reader_of_a_gated_repository_reads_it(model_hub):
    assert open_hub(model_hub, TOKEN).fetch_repository("locked/model").gated == "manual"


@pytest.mark.parametrize(
    "act",
    [
        lambda hub: hub.fetch_repository("../x"),
        lambda hub: hub.fetch_repository("a/b", "../main"),
        lambda hub: hub.open_file("a/b", "main", "../x").__enter__(),
        lambda hub: hub.open_file("a/b", "main", "a\0b").__enter__(),
    ],
)
def test_a_bad_name_is_refused_before_anything_is_asked(model_hub, act):
    assert fail(model_hub, act).kind == "name"
    assert model_hub.asked == []


def test_a_busy_hub_is_asked_again_after_what_it_told(model_hub):
    model_hub.faults["/api/models"] = Fault(status=429, headers={"Retry-After": "7"}, times=2)
    pauses = Pauses()
    assert open_hub(model_hub, wait=pauses).search(HubQuery())
    assert pauses == [7.0, 7.0]


def test_a_hub_that_stays_busy_says_when_to_come_back(model_hub):
    model_hub.faults["/api/models"] = Fault(status=429, headers={"Retry-After": "7"})
    error = fail(model_hub, search)
    assert (error.kind, error.status, error.retry_after_s) == ("busy", 429, 7.0)
    assert len(model_hub.asked) == hub_http.N_TRIES


def test_a_long_wait_is_left_to_the_person(model_hub):
    limited = {"RateLimit": '"api";r=0;t=240', "Retry-After": "1"}
    model_hub.faults["/api/models"] = Fault(status=429, headers=limited)
    pauses = Pauses()
    error = fail(model_hub, search, wait=pauses)
    assert (error.kind, error.retry_after_s, pauses) == ("busy", 240.0, [])
    assert "240 s" in str(error)


@pytest.mark.parametrize(("status", "n_asked"), [(500, 4), (503, 4), (504, 4), (501, 1)])
def test_a_failing_hub_is_asked_again_with_growing_pauses(model_hub, status, n_asked):
    model_hub.faults["/api/models"] = Fault(status=status, body=b"<html>oops</html>")
    pauses = Pauses()
    error = fail(model_hub, search, wait=pauses)
    assert (error.kind, error.status, len(model_hub.asked)) == ("server", status, n_asked)
    assert pauses == [0.5, 1.0, 2.0][: n_asked - 1]
    assert "<html>" not in str(error)


def test_a_hub_that_recovers_is_read(model_hub):
    model_hub.faults["/api/models"] = Fault(status=502, times=3)
    assert open_hub(model_hub).search(HubQuery())


def test_another_refusal_is_not_repeated(model_hub):
    model_hub.faults["/api/models"] = Fault(status=418, body=b'{"error": "teapot"}')
    error = fail(model_hub, search)
    assert (error.kind, len(model_hub.asked)) == ("rejected", 1) and "teapot" in str(error)


def test_a_web_page_is_no_answer(model_hub):
    model_hub.faults["/api/models"] = Fault(body=b"<!doctype html><title>Sign in</title>")
    error = fail(model_hub, search)
    assert error.kind == "not_json" and "sign-in" in str(error)


def test_another_form_is_a_shape_error(model_hub):
    model_hub.faults["/api/models"] = Fault(body=b'{"models": []}', headers={"Content-Type": "application/json"})
    assert fail(model_hub, search).kind == "shape"


def test_a_slow_hub_times_out(model_hub):
    model_hub.faults["/api/models"] = Fault(delay_s=0.6)
    started = time.monotonic()
    assert fail(model_hub, search, timeout_s=0.2).kind == "timeout"
    assert time.monotonic() - started < 3


def test_a_hub_that_drips_times_out(model_hub):
    model_hub.faults["/api/models"] = Fault(body=b" " * 64 * 1024 * 40, drip_s=0.05)
    assert fail(model_hub, search, timeout_s=0.1).kind == "timeout"


@pytest.mark.parametrize("fault", [Fault(after_bytes=20, is_cut=True), Fault(after_bytes=20, is_reset=True)])
def test_a_connection_cut_within_the_answer(model_hub, fault):
    model_hub.faults["/api/models"] = fault
    assert fail(model_hub, search).kind == "lost"
    assert len(model_hub.asked) == 2
    fault.times = 1
    assert open_hub(model_hub).search(HubQuery())


def test_a_wrong_length_is_a_lost_answer(model_hub):
    model_hub.faults["/api/models"] = Fault(body=b"[]", headers={"Content-Length": "400"}, is_cut=True)
    assert fail(model_hub, search).kind == "lost"


def test_a_giant_answer_is_dropped(model_hub, monkeypatch):
    monkeypatch.setattr("catalog.hub.MAX_PAGE_BYTES", 100_000)
    model_hub.faults["/api/models"] = Fault(body=b"[" + b" " * 30 * MIB)
    assert fail(model_hub, search).kind == "size"
    assert model_hub.asked[0].n_sent < 20 * MIB


def test_a_compressed_answer_is_refused_so_that_no_bomb_unfolds(model_hub):
    model_hub.faults["/api/models"] = Fault(body=b"\x1f\x8b", headers={"Content-Encoding": "gzip"})
    assert fail(model_hub, search).kind == "shape"


def test_nobody_there_is_offline(model_hub):
    hub = Hub("http://127.0.0.1:9", "", wait=Pauses(), timeout_s=2)
    with pytest.raises(HubError, match="online") as caught:
        hub.search(HubQuery())
    assert caught.value.kind == "offline"


def test_offline_mode_asks_nothing(model_hub, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert fail(model_hub, search).kind == "offline"
    assert model_hub.asked == []


@pytest.mark.parametrize(
    ("location", "words"),
    [
        ("file:///etc/passwd", "scheme"),
        ("gopher://127.0.0.1/x", "scheme"),
        ("http://user:pass@127.0.0.1/", "user name"),
        ("", "no address"),
    ],
)
def test_redirects_that_lead_astray_are_refused(model_hub, location, words):
    model_hub.faults["/api/models"] = Fault(location=location)
    error = fail(model_hub, search)
    assert error.kind == "rejected" and words in str(error)
    assert "pass@" not in str(error)


ADDRESSES = {
    "huggingface.co": "3.160.150.2",
    "cdn-lfs.hf.co": "18.155.1.9",
    "inside.example": "10.1.2.3",
    "127.1": "127.0.0.1",
    "hub.corp": "10.0.0.8",
    "store.corp": "10.0.0.9",
}


@pytest.mark.parametrize(
    ("start", "location", "is_followed"),
    [
        ("https://huggingface.co/a", "https://cdn-lfs.hf.co/x?sig=1", True),
        ("https://huggingface.co/a", "https://not-known-here.example/x", True),
        ("https://huggingface.co/a", "/b", True),
        ("https://huggingface.co/a", "http://cdn-lfs.hf.co/x", False),
        ("https://huggingface.co/a", "https://127.0.0.1/x", False),
        ("https://huggingface.co/a", "https://127.1/x", False),
        ("https://huggingface.co/a", "https://localhost:8080/x", False),
        ("https://huggingface.co/a", "https://inside.example/x", False),
        ("https://huggingface.co/a", "https://169.254.169.254/latest", False),
        ("https://huggingface.co/a", "https://192.168.1.1/", False),
        ("https://huggingface.co/a", "https://[::1]/", False),
        ("https://huggingface.co/a", "https://[::1/", False),
        ("https://hub.corp/a", "https://store.corp/x", True),
    ],
)
def test_a_hub_elsewhere_cannot_point_into_this_network(monkeypatch, start, location, is_followed):
    def resolve(host, *_, **__):
        if host not in ADDRESSES and not re.fullmatch(r"[\d.]+|::1", host):
            raise OSError("no such name")
        return [(2, 1, 6, "", (ADDRESSES.get(host, host), 0))]

    monkeypatch.setattr("socket.getaddrinfo", resolve)
    target = hub_http.find_redirect(start, location, "/".join(start.split("/")[:3]))
    assert isinstance(target, str) == is_followed


def test_redirects_in_a_circle_end(model_hub):
    model_hub.faults["/api/models"] = Fault(location="/api/models")
    assert fail(model_hub, search).kind == "rejected"
    assert len(model_hub.asked) == 6


# --- headers by range


def fetch_header(hub, repository, path, *limits):
    """The header of one file alone, with no vocabulary known before."""
    return hub.open_headers(repository, *limits).fetch(path, None)


def test_only_a_few_mib_of_a_40_gib_file_are_asked_for():
    file = build_gguf(BIG, n_tokens=128_000, token="a token of twenty-odd bytes ")
    assert file.n_bytes > 40 * GIB and len(file.content) > 4 * MIB
    with ModelHub([ModelRepository("a/b", {"big-Q4_K_M.gguf": file})]) as model_hub:
        hub = open_hub(model_hub)
        header = fetch_header(hub, hub.fetch_repository("a/b"), "big-Q4_K_M.gguf")
        assert header.architecture == "llama" and header.file_bytes == file.n_bytes
        assert header.tensors[0].shape == BIG and header.missing_bytes == 0
        parts = model_hub.list_asked("cdn")
        spans = [a.span for a in parts]
        assert spans[0] == (0, 256 * KIB - 1)
        assert all(after[0] == before[1] + 1 for before, after in itertools.pairwise(spans))  # each byte once
        assert sum(a.n_sent for a in parts) < 2 * len(file.content) < 16 * MIB
        assert len(parts) <= 7


def test_a_small_header_takes_one_part_of_256_kib():
    file = build_gguf(BIG)
    with ModelHub([ModelRepository("a/b", {"m.gguf": file})]) as model_hub:
        hub = open_hub(model_hub)
        assert fetch_header(hub, hub.fetch_repository("a/b"), "m.gguf").n_params == BIG[0] * BIG[1]
        assert [a.n_sent for a in model_hub.list_asked("cdn")] == [256 * KIB]


def fetch_big_header(fault, file=None, limits=None):
    """The header of a 40 GiB file whose CDN misbehaves, or the error; and the bytes that were sent."""
    file = file or build_gguf(BIG, n_tokens=20_000, token="a token of twenty-odd bytes ")
    repository = ModelRepository("a/b", {"m.gguf": file})
    with ModelHub([repository]) as model_hub:
        model_hub.faults[f"cdn:/a/b/{file.sha256}/m.gguf"] = fault
        hub = open_hub(model_hub)
        found = hub.fetch_repository("a/b")
        try:
            answer = fetch_header(hub, found, "m.gguf", *([limits] if limits else []))
        except (HubError, GgufError) as error:
            answer = error
        return answer, sum(a.n_sent for a in model_hub.list_asked("cdn"))


def test_a_server_without_ranges_is_read_no_further_than_needed():
    answer, n_sent = fetch_big_header(Fault(ignores_range=True))
    assert answer.architecture == "llama"
    assert n_sent < 64 * MIB  # what lies in the buffers between, three times; the file has 40 GiB


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (Fault(headers={"Content-Range": "bytes 0-262143/99"}), "range"),
        (Fault(headers={"Content-Range": "bytes 5-262148/42949673000"}), "range"),
        (Fault(headers={"Content-Range": "items 1"}), "range"),
        (Fault(headers={"Content-Range": ""}), "range"),
        (Fault(headers={"Content-Range": "bytes 0-262143/262144"}), "size"),
        (Fault(status=416), "range"),
        (Fault(after_bytes=1000, is_cut=True), "lost"),
        (Fault(status=403, body=b"<Error>expired</Error>"), "token"),
        (Fault(status=500), "server"),
    ],
)
def test_parts_that_are_not_those_asked_for_are_refused(fault, kind):
    answer, n_sent = fetch_big_header(fault)
    assert isinstance(answer, HubError) and answer.kind == kind
    assert n_sent < 20 * MIB


def test_a_connection_cut_once_is_made_good():
    answer, _ = fetch_big_header(Fault(after_bytes=1000, is_cut=True, times=1))
    assert answer.architecture == "llama"


def test_parts_of_two_files_are_never_joined():
    """The CDN's file changes after the first part: the second answer is whole, and so its own."""
    answer, _ = fetch_big_header(Fault(headers={"ETag": '"other"'}, times=1))
    assert answer.architecture == "llama"


def test_a_header_above_the_limit_is_refused_before_it_is_fetched():
    answer, n_sent = fetch_big_header(Fault(), limits=Limits(header_bytes=MIB // 2))
    assert isinstance(answer, GgufError) and n_sent <= MIB // 2


def test_what_is_no_gguf_file_costs_one_part():
    answer, n_sent = fetch_big_header(Fault(), file=ModelFile(b"PK\x03\x04", size=30 * GIB))
    assert isinstance(answer, GgufError) and n_sent <= 256 * KIB


def test_a_file_that_ends_inside_its_header_is_refused():
    whole = build_gguf(n_tokens=30_000, token="a token of twenty-odd bytes ")
    cut = ModelFile(whole.content[: 400 * KIB])
    answer, _ = fetch_big_header(Fault(), file=cut)
    assert isinstance(answer, GgufError) and "ends inside" in str(answer)


def test_a_file_that_is_not_listed_is_not_asked_for(model_hub):
    hub = open_hub(model_hub)
    found = hub.fetch_repository(LLAMA)
    n_asked = len(model_hub.asked)
    with pytest.raises(HubError) as caught:
        fetch_header(hub, found, "other.gguf")
    assert caught.value.kind == "missing" and len(model_hub.asked) == n_asked


# --- safetensors


def test_parameters_are_counted_off_the_shapes_of_all_shards():
    first = build_safetensors({"a": ("BF16", (32_000, 4096), 2), "b": ("F32", (4096,), 4)})
    second = build_safetensors({"c": ("BF16", (4096, 14_336), 2), "s": ("F32", (), 4)})
    index = {"metadata": {"total_size": 1}, "weight_map": {"a": "m-1.safetensors", "b": "m-1.safetensors"}}
    index["weight_map"]["c"] = "m-2.safetensors"
    files = {
        "model.safetensors.index.json": json.dumps(index).encode(),
        "m-1.safetensors": first,
        "m-2.safetensors": second,
        "consolidated.safetensors": first,
    }
    with ModelHub([ModelRepository("a/b", files)]) as model_hub:
        hub = open_hub(model_hub)
        counts = hub.fetch_param_counts(hub.fetch_repository("a/b"))
        assert counts == (("BF16", 32_000 * 4096 + 4096 * 14_336), ("F32", 4096 + 1))
        assert sum(a.n_sent for a in model_hub.list_asked("cdn")) < MIB


def test_a_long_safetensors_header_is_fetched_whole_and_no_further():
    names = {f"model.layers.{i}.weight": ("F16", (64, 64), 2) for i in range(8000)}
    file = build_safetensors(names)
    assert len(file.content) > 512 * KIB
    with ModelHub([ModelRepository("a/b", {"model.safetensors": file})]) as model_hub:
        hub = open_hub(model_hub)
        assert hub.fetch_param_counts(hub.fetch_repository("a/b")) == (("F16", 8000 * 4096),)
        assert sum(a.n_sent for a in model_hub.list_asked("cdn")) == len(file.content)


@pytest.mark.parametrize(
    "header",
    [
        b"[]",
        b"nope",
        b"{}" + b"[" * 100_000,
        b'{"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}',
        b'{"w": {"dtype": "F32", "shape": [-2], "data_offsets": [0, 8]}}',
        b'{"w": {"dtype": "F32", "shape": [1e99], "data_offsets": [0, 8]}}',
        b'{"w": {"dtype": "F32", "shape": [999999999999, 999999999999], "data_offsets": [0, 8]}}',
        b'{"w": {"shape": [2], "data_offsets": [0, 8]}}',
        b'{"w": {"dtype": "F32", "shape": [200], "data_offsets": [0, 800]}}',
    ],
)
def test_broken_safetensors_headers_are_refused(header):
    files = {"model.safetensors": build_safetensors({"w": ("F32", (2,), 4)}, header)}
    with ModelHub([ModelRepository("a/b", files)]) as model_hub:
        error = fail(model_hub, lambda hub: hub.fetch_param_counts(hub.fetch_repository("a/b")))
        assert error.kind in ("shape", "size")


def test_an_index_that_names_files_elsewhere_is_refused():
    index = json.dumps({"weight_map": {"a": "../../other/model.safetensors"}}).encode()
    files = {"model.safetensors.index.json": index, "model.safetensors": b"x"}
    with ModelHub([ModelRepository("a/b", files)]) as model_hub:
        assert fail(model_hub, lambda hub: hub.fetch_param_counts(hub.fetch_repository("a/b"))).kind == "missing"


def test_a_repository_without_safetensors_has_no_counts(model_hub):
    hub = open_hub(model_hub)
    assert hub.fetch_param_counts(hub.fetch_repository("ada/Llama-3.2-1B-GGUF")) == ()


# --- the token


def test_the_token_goes_to_the_hub_and_never_to_the_cdn(model_hub):
    hub = open_hub(model_hub, TOKEN)
    fetch_header(hub, hub.fetch_repository("ada/Llama-3.2-1B-GGUF"), "Llama-Q4_K_M.gguf")
    to_hub, to_cdn = model_hub.list_asked("hub"), model_hub.list_asked("cdn")
    assert to_cdn and all("authorization" not in a.headers for a in to_cdn)
    assert all(TOKEN not in str(a) for a in to_cdn)
    assert all(a.headers["authorization"] == f"Bearer {TOKEN}" for a in to_hub)


def test_the_token_shows_itself_nowhere():
    secret = Secret(TOKEN)
    shown = [
        repr(secret),
        str(secret),
        f"{secret}",
        f"{secret!r:>9}",
        f"{[secret]}",
        repr(Hub("http://127.0.0.1:9", TOKEN)),
    ]
    assert all(TOKEN not in text for text in shown)
    with pytest.raises(TypeError):
        pickle.dumps(secret)


ECHO = {
    "status": Fault(status=400, headers={"X-Error-Message": f"bad {TOKEN}"}),
    "body": Fault(status=500, body=json.dumps({"error": TOKEN}).encode()),
    "page": Fault(body=f"<html>{TOKEN}".encode()),
    "redirect": Fault(location=f"file:///{TOKEN}"),
    "two redirects": Fault(location=f"/{TOKEN}/x"),
    "length": Fault(body=b"[]", headers={"Content-Length": TOKEN}),
    "header": Fault(body=b"[]", headers={TOKEN + "\x01": "x"}),
    "cut": Fault(after_bytes=3, is_cut=True, headers={"X-Echo": TOKEN}),
    "chunk": Fault(body=f"{TOKEN}\r\n".encode(), headers={"Transfer-Encoding": "chunked", "Content-Length": ""}),
    "slow": Fault(delay_s=0.5),
    "refused": Fault(status=401, headers={"X-Error-Message": f"Bearer {TOKEN}"}),
}


@pytest.mark.parametrize("echo", ECHO)
def test_no_error_log_or_traceback_holds_the_token(model_hub, echo):
    model_hub.faults["/api/models"] = ECHO[echo]
    model_hub.faults[f"/{TOKEN}/x"] = Fault(location="file:///x")
    log = io.StringIO()
    handler = logging.StreamHandler(log)
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        error = fail(model_hub, search, TOKEN, timeout_s=0.2)
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
    shown = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
    assert TOKEN not in str(error) and TOKEN not in repr(error) and TOKEN not in log.getvalue()
    assert TOKEN not in "".join(traceback.format_exception(error))
    assert "Bearer " + TOKEN not in shown
    assert error.__cause__ is None and error.__context__ is None


def test_an_answer_that_repeats_the_token_is_read_without_it(model_hub):
    model_hub.repositories[LLAMA].card = {"license_name": TOKEN}
    found = open_hub(model_hub, TOKEN).fetch_repository(LLAMA)
    assert found.license_name == "***" and TOKEN not in repr(found)


def test_a_token_that_no_header_can_carry_is_refused_unshown():
    for value in ("hf_a\nb", "hf a", "hf_é", "hf_\x00"):
        with pytest.raises(HubError) as caught:
            Hub("http://127.0.0.1:9", value)
        assert caught.value.kind == "token" and value not in str(caught.value)


def test_the_token_is_found_where_the_hubs_tools_keep_it(monkeypatch, tmp_path):
    import huggingface_hub.constants as constants

    kept = tmp_path / "token"
    kept.write_text("hf_kept_by_login_0001\n")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(kept))
    monkeypatch.setattr(constants, "HF_STORED_TOKENS_PATH", str(tmp_path / "stored"))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.delenv("HF_HUB_DISABLE_IMPLICIT_TOKEN", raising=False)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert find_token().reveal() == TOKEN
    monkeypatch.delenv("HF_TOKEN")
    assert find_token().reveal() == "hf_kept_by_login_0001"
    monkeypatch.setenv("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")
    assert not find_token()


# --- addresses and the environment


def test_the_endpoint_is_read_when_the_door_opens(model_hub, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", model_hub.url + "/")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    hub = Hub(wait=Pauses())
    assert hub.endpoint == model_hub.url
    assert hub.search(HubQuery("llama"))
    assert find_endpoint({}) == "https://huggingface.co"


@pytest.mark.parametrize(
    "url",
    ["", "huggingface.co", "ftp://x", "http://a:b@c", "http://x/?q", "http://x#f", "http://", "http://x y", "x\0"],
)
def test_addresses_that_are_none_are_refused(url):
    with pytest.raises(HubError) as caught:
        check_endpoint(url)
    assert caught.value.kind == "name" and "a:b" not in str(caught.value)


def test_the_cache_is_where_the_hubs_own_library_has_it():
    """Asked of the library itself, in a process of its own, for it reads the environment once."""
    home = str(Path("~").expanduser())
    cases = [
        {},
        {"HF_HOME": "/h"},
        {"HF_HUB_CACHE": "~/c"},
        {"XDG_CACHE_HOME": "/x"},
        {"HUGGINGFACE_HUB_CACHE": "/old"},
    ]
    code = (
        "import os, sys, json, importlib, huggingface_hub.constants as c\n"
        "names = ('HF_HOME', 'HF_HUB_CACHE', 'XDG_CACHE_HOME', 'HUGGINGFACE_HUB_CACHE')\n"
        "for case in json.loads(sys.argv[1]):\n"
        "    [os.environ.pop(n, None) for n in names]; os.environ.update(case); importlib.reload(c)\n"
        "    print(c.HF_HUB_CACHE)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(cases)],
        capture_output=True,
        text=True,
        env={**os.environ, "HOME": home},
    )
    assert [str(find_cache_dir(case)) for case in cases] == done.stdout.split()


def test_connections_are_given_back(model_hub):
    hub = open_hub(model_hub)
    hub.search(HubQuery())
    hub.close()
    assert hub.search(HubQuery())  # opens anew
    hub.close()
    gc.collect()


# --- the Hub of the tests is one for the Hub's own library too


def test_the_hubs_own_library_reads_the_hub_of_these_tests(model_hub, tmp_path):
    from huggingface_hub import HfApi
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    api = HfApi(endpoint=model_hub.url, token=False)
    assert [found.id for found in api.list_models(search="llama", sort="downloads", limit=1)] == [LLAMA]
    info = api.model_info(LLAMA, files_metadata=True)
    assert (info.sha, info.safetensors.total) == (model_hub.repositories[LLAMA].commit, 1_235_814_400)
    assert {s.rfilename: s.size for s in info.siblings}["model.safetensors"] == 1
    assert {entry.path for entry in api.list_repo_tree(LLAMA)} == set(model_hub.repositories[LLAMA].files)
    path = api.hf_hub_download("ada/Llama-3.2-1B-GGUF", "Llama-Q4_K_M.gguf", cache_dir=tmp_path)
    assert Path(path).stat().st_size == build_gguf().n_bytes
    for repo_id, revision, expected in (
        ("locked/model", None, GatedRepoError),
        ("no/such", None, RepositoryNotFoundError),
        (LLAMA, "v9", RevisionNotFoundError),
    ):
        with pytest.raises(expected):
            api.hf_hub_download(repo_id, "config.json", revision=revision, cache_dir=tmp_path)
