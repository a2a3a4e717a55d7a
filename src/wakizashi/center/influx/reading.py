"""InfluxQL that reads, and rows from what it answers. Knows no HTTP.

Buckets are InfluxDB's own: ``GROUP BY time(Xms)`` begins them at multiples of X since
1970, also where X is a week, and ``fill(none)`` leaves the empty ones out. Its sums of
integers are integers.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from wakizashi.center.backend import BY_KEYS, SUMS, Row
from wakizashi.center.folding import Fold
from wakizashi.center.selection import Choice, Selection
from wakizashi.model import LATER_FIELDS, TALLIES, Ledger, LedgerRecord, LedgerSum, Tally

Select = Callable[[str, str], Iterator[dict[str, Any]]]
"""Runs a statement on a measurement, which it is told first; the series of the answer, in parts."""

_ESCAPES = str.maketrans({"\\": "\\\\", "'": "\\'", "\n": "\\n"})
_NUMBERS = tuple(f"{name}_{unit}" for name in TALLIES for unit in ("packets", "bytes"))
_TRIES = 5
"""How often the sums of a device are asked for; the last time they are taken as they are."""


def quoted(text: str) -> str:
    """A string of InfluxQL."""
    return f"'{text.translate(_ESCAPES)}'"


_Row = TypeVar("_Row")


def some(rows: Iterator[_Row], look: Callable[[], None]) -> Iterator[_Row]:
    """The rows; ``look`` is called where there are none.

    InfluxDB answers alike for a measurement that it does not have and for a span without
    points, and only an empty answer leaves that open: no other one asks for more.
    """
    for first in rows:
        yield first
        yield from rows
        return
    look()


def measurements(table: str) -> str:
    """What has series where a center has written to a table.

    Either measurement shows it: windows of a quiet network have ledgers and no traffic.
    """
    both = (f'SHOW MEASUREMENTS WITH MEASUREMENT = "{name}"' for name in (table, f"{table}_ledger"))
    return ";".join(both)


def condition(since_ms: int, until_ms: int, selection: Selection | None = None) -> str:
    """``WHERE`` for a span, and for what is selected in it."""
    parts = [f"time >= {since_ms}ms AND time < {until_ms}ms"]
    for clause in selection.clauses if selection else ():
        alternatives = [text for choice in clause for text in _alternatives(choice)]
        parts.append(_any(alternatives))
    return " AND ".join(parts)


def _alternatives(choice: Choice) -> Iterator[str]:
    for values in sorted(choice.values):
        yield _all(dict(zip(choice.keys, values, strict=True)))


def _all(tags: Mapping[str, str]) -> str:
    return " AND ".join(f'"{key}" = {quoted(value)}' for key, value in tags.items())


def _any(alternatives: Sequence[str]) -> str:
    """One of them; a balanced tree, for the server walks through it by recursion."""
    if len(alternatives) == 1:
        return f"({alternatives[0]})"
    middle = len(alternatives) // 2
    return f"({_any(alternatives[:middle])} OR {_any(alternatives[middle:])})"


def traffic(
    select: Select,
    table: str,
    since_ms: int,
    until_ms: int,
    by: Sequence[str],
    step_ms: int,
    selection: Selection,
    sums: Sequence[str],
) -> Iterator[Row]:
    """See :meth:`wakizashi.center.backend.Backend.traffic`."""
    where = f'FROM "{table}" WHERE {condition(since_ms, until_ms, selection)}'
    if not by and not step_ms:
        fields = ",".join(f'"{name}"' for name in (*BY_KEYS, *SUMS))
        for series in select(table, f"SELECT {fields} {where}"):
            names = ["timestamp", *series["columns"][1:]]
            for values in series["values"]:
                yield dict(zip(names, values, strict=True))
        return
    groups = [f'"{key}"' for key in by]
    if step_ms:
        groups.insert(0, f"time({step_ms}ms)")
    grouped = f"GROUP BY {','.join(groups)}" + (" fill(none)" if step_ms else "")
    fields = ",".join(f'sum("{name}") AS "{name}"' for name in sums)
    for series in select(table, f"SELECT {fields} {where} {grouped}"):
        tags: Row = {key: str(series["tags"][key]) for key in by}
        for timestamp, *numbers in series["values"]:
            bucket: Row = {"timestamp": timestamp} if step_ms else {}
            yield {**bucket, **tags, **dict(zip(sums, numbers, strict=True))}


def ledgers(select: Select, table: str, since_ms: int, until_ms: int) -> Iterator[LedgerRecord]:
    """See :meth:`wakizashi.center.backend.Backend.ledgers`."""
    query = f'SELECT * FROM "{table}" WHERE {condition(since_ms, until_ms)}'
    for series in select(table, query):
        for values in series["values"]:
            row = dict(zip(series["columns"], values, strict=True))
            # Not there at all, or null beside points that have it.
            row |= {name: no for name, no in LATER_FIELDS.items() if row.get(name) is None}
            yield LedgerRecord(
                timestamp=row["time"],
                probe=row["probe"],
                device=row["device"],
                number=row["number"],
                duration=row["duration"],
                ledger=Ledger(
                    **{n: Tally(row[f"{n}_packets"], row[f"{n}_bytes"]) for n in TALLIES}
                ),
                windows=row["windows"],
            )


# -- sums of ledgers -------------------------------------------------------------------------

_Device = tuple[str, str]
_ENDS = '("number") AS "number","duration","windows"'
_SUMS = ",".join(
    [
        'count("number") AS "all"',
        'count("windows") AS "counted"',
        'sum("windows") AS "windows"',
        'max("duration") AS "longest"',
        *(f'sum("{name}") AS "{name}"' for name in _NUMBERS),
    ]
)


def ledger_sums(select: Select, table: str, since_ms: int, until_ms: int) -> Iterator[LedgerSum]:
    """See :meth:`wakizashi.center.backend.Backend.ledger_sums`.

    Only a statement with a single selector tells the time of what it selects, so there
    are several; and even one looks at its fields one after the other. So ledgers are
    counted before and after: of a device of which some came meanwhile all is asked again,
    but only up to the last that was seen, so that those still to come change nothing.
    """
    fold = Fold()
    where = condition(since_ms, until_ms)
    for left in reversed(range(_TRIES)):

        def ask(fields: str, where: str = where) -> dict[_Device, dict[str, Any]]:
            query = f'SELECT {fields} FROM "{table}" WHERE {where} GROUP BY "probe","device"'
            return dict(_devices(select(table, query)))

        before = ask('count("number") AS "all"')
        first, last, sums = ask(f"first{_ENDS}"), ask(f"last{_ENDS}"), ask(_SUMS)
        after = ask('count("number") AS "all"')
        moved = [key for key in after if before.get(key) != after[key]]
        for key in before.keys() & first.keys() & last.keys() & sums.keys():
            if left == 0 or key not in moved:
                _add(fold, key, first[key], last[key], sums[key])
        if not moved:
            break
        named = ({"probe": probe, "device": device} for probe, device in moved)
        until_ms = max((last[key]["time"] + 1 for key in moved if key in last), default=until_ms)
        where = f"{condition(since_ms, until_ms)} AND {_any(list(map(_all, named)))}"
    return fold.sums()


def _add(
    fold: Fold, key: _Device, first: dict[str, Any], last: dict[str, Any], sums: dict[str, Any]
) -> None:
    fold.add(
        *key,
        # Points from before there was such a field are one each.
        windows=(sums["windows"] or 0) + sums["all"] - (sums["counted"] or 0),
        first=(first["time"], first["number"] - (first["windows"] or 1) + 1),
        last=(last["time"], last["time"] + last["duration"], last["number"]),
        longest_ms=sums["longest"],
        numbers=[sums[name] or 0 for name in _NUMBERS],
    )


def _devices(found: Iterator[dict[str, Any]]) -> Iterator[tuple[_Device, dict[str, Any]]]:
    """The row of each probe and device."""
    for series in found:
        (values,) = series["values"]
        row = dict(zip(series["columns"], values, strict=True))
        yield (series["tags"]["probe"], series["tags"]["device"]), row
