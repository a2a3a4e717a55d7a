"""SQLite: an embedded file, for one center and for trying things out.

What is in the file, for the table ``traffic``:

- ``traffic_window``: a row for each window, with its tags as a JSON object;
- ``traffic_record`` and ``traffic_device``: its records and its ledgers, by the
  window's ``id``. A window's rows lie together, and new windows at the end, so
  that writing appends, and what expires gives whole pages back;
- ``traffic`` and ``traffic_ledger``: views that join them, for people.

Each key is the point's identity, so that writing it again sets the same row. A
window whose ``timestamp`` is NULL has expired: the views do not show it, and its
rows are deleted, some with each write. ``user_version`` is the layout's number.

One connection writes and checkpoints, every other one opens read-only: Debian's
SQLite 3.40 has a WAL bug with two that write or checkpoint. A lock on
``PATH-lock`` keeps a second center away. ``synchronous=FULL``: a commit that
returned is on the disk.

What bounds the write-ahead log: readers hold no transaction longer than a slice
(``sqlite.reading``), so the log starts over about every 4 MiB, as SQLite has it;
where slices follow each other so closely that it never can, the writer waits a
moment for those under way once the log has ``WAL_LIMIT_BYTES``. Nothing bounds
it while another program keeps a transaction open; that is logged.
"""

import contextlib
import json
import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

from pydantic import Field

from wakizashi.beside import beside
from wakizashi.center.backend import SUMS, Backend, Remark, Row, Where, check_reading
from wakizashi.center.missing import missing
from wakizashi.center.selection import Selection
from wakizashi.center.sqlite import diagnosis, opening, reading
from wakizashi.center.sqlite.lock import Lock
from wakizashi.center.sqlite.retention import Retention
from wakizashi.center.sqlite.tables import LAYOUT, Tables
from wakizashi.errors import Permanent, Retryable, WakizashiError
from wakizashi.model import LedgerRecord, LedgerSum, StoredWindow
from wakizashi.sections import Section, Size
from wakizashi.telemetry import Throttle

if TYPE_CHECKING:
    from wakizashi.center.config import BackendConfig

CONFIG_KEY = "sqliteConfig"

WAL_LIMIT_BYTES = 32 * 2**20
"""Where the write-ahead log is made to start over; it does so by itself at 4 MiB, given a chance."""
_CHECKPOINT_MS = 200
"""Longest that a write waits for the readers that keep a large log from starting over."""

_log = logging.getLogger(__name__)


class Config(Section):
    """``backendConfig.sqliteConfig``."""

    path: Path = Path("./wakizashi.db")
    ttl: Annotated[int, Field(ge=1, le=3_155_760_000)] = 30 * 86_400
    limit: Size = 10 * 2**30

    def written(self) -> Mapping[str, Mapping[Path, int]]:
        """The file, and what SQLite and :class:`Lock` keep beside it."""
        both, real = os.R_OK | os.W_OK, os.path.realpath(self.path)
        beside = {Path(f"{real}-{name}"): both for name in ("journal", "wal", "shm")}
        return {"path": {self.path: both, **beside, Path(f"{real}-lock"): os.R_OK}}


def create(config: "BackendConfig", *, read_only: bool) -> Backend:
    """Make the backend; see :func:`wakizashi.center.backend.open_backend`."""
    section: Config = getattr(config, CONFIG_KEY)
    return Sqlite(section, config.table, config.timeout, read_only=read_only)


class Sqlite(Backend):
    """A SQLite file; the writing connection is opened with the first write.

    Args:
        clock: seconds of Unix time, for what expires.

    Raises:
        Retryable: another center has the file.
    """

    def __init__(
        self,
        config: Config,
        table: str,
        timeout_seconds: float,
        *,
        read_only: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._path = config.path
        self._tables = Tables(table)
        self._retention = Retention(
            self._tables,
            str(config.path),
            ttl_seconds=config.ttl,
            limit_bytes=config.limit,
            clock=clock,
        )
        self._limit_bytes = config.limit
        self._timeout = timeout_seconds
        self._read_only = read_only
        self._throttle = Throttle(_log)
        self._lock = threading.Lock()
        self._file_lock = Lock(config.path)
        self._writer: sqlite3.Connection | None = None
        self._identity = (0, 0)
        if not read_only:
            try:
                self._file_lock.take()
            except BlockingIOError as error:
                raise self._trouble(error) from None
            except OSError:  # a write tries again, and tells
                pass

    @property
    def describe(self) -> str:
        """``SQLite at PATH``."""
        return f"SQLite at {self._path}"

    def _fault(self, text: str) -> Retryable:
        return Retryable(f"backendConfig.sqliteConfig.path: {self._path} {text}")

    def _trouble(self, error: sqlite3.Error | OSError) -> Retryable:
        if isinstance(error, BlockingIOError):
            return self._fault(
                "is in use by another center; stop that one, or give each its own file"
            )
        reason = str(error.strerror if isinstance(error, OSError) else error)
        return Retryable(
            f"backendConfig.sqliteConfig.path: {self._path}: {reason}; {_remedy(reason)}"
        )

    # -- the writing connection ----------------------------------------------------------------

    def _open_writer(self) -> sqlite3.Connection:
        if self._read_only:
            raise Permanent(f"{self.describe}: was opened for reading only")
        if self._writer is None:
            if os.path.isdir(self._path):
                raise self._fault("is a directory; name a file in it")
            self._file_lock.take()
            writer = sqlite3.connect(
                self._path,
                timeout=self._timeout,
                isolation_level=None,
                check_same_thread=False,  # worker threads take turns under the lock
            )
            self._writer = writer
            if fault := _layout_fault(writer):  # before anything is changed
                raise self._fault(fault)
            (mode,) = writer.execute("PRAGMA journal_mode=WAL").fetchone()
            if mode != "wal":
                raise self._fault("can't have a write-ahead log there; name a file on a local disk")
            writer.execute("PRAGMA synchronous=FULL")
            writer.execute(f"PRAGMA journal_size_limit={WAL_LIMIT_BYTES}")
            with writer:
                writer.execute("BEGIN IMMEDIATE")
                for statement in self._tables.create:
                    writer.execute(statement)
                columns = [name for _, name, *_ in writer.execute(self._tables.device_columns)]
                for statement in self._tables.complete(columns):
                    writer.execute(statement)
            self._identity = _identity(self._path)
        return self._writer

    def _let_go(self) -> None:
        """Close the writing connection and unlock; the file may be another one by the next time."""
        if self._writer is not None:
            with contextlib.suppress(sqlite3.Error):
                self._writer.close()
            self._writer = None
        self._file_lock.release()

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """The writing connection in a transaction, for one thread at a time."""
        with self._lock:
            try:
                writer = self._open_writer()
                with writer:  # commits, or rolls back
                    writer.execute("BEGIN IMMEDIATE")
                    yield writer
                if _identity(self._path) != self._identity:
                    # The commit went into a file without a name.
                    raise self._fault("was replaced by another file; it is opened anew")
                self._bound_log(writer)
            except OverflowError as error:
                raise Permanent(
                    f"{self.describe}: a number does not fit into 64 bits: {error}"
                ) from error
            except (sqlite3.IntegrityError, sqlite3.DataError) as error:
                raise Permanent(f"{self.describe}: {error}") from error
            except (sqlite3.Error, OSError) as error:
                self._let_go()
                raise self._trouble(error) from error
            except WakizashiError:
                self._let_go()
                raise

    def _bound_log(self, writer: sqlite3.Connection) -> None:
        """Where the log is large, wait a moment for the readers that keep it from starting over."""
        if os.stat(f"{os.path.realpath(self._path)}-wal").st_size <= WAL_LIMIT_BYTES:
            return
        writer.execute(f"PRAGMA busy_timeout={_CHECKPOINT_MS}")
        busy, *_ = writer.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()
        writer.execute(f"PRAGMA busy_timeout={int(self._timeout * 1000)}")
        if busy:
            self._throttle.warning(
                "log",
                f"backendConfig.sqliteConfig.path: {self._path}-wal grows beyond "
                f"{WAL_LIMIT_BYTES} bytes: a reader keeps a transaction open; if this is told "
                "again, end the program that does",
            )

    def check(self) -> None:
        """Open the file, making it if there is none."""
        if self._read_only:
            with self._reading() as reader:
                reader.execute("SELECT 1")
        else:
            with self._writing():
                pass

    def diagnose(self) -> Iterator[Remark]:
        """Look at the place (:mod:`wakizashi.center.sqlite.diagnosis`), and into the file if it is there."""
        remarks = list(diagnosis.look(self._path, self._limit_bytes))
        yield from remarks
        if self._path.is_file() and not any(remark.fault for remark in remarks):
            with self._reading(alone=not os.path.exists(f"{os.path.realpath(self._path)}-wal")):
                yield Remark(f"{self.describe}: can be read, {diagnosis.journal(self._path)}")

    def close(self) -> None:
        """Close the writing connection, which checkpoints."""
        with self._lock:
            self._let_go()

    # -- writing -----------------------------------------------------------------------------

    def write(self, windows: Sequence[StoredWindow]) -> None:
        """Upsert everything in one transaction, and delete some of what has expired."""
        sql = self._tables
        with self._writing() as writer:
            records: list[tuple[Any, ...]] = []
            ledgers: list[tuple[Any, ...]] = []
            for window in windows:
                if not window.records and not window.ledgers:
                    continue
                tags = json.dumps(dict(window.tags), sort_keys=True, ensure_ascii=False)
                name = (window.start_ms, window.probe, tags)
                (number,) = writer.execute(sql.upsert_window, name).fetchone()
                records += [(number, *record[2:]) for record in window.records]
                ledgers += [(number, *sql.ledger_row(ledger)) for ledger in window.ledgers]
            writer.executemany(sql.upsert_record, records)
            writer.executemany(sql.upsert_device, ledgers)
            self._retention.sweep(writer)

    # -- reading -----------------------------------------------------------------------------

    @contextlib.contextmanager
    def _reading(self, *, alone: bool = False) -> Iterator[sqlite3.Connection]:
        """A connection that reads; ``alone`` with no other beside, so that it leaves no file behind."""
        opening.look(self._path)
        rest = None if alone else opening.at_rest(self._path)
        apart = alone or rest is not None
        try:
            # Reads may be iterated on another thread than they began on.
            with contextlib.closing(
                sqlite3.connect(
                    f"file:{quote(str(self._path))}?mode=ro{'&immutable=1' if apart else ''}",
                    uri=True,
                    timeout=self._timeout,
                    isolation_level=None,
                    check_same_thread=False,
                )
            ) as reader:
                if fault := _layout_fault(reader):
                    raise WakizashiError(str(self._fault(fault)))
                yield reader
                self._still(rest)
        except sqlite3.Error as error:
            self._still(rest)  # else it would be called damaged
            if "no such table" in str(error):
                raise missing(
                    f"backendConfig.table: {self._path} has no table {self._tables.name}",
                    "file and table",
                ) from error
            if "unable to open" in str(error) or "readonly" in str(error):
                raise opening.not_opened(self._path, str(error)) from error
            raise self._trouble(error) from error

    def _still(self, rest: opening.Rest | None) -> None:
        if rest is not None and opening.at_rest(self._path) != rest:
            raise self._fault("was written while it was read; ask again")

    def traffic(
        self,
        since_ms: int,
        until_ms: int,
        by: Sequence[str] = (),
        *,
        step_ms: int = 0,
        where: Where = (),
        sums: Sequence[str] = SUMS,
    ) -> Iterator[Row]:
        """See :meth:`wakizashi.center.backend.Backend.traffic`."""
        check_reading(by, step_ms, where, sums)
        selection, names = Selection.of(where), tuple(dict.fromkeys(by))
        tables = self._tables
        with self._reading() as reader:
            if selection.nothing:
                return
            if not names and not step_ms:
                yield from reading.traffic(reader, tables, since_ms, until_ms, selection)
                return

            def part(span: tuple[int, int]) -> reading.Totals:
                with self._reading() as own:
                    return reading.sums(own, tables, span, names, step_ms, selection, sums)

            # SQLite sums up on the thread that asks, without Python's lock. A pool's threads would
            # keep the process from its end until they are through.
            first, *others = reading.halves_of(reader, tables, since_ms, until_ms)
            rest = [beside(partial(part, span)) for span in others]
            totals = reading.put_together([part(first), *(result() for result in rest)])
            keys = ("timestamp", *names) if step_ms else names
            for key, total in sorted(totals.items()):
                yield dict(zip((*keys, *sums), (*key, *total), strict=True))

    def ledgers(self, since_ms: int, until_ms: int) -> Iterator[LedgerRecord]:
        """See :meth:`wakizashi.center.backend.Backend.ledgers`."""
        with self._reading() as reader:
            yield from reading.ledgers(reader, self._tables, since_ms, until_ms)

    def ledger_sums(self, since_ms: int, until_ms: int) -> Iterator[LedgerSum]:
        """See :meth:`wakizashi.center.backend.Backend.ledger_sums`."""
        with self._reading() as reader:
            yield from reading.ledger_sums(reader, self._tables, since_ms, until_ms)


def _layout_fault(connection: sqlite3.Connection) -> str | None:
    (layout,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if layout == LAYOUT or (layout, tables) == (0, 0):
        return None
    return (
        f"holds tables of another program or release (user_version {layout}; this one has "
        f"{LAYOUT}); name another file, or move this one away"
    )


def _identity(path: Path) -> tuple[int, int]:
    """Which file has that name."""
    status = path.stat()
    return status.st_dev, status.st_ino


def _remedy(message: str) -> str:
    if "locked" in message:
        return "end the other program that writes it"
    if "full" in message or "disk I/O" in message or "No space" in message:
        return "make room on the disk, or mend it"
    if "not a database" in message or "malformed" in message:
        return "name another file, or move this one away"
    return "name a file in a directory that exists and that this user can write"
