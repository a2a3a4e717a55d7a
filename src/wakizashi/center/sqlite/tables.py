"""The tables of the SQLite backend: their statements, and ledgers as rows. Pure."""

import json
from collections.abc import Collection, Sequence
from typing import Any

from wakizashi.center.selection import Selection
from wakizashi.model import LATER_FIELDS, TALLIES, Ledger, LedgerRecord, Tally

LAYOUT = 1
"""The layout's number, ``PRAGMA user_version``; it rises when the tables change.

Columns that came later do not raise it: they have a default, are added to tables without them, and
every statement names its columns. So the release before reads and writes the file as well.
"""

_NUMBERS = tuple(f"{tally}_{unit}" for tally in TALLIES for unit in ("packets", "bytes"))
_RECORD = ("probeIP", "srcIP", "dstIP", "size", "packets")
_DEVICE = ("device", "number", "duration", "windows", *_NUMBERS)
_IN_SLICE = "(timestamp, probe) > (?, ?) AND (timestamp, probe) <= (?, ?)"


class Tables:
    """The statements for one table name, which is a checked identifier.

    (timestamp, probe) > (?, ?) is a range of the windows' index, so every query
    reads the windows of its time and no others.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        window, record, device = (f'"{name}_{part}"' for part in ("window", "record", "device"))
        self._view, self._ledger = f'"{name}"', f'"{name}_ledger"'
        joined = f"FROM {window} JOIN {{}} ON window = id WHERE timestamp IS NOT NULL"
        create_views = (
            f'CREATE VIEW IF NOT EXISTS "{name}" AS SELECT timestamp, probe, '
            f"{', '.join(_RECORD)}, tags {joined.format(record)}",
            f'CREATE VIEW IF NOT EXISTS "{name}_ledger" AS SELECT timestamp, probe, '
            f"{', '.join(_DEVICE)}, tags {joined.format(device)}",
        )
        self.create = (
            f"CREATE TABLE IF NOT EXISTS {window} (id INTEGER PRIMARY KEY, timestamp INTEGER, "
            "probe TEXT NOT NULL, tags TEXT NOT NULL, UNIQUE (timestamp, probe))",
            _create(record, _RECORD, 3),
            _create(device, _DEVICE, 1),
            *create_views,
            f"PRAGMA user_version = {LAYOUT}",
        )
        self.device_columns = f"PRAGMA table_info({device})"
        self._add = f"ALTER TABLE {device} ADD COLUMN {{}}"
        self._views_anew = (
            f'DROP VIEW IF EXISTS "{name}"',
            f'DROP VIEW IF EXISTS "{name}_ledger"',
            *create_views,
        )
        self.upsert_window = (
            f"INSERT INTO {window} (timestamp, probe, tags) VALUES (?, ?, ?) "
            "ON CONFLICT (timestamp, probe) DO UPDATE SET tags = excluded.tags RETURNING id"
        )
        self.upsert_record = _upsert(record, _RECORD, 3)
        self.upsert_device = _upsert(device, _DEVICE, 1)

        self.ends = (
            f"SELECT (SELECT min(timestamp) FROM {window}), (SELECT max(timestamp) FROM {window})"
        )
        in_span = f"(timestamp) FROM {window} WHERE timestamp >= ? AND timestamp < ?"
        self.ends_of_span = f"SELECT (SELECT min{in_span}), (SELECT max{in_span})"
        self.expire = f"UPDATE {window} SET timestamp = NULL WHERE timestamp = ?"
        self.expired = f"SELECT id FROM {window} WHERE timestamp IS NULL LIMIT 1"
        self.record_at = (
            f"SELECT probeIP, srcIP, dstIP FROM {record} WHERE window = ? "
            "ORDER BY probeIP, srcIP, dstIP LIMIT 1 OFFSET ?"
        )
        self.delete_records = f"DELETE FROM {record} WHERE window = ?"
        self.delete_records_before = (
            f"{self.delete_records} AND (probeIP, srcIP, dstIP) < (?, ?, ?)"
        )
        self.delete_devices = f"DELETE FROM {device} WHERE window = ?"
        self.delete_window = f"DELETE FROM {window} WHERE id = ?"

        after = (
            f"SELECT timestamp, probe FROM {window} WHERE (timestamp, probe) > (?, ?) "
            "AND timestamp < ? ORDER BY timestamp, probe LIMIT"
        )
        self.windows = f"{after} ?"
        self.windows_at = f"{after} 1 OFFSET ?"
        # By name, not by id: of a window that has expired meanwhile nothing is to be read.
        self._devices = (
            f"FROM {device} WHERE window = (SELECT id FROM {window} WHERE timestamp = ? "
            "AND probe = ?) ORDER BY device"
        )
        self._joined_devices = f"FROM {window} JOIN {device} ON window = id WHERE {_IN_SLICE}"

    def complete(self, found: Collection[str]) -> list[str]:
        """What adds the columns that came later to a table ``_device`` of the columns ``found``."""
        missing = [name for name in LATER_FIELDS if name not in found]
        return [
            *(self._add.format(_column(name)) for name in missing),
            *(self._views_anew if missing else ()),
        ]

    def devices(self, found: Collection[str]) -> str:
        """The ledgers of a window, where the table ``_device`` has the columns ``found``."""
        columns = [_later(name, found) for name in _DEVICE]
        return f"SELECT {', '.join(columns)} {self._devices}"

    def records(self, selected: str) -> str:
        """The selected records of a window, by their names, after one of them."""
        return (
            f"SELECT {', '.join(_RECORD)} FROM {self._view} WHERE timestamp = ? AND probe = ? "
            f"AND (probeIP, srcIP, dstIP) > (?, ?, ?){selected} "
            "ORDER BY probeIP, srcIP, dstIP LIMIT ?"
        )

    def sums(
        self, keys: Sequence[str], selected: str, summed: Sequence[str], *, halves: bool
    ) -> str:
        """For each combination in a slice: the number of rows, and sums.

        Args:
            keys: what to group by: expressions, none holding a parameter.
            selected: see :func:`selects`.
            summed: the columns to sum up.
            halves: sums by upper and lower 32 bits, which don't overflow.
        """
        return (
            f"SELECT {''.join(f'{key}, ' for key in keys)}count(*), "
            f"{', '.join(_sums(summed, halves=halves))} FROM {self._view} "
            f"WHERE {_IN_SLICE}{selected} GROUP BY {', '.join(keys)}"
        )

    def device_sums(self, found: Collection[str], *, halves: bool = True) -> str:
        """For each device of each probe in a slice: the number of rows, ends, and sums.

        A start and what goes with it are looked up in the rows that have it, for
        ``min`` and ``max`` in one statement do not tell which row is theirs.
        """
        later = {name: _later(name, found) for name in ("windows", *_NUMBERS)}
        sums = _sums([later[name] for name in ("windows", *_NUMBERS)], halves=halves)
        groups = (
            "SELECT probe AS p, device AS d, count(*) AS number_of, min(timestamp) AS first, "
            "max(timestamp) AS last, max(duration) AS longest, "
            + ", ".join(f"{text} AS s{number}" for number, text in enumerate(sums))
            + f" {self._joined_devices} GROUP BY probe, device"
        )
        numbers = ", ".join(f"s{number}" for number in range(len(sums)))
        at = f"FROM {self._ledger} WHERE probe = p AND device = d AND timestamp ="
        return (
            f"SELECT p, d, number_of, first, (SELECT number - {later['windows']} + 1 {at} first), "
            f"last, (SELECT duration {at} last), (SELECT number {at} last), longest, {numbers} "
            f"FROM ({groups})"
        )

    def ledger_row(self, record: LedgerRecord) -> tuple[str | int, ...]:
        """A ledger as the table ``_device`` holds it, without its window."""
        numbers: list[int] = []
        for name in TALLIES:
            tally: Tally = getattr(record.ledger, name)
            numbers += (tally.packets, tally.bytes)
        return (record.device, record.number, record.duration, record.windows, *numbers)

    def ledger(self, timestamp: int, probe: str, row: tuple[Any, ...]) -> LedgerRecord:
        """The ledger in a row of the table ``_device``."""
        device, number, duration, windows, *numbers = row
        tallies = {
            name: Tally(numbers[2 * i], numbers[2 * i + 1]) for i, name in enumerate(TALLIES)
        }
        ledger = Ledger(**tallies)
        return LedgerRecord(timestamp, probe, device, number, duration, ledger, windows)


def selects(selection: Selection) -> tuple[str, list[str]]:
    """What to add to a condition on the view of records, and its parameters.

    Values come as one JSON array for each list, for the number of parameters is limited.
    """
    text, values = "", []
    for clause in selection.clauses:
        parts = []
        for choice in clause:
            keys, places = ", ".join(choice.keys), range(len(choice.keys))
            found = ", ".join(f"json_extract(value, '$[{place}]')" for place in places)
            parts.append(f"({keys}) IN (SELECT {found} FROM json_each(?))")
            values.append(json.dumps(sorted(choice.values)))
        text += f" AND ({' OR '.join(parts)})"
    return text, values


def _later(name: str, found: Collection[str]) -> str:
    """A column of the table ``_device``, or what one that came later means where it is not there."""
    return str(LATER_FIELDS[name]) if name in LATER_FIELDS and name not in found else name


def _sums(names: Sequence[str], *, halves: bool) -> list[str]:
    if not halves:
        return [f"sum({name})" for name in names]
    return [half for n in names for half in (f"sum({n} >> 32)", f"sum({n} & 4294967295)")]


def _column(name: str) -> str:
    kind = "TEXT" if name in {"probeIP", "srcIP", "dstIP", "device"} else "INTEGER"
    default = f" DEFAULT {LATER_FIELDS[name]}" if name in LATER_FIELDS else ""
    return f"{name} {kind} NOT NULL{default}"


def _create(table: str, columns: Sequence[str], keys: int) -> str:
    return (
        f"CREATE TABLE IF NOT EXISTS {table} "
        f"(window INTEGER NOT NULL, {', '.join(map(_column, columns))}, "
        f"PRIMARY KEY (window, {', '.join(columns[:keys])})) WITHOUT ROWID"
    )


def _upsert(table: str, columns: Sequence[str], keys: int) -> str:
    """An insert that sets the other columns of a row that is there; it never adds."""
    sets = ", ".join(f"{name} = excluded.{name}" for name in columns[keys:])
    return (
        f"INSERT INTO {table} (window, {', '.join(columns)}) "
        f"VALUES ({', '.join('?' * (len(columns) + 1))}) "
        f"ON CONFLICT (window, {', '.join(columns[:keys])}) DO UPDATE SET {sets}"
    )
