"""The tables of the SQLite backend: their statements, and ledgers as rows. Pure."""

from collections.abc import Collection, Sequence
from typing import Any

from wakizashi.model import LATER_FIELDS, TALLIES, Ledger, LedgerRecord, Tally

LAYOUT = 1
"""The layout's number, ``PRAGMA user_version``; it rises when the tables change.

Columns that came later do not raise it: they have a default, are added to tables without them, and
every statement names its columns. So the release before reads and writes the file as well.
"""

_NUMBERS = tuple(f"{tally}_{unit}" for tally in TALLIES for unit in ("packets", "bytes"))
_RECORD = ("probeIP", "srcIP", "dstIP", "size", "packets")
_DEVICE = ("device", "number", "duration", "windows", *_NUMBERS)


class Tables:
    """The statements for one table name, which is a checked identifier.

    (timestamp, probe) > (?, ?) is a range of the windows' index, so every query
    reads the windows of its time and no others.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        window, record, device = (f'"{name}_{part}"' for part in ("window", "record", "device"))
        self._view = f'"{name}"'
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
        this = f"window = (SELECT id FROM {window} WHERE timestamp = ? AND probe = ?)"
        self.records = (
            f"SELECT {', '.join(_RECORD)} FROM {record} WHERE {this} "
            "AND (probeIP, srcIP, dstIP) > (?, ?, ?) ORDER BY probeIP, srcIP, dstIP LIMIT ?"
        )
        self._devices = f"FROM {device} WHERE {this} ORDER BY device"

    def complete(self, found: Collection[str]) -> list[str]:
        """What adds the columns that came later to a table ``_device`` of the columns ``found``."""
        missing = [name for name in LATER_FIELDS if name not in found]
        return [
            *(self._add.format(_column(name)) for name in missing),
            *(self._views_anew if missing else ()),
        ]

    def devices(self, found: Collection[str]) -> str:
        """The ledgers of a window, where the table ``_device`` has the columns ``found``."""
        columns = [
            str(LATER_FIELDS[name]) if name in LATER_FIELDS and name not in found else name
            for name in _DEVICE
        ]
        return f"SELECT {', '.join(columns)} {self._devices}"

    def sums(self, by: Sequence[str]) -> str:
        """For each combination: the number of rows, and sums by upper and lower 32 bits."""
        keys = ", ".join(by)
        halves = ", ".join(
            f"sum({name} >> 32), sum({name} & 4294967295)" for name in ("size", "packets")
        )
        return (
            f"SELECT {keys}, count(*), {halves} FROM {self._view} "
            "WHERE (timestamp, probe) > (?, ?) AND (timestamp, probe) <= (?, ?) "
            f"GROUP BY {keys}"
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
