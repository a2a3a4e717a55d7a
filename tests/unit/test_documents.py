"""From windows to MongoDB's documents and back."""

from dataclasses import replace
from datetime import datetime, timedelta

import bson

from tests.center_windows import START, window
from wakizashi.center.aggregate import aggregate
from wakizashi.center.mongo.documents import (
    date,
    identity,
    ledger_documents,
    ledger_record,
    time_ms,
    traffic_documents,
)
from wakizashi.model import MAX_TIME_MS, Tally


def decoded(found: datetime) -> datetime:
    """A date as pymongo hands it out, through BSON."""
    value: datetime = bson.decode(bson.encode({"d": found}))["d"]
    return value


def test_a_record_as_it_is_stored() -> None:
    stored = aggregate(window(tags=(("a.b", "x=y"), ("env", "prod"))))
    (document,) = traffic_documents(stored)
    assert document.pop("_id") == identity(START, ("vm-1", "10.0.0.1", "10.0.0.1", "10.0.0.2"))
    assert document.pop("timestamp") == date(START)
    assert document == {
        "probe": "vm-1",
        "probeIP": "10.0.0.1",
        "srcIP": "10.0.0.1",
        "dstIP": "10.0.0.2",
        "size": 100,
        "packets": 1,
        "tags": ["a.b=x=y", "env=prod"],
    }


def test_a_document_is_small() -> None:
    (document,) = traffic_documents(aggregate(window()))
    assert len(bson.encode(document)) == 166


def test_ledgers_come_back() -> None:
    stored = aggregate(window(3, lost=Tally(1, 60), windows=2))
    (document,) = ledger_documents(stored)
    (record,) = stored.ledgers
    assert ledger_record(bson.decode(bson.encode(document))) == record


def test_a_ledger_from_before_losses_and_merged_windows_comes_back() -> None:
    stored = aggregate(window(3))
    (document,) = ledger_documents(stored)
    for field in ("windows", "lost_packets", "lost_bytes"):
        del document[field]
    assert (ledger_record(document),) == stored.ledgers


def test_identity_is_of_nothing_but_the_identity() -> None:
    names = ("vm-1", "10.0.0.1", "10.0.0.1", "10.0.0.2")
    made = {identity(START, names), identity(START, list(names))}
    assert len(made) == 1
    others = [identity(START + 1, names)]
    for i in range(4):
        changed = list(names)
        changed[i] += "0"
        others.append(identity(START, changed))
    others.append(identity(START, ("vm-11", "0.0.0.1", *names[2:])))  # no two run together
    assert len({*made, *others}) == 7


def test_identity_is_the_same_for_ever() -> None:
    # What is stored already must be found again after an upgrade.
    assert identity(START, ("vm-1", "eth0")) == "18bcfe56800ZFA2aydDVvvTGi0XxbXI"


def test_identities_sort_by_time() -> None:
    times = [0, 1, START, START + 1, MAX_TIME_MS]
    made = [identity(time, (str(time),)) for time in times]
    assert made == sorted(made)
    assert {len(text) for text in made} == {31}


def test_size_and_packets_do_not_change_the_identity() -> None:
    one = aggregate(window(size=1))
    two = aggregate(window(size=2, tags=(("a", "b"),)))
    assert [d["_id"] for d in traffic_documents(one)] == [d["_id"] for d in traffic_documents(two)]


def test_times_are_exact() -> None:
    for time in (0, 1, 999, START + 7, MAX_TIME_MS - 1, MAX_TIME_MS):
        assert time_ms(decoded(date(time))) == time
    assert date(2**62) - date(MAX_TIME_MS) == timedelta(milliseconds=1)


def test_a_window_without_tags_has_none() -> None:
    stored = replace(aggregate(window()), tags=())
    assert all("tags" not in document for document in traffic_documents(stored))
