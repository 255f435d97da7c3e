"""One table of hostile addresses, held to both doors that open connections: the model server's and the Hub's."""

from __future__ import annotations

import ipaddress
import socket
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog import hub_http, hub_secret
from catalog.hub import Hub
from catalog.hub_answers import HubQuery
from evals import endpoint_address, endpoint_http
from evals.endpoint import EndpointClient, EndpointPlan, Secret
from sizing.errors import BadInputError, EndpointError, HubError
from sizing.forbidden_addresses import FORBIDDEN_NETWORKS, find_refusal, is_forbidden, list_forms, read_address
from tests.catalog.model_hub import Fault, ModelHub
from tests.evals.model_server import ModelServer

HOSTILE = (
    "169.254.169.254",
    "169.254.170.2",
    "169.254.0.1",
    "2852039166",
    "0xA9FEA9FE",
    "0xa9.0xfe.0xa9.0xfe",
    "025177524776",
    "0251.0376.0251.0376",
    "169.254.43518",
    "169.0xfea9fe",
    "169.254.169.254.",
    "１６９.254.169.254",
    "169。254。169。254",
    "100.100.100.200",
    "0x646464c8",
    "224.0.0.1",
    "[fe80::1]",
    "[febf::1]",
    "[fd00:ec2::254]",
    "[fd00:0ec2:0:0:0:0:0:254]",
    "[fd00:ec2::23]",
    "[::ffff:169.254.169.254]",
    "[::ffff:a9fe:a9fe]",
    "[::169.254.169.254]",
    "[64:ff9b::a9fe:a9fe]",
    "[64:ff9b:1::a9fe:a9fe]",
    "[2002:a9fe:a9fe::1]",
    "[::ffff:6464:64c8]",
    "[ff02::1]",
    "metadata.google.internal",
    "METADATA.google.internal.",
    "metadata.goog",
    "metadata",
    "instance-data",
)

HARMLESS = ("127.0.0.1", "localhost", "[::1]", "192.168.1.7", "10.0.0.8", "8.8.8.8", "[2606:4700::1]", "example.org")


def resolve_as_written(host: str, *_: Any, **__: Any) -> list[Any]:
    """A resolver that knows no name, so that a guard stands on what is written alone."""
    try:
        found = ipaddress.ip_address(host.split("%", 1)[0])
    except ValueError:
        raise socket.gaierror("no such name") from None
    family = socket.AF_INET if found.version == 4 else socket.AF_INET6
    return [(family, socket.SOCK_STREAM, 6, "", (str(found), 0))]


@pytest.fixture(params=["the system's resolver", "a resolver that takes no odd forms"])
def resolver(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both kinds there are: glibc reads 2852039166 as an address, others do not."""
    if request.param != "the system's resolver":
        monkeypatch.setattr(socket, "getaddrinfo", resolve_as_written)


@pytest.mark.parametrize("host", HOSTILE)
def test_no_model_server_is_looked_for_there(host: str, resolver: None) -> None:
    for scheme in ("http", "https"):
        with pytest.raises(BadInputError) as raised:
            endpoint_address.check_endpoint_url(f"{scheme}://{host}:80/v1")
        assert "no model server can be there" in str(raised.value)


@pytest.mark.parametrize("host", HOSTILE)
def test_no_hub_is_looked_for_there(host: str, resolver: None) -> None:
    with pytest.raises(HubError, match="no Hub can be there") as raised:
        hub_secret.check_endpoint(f"https://{host}")
    assert raised.value.kind == "name"


@pytest.mark.parametrize("host", HOSTILE)
@pytest.mark.parametrize("hub", ["https://huggingface.co", "http://127.0.0.1:9000"])
def test_no_redirect_of_a_hub_leads_there(host: str, hub: str, resolver: None) -> None:
    scheme = hub.split(":", 1)[0]
    failure = hub_http.find_redirect(f"{hub}/a/b", f"{scheme}://{host}/latest/meta-data", hub)
    assert isinstance(failure, hub_http.Failure) and failure.kind == "rejected"
    assert "is not followed" in failure.problem


@pytest.mark.parametrize("host", HARMLESS)
def test_other_addresses_may_be_asked(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", resolve_as_written)
    assert endpoint_address.check_endpoint_url(f"http://{host}:8080").endswith(":8080/v1")
    assert hub_secret.check_endpoint(f"http://{host}:8080") == f"http://{host}:8080"
    assert find_refusal(host) == ""


@pytest.mark.parametrize("address", ["169.254.169.254", "fe80::1", "::ffff:169.254.169.254", "100.100.100.200"])
def test_no_name_that_resolves_there_is_asked(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, 0)) for ip in ("8.8.8.8", address)]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *a, **k: found)
    with pytest.raises(BadInputError, match="metadata or multicast"):
        endpoint_address.check_endpoint_url("http://innocent.example/v1")
    for hub in ("https://huggingface.co", "https://hub.corp"):
        told = hub_http.find_redirect(f"{hub}/a", "https://innocent.example/x", hub)
        assert isinstance(told, hub_http.Failure)


def test_a_server_that_redirects_there_is_not_followed() -> None:
    def redirect(handler: Any) -> None:
        handler.send(302, {}, Location="http://169.254.169.254/latest/meta-data")

    with ModelServer() as server:
        server.script = [redirect]
        client = EndpointClient(EndpointPlan(server.url, n_retries=0), Secret(""))
        with client, pytest.raises(EndpointError, match="redirects are not followed"):
            client.complete("hello")
        assert [path for method, path, *_ in server.requests if method == "POST"] == ["/v1/chat/completions"]


def test_a_hub_on_this_machine_that_redirects_there_is_not_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_TOKEN", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    with ModelHub([]) as served:
        served.faults["/api/models"] = Fault(location="http://169.254.169.254/latest/meta-data")
        with pytest.raises(HubError, match=r"metadata or multicast") as raised:
            Hub(served.url, "", timeout_s=2.0, wait=lambda s: None).search(HubQuery("llama"))
    assert raised.value.kind == "rejected"


@pytest.mark.parametrize("peer", [("169.254.169.254", 80), ("::ffff:169.254.169.254", 80, 0, 0), ("fe80::1%eth0", 80)])
@pytest.mark.parametrize("door", [endpoint_http.find_peer_failure, hub_http.find_peer_failure])
def test_a_connection_that_ended_there_after_all_is_not_read(door: Any, peer: tuple[Any, ...]) -> None:
    def answer(where: Any) -> Any:
        stream = SimpleNamespace(get_extra_info=lambda name: where if name == "server_addr" else None)
        return SimpleNamespace(extensions={"network_stream": stream})

    failure = door(answer(peer))
    assert failure is not None and "nothing was read" in failure.problem
    for harmless in (("127.0.0.1", 8080), ("2606:4700::1", 443, 0, 0), ("/run/socket",), None):
        assert door(answer(harmless)) is None
    assert door(SimpleNamespace(extensions={})) is None


@pytest.mark.parametrize("door", [endpoint_http.find_peer_failure, hub_http.find_peer_failure])
def test_a_connection_cut_before_it_was_known_with_whom_is_lost(door: Any) -> None:
    def refuse(name: str) -> None:
        raise OSError(107, "Transport endpoint is not connected")

    failure = door(SimpleNamespace(extensions={"network_stream": SimpleNamespace(get_extra_info=refuse)}))
    assert failure is not None and failure.kind == "lost"


def write_forms(address: ipaddress.IPv4Address) -> tuple[str, ...]:
    """An IPv4 address in the forms that POSIX's inet_addr reads, and inside the IPv6 addresses that carry one."""
    n, parts = int(address), address.packed
    return (
        str(n),
        hex(n),
        f"0{n:o}",
        ".".join(f"0{part:o}" for part in parts),
        ".".join(hex(part) for part in parts),
        f"{parts[0]}.{n & 0xFFFFFF}",
        f"{parts[0]}.{parts[1]}.{n & 0xFFFF}",
        f"::ffff:{address}",
        f"64:ff9b::{address}",
        f"2002:{n >> 16:x}:{n & 0xFFFF:x}::",
    )


@given(st.ip_addresses(v=4))
def test_a_form_of_an_address_is_judged_as_the_address_is(address: ipaddress.IPv4Address) -> None:
    for text in write_forms(address):
        read = read_address(text)
        assert read is not None and address in list_forms(read)
        assert is_forbidden(read) == is_forbidden(address)


@given(st.sampled_from(FORBIDDEN_NETWORKS), st.integers(0, 2**64))
def test_every_address_of_a_forbidden_network_is_refused(network: Any, place: int) -> None:
    address = network[place % network.num_addresses]
    host = f"[{address}]" if address.version == 6 else str(address)
    assert find_refusal(host) and find_refusal("name.example", [address])


@given(st.text(max_size=40))
def test_any_text_is_read_as_an_address_or_none(text: str) -> None:
    read = read_address(text)
    assert read is None or isinstance(read, ipaddress.IPv4Address | ipaddress.IPv6Address)


@pytest.mark.parametrize("text", ["256.1.1.1", "1.2.3.4.5", "089.1.1.1", "4294967296", "1..2", "", ".", "0xg", "a.b"])
def test_what_is_no_address_is_none(text: str) -> None:
    assert read_address(text) is None
