"""Addresses that neither a model server nor a Hub can have: where clouds hand out a machine's own credentials.

A rule on addresses as values. Whoever opens connections resolves names itself, asks here before it connects, and asks
again of the address it was connected to, for a name may lead elsewhere each time.
"""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from collections.abc import Iterable

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

METADATA_NAMES = frozenset({"metadata.google.internal", "metadata.goog", "metadata", "instance-data"})
"""Names under which clouds reach that service from inside (Google's, and Amazon's of old)."""

FORBIDDEN_NETWORKS = tuple(
    ipaddress.ip_network(network)
    for network in (
        "169.254.0.0/16",  # link-local (RFC 3927), where the clouds answer for a machine's own credentials
        "fe80::/10",  # link-local (RFC 4291, 2.5.6)
        "fd00:ec2::/32",  # the local services of Amazon over IPv6, among them fd00:ec2::254
        "100.100.100.200/32",  # the metadata service of Alibaba
        "224.0.0.0/4",  # many machines at once
        "ff00::/8",
    )
)

NAT64_NETWORKS = (
    ipaddress.ip_network("64:ff9b::/96"),  # RFC 6052, 2.1
    ipaddress.ip_network("64:ff9b:1::/48"),  # RFC 8215; the IPv4 address is taken to stand last, as with a /96
)

IPV4_COMPATIBLE = ipaddress.ip_network("::/96")
"""An IPv4 address written as an IPv6 one, out of use since RFC 4291 (2.5.5.1); some systems still connect."""

_NUMBER = re.compile(r"0x[0-9a-f]*|[0-9]+")
_DOTS = str.maketrans("\u3002\uff61", "..")  # full stops that a host's name may be written with (RFC 3490, 3.1)


def normalize_host(host: str) -> str:
    """A host as a resolver takes it: lower case, letters and dots of other scripts made plain, no closing dot."""
    return unicodedata.normalize("NFKC", host).translate(_DOTS).casefold().rstrip(".")


def read_address(host: str) -> IpAddress | None:
    """The address that a host's text is, in every form a resolver takes, else None.

    "2852039166", "0xa9fea9fe", "0251.0376.0251.0376" and "169.254.43518" are all 169.254.169.254 (POSIX, inet_addr).
    """
    text = normalize_host(host).strip("[]").split("%", 1)[0]
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        pass
    parts = text.split(".")
    if len(parts) > 4 or not all(_NUMBER.fullmatch(part) for part in parts):
        return None
    try:
        numbers = [_read_number(part) for part in parts]
    except ValueError:  # an 8 or 9 after a leading zero
        return None
    last_bits = 8 * (5 - len(parts))
    if any(n > 255 for n in numbers[:-1]) or numbers[-1] >= 1 << last_bits:
        return None
    high = sum(n << (24 - 8 * i) for i, n in enumerate(numbers[:-1]))
    return ipaddress.IPv4Address(high + numbers[-1])


def _read_number(text: str) -> int:
    if text.startswith("0x"):
        return int(text[2:] or "0", 16)
    return int(text, 8) if text.startswith("0") else int(text)


def list_forms(address: IpAddress) -> tuple[IpAddress, ...]:
    """An address and every IPv4 address that an IPv6 one carries: mapped, 6to4, Teredo, NAT64, IPv4-compatible."""
    if isinstance(address, ipaddress.IPv4Address):
        return (address,)
    inner = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
    if address in IPV4_COMPATIBLE or any(address in network for network in NAT64_NETWORKS):
        inner.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    return (address, *(form for form in inner if form is not None))


def is_forbidden(address: IpAddress) -> bool:
    """Whether nothing that may be asked can be there. An IPv4 address inside an IPv6 one is looked at too."""
    return any(
        form in network
        for form in list_forms(address)
        for network in FORBIDDEN_NETWORKS
        if form.version == network.version
    )


def find_refusal(host: str, resolved: Iterable[IpAddress] = ()) -> str:
    """Why a host may not be asked, as the rest of a sentence that begins with it; empty where it may.

    `resolved` are the addresses its name leads to.
    """
    written = read_address(host)
    for address in (*([] if written is None else [written]), *resolved):
        if is_forbidden(address):
            return f"is {address}, a link-local, metadata or multicast address"
    if normalize_host(host) in METADATA_NAMES:
        return "is the metadata service of a cloud"
    return ""
