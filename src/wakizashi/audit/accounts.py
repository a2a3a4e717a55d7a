"""Ledgers and traffic: does what passed a device add up, and is it what is stored? Pure.

In: the ledgers of a probe, window by window, oldest first, and what traffic is
stored for each of its windows. Out: sums by device, and findings.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from wakizashi.audit.findings import Finding
from wakizashi.model import TALLIES, Ledger, LedgerRecord, Tally

FLIGHT_PACKETS = 64
FLIGHT_BYTES = FLIGHT_PACKETS * 1_514
FLIGHT_MS = 300
"""At the two ends of a run without a break packets are in flight: between a device's counters and the
tap. These many, and what passes in ``FLIGHT_MS`` of its busiest window, are no fault: so long may a
probe on a busy host be kept from reading the one after the other."""

FATES = {
    "lost": ("lost", "counted but never stored"),
    "dropped": ("dropped", "dropped by the kernel"),
    "folded": ("other", "stored as 0.0.0.0 to 0.0.0.0"),
}
"""By kind of finding: the tally of the ledger, and what it means."""

HEADERS_BYTES = 120
"""Most bytes of headers that a card repeats with each segment it cuts: Ethernet and VLAN 18, IPv6 40,
TCP with options 60."""
LARGE_BYTES = 256
"""Only where packets are larger than this in the mean can they be such merged ones."""
CHECKSUM_BYTES = 4
ETHERNET_BYTES = 14
"""What the counters of bridges, VLAN and VXLAN devices leave out of each packet that comes in: they
count behind the header (``br_pass_frame_up`` in net/bridge/br_input.c, ``vlan_do_receive`` in
net/8021q/vlan_core.c, ``vxlan_rcv`` in drivers/net/vxlan)."""


@dataclass(slots=True)
class _Run:
    """Windows of one device that follow each other without a break."""

    since_ms: int
    until_ms: int = 0
    number: int = 0
    rest: Tally = field(default_factory=Tally)
    """What the device's counters have beyond what is accounted for: it telescopes to both ends."""
    accounted: Tally = field(default_factory=Tally)
    flight: Tally = field(default_factory=Tally)
    """What passes in ``FLIGHT_MS`` when most does."""


@dataclass(slots=True)
class _Fate:
    """Windows of one device that follow each other, with one fate of bytes."""

    since_ms: int
    first: int
    until_ms: int = 0
    number: int = 0
    tally: Tally = field(default_factory=Tally)


@dataclass(slots=True)
class Account:
    """The sums of one device."""

    windows: int = 0
    tallies: list[int] = field(default_factory=lambda: [0] * (2 * len(TALLIES)))
    run: _Run | None = None
    fates: dict[str, _Fate] = field(default_factory=dict)

    @property
    def ledger(self) -> Ledger:
        """The sums as a ledger."""
        pairs = zip(self.tallies[::2], self.tallies[1::2], strict=True)
        return Ledger(**{name: Tally(*pair) for name, pair in zip(TALLIES, pairs, strict=True)})


class Accounts:
    """The devices of one probe."""

    def __init__(self, probe: str) -> None:
        self._probe = probe
        self.devices: dict[str, Account] = {}

    def add(self, records: Sequence[LedgerRecord]) -> Iterator[Finding]:
        """Take the ledgers of the next window."""
        if len({(r.number, r.duration, r.windows) for r in records}) > 1:
            numbers = sorted(r.number for r in records)
            yield Finding(
                "mixed_window",
                self._probe,
                "",
                records[0].timestamp,
                max(r.timestamp + r.duration for r in records),
                f"its {len(records)} ledgers are of different windows, numbers {numbers[0]} to "
                f"{numbers[-1]}",
                numbers=(numbers[0], numbers[-1]),
            )
        for record in records:
            account = self.devices.setdefault(record.device, Account())
            account.windows += 1
            for i, name in enumerate(TALLIES):
                tally: Tally = getattr(record.ledger, name)
                account.tallies[2 * i] += tally.packets
                account.tallies[2 * i + 1] += tally.bytes
            yield from self._fates(record, account)
            yield from self._balance(record, account)

    def _fates(self, record: LedgerRecord, account: Account) -> Iterator[Finding]:
        """What was not stored as it was counted: one finding for windows that follow each other."""
        for kind, (name, _) in FATES.items():
            tally: Tally = getattr(record.ledger, name)
            if tally == Tally():
                continue
            fate = account.fates.get(kind)
            if fate is not None and fate.until_ms != record.timestamp:
                yield self._fate(kind, record.device, fate)
                fate = None
            if fate is None:
                first = record.number - record.windows + 1
                fate = account.fates[kind] = _Fate(record.timestamp, first)
            fate.until_ms = record.timestamp + record.duration
            fate.number = record.number
            fate.tally += tally

    def _fate(self, kind: str, device: str, fate: _Fate) -> Finding:
        size, packets = fate.tally.bytes, fate.tally.packets
        return Finding(
            kind,
            self._probe,
            device,
            fate.since_ms,
            fate.until_ms,
            f"{size:,} bytes in {packets:,} packets {FATES[kind][1]}",
            size,
            packets,
            (fate.first, fate.number),
        )

    # -- balance -----------------------------------------------------------------------------

    def _balance(self, record: LedgerRecord, account: Account) -> Iterator[Finding]:
        run = account.run
        # Where the clock went back windows overlap, and still follow each other.
        follows = (
            run is not None
            and run.number == record.number - record.windows
            and record.timestamp <= run.until_ms
        )
        if run is None or not follows:
            if run is not None:
                yield from self._judge(record.device, run)
            run = account.run = _Run(record.timestamp)
        ledger = record.ledger
        accounted = ledger.accounted
        run.until_ms, run.number = record.timestamp + record.duration, record.number
        run.rest += ledger.device - accounted
        run.accounted += accounted
        length = max(record.duration, FLIGHT_MS)
        packets = max(ledger.device.packets, accounted.packets) * FLIGHT_MS // length
        size = max(ledger.device.bytes, accounted.bytes) * FLIGHT_MS // length
        run.flight = Tally(max(run.flight.packets, packets), max(run.flight.bytes, size))

    def _judge(self, device: str, run: _Run) -> Iterator[Finding]:
        packets = FLIGHT_PACKETS + run.flight.packets
        size = FLIGHT_BYTES + run.flight.bytes
        rest = run.rest
        if abs(rest.packets) <= packets and abs(rest.bytes) <= size:
            return
        over = rest.bytes < -size or (rest.packets < -packets and rest.bytes <= size)
        kind = "overcounted" if over else "uncounted"
        if _counts_headers_otherwise(rest, run.accounted, packets):
            kind = "counters"
        yield Finding(
            kind,
            self._probe,
            device,
            run.since_ms,
            run.until_ms,
            f"its counters have {rest.bytes:+,} bytes and {rest.packets:+,} packets beyond what is "
            "accounted for",
            abs(rest.bytes),
            abs(rest.packets),
        )

    def ends(self) -> Iterator[Finding]:
        """What is to say about what still runs."""
        for device, account in self.devices.items():
            if account.run is not None:
                yield from self._judge(device, account.run)
                account.run = None
            for kind, fate in account.fates.items():
                yield self._fate(kind, device, fate)
            account.fates = {}


def _counts_headers_otherwise(rest: Tally, accounted: Tally, packets: int) -> bool:
    """Whether the counters leave headers out, or have those of segments, or frame check sequences."""
    if abs(rest.packets) <= packets:
        most = accounted.packets + packets
        return -ETHERNET_BYTES * most <= rest.bytes <= CHECKSUM_BYTES * most
    large = accounted.bytes >= LARGE_BYTES * accounted.packets > 0
    return large and 0 <= rest.bytes <= HEADERS_BYTES * rest.packets


class Stored:
    """For each window of a probe: what its ledgers say is counted, less the traffic that is stored."""

    def __init__(self, probe: str) -> None:
        self._probe = probe
        self._windows: dict[int, list[int]] = {}
        """By start: packets, bytes, duration, points; the duration is -1 without a ledger."""
        self.points = self.packets = self.bytes = 0
        """Of all its traffic."""

    def counted(self, records: Iterable[LedgerRecord]) -> None:
        """Take the ledgers of a window."""
        for record in records:
            window = self._windows.setdefault(record.timestamp, [0, 0, -1, 0])
            window[0] += record.ledger.counted.packets
            window[1] += record.ledger.counted.bytes
            window[2] = record.duration

    def point(self, start_ms: int, packets: int, size: int) -> None:
        """Take a point of traffic."""
        window = self._windows.get(start_ms)
        if window is None:
            window = self._windows[start_ms] = [0, 0, -1, 0]
        window[0] -= packets
        window[1] -= size
        window[3] += 1
        self.points += 1
        self.packets += packets
        self.bytes += size

    def ends(self) -> Iterator[Finding]:
        """What does not agree, to the byte."""
        for start, (packets, size, duration, points) in sorted(self._windows.items()):
            if duration == -1:
                kind, text = "traffic_without_ledger", f"in {points} points of a window without one"
            elif size > 0 or (size == 0 and packets > 0):
                kind, text = "points_missing", f"counted but not in its {points} points"
            elif size or packets:
                kind, text = "points_spurious", f"in its {points} points beyond what was counted"
            else:
                continue
            yield Finding(
                kind,
                self._probe,
                "",
                start,
                start + max(duration, 0),
                f"{abs(size):,} bytes in {abs(packets):,} packets {text}",
                abs(size),
                abs(packets),
            )
