"""A token for the Hub that does not show itself, and the address it may be sent to."""

from __future__ import annotations

import base64
import json
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote, urlsplit

from sizing.errors import HubError
from sizing.forbidden_addresses import IpAddress, find_refusal, list_forms, read_address
from sizing.hidden_text import HIDDEN, HiddenText, hide

DEFAULT_ENDPOINT = "https://huggingface.co"
TRUE_WORDS = frozenset({"1", "ON", "YES", "TRUE"})
"""What switches a variable of the Hub's own library on (huggingface_hub/constants.py, `ENV_VARS_TRUE_VALUES`)."""

_PORTS = {"http": 80, "https": 443}


class Secret(HiddenText):
    """A token for the Hub. An empty one means none is known."""

    __slots__ = ()

    def __init__(self, value: str = "") -> None:
        value = value.strip()
        if not value.isascii() or not value.isprintable() or " " in value:
            raise HubError("token", "the token holds characters that no HTTP header can carry; set HF_TOKEN anew")
        super().__init__(value)

    def redact(self, text: str) -> str:
        """`text` with every trace of the token hidden, also as JSON, a URL or HTTP's basic form would write it."""
        value = self.reveal()
        coded = base64.b64encode(value.encode()).decode()
        return hide(text, {value, json.dumps(value)[1:-1], quote(value, safe=""), coded})

    def redact_bytes(self, body: bytes) -> bytes:
        """An answer's body without the token, should a server repeat it."""
        return body.replace(self.reveal().encode(), HIDDEN.encode()) if self else body


def check_endpoint(url: str) -> str:
    """A Hub's address without a closing slash.

    Raises HubError ("name") for what is no plain http or https address, or is one of a cloud's metadata service.
    """
    text = url.strip().rstrip("/")
    if "@" in text:  # before any other message, for those show what was written
        raise HubError("name", "the Hub's address holds a user name or password; a token belongs in HF_TOKEN")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    is_sound = text.isprintable() and not any(c.isspace() for c in text) and len(text) <= 500
    if not is_sound or parts.scheme not in _PORTS or not parts.hostname or parts.query or parts.fragment or port == 0:
        raise HubError("name", f"a Hub's address looks like {DEFAULT_ENDPOINT}, got {url[:100]!a}; see HF_ENDPOINT")
    if refusal := find_refusal(parts.hostname):
        raise HubError("name", f"{parts.hostname!a} {refusal}; no Hub can be there, see HF_ENDPOINT")
    return text


def find_endpoint(environment: Mapping[str, str] | None = None) -> str:
    """The Hub that HF_ENDPOINT names, else the public one."""
    variables = os.environ if environment is None else environment
    return check_endpoint(variables.get("HF_ENDPOINT") or DEFAULT_ENDPOINT)


def find_origin(url: str) -> tuple[str, str, int]:
    """Scheme, host and port of an address; ("", "", 0) for one that is none."""
    try:
        parts = urlsplit(url)
        return parts.scheme.lower(), (parts.hostname or "").lower(), parts.port or _PORTS.get(parts.scheme.lower(), 0)
    except ValueError:
        return "", "", 0


def is_this_machine(host: str) -> bool:
    """Whether a host, as it is written, is the machine itself, so that no proxy may stand between."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    address = read_address(host)
    return address is not None and any(form.is_loopback for form in list_forms(address))


def is_local_host(host: str) -> bool:
    """Whether a host is this machine or one of its own network, as it is written or as its name resolves here.

    A name that does not resolve here (a proxy may know it) counts as being elsewhere.
    """
    return is_this_machine(host) or any(
        not form.is_global or form.is_multicast for address in find_addresses(host) for form in list_forms(address)
    )


def find_addresses(host: str) -> tuple[IpAddress, ...]:
    """Every IP address that a host is, as it is written, or leads to here; none where its name is not known here."""
    written = read_address(host)
    try:
        found = {str(entry[4][0]) for entry in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}
    except (OSError, UnicodeError):
        found = set()
    led_to = (read_address(text) for text in sorted(found))
    return tuple(address for address in (written, *led_to) if address is not None)


def is_offline(environment: Mapping[str, str] | None = None) -> bool:
    """Whether HF_HUB_OFFLINE (or TRANSFORMERS_OFFLINE, as the Hub's own library has it) forbids every request."""
    variables = os.environ if environment is None else environment
    return (variables.get("HF_HUB_OFFLINE") or variables.get("TRANSFORMERS_OFFLINE") or "").upper() in TRUE_WORDS


def find_cache_dir(environment: Mapping[str, str] | None = None) -> Path:
    """The folder models are kept in by every tool of the Hub (huggingface_hub/constants.py, `HF_HUB_CACHE`)."""
    variables = os.environ if environment is None else environment
    home = variables.get("HF_HOME") or f"{variables.get('XDG_CACHE_HOME') or '~/.cache'}/huggingface"
    chosen = variables.get("HF_HUB_CACHE") or variables.get("HUGGINGFACE_HUB_CACHE") or f"{home}/hub"
    return Path(os.path.expandvars(chosen)).expanduser().absolute()
