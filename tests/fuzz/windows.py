"""Windows from choices, whole or broken; and a reading of the contract that is not the product's."""

from collections.abc import Sequence
from ipaddress import ip_address

from google.protobuf.message import DecodeError

from tests.fuzz.choices import Choices
from wakizashi import wire
from wakizashi.model import DeviceLedger, Direction, Flow, Ledger, StoredWindow, Tally, Window
from wakizashi.v1 import traffic_pb2 as pb

_NAMES = ("vm-1", "vm-2", "ns/pod ü", "x" * 253)
_BAD_NAMES = ("", " x", "x\t", "a\\b", "x" * 254, "a\nb", "x\x7f", "\x00")
_STARTS = (0, 1_000, 2_000, 1_700_000_000_000, 9_214_646_399_999)
_TIMES = (-(2**63), -1, 0, 999, 9_214_646_400_000, 9_214_646_400_001, 2**63 - 1)
_ADDRESSES = tuple(bytes(n) for n in (0, 3, 5, 8, 15, 17, 40))
_RESERVED = frozenset(
    {"probe", "probeIP", "srcIP", "dstIP", "device", "time", "timestamp", "size", "packets", "tags"}
)
_ASCII = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")

Sums = dict[tuple[bytes, bytes, bytes], tuple[int, int]]
"""(probeIP, source, destination), packed, to (size, packets)."""


def make_window(choices: Choices) -> Window:
    """A valid window."""
    devices = tuple(
        DeviceLedger(
            f"eth{n}",
            choices.pick((b"", bytes([10, 0, 0, 1]), bytes(15) + b"\1")),
            Ledger(device=Tally(choices.number(9), choices.number(9))),
        )
        for n in range(choices.number(3))
    )
    start = choices.pick(_STARTS)
    flows = []
    for _ in range(choices.number(6) if devices else 0):
        make = choices.pick((_four, _six))
        packets = 1 + choices.number(3)
        size = choices.pick((packets, 1_500, 2**40, 2**60))
        flows.append(
            Flow(
                choices.number(len(devices)),
                choices.pick(tuple(Direction)),
                make(choices.number(3)),
                make(choices.number(3)),
                size,
                packets,
            )
        )
    return Window(
        probe=choices.pick(_NAMES),
        start_ms=start,
        end_ms=start + 1 + choices.number(2) * 30_000 if start < 2**42 else start + 1,
        number=choices.pick((0, 1, 2**63 - 1)),
        tags=choices.pick(((), (("env", "prod"),), (("a", "1"), ("b", "x y,=ü")))),
        devices=devices,
        flows=tuple(flows),
    )


def _four(number: int) -> bytes:
    return bytes([10, 0, 0, number])


def _six(number: int) -> bytes:
    return b"\xfd" + bytes(14) + bytes([number])


def make_chunks(choices: Choices, window: Window) -> list[bytes]:
    """Its chunks, of fewer records than a probe puts into one."""
    parts = 1 + choices.number(3)
    each = max(1, -(-len(window.flows) // parts))
    batches = [window.flows[i : i + each] for i in range(0, len(window.flows), each)]
    batches += [()] * (parts - len(batches))
    (whole,) = wire.encode(window)
    chunks = []
    for index, flows in enumerate(batches):
        chunk = pb.WindowChunk.FromString(whole)
        del chunk.records[:]
        part = Window(window.probe, window.start_ms, window.end_ms, window.number, (), (), flows)
        chunk.records.extend(pb.WindowChunk.FromString(wire.encode(part)[0]).records)
        chunk.chunk_index, chunk.chunk_count = index, len(batches)
        if index:
            chunk.tags.clear()
            del chunk.devices[:]
        chunks.append(chunk.SerializeToString(deterministic=True))
    return chunks


def broken(choices: Choices, data: bytes) -> bytes:
    """A chunk with one thing wrong in it, or nearly wrong; or bytes that are none."""
    kind = choices.number(18)
    if kind == 0:
        return choices.altered(data)
    if kind == 1:
        return choices.block(60)
    chunk = pb.WindowChunk.FromString(data)
    integer = choices.integer()
    if kind == 2:
        chunk.chunk_index = integer % 2**32
    elif kind == 3:
        chunk.chunk_count = choices.pick((integer % 2**32, 2, 210, 211))
    elif kind == 4:
        chunk.number = integer
    elif kind == 5:
        chunk.start_unix_ms = choices.pick(_TIMES)
    elif kind == 6:
        chunk.end_unix_ms = choices.pick(_TIMES)
    elif kind == 7:
        chunk.probe = choices.pick((*_BAD_NAMES, *_NAMES))
    elif kind == 8:
        name = choices.pick(("", "probe", "1a", "a" * 64, "ok", "ü"))
        chunk.tags[name] = choices.pick(("v" * 5_000, *_BAD_NAMES, "fine"))
    elif kind == 9:
        device = chunk.devices.add(name=choices.pick((*_BAD_NAMES, "eth0", "eth9")))
        device.primary_address = choices.pick((*_ADDRESSES, bytes(4)))
        device.ledger.dropped.packets = integer
    elif kind == 10:
        for _ in range(choices.pick((1, 40))):
            chunk.tags[f"t{len(chunk.tags)}"] = "x"
    elif kind == 11:  # a field that nobody knows, of some length
        size = choices.pick((0, 100, 20_000, 200_000))
        return data + b"\xfa\x07" + _varint(size) + bytes(size)
    else:
        _break_record(choices, chunk, integer)
    return chunk.SerializeToString()


def _break_record(choices: Choices, chunk: pb.WindowChunk, integer: int) -> None:
    kind = choices.number(7)
    record = chunk.records.add(
        direction=pb.DIRECTION_IN, source=bytes(4), destination=bytes(4), size=9, packets=1
    )
    if kind == 0:
        record.device = integer % 2**32
    elif kind == 1:
        other = pb.RawTrafficRecord.FromString(b"\x10" + _varint(integer % 2**31))
        record.MergeFrom(other)
    elif kind == 2:
        record.source = choices.pick(_ADDRESSES)
    elif kind == 3:
        record.source = record.destination = choices.pick((*_ADDRESSES, bytes(16)))
    elif kind == 4:
        record.size = integer
    elif kind == 5:
        record.packets = integer
    else:
        record.packets = choices.pick((0, record.size, record.size + 1))


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


def name_of(data: bytes) -> tuple[str, int] | None:
    """Which window a chunk says it is of."""
    try:
        chunk = pb.WindowChunk.FromString(data)
    except DecodeError:
        return None
    return chunk.probe, chunk.start_unix_ms


def _good_name(name: str) -> bool:
    return (
        1 <= len(name) <= 253
        and name == name.strip()
        and all(ord(c) >= 32 and c not in "\x7f\\" for c in name)
    )


def _good_tag(key: str, value: str) -> bool:
    letters = _ASCII.union("0123456789_.-")
    good = 1 <= len(key) <= 63 and key[0] in _ASCII and letters.issuperset(key)
    return good and key not in _RESERVED and _good_name(value)


def _good_head(first: pb.WindowChunk) -> bool:
    tallies = [
        number
        for device in first.devices
        for name in ("device", "counted", "own", "non_ip", "dropped", "other")
        for tally in [getattr(device.ledger, name)]
        for number in (tally.packets, tally.bytes)
    ]
    return (
        _good_name(first.probe)
        and 0 <= first.start_unix_ms < first.end_unix_ms <= 9_214_646_400_000
        and first.number < 2**63
        and len(first.tags) <= 32
        and all(_good_tag(*tag) for tag in first.tags.items())
        and len(first.devices) <= 4_096
        and len({device.name for device in first.devices}) == len(first.devices)
        and all(_good_name(d.name) for d in first.devices)
        and all(len(d.primary_address) in (0, 4, 16) for d in first.devices)
        and all(number < 2**63 for number in tallies)
    )


def _good_record(record: pb.RawTrafficRecord, devices: int) -> bool:
    return (
        record.device < devices
        and 1 <= record.direction <= 4
        and len(record.source) in (4, 16)
        and len(record.source) == len(record.destination)
        and 1 <= record.packets <= record.size < 2**63
    )


def whole(messages: Sequence[bytes]) -> tuple[pb.WindowChunk, Sums] | None:
    """The head and the sums of a window, if these are all of its chunks and follow the contract."""
    try:
        chunks = [pb.WindowChunk.FromString(message) for message in messages]
    except DecodeError:
        return None
    first, *others = chunks
    if not _good_head(first) or first.chunk_count != len(chunks):
        return None
    for index, chunk in enumerate(chunks):
        names = ("probe", "start_unix_ms", "end_unix_ms", "number", "chunk_count")
        if chunk.chunk_index != index or any(getattr(chunk, n) != getattr(first, n) for n in names):
            return None
    if any(chunk.tags or chunk.devices for chunk in others):
        return None
    # So that what a center keeps is bounded by what it was told to expect.
    if any(len(message) > wire.MAX_GROWTH * len(messages[0]) for message in messages):
        return None
    records = [record for chunk in chunks for record in chunk.records]
    if not all(_good_record(record, len(first.devices)) for record in records):
        return None
    if sum(record.size for record in records) >= 2**63:
        return None
    sums: Sums = {}
    for record in records:
        source, destination = record.source, record.destination
        device = first.devices[record.device].primary_address or bytes(4)
        local = {2: destination, 4: device}.get(record.direction, source)
        size, packets = sums.get((local, source, destination), (0, 0))
        key = (local, source, destination)
        sums[key] = size + record.size, packets + record.packets
    return first, sums


def _packed(text: str) -> bytes:
    return ip_address(text).packed


Point = tuple[object, ...]


def points_of(stored: StoredWindow) -> set[Point]:
    """What is stored, in the form of :func:`points_due`."""
    name, tags = (stored.probe, stored.start_ms), frozenset(stored.tags)
    records = [
        ((r.probe, r.timestamp), tags)
        + (_packed(r.probeIP), _packed(r.srcIP), _packed(r.dstIP), r.size, r.packets)
        for r in stored.records
    ]
    ledgers = [
        ((r.probe, r.timestamp), tags, r.device, r.number, r.duration)
        + (r.ledger.device.packets, r.ledger.dropped.packets)
        for r in stored.ledgers
    ]
    assert all(point[0] == name for point in (*records, *ledgers))
    assert len(set(records)) == len(records), "a record stands there twice"
    return {*records, *ledgers}


def points_due(head: pb.WindowChunk, sums: Sums) -> set[Point]:
    """What a window is to be stored as."""
    name, tags = (head.probe, head.start_unix_ms), frozenset(head.tags.items())
    duration = head.end_unix_ms - head.start_unix_ms
    records = {(name, tags, *key, *value) for key, value in sums.items()}
    ledgers = {
        (name, tags, d.name, head.number, duration)
        + (d.ledger.device.packets, d.ledger.dropped.packets)
        for d in head.devices
    }
    return {*records, *ledgers}
