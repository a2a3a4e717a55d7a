"""Reads the tables slice by slice.

A transaction lasts as long as one slice is fetched, and never while the caller
thinks: an open one would keep the write-ahead log from starting over, and the
log would grow for as long. What is written or expires meanwhile may be among
the rows or not, a window of up to ``SLICE_ROWS`` records as a whole.
"""

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import add
from typing import Any

from wakizashi.center.backend import Row
from wakizashi.center.folding import Fold
from wakizashi.center.selection import Selection
from wakizashi.center.sqlite.tables import Tables, selects
from wakizashi.model import LedgerRecord, LedgerSum

SLICE_ROWS = 10_000
"""Most records fetched in one transaction."""
SUM_ROWS, SUM_WINDOWS = 200_000, 1_000
"""About how many records are summed up in one transaction (0.15 s of work); most windows."""

Totals = dict[tuple[Any, ...], list[int]]
"""Sums by combination."""
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
    reader: sqlite3.Connection,
    tables: Tables,
    since_ms: int,
    until_ms: int,
    selection: Selection,
) -> Iterator[Row]:
    """All records, oldest first."""
    selected, values = selects(selection)
    query = tables.records(selected)
    for window in _windows(reader, tables, since_ms, until_ms):
        if not selection.may_hold(window[1]):
            continue
        after: tuple[str | int, ...] = ("", "", "")
        page: list[tuple[str | int, ...]] | None = None
        while page is None or len(page) == SLICE_ROWS:
            page = reader.execute(query, (*window, *after, *values, SLICE_ROWS)).fetchall()
            for row in page:
                yield dict(zip(_NAMES, (*window, *row), strict=True))
            after = page[-1][:3] if page else after


def _slices(
    reader: sqlite3.Connection,
    tables: Tables,
    span: tuple[int, int],
    query: Callable[[bool], str],
    values: Sequence[str],
    count_at: int,
) -> Iterator[tuple[list[tuple[Any, ...]], bool]]:
    """The rows that a query gives for each slice, and whether its sums are in halves.

    Sums of whole numbers are a little faster, and end in an error beyond 63 bits. ``query``
    makes the query, for halves or not, whose last parameters are ``values``; its column
    ``count_at`` has the number of records.
    """
    since_ms, until_ms = span
    after, end, count = _start(since_ms), _start(until_ms), 1
    halves = False
    text = query(halves)
    while after < end:
        found = reader.execute(tables.windows_at, (*after, until_ms, count - 1)).fetchone()
        last = found or end
        try:
            page = reader.execute(text, (*after, *last, *values)).fetchall()
        except sqlite3.OperationalError as error:
            if halves or "overflow" not in str(error):
                raise
            halves = True
            text = query(halves)
            continue
        yield page, halves
        rows = sum(row[count_at] for row in page)
        count = max(1, min(SUM_WINDOWS, count * SUM_ROWS // max(rows, 1)))
        after = last


def halves_of(
    reader: sqlite3.Connection, tables: Tables, since_ms: int, until_ms: int
) -> list[tuple[int, int]]:
    """A span in two, to be read on two threads, where it has windows of several times."""
    query = tables.ends_of_span
    first, last = reader.execute(query, (since_ms, until_ms) * 2).fetchone()
    if first == last:  # or none at all
        return [(since_ms, until_ms)]
    middle = (first + last + 1) // 2
    return [(since_ms, middle), (middle, until_ms)]


def put_together(parts: Iterable[Totals]) -> Totals:
    """The sums of all parts."""
    together, *others = parts
    for part in others:
        for key, numbers in part.items():
            _add(together, key, numbers)
    return together


def _add(totals: Totals, key: tuple[Any, ...], numbers: Sequence[int]) -> None:
    found = totals.get(key)
    totals[key] = list(numbers) if found is None else list(map(add, found, numbers))


def sums(
    reader: sqlite3.Connection,
    tables: Tables,
    span: tuple[int, int],
    by: Sequence[str],
    step_ms: int,
    selection: Selection,
    summed: Sequence[str],
) -> Totals:
    """Exact sums of each combination, the bucket before the other keys."""
    selected, values = selects(selection)
    # What the windows' index is sorted by needs no sorting, and buckets are made of it here.
    by_window = set(by) <= {"probe"}
    keys = ("timestamp", "probe") if by_window else (*((_bucket(step_ms),) * bool(step_ms)), *by)

    def query(halves: bool) -> str:
        return tables.sums(keys, selected, summed, halves=halves)

    totals: Totals = {}
    width = len(keys)
    # Sorted in memory: a slice of SUM_ROWS takes some 16 MB.
    reader.execute("PRAGMA temp_store=MEMORY")
    for page, halves in _slices(reader, tables, span, query, values, width):
        for row in page:
            key = row[:width]
            if by_window:
                timestamp, probe = key
                bucket = (timestamp - timestamp % step_ms,) if step_ms else ()
                key = (*bucket, probe) if by else bucket
            _add(totals, key, _whole(row[width + 1 :], halves=halves))
    return totals


def _bucket(step_ms: int) -> str:
    return f"timestamp - timestamp % {step_ms}"


def _whole(numbers: Sequence[int], *, halves: bool) -> Sequence[int]:
    if not halves:
        return numbers
    return [(high << 32) + low for high, low in zip(numbers[::2], numbers[1::2], strict=True)]


def ledger_sums(
    reader: sqlite3.Connection, tables: Tables, since_ms: int, until_ms: int
) -> Iterator[LedgerSum]:
    """The ledgers summed up, by probe and device."""
    columns = [name for _, name, *_ in reader.execute(tables.device_columns)]

    def query(halves: bool) -> str:
        return tables.device_sums(columns, halves=halves)

    fold = Fold()
    for page, halves in _slices(reader, tables, (since_ms, until_ms), query, (), 2):
        for probe, device, _, start, first, last, duration, number, longest, *numbers in page:
            windows, *tallies = _whole(numbers, halves=halves)
            fold.add(
                probe,
                device,
                windows=windows,
                first=(start, first),
                last=(last, last + duration, number),
                longest_ms=longest,
                numbers=tallies,
            )
    return fold.sums()


def ledgers(
    reader: sqlite3.Connection, tables: Tables, since_ms: int, until_ms: int
) -> Iterator[LedgerRecord]:
    """All ledgers, oldest first."""
    query = tables.devices([name for _, name, *_ in reader.execute(tables.device_columns)])
    for window in _windows(reader, tables, since_ms, until_ms):
        for row in reader.execute(query, window).fetchall():
            yield tables.ledger(*window, row)
