"""Model servers that run on this machine now: the ports they use by default, asked briefly and without a key.

Only 127.0.0.1 is asked, so nothing leaves this machine, and whatever answers there may be anything.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

from evals.endpoint import EndpointClient, EndpointFacts, EndpointPlan, Secret
from sizing.errors import BadInputError, EndpointError

HOST = "127.0.0.1"

DEFAULT_PORTS = (11434, 8080, 8000, 1234, 30000, 3000)
"""Ollama; llama-server, llama-swap and TGI; vLLM; LM Studio; SGLang; TGI in its container's documentation."""

UNKNOWN = "unknown server"
MAX_PORTS = 64
MAX_MODELS = 500
MAX_TEXT = 200

PATIENCE = 8
"""All questions to one port take at most this many timeouts."""

TELLING = frozenset({"key", "busy", "server"})
"""Refusals a model server gives that is there and cannot be used as it is: it wants a key, or is loading its model."""


@dataclass(frozen=True, slots=True)
class RunningServer:
    """A server that answers as a model server does.

    `url` is the base to give an `EndpointPlan`. `kind` is as in `EndpointFacts`, or "unknown server". `models` are the
    names it lists, `context_tokens` what one request may hold where it tells, `version` its own words ("" if untold).
    `problem` says why it cannot be used as it is (it wants a key, it is still loading), None where it can.
    """

    url: str
    port: int
    kind: str
    models: tuple[str, ...] = ()
    context_tokens: int | None = None
    version: str = ""
    problem: str | None = None


def find_running(ports: Sequence[int] = DEFAULT_PORTS, timeout_s: float = 0.5) -> tuple[RunningServer, ...]:
    """The model servers on this machine's `ports`, in that order; one question takes `timeout_s` seconds at most.

    No key is sent, whatever the environment holds. What answers as something else is left out. Raises BadInputError
    for a port or a time that cannot be.
    """
    chosen = _check_ports(ports)
    if not 0.01 <= timeout_s <= 30:
        raise BadInputError(f"timeout_s is 0.01 to 30 seconds, got {timeout_s!r}")
    found: dict[int, RunningServer] = {}

    def look(port: int) -> None:
        server = find_server(port, timeout_s)
        if server is not None:
            found[port] = server

    threads = [threading.Thread(target=look, args=(port,), daemon=True) for port in chosen]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + PATIENCE * timeout_s
    for thread in threads:  # one that a server keeps waiting beyond that is left behind
        thread.join(max(0.0, deadline - time.monotonic()))
    ready = dict(found)
    return tuple(ready[port] for port in chosen if port in ready)


def find_server(port: int, timeout_s: float) -> RunningServer | None:
    """The model server on one port of this machine, or None."""
    if not listens(port, timeout_s):
        return None
    url = f"http://{HOST}:{port}"
    try:
        with EndpointClient(EndpointPlan(url=url, timeout_s=timeout_s, n_retries=0), key=Secret()) as client:
            return _describe(url, port, client.probe())
    except EndpointError as error:
        return RunningServer(url, port, UNKNOWN, problem=_clean(str(error))) if error.kind in TELLING else None


def listens(port: int, timeout_s: float) -> bool:
    """Whether anything accepts a connection on this port of this machine."""
    try:
        with socket.create_connection((HOST, port), timeout_s):
            return True
    except OSError:
        return False


def _describe(url: str, port: int, facts: EndpointFacts) -> RunningServer | None:
    """The facts in short; None for a listing without models by something that is no server we know."""
    models = tuple(name for name in facts.models if 0 < len(name) <= MAX_TEXT and name.isprintable())[:MAX_MODELS]
    if facts.kind == "unknown" and not models:
        return None
    kind = UNKNOWN if facts.kind == "unknown" else facts.kind
    return RunningServer(url, port, kind, models, facts.context_tokens, _clean(facts.engine_version))


def _clean(text: str) -> str:
    """A server's words on one line, without what cannot be shown."""
    return "".join(c for c in " ".join(text.split()) if c.isprintable())[: 2 * MAX_TEXT]


def _check_ports(ports: Sequence[int]) -> tuple[int, ...]:
    chosen = tuple(dict.fromkeys(ports))
    bad = [port for port in chosen if isinstance(port, bool) or not isinstance(port, int) or not 0 < port < 65_536]
    if bad or len(chosen) > MAX_PORTS:
        raise BadInputError(f"wanted at most {MAX_PORTS} ports from 1 to 65535, got {(bad or chosen)[:8]!r}")
    return chosen
