"""SQLite: an embedded file, for one center and for trying things out.

Two tables, ``TABLE`` and ``TABLE_ledger``; one row a point, its key the point's
identity, so that writing it again sets the same row. Tags are a JSON object.

Debian's SQLite 3.40 has a WAL bug with two connections that write or
checkpoint: here one connection writes and checkpoints, every other one opens
read-only. ``synchronous=FULL``: a commit that returned is on the disk.
"""

import contextlib
import json
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from wakizashi.center.backend import Backend, Row, check_by
from wakizashi.config import Section
from wakizashi.errors import Permanent, Retryable, WakizashiError
from wakizashi.model import Ledger, LedgerRecord, StoredWindow, Tally

if TYPE_CHECKING:
    from wakizashi.center.config import BackendConfig

CONFIG_KEY = "sqliteConfig"

_TALLIES = ("device", "counted", "own", "non_ip", "dropped", "other")
_TRAFFIC = ("timestamp", "probe", "probeIP", "srcIP", "dstIP", "size", "packets")
_LEDGER = (
    "timestamp",
    "probe",
    "device",
    "number",
    "duration",
    *(f"{tally}_{unit}" for tally in _TALLIES for unit in ("packets", "bytes")),
)


class Config(Section):
    """``backendConfig.sqliteConfig``."""

    path: Path = Path("./wakizashi.db")


def create(config: "BackendConfig", *, read_only: bool) -> Backend:
    """Make the backend; see :func:`wakizashi.center.backend.open_backend`."""
    section: Config = getattr(config, CONFIG_KEY)
    return Sqlite(section.path, config.table, config.timeout, read_only=read_only)


class Sqlite(Backend):
    """A SQLite file; the writing connection is opened with the first write."""

    def __init__(
        self, path: Path, table: str, timeout_seconds: float, *, read_only: bool = False
    ) -> None:
        self._path = path
        self._table, self._ledger_table = f'"{table}"', f'"{table}_ledger"'
        self._timeout = timeout_seconds
        self._read_only = read_only
        self._lock = threading.Lock()
        self._writer: sqlite3.Connection | None = None
        self._insert_traffic = _upsert(self._table, _TRAFFIC, 5)
        self._insert_ledger = _upsert(self._ledger_table, _LEDGER, 3)
        if read_only and not path.is_file():
            raise self._missing()

    @property
    def describe(self) -> str:
        """``SQLite at PATH``."""
        return f"SQLite at {self._path}"

    def _missing(self) -> WakizashiError:
        return WakizashiError(
            f"backendConfig.sqliteConfig.path: {self._path}: there is no such file; "
            "name the one that the center writes, or start the center first"
        )

    def _trouble(self, error: sqlite3.Error) -> Retryable:
        return Retryable(
            f"backendConfig.sqliteConfig.path: {self._path}: {error}; {_remedy(str(error))}"
        )

    # -- writing -----------------------------------------------------------------------------

    def write(self, windows: Sequence[StoredWindow]) -> None:
        """Upsert everything in one transaction."""
        traffic = []
        ledgers = []
        for window in windows:
            tags = json.dumps(dict(window.tags), sort_keys=True, ensure_ascii=False)
            for record in window.records:
                traffic.append((*(getattr(record, field) for field in _TRAFFIC), tags))
            for ledger in window.ledgers:
                ledgers.append((*_ledger_row(ledger), tags))
        with self._lock:
            try:
                writer = self._open_writer()
                with writer:  # commits, or rolls back
                    writer.execute("BEGIN IMMEDIATE")
                    writer.executemany(self._insert_traffic, traffic)
                    writer.executemany(self._insert_ledger, ledgers)
            except OverflowError as error:
                raise Permanent(
                    f"{self.describe}: a number does not fit into 64 bits: {error}"
                ) from error
            except (sqlite3.IntegrityError, sqlite3.DataError) as error:
                raise Permanent(f"{self.describe}: {error}") from error
            except sqlite3.Error as error:
                self._close_writer()  # the file may be another one by the next time
                raise self._trouble(error) from error

    def _open_writer(self) -> sqlite3.Connection:
        if self._read_only:
            raise Permanent(f"{self.describe}: was opened for reading only")
        if self._writer is None:
            writer = sqlite3.connect(
                self._path,
                timeout=self._timeout,
                isolation_level=None,
                check_same_thread=False,  # worker threads take turns under the lock
            )
            try:
                writer.execute("PRAGMA journal_mode=WAL")
                writer.execute("PRAGMA synchronous=FULL")
                writer.execute(_create(self._table, _TRAFFIC, 5))
                writer.execute(_create(self._ledger_table, _LEDGER, 3))
            except sqlite3.Error:
                writer.close()
                raise
            self._writer = writer
        return self._writer

    def _close_writer(self) -> None:
        if self._writer is not None:
            with contextlib.suppress(sqlite3.Error):
                self._writer.close()
            self._writer = None

    def check(self) -> None:
        """Open the file, making it if there is none."""
        with self._lock:
            try:
                if self._read_only:
                    self._open_reader().close()
                else:
                    writer = self._open_writer()
                    writer.execute("BEGIN IMMEDIATE")
                    writer.execute("ROLLBACK")
            except sqlite3.Error as error:
                self._close_writer()
                raise self._trouble(error) from error

    def close(self) -> None:
        """Close the writing connection, which checkpoints."""
        with self._lock:
            self._close_writer()

    # -- reading -----------------------------------------------------------------------------

    def _open_reader(self) -> sqlite3.Connection:
        # Reads may be iterated on another thread than they began on.
        return sqlite3.connect(
            f"file:{quote(str(self._path))}?mode=ro",
            uri=True,
            timeout=self._timeout,
            isolation_level=None,
            check_same_thread=False,
        )

    def _select(self, query: str, since_ms: int, until_ms: int) -> Iterator[tuple[str | int, ...]]:
        if not self._path.is_file():
            raise self._missing()
        try:
            with contextlib.closing(self._open_reader()) as reader:
                yield from reader.execute(query, (since_ms, until_ms))
        except sqlite3.Error as error:
            if "no such table" in str(error):
                raise WakizashiError(
                    f"backendConfig.table: {self._path} has no table {self._table}; "
                    "name the table that the center writes"
                ) from error
            raise self._trouble(error) from error

    def traffic(self, since_ms: int, until_ms: int, by: Sequence[str] = ()) -> Iterator[Row]:
        """See :meth:`wakizashi.center.backend.Backend.traffic`."""
        check_by(by)
        names: tuple[str, ...] = tuple(dict.fromkeys(by))
        where = f"FROM {self._table} WHERE timestamp >= ? AND timestamp < ?"
        if names:
            keys = ", ".join(names)
            query = (
                f"SELECT {keys}, sum(size), sum(packets) {where} GROUP BY {keys} ORDER BY {keys}"
            )
            names = (*names, "size", "packets")
        else:
            names = _TRAFFIC
            query = f"SELECT {', '.join(names)} {where} ORDER BY timestamp, probe, probeIP, srcIP, dstIP"
        for row in self._select(query, since_ms, until_ms):
            yield dict(zip(names, row, strict=True))

    def ledgers(self, since_ms: int, until_ms: int) -> Iterator[LedgerRecord]:
        """See :meth:`wakizashi.center.backend.Backend.ledgers`."""
        query = (
            f"SELECT {', '.join(_LEDGER)} FROM {self._ledger_table} "
            "WHERE timestamp >= ? AND timestamp < ? ORDER BY timestamp, probe, device"
        )
        for row in self._select(query, since_ms, until_ms):
            numbers = [int(value) for value in row[5:]]
            tallies = {
                name: Tally(numbers[2 * i], numbers[2 * i + 1]) for i, name in enumerate(_TALLIES)
            }
            yield LedgerRecord(
                timestamp=int(row[0]),
                probe=str(row[1]),
                device=str(row[2]),
                number=int(row[3]),
                duration=int(row[4]),
                ledger=Ledger(**tallies),
            )


def _ledger_row(record: LedgerRecord) -> tuple[str | int, ...]:
    numbers: list[int] = []
    for name in _TALLIES:
        tally: Tally = getattr(record.ledger, name)
        numbers += (tally.packets, tally.bytes)
    head = (record.timestamp, record.probe, record.device, record.number, record.duration)
    return (*head, *numbers)


def _create(table: str, columns: Sequence[str], keys: int) -> str:
    text = {"probe", "probeIP", "srcIP", "dstIP", "device"}
    fields = [f"{name} {'TEXT' if name in text else 'INTEGER'} NOT NULL" for name in columns]
    return (
        f"CREATE TABLE IF NOT EXISTS {table} ({', '.join(fields)}, tags TEXT NOT NULL, "
        f"PRIMARY KEY ({', '.join(columns[:keys])})) WITHOUT ROWID"
    )


def _upsert(table: str, columns: Sequence[str], keys: int) -> str:
    """An insert that sets the other columns of a row that is there; it never adds."""
    sets = ", ".join(f"{name} = excluded.{name}" for name in (*columns[keys:], "tags"))
    return (
        f"INSERT INTO {table} ({', '.join(columns)}, tags) "
        f"VALUES ({', '.join('?' * (len(columns) + 1))}) "
        f"ON CONFLICT ({', '.join(columns[:keys])}) DO UPDATE SET {sets}"
    )


def _remedy(message: str) -> str:
    if "locked" in message:
        return "end the other program that writes it: one center writes a file"
    if "full" in message or "disk I/O" in message:
        return "make room on the disk, or mend it"
    if "not a database" in message or "malformed" in message:
        return "name another file, or move this one away"
    return "name a file in a directory that exists and that this user can write"
