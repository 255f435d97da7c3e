"""What an HTTP answer of the Hub means: its status, its redirects, its ranges, its pages. Nothing is sent here."""

from __future__ import annotations

import email.utils
import json
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urljoin, urlsplit

from catalog.hub_secret import find_addresses, find_origin, is_local_host
from sizing.errors import HubError
from sizing.forbidden_addresses import find_refusal, is_forbidden, read_address
from sizing.units import MIB

MAX_PAUSE_S = 60.0
"""The longest pause between two tries, whatever the Hub asks for."""

FIRST_PAUSE_S = 0.5
N_TRIES = 4
MAX_REDIRECTS = 5
MAX_QUOTED_CHARACTERS = 200
MAX_ERROR_BYTES = 64 * 1024

_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)")
_NEXT_LINK = re.compile(r"<([^<>]{1,4000})>\s*;\s*rel=\"?next\"?")
_NOT_RETRIED_5XX = frozenset({501, 505})


@dataclass(frozen=True, slots=True)
class Failure:
    """Why one try gave nothing: `kind` as in `HubError`, and after how many seconds to try again, if told."""

    kind: str
    problem: str
    status: int | None = None
    is_worth_retrying: bool = False
    pause_s: float | None = None


@dataclass(frozen=True, slots=True)
class Span:
    """The part of a file that an answer holds: first byte, byte after the last, the file's length (None: not told)."""

    start: int
    end: int
    total: int | None


@dataclass(frozen=True, slots=True)
class FileStart:
    """The first bytes of a file of `total` bytes (None where nobody says), and the ETag of the server that sent it."""

    data: bytes
    total: int | None
    etag: str


def show_url(url: str) -> str:
    """An address for a message: without its query, which may be signed, and without a password."""
    parts = urlsplit(url)
    return ascii(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"[:300])[1:-1]


def find_redirect(url: str, location: str | None, endpoint: str) -> str | Failure:
    """Where a redirect leads, or a Failure for one that must not be followed.

    Refused are other schemes than http and https, https that falls to http, passwords, a cloud's metadata service, and
    a Hub elsewhere that points to this machine or its neighbours.
    """
    try:
        target = urljoin(url, location or "")
    except ValueError:
        target = ""
    scheme, host, _ = find_origin(target)
    problem = ""
    if scheme and scheme not in ("http", "https"):
        problem = f"it leads to the scheme {scheme[:20]!a}"
    elif not location or not host or not target.isprintable():
        problem = "it names no address"
    elif scheme == "http" and find_origin(url)[0] == "https":
        problem = "it leads from https to http"
    elif "@" in urlsplit(target).netloc:
        problem = "it holds a user name"
    elif "%" in urlsplit(target).netloc:
        problem = "its host is written with %"
    elif refusal := find_refusal(host, find_addresses(host)):
        problem = f"{host[:60]!a} {refusal}"
    elif host != find_origin(url)[1] and is_local_host(host) and not is_local_host(find_origin(endpoint)[1]):
        problem = f"it leads to {host[:60]!a}, an address inside this network"
    if problem:
        return Failure("rejected", f"a redirect from {show_url(url)} is not followed: {problem}")
    return target


def find_peer_failure(response: Any) -> Failure | None:
    """A Failure where the connection ended at a forbidden address after all: a name may resolve anew each time."""
    stream = response.extensions.get("network_stream")
    try:
        peer = stream.get_extra_info("server_addr") if stream is not None else None
    except OSError:  # cut already, so that the system no longer says with whom it was
        return Failure("lost", "the connection broke before the answer was whole; try again")
    address = read_address(str(peer[0])) if peer else None
    if address is not None and is_forbidden(address):
        return Failure("rejected", f"the name of the Hub or its store led to {address}; nothing was read")
    return None


def find_next_query(link: str | None) -> str | None:
    """The query of the next page, out of a Link header; None on the last page.

    Only the query is taken: the next page is asked of the same Hub at the same path, whatever host the header names.
    """
    found = _NEXT_LINK.search(link or "")
    query = urlsplit(found[1]).query if found else ""
    return query or None


def parse_content_range(header: str | None) -> Span | None:
    """The span a 206 answer tells, None where it tells none of one form or sense."""
    found = _CONTENT_RANGE.fullmatch((header or "").strip())
    if not found:
        return None
    start, end = int(found[1]), int(found[2]) + 1
    total = None if found[3] == "*" else int(found[3])
    return Span(start, end, total) if start < end and (total is None or end <= total) else None


def parse_length(header: str | None) -> int | None:
    """A length in bytes out of a header, None where it is none."""
    return int(header) if header and re.fullmatch(r"\d{1,18}", header.strip()) else None


def parse_etag(header: str | None) -> str:
    """An ETag without quotes and weakness; "" for none, or for one that could be no file's name."""
    etag = re.sub(r"^W/", "", (header or "").strip()).strip('"')
    return etag if re.fullmatch(r"[A-Za-z0-9_-]{1,128}", etag) else ""


def find_retry_after_s(headers: Mapping[str, str], now: datetime) -> float | None:
    """Seconds the Hub asks to wait: its RateLimit header's reset, or Retry-After as seconds or a date (RFC 9110)."""
    limited = re.search(r"\br=0\s*;\s*t=(\d{1,6})", headers.get("ratelimit", ""))
    if limited:
        return float(limited[1])
    told = headers.get("retry-after", "").strip()
    if re.fullmatch(r"\d{1,9}(\.\d{1,9})?", told):
        return float(told)
    try:
        then = email.utils.parsedate_to_datetime(told)
    except ValueError:
        return None
    then = then if then.tzinfo else then.replace(tzinfo=UTC)
    return max((then - now).total_seconds(), 0.0)


def find_said(headers: Mapping[str, str], body: bytes) -> str:
    """The Hub's own words about what went wrong, as one short line; "" for a web page or nothing."""
    said = headers.get("x-error-message", "")
    if not said:
        try:
            told = json.loads(body.decode("utf-8", errors="replace"))
        except (ValueError, RecursionError):
            told = None
        said = told.get("error", "") if isinstance(told, dict) else ""
    line = " ".join(str(said).split())
    shown = ascii(line[:MAX_QUOTED_CHARACTERS])[1:-1]
    return f"{shown}..." if len(line) > MAX_QUOTED_CHARACTERS else shown


def explain_status(
    status: int, what: str, headers: Mapping[str, str], body: bytes, has_token: bool, now: datetime
) -> Failure:
    """What a status other than 200 and 206 means for the person who asked. `what` is what was asked for."""
    code = headers.get("x-error-code", "")
    said = find_said(headers, body)
    quoted = f" ({said})" if said else ""
    if code == "GatedRepo" and status in (401, 403):
        advice = "with this token's account" if has_token else "and set HF_TOKEN to a token of that account"
        problem = f"{what} is gated: agree to its terms on the model's page {advice}{quoted}"
        return Failure("gated", problem, status)
    is_bad_token = status == 401 and has_token and "credentials" in said.lower()
    if not is_bad_token and (code in ("RepoNotFound", "RevisionNotFound", "EntryNotFound") or status in (404, 410)):
        private = "" if has_token or code in ("RevisionNotFound", "EntryNotFound") else "; a private one wants HF_TOKEN"
        return Failure("missing", f"the Hub has no {what}{quoted}: check its name{private}", status)
    if status == 401:
        advice = "the token is wrong or has run out; make a new one" if has_token else "set HF_TOKEN"
        return Failure("token", f"the Hub refused access to {what}{quoted}: {advice}", status)
    if status == 403:
        return Failure("token", f"this account may not read {what}{quoted}; check the token's rights", status)
    if status in (408, 425, 429):
        pause_s = find_retry_after_s(headers, now)
        wait = "" if pause_s is None else f" in {pause_s:,.0f} s"
        return Failure("busy", f"the Hub takes no more requests now{quoted}; try again{wait}", status, True, pause_s)
    if status == 416:
        return Failure("range", f"the server has no such part of {what}; its length is not the one listed", status)
    if status >= 500:
        worth = status not in _NOT_RETRIED_5XX
        problem = f"the Hub failed at {what} (status {status}){quoted}; try again later"
        return Failure("server", problem, status, worth, find_retry_after_s(headers, now))
    return Failure("rejected", f"the Hub rejected the question for {what} (status {status}){quoted}", status)


def parse_json(body: bytes, content_type: str, what: str) -> Any:
    """The JSON in an answer. Raises HubError ("not_json"), with the likely cause where a web page came instead."""
    try:
        return json.loads(body.decode("utf-8"))
    except (ValueError, RecursionError):  # a UnicodeDecodeError is a ValueError
        pass
    start = body.lstrip()[:1]
    if "html" in content_type.lower() or start == b"<":
        cause = "a web page came; a sign-in page or a proxy may stand between, or HF_ENDPOINT may be no Hub"
    else:
        cause = "what came is no JSON"
    raise HubError("not_json", f"wanted {what} as JSON, but {cause}")


def read_capped(chunks: Iterable[bytes], most_bytes: int, what: str) -> bytes:
    """All bytes of a body. Raises HubError ("size") above `most_bytes`; what came till then is dropped."""
    parts, n_bytes = [], 0
    for chunk in chunks:
        parts.append(chunk)
        n_bytes += len(chunk)
        if n_bytes > most_bytes:
            raise HubError("size", f"{what} is larger than {most_bytes / MIB:,.1f} MiB, the most that is read")
    return b"".join(parts)


def read_until(chunks: Iterator[bytes], deadline: float, what: str) -> Iterator[bytes]:
    """The chunks while there is time (`deadline`, monotonic seconds). Raises HubError ("timeout")."""
    for chunk in chunks:
        yield chunk
        if time.monotonic() > deadline:
            raise HubError("timeout", f"{what} had not come whole when the time was up; the Hub or the line is slow")


def take_bytes(chunks: Iterator[bytes], n_bytes: int) -> Iterator[bytes]:
    """Chunks until `n_bytes` are there."""
    while n_bytes > 0 and (chunk := next(chunks, b"")):
        yield chunk[:n_bytes]
        n_bytes -= len(chunk)


def read_exactly(chunks: Iterator[bytes], n_bytes: int, what: str) -> bytes:
    """The next `n_bytes`. Raises HubError ("lost") where fewer come."""
    data = b"".join(take_bytes(chunks, n_bytes))
    if len(data) < n_bytes:
        raise HubError("lost", f"{len(data):,} of {n_bytes:,} bytes of {what} came, then no more; try again")
    return data


def find_span(status: int, headers: Mapping[str, str], what: str) -> Span:
    """Which bytes of the file an answer holds. Raises HubError ("range")."""
    if status == 200:
        total = parse_length(headers.get("content-length"))
        return Span(0, 2**62 if total is None else total, total)
    span = parse_content_range(headers.get("content-range"))
    if span is None:
        raise HubError("range", f"the server sent a part of {what} and did not say which")
    return span


def check_span(span: Span, place: int, listed: int | None, what: str) -> None:
    """Refuse a part that was not asked for, and one of a file that is not the one listed.

    Raises HubError ("range", "size").
    """
    if span.start not in (0, place):
        raise HubError("range", f"the server sent {what} from byte {span.start:,} on; wanted from {place:,}")
    if listed is not None and span.total is not None and span.total != listed:
        raise HubError("size", f"{what} has {span.total:,} bytes where it lies and {listed:,} in the Hub's list")
