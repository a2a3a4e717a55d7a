"""Every bound of the wire contract, and how chunks make a window."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from wakizashi import wire
from wakizashi.model import (
    MAX_INTEGER,
    MAX_TIME_MS,
    MAX_WINDOW_RECORDS,
    DeviceLedger,
    Direction,
    Flow,
    Ledger,
    Tally,
    Window,
)
from wakizashi.v1 import traffic_pb2 as pb

A, B = bytes([10, 0, 0, 1]), bytes([10, 0, 0, 2])


def window(flows: int = 1, probe: str = "web-1", start_ms: int = 1_700_000_000_000) -> Window:
    """A window with as many flows as asked for."""
    return Window(
        probe=probe,
        start_ms=start_ms,
        end_ms=start_ms + 30_000,
        number=7,
        tags=(("env", "prod"), ("rack", "r 1")),
        devices=(
            DeviceLedger("eth0", A, Ledger(device=Tally(9, 900), counted=Tally(8, 800))),
            DeviceLedger("tunl0", b"", Ledger()),
        ),
        flows=tuple(
            Flow(0, Direction.OUT, A, i.to_bytes(4, "big"), 100 + i, 1) for i in range(flows)
        ),
    )


def chunks(flows: int, **keys: Any) -> list[bytes]:
    return wire.encode(window(flows, **keys))


def head(**fields: Any) -> pb.WindowChunk:
    """A valid first and only chunk, with some fields changed."""
    chunk = pb.WindowChunk.FromString(chunks(1)[0])
    for field, value in fields.items():
        setattr(chunk, field, value)
    return chunk


def test_round_trip_with_several_chunks() -> None:
    original = window(2 * wire.MAX_CHUNK_RECORDS + 1)
    sent = wire.encode(original)
    assert len(sent) == 3
    assert max(map(len, sent)) < wire.MAX_CHUNK_BYTES
    assert wire.decode(sent) == original
    assert wire.unpack(wire.pack(sent)) == sent


def test_largest_chunk_passes_grpc_limit() -> None:
    huge = Flow(wire.MAX_DEVICES - 1, Direction.TRANSIT, bytes(16), bytes(16), 2**49, 2**49)
    devices = tuple(DeviceLedger(f"d{i}", b"", Ledger()) for i in range(wire.MAX_DEVICES))
    original = Window("p", 0, 1, 0, (), devices, (huge,) * wire.MAX_CHUNK_RECORDS)
    (only,) = wire.encode(original)
    assert len(only) < wire.MAX_CHUNK_BYTES
    assert wire.decode([only]) == original


def test_a_window_without_flows_is_one_chunk() -> None:
    original = window(0)
    assert len(wire.encode(original)) == 1
    assert wire.decode(wire.encode(original)) == original


def test_the_same_window_is_the_same_bytes_and_tags_come_back_sorted() -> None:
    one, other = window(3), window(3)
    shuffled = Window(
        one.probe, one.start_ms, one.end_ms, one.number, one.tags[::-1], one.devices, one.flows
    )
    assert wire.encode(shuffled) == wire.encode(other)
    assert wire.decode(wire.encode(shuffled)) == one


def set_record(**fields: Any) -> Callable[[pb.WindowChunk], None]:
    def change(chunk: pb.WindowChunk) -> None:
        for field, value in fields.items():
            setattr(chunk.records[0], field, value)

    return change


def set_field(**fields: Any) -> Callable[[pb.WindowChunk], None]:
    def change(chunk: pb.WindowChunk) -> None:
        for field, value in fields.items():
            setattr(chunk, field, value)

    return change


def set_device(**fields: Any) -> Callable[[pb.WindowChunk], None]:
    def change(chunk: pb.WindowChunk) -> None:
        for field, value in fields.items():
            setattr(chunk.devices[1], field, value)

    return change


def set_tag(key: str, value: str) -> Callable[[pb.WindowChunk], None]:
    return lambda chunk: chunk.tags.update({key: value})


def set_ledger(field: str, **values: int) -> Callable[[pb.WindowChunk], None]:
    return lambda chunk: getattr(chunk.devices[1].ledger, field).CopyFrom(pb.Tally(**values))


def many_tags(chunk: pb.WindowChunk) -> None:
    chunk.tags.update({f"t{i}": "v" for i in range(wire.MAX_TAGS + 1 - len(chunk.tags))})


def many_devices(chunk: pb.WindowChunk) -> None:
    chunk.devices.extend(pb.Device(name=f"d{i}") for i in range(wire.MAX_DEVICES - 1))


def many_records(chunk: pb.WindowChunk) -> None:
    chunk.records.extend([chunk.records[0]] * wire.MAX_CHUNK_RECORDS)


def second_record(**fields: int) -> Callable[[pb.WindowChunk], None]:
    def change(chunk: pb.WindowChunk) -> None:
        chunk.records.add().CopyFrom(chunk.records[0])
        for record in chunk.records:
            for field, value in fields.items():
                setattr(record, field, value)

    return change


MOST_CHUNKS = -(-MAX_WINDOW_RECORDS // wire.MAX_CHUNK_RECORDS)

REFUSALS: list[tuple[str, Callable[[pb.WindowChunk], None]]] = [
    ("probe", set_field(probe="")),
    ("probe", set_field(probe=" web")),
    ("probe", set_field(probe="web\n1")),
    ("probe", set_field(probe="web\x7f")),
    ("probe", set_field(probe="web\\1")),
    ("probe", set_field(probe="x" * 254)),
    ("start_unix_ms", set_field(start_unix_ms=-1)),
    ("end_unix_ms", set_field(end_unix_ms=1_700_000_000_000)),
    ("end_unix_ms", set_field(end_unix_ms=0)),
    ("end_unix_ms", set_field(end_unix_ms=MAX_TIME_MS + 1)),
    ("number", set_field(number=MAX_INTEGER + 1)),
    ("windows: 8 can't end with number 7", set_field(windows=8)),
    ("windows: 2 can't end with number 0", set_field(number=0, windows=2)),
    ("chunk_count", set_field(chunk_count=0)),
    ("chunk_count", set_field(chunk_count=MOST_CHUNKS + 1)),
    ("chunk_index", set_field(chunk_index=1)),
    ("tags", many_tags),
    ("tags: 'srcIP'", set_tag("srcIP", "v")),
    ("tags: 'device'", set_tag("device", "v")),
    ("tags: ''", set_tag("", "v")),
    ("tags: '1a'", set_tag("1a", "v")),
    ("tags: 'a b'", set_tag("a b", "v")),
    ("tags: 'a\\n'", set_tag("a\n", "v")),
    ("tags", set_tag("a" * 64, "v")),
    ("tags.empty", set_tag("empty", "")),
    ("tags.env", set_tag("env", "a\nb")),
    ("devices", many_devices),
    ("devices", set_device(name="")),
    ("devices", set_device(name="eth0\n")),
    ("devices", set_device(name="eth0")),
    ("devices.tunl0: primary_address", set_device(primary_address=bytes(5))),
    ("devices.tunl0: ledger.device", set_ledger("device", bytes=MAX_INTEGER + 1)),
    ("devices.tunl0: ledger.counted", set_ledger("counted", packets=MAX_INTEGER + 1)),
    ("devices.tunl0: ledger.own", set_ledger("own", bytes=2**64 - 1)),
    ("devices.tunl0: ledger.non_ip", set_ledger("non_ip", packets=2**64 - 1)),
    ("devices.tunl0: ledger.dropped", set_ledger("dropped", bytes=2**63)),
    ("devices.tunl0: ledger.other", set_ledger("other", bytes=2**63)),
    ("devices.tunl0: ledger.lost", set_ledger("lost", bytes=2**63)),
    ("records", many_records),
    ("records[0]: device", set_record(device=2)),
    ("direction", set_record(direction=0)),
    ("direction", set_record(direction=5)),
    ("direction", set_record(direction=-1)),
    ("addresses", set_record(source=bytes(3))),
    ("addresses", set_record(source=b"", destination=b"")),
    ("addresses", set_record(source=bytes(16))),
    ("addresses", set_record(destination=bytes(16))),
    ("addresses", set_record(source=bytes(17), destination=bytes(17))),
    ("size", set_record(size=0)),
    ("packets", set_record(packets=0)),
    ("packets", set_record(size=5, packets=6)),
    ("size", set_record(size=MAX_INTEGER + 1)),
    ("records[1]", second_record(size=2**62)),
    ("records[1]", second_record(size=2**62, packets=2**62)),
]


@pytest.mark.parametrize(("field", "change"), REFUSALS)
def test_bound_refuses_and_names_the_field(
    field: str, change: Callable[[pb.WindowChunk], None]
) -> None:
    chunk = head()
    change(chunk)
    with pytest.raises(wire.InvalidWindow) as refusal:
        wire.decode([chunk.SerializeToString()])
    assert field in str(refusal.value)
    assert len(str(refusal.value)) < 1000


@pytest.mark.parametrize(
    "change",
    [
        set_field(probe="x" * 253),
        set_field(probe="köln/web 1, rack=2"),
        set_field(start_unix_ms=0),
        set_field(end_unix_ms=MAX_TIME_MS),
        set_field(number=MAX_INTEGER),
        set_field(number=0),
        set_field(windows=7),
        set_field(number=MAX_INTEGER, windows=2**32 - 1),
        set_ledger("lost", bytes=MAX_INTEGER, packets=MAX_INTEGER),
        set_tag("a" * 63, "v" * 253),
        set_device(primary_address=bytes(16)),
        set_ledger("device", bytes=MAX_INTEGER, packets=MAX_INTEGER),
        set_record(size=MAX_INTEGER, packets=MAX_INTEGER),
        set_record(device=1, direction=4, source=bytes(16), destination=bytes(16)),
    ],
)
def test_bound_admits_its_last_value(change: Callable[[pb.WindowChunk], None]) -> None:
    chunk = head()
    change(chunk)
    decoded = wire.decode([chunk.SerializeToString()])
    assert wire.decode(wire.encode(decoded)) == decoded


def test_a_window_of_one_travels_as_it_did_before_windows_were_merged() -> None:
    chunk = head()
    assert not chunk.windows
    for said in (0, 1):
        chunk.windows = said
        assert wire.decode([chunk.SerializeToString()]) == window(1)
    merged = replace(window(wire.MAX_CHUNK_RECORDS + 1), windows=3)
    assert [pb.WindowChunk.FromString(c).windows for c in wire.encode(merged)] == [3, 3]
    assert wire.decode(wire.encode(merged)) == merged


def test_a_lone_surrogate_can_not_travel() -> None:
    # YAML's "\\ud800" makes one, and protobuf can't serialize it.
    assert wire.name_fault("web\ud800") is not None


def test_too_many_records_in_one_window() -> None:
    chunk = head(chunk_count=MOST_CHUNKS)
    del chunk.records[1:]
    chunk.records.extend([chunk.records[0]] * (wire.MAX_CHUNK_RECORDS - 1))
    assembly = wire.Assembly()
    for index in range(MOST_CHUNKS - 1):
        chunk.chunk_index = index
        assert assembly.add(chunk.SerializeToString()) is None
        del chunk.devices[:]
        chunk.tags.clear()
    chunk.chunk_index = MOST_CHUNKS - 1
    with pytest.raises(wire.InvalidWindow, match="records: more than 1048576 in the window"):
        assembly.add(chunk.SerializeToString())


MANY = wire.MAX_CHUNK_RECORDS * 2 + 1


@pytest.mark.parametrize(
    ("order", "words"),
    [
        ([1, 0, 2], "chunk_index: 1 where 0 has to come first"),
        ([0, 2, 1], "chunk_index: 2 where 1 is due"),
        ([0, 0, 1, 2], "chunk_index: 0 where 1 is due"),
        ([0, 1, 1, 2], "chunk_index: 1 where 2 is due"),
        ([0, 1], "missing at the end"),
        ([0], "missing at the end"),
        ([], "missing at the end"),
        ([2], "chunk_index: 2 where 0 has to come first"),
        ([0, 1, 2, 2], "1 chunks follow"),
        ([0, 1, 2, 0, 1, 2], "3 chunks follow"),
    ],
)
def test_chunks_out_of_order(order: list[int], words: str) -> None:
    sent = chunks(MANY)
    with pytest.raises(wire.InvalidWindow, match=words):
        wire.decode([sent[index] for index in order])


def later(**fields: Any) -> bytes:
    """The second of three chunks, changed."""
    chunk = pb.WindowChunk.FromString(chunks(MANY)[1])
    for field, value in fields.items():
        setattr(chunk, field, value)
    return chunk.SerializeToString()


@pytest.mark.parametrize("field", ["end_unix_ms", "number", "windows", "chunk_count"])
def test_a_later_chunk_says_something_else(field: str) -> None:
    first, second, _ = chunks(MANY)
    value = getattr(pb.WindowChunk.FromString(second), field)
    with pytest.raises(wire.InvalidWindow, match=f"{field}: {value + 1}, but {value} in the first"):
        wire.decode([first, later(**{field: value + 1})])


def test_a_later_chunk_with_tags_or_devices() -> None:
    first, second, _ = chunks(MANY)
    tagged = second + pb.WindowChunk(tags={"a": "b"}).SerializeToString()
    deviced = second + pb.WindowChunk(devices=[pb.Device(name="x")]).SerializeToString()
    for wrong in (tagged, deviced):
        with pytest.raises(wire.InvalidWindow, match="tags and devices"):
            wire.decode([first, wrong])


def test_interleaved_windows_are_refused_and_the_next_one_is_taken() -> None:
    one, other = chunks(MANY), chunks(MANY, probe="web-2")
    assembly = wire.Assembly()
    assert assembly.add(one[0]) is None
    assert assembly.pending
    with pytest.raises(wire.InvalidWindow, match="chunk of another window"):
        assembly.add(other[0])
    assert assembly.name == ("web-2", 1_700_000_000_000)
    assert not assembly.pending
    assert [assembly.add(chunk) for chunk in other][-1] == window(MANY, probe="web-2")


def test_name_tells_which_window_a_refusal_meant() -> None:
    assembly = wire.Assembly()
    for refused, name in [
        (head(number=2**64 - 1), ("web-1", 1_700_000_000_000)),
        (head(start_unix_ms=-5), ("web-1", -5)),
        (head(probe="a\nb"), None),
        (head(probe=""), None),
        (head(chunk_count=0), ("web-1", 1_700_000_000_000)),
    ]:
        with pytest.raises(wire.InvalidWindow):
            assembly.add(refused.SerializeToString())
        assert assembly.name == name
        assert not assembly.pending
    with pytest.raises(wire.InvalidWindow, match="3 bytes that are no WindowChunk"):
        assembly.add(b"\xff\xff\xff")
    assert assembly.name is None
    assert assembly.add(head().SerializeToString()) == window(1)


def test_a_refused_later_chunk_takes_nothing_over_into_the_next_window() -> None:
    first, second, third = chunks(MANY)
    assembly = wire.Assembly()
    assembly.add(first)
    assembly.add(second)
    with pytest.raises(wire.InvalidWindow):
        assembly.add(b"\xff")
    with pytest.raises(wire.InvalidWindow, match="0 has to come first"):
        assembly.add(third)
    assert [assembly.add(chunk) for chunk in (first, second, third)][-1] == window(MANY)


def test_what_follows_a_refused_chunk_never_completes_its_window() -> None:
    first, second, third = chunks(2 * wire.MAX_CHUNK_RECORDS + 1)
    bad = pb.WindowChunk.FromString(second)
    bad.records[7].packets = 0
    assembly = wire.Assembly()
    assert assembly.add(first) is None
    for refused in (bad.SerializeToString(), third):
        with pytest.raises(wire.InvalidWindow):
            assembly.add(refused)
        assert not assembly.pending


def test_raw_holds_the_chunks_as_received() -> None:
    sent = chunks(MANY)
    assembly = wire.Assembly()
    for chunk in sent:
        assembly.add(chunk)
    assert assembly.raw == sent
    one = chunks(1, start_ms=5)
    assembly.add(one[0])
    assert assembly.raw == one


@pytest.mark.parametrize(
    ("payload", "words"),
    [
        (b"", "holds no chunk"),
        (b"\x01", "inside a chunk's length"),
        (b"\x05\0\0\0abcd", "inside a chunk"),
        (b"\xff\xff\xff\xff", "inside a chunk"),
        (b"\0\0\0\0\1\0\0", "inside a chunk's length"),
    ],
)
def test_unpack_refuses(payload: bytes, words: str) -> None:
    with pytest.raises(wire.InvalidWindow, match=words):
        wire.unpack(payload)


def padded(chunk: bytes, size: int) -> bytes:
    """A chunk made longer by a field that nobody knows."""
    head = b"\xfa\x07"  # field 127, bytes
    length = size - len(chunk) - len(head) - 4
    varint = bytes([length & 127 | 128, length >> 7 & 127 | 128, length >> 14 & 127 | 128])
    return chunk + head + varint + bytes([length >> 21]) + bytes(length)


def test_a_later_chunk_may_not_be_much_longer_than_the_first() -> None:
    """From the first chunk a center reckons how much memory the window will take."""
    first, second, _ = chunks(12_000)
    most = wire.MAX_GROWTH * len(first)
    assembly = wire.Assembly()
    assembly.add(first)
    assembly.add(padded(second, most))
    assert assembly.came <= wire.MAX_GROWTH * assembly.expected
    assembly = wire.Assembly()
    assembly.add(first)
    with pytest.raises(wire.InvalidWindow, match=rf"chunk 1: {most + 1} bytes, more than 4 times"):
        assembly.add(padded(second, most + 1))
    assert not assembly.pending and assembly.came == 0


def test_a_window_has_no_more_bytes_than_are_of_use() -> None:
    """Chunks of unknown fields, each as long as gRPC lets one be."""
    size = wire.MAX_CHUNK_BYTES
    fits = wire.MAX_WINDOW_BYTES // size
    parts = [head(chunk_count=210, chunk_index=n) for n in range(fits + 1)]
    for part in parts[1:]:
        part.tags.clear()
        del part.devices[:]
    assembly = wire.Assembly()
    for part in parts[:-1]:
        assembly.add(padded(part.SerializeToString(), size))
    assert assembly.came == assembly.expected == wire.MAX_WINDOW_BYTES
    with pytest.raises(wire.InvalidWindow, match="more than 134217728 bytes in the window"):
        assembly.add(padded(parts[-1].SerializeToString(), size))


def test_the_longest_chunk_that_a_probe_sends_is_no_more_than_four_times_the_shortest() -> None:
    """So no honest window is refused for its growth."""
    short = [Flow(0, Direction.OUT, A, B, 1, 1)] * wire.MAX_CHUNK_RECORDS
    long = Flow(1, Direction.TRANSIT, bytes(16), bytes(16), MAX_INTEGER // 5_001, 2**49)
    made = Window("p", 0, 1, 0, (), window().devices, (*short, *[long] * 5_000))
    first, second = wire.encode(made)
    assert 2 * len(first) < len(second) < wire.MAX_GROWTH * len(first)
    assert wire.decode([first, second]) == made
