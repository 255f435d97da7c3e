"""A model server is asked, tried again, understood when it fails, and never told the key's secret away."""

from __future__ import annotations

import copy
import json
import logging
import pickle
import random
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import pytest

from evals import endpoint_address, endpoint_http
from evals.endpoint import EndpointClient, EndpointPlan, Secret, check_endpoint_url, read_key
from evals.endpoint_http import find_retry_after_s
from sizing.errors import BadInputError, EndpointError, UnsupportedError
from tests.evals.model_server import (
    ModelServer,
    cut,
    cut_words,
    drip,
    drop,
    echo_key,
    fail,
    find_next,
    list_log_probabilities,
    say,
    stall,
)

KEY = 'sk-very"secret/key+1234567890'


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with ModelServer() as running:
        yield running


def connect(server: ModelServer, pauses: list[float] | None = None, key: str = KEY, **plan: Any) -> EndpointClient:
    """A client that notes its pauses instead of sleeping."""
    noted = [] if pauses is None else pauses
    return EndpointClient(EndpointPlan(server.url, **plan), Secret(key), wait=noted.append, chance=lambda: 0.0)


# the address ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "base"),
    [
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080/v1"),
        ("http://127.0.0.1:8080/", "http://127.0.0.1:8080/v1"),
        (" http://127.0.0.1:8080/v1/ ", "http://127.0.0.1:8080/v1"),
        ("http://127.0.0.1:8080/v1/chat/completions", "http://127.0.0.1:8080/v1"),
        ("https://127.0.0.1/proxy//team", "https://127.0.0.1/proxy/team/v1"),
        ("https://127.0.0.1/v1beta/openai", "https://127.0.0.1/v1beta/openai"),
        ("http://[::1]:11434", "http://[::1]:11434/v1"),
    ],
)
def test_the_base_of_the_api_is_found(url: str, base: str) -> None:
    assert check_endpoint_url(url) == base


@pytest.mark.parametrize(
    "url",
    [
        "ftp://127.0.0.1/v1",
        "file:///etc/passwd",
        "127.0.0.1:8080",
        "",
        "http://",
        "http://127.0.0.1:99999/v1",
        "http://[::1",
        "http://127.0.0.1/v1?key=1",
        "http://127.0.0.1/v1#x",
        "http://127.0.0.1/\r\nX: y",
        "http://169.254.169.254/latest",
        "http://2852039166/",
        "http://0xA9FEA9FE/",
        "http://[fe80::1]/",
        "http://[fe80::1%25eth0]/",
        "http://[fd00:ec2::254]/",
        "http://[::ffff:169.254.169.254]/",
        "http://[64:ff9b::a9fe:a9fe]/",
        "http://metadata.google.internal/",
        "http://METADATA.google.internal./",
        "http://100.100.100.200/",
        "http://224.0.0.1/",
    ],
)
def test_an_address_that_may_not_be_asked_is_refused(url: str) -> None:
    with pytest.raises(BadInputError):
        check_endpoint_url(url)


@pytest.mark.parametrize("url", ["http://me:hunter22@127.0.0.1", "me:hunter22@127.0.0.1", "http://me:hunter22@[::1"])
def test_a_password_in_an_address_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(BadInputError) as raised:
        check_endpoint_url(url)
    assert "hunter22" not in str(raised.value)


def test_a_name_that_resolves_to_a_link_local_address_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, 0)) for ip in ("127.0.0.1", "169.254.1.1")]
    monkeypatch.setattr(endpoint_address.socket, "getaddrinfo", lambda *a, **k: found)
    with pytest.raises(BadInputError, match="169.254.1.1"):
        check_endpoint_url("http://innocent.example/v1")


def test_a_name_that_later_leads_elsewhere_is_not_read(server: ModelServer, monkeypatch: pytest.MonkeyPatch) -> None:
    client = connect(server)
    monkeypatch.setattr(endpoint_http, "is_forbidden", lambda address: str(address) == "127.0.0.1")
    with pytest.raises(EndpointError, match="nothing was read"):
        client.list_models()


def test_no_proxy_stands_before_this_machine(server: ModelServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert connect(server).list_models() == ("toy-1",)


# the key -------------------------------------------------------------------------------------------------------------


def test_a_key_does_not_show_itself() -> None:
    key = Secret(KEY)
    assert KEY not in f"{key} {key!r} {key!s} {key:>40} {[key]} {{'k': key}}"
    assert key.reveal() == KEY
    for store in (pickle.dumps, copy.deepcopy):
        with pytest.raises(TypeError):
            store(key)


def test_a_key_that_no_header_carries_is_refused_without_showing_it() -> None:
    with pytest.raises(BadInputError) as raised:
        Secret("sk-abc\ndef")
    assert "sk-abc" not in str(raised.value)


def test_the_key_comes_from_the_environment_ours_first() -> None:
    assert read_key({"WEIGHBRIDGE_API_KEY": "a"}).reveal() == "a"
    assert not read_key({"OPENAI_API_KEY": "b"})  # meant for another server
    assert not read_key({"WEIGHBRIDGE_API_KEY": ""})


def test_the_plan_holds_no_key(server: ModelServer) -> None:
    client = connect(server)
    assert KEY not in json.dumps(asdict(client.plan)) + repr(client.plan)


def find_leaks(error: BaseException | None, traces: str) -> list[str]:
    """Everything an error says or drags along, in which the key or most of it stands."""
    said = [traces]
    while error is not None:
        said += [str(error), repr(error), repr(error.args), repr(getattr(error, "__dict__", {}))]
        error = error.__cause__ or error.__context__
    forms = (KEY, KEY[:14], json.dumps(KEY)[1:-1], "very%22secret")
    return [text for text in said if any(form in text for form in forms)]


FAILURES: list[Callable[[Any], None]] = [
    *(echo_key(status) for status in (300, 302, 400, 401, 403, 404, 405, 422, 429, 500, 503)),
    lambda h: h.send(200, h.headers["Authorization"].encode()),
    lambda h: h.send(200, b"<html>" + h.headers["Authorization"].encode(), content_type="text/html"),
    lambda h: h.send(200, {"error": h.headers["Authorization"]}),
    lambda h: h.send(200, {"detail": h.headers["Authorization"]}),
    lambda h: h.send(200, [h.headers["Authorization"]]),
    lambda h: h.send(404, {"error": f"model {h.headers['Authorization']} not found"}),
    lambda h: h.send(500, {"error": {"message": None, "seen": h.headers["Authorization"]}}),
    lambda h: h.send(400, b"\xff" + h.headers["Authorization"].encode()),
    lambda h: h.send(429, {}, Retry_After=h.headers["Authorization"]),
    cut,
    drop,
    stall(0.3),
]


@pytest.mark.parametrize("behaviour", FAILURES)
def test_the_key_is_in_no_error_and_no_log(
    server: ModelServer, behaviour: Callable[[Any], None], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    server.script = [behaviour] * 2
    with connect(server, n_retries=1, timeout_s=0.1) as client, pytest.raises(EndpointError) as raised:
        client.complete("hello")
    assert all(headers["Authorization"] == f"Bearer {KEY}" for _, _, headers, _ in server.requests)
    assert find_leaks(raised.value, caplog.text) == []
    assert raised.value.__context__ is None  # an inner error would hold the request


def test_a_key_that_comes_back_as_an_answer_is_hidden(server: ModelServer) -> None:
    server.answer = lambda payload: f"you sent {KEY}"
    assert connect(server).complete("hello").text == "you sent ***"


def test_a_placeholder_key_leaves_answers_alone(server: ModelServer) -> None:
    server.answer = lambda payload: "ollama runs"
    assert connect(server, key="ollama").complete("hello").text == "ollama runs"


# trying again --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("behaviour", [fail(500), fail(502), fail(429), fail(408), fail(409), fail(503), cut, drop])
def test_what_may_mend_is_tried_again(server: ModelServer, behaviour: Callable[[Any], None]) -> None:
    pauses: list[float] = []
    server.script = [behaviour, behaviour]
    assert connect(server, pauses).complete("hello").text == "fine"
    assert pauses == [0.5, 1.0]


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422, 501])
def test_what_will_not_mend_is_not_tried_again(server: ModelServer, status: int) -> None:
    pauses: list[float] = []
    server.script = [fail(status)]
    with pytest.raises(EndpointError) as raised:
        connect(server, pauses).complete("hello")
    assert (pauses, raised.value.status, raised.value.n_tries) == ([], status, 1)


def test_tries_end_with_the_last_reason(server: ModelServer) -> None:
    pauses: list[float] = []
    server.script = [fail(500)] * 2 + [fail(503, {"error": "loading model"})]
    with pytest.raises(EndpointError, match=r"503.*loading model.*gave up after 3 tries") as raised:
        connect(server, pauses, n_retries=2).complete("hello")
    assert (raised.value.kind, raised.value.n_tries, len(pauses)) == ("server", 3, 2)


def test_pauses_double_are_capped_and_jittered() -> None:
    with ModelServer(script=[fail(500)] * 9) as server:
        pauses: list[float] = []
        plan = EndpointPlan(server.url, model="m", n_retries=8)
        client = EndpointClient(plan, Secret(), wait=pauses.append, chance=lambda: 1.0)
        with pytest.raises(EndpointError):
            client.complete("hello")
    assert pauses == [0.25, 0.5, 1, 2, 4, 8, 10, 10]


@pytest.mark.parametrize(
    ("header", "pause_s"),
    [
        ("7", 7.0),
        ("0", 0.0),
        ("1.5", 1.5),
        ("99999", 60.0),
        ("Tue, 10 Nov 2026 08:00:12 GMT", 12.0),
        ("Tue, 10 Nov 2026 07:00:00 GMT", 0.0),
        ("Tue, 10 Nov 2027 08:00:00 GMT", 60.0),
        ("soon", None),
        ("-5", None),
        ("1e9", None),
        ("9" * 400, None),
        (None, None),
    ],
)
def test_retry_after_is_read_as_seconds_or_date(header: str | None, pause_s: float | None) -> None:
    assert find_retry_after_s(header, datetime(2026, 11, 10, 8, tzinfo=UTC)) == pause_s


def test_retry_after_is_honoured(server: ModelServer) -> None:
    pauses: list[float] = []
    server.script = [fail(429, Retry_After="3")]
    connect(server, pauses).complete("hello")
    assert pauses == [3.0]


def test_a_slow_server_is_tried_twice_at_most(server: ModelServer) -> None:
    server.script = [stall(0.5)] * 9
    with pytest.raises(EndpointError) as raised:
        connect(server, timeout_s=0.1, model="m").complete("hello")
    assert (raised.value.kind, raised.value.n_tries) == ("timeout", 2)


def test_a_server_that_drips_runs_out_of_time(server: ModelServer) -> None:
    server.script = [drip(0.02)] * 2
    with pytest.raises(EndpointError) as raised:
        connect(server, timeout_s=0.2, model="m").complete("hello")
    assert raised.value.kind == "timeout"


def test_a_stopped_client_asks_no_more(server: ModelServer) -> None:
    client = connect(server, model="m")
    client.stop()
    with pytest.raises(EndpointError) as raised:
        client.complete("hello")
    assert raised.value.kind == "stopped"
    assert server.requests == []


def test_stopping_ends_a_pause(server: ModelServer) -> None:
    server.script = [fail(429, Retry_After="50")]
    client = EndpointClient(EndpointPlan(server.url, model="m"), Secret())
    threading.Timer(0.05, client.stop).start()
    with pytest.raises(EndpointError) as raised:
        client.complete("hello")
    assert raised.value.kind == "stopped"


# failures that say what to do ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("behaviour", "kind", "words"),
    [
        (fail(401), "key", "check the key"),
        (fail(404), "path", "/v1"),
        (fail(404, {"error": {"message": 'model "toy-l" not found, try pulling it'}}), "model", "toy-1"),
        (fail(400, {"message": "The model `toy-l` does not exist."}), "model", "toy-1"),
        (fail(400, {"error": {"message": "context of 9000 tokens exceeded"}}), "rejected", "context of 9000"),
        (fail(302, {}, Location="http://169.254.169.254/"), "rejected", "redirects to http://169.254.169.254/"),
        (say(b"<!doctype html><p>hi", content_type="text/html"), "not_json", "web page"),
        (say(b"{'no': json}"), "not_json", "no JSON"),
        (say(b"[" * 100_000), "not_json", "no JSON"),
        (say({"object": "list"}), "shape", "no choices"),
        (say({"choices": []}), "shape", "no choices"),
        (say({"choices": "abc"}), "shape", "no choices"),
        (say(b"{}", Content_Encoding="gzip"), "shape", "compressed"),
    ],
)
def test_a_failure_says_what_happened(
    server: ModelServer, behaviour: Callable[[Any], None], kind: str, words: str
) -> None:
    server.script = [behaviour]
    with pytest.raises(EndpointError, match=words) as raised:
        connect(server, model="toy-l", n_retries=0).complete("hello")
    assert raised.value.kind == kind
    assert "\n" not in str(raised.value)
    assert len(server.posts()) == 1  # a redirect was not followed


def test_a_missing_key_is_asked_for(server: ModelServer) -> None:
    server.script = [fail(401)]
    with pytest.raises(EndpointError, match="WEIGHBRIDGE_API_KEY"):
        connect(server, key="").complete("hello")
    assert all("Authorization" not in headers for _, _, headers, _ in server.requests)


def test_an_answer_beyond_the_cap_is_dropped(server: ModelServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint_http, "MAX_BODY_BYTES", 1_000_000)
    server.script = [say(b" " * 3_000_000)]
    with pytest.raises(EndpointError) as raised:
        connect(server).complete("hello")
    assert raised.value.kind == "size"


def test_nobody_listening_is_told_from_a_wrong_path() -> None:
    with socket.socket() as held:  # bound, not listening: the port is nobody else's
        held.bind(("127.0.0.1", 0))
        client = EndpointClient(EndpointPlan(f"http://127.0.0.1:{held.getsockname()[1]}"), Secret())
        with pytest.raises(EndpointError, match="is the server started") as raised:
            client.probe()
    assert raised.value.kind == "refused"


@pytest.mark.parametrize(
    "wrong",
    [
        {"api": "magic"},
        {"concurrency": 0},
        {"timeout_s": 0},
        {"timeout_s": float("nan")},
        {"n_retries": -1},
        {"max_output_tokens": 0},
    ],
)
def test_a_plan_out_of_range_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(BadInputError):
        EndpointPlan("http://127.0.0.1", **wrong)


# who answers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entry", "header", "gets", "kind", "context_tokens", "version"),
    [
        (
            {"owned_by": "llamacpp"},
            "llama.cpp",
            {"/props": {"default_generation_settings": {"n_ctx": 4096}, "build_info": "b6000"}},
            "llama-server",
            4096,
            "b6000",
        ),
        (
            {"owned_by": "library"},
            "",
            {"/api/version": {"version": "0.12.0"}, "/api/ps": {"models": [{"name": "toy-1", "context_length": 8192}]}},
            "ollama",
            8192,
            "0.12.0",
        ),
        (
            {"owned_by": "vllm", "max_model_len": 32768},
            "uvicorn",
            {"/version": {"version": "0.11.1"}},
            "vllm",
            32768,
            "0.11.1",
        ),
        ({}, "", {"/info": {"model_id": "x", "version": "3.3", "max_total_tokens": 2048}}, "tgi", 2048, "3.3"),
        (
            {},
            "",
            {"/api/v0/models": {"data": [{"id": "toy-1", "loaded_context_length": 1234}]}},
            "lm-studio",
            1234,
            "",
        ),
        ({"owned_by": "me"}, "", {}, "llama_cpp.server", None, ""),
        ({}, "", {}, "unknown", None, ""),
    ],
)
def test_the_server_is_recognised(
    entry: dict[str, Any], header: str, gets: dict[str, Any], kind: str, context_tokens: int | None, version: str
) -> None:
    with ModelServer(models=[{"id": "toy-1", **entry}], header=header, gets=gets) as server:
        facts = connect(server).probe()
    assert (facts.kind, facts.context_tokens, facts.engine_version) == (kind, context_tokens, version)
    assert (facts.models, facts.model) == (("toy-1",), "toy-1")


def test_an_unknown_model_names_near_ones() -> None:
    with ModelServer(models=[{"id": "qwen3:8b"}, {"id": "llama3.2:latest"}]) as server:
        with pytest.raises(EndpointError, match="qwen3:8b") as raised:
            connect(server, model="qwen3").probe()
        assert raised.value.kind == "model"
        assert connect(server, model="llama3.2").probe().model == "llama3.2:latest"
        assert connect(server).probe().model == ""
        with pytest.raises(EndpointError, match="say which one"):
            connect(server).complete("hello")


def test_listings_of_other_forms_are_an_error_or_empty() -> None:
    for body, names in (([{"id": "a"}, {"id": 3}, "b", None], ("a",)), ([], ())):
        with ModelServer(models=body) as server:
            assert connect(server).list_models() == names
    with ModelServer(models="many") as server, pytest.raises(EndpointError) as raised:  # type: ignore[arg-type]
        connect(server).list_models()
    assert raised.value.kind == "shape"


# answers -------------------------------------------------------------------------------------------------------------


def test_a_chat_request_holds_what_was_asked(server: ModelServer) -> None:
    turns = [{"role": "system", "content": "be short"}, {"role": "user", "content": "hé"}]
    connect(server, seed=5).complete(turns, max_tokens=9, stop=["\n", ""], top_p=0.5)
    _, path, _, payload = server.requests[-1]
    assert path == "/v1/chat/completions"
    assert payload == {
        "model": "toy-1",
        "messages": turns,
        "max_tokens": 9,
        "stop": ["\n"],
        "temperature": 0.0,
        "top_p": 0.5,
        "seed": 5,
        "stream": False,
    }


def test_a_completion_request_is_plain_text(server: ModelServer) -> None:
    reply = connect(server, api="completion", max_output_tokens=33).complete("once upon")
    _, path, _, payload = server.requests[-1]
    assert (path, payload["prompt"], payload["max_tokens"], reply.text) == ("/v1/completions", "once upon", 33, "fine")
    with pytest.raises(BadInputError):
        connect(server, api="completion").complete([{"role": "user", "content": "x"}])


@pytest.mark.parametrize(
    ("choice", "usage", "expected"),
    [
        ({"message": {"content": "42", "reasoning_content": "hm"}}, None, ("42", "stop", None, None, "hm")),
        (
            {"message": {"content": None, "reasoning": "hm"}, "finish_reason": "length"},
            {},
            ("", "length", None, None, "hm"),
        ),
        (
            {"message": {"content": [{"type": "text", "text": "a"}, {"text": "b"}, 3]}, "finish_reason": "eos_token"},
            {"prompt_tokens": 3, "completion_tokens": True},
            ("ab", "stop", 3, None, ""),
        ),
        ({"message": {"content": "one\nEND two"}}, {"prompt_tokens": -1}, ("one\n", "stop", None, None, "")),
        ({"message": {}, "finish_reason": "content_filter"}, 7, ("", "content_filter", None, None, "")),
    ],
)
def test_answers_of_many_forms_are_read(
    server: ModelServer, choice: dict[str, Any], usage: Any, expected: tuple[Any, ...]
) -> None:
    server.script = [say({"choices": [choice], "usage": usage})]
    reply = connect(server).complete("hello", stop=["END"])
    assert (reply.text, reply.finish, reply.n_prompt_tokens, reply.n_output_tokens, reply.reasoning) == expected


def test_half_a_surrogate_in_a_prompt_is_sent(server: ModelServer) -> None:
    assert connect(server).complete("bad \ud800 text").text == "fine"


# log-likelihoods -----------------------------------------------------------------------------------------------------


def make_pairs(n_pairs: int = 40) -> list[tuple[str, str]]:
    """Prompts and continuations with borders of every kind: blanks on either side, inside a word, line breaks."""
    chance = random.Random(7)
    words = "red blue cat cats river runs 7 42 é ! ? and".split()
    joints = [("", " "), (" ", ""), ("", ""), ("  ", " "), ("\n", ""), (":", " ")]
    pairs = []
    for _ in range(n_pairs):
        left, right = chance.choice(joints)
        first = " ".join(chance.choices(words, k=4)) + left
        pairs.append((first, right + " ".join(chance.choices(words, k=chance.randint(1, 3)))))
    return pairs


def score_by_hand(prompt: str, continuation: str) -> tuple[float, bool, int]:
    """As lm-eval cuts it for a model in process, with the toy's words and numbers."""
    n_blanks = len(prompt) - len(prompt.rstrip())
    head = prompt[: len(prompt) - n_blanks]
    tokens = cut_words(prompt + continuation)
    border = min(len(cut_words(head)), len(tokens) - 1)
    greedy = all(find_next(tokens[i - 1]) == tokens[i] for i in range(border, len(tokens)))
    return sum(list_log_probabilities(tokens)[border:]), greedy, len(tokens) - border


@pytest.mark.parametrize("style", ["listed", "hidden", "none"])
def test_scores_are_those_of_the_model_at_every_border(style: str) -> None:
    with ModelServer(style=style) as server, connect(server, api="completion") as client:
        for prompt, continuation in make_pairs():
            expected, greedy, n_tokens = score_by_hand(prompt, continuation)
            scored = client.score(prompt, continuation)
            assert scored.log_likelihood == pytest.approx(expected, abs=1e-9), (prompt, continuation)
            assert (scored.is_greedy, scored.n_scored_tokens) == (greedy, n_tokens)


def test_a_greedy_continuation_is_known_as_one(server: ModelServer) -> None:
    prompt = "the river"
    first = find_next(cut_words(prompt)[-1])
    client = connect(server, api="completion")
    assert client.score(prompt, first + find_next(first)).is_greedy
    assert not client.score(prompt, " zebra").is_greedy


def test_a_prompt_is_counted_once_for_all_its_choices(server: ModelServer) -> None:
    client = connect(server, api="completion")
    client.score("which colour:", " red")
    before = len(server.posts())
    for choice in (" blue", " green", " seven"):
        client.score("which colour:", choice)
    assert len(server.posts()) == before + 3


def test_a_server_that_lists_numbers_one_token_late_is_found_out() -> None:
    with ModelServer(style="late") as server, pytest.raises(UnsupportedError, match="shifted"):
        connect(server, api="completion").score("the river", " runs")


def test_a_server_that_does_not_echo_is_named() -> None:
    with ModelServer(style="deaf") as server, pytest.raises(UnsupportedError, match="choose a suite that generates"):
        connect(server, api="completion").score("the river", " runs")


@pytest.mark.parametrize(
    "behaviour",
    [
        fail(400, {"error": {"message": "Only no echo is supported"}}),
        say({"choices": [{"text": "the", "logprobs": None}]}),
        say({"choices": [{"text": "the", "logprobs": {"content": []}}]}),
        say({"choices": [{"text": "the days", "logprobs": {"token_logprobs": [None, float("nan")]}}]}),
    ],
)
def test_a_refusal_to_echo_is_unsupported(server: ModelServer, behaviour: Callable[[Any], None]) -> None:
    server.script = [behaviour]
    with pytest.raises(UnsupportedError):
        connect(server, api="completion").score("the river", " runs")


def test_an_empty_prompt_needs_a_beginning_token() -> None:
    for style, expected in (("listed", sum(list_log_probabilities(cut_words("red town")))), ("none", None)):
        with ModelServer(style=style) as server:
            client = connect(server, api="completion")
            if expected is None:
                with pytest.raises(UnsupportedError, match="first token"):
                    client.score("", "red town")
            else:
                assert client.score("", "red town").log_likelihood == pytest.approx(expected)


def test_a_chat_endpoint_scores_nothing(server: ModelServer) -> None:
    with pytest.raises(UnsupportedError, match="completion"):
        connect(server, api="chat").score("a", " b")
