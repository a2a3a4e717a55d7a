"""The values that travel down the pipeline, and nothing else.

Sizes are bytes on the link, layer 2 header included, frame check sequence
excluded, as ``tcpdump -e`` and the device's own counters see them. Times are
milliseconds of Unix time. Addresses are packed, 4 or 16 bytes, network order.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

MAX_WINDOW_RECORDS = 1_048_576
"""Most flows one window may hold, on every side of the wire."""

MAX_INTEGER = 2**63 - 1
"""Largest size or packet count that every backend can store (a signed 64-bit integer)."""

MAX_TIME_MS = 9_214_646_400_000
"""2262-01-01: the last whole year whose nanoseconds InfluxDB can hold in 64 bits."""

UNSPECIFIED = bytes(4)
"""0.0.0.0: both addresses of the ``other`` flow, and the probeIP of a device without address."""

Tags = tuple[tuple[str, str], ...]
"""Constant tags of a probe, sorted by key."""


class Direction(IntEnum):
    """Where a flow goes, seen from the probe's host; the numbers are those of the wire."""

    OUT = 1
    IN = 2
    LOCAL = 3
    TRANSIT = 4


@dataclass(frozen=True, slots=True)
class Tally:
    """A number of packets and the sum of their sizes in bytes."""

    packets: int = 0
    bytes: int = 0

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(self.packets + other.packets, self.bytes + other.bytes)

    def __sub__(self, other: "Tally") -> "Tally":
        """The difference, which may be negative (packets in flight at a window's edge)."""
        return Tally(self.packets - other.packets, self.bytes - other.bytes)


@dataclass(frozen=True, slots=True)
class Ledger:
    """What passed a device by its own counters, and what became of it.

    ``device = counted + own + non_ip + dropped + lost``: exactly over a run with
    quiet edges, in one window within the packets in flight at its edges.
    ``other`` is the part of ``counted`` that was folded beyond ``maxFlows``.
    ``lost`` was counted too, but neither dump directory nor center took it.
    """

    device: Tally = Tally()
    counted: Tally = Tally()
    own: Tally = Tally()
    non_ip: Tally = Tally()
    dropped: Tally = Tally()
    other: Tally = Tally()
    lost: Tally = Tally()

    def __add__(self, other: "Ledger") -> "Ledger":
        return Ledger(**{name: getattr(self, name) + getattr(other, name) for name in TALLIES})

    @property
    def accounted(self) -> Tally:
        """Everything whose fate is known: counted, own, non-IP, dropped, lost."""
        return self.counted + self.own + self.non_ip + self.dropped + self.lost


TALLIES = ("device", "counted", "own", "non_ip", "dropped", "other", "lost")
"""The tallies of a ledger, in the order in which backends store them."""

OUTCOMES = ("counted", "own", "non_ip", "dropped", "lost")
"""Those that add up to ``device``: what became of a packet. ``other`` is a part of ``counted``."""

LATER_FIELDS = {"windows": 1, "lost_packets": 0, "lost_bytes": 0}
"""Fields of a stored ledger that were added later, and what a ledger without them means."""


@dataclass(frozen=True, slots=True)
class DeviceLedger:
    """A device's name, its first address (empty if it has none) and its ledger in one window."""

    name: str
    primary_address: bytes
    ledger: Ledger


class Flow(NamedTuple):
    """All packets of one window with the same device, direction, source and destination.

    A tuple, as :class:`TrafficRecord` is: a center makes hundreds of thousands a second.
    """

    device: int
    """Index into the window's ``devices``."""
    direction: Direction
    source: bytes
    destination: bytes
    size: int
    packets: int


@dataclass(frozen=True, slots=True)
class Window:
    """Everything one probe counted in ``[start_ms, end_ms)``; named by (probe, start_ms)."""

    probe: str
    start_ms: int
    end_ms: int
    number: int
    tags: Tags
    devices: tuple[DeviceLedger, ...]
    flows: tuple[Flow, ...]
    windows: int = 1
    """How many it was merged from; it covers ``number - windows + 1`` to ``number``."""


class TrafficRecord(NamedTuple):
    """One stored point of traffic. The field names are the stored ones, in every backend."""

    timestamp: int
    probe: str
    probeIP: str
    srcIP: str
    dstIP: str
    size: int
    packets: int


@dataclass(frozen=True, slots=True)
class LedgerRecord:
    """One stored ledger: one device in one window."""

    timestamp: int
    probe: str
    device: str
    number: int
    duration: int
    """Length of the window in milliseconds."""
    ledger: Ledger
    windows: int = 1
    """As of :class:`Window`."""


@dataclass(frozen=True, slots=True)
class LedgerSum:
    """All stored ledgers of one device of one probe in a span of time.

    What the span holds nothing of, though the numbers say it was, is missing:
    ``number - first_number + 1 - windows`` windows, while the probe is not started anew
    with its numbers.
    """

    probe: str
    device: str
    windows: int
    """Sum of :attr:`LedgerRecord.windows`."""
    first_ms: int
    """Start of the first window; milliseconds of Unix time, as the next two."""
    last_ms: int
    """Start of the last window."""
    end_ms: int
    """End of the last window."""
    number: int
    """Number of the last window."""
    first_number: int
    """Lowest number that the first window covers: its own, unless it was merged."""
    longest_ms: int
    """Length of the longest window, in milliseconds."""
    ledger: Ledger
    """The sums; exact."""


@dataclass(frozen=True, slots=True)
class StoredWindow:
    """A window as a backend stores it: aggregated, addresses as text.

    What it stores depends on nothing but the window, so writing it again
    writes the same points over themselves.
    """

    probe: str
    start_ms: int
    tags: Tags
    records: tuple[TrafficRecord, ...]
    ledgers: tuple[LedgerRecord, ...]
