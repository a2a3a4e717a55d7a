"""MongoDB, and FerretDB.

Two ordinary collections, ``TABLE`` and ``TABLE_ledger``; one document a point
(see :mod:`wakizashi.center.mongo.documents`), its ``_id`` the point's identity, so that
writing it again replaces it. An index on ``timestamp`` serves the queries, and
by it MongoDB deletes what is older than ``ttl``. An acknowledged write is in
the journal of a majority.

FerretDB 1 lacks three things, see :meth:`Mongo._prepare`. What pymongo raises
is translated in :mod:`wakizashi.center.mongo.errors`.
"""

import logging
import re
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from wakizashi.center.backend import SUMS, Backend, Buckets, Remark, Row, Where, check_reading
from wakizashi.center.missing import missing
from wakizashi.center.mongo import reading
from wakizashi.center.mongo.config import FOR_EVER_SECONDS, Config
from wakizashi.center.mongo.documents import (
    Document,
    date,
    ledger_documents,
    traffic_documents,
)
from wakizashi.center.selection import Selection
from wakizashi.errors import ConfigError, Permanent, Retryable, WakizashiError
from wakizashi.model import LedgerRecord, LedgerSum, StoredWindow
from wakizashi.telemetry import Throttle

if TYPE_CHECKING:
    from pymongo import MongoClient, ReplaceOne
    from pymongo.collection import Collection
    from pymongo.database import Database

    from wakizashi.center.config import BackendConfig

CONFIG_KEY = "mongoConfig"

_BATCH = 1_000
"""Documents in one command, each bounded by ``backendConfig.timeout``."""
_FERRETDB_BATCH = 20
"""FerretDB 1 keeps one of 100 connections to SQLite for each document that a command replaces, until
it has replaced all: beyond, or with several centers that come near it, it answers never."""
_SWEEP_SECONDS = 3_600

_log = logging.getLogger(__name__)


def create(config: "BackendConfig", *, read_only: bool) -> Backend:
    """Make the backend; see :func:`wakizashi.center.backend.open_backend`."""
    try:
        import pymongo  # noqa: F401 - for the message
    except ImportError as error:
        raise ConfigError(
            "backendConfig.type: mongodb needs the package pymongo; "
            "pip install 'wakizashi[mongodb]'"
        ) from error
    section: Config = getattr(config, CONFIG_KEY)
    return Mongo(section, config.database, config.table, config.timeout, read_only=read_only)


# -- the backend -----------------------------------------------------------------------------


class Mongo(Backend):
    """A database of a MongoDB; collections and indexes are made before the first write.

    Args:
        clock: seconds of Unix time, which ``ttl`` counts from.
    """

    def __init__(
        self,
        config: Config,
        database: str,
        table: str,
        timeout_seconds: float,
        *,
        read_only: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._config = config
        self._name = database
        self._tables = (table, f"{table}_ledger")
        self._timeout = timeout_seconds
        self._read_only = read_only
        self._clock = clock
        self._throttle = Throttle(_log)
        self._lock = threading.Lock()
        self._client: MongoClient[Document] | None = None
        self._prepared = False
        self._batch = _BATCH
        self._next_sweep: float | None = None

    @property
    def describe(self) -> str:
        """``MongoDB at HOSTS``."""
        return f"MongoDB at {self._config.hosts}"

    def _database(self) -> "Database[Document]":
        """The database, with the client made once; nothing is connected by that."""
        from pymongo import WriteConcern

        with self._lock:
            if self._client is None:
                self._client = self._connect()
            return self._client.get_database(
                self._name, write_concern=WriteConcern(w="majority", j=True)
            )

    def _connect(self) -> "MongoClient[Document]":
        from pymongo import MongoClient
        from pymongo.errors import PyMongoError

        config, milliseconds = self._config, round(1_000 * self._timeout)
        uri = config.mongoURI.get_secret_value()
        try:
            user: dict[str, Any] = (
                {"username": config.user, "password": config.secret()} if config.user else {}
            )
        except ValueError as error:
            raise Retryable(f"backendConfig.mongoConfig.{error}; make it readable") from error
        try:
            with warnings.catch_warnings():
                # It warns of options that it does not know, and goes on without: without TLS, say.
                warnings.simplefilter("error", UserWarning)
                return MongoClient(
                    uri,
                    **user,
                    appname="wakizashi",
                    connect=False,
                    tz_aware=False,
                    timeoutMS=milliseconds,
                    serverSelectionTimeoutMS=milliseconds,
                    connectTimeoutMS=milliseconds,
                    socketTimeoutMS=milliseconds,
                )
        except (PyMongoError, ValueError, TypeError, UserWarning) as error:
            text = str(error)
            if re.search("(?i)password|properties", uri):  # options that may hold secrets
                text = "has options that pymongo does not take"
            key = f"backendConfig.mongoConfig.mongoURI: {config.hosts}"
            raise Retryable(f"{key}: {text}; mend the URI") from error

    def close(self) -> None:
        """Close the connections; they are made anew when needed."""
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            client.close()

    # -- writing -----------------------------------------------------------------------------

    def write(self, windows: Sequence[StoredWindow]) -> None:
        """Replace or insert a document for each point, in commands of ``_BATCH`` documents."""
        from pymongo import ReplaceOne

        if self._read_only:
            raise Permanent(f"{self.describe}: was opened for reading only")
        with self._translated():
            traffic = [document for window in windows for document in traffic_documents(window)]
            ledgers = [document for window in windows for document in ledger_documents(window)]
            if not traffic and not ledgers:
                return
            database = self._database()
            self._prepare(database)
            for table, documents in zip(self._tables, (traffic, ledgers), strict=True):
                collection = database[table]
                for start in range(0, len(documents), self._batch):
                    operations = [
                        ReplaceOne({"_id": document.pop("_id")}, document, upsert=True)
                        for document in documents[start : start + self._batch]
                    ]
                    self._replace(collection, operations)
        self._sweep(database)
        self._tell_old(windows)

    def _replace(
        self, collection: "Collection[Document]", operations: "Sequence[ReplaceOne[Document]]"
    ) -> None:
        """Write a batch; again where another center inserted the same at the same time."""
        from pymongo.errors import BulkWriteError

        from wakizashi.center.mongo.errors import DUPLICATE_KEY, codes

        for last in (False, False, True):
            try:
                collection.bulk_write(operations, ordered=False)
            except BulkWriteError as error:  # what was inserted is there now, to be replaced
                if last or codes(error) != {DUPLICATE_KEY}:
                    raise
            except KeyError as error:  # FerretDB 1 tells of it in a form that pymongo can't read
                if last:
                    raise Retryable(
                        f"{self.describe} did not write everything, and pymongo does not "
                        "understand why; look at its log"
                    ) from error
            else:
                return

    def _tell_old(self, windows: Sequence[StoredWindow]) -> None:
        oldest = min(window.start_ms for window in windows)
        if self._config.ttl and oldest < 1_000 * (self._clock() - self._config.ttl):
            self._throttle.warning(
                "old",
                f"backendConfig.mongoConfig.ttl: a window of {date(oldest):%Y-%m-%d} came, which "
                f"is older than {self._config.ttl} s, and is deleted as such; raise ttl, or set it "
                "to 0, to keep such windows",
            )

    def _prepare(self, database: "Database[Document]") -> None:
        """Once after each trouble: the indexes, and what this server can.

        FerretDB 1 has no TTL index, so what is old is deleted here; it takes
        small commands only; and it gives 0 for every sum of an aggregation but
        the first, so they are not asked for.
        """
        if self._prepared:
            return
        ferretdb = "ferretdbVersion" in database.client.server_info()
        self._batch = _FERRETDB_BATCH if ferretdb else _BATCH
        for table in self._tables:
            if ferretdb:
                database[table].create_index("timestamp")
            else:
                self._expire(database[table])
        if not ferretdb or not self._config.ttl:
            self._next_sweep = None
        elif self._next_sweep is None:
            self._next_sweep = self._clock()
            _log.warning("%s has no TTL index: the center deletes what is old", self.describe)
        self._prepared = True

    def _expire(self, collection: "Collection[Document]") -> None:
        """The index on ``timestamp``, deleting after ``ttl``, whatever it was before."""
        seconds = self._config.ttl or FOR_EVER_SECONDS
        for index in collection.list_indexes():
            if dict(index["key"]) == {"timestamp": 1}:
                found = index.get("expireAfterSeconds")
                if found is None:  # made by hand
                    collection.drop_index(index["name"])
                elif found != seconds:
                    change = {"keyPattern": {"timestamp": 1}, "expireAfterSeconds": seconds}
                    collection.database.command({"collMod": collection.name, "index": change})
        collection.create_index("timestamp", expireAfterSeconds=seconds)

    def _sweep(self, database: "Database[Document]") -> None:
        """Delete what is older than ``ttl`` where the server does not, once an hour."""
        if self._next_sweep is None or self._clock() < self._next_sweep:
            return
        self._next_sweep = self._clock() + _SWEEP_SECONDS
        old = {"timestamp": {"$lt": date(round(1_000 * (self._clock() - self._config.ttl)))}}
        try:
            with self._translated():
                for table in self._tables:
                    database[table].delete_many(old)
        except WakizashiError as error:  # what was written is written
            _log.warning("%s; old documents stay for another hour", error)

    def check(self) -> None:
        """Make the indexes, or with ``read_only`` list the collections: both need a user let in."""
        with self._translated():
            database = self._database()
            if self._read_only:
                database.list_collection_names()
            else:
                self._prepared = False
                self._prepare(database)

    def diagnose(self) -> Iterator[Remark]:
        """Delete what is not there, which needs the right to write; look at what expires."""
        with self._translated():
            database = self._database()
            told = database.client.server_info()
            ferretdb = told.get("ferretdbVersion")
            shown = f"FerretDB {ferretdb}" if ferretdb else f"version {told.get('version')}"
            yield Remark(f"{self.describe}: {shown}, lets this user in")
            database[self._tables[0]].delete_many({"_id": {"$in": []}})
            yield Remark(f"database {self._name} can be written")
            if not ferretdb:
                yield from self._expiry(database)

    def _expiry(self, database: "Database[Document]") -> Iterator[Remark]:
        wanted = self._config.ttl or FOR_EVER_SECONDS
        for table in self._tables:
            for index in database[table].list_indexes():
                found = index.get("expireAfterSeconds")
                if dict(index["key"]) == {"timestamp": 1} and found != wanted:
                    yield Remark(
                        f"{self._name}.{table} keeps documents for {found} s, and ttl is {wanted}",
                        "nothing: the center changes the index when it starts",
                    )

    # -- errors ------------------------------------------------------------------------------

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """What pymongo and bson raise becomes one of ours."""
        from bson.errors import BSONError
        from pymongo.errors import PyMongoError

        from wakizashi.center.mongo.errors import Place, not_let_in, short, translate

        try:
            yield
        except PyMongoError as error:
            self._prepared = False  # it may be another server by the next time
            if not_let_in(error):
                self.close()  # the next connection reads passwordFile again
            config = self._config
            role = "read" if self._read_only else "readWrite"
            place = Place(config.hosts, config.who, self._name, self._timeout, role)
            raise translate(error, place) from error
        except (BSONError, OverflowError, UnicodeEncodeError) as error:
            raise Permanent(f"{self.describe} can't store it: {short(error)}") from error

    # -- reading -----------------------------------------------------------------------------

    def _stored(self, table: str) -> "Collection[Document]":
        database = self._database()
        if not database.list_collection_names(filter={"name": table}):
            raise missing(
                f"backendConfig.table: the database {self._name!r} at {self._config.hosts} has no "
                f"collection {table!r}"
            )
        return database[table]

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
        wanted = reading.query(since_ms, until_ms, selection)
        with self._translated():
            collection = self._stored(self._tables[0])
            if selection.nothing:
                return
            if not names and not step_ms:
                yield from reading.traffic(collection, wanted)
                return
            able = self._sums_up(collection)
            yield from reading.sums(collection, wanted, names, step_ms, sums, by_server=able)

    def by_bucket(
        self,
        since_ms: int,
        until_ms: int,
        by: Sequence[str],
        step_ms: int,
        *,
        where: Where = (),
        sums: Sequence[str] = SUMS,
    ) -> Buckets | None:
        """With FerretDB 1."""
        check_reading(by, step_ms, where, sums)
        selection, names = Selection.of(where), tuple(dict.fromkeys(by))
        wanted = reading.query(since_ms, until_ms, selection)
        with self._translated():
            collection = self._stored(self._tables[0])
            if selection.nothing or self._sums_up(collection):
                return None
            return iter(reading.buckets(collection, wanted, names, step_ms, sums).items())

    def ledgers(self, since_ms: int, until_ms: int) -> Iterator[LedgerRecord]:
        """See :meth:`wakizashi.center.backend.Backend.ledgers`."""
        with self._translated():
            collection = self._stored(self._tables[1])
            yield from reading.ledgers(collection, reading.query(since_ms, until_ms))

    def ledger_sums(self, since_ms: int, until_ms: int) -> Iterator[LedgerSum]:
        """See :meth:`wakizashi.center.backend.Backend.ledger_sums`."""
        with self._translated():
            collection = self._stored(self._tables[1])
            wanted, able = reading.query(since_ms, until_ms), self._sums_up(collection)
            yield from reading.ledger_sums(collection, wanted, by_server=able)

    def _sums_up(self, collection: "Collection[Document]") -> bool:
        """Whether the server's sums are worth asking for; FerretDB 1's are not."""
        return "ferretdbVersion" not in collection.database.client.server_info()
