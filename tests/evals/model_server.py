"""A model server on this machine for tests: it speaks the OpenAI API, and misbehaves as the test's script says.

Behind it stands a small model of our own (words, the next one by a hash of the last), so that tests work out
log-likelihoods by themselves.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

BEGINNING = "<s>"
VOCABULARY = [f" {word}" for word in "red blue green seven eight town mill river runs walks sleeps and or".split()]

Behaviour = Callable[["Handler"], None]


def cut_words(text: str) -> list[str]:
    """Words with the blank before them, digits and signs alone: joined they are the text."""
    return re.findall(r" ?[A-Za-z]+|\s|.", text, re.S)


def weigh(before: str, token: str) -> float:
    return hashlib.sha256(f"{before}|{token}".encode()).digest()[0] / 40


def find_log_probability(before: str, token: str) -> float:
    known = {*VOCABULARY, token}
    return weigh(before, token) - math.log(sum(math.exp(weigh(before, other)) for other in known))


def find_next(before: str) -> str:
    return max(VOCABULARY, key=lambda token: weigh(before, token))


def list_log_probabilities(tokens: list[str]) -> list[float]:
    """Of each token after the one before it, the first after the beginning."""
    return [find_log_probability(a, b) for a, b in zip([BEGINNING, *tokens], tokens, strict=False)]


@dataclass
class ModelServer:
    """Answers normally, or as `script` says: one behaviour for each POST, in order. `gets` are further JSON paths.

    `style` is how prompts are echoed: "listed" (a beginning token first, as vLLM), "hidden" (there, but not listed),
    "none" (no beginning token), "late" (the fault of llama_cpp.server without one), "deaf" (no echo, as llama-server).
    """

    models: list[dict[str, Any]] = field(default_factory=lambda: [{"id": "toy-1"}])
    style: str = "listed"
    script: list[Behaviour] = field(default_factory=list)
    gets: dict[str, Any] = field(default_factory=dict)
    header: str = "toy"
    answer: Callable[[dict[str, Any]], str] = lambda payload: "fine"
    requests: list[tuple[str, str, dict[str, str], Any]] = field(default_factory=list)
    n_at_once: int = 0
    most_at_once: int = 0
    url: str = ""

    def __enter__(self) -> ModelServer:
        handler = type("Bound", (Handler,), {"owner": self})
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def posts(self) -> list[Any]:
        return [payload for method, _, _, payload in self.requests if method == "POST"]

    def echo(self, payload: dict[str, Any]) -> dict[str, Any]:
        """A completion with log-probabilities in this server's style."""
        text = payload["prompt"]
        tokens = cut_words(text)
        generated = find_next(tokens[-1])
        whole = [*tokens, generated]
        values: list[float | None] = [*list_log_probabilities(tokens), find_log_probability(tokens[-1], generated)]
        rows = [BEGINNING, *whole]
        tops = [
            {
                find_next(before): find_log_probability(before, find_next(before)),
                token: find_log_probability(before, token),
            }
            for before, token in zip(rows, whole, strict=False)
        ]
        if not payload.get("echo") or self.style == "deaf":
            return make_completion(generated, [generated], values[-1:], tops[-1:], len(tokens))
        listed: list[Any] = list(tops)
        if self.style == "listed":
            whole, values, listed = [BEGINNING, *whole], [None, *values], [None, *listed]
        elif self.style == "late":  # each row of numbers belongs to the token before
            after = [*tokens, generated]
            values = [None, *(find_log_probability(token, token) for token in after[1:-1])]
            whole, listed = whole[:-1], listed[:-1]
        else:
            values[0], listed[0] = None, None
        return make_completion(text + generated, whole, values, listed, len(tokens) + (self.style != "none"))


def make_completion(text: str, tokens: list[str], values: list[Any], tops: list[Any], n_prompt: int) -> dict[str, Any]:
    offsets, at = [], 1  # off by one, as some servers have it
    for token in tokens:
        offsets.append(at)
        at += len(token)
    logprobs = {"tokens": tokens, "token_logprobs": values, "top_logprobs": tops, "text_offset": offsets}
    choice = {"index": 0, "text": text, "logprobs": logprobs, "finish_reason": "length"}
    return {"choices": [choice], "usage": {"prompt_tokens": n_prompt, "completion_tokens": 1}}


class Handler(BaseHTTPRequestHandler):
    owner: ModelServer
    protocol_version = "HTTP/1.1"
    wbufsize = 65536  # headers and body in one packet, or each answer waits for an acknowledgement
    payload: Any = None

    def do_GET(self) -> None:
        self.owner.requests.append(("GET", self.path, dict(self.headers), None))
        if self.path == "/v1/models":
            self.send(200, {"object": "list", "data": self.owner.models})
        elif self.path in self.owner.gets:
            self.send(200, self.owner.gets[self.path])
        else:
            self.send(404, {"error": "no such path"})

    def do_POST(self) -> None:
        owner = self.owner
        self.payload = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with owner._lock:
            owner.requests.append(("POST", self.path, dict(self.headers), self.payload))
            owner.n_at_once += 1
            owner.most_at_once = max(owner.most_at_once, owner.n_at_once)
            behaviour = owner.script.pop(0) if owner.script else answer_well
        try:
            behaviour(self)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
        finally:
            with owner._lock:
                owner.n_at_once -= 1

    def send(self, status: int, body: Any, **headers: str) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Content-Type", headers.pop("content_type", "application/json"))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(data)

    def version_string(self) -> str:
        return self.owner.header

    def log_message(self, *_: Any) -> None:
        pass


def answer_well(handler: Handler) -> None:
    payload, owner = handler.payload, handler.owner
    if payload.get("logprobs"):
        handler.send(200, owner.echo(payload))
        return
    text = owner.answer(payload)
    usage = {"prompt_tokens": 7, "completion_tokens": len(text.split())}
    said = {"message": {"role": "assistant", "content": text}} if "messages" in payload else {"text": text}
    handler.send(200, {"choices": [{"index": 0, "finish_reason": "stop", **said}], "usage": usage})


def fail(status: int, body: Any = None, **headers: str) -> Behaviour:
    """An HTTP status with a body (an error of OpenAI's form where none is given)."""
    return lambda handler: handler.send(status, {"error": {"message": "trouble"}} if body is None else body, **headers)


def say(body: Any, **headers: str) -> Behaviour:
    return fail(200, body, **headers)


def cut(handler: Handler) -> None:
    """A body that ends before its announced length."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"choices": [')
    handler.close_connection = True


def drop(handler: Handler) -> None:
    """No answer at all."""
    handler.close_connection = True


def stall(seconds: float) -> Behaviour:
    def behave(handler: Handler) -> None:
        time.sleep(seconds)
        answer_well(handler)

    return behave


def drip(seconds: float) -> Behaviour:
    """One byte now and then, so that no single read times out."""

    def behave(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "40")
        handler.end_headers()
        handler.wfile.flush()
        for _ in range(40):
            handler.wfile.write(b" ")
            handler.wfile.flush()
            time.sleep(seconds)

    return behave


def echo_key(status: int) -> Behaviour:
    """An error that repeats the Authorization header in body and headers."""

    def behave(handler: Handler) -> None:
        sent = handler.headers.get("Authorization", "none")
        # the second key lies across the place where long texts are cut
        body = {"error": {"message": f"bad header: {sent} {'x' * 228} {sent}"}}
        handler.send(status, body, X_Seen=sent, Location=f"http://elsewhere/{sent.split()[-1]}")

    return behave
