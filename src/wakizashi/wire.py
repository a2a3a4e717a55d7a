"""Windows to and from the bytes that travel and that lie in files.

In: a :class:`~wakizashi.model.Window`, or the serialized chunks of one.
Out: the other. Nothing may be lost: what does not follow the contract of
``proto/wakizashi/v1/traffic.proto`` raises :class:`InvalidWindow` whole.

A file's payload is the window's chunks one after another, each behind its
length as an unsigned 32-bit little-endian integer; the chunks are sent as
they lie there.
"""

import re
import struct
from collections.abc import Sequence
from operator import gt

from google.protobuf.message import DecodeError

from wakizashi.model import (
    MAX_INTEGER,
    MAX_TIME_MS,
    MAX_WINDOW_RECORDS,
    TALLIES,
    DeviceLedger,
    Direction,
    Flow,
    Ledger,
    Tags,
    Tally,
    Window,
)
from wakizashi.v1 import traffic_pb2 as pb

MAX_CHUNK_RECORDS = 5_000
"""Records in one chunk: large enough for 2.6 million records a second, far below 4 MiB."""

MAX_CHUNK_BYTES = 4 * 1024 * 1024
MAX_GROWTH = 4
"""How many times as long as the first chunk a later one of the same window may be.

From the first chunk and their number a center knows how much memory a window will
take. A first chunk that others follow is full, and a record takes 20 to 63 bytes.
"""
MAX_WINDOW_BYTES = 128 * MAX_WINDOW_RECORDS
"""Of all chunks of a window; the most that can be of use is half of it."""
MAX_DEVICES = 4_096
MAX_TAGS = 32
MAX_NAME_LENGTH = 253
RESERVED_TAGS = frozenset(
    {
        "probe",
        "probeIP",
        "srcIP",
        "dstIP",
        "device",
        "time",
        "timestamp",
        "size",
        "packets",
        "tags",
    }
)

TIME_METADATA = "wakizashi-time-ms"
"""Trailing metadata of each call that was taken: the center's Unix time in milliseconds as it ended."""
PROBE_METADATA = "wakizashi-probe-bin"
"""Metadata of a call: the name, in UTF-8, of the probe whose windows it would bring."""

_NAME = re.compile(rf"[^\x00-\x1f\x7f\\\ud800-\udfff]{{1,{MAX_NAME_LENGTH}}}")
_TAG_KEY = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,62}")
_LENGTH = struct.Struct("<I")
_ADDRESS_LENGTHS = frozenset({4, 16})
_DIRECTIONS = {int(direction): direction for direction in Direction}
_new = tuple.__new__  # a third of the time of Flow(…)


class InvalidWindow(ValueError):
    """A window or chunk that breaks the contract; ``str()`` says where and how."""


def name_fault(name: str) -> str | None:
    """Why ``name`` can't name a probe, device or tag value; None if it can.

    The characters left out are those that InfluxDB's line protocol can't carry.
    """
    if not name:
        return "is empty"
    if name != name.strip():
        return "starts or ends with white space"
    if not _NAME.fullmatch(name):
        return f"has a control character or backslash, or is longer than {MAX_NAME_LENGTH}"
    return None


def tag_key_fault(key: str) -> str | None:
    """Why ``key`` can't be a tag's key; None if it can."""
    if key in RESERVED_TAGS:
        return "is a name that every record has already"
    if not _TAG_KEY.fullmatch(key):
        return "is not a letter followed by letters, digits, '_', '.' or '-' (63 at most)"
    return None


def encode(window: Window) -> list[bytes]:
    """Serialize a window into its chunks, at least one, in order."""
    batches = [
        window.flows[i : i + MAX_CHUNK_RECORDS]
        for i in range(0, len(window.flows), MAX_CHUNK_RECORDS)
    ] or [()]
    chunks = []
    for index, flows in enumerate(batches):
        chunk = pb.WindowChunk(
            probe=window.probe,
            start_unix_ms=window.start_ms,
            end_unix_ms=window.end_ms,
            number=window.number,
            windows=window.windows if window.windows > 1 else 0,
            chunk_index=index,
            chunk_count=len(batches),
            records=[
                pb.RawTrafficRecord(
                    device=flow.device,
                    direction=flow.direction.value,  # type: ignore[arg-type]  # the stubs know the enum alone
                    source=flow.source,
                    destination=flow.destination,
                    size=flow.size,
                    packets=flow.packets,
                )
                for flow in flows
            ],
        )
        if index == 0:
            chunk.tags.update(dict(window.tags))
            chunk.devices.extend(_device(device) for device in window.devices)
        # Deterministic, so that the same window always is the same file.
        chunks.append(chunk.SerializeToString(deterministic=True))
    return chunks


def decode(chunks: Sequence[bytes]) -> Window:
    """Parse and validate all chunks of one window.

    Raises:
        InvalidWindow: anything breaks the contract: bytes that are no chunk,
            chunks missing or out of order, values out of bounds.
    """
    assembly = Assembly()
    for index, chunk in enumerate(chunks):
        window = assembly.add(chunk)
        if window is not None:
            if index != len(chunks) - 1:
                raise InvalidWindow(f"{len(chunks) - 1 - index} chunks follow after the last one")
            return window
    raise InvalidWindow("chunks are missing at the end")


def pack(chunks: Sequence[bytes]) -> bytes:
    """The payload of a file: each chunk behind its length."""
    return b"".join(_LENGTH.pack(len(chunk)) + chunk for chunk in chunks)


def unpack(payload: bytes) -> list[bytes]:
    """The chunks in a file's payload.

    Raises:
        InvalidWindow: the lengths do not add up to the payload.
    """
    chunks = []
    offset = 0
    while offset < len(payload):
        if offset + _LENGTH.size > len(payload):
            raise InvalidWindow("payload ends inside a chunk's length")
        (length,) = _LENGTH.unpack_from(payload, offset)
        offset += _LENGTH.size
        if offset + length > len(payload):
            raise InvalidWindow("payload ends inside a chunk")
        chunks.append(payload[offset : offset + length])
        offset += length
    if not chunks:
        raise InvalidWindow("payload holds no chunk")
    return chunks


class Assembly:
    """Puts one window together from its chunks, each validated as it comes.

    Memory is bounded by one window of ``MAX_WINDOW_RECORDS`` flows. After a
    complete window, or an :class:`InvalidWindow`, it starts afresh.
    """

    def __init__(self) -> None:
        self.name: tuple[str, int] | None = None
        """(probe, start_ms) of the window under way, or of the chunk that was just refused."""
        self._reset()

    def _reset(self) -> None:
        self.raw: list[bytes] = []
        self._head: pb.WindowChunk | None = None
        self._chunk = pb.WindowChunk()
        self._tags: Tags = ()
        self._devices: tuple[DeviceLedger, ...] = ()
        self._flows: list[Flow] = []
        self._size = 0
        self._bytes = 0

    @property
    def pending(self) -> bool:
        """Whether a window has begun and is not complete."""
        return self._head is not None

    def add(self, data: bytes) -> Window | None:
        """Take the next chunk; return the window when this one completes it.

        Raises:
            InvalidWindow: see :func:`decode`. ``name`` tells which window was
                meant, None where the bytes did not even tell that.
        """
        self.read(data)
        return self.take()

    def read(self, data: bytes) -> tuple[str, int]:
        """Take the next chunk but for its records, which :meth:`take` or :meth:`drop` has to follow.

        Returns the window's name. Raises as :meth:`add`.
        """
        if not self.pending:
            self._reset()
        try:
            self._chunk = self._read(data)
        except InvalidWindow:
            self._reset()
            raise
        self.raw.append(data)
        self._bytes += len(data)
        return self._chunk.probe, self._chunk.start_unix_ms

    @property
    def begins(self) -> bool:
        """Whether the chunk just read is the first of its window."""
        return len(self.raw) == 1

    @property
    def came(self) -> int:
        """Bytes of the window's chunks so far."""
        return self._bytes

    @property
    def expected(self) -> int:
        """Bytes that all chunks of the window under way will have, by the first of them."""
        if self._head is None:
            return 0
        return min(self._head.chunk_count * len(self.raw[0]), MAX_WINDOW_BYTES)

    def drop(self) -> None:
        """Forget the window under way; ``name`` stays."""
        self._reset()

    def _read(self, data: bytes) -> pb.WindowChunk:
        chunk = pb.WindowChunk()
        try:
            chunk.ParseFromString(data)
        except DecodeError as error:
            self.name = None
            raise InvalidWindow(f"{len(data)} bytes that are no WindowChunk") from error
        before, self.name = self.name, (chunk.probe, chunk.start_unix_ms)
        if self._head is None:
            self._begin(chunk)
        else:
            self._follow(self._head, chunk, before, data)
        return chunk

    def take(self) -> Window | None:
        """Take the records of the chunk that was read; see :meth:`add`."""
        chunk, self._chunk = self._chunk, pb.WindowChunk()
        try:
            self._take_records(chunk)
        except InvalidWindow:
            self._reset()
            raise
        if len(self.raw) < chunk.chunk_count:
            return None
        window = Window(
            probe=chunk.probe,
            start_ms=chunk.start_unix_ms,
            end_ms=chunk.end_unix_ms,
            number=chunk.number,
            tags=self._tags,
            devices=self._devices,
            flows=tuple(self._flows),
            windows=chunk.windows or 1,
        )
        self._head = None
        self._flows = []
        return window

    @property
    def records(self) -> int:
        """Number of records taken of the window under way."""
        return len(self._flows)

    def _begin(self, chunk: pb.WindowChunk) -> None:
        fault = name_fault(chunk.probe)
        if fault:
            self.name = None
            raise InvalidWindow(f"probe: {chunk.probe[:64]!r} {fault}")
        start, end = chunk.start_unix_ms, chunk.end_unix_ms
        if not 0 <= start < end <= MAX_TIME_MS:
            raise InvalidWindow(
                f"start_unix_ms {start}, end_unix_ms {end}: not 0 <= start < end <= {MAX_TIME_MS}"
            )
        if chunk.number > MAX_INTEGER:
            raise InvalidWindow(f"number: {chunk.number} is beyond {MAX_INTEGER}")
        if chunk.windows > max(1, chunk.number):
            raise InvalidWindow(
                f"windows: {chunk.windows} can't end with number {chunk.number}; the first is 1"
            )
        most = -(-MAX_WINDOW_RECORDS // MAX_CHUNK_RECORDS)
        if not 1 <= chunk.chunk_count <= most:
            raise InvalidWindow(f"chunk_count: {chunk.chunk_count} is not from 1 to {most}")
        if chunk.chunk_index != 0:
            raise InvalidWindow(f"chunk_index: {chunk.chunk_index} where 0 has to come first")
        if len(chunk.tags) > MAX_TAGS:
            raise InvalidWindow(f"tags: {len(chunk.tags)} are more than {MAX_TAGS}")
        for key, value in chunk.tags.items():
            fault = tag_key_fault(key)
            if fault:
                raise InvalidWindow(f"tags: {key[:64]!r} {fault}")
            fault = name_fault(value)
            if fault:
                raise InvalidWindow(f"tags.{key}: {value[:64]!r} {fault}")
        if len(chunk.devices) > MAX_DEVICES:
            raise InvalidWindow(f"devices: {len(chunk.devices)} are more than {MAX_DEVICES}")
        self._tags = tuple(sorted(chunk.tags.items()))
        self._devices = tuple(_read_device(device) for device in chunk.devices)
        if len({device.name for device in self._devices}) < len(self._devices):
            raise InvalidWindow("devices: a name stands there twice")
        self._head = chunk

    def _follow(
        self,
        head: pb.WindowChunk,
        chunk: pb.WindowChunk,
        before: tuple[str, int] | None,
        data: bytes,
    ) -> None:
        if self.name != before:
            raise InvalidWindow(f"a chunk of another window came before the last one of {before}")
        for field in ("end_unix_ms", "number", "windows", "chunk_count"):
            ours, theirs = getattr(head, field), getattr(chunk, field)
            if ours != theirs:
                raise InvalidWindow(f"{field}: {theirs}, but {ours} in the first chunk")
        if chunk.chunk_index != len(self.raw):
            raise InvalidWindow(f"chunk_index: {chunk.chunk_index} where {len(self.raw)} is due")
        if chunk.tags or chunk.devices:
            raise InvalidWindow("tags and devices belong into the first chunk only")
        came, first = len(data), len(self.raw[0])
        if came > MAX_GROWTH * first:
            raise InvalidWindow(
                f"chunk {chunk.chunk_index}: {came} bytes, more than {MAX_GROWTH} times the "
                f"{first} of the first chunk, which has to be a full one"
            )
        if self._bytes + came > MAX_WINDOW_BYTES:
            raise InvalidWindow(f"chunks: more than {MAX_WINDOW_BYTES} bytes in the window")

    def _take_records(self, chunk: pb.WindowChunk) -> None:
        records = chunk.records
        if len(records) > MAX_CHUNK_RECORDS:
            raise InvalidWindow(f"records: {len(records)} are more than {MAX_CHUNK_RECORDS}")
        if len(self._flows) + len(records) > MAX_WINDOW_RECORDS:
            raise InvalidWindow(f"records: more than {MAX_WINDOW_RECORDS} in the window")
        if not records:
            return
        try:
            flows = [
                _new(
                    Flow,
                    (
                        r.device,
                        _DIRECTIONS[r.direction],
                        r.source,
                        r.destination,
                        r.size,
                        r.packets,
                    ),
                )
                for r in records
            ]
        except KeyError:  # a direction that is none
            raise self._fault(chunk) from None
        # Column by column: a check of each record on its own takes three times as long.
        devices, _, sources, destinations, sizes, packets = zip(*flows, strict=True)
        lengths = list(map(len, sources))
        self._size += sum(sizes)
        if (
            max(devices) >= len(self._devices)
            or not _ADDRESS_LENGTHS.issuperset(lengths)
            or lengths != list(map(len, destinations))
            or min(packets) < 1
            or any(map(gt, packets, sizes))
            or self._size > MAX_INTEGER  # so the sum of the packets is not beyond it either
        ):
            raise self._fault(chunk)
        self._flows += flows

    def _fault(self, chunk: pb.WindowChunk) -> InvalidWindow:
        """The first record of ``chunk``, which holds a bad one, that breaks the contract."""
        devices = len(self._devices)
        size = sum(flow.size for flow in self._flows)
        for position, record in enumerate(chunk.records):  # noqa: B007 - told below
            lengths = len(record.source), len(record.destination)
            size += record.size
            if (
                record.device >= devices
                or record.direction not in _DIRECTIONS
                or lengths[0] not in _ADDRESS_LENGTHS
                or lengths[0] != lengths[1]
                or not 0 < record.packets <= record.size
                or size > MAX_INTEGER
            ):
                break
        return InvalidWindow(
            f"records[{position}]: device {record.device} of {devices}, "
            f"direction {record.direction}, addresses of {lengths[0]} and {lengths[1]} bytes, "
            f"size {record.size}, packets {record.packets}: not 0 <= device < {devices}, "
            "1 <= direction <= 4, 4 or 16 bytes each, 0 < packets <= size, "
            f"size of the window up to {MAX_INTEGER}"
        )


def _device(device: DeviceLedger) -> pb.Device:
    ledger = device.ledger
    return pb.Device(
        name=device.name,
        primary_address=device.primary_address,
        ledger=pb.Ledger(
            **{
                field: pb.Tally(packets=tally.packets, bytes=tally.bytes)
                for field in TALLIES
                if (tally := getattr(ledger, field)) != Tally()
            }
        ),
    )


def _read_device(device: pb.Device) -> DeviceLedger:
    fault = name_fault(device.name)
    if fault:
        raise InvalidWindow(f"devices: {device.name[:64]!r} {fault}")
    if len(device.primary_address) not in (0, 4, 16):
        raise InvalidWindow(
            f"devices.{device.name}: primary_address of {len(device.primary_address)} bytes"
        )
    tallies = {}
    for field in TALLIES:
        tally = getattr(device.ledger, field)
        if tally.packets > MAX_INTEGER or tally.bytes > MAX_INTEGER:
            raise InvalidWindow(f"devices.{device.name}: ledger.{field} is beyond {MAX_INTEGER}")
        tallies[field] = Tally(tally.packets, tally.bytes)
    return DeviceLedger(device.name, device.primary_address, Ledger(**tallies))
