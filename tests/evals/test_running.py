"""Servers on this machine: who answers is told, what is none is left out, and nobody waits long or is sent a key."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from evals.endpoint_address import KEY_VARIABLE
from evals.running import DEFAULT_PORTS, MAX_MODELS, UNKNOWN, RunningServer, find_running
from sizing.errors import BadInputError
from tests.evals.model_server import Handler, ModelServer

TIMEOUT_S = 0.4


def port_of(server: ModelServer) -> int:
    return int(server.url.rsplit(":", 1)[1])


def find_one(server: ModelServer) -> RunningServer | None:
    found = find_running([port_of(server)], TIMEOUT_S)
    return found[0] if found else None


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def answer_everything(status: int, body: Any, **headers: str) -> Iterator[ModelServer]:
    """A server that gives one answer to every path."""

    class Same(Handler):
        def do_GET(self) -> None:
            self.owner.requests.append(("GET", self.path, dict(self.headers), None))
            self.send(status, body, **headers)

    with ModelServer() as server:
        server._server.RequestHandlerClass = type("Bound", (Same,), {"owner": server})
        yield server


@contextmanager
def speak_raw(pieces: list[bytes], pause_s: float = 0.0) -> Iterator[int]:
    """A port that accepts, sends these bytes one after another and stays open."""
    ended = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            open_ones = []
            while not ended.is_set():
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                open_ones.append(connection)
                threading.Thread(target=send, args=(connection,), daemon=True).start()

        def send(connection: socket.socket) -> None:
            for piece in pieces:
                if ended.wait(pause_s):
                    return
                try:
                    connection.sendall(piece)
                except OSError:
                    return

        threading.Thread(target=serve, daemon=True).start()
        yield listener.getsockname()[1]
        ended.set()


KINDS = (
    ("llama-server", {"owned_by": "llamacpp"}, "llama.cpp", {
        "/props": {"build_info": "b6000-abc", "default_generation_settings": {"n_ctx": 8192}}}, 8192, "b6000-abc"),
    ("ollama", {"owned_by": "library"}, "", {
        "/api/version": {"version": "0.12.1"},
        "/api/ps": {"models": [{"name": "toy-1", "context_length": 4096}]}}, 4096, "0.12.1"),
    ("vllm", {"owned_by": "vllm", "max_model_len": 32768}, "uvicorn", {"/version": {"version": "0.11"}}, 32768, "0.11"),
    ("lm-studio", {"owned_by": "organization_owner"}, "", {
        "/api/v0/models": {"data": [{"id": "toy-1", "loaded_context_length": 2048}]}}, 2048, ""),
    ("sglang", {}, "", {"/get_server_info": {"version": "0.5", "context_length": 1024}}, 1024, "0.5"),
    ("tgi", {}, "", {"/info": {"model_id": "toy-1", "max_total_tokens": 512, "version": "3"}}, 512, "3"),
    ("llama-swap", {"owned_by": "llama-swap"}, "", {}, None, ""),
    (UNKNOWN, {}, "", {}, None, ""),
)  # fmt: skip


@pytest.mark.parametrize(("kind", "entry", "header", "gets", "context", "version"), KINDS, ids=[k[0] for k in KINDS])
def test_a_server_is_told_by_its_kind(
    kind: str, entry: dict[str, Any], header: str, gets: dict[str, Any], context: int | None, version: str
) -> None:
    with ModelServer(models=[{"id": "toy-1", **entry}], header=header, gets=gets) as server:
        found = find_one(server)
    assert found == RunningServer(server.url, port_of(server), kind, ("toy-1",), context, version)


def test_nothing_listens_and_nobody_waits() -> None:
    ports = [free_port() for _ in range(len(DEFAULT_PORTS))]
    start = time.perf_counter()
    assert find_running(ports) == ()
    assert time.perf_counter() - start < 2


def test_servers_come_in_the_order_of_the_ports_each_once() -> None:
    with ModelServer() as one, ModelServer(models=[{"id": "other"}]) as two:
        ports = [port_of(two), free_port(), port_of(one), port_of(two)]
        assert [server.port for server in find_running(ports, TIMEOUT_S)] == [port_of(two), port_of(one)]


def test_the_default_ports_are_those_the_servers_document() -> None:
    assert set(DEFAULT_PORTS) >= {11434, 8080, 8000, 1234, 30000, 3000}


def test_no_key_is_sent_whatever_the_environment_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, "sk-secret-of-another-server")
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{free_port()}")
    with ModelServer() as server:
        assert find_one(server) is not None
    assert server.requests
    for _, _, headers, payload in server.requests:
        assert "authorization" not in {name.lower() for name in headers} and payload is None
        assert "secret" not in str(headers)
    assert {method for method, *_ in server.requests} == {"GET"}


@pytest.mark.parametrize(
    ("status", "body", "headers"),
    [
        (200, b"<html><title>Jupyter</title></html>", {"content_type": "text/html"}),
        (200, {"hello": "world"}, {}),
        (200, [], {}),
        (200, b"[" * 100_000, {}),
        (404, {"detail": "Not Found"}, {}),
        (302, b"", {"Location": "http://127.0.0.1:9/v1/models"}),
        (418, b"teapot", {}),
    ],
)
def test_what_answers_as_something_else_is_left_out(status: int, body: Any, headers: dict[str, str]) -> None:
    with answer_everything(status, body, **headers) as server:
        assert find_one(server) is None


@pytest.mark.parametrize(
    ("status", "said", "part"),
    [(401, "Invalid API key", "wants a key"), (503, "Loading model", "Loading model"), (429, "later", "busy")],
)
def test_a_server_that_cannot_be_used_yet_says_why(status: int, said: str, part: str) -> None:
    with answer_everything(status, {"error": {"message": f"{said}\n\x1b[31m"}}) as server:
        found = find_one(server)
    assert found is not None and found.kind == UNKNOWN and found.models == ()
    assert found.problem is not None and part in found.problem
    assert found.problem.isprintable()


@pytest.mark.parametrize(
    "pieces", [[], [b"SSH-2.0-OpenSSH_9.6\r\n"], [b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"]]
)
def test_a_port_that_never_answers_is_left_out_in_time(pieces: list[bytes]) -> None:
    with speak_raw(pieces) as port:
        start = time.perf_counter()
        assert find_running([port], 0.2) == ()
        assert time.perf_counter() - start < 2


def test_headers_without_end_keep_nobody() -> None:
    """One byte in each tenth of a second never runs into a timeout of its own."""
    with speak_raw([b"HTTP/1.1 200 OK\r\nX-Slow: ", *[b"x"] * 1000], pause_s=0.1) as port, ModelServer() as server:
        start = time.perf_counter()
        found = find_running([port, port_of(server)], 0.2)
        assert time.perf_counter() - start < 3
    assert [one.port for one in found] == [port_of(server)]


def test_names_that_cannot_be_shown_are_left_out() -> None:
    names = ["good", "bad\x1b[31m", "two\nlines", "x" * 5000, "", *(f"m{i}" for i in range(2 * MAX_MODELS))]
    gets = {"/api/version": {"version": "1\n\x1b[31m" + "9" * 5000}}
    with ModelServer(models=[{"id": name, "owned_by": "library"} for name in names], gets=gets) as server:
        found = find_one(server)
    assert found is not None and found.models[:2] == ("good", "m0")
    assert len(found.models) == MAX_MODELS
    assert found.version.isprintable() and len(found.version) <= 400


@pytest.mark.parametrize("ports", [[0], [65_536], [-1], [True], ["8080"], list(range(1, 100))])
def test_ports_that_cannot_be_are_refused(ports: list[Any]) -> None:
    with pytest.raises(BadInputError):
        find_running(ports)


@pytest.mark.parametrize("timeout_s", [0, -1, 31, float("nan"), float("inf")])
def test_times_that_cannot_be_are_refused(timeout_s: float) -> None:
    with pytest.raises(BadInputError):
        find_running([8080], timeout_s)
