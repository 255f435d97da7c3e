"""One JSON question to a model server: capped in size and time, tried again where that can help, explained where not.

Redirects are not followed, the environment's proxies are left out for this machine itself, and neither the key nor an
exception that holds the request leaves this file.
"""

from __future__ import annotations

import email.utils
import json
import logging
import random
import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from evals.endpoint_address import Secret, check_endpoint_url, is_loopback
from sizing.errors import EndpointError
from sizing.forbidden_addresses import is_forbidden, read_address

MAX_BODY_BYTES = 32 * 1024**2
"""The largest answer that is read: log-likelihoods of a long prompt take a few MiB."""

MAX_PAUSE_S = 60.0
"""The longest pause between two tries, whatever a server asks for."""

FIRST_PAUSE_S = 0.5
LONGEST_BACKOFF_S = 20.0
CONNECT_TIMEOUT_S = 10.0
MAX_QUOTED_CHARACTERS = 300

HEADER_LOGGERS = ("httpcore2", "httpcore2.http11", "httpcore2.connection", "httpcore2.proxy")
"""Loggers of the transport that print a response's headers at DEBUG, in which a server may repeat the key."""

RETRIED_STATUS = frozenset({408, 409, 425, 429})
"""Statuses below 500 that another try may mend; of the others all but 501 and 505."""

_UNKNOWN_MODEL = re.compile(r"model\b.{0,200}(not found|not exist|unknown|not available|no such)", re.I | re.S)
_NO_MODEL = re.compile(r"(no such|unknown|invalid) model", re.I)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server sent: its status, headers (lower-case names) and the JSON in its body, parsed."""

    status: int
    headers: Mapping[str, str]
    body: Any
    seconds: float


@dataclass(frozen=True, slots=True)
class Failure:
    """Why one try gave nothing: `kind` as in `EndpointError`, and after how many seconds to try again, if told."""

    kind: str
    problem: str
    status: int | None = None
    is_worth_retrying: bool = False
    pause_s: float | None = None


class HttpDoor:
    """The connections to one server, shared by threads. `wait`, `chance` and `now` stand in for clocks in tests."""

    def __init__(
        self,
        url: str,
        key: Secret,
        *,
        n_connections: int = 4,
        wait: Callable[[float], object] | None = None,
        chance: Callable[[], float] = random.random,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.api_url = check_endpoint_url(url)
        self._key = key
        self._n_connections = n_connections
        self._stopped = threading.Event()
        self._wait = wait or self._stopped.wait
        self._chance = chance
        self._now = now
        self._lock = threading.Lock()
        self._opened: Any = None  # an httpx2.Client; the library is loaded when the first request is made

    def ask(
        self,
        method: str,
        path: str,
        payload: Mapping[str, Any] | None = None,
        *,
        timeout_s: float,
        n_retries: int = 0,
    ) -> Answer:
        """The server's JSON to one question. EndpointError with the last reason when all tries failed.

        `path` follows the API's base ("/models"), or is a whole address. A try that timed out is repeated once only,
        for each costs `timeout_s`.
        """
        url = path if "://" in path else self.api_url + path
        n_tries, n_timeouts = 0, 0
        while True:
            if self._stopped.is_set():
                raise EndpointError("stopped", "the run was stopped before this request", n_tries=n_tries)
            outcome = self._ask_once(method, url, payload, timeout_s)
            if isinstance(outcome, Answer):
                return outcome
            n_tries += 1
            n_timeouts += outcome.kind == "timeout"
            if not outcome.is_worth_retrying or n_tries > n_retries or n_timeouts > 1:
                tries = f" (gave up after {n_tries} tries)" if n_tries > 1 else ""
                raise EndpointError(outcome.kind, self._key.redact(outcome.problem) + tries, outcome.status, n_tries)
            self._wait(self._find_pause_s(n_tries, outcome.pause_s))

    def stop(self) -> None:
        """Let no further request begin and end every pause; what is on its way runs out by itself."""
        self._stopped.set()

    def close(self) -> None:
        """Stop, and close the connections."""
        self.stop()
        with self._lock:
            if self._opened is not None:
                self._opened.close()

    def redact(self, text: str) -> str:
        """`text` with the key hidden."""
        return self._key.redact(text)

    def redact_answer(self, text: str) -> str:
        """A model's text with the key hidden."""
        return self._key.redact_answer(text)

    def _find_pause_s(self, n_tries: int, told_s: float | None) -> float:
        """Seconds before the next try: what the server asked for, else twice as long each time, less up to half."""
        if told_s is not None:
            return min(told_s, MAX_PAUSE_S)
        return float(min(FIRST_PAUSE_S * 2 ** (n_tries - 1), LONGEST_BACKOFF_S) * (1 - self._chance() / 2))

    def _open(self) -> Any:
        import httpx2

        with self._lock:
            if self._opened is None:
                for name in HEADER_LOGGERS:
                    logging.getLogger(name).setLevel(logging.INFO)
                self._opened = httpx2.Client(
                    follow_redirects=False,
                    trust_env=not is_loopback(self.api_url),
                    limits=httpx2.Limits(max_connections=self._n_connections),
                    headers={"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "weighbridge"},
                )
            return self._opened

    def _ask_once(self, method: str, url: str, payload: Mapping[str, Any] | None, timeout_s: float) -> Answer | Failure:
        import httpx2

        headers = {"Authorization": f"Bearer {self._key.reveal()}"} if self._key else {}
        content = None
        if payload is not None:
            content = json.dumps(payload).encode()
            headers["Content-Type"] = "application/json"
        timeout = httpx2.Timeout(timeout_s, connect=min(timeout_s, CONNECT_TIMEOUT_S))
        started = time.monotonic()
        try:
            with self._open().stream(method, url, content=content, headers=headers, timeout=timeout) as response:
                if failure := find_peer_failure(response):
                    return failure
                body = read_body(response, started + timeout_s)
        except Exception as error:  # every way a connection fails, told apart by explain_error
            return explain_error(error, url, timeout_s)
        if isinstance(body, Failure):
            return body
        return self._read_answer(response, body, time.monotonic() - started)

    def _read_answer(self, response: Any, body: bytes, seconds: float) -> Answer | Failure:
        status, url = response.status_code, str(response.url)
        headers = {name.lower(): value for name, value in response.headers.items()}
        text = body.decode("utf-8", errors="replace")
        if 300 <= status < 400:
            target = self._quote(headers.get("location", "nowhere"))
            return Failure(
                "rejected", f"{url} redirects to {target}; redirects are not followed, give the final address"
            )
        parsed = parse_json(text)
        if status != 200:
            said = self._quote(find_error_text(parsed) or text)
            pause_s = find_retry_after_s(headers.get("retry-after"), self._now())
            return explain_status(status, url, said, bool(self._key), pause_s)
        if parsed is None:
            return explain_no_json(url, self._quote(text), headers.get("content-type", ""))
        if isinstance(parsed, dict) and parsed.get("error") and "choices" not in parsed:
            return Failure(
                "server", f"{url} answered with an error: {self._quote(find_error_text(parsed))}", status, True
            )
        return Answer(status, headers, parsed, seconds)

    def _quote(self, text: str) -> str:
        """A server's words fit for one line of ours. The key goes before the cut, which might leave half of it."""
        line = " ".join(self._key.redact(text).split())
        return line if len(line) <= MAX_QUOTED_CHARACTERS else line[:MAX_QUOTED_CHARACTERS] + "..."


def find_peer_failure(response: Any) -> Failure | None:
    """A Failure where the connection ended at a forbidden address after all: a name may resolve anew each time."""
    stream = response.extensions.get("network_stream")
    try:
        peer = stream.get_extra_info("server_addr") if stream is not None else None
    except OSError:  # cut already, so that the system no longer says with whom it was
        return Failure("lost", "the connection broke before the answer was whole", None, True)
    address = read_address(str(peer[0])) if peer else None  # None: a socket of the system's own, with a path
    if address is not None and is_forbidden(address):
        return Failure(
            "rejected", f"the server's name led to {address}, where no model server can be; nothing was read"
        )
    return None


def read_body(response: Any, deadline: float) -> bytes | Failure:
    """The bytes of an answer: a Failure above `MAX_BODY_BYTES`, after `deadline` (monotonic seconds), or compressed."""
    if response.headers.get("content-encoding", "identity") != "identity":
        return Failure(
            "shape", "the server compressed its answer though it was asked not to; switch that off in its proxy"
        )
    parts, n_bytes = [], 0
    for part in response.iter_raw():
        parts.append(part)
        n_bytes += len(part)
        if n_bytes > MAX_BODY_BYTES:
            return Failure(
                "size", f"the server's answer is larger than {MAX_BODY_BYTES // 1024**2} MiB; nothing was kept"
            )
        if time.monotonic() > deadline:
            return Failure("timeout", "the server's answer had not ended when the time was up", is_worth_retrying=True)
    return b"".join(parts)


def parse_json(text: str) -> Any:
    """The JSON in `text`, None where there is none (or it nests deeper than Python reads)."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def find_error_text(body: Any) -> str:
    """A server's own words about what went wrong, in the forms OpenAI, llama-server, Ollama, FastAPI and TGI use."""
    if not isinstance(body, dict):
        return ""
    for name in ("error", "detail", "message"):
        said = body.get(name)
        if isinstance(said, dict):
            said = said.get("message") or json.dumps(said)
        if said:
            return said if isinstance(said, str) else json.dumps(said)
    return ""


def find_retry_after_s(header: str | None, now: datetime) -> float | None:
    """Seconds to wait by a Retry-After header, seconds or a date (RFC 9110, 10.2.3); None without a sound one."""
    if header is None:
        return None
    if re.fullmatch(r"\d{1,9}(\.\d{1,9})?", header.strip()):
        return min(float(header), MAX_PAUSE_S)
    try:
        then = email.utils.parsedate_to_datetime(header)
    except ValueError:
        return None
    then = then if then.tzinfo else then.replace(tzinfo=UTC)
    return min(max((then - now).total_seconds(), 0.0), MAX_PAUSE_S)


def explain_status(status: int, url: str, said: str, has_key: bool, pause_s: float | None) -> Failure:
    """What an HTTP status other than 200 means for the person who asked. `said` is the server's own text."""
    quoted = f": {said}" if said else ""
    if status in (401, 403):
        advice = "check the key" if has_key else "it wants a key; set WEIGHBRIDGE_API_KEY or give one on the page"
        return Failure("key", f"the server refused access ({status}){quoted}; {advice}", status)
    if status in (400, 404, 422) and (_UNKNOWN_MODEL.search(said) or _NO_MODEL.search(said)):
        return Failure("model", f"the server does not know the model ({status}){quoted}", status)
    if status in (404, 405):
        advice = "the API's address usually ends in /v1 (http://host:port/v1)"
        return Failure("path", f"nothing answers at {url} ({status}){quoted}; {advice}", status)
    if status in RETRIED_STATUS:
        return Failure("busy", f"the server is busy ({status}){quoted}; lower the concurrency", status, True, pause_s)
    if status >= 500:
        worth = status not in (501, 505)
        return Failure("server", f"the server failed ({status}){quoted}; see its own log", status, worth, pause_s)
    return Failure("rejected", f"the server rejected the request ({status}){quoted}", status)


def explain_no_json(url: str, said: str, content_type: str) -> Failure:
    """What a body without JSON means: mostly that the address is that of a web page."""
    if "html" in content_type or said.startswith("<"):
        return Failure(
            "not_json", f"{url} answered with a web page, not JSON; give the API's address, it ends in /v1", 200
        )
    return Failure("not_json", f"{url} answered with something that is no JSON: {said!r}; is it a model server?", 200)


def explain_error(error: Exception, url: str, timeout_s: float) -> Failure:
    """What a failed connection means. Errors that are no fault of the connection are raised again."""
    import httpx2

    said = " ".join(str(error).split())[:MAX_QUOTED_CHARACTERS]
    if isinstance(error, httpx2.ConnectTimeout):
        return Failure("timeout", f"no connection to {url} in time; is the host right and its port open?", None, True)
    if isinstance(error, httpx2.TimeoutException):
        problem = (
            f"no answer within {timeout_s:g} s; the server is slow or stuck: raise the time or lower the concurrency"
        )
        return Failure("timeout", problem, None, True)
    if isinstance(error, httpx2.ConnectError):
        if "certificate" in said.lower():
            return Failure("refused", f"the server's certificate is not trusted ({said})", None, False)
        return Failure(
            "refused", f"nobody answers at {url} ({said}); is the server started, the port right?", None, True
        )
    if isinstance(error, httpx2.TransportError):
        return Failure("lost", f"the connection broke before the answer was whole ({said})", None, True)
    if isinstance(error, httpx2.HTTPError | httpx2.InvalidURL | httpx2.StreamError):
        return Failure("rejected", f"the request could not be sent ({said})", None, False)
    if isinstance(error, RuntimeError) and "closed" in said:
        return Failure("stopped", "the run was stopped before this request", None, False)
    raise error
