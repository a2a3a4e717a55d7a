"""MongoDB's documents: from windows to documents and back. Pure.

A record of traffic::

    {_id: "18bcfe56800ZFA2…", timestamp: ISODate(…), probe: "vm-1", probeIP: "10.0.0.1",
     srcIP: "10.0.0.1", dstIP: "10.0.0.2", size: 1500, packets: 2, tags: ["env=prod"]}

A ledger has ``device, number, duration, windows`` and packets and bytes of each
tally instead. ``tags`` is there where the probe has some; a list, for a tag's key may
hold dots, which not every server takes in the name of a field.

``_id`` is the point's identity, so that writing it again replaces it: the
window's start (ms, 11 hexadecimal digits, so that new documents come at the
end of the index) and 120 bits of the BLAKE2b of the rest, in base64. It is
text, not bytes, which would be 9 bytes shorter: FerretDB 1 has its own database
look for text and ObjectId, and for bytes reads the whole collection itself.
"""

from base64 import urlsafe_b64encode
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Any

from wakizashi.model import (
    LATER_FIELDS,
    MAX_TIME_MS,
    TALLIES,
    Ledger,
    LedgerRecord,
    StoredWindow,
    Tally,
)

Document = dict[str, Any]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DIGEST_BYTES = 15  # 20 characters of base64, without padding


def date(time_ms: int) -> datetime:
    """A time as BSON has it, to the millisecond; times beyond what is ever stored are cut."""
    return _EPOCH + timedelta(milliseconds=min(time_ms, MAX_TIME_MS + 1))


def time_ms(found: datetime) -> int:
    """The other way; ``found`` is in UTC, without a zone."""
    return (found.replace(tzinfo=UTC) - _EPOCH) // timedelta(milliseconds=1)


def identity(start_ms: int, names: Sequence[str]) -> str:
    """The ``_id`` of a point; names hold no control characters, so NUL keeps them apart."""
    digest = blake2b("\0".join(names).encode(), digest_size=_DIGEST_BYTES).digest()
    return f"{start_ms:011x}{urlsafe_b64encode(digest).decode()}"


def traffic_documents(window: StoredWindow) -> Iterator[Document]:
    """A document for each record."""
    timestamp, tags = date(window.start_ms), _tags(window)
    for _, probe, probe_ip, source, destination, size, packets in window.records:
        yield {
            "_id": identity(window.start_ms, (probe, probe_ip, source, destination)),
            "timestamp": timestamp,
            "probe": probe,
            "probeIP": probe_ip,
            "srcIP": source,
            "dstIP": destination,
            "size": size,
            "packets": packets,
            **tags,
        }


def ledger_documents(window: StoredWindow) -> Iterator[Document]:
    """A document for each ledger."""
    timestamp, tags = date(window.start_ms), _tags(window)
    for record in window.ledgers:
        document: Document = {
            "_id": identity(window.start_ms, (record.probe, record.device)),
            "timestamp": timestamp,
            "probe": record.probe,
            "device": record.device,
            "number": record.number,
            "duration": record.duration,
            "windows": record.windows,
        }
        for name in TALLIES:
            tally: Tally = getattr(record.ledger, name)
            document[f"{name}_packets"] = tally.packets
            document[f"{name}_bytes"] = tally.bytes
        yield document | tags


def ledger_record(document: Mapping[str, Any]) -> LedgerRecord:
    """The ledger in a document."""
    document = LATER_FIELDS | dict(document)
    tallies = {
        name: Tally(int(document[f"{name}_packets"]), int(document[f"{name}_bytes"]))
        for name in TALLIES
    }
    return LedgerRecord(
        timestamp=time_ms(document["timestamp"]),
        probe=document["probe"],
        device=document["device"],
        number=int(document["number"]),
        duration=int(document["duration"]),
        ledger=Ledger(**tallies),
        windows=int(document["windows"]),
    )


def _tags(window: StoredWindow) -> Document:
    return {"tags": [f"{key}={value}" for key, value in window.tags]} if window.tags else {}
