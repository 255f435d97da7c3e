"""Links between machines: what they carry and how long one message takes, each figure with its source."""

from __future__ import annotations

from dataclasses import dataclass

from sizing.errors import BadInputError, UnknownNameError

ETHERNET_PAYLOAD = 1460 / 1538
"""Part of an Ethernet line that TCP's payload fills: 1,460 bytes in a frame of 1,500 with 38 bytes around it
(IEEE 802.3, clause 3: preamble, addresses, check and gap; 40 bytes are IP's and TCP's)."""

TCP_LATENCY_S = 250e-6
"""One message through two kernels and a switch: half of the round trip within a data centre
(https://www.cs.cornell.edu/projects/ladis2009/talks/dean-keynote-ladis2009.pdf, 'Numbers everyone should know')."""

RDMA_LATENCY_S = 2.7e-6
"""One step over a network card that reaches the other's memory by itself: what NCCL reckons with
(https://github.com/NVIDIA/nccl/blob/master/src/graph/tuning.cc, `hwLat`, NET, ring, LL)."""

THUNDERBOLT_LATENCY_S = 300e-6
THUNDERBOLT_RDMA_LATENCY_S = 50e-6
"""Measured between Macs, over TCP and by RDMA ("< 50 us": its upper end)
(https://www.jeffgeerling.com/blog/2025/15-tb-vram-on-mac-studio-rdma-over-thunderbolt-5)."""

_ETHERNET = "https://www.ieee802.org/3/"
_CONNECTX = "https://docs.nvidia.com/networking/display/winof2v247/Supported+Network+Adapter+Cards+and+MFT+Tools"
_THUNDERBOLT = "https://www.thunderbolttechnology.net/tech/faq"


@dataclass(frozen=True, slots=True)
class Interconnect:
    """One link of a machine to the others, all of which it reaches alike (a switch).

    `bytes_per_s` is the payload one way, `latency_s` the time of one message beyond its bytes. `is_rdma` tells links
    whose cards reach the other machine's memory without its kernel.
    """

    name: str
    label: str
    bytes_per_s: float
    latency_s: float
    source_url: str
    is_rdma: bool = False

    def __post_init__(self) -> None:
        if not (0 < self.bytes_per_s < float("inf") and 0 <= self.latency_s < float("inf")):
            raise BadInputError(
                f"a link wants bytes/s above 0 and a latency of 0 s or more, got {self.bytes_per_s!r} and "
                f"{self.latency_s!r}"
            )

    def count_seconds(self, n_bytes: float, n_messages: float = 1.0) -> float:
        """Seconds for `n_messages` that wait for each other and carry `n_bytes` together."""
        return n_bytes / self.bytes_per_s + n_messages * self.latency_s


def _ethernet(gigabits: int) -> Interconnect:
    rate = gigabits * 1e9 / 8 * ETHERNET_PAYLOAD
    return Interconnect(f"{gigabits} GbE", f"{gigabits} Gb/s Ethernet, TCP", rate, TCP_LATENCY_S, _ETHERNET)


def _roce(gigabits: int) -> Interconnect:
    label = f"{gigabits} Gb/s Ethernet, RDMA (RoCE)"
    return Interconnect(f"{gigabits} GbE", label, gigabits * 1e9 / 8, RDMA_LATENCY_S, _CONNECTX, True)


INTERCONNECTS: dict[str, Interconnect] = {
    link.name: link
    for link in (
        _ethernet(1),
        _ethernet(10),
        _ethernet(25),
        _roce(100),
        _roce(200),
        _roce(400),
        Interconnect("InfiniBand HDR", "InfiniBand HDR, 200 Gb/s", 25e9, RDMA_LATENCY_S, _CONNECTX, True),
        Interconnect("InfiniBand NDR", "InfiniBand NDR, 400 Gb/s", 50e9, RDMA_LATENCY_S, _CONNECTX, True),
        Interconnect("Thunderbolt 4", "Thunderbolt 4, 40 Gb/s, TCP", 5e9, THUNDERBOLT_LATENCY_S, _THUNDERBOLT),
        Interconnect("Thunderbolt 5", "Thunderbolt 5, 80 Gb/s, TCP", 10e9, THUNDERBOLT_LATENCY_S, _THUNDERBOLT),
        Interconnect(
            "Thunderbolt 5 RDMA",
            "Thunderbolt 5, 80 Gb/s, RDMA (macOS 26.2 and later)",
            10e9,
            THUNDERBOLT_RDMA_LATENCY_S,
            _THUNDERBOLT,
            True,
        ),
    )
}
"""Links by name. From 100 Gb/s on Ethernet is taken to use RDMA, which its cards offer; slower ones TCP."""


def find_interconnect(name: str) -> Interconnect:
    """The link called `name`, whatever its case and spaces. Raises UnknownNameError with near names."""
    wanted = "".join(name.casefold().split())
    for link in INTERCONNECTS.values():
        if "".join(link.name.casefold().split()) == wanted:
            return link
    raise UnknownNameError("interconnect", name, INTERCONNECTS)
