"""What is asked of a collection, and rows from what it answers. Knows no pymongo.

The server sums up where it can: MongoDB's sum of integers is one while it fits into 64
bits, and a double beyond. FerretDB 1 gives 0 for every sum but the first, and can't make
buckets. So sums are looked at, and made here where they are not true.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from wakizashi.center.backend import SUMS, Row, Values, bucket_rows
from wakizashi.center.folding import Fold
from wakizashi.center.mongo.documents import Document, date, ledger_record, time_ms
from wakizashi.center.selection import Choice, Selection
from wakizashi.model import LATER_FIELDS, TALLIES, LedgerRecord, LedgerSum

Collection = Any
"""A ``pymongo.collection.Collection``."""

FIELDS = ("timestamp", "probe", "probeIP", "srcIP", "dstIP", *SUMS)
_NUMBERS = tuple(f"{name}_{unit}" for name in TALLIES for unit in ("packets", "bytes"))


def query(since_ms: int, until_ms: int, selection: Selection | None = None) -> Document:
    """What finds the documents of a span, and what is selected of them."""
    found: Document = {"timestamp": {"$gte": date(since_ms), "$lt": date(until_ms)}}
    clauses = [
        {"$or": [one for choice in clause for one in _alternatives(choice)]}
        for clause in (selection.clauses if selection else ())
    ]
    return found | ({"$and": clauses} if clauses else {})


def _alternatives(choice: Choice) -> Iterator[Document]:
    """The last key's values in one list for each combination of the others."""
    *keys, last = choice.keys
    lists: dict[tuple[str, ...], list[str]] = {}
    for *values, value in sorted(choice.values):
        lists.setdefault(tuple(values), []).append(value)
    for others, wanted in lists.items():
        yield {**dict(zip(keys, others, strict=True)), last: {"$in": wanted}}


def traffic(collection: Collection, wanted: Document) -> Iterator[Row]:
    """All records, oldest first."""
    for document in collection.find(wanted, _only(FIELDS), sort=[("timestamp", 1)]):
        document["timestamp"] = time_ms(document["timestamp"])
        yield {name: document[name] for name in FIELDS}


# -- sums ------------------------------------------------------------------------------------


def sums(
    collection: Collection,
    wanted: Document,
    by: Sequence[str],
    step_ms: int = 0,
    summed: Sequence[str] = SUMS,
    *,
    by_server: bool = True,
) -> list[Row]:
    """Exact sums of each bucket and combination; ``by_server``: try what the server has."""
    rows = _server_sums(collection, wanted, by, step_ms, summed) if by_server else None
    if rows is None:
        found = iter(buckets(collection, wanted, by, step_ms, summed).items())
        return list(bucket_rows(found, by, summed, timestamps=bool(step_ms)))
    return rows


def _server_sums(
    collection: Collection, wanted: Document, by: Sequence[str], step_ms: int, summed: Sequence[str]
) -> list[Row] | None:
    """None where they are not true: no true one is 0, or a float."""
    key: Document = {name: f"${name}" for name in by}
    if step_ms:
        beyond = {"$mod": [{"$toLong": "$timestamp"}, step_ms]}
        key["timestamp"] = {"$subtract": ["$timestamp", beyond]}
    group = {"_id": key, **{field: {"$sum": f"${field}"} for field in summed}}
    pipeline = [{"$match": wanted}, {"$group": group}]
    rows: list[Row] = []
    for found in collection.aggregate(pipeline, allowDiskUse=True):
        row: Row = dict(found["_id"])
        if step_ms:
            row["timestamp"] = time_ms(found["_id"]["timestamp"])
        for field in summed:
            if not isinstance(found[field], int) or found[field] <= 0:
                return None
            row[field] = int(found[field])
        rows.append(row)
    return rows


def buckets(
    collection: Collection, wanted: Document, by: Sequence[str], step_ms: int, summed: Sequence[str]
) -> dict[int, dict[Values, list[int]]]:
    """Exact sums, made here: by bucket (all in bucket 0 without a step), then by values."""
    summed = [name for name in SUMS if name in summed]
    fields = (*by, *summed, *(("timestamp",) if step_ms else ()))
    found: dict[int, dict[Values, list[int]]] = {}
    for document in collection.find(wanted, _only(fields)):
        time = time_ms(document["timestamp"]) if step_ms else 0
        totals = found.setdefault(time - time % max(1, step_ms), {})
        total = totals.setdefault(tuple([document[name] for name in by]), [0] * len(summed))
        for place, name in enumerate(summed):
            total[place] += document[name]
    return found


# -- ledgers ---------------------------------------------------------------------------------


def ledgers(collection: Collection, wanted: Document) -> Iterator[LedgerRecord]:
    """All ledgers, oldest first."""
    for document in collection.find(wanted, sort=[("timestamp", 1)]):
        yield ledger_record(document)


def ledger_sums(
    collection: Collection, wanted: Document, *, by_server: bool = True
) -> Iterator[LedgerSum]:
    """The ledgers summed up, by probe and device."""
    fold = _server_fold(collection, wanted) if by_server else None
    if fold is None:
        fold = Fold()
        for document in collection.find(wanted):
            document = LATER_FIELDS | document
            fold.add_one(
                time_ms(document["timestamp"]),
                document["probe"],
                document["device"],
                number=int(document["number"]),
                duration=int(document["duration"]),
                windows=int(document["windows"]),
                numbers=[int(document[name]) for name in _NUMBERS],
            )
    return fold.sums()


def _server_fold(collection: Collection, wanted: Document) -> Fold | None:
    """None where a sum is not true."""

    def later(name: str) -> Any:
        return {"$ifNull": [f"${name}", LATER_FIELDS[name]]} if name in LATER_FIELDS else f"${name}"

    group = {
        "_id": {"probe": "$probe", "device": "$device"},
        "windows": {"$sum": later("windows")},
        "first": {"$first": "$timestamp"},
        "first_number": {"$first": "$number"},
        "first_windows": {"$first": later("windows")},
        "last": {"$last": "$timestamp"},
        "last_number": {"$last": "$number"},
        "last_duration": {"$last": "$duration"},
        "longest": {"$max": "$duration"},
        **{name: {"$sum": later(name)} for name in _NUMBERS},
    }
    pipeline = [{"$match": wanted}, {"$sort": {"timestamp": 1}}, {"$group": group}]
    fold = Fold()
    for found in collection.aggregate(pipeline, allowDiskUse=True):
        if not all(isinstance(found[name], int) for name in ("windows", *_NUMBERS)):
            return None
        start, last = time_ms(found["first"]), time_ms(found["last"])
        fold.add(
            found["_id"]["probe"],
            found["_id"]["device"],
            windows=int(found["windows"]),
            first=(start, int(found["first_number"]) - int(found["first_windows"]) + 1),
            last=(last, last + int(found["last_duration"]), int(found["last_number"])),
            longest_ms=int(found["longest"]),
            numbers=[int(found[name]) for name in _NUMBERS],
        )
    return fold


def _only(fields: Sequence[str]) -> Document:
    return {"_id": 0, **dict.fromkeys(fields, 1)}
