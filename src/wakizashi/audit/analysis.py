"""The audit of all probes: takes what is stored, in three readings, and tells what it found. Pure.

In, in this order: the ledgers, oldest first; the addresses of the probes; the
points of traffic. Memory grows with the number of windows and of pairs of
monitored addresses, not with the number of points.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from wakizashi.audit.accounts import Account, Accounts, Stored
from wakizashi.audit.findings import Collector, Finding, Findings
from wakizashi.audit.pairs import Pair, Pairs, owners
from wakizashi.audit.shared import Shared, SharedDevices
from wakizashi.audit.windows import Seen, Sequence
from wakizashi.model import LedgerRecord, Tally


class _Probe:
    def __init__(self, name: str) -> None:
        self.records: list[LedgerRecord] = []
        """The ledgers of the window under way."""
        self.sequence = Sequence(name)
        self.accounts = Accounts(name)
        self.shared = SharedDevices()
        self.stored = Stored(name)


@dataclass(frozen=True, slots=True)
class ProbeReport:
    """What is stored of one probe."""

    name: str
    windows: int
    first_ms: int
    end_ms: int
    points: int
    stored: Tally
    """The sum of its traffic; it counts on each device, see ``shared``."""
    devices: Mapping[str, Account]
    shared: tuple[Shared, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """What an audit found."""

    since_ms: int
    until_ms: int
    probes: tuple[ProbeReport, ...]
    pairs: tuple[Pair, ...]
    findings: Findings

    @property
    def adds_up(self) -> bool:
        """Whether there is no fault."""
        return not self.findings.faults


class Audit:
    """One audit.

    Args:
        since_ms, until_ms: windows that start in this time; ``until_ms`` is now, and later ones
            are of clocks that are ahead.
    """

    def __init__(self, since_ms: int, until_ms: int) -> None:
        self._since_ms, self._until_ms = since_ms, until_ms
        self._probes: dict[str, _Probe] = {}
        self._found = Collector()
        self._owners: dict[str, str | None] = {}
        self._pairs = Pairs({}, {})

    def note(self, finding: Finding) -> None:
        """Add a finding of the reader's own."""
        self._found.add(finding)

    def _probe(self, name: str) -> _Probe:
        if name not in self._probes:
            self._probes[name] = _Probe(name)
        return self._probes[name]

    # -- ledgers -----------------------------------------------------------------------------

    def ledgers(self, records: Iterable[LedgerRecord]) -> None:
        """Take all ledgers, oldest first."""
        for record in records:
            probe = self._probe(record.probe)
            if probe.records and probe.records[0].timestamp != record.timestamp:
                self._close(probe)
            probe.records.append(record)
        for probe in self._probes.values():
            if probe.records:
                self._close(probe)
            self._found.extend(probe.sequence.ends(self._until_ms))
            self._found.extend(probe.accounts.ends())

    def _close(self, probe: _Probe) -> None:
        records, probe.records = probe.records, []
        last = max(records, key=lambda record: record.number)
        end = last.timestamp + last.duration
        seen = Seen(last.timestamp, end, last.number, last.windows)
        self._found.extend(probe.sequence.add(seen))
        self._found.extend(probe.accounts.add(records))
        probe.shared.add(records)
        probe.stored.counted(records)

    # -- traffic -----------------------------------------------------------------------------

    def addresses(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Take what the probes call their own: rows with ``probe`` and ``probeIP``."""
        self._owners = owners((row["probe"], row["probeIP"]) for row in rows)
        runs = {name: probe.sequence.runs for name, probe in self._probes.items()}
        self._pairs = Pairs(self._owners, runs)

    def traffic(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Take all points, rows as of :meth:`wakizashi.center.backend.Backend.traffic`."""
        probes, owned, pairs = self._probes, self._owners, self._pairs
        several = len(set(owned.values()) - {None}) > 1
        for row in rows:
            name, start, size, packets = row["probe"], row["timestamp"], row["size"], row["packets"]
            probe = probes.get(name) or self._probe(name)
            probe.stored.point(start, packets, size)
            if several:
                source, destination = row["srcIP"], row["dstIP"]
                if source in owned and destination in owned:
                    pairs.point(start, name, (source, destination), Tally(packets, size))

    # -- the report --------------------------------------------------------------------------

    def report(self) -> Report:
        """Everything that was found."""
        probes = []
        for name, probe in sorted(self._probes.items()):
            self._found.extend(probe.stored.ends())
            shared = tuple(probe.shared.found())
            self._found.extend(_same_packets(name, each) for each in shared)
            probes.append(
                ProbeReport(
                    name,
                    probe.sequence.windows,
                    probe.sequence.first_ms,
                    probe.sequence.end_ms,
                    probe.stored.points,
                    Tally(probe.stored.packets, probe.stored.bytes),
                    dict(sorted(probe.accounts.devices.items())),
                    shared,
                )
            )
        if not probes:
            text = "no window of any probe in that time"
            self.note(Finding("nothing", "", "", self._since_ms, self._until_ms, text))
        pairs = tuple(self._pairs.found())
        self._found.extend(_differs(pair) for pair in pairs if pair.differs)
        return Report(self._since_ms, self._until_ms, tuple(probes), pairs, self._found.result())


def _same_packets(probe: str, shared: Shared) -> Finding:
    return Finding(
        "same_packets",
        probe,
        shared.inner,
        shared.since_ms,
        shared.until_ms,
        f"what {shared.inner} counted, {shared.bytes:,} bytes, passed {shared.outer} as well",
        shared.bytes,
        shared.packets,
    )


def _differs(pair: Pair) -> Finding:
    difference = pair.sent - pair.received
    return Finding(
        "pair_differs",
        pair.sender,
        "",
        pair.since_ms,
        pair.until_ms,
        f"{pair.source} to {pair.destination}: {pair.sent.bytes:,} bytes sent, "
        f"{pair.received.bytes:,} received by {pair.receiver}",
        abs(difference.bytes),
        abs(difference.packets),
    )
