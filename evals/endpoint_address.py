"""Where a model server may be, and the key that opens it: checked before the first byte is sent, never shown."""

from __future__ import annotations

import ipaddress
import json
import os
import re
import socket
from collections.abc import Mapping
from urllib.parse import quote, urlsplit

from sizing.errors import BadInputError
from sizing.forbidden_addresses import IpAddress, find_refusal
from sizing.hidden_text import HiddenText, hide

KEY_VARIABLE = "WEIGHBRIDGE_API_KEY"
"""The environment variable that may hold the key; no other is read, so no server is sent a key meant for another."""

SHORTEST_KEY = 8
"""Keys below this many characters are placeholders ("ollama", "EMPTY"); in answers they stand for themselves."""

_VERSION = re.compile(r"v\d+\w*")
_API_PATHS = ("/chat/completions", "/completions", "/models")


class Secret(HiddenText):
    """A key of a model server. An empty one means none is needed."""

    __slots__ = ()

    def __init__(self, value: str = "") -> None:
        value = value.strip()
        if not value.isascii() or not value.isprintable():
            raise BadInputError(
                "the key holds characters that no HTTP header can carry; paste it again, without quotes"
            )
        super().__init__(value)

    def redact(self, text: str) -> str:
        """`text` with every trace of the key hidden, also as JSON or a URL would write it."""
        value = self.reveal()
        return hide(text, {value, json.dumps(value)[1:-1], quote(value, safe="")})

    def redact_answer(self, text: str) -> str:
        """A model's answer with the key hidden; a placeholder's word ("ollama") may stand."""
        return self.redact(text) if len(self.reveal()) >= SHORTEST_KEY else text


def read_key(environment: Mapping[str, str] | None = None) -> Secret:
    """The key from `KEY_VARIABLE`, else an empty one."""
    variables = os.environ if environment is None else environment
    return Secret(variables.get(KEY_VARIABLE, ""))


def check_endpoint_url(url: str) -> str:
    """The base of the API that `url` means, as "http://host:port/v1": BadInputError where it may not be asked.

    Refused: other schemes than http and https, user names and queries in the address (a key belongs in its own field),
    link-local, metadata and multicast addresses and every name that resolves to one. "/v1" is added where no version
    stands in the path; the path of a single call ("/chat/completions") is cut off. A name that does not resolve here
    passes, for a proxy may know it.
    """
    text = url.strip()
    if not text.isprintable() or any(c.isspace() for c in text) or len(text) > 2000:
        raise BadInputError("the server's address holds blanks or control characters, or more than 2,000 characters")
    if "@" in text:  # before any other message, for those show what was written
        raise BadInputError("the server's address holds a user name or password; give the key in its own field")
    try:
        parts = urlsplit(text)
        host, port = (parts.hostname or "").rstrip("."), parts.port
    except ValueError:
        raise BadInputError(f"the server's address is none, write http://host:port, got {text!r}") from None
    if parts.query or parts.fragment:
        raise BadInputError("the server's address ends in a query or fragment; write only http://host:port/path")
    if "%" in parts.netloc:
        raise BadInputError(f"the server's host is written with %; write its plain name or number, got {text!r}")
    if parts.scheme not in ("http", "https") or not host:
        raise BadInputError(f"a server's address starts with http:// or https:// and names a host, got {text!r}")
    if refusal := find_refusal(host, find_addresses(host)):
        raise BadInputError(f"{host!r} {refusal}; no model server can be there")
    shown = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{shown}{'' if port is None else f':{port}'}{_find_api_path(parts.path)}"


def _find_api_path(path: str) -> str:
    path = re.sub(r"/{2,}", "/", path).rstrip("/")
    for call in _API_PATHS:
        path = path.removesuffix(call)
    if any(_VERSION.fullmatch(segment) for segment in path.split("/")):
        return path
    return f"{path}/v1"


def find_addresses(host: str) -> tuple[IpAddress, ...]:
    """Every IP address that `host` is or resolves to here; none where it does not resolve."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return ()
    texts = {str(entry[4][0]).split("%", 1)[0] for entry in found}
    return tuple(ipaddress.ip_address(text) for text in sorted(texts))


def is_loopback(url: str) -> bool:
    """Whether an address names this machine itself, so that no proxy may stand between."""
    host = urlsplit(url).hostname or ""
    return any(a.is_loopback or a.is_unspecified for a in find_addresses(host))
