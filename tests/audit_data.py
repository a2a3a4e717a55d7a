"""Stored windows for audits: what a probe, or several, would have left in a backend."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from wakizashi.audit.analysis import Audit, Report
from wakizashi.audit.findings import Finding
from wakizashi.model import Ledger, LedgerRecord, StoredWindow, Tally, TrafficRecord

START = 1_700_000_010_000
SECONDS = 30
STEP = SECONDS * 1_000
A, B, C = "10.0.0.1", "10.0.0.2", "10.0.0.3"


def balanced(counted: Tally, **others: Tally) -> Ledger:
    """A ledger that adds up."""
    ledger = Ledger(counted=counted, **others)
    return replace(ledger, device=ledger.accounted)


def record(
    probe: str, start_ms: int, source: str, destination: str, size: int, *, at: str = ""
) -> TrafficRecord:
    """A point of 100-byte packets; the probeIP is the source unless ``at`` names another."""
    return TrafficRecord(
        start_ms, probe, at or source, source, destination, size, max(1, size // 100)
    )


def window(
    number: int,
    *,
    probe: str = "vm-1",
    position: int | None = None,
    shift_ms: int = 0,
    duration_ms: int = STEP,
    windows: int = 1,
    records: Sequence[TrafficRecord] | None = None,
    ledgers: dict[str, Ledger] | None = None,
) -> StoredWindow:
    """The window of that number; the ``position``-th from START on, as its number unless told.

    Without ``records`` one of 1,000 bytes, without ``ledgers`` what counts them on eth0.
    """
    place = (number if position is None else position) - 1
    start = START + STEP * place + shift_ms
    if records is None:
        records = [record(probe, start, A, B, 1_000)]
    records = tuple(r._replace(timestamp=start, probe=probe) for r in records)
    if ledgers is None:
        counted = Tally(sum(r.packets for r in records), sum(r.size for r in records))
        ledgers = {"eth0": balanced(counted)}
    return StoredWindow(
        probe,
        start,
        (),
        records,
        tuple(
            LedgerRecord(start, probe, name, number, duration_ms, ledger, windows)
            for name, ledger in sorted(ledgers.items())
        ),
    )


def rows(windows: Iterable[StoredWindow]) -> list[dict[str, Any]]:
    """What a backend answers for them: the latest that was written for each key."""
    points = {
        (r.timestamp, r.probe, r.probeIP, r.srcIP, r.dstIP): r._asdict()
        for each in windows
        for r in each.records
    }
    return [points[key] for key in sorted(points)]


def ledgers(windows: Iterable[StoredWindow]) -> list[LedgerRecord]:
    """Their ledgers, oldest first."""
    found = {(r.timestamp, r.probe, r.device): r for each in windows for r in each.ledgers}
    return [found[key] for key in sorted(found)]


def audited(windows: Sequence[StoredWindow], *, until_ms: int | None = None) -> Report:
    """The audit of these windows; now is when the last one ends, unless told."""
    records = ledgers(windows)
    if until_ms is None:
        until_ms = max((r.timestamp + r.duration for r in records), default=START)
    audit = Audit(START, until_ms)
    audit.ledgers(records)
    points = rows(windows)
    audit.addresses(points)
    audit.traffic(points)
    return audit.report()


def kinds(report: Report) -> list[str]:
    """The kinds of the findings."""
    return [finding.kind for finding in report.findings.told]


def only(report: Report, kind: str) -> Finding:
    """The only finding, which is of this kind."""
    assert kinds(report) == [kind]
    return report.findings.told[0]
