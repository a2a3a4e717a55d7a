"""An audit as a table for people, and as JSON for programs: ``docs/audit.md`` is its contract. Pure."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from wakizashi.audit.accounts import Account
from wakizashi.audit.analysis import ProbeReport, Report
from wakizashi.audit.findings import KINDS, Finding
from wakizashi.audit.pairs import Pair
from wakizashi.model import TALLIES, Tally

VERSION = 1
"""Of the JSON document; fields may be added, none changes its meaning without a new number."""
MOST_PAIRS = 10
"""Pairs in the table; the JSON document has all."""

_HEADS = ("device", "counted", "own", "non-IP", "dropped", "lost", "unexplained")


def verdict(report: Report) -> str:
    """One line: what the exit code says."""
    faults = report.findings.faults
    if not faults:
        return "all adds up"
    return f"does not add up: {faults} fault{'s' if faults > 1 else ''}"


# -- JSON ------------------------------------------------------------------------------------


def document(report: Report, backend: str) -> dict[str, Any]:
    """The JSON document."""
    return {
        "version": VERSION,
        "backend": backend,
        "since": report.since_ms,
        "until": report.until_ms,
        "addsUp": report.adds_up,
        "faults": report.findings.faults,
        "counts": dict(report.findings.counts),
        "findings": [_finding(finding) for finding in report.findings.told],
        "probes": [_probe(probe) for probe in report.probes],
        "pairs": [_pair(pair) for pair in report.pairs],
    }


def _tally(tally: Tally) -> dict[str, int]:
    return {"packets": tally.packets, "bytes": tally.bytes}


def _share(part: Tally, whole: Tally) -> dict[str, float | None]:
    return {
        unit: round(getattr(part, unit) / getattr(whole, unit), 6) if getattr(whole, unit) else None
        for unit in ("packets", "bytes")
    }


def _finding(finding: Finding) -> dict[str, Any]:
    return {
        "kind": finding.kind,
        "fault": finding.fault,
        "probe": finding.probe,
        "device": finding.device or None,
        "since": finding.since_ms,
        "until": finding.until_ms,
        "packets": finding.packets,
        "bytes": finding.bytes,
        "numbers": list(finding.numbers) if finding.numbers else None,
        "text": finding.text,
        "lookAt": KINDS[finding.kind].look_at,
    }


def _probe(probe: ProbeReport) -> dict[str, Any]:
    return {
        "probe": probe.name,
        "windows": probe.windows,
        "since": probe.first_ms,
        "until": probe.end_ms,
        "points": probe.points,
        "stored": _tally(probe.stored),
        "devices": [_device(name, account) for name, account in probe.devices.items()],
    }


def _device(name: str, account: Account) -> dict[str, Any]:
    ledger = account.ledger
    return {
        "device": name,
        "windows": account.windows,
        "ledger": {tally: _tally(getattr(ledger, tally)) for tally in TALLIES},
        "unexplained": _tally(ledger.device - ledger.accounted),
        "coverage": _share(ledger.accounted, ledger.device),
        "countedShare": _share(ledger.counted, ledger.device),
    }


def _pair(pair: Pair) -> dict[str, Any]:
    return {
        "sender": pair.sender,
        "receiver": pair.receiver,
        "srcIP": pair.source,
        "dstIP": pair.destination,
        "since": pair.since_ms,
        "until": pair.until_ms,
        "watchedMs": pair.watched_ms,
        "sent": _tally(pair.sent),
        "received": _tally(pair.received),
        "difference": _tally(pair.sent - pair.received),
        "ratio": _share(pair.received, pair.sent),
        "differs": pair.differs,
    }


# -- the table -------------------------------------------------------------------------------


def lines(report: Report, backend: str) -> Iterator[str]:
    """The audit for people, the verdict last."""
    span = f"{_time(report.since_ms)} to {_time(report.until_ms)}"
    windows = sum(probe.windows for probe in report.probes)
    points = sum(probe.points for probe in report.probes)
    yield f"{backend}, {span}"
    yield f"probes: {len(report.probes):,}, windows: {windows:,}, points of traffic: {points:,}"
    rows = [
        (probe.name, name, *_cells(account))
        for probe in report.probes
        for name, account in probe.devices.items()
    ]
    if rows:
        yield ""
        yield "Bytes, and the part of them and of the packets whose fate is known:"
        heads = ("probe", "", *_HEADS, "coverage", "packets")
        yield from _table([heads, *rows], texts=2)
    if report.pairs:
        yield ""
        yield "Between two probes, over the time that both watched, in bytes:"
        columns = ("sender", "receiver", "srcIP", "dstIP", "sent", "received", "ratio")
        shown = report.pairs[:MOST_PAIRS]
        yield from _table([columns, *(_pair_cells(pair) for pair in shown)], texts=4)
        if len(report.pairs) > MOST_PAIRS:
            yield f"and {len(report.pairs) - MOST_PAIRS:,} smaller ones: --format json"
    if report.findings.told:
        yield ""
    told = dict.fromkeys(KINDS, 0)
    for finding in report.findings.told:
        told[finding.kind] += 1
        yield _line(finding)
    for kind, number in report.findings.counts:
        if number > told[kind]:
            yield f"{_rank(kind)} {kind}: and {number - told[kind]:,} more"
    yield ""
    yield verdict(report)


def _rank(kind: str) -> str:
    return "FAULT" if KINDS[kind].fault else "note "


def _line(finding: Finding) -> str:
    where = " ".join(part for part in (finding.probe, finding.device) if part)
    numbers = ""
    if finding.numbers:
        first, last = finding.numbers
        numbers = f" (number {first})" if first == last else f" (numbers {first} to {last})"
    when = f"{_time(finding.since_ms)} to {_time(finding.until_ms)}"
    look_at = KINDS[finding.kind].look_at
    return (
        f"{_rank(finding.kind)} {finding.kind}{': ' if where else ''}{where}, {when}{numbers}: "
        f"{finding.text}; {look_at}"
    )


def _cells(account: Account) -> tuple[str, ...]:
    ledger = account.ledger
    parts = (ledger.device, ledger.counted, ledger.own, ledger.non_ip, ledger.dropped, ledger.lost)
    rest = ledger.device - ledger.accounted
    shares = _share(ledger.accounted, ledger.device)
    return (
        *(f"{tally.bytes:,}" for tally in (*parts, rest)),
        _percent(shares["bytes"]),
        _percent(shares["packets"]),
    )


def _pair_cells(pair: Pair) -> tuple[str, ...]:
    return (
        pair.sender,
        pair.receiver,
        pair.source,
        pair.destination,
        f"{pair.sent.bytes:,}",
        f"{pair.received.bytes:,}",
        _percent(_share(pair.received, pair.sent)["bytes"]),
    )


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.3f} %"


def _table(rows: Sequence[Sequence[str]], *, texts: int) -> Iterator[str]:
    """Columns; all but the first ``texts`` to the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        cells = [
            cell.ljust(width) if i < texts else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield "  ".join(cells).rstrip()


def _time(time_ms: int) -> str:
    moment = datetime.fromtimestamp(time_ms / 1000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
