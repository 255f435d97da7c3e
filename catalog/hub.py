"""The door to the Hugging Face Hub: search, what a repository is, and the first bytes of its files.

Everything read is data: no code of a repository is ever run. Every answer has a cap, a time and a number of tries, and
every way it can go wrong ends in a `HubError` of one line. The token goes to the Hub's own origin only, never along a
redirect to another, and stands in no message, log or traceback.

huggingface_hub is asked for the token it keeps. Its own calls are not used for the questions: they cap no body and read
no part of a file. Its transport is.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

from catalog.gguf_header import DEFAULT_LIMITS, GgufHeader, Limits, NeedMoreBytes, parse_header
from catalog.header_fetch import HeaderFetch
from catalog.hub_answers import HubHit, HubQuery, read_hits, read_repository
from catalog.hub_http import (
    FIRST_PAUSE_S,
    MAX_ERROR_BYTES,
    MAX_PAUSE_S,
    MAX_QUOTED_CHARACTERS,
    MAX_REDIRECTS,
    N_TRIES,
    Failure,
    FileStart,
    Span,
    check_span,
    explain_status,
    find_next_query,
    find_peer_failure,
    find_redirect,
    find_span,
    parse_etag,
    parse_json,
    read_capped,
    read_exactly,
    read_until,
    show_url,
    take_bytes,
)
from catalog.hub_names import check_path, check_repo_id, check_revision, quote_name
from catalog.hub_secret import Secret, check_endpoint, find_endpoint, find_origin, is_offline, is_this_machine
from catalog.imported import HubFile, HubRepository
from catalog.safetensors_header import LENGTH_BYTES, parse_index, parse_shapes
from catalog.safetensors_header import parse_length as parse_header_length
from sizing.errors import HubError
from sizing.units import KIB, MIB

MAX_PAGE_BYTES = 16 * MIB
MAX_SEARCH_BYTES = 64 * MIB
MAX_PAGES = 20
MAX_INFO_BYTES = 32 * MIB
MAX_CONFIG_BYTES = MIB
MAX_INDEX_BYTES = 32 * MIB
MAX_SHARDS = 512
FIRST_PART_BYTES = 256 * KIB
"""What is read of a file first: it holds the header of a vocabulary of a few thousand texts."""

CONNECT_TIMEOUT_S = 10.0
CHUNK_BYTES = 64 * KIB

TALKING_LOGGERS = {
    "httpx2": logging.WARNING,
    **dict.fromkeys(("httpcore2", "httpcore2.http11", "httpcore2.connection", "httpcore2.proxy"), logging.INFO),
}
"""Loggers of the transport below these levels print addresses, which may be signed, and an answer's headers, in which a
server may repeat the token."""

Stopped = Callable[[], bool]
T = TypeVar("T")


@dataclass(slots=True)
class Reply:
    """An open answer. `headers` have small names; `linked` are those of the Hub itself, before any redirect away.

    `chunks` are the body's bytes as sent; a broken connection raises HubError. `close` must be called.
    """

    status: int
    url: str
    headers: Mapping[str, str]
    linked: Mapping[str, str]
    chunks: Iterator[bytes]
    close: Callable[[], None]


@dataclass(slots=True)
class FileStream:
    """A file of the Hub being read from byte `start` on; `etag` is its hash as the Hub names it, `total` its length."""

    start: int
    total: int | None
    etag: str
    chunks: Iterator[bytes]


class Hub:
    """The Hugging Face Hub, or one that speaks like it. Threads may share it.

    `endpoint` None means HF_ENDPOINT or the public Hub, `token` None the one of HF_TOKEN or of `hf auth login`; ""
    sends none. `timeout_s` bounds each silence, and four times it a whole answer that is no file. `wait` stands in for
    the clock's pauses in tests. Raises HubError ("name", "token") for an address or token that cannot be one.
    """

    def __init__(
        self,
        endpoint: str | None = None,
        token: str | None = None,
        *,
        timeout_s: float = 20.0,
        wait: Callable[[float], object] = time.sleep,
    ) -> None:
        self.endpoint = find_endpoint() if endpoint is None else check_endpoint(endpoint)
        self.token = find_token() if token is None else Secret(token)
        self._timeout_s = timeout_s
        self._wait = wait
        self._lock = threading.Lock()
        self._client: Any = None

    def __repr__(self) -> str:
        return f"Hub({show_url(self.endpoint)!r})"

    def close(self) -> None:
        """Close the connections; the next question opens new ones."""
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            client.close()

    def search(self, query: HubQuery, stopped: Stopped = lambda: False) -> tuple[HubHit, ...]:
        """The models that match, in the query's order, at most its limit.

        At most `MAX_PAGES` pages are looked through, so that a rare size among many models may give fewer than there
        are. Raises HubError.
        """
        hits: dict[str, HubHit] = {}
        params: str | None = urlencode(query.build_params())
        n_bytes = 0
        asked: set[str] = set()
        while params and params not in asked and len(asked) < MAX_PAGES and n_bytes < MAX_SEARCH_BYTES:
            _raise_if(stopped, "the search")
            asked.add(params)
            body, reply = self._read(f"{self.endpoint}/api/models?{params}", "the list of models", MAX_PAGE_BYTES)
            n_bytes += len(body)
            page = read_hits(parse_json(body, reply.headers.get("content-type", ""), "the list of models"))
            for hit in filter(query.matches, page):
                hits.setdefault(hit.repo_id, hit)
                if len(hits) == query.limit:
                    return tuple(hits.values())
            params = find_next_query(reply.headers.get("link"))
        return tuple(hits.values())

    def fetch_repository(self, repo_id: str, revision: str = "main") -> HubRepository:
        """What a repository is at a revision: its card, files with length and hash, and its config.json as data.

        Raises HubError: "missing" and "gated" among its kinds, and "not_json" where config.json is none.
        """
        check_repo_id(repo_id)
        check_revision(revision)
        what = f"the repository {repo_id} at {revision}"
        url = f"{self.endpoint}/api/models/{repo_id}/revision/{quote(revision, safe='')}"
        info = self._fetch_json(f"{url}?blobs=true", what, MAX_INFO_BYTES)
        found = read_repository(info, repo_id)
        if found.n_params_stated is None and any(file.path.endswith(".safetensors") for file in found.files):
            url = f"{self.endpoint}/api/models/{repo_id}/revision/{found.revision}"
            more = self._fetch_json(f"{url}?expand=safetensors", what, MAX_INFO_BYTES)
            info = {**info, **({"safetensors": more.get("safetensors")} if isinstance(more, dict) else {})}
        return read_repository(info, repo_id, self._fetch_config(found))

    def fetch_json_file(self, repository: HubRepository, path: str, most_bytes: int) -> Any:
        """The JSON in a file of a repository. Raises HubError: "size" above `most_bytes`, "not_json"."""
        file = find_file(repository, path)
        if file.size_bytes is not None and file.size_bytes > most_bytes:
            raise HubError(
                "size", f"{path} of {repository.repo_id} has {file.size_bytes:,} bytes; {most_bytes:,} may be"
            )
        url = self._file_url(repository.repo_id, repository.revision, path)
        return self._fetch_json(url, f"{path} of {repository.repo_id}", most_bytes)

    def open_headers(self, repository: HubRepository, limits: Limits = DEFAULT_LIMITS) -> HeaderFetch:
        """Reads the headers of several files of one model, the vocabulary they share once."""
        return HeaderFetch(
            lambda path, start, stop: self.read_part(repository, path, start, stop),
            lambda path: self._fetch_header(repository, path, limits),
            limits,
        )

    def read_part(self, repository: HubRepository, path: str, start: int, stop: int) -> bytes:
        """Bytes start..stop-1 of a file. Raises HubError, "lost" where there are fewer."""
        what = f"{path} of {repository.repo_id}"
        listed = find_file(repository, path).size_bytes

        def read() -> bytes:
            with self.open_file(repository.repo_id, repository.revision, path, start, stop) as stream:
                check_span(Span(stream.start, stop, stream.total), start, listed, what)
                skipped = start - stream.start
                return read_exactly(stream.chunks, skipped + stop - start, what)[skipped:]

        return self._retry(read)

    def _fetch_header(self, repository: HubRepository, path: str, limits: Limits) -> tuple[GgufHeader, bytes]:
        total = find_file(repository, path).size_bytes
        wanted, start = FIRST_PART_BYTES, FileStart(b"", total, "")
        while True:
            wanted = min(wanted, limits.header_bytes, start.total or limits.header_bytes)
            start = self._fetch_start(repository, path, wanted, start)
            answer = parse_header(start.data, start.total, limits)
            if isinstance(answer, GgufHeader):
                return answer, start.data
            if len(start.data) < wanted or wanted == limits.header_bytes:
                raise HubError("size", f"{path} of {repository.repo_id} ends inside its header")
            wanted = max(answer.n_bytes, 2 * len(start.data)) if isinstance(answer, NeedMoreBytes) else wanted

    def fetch_param_counts(self, repository: HubRepository) -> tuple[tuple[str, int], ...]:
        """Values in all tensors of a repository's safetensors files by type, read off their headers; () without any.

        Counted as stored: types that pack several values into one byte give fewer than the model has. Raises HubError.
        """
        counts: dict[str, int] = {}
        seen: set[str] = set()
        for path in self._list_shards(repository):
            what = f"{path} of {repository.repo_id}"
            start = self._fetch_start(repository, path, FIRST_PART_BYTES, FileStart(b"", None, ""))
            end = parse_header_length(start.data[:LENGTH_BYTES], what)
            if start.total is not None and end > start.total:
                raise HubError("size", f"{what} has {start.total:,} bytes, its header alone would take {end:,}")
            if end > len(start.data):
                start = self._fetch_start(repository, path, end, start)
            for shape in parse_shapes(start.data, what, start.total):
                if shape.name not in seen:
                    seen.add(shape.name)
                    counts[shape.type_name] = counts.get(shape.type_name, 0) + shape.n_values
        return tuple(sorted(counts.items()))

    @contextlib.contextmanager
    def open_file(self, repo_id: str, revision: str, path: str, start: int = 0, end: int = 0) -> Iterator[FileStream]:
        """A file from byte `start` on, up to `end` where that is above 0. Raises HubError, also while it is read.

        A server that sends no parts is read from byte 0: see `FileStream.start`.
        """
        check_repo_id(repo_id)
        check_revision(revision)
        check_path(path)
        what = f"{path} of {repo_id}"
        wants_part = start > 0 or end > 0
        extra = {"Range": f"bytes={start}-{end - 1 if end else ''}"} if wants_part else {}
        reply = self._open(self._file_url(repo_id, revision, path), what, extra)
        try:
            span = find_span(reply.status, reply.headers, what)
            if span.start not in (0, start):
                raise HubError("range", f"the server sent another part of {what} than was asked for")
            etag = parse_etag(reply.linked.get("x-linked-etag") or reply.linked.get("etag"))
            yield FileStream(span.start, span.total, etag, reply.chunks)
        finally:
            reply.close()

    def _fetch_config(self, repository: HubRepository) -> Mapping[str, Any] | None:
        if not any(file.path == "config.json" for file in repository.files):
            return None
        told = self.fetch_json_file(repository, "config.json", MAX_CONFIG_BYTES)
        if not isinstance(told, dict):
            raise HubError("shape", f"config.json of {repository.repo_id} is no table of names and values")
        return told

    def _list_shards(self, repository: HubRepository) -> list[str]:
        """The safetensors files that make up the model: by the index where there is one."""
        index = "model.safetensors.index.json"
        paths = [file.path for file in repository.files]
        if index in paths:
            named = parse_index(self.fetch_json_file(repository, index, MAX_INDEX_BYTES), index)
            if absent := [path for path in named if path not in paths]:
                raise HubError("missing", f"{index} of {repository.repo_id} names {quote_name(absent[0])}, not there")
        else:
            at_root = [path for path in paths if path.endswith(".safetensors") and "/" not in path]
            named = ("model.safetensors",) if "model.safetensors" in at_root else tuple(at_root)
            named = tuple(path for path in named if not path.startswith(("consolidated", "adapter_")))
        if len(named) > MAX_SHARDS:
            raise HubError("size", f"{repository.repo_id} is in {len(named):,} files; {MAX_SHARDS} are read at most")
        return list(named)

    def _file_url(self, repo_id: str, revision: str, path: str) -> str:
        return f"{self.endpoint}/{repo_id}/resolve/{quote(revision, safe='')}/{quote(check_path(path))}"

    def _fetch_start(self, repository: HubRepository, path: str, n_bytes: int, known: FileStart) -> FileStart:
        """The first `n_bytes` of a file, `known` being what was fetched before: only the rest is asked for."""
        what = f"{path} of {repository.repo_id}"
        listed = find_file(repository, path).size_bytes
        place = len(known.data)
        extra = {"Range": f"bytes={place}-{n_bytes - 1}", **({"If-Range": known.etag} if known.etag else {})}
        url = self._file_url(repository.repo_id, repository.revision, path)

        def read() -> FileStart:
            reply = self._open(url, what, extra)
            try:
                span = find_span(reply.status, reply.headers, what)
                check_span(span, place, listed, what)
                etag = reply.headers.get("etag", "")
                if span.start and known.etag and etag and etag != known.etag:
                    raise HubError("range", f"{what} became another file while it was read; try again")
                data = known.data[: span.start] + read_exactly(reply.chunks, min(n_bytes, span.end) - span.start, what)
                return FileStart(data, listed if span.total is None else span.total, "" if etag[:2] == "W/" else etag)
            finally:
                reply.close()

        return self._retry(read)

    def _fetch_json(self, url: str, what: str, most_bytes: int) -> Any:
        body, reply = self._read(url, what, most_bytes)
        return parse_json(body, reply.headers.get("content-type", ""), what)

    def _read(self, url: str, what: str, most_bytes: int) -> tuple[bytes, Reply]:
        """A whole answer and its headers, after all tries."""

        def read() -> tuple[bytes, Reply]:
            reply = self._open(url, what, {})
            try:
                chunks = read_until(reply.chunks, time.monotonic() + 4 * self._timeout_s, what)
                return self.token.redact_bytes(read_capped(chunks, most_bytes, what)), reply
            finally:
                reply.close()

        return self._retry(read)

    def _retry(self, read: Callable[[], T]) -> T:
        """What `read` gives; once more where the connection broke within the body, which `_open` cannot mend."""
        try:
            return read()
        except HubError as error:
            if error.kind not in ("lost", "timeout"):
                raise
        self._wait(FIRST_PAUSE_S)
        return read()

    def _open(self, url: str, what: str, extra: Mapping[str, str]) -> Reply:
        """An open answer of status 200 or 206, after all tries. Raises HubError."""
        n_tries = n_slow = 0
        while True:
            if is_offline():
                raise HubError("offline", "HF_HUB_OFFLINE is set: nothing is asked of the Hub; unset it to go online")
            outcome = self._open_once(url, what, extra)
            if isinstance(outcome, Reply):
                return outcome
            n_tries += 1
            n_slow += outcome.kind in ("timeout", "offline")
            pause_s = FIRST_PAUSE_S * 2 ** (n_tries - 1) if outcome.pause_s is None else outcome.pause_s
            if not outcome.is_worth_retrying or n_tries >= N_TRIES or n_slow > 1 or pause_s > MAX_PAUSE_S:
                raise HubError(outcome.kind, self.token.redact(outcome.problem), outcome.status, outcome.pause_s)
            self._wait(pause_s)

    def _open_once(self, url: str, what: str, extra: Mapping[str, str]) -> Reply | Failure:
        """One try, along its redirects. No exception of the transport leaves here: it would hold the request."""
        linked: dict[str, str] = {}
        for _ in range(MAX_REDIRECTS + 1):
            stack = contextlib.ExitStack()
            response = failure = None
            try:
                response = stack.enter_context(self._send(url, extra))
            except Exception as error:  # every way a connection fails, told apart by explain_error
                failure = explain_error(error, what)
            if failure is not None or response is None:
                return failure or Failure("lost", f"no answer about {what}")
            if (led_astray := find_peer_failure(response)) is not None:
                stack.close()
                return led_astray
            headers = {name.lower(): value for name, value in response.headers.items()}
            if find_origin(url) == find_origin(self.endpoint):
                linked = {**linked, **headers}
            if response.status_code in (301, 302, 303, 307, 308):
                stack.close()
                target = find_redirect(url, headers.get("location"), self.endpoint)
                if isinstance(target, Failure):
                    return target
                url = target
                continue
            chunks = _read_chunks(response, what, self.token)
            reply = Reply(response.status_code, url, headers, linked, chunks, stack.close)
            return self._judge(reply, what)
        return Failure("rejected", f"the Hub sent from address to address for {what}, more than {MAX_REDIRECTS} times")

    def _judge(self, reply: Reply, what: str) -> Reply | Failure:
        """The reply itself where it holds content that can be read, else what it means; then it is closed."""
        if reply.status in (200, 206):
            if reply.headers.get("content-encoding", "identity").lower() == "identity":
                return reply
            reply.close()
            return Failure("shape", f"the server compressed {what} though it was asked not to; a proxy may do that")
        body = b""
        try:
            with contextlib.suppress(HubError):
                body = b"".join(take_bytes(reply.chunks, MAX_ERROR_BYTES))
        finally:
            reply.close()
        is_own = find_origin(reply.url) == find_origin(self.endpoint)
        headers = {name: self.token.redact(value) for name, value in reply.headers.items()}
        body = self.token.redact(body.decode("utf-8", errors="replace")).encode()
        return explain_status(reply.status, what, headers, body, bool(self.token) and is_own, datetime.now(UTC))

    def _send(self, url: str, extra: Mapping[str, str]) -> Any:
        """One request; the token goes with it only to the Hub's own origin."""
        import httpx2

        headers = dict(extra)
        if self.token and find_origin(url) == find_origin(self.endpoint):
            headers["Authorization"] = f"Bearer {self.token.reveal()}"
        timeout = httpx2.Timeout(self._timeout_s, connect=min(self._timeout_s, CONNECT_TIMEOUT_S))
        return self._open_client().stream("GET", url, headers=headers, timeout=timeout)

    def _open_client(self) -> Any:
        import httpx2

        with self._lock:
            if self._client is None:
                for name, level in TALKING_LOGGERS.items():
                    logging.getLogger(name).setLevel(level)
                self._client = httpx2.Client(
                    verify=_load_certificates(),
                    follow_redirects=False,
                    trust_env=not is_this_machine(find_origin(self.endpoint)[1]),
                    headers={"Accept": "*/*", "Accept-Encoding": "identity", "User-Agent": "weighbridge"},
                )
            return self._client


@functools.cache
def _load_certificates() -> Any:
    """What tells trusted servers, loaded once: it takes longer than a question."""
    import httpx2

    return httpx2.create_ssl_context()


def find_token() -> Secret:
    """The token of HF_TOKEN, else the one that `hf auth login` left, else none. Raises HubError ("token")."""
    if value := os.environ.get("HF_TOKEN", "").strip():
        return Secret(value)
    if is_offline() or os.environ.get("HF_HUB_DISABLE_IMPLICIT_TOKEN", "").upper() in ("1", "ON", "YES", "TRUE"):
        return Secret()
    try:
        from huggingface_hub import get_token

        kept = get_token() or ""
    except Exception:  # a file that cannot be read, a renewal that failed: the Hub will say what it misses
        kept = ""
    return Secret(kept)


def find_file(repository: HubRepository, path: str) -> HubFile:
    """A file of a repository by its path. Raises HubError ("missing", "name")."""
    check_path(path)
    for file in repository.files:
        if file.path == path:
            return file
    raise HubError("missing", f"{repository.repo_id} has no file {quote_name(path)}")


def explain_error(error: Exception, what: str) -> Failure:
    """What a failed connection means. Errors that are no fault of the connection are raised again."""
    import httpx2

    said = " ".join(str(error).split())[:MAX_QUOTED_CHARACTERS]
    if isinstance(error, httpx2.TimeoutException):
        return Failure("timeout", f"no answer in time about {what}; the Hub or the line is slow, try again", None, True)
    if isinstance(error, httpx2.ConnectError | httpx2.ProxyError):
        if "certificate" in said.lower():
            return Failure("offline", f"the Hub's certificate is not trusted ({said}); a proxy may stand between")
        return Failure("offline", f"nobody answers for {what} ({said}); is this machine online?", None, True)
    if isinstance(error, httpx2.TransportError):
        return Failure("lost", f"the connection broke before {what} was whole ({said}); try again", None, True)
    if isinstance(error, httpx2.HTTPError | httpx2.InvalidURL | httpx2.StreamError | ValueError):
        return Failure("rejected", f"the question for {what} could not be sent")
    if isinstance(error, RuntimeError) and "closed" in said:
        return Failure("stopped", "the connection was closed from this side")
    raise error


def _read_chunks(response: Any, what: str, token: Secret) -> Iterator[bytes]:
    """The body as sent. A broken connection raises HubError, outside the handler, so that no request hangs on it."""
    pieces = response.iter_raw(CHUNK_BYTES)
    while True:
        failure = None
        try:
            chunk = next(pieces, None)
        except Exception as error:  # as above
            failure = explain_error(error, what)
        if failure is not None:
            raise HubError(failure.kind, token.redact(failure.problem))
        if chunk is None:
            return
        yield chunk


def _raise_if(stopped: Stopped, what: str) -> None:
    if stopped():
        raise HubError("stopped", f"{what} was stopped")
