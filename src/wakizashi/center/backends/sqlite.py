"""The embedded backend: one SQLite file. One connection writes; all others open it read-only."""

import json
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from wakizashi.center.backend import TALLIES, Backend, Row
from wakizashi.config import Section
from wakizashi.errors import Permanent, Retryable
from wakizashi.model import Ledger, LedgerRecord, StoredWindow, Tally

_COLUMNS = [f"{tally}_{unit}" for tally in TALLIES for unit in ("packets", "bytes")]


class SqliteConfig(Section):
    """``sqliteConfig``."""

    path: Path = Path("./wakizashi.db")


class SqliteBackend(Backend):
    """Tables ``TABLE`` and ``TABLE_ledger``; upserts that set, never add."""

    section = "sqliteConfig"
    Config = SqliteConfig

    def __init__(self, config: Any, *, read_only: bool = False) -> None:
        self._path: Path = config.sqliteConfig.path
        self._timeout: float = config.timeout
        self._table: str = config.table
        self._read_only = read_only
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None

    @property
    def description(self) -> str:
        """The file's path."""
        return f"SQLite at {self._path}"

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            if self._read_only and not self._path.exists():
                raise Retryable(
                    self._fault("there is no such file; has a center stored anything?")
                )
            mode = "ro" if self._read_only else "rwc"
            # check_same_thread off: the lock serialises the threads.
            connection = sqlite3.connect(
                f"{self._path.absolute().as_uri()}?mode={mode}",
                uri=True,
                timeout=self._timeout,
                check_same_thread=False,
                isolation_level=None,
            )
            if not self._read_only:
                self._create(connection)
            self._connection = connection
        return self._connection

    def _create(self, connection: sqlite3.Connection) -> None:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute(
            "PRAGMA synchronous=FULL"
        )  # with NORMAL a commit is not durable in WAL
        connection.execute(
            f'CREATE TABLE IF NOT EXISTS "{self._table}" (timestamp INTEGER, probe TEXT, '
            "probeIP TEXT, srcIP TEXT, dstIP TEXT, size INTEGER, packets INTEGER, tags TEXT, "
            "PRIMARY KEY (timestamp, probe, probeIP, srcIP, dstIP)) WITHOUT ROWID"
        )
        columns = "".join(f"{column} INTEGER, " for column in _COLUMNS)
        connection.execute(
            f'CREATE TABLE IF NOT EXISTS "{self._table}_ledger" (timestamp INTEGER, probe TEXT, '
            f"device TEXT, number INTEGER, duration INTEGER, {columns} tags TEXT, "
            "PRIMARY KEY (timestamp, probe, device)) WITHOUT ROWID"
        )

    def _fault(self, reason: object) -> str:
        return (
            f"backendConfig.sqliteConfig.path: {self._path}: {reason}; "
            "name a file that this user can write, on a disk with room"
        )

    def check(self) -> None:
        """Open the file."""
        try:
            with self._lock:
                self._open().execute("SELECT 1")
        except sqlite3.Error as error:
            raise Retryable(self._fault(error)) from error

    def write(self, windows: Sequence[StoredWindow]) -> None:
        """One transaction, fsynced at its end."""
        records, ledgers = [], []
        for window in windows:
            tags = json.dumps(dict(window.tags), sort_keys=True)
            for r in window.records:
                records.append(
                    (
                        r.timestamp,
                        r.probe,
                        r.probeIP,
                        r.srcIP,
                        r.dstIP,
                        r.size,
                        r.packets,
                        tags,
                    )
                )
            for entry in window.ledgers:
                tallies = [getattr(entry.ledger, tally) for tally in TALLIES]
                values = [
                    value for tally in tallies for value in (tally.packets, tally.bytes)
                ]
                ledgers.append(
                    (
                        entry.timestamp,
                        entry.probe,
                        entry.device,
                        entry.number,
                        entry.duration,
                        *values,
                        tags,
                    )
                )
        with self._lock:
            try:
                connection = self._open()
                connection.execute("BEGIN IMMEDIATE")
                try:
                    self._insert(connection, self._table, 8, records)
                    self._insert(
                        connection, f"{self._table}_ledger", 6 + len(_COLUMNS), ledgers
                    )
                    connection.execute("COMMIT")
                except BaseException:
                    if connection.in_transaction:
                        connection.execute("ROLLBACK")
                    raise
            except (
                OverflowError,
                sqlite3.IntegrityError,
                sqlite3.InterfaceError,
            ) as error:
                raise Permanent(self._fault(error)) from error
            except sqlite3.Error as error:
                raise Retryable(self._fault(error)) from error

    @staticmethod
    def _insert(
        connection: sqlite3.Connection,
        table: str,
        columns: int,
        rows: list[tuple[Any, ...]],
    ) -> None:
        marks = ", ".join("?" * columns)
        connection.executemany(
            f'INSERT OR REPLACE INTO "{table}" VALUES ({marks})', rows
        )

    def _select(
        self, statement: str, since_ms: int, until_ms: int
    ) -> Iterator[sqlite3.Row]:
        try:
            with self._lock:
                cursor = self._open().execute(statement, (since_ms, until_ms))
                cursor.row_factory = sqlite3.Row
                rows = cursor.fetchall()
        except sqlite3.Error as error:
            raise Retryable(self._fault(error)) from error
        yield from rows

    def traffic(self, since_ms: int, until_ms: int, by: Sequence[str]) -> Iterator[Row]:
        """See :meth:`Backend.traffic`."""
        if by:
            names = ", ".join(by)
            columns, tail = (
                f"{names}, sum(size) AS size, sum(packets) AS packets",
                f" GROUP BY {names}",
            )
        else:
            columns = "timestamp, probe, probeIP, srcIP, dstIP, size, packets"
            tail = " ORDER BY timestamp, probe, probeIP, srcIP, dstIP"
        where = "timestamp >= ? AND timestamp < ?"
        statement = f'SELECT {columns} FROM "{self._table}" WHERE {where}{tail}'
        for row in self._select(statement, since_ms, until_ms):
            yield dict(row)

    def ledgers(self, since_ms: int, until_ms: int) -> Iterator[LedgerRecord]:
        """See :meth:`Backend.ledgers`."""
        statement = (
            f'SELECT * FROM "{self._table}_ledger" WHERE timestamp >= ? AND timestamp < ? '
            "ORDER BY timestamp, probe, device"
        )
        for row in self._select(statement, since_ms, until_ms):
            tallies = {
                t: Tally(row[f"{t}_packets"], row[f"{t}_bytes"]) for t in TALLIES
            }
            yield LedgerRecord(
                timestamp=row["timestamp"],
                probe=row["probe"],
                device=row["device"],
                number=row["number"],
                duration=row["duration"],
                ledger=Ledger(**tallies),
            )

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None
