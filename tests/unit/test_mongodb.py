"""What the backend asks of a MongoDB, where the server of the contract suite may be none.

The fakes answer as MongoDB does; errors are pymongo's own.
"""

import logging
from collections.abc import Iterator
from typing import Any

import pytest
from pymongo.errors import AutoReconnect, BulkWriteError, PyMongoError

from tests.center_windows import START, window
from wakizashi.center.aggregate import aggregate
from wakizashi.center.backends.mongodb import Mongo
from wakizashi.center.mongo import reading
from wakizashi.center.mongo.config import FOR_EVER_SECONDS, Config
from wakizashi.center.mongo.documents import date, ledger_documents
from wakizashi.errors import Permanent, Retryable
from wakizashi.model import TALLIES, Tally

DUPLICATE = {"index": 0, "code": 11000, "errmsg": "E11000 duplicate key"}


class Collection:
    """Records what was asked; ``answers`` are raised by one bulk write after another."""

    def __init__(self, database: "Database", name: str) -> None:
        self.database, self.name = database, name
        self.indexes: list[dict[str, Any]] = [{"name": "_id_", "key": {"_id": 1}}]
        self.answers: list[Exception] = []
        self.sizes: list[int] = []
        self.sums: list[dict[str, Any]] = []
        self.documents: list[dict[str, Any]] = []

    def list_indexes(self) -> list[dict[str, Any]]:
        return list(self.indexes)

    def create_index(self, key: str, **options: Any) -> None:
        index = {"name": f"{key}_1", "key": {key: 1}, **options}
        if index not in self.indexes:
            assert all(other["key"] != index["key"] for other in self.indexes), "IndexConflict"
            self.database.log.append(f"create {self.name} {options}")
            self.indexes.append(index)

    def drop_index(self, name: str) -> None:
        self.database.log.append(f"drop {self.name}")
        self.indexes = [index for index in self.indexes if index["name"] != name]

    def bulk_write(self, operations: list[Any], *, ordered: bool) -> None:
        assert not ordered
        self.sizes.append(len(operations))
        if self.answers:
            raise self.answers.pop(0)

    def delete_many(self, query: dict[str, Any]) -> None:
        self.database.log.append(f"delete {self.name} {query['timestamp']['$lt']:%Y-%m-%d}")
        if self.answers:
            raise self.answers.pop(0)

    def aggregate(self, pipeline: list[Any], **_: bool) -> list[dict[str, Any]]:
        return self.sums

    def find(self, query: dict[str, Any], fields: object = None) -> list[dict[str, Any]]:
        return self.documents


class Database:
    def __init__(self, **info: str) -> None:
        self.info = {"version": "8.0.0", **info}
        self.log: list[str] = []
        self.client = self
        self.collections: dict[str, Collection] = {}

    def server_info(self) -> dict[str, str]:
        return self.info

    def __getitem__(self, name: str) -> Collection:
        return self.collections.setdefault(name, Collection(self, name))

    def command(self, command: dict[str, Any]) -> None:
        seconds = command["index"]["expireAfterSeconds"]
        self.log.append(f"collMod {command['collMod']} {seconds}")
        for index in self[command["collMod"]].indexes:
            if index["key"] == command["index"]["keyPattern"]:
                assert "expireAfterSeconds" in index, "only MongoDB 5.1 can make it one"
                index["expireAfterSeconds"] = seconds


class Asking(Mongo):
    def __init__(self, database: Database, *, ttl: int = 0, now: float = START / 1000) -> None:
        self.now = now
        super().__init__(Config(ttl=ttl), "w", "traffic", 5, clock=lambda: self.now)
        self.database = database

    def _database(self) -> Any:
        return self.database


@pytest.fixture(autouse=True)
def warnings_of(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    with caplog.at_level(logging.WARNING):
        yield


# -- the index -------------------------------------------------------------------------------


def test_a_new_database_gets_a_ttl_index_on_both_collections() -> None:
    database = Database()
    Asking(database, ttl=60).write([aggregate(window())])
    assert database.log == [
        "create traffic {'expireAfterSeconds': 60}",
        "create traffic_ledger {'expireAfterSeconds': 60}",
    ]


def test_the_index_is_looked_at_once() -> None:
    database = Database()
    backend = Asking(database, ttl=60)
    backend.write([aggregate(window())])
    database.log.clear()
    database["traffic"].indexes.clear()
    backend.write([aggregate(window(1))])
    assert database.log == []
    backend.check()  # asks
    assert len(database.log) == 1


@pytest.mark.parametrize(("ttl", "seconds"), [(90, 90), (0, FOR_EVER_SECONDS)])
def test_another_ttl_changes_the_index_where_it_is(ttl: int, seconds: int) -> None:
    database = Database()
    Asking(database, ttl=60).check()
    database.log.clear()
    Asking(database, ttl=ttl).check()
    assert database.log == [f"collMod traffic {seconds}", f"collMod traffic_ledger {seconds}"]
    database.log.clear()
    Asking(database, ttl=ttl).check()
    assert database.log == []
    Asking(database, ttl=60).check()  # and back
    assert database.log == ["collMod traffic 60", "collMod traffic_ledger 60"]


def test_an_index_without_ttl_is_made_anew() -> None:
    database = Database()
    database["traffic"].create_index("timestamp")
    database.log.clear()
    Asking(database, ttl=60).check()
    assert database.log[:2] == ["drop traffic", "create traffic {'expireAfterSeconds': 60}"]


# -- FerretDB 1 ------------------------------------------------------------------------------


def test_ferretdb_has_no_ttl_index_so_the_center_deletes(caplog: pytest.LogCaptureFixture) -> None:
    day = 86_400
    database = Database(ferretdbVersion="v1.24.2")
    backend = Asking(database, ttl=day, now=START / 1000 + day / 2)
    backend.write([aggregate(window())])
    deleted = ["delete traffic 2023-11-14", "delete traffic_ledger 2023-11-14"]
    assert database.log == ["create traffic {}", "create traffic_ledger {}", *deleted]
    assert "has no TTL index: the center deletes what is old" in caplog.text
    backend.write([aggregate(window(1))])
    assert len(database.log) == 4  # once an hour
    backend.now += 3_601
    database["traffic"].answers = [AutoReconnect("gone")]
    with pytest.raises(Retryable):
        backend.write([aggregate(window(2))])
    database["traffic_ledger"].answers = []
    backend.write([aggregate(window(2))])
    assert database.log[-2:] == deleted


def test_what_ferretdb_can_not_delete_is_no_failed_write(caplog: pytest.LogCaptureFixture) -> None:
    database = Database(ferretdbVersion="v1.24.2")
    backend = Asking(database, ttl=60)

    def gone(query: object) -> None:
        raise AutoReconnect("gone")

    database["traffic"].delete_many = gone  # type: ignore[method-assign]
    backend.write([aggregate(window())])
    assert "gone; is MongoDB running there?; old documents stay for another hour" in caplog.text


def test_nothing_is_deleted_without_ttl() -> None:
    database = Database(ferretdbVersion="v1.24.2")
    Asking(database, now=2**33).write([aggregate(window())])
    assert database.log == ["create traffic {}", "create traffic_ledger {}"]


@pytest.mark.parametrize(
    ("info", "sizes"), [({}, [1_000, 1_000, 1]), ({"ferretdbVersion": "v1"}, [20] * 100 + [1])]
)
def test_documents_in_a_command(info: dict[str, str], sizes: list[int]) -> None:
    database = Database(**info)
    Asking(database).write([aggregate(window(n)) for n in range(2_001)])
    assert database["traffic"].sizes == sizes


# -- writing ---------------------------------------------------------------------------------


def duplicate() -> BulkWriteError:
    return BulkWriteError({"writeErrors": [DUPLICATE, DUPLICATE], "writeConcernErrors": []})


@pytest.mark.parametrize("answers", [[duplicate()], [duplicate(), KeyError("nModified")]])
def test_another_center_inserted_the_same_meanwhile(answers: list[Exception]) -> None:
    database = Database()
    database["traffic"].answers = list(answers)
    Asking(database).write([aggregate(window())])
    assert database["traffic"].sizes == [1] * (len(answers) + 1)
    assert database["traffic_ledger"].sizes == [1]


@pytest.mark.parametrize("answer", [duplicate(), KeyError("nModified")])
def test_the_same_meanwhile_again_and_again_is_never_permanent(answer: Exception) -> None:
    database = Database()
    database["traffic"].answers = [answer] * 3
    with pytest.raises(Retryable):
        Asking(database).write([aggregate(window())])
    assert database["traffic"].sizes == [1] * 3


def test_documents_at_fault_are_not_tried_again() -> None:
    fault = {"index": 1, "code": 121, "errmsg": "Document failed validation"}
    database = Database()
    database["traffic"].answers = [BulkWriteError({"writeErrors": [DUPLICATE, fault]})]
    with pytest.raises(Retryable):  # for the other one may have been mended
        Asking(database).write([aggregate(window())])
    database["traffic"].answers = [BulkWriteError({"writeErrors": [fault]})]
    with pytest.raises(Permanent, match="121: Document failed validation"):
        Asking(database).write([aggregate(window())])
    assert database["traffic"].sizes == [1, 1]


def test_a_window_older_than_ttl_is_told(caplog: pytest.LogCaptureFixture) -> None:
    backend = Asking(Database(), ttl=3_600, now=START / 1000 + 3_600)
    backend.write([aggregate(window(0))])
    assert caplog.text == ""
    backend.now += 0.002
    backend.write([aggregate(window(1)), aggregate(window(0))])
    assert "mongoConfig.ttl: a window of 2023-11-14 came, which is older than 3600 s" in caplog.text


def test_after_a_trouble_the_server_is_looked_at_anew() -> None:
    database = Database()
    backend = Asking(database, ttl=60)
    trouble: PyMongoError = AutoReconnect("gone")
    database["traffic"].answers = [trouble]
    with pytest.raises(Retryable, match="the connection broke: gone"):
        backend.write([aggregate(window())])
    database.collections.clear()  # another one is there now
    database.log.clear()
    backend.write([aggregate(window())])
    assert len(database.log) == 2


# -- sums ------------------------------------------------------------------------------------


def sums_of(collection: Collection) -> list[dict[str, Any]]:
    return [dict(row) for row in reading.sums(collection, {}, ["probe"])]


def test_sums_of_the_server_are_taken_where_they_are_exact() -> None:
    collection = Collection(Database(), "traffic")
    collection.sums = [{"_id": {"probe": "a"}, "size": 2**62 + 1, "packets": 3}]
    assert sums_of(collection) == [{"probe": "a", "size": 2**62 + 1, "packets": 3}]


@pytest.mark.parametrize(
    "untrue",
    [
        {"size": float(2**64), "packets": 2},  # MongoDB beyond 64 bits
        {"size": 2**64 + 2, "packets": 0},  # FerretDB 1
    ],
)
def test_sums_are_made_here_where_the_server_has_none(untrue: dict[str, Any]) -> None:
    collection = Collection(Database(), "traffic")
    good = {"_id": {"probe": "b"}, "size": 7, "packets": 1}
    collection.sums = [good, {"_id": {"probe": "a"}, **untrue}]
    big = {"probe": "a", "size": 2**63 - 1, "packets": 1}
    collection.documents = [big, {"probe": "b", "size": 7, "packets": 1}, big]
    assert sums_of(collection) == [
        {"probe": "a", "size": 2**64 - 2, "packets": 2},
        {"probe": "b", "size": 7, "packets": 1},
    ]


def test_buckets_of_the_server_are_taken_where_they_are_exact() -> None:
    collection = Collection(Database(), "traffic")
    moment = date(START).replace(tzinfo=None)
    collection.sums = [{"_id": {"timestamp": moment}, "size": 7, "packets": 1}]
    found = reading.sums(collection, {}, (), 60_000)
    assert found == [{"timestamp": START, "size": 7, "packets": 1}]


def server_ledgers(**more: Any) -> dict[str, Any]:
    """What MongoDB's pipeline gives of two ledgers of a device, the first one merged from three."""
    first, last = (date(START + 30_000 * n).replace(tzinfo=None) for n in (0, 1))
    numbers = {f"{name}_{unit}": 5 for name in TALLIES for unit in ("packets", "bytes")}
    ends = {"first": first, "first_number": 9, "first_windows": 3, "longest": 60_000}
    ends |= {"last": last, "last_number": 10, "last_duration": 30_000, "windows": 4}
    return {"_id": {"probe": "a", "device": "eth0"}, **ends, **numbers, **more}


def test_ledgers_summed_up_by_the_server() -> None:
    collection = Collection(Database(), "traffic_ledger")
    collection.sums = [server_ledgers(lost_bytes=2**62)]
    (found,) = reading.ledger_sums(collection, {})
    assert (found.windows, found.number, found.first_number, found.longest_ms) == (4, 10, 7, 60_000)
    assert (found.first_ms, found.last_ms, found.end_ms) == (START, START + 30_000, START + 60_000)
    assert found.ledger.lost == Tally(5, 2**62)
    assert found.ledger.device == Tally(5, 5)


def test_ledgers_are_summed_up_here_where_the_server_has_no_true_sum() -> None:
    collection = Collection(Database(), "traffic_ledger")
    collection.sums = [server_ledgers(device_bytes=float(2**64))]
    windows = [aggregate(window(number, size=2**63 - 1)) for number in range(3)]
    for stored in windows:
        for document in ledger_documents(stored):
            moment = document["timestamp"].replace(tzinfo=None)
            collection.documents.append(document | {"timestamp": moment})
    (found,) = reading.ledger_sums(collection, {})
    assert found.ledger.counted == Tally(3, 3 * (2**63 - 1))
    assert (found.windows, found.first_number, found.number) == (3, 0, 2)
