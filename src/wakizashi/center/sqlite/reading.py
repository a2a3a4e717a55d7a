"""Reads the tables slice by slice.

A transaction lasts as long as one slice is fetched, and never while the caller
thinks: an open one would keep the write-ahead log from starting over, and the
log would grow for as long. What is written or expires meanwhile may be among
the rows or not, a window of up to ``SLICE_ROWS`` records as a whole.
"""

import sqlite3
from collections.abc import Iterator, Sequence

from wakizashi.center.backend import Row
from wakizashi.center.sqlite.tables import Tables
from wakizashi.model import LedgerRecord

SLICE_ROWS = 10_000
"""Most records fetched in one transaction."""
SUM_ROWS, SUM_WINDOWS = 200_000, 1_000
"""About how many records are summed up in one transaction (0.15 s of work); most windows."""

_Name = tuple[int, str]
_NAMES = ("timestamp", "probe", "probeIP", "srcIP", "dstIP", "size", "packets")


def _start(since_ms: int) -> _Name:
    """What is less than every window from ``since_ms`` on, for no probe has an empty name."""
    return since_ms, ""


def _windows(
    reader: sqlite3.Connection, tables: Tables, since_ms: int, until_ms: int
) -> Iterator[_Name]:
    """The (timestamp, probe) of all windows, oldest first."""
    after = _start(since_ms)
    while page := reader.execute(tables.windows, (*after, until_ms, SLICE_ROWS)).fetchall():
        yield from page
        after = page[-1]


def traffic(
    reader: sqlite3.Connection, tables: Tables, since_ms: int, until_ms: int
) -> Iterator[Row]:
    """All records, oldest first."""
    for window in _windows(reader, tables, since_ms, until_ms):
        after: tuple[str | int, ...] = ("", "", "")
        page: list[tuple[str | int, ...]] | None = None
        while page is None or len(page) == SLICE_ROWS:
            page = reader.execute(tables.records, (*window, *after, SLICE_ROWS)).fetchall()
            for row in page:
                yield dict(zip(_NAMES, (*window, *row), strict=True))
            after = page[-1][:3] if page else after


def sums(
    reader: sqlite3.Connection, tables: Tables, since_ms: int, until_ms: int, by: Sequence[str]
) -> Iterator[Row]:
    """Exact sums of each combination, sorted.

    Sizes are summed in halves, which no slice can overflow, and put together
    here: SQLite's ``sum`` of whole ones ends in an error beyond 63 bits.
    """
    totals: dict[tuple[str, ...], list[int]] = {}
    query = tables.sums(by)
    after, end, count = _start(since_ms), _start(until_ms), 1
    while after < end:
        found = reader.execute(tables.windows_at, (*after, until_ms, count - 1)).fetchone()
        last = found or end
        rows = 0
        for *key, number, high, low, packets_high, packets_low in reader.execute(
            query, (*after, *last)
        ).fetchall():
            total = totals.setdefault(tuple(key), [0, 0])
            total[0] += (high << 32) + low
            total[1] += (packets_high << 32) + packets_low
            rows += number
        count = max(1, min(SUM_WINDOWS, count * SUM_ROWS // max(rows, 1)))
        after = last
    for names, (size, packets) in sorted(totals.items()):
        yield {**dict(zip(by, names, strict=True)), "size": size, "packets": packets}


def ledgers(
    reader: sqlite3.Connection, tables: Tables, since_ms: int, until_ms: int
) -> Iterator[LedgerRecord]:
    """All ledgers, oldest first."""
    query = tables.devices([name for _, name, *_ in reader.execute(tables.device_columns)])
    for window in _windows(reader, tables, since_ms, until_ms):
        for row in reader.execute(query, window).fetchall():
            yield tables.ledger(*window, row)
