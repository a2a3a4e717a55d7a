"""Any capture file: its packets as another reader sees them, or an error that names file and place.

Held: what is accepted is whole, and has the packets, times, lengths and link types
that it has by the reader here, which is not scapy's. A pcap file that is whole, of
known link type and of times that exist is accepted. No read is longer than a packet can be.
"""

import gzip
import os
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.fuzz.choices import Choices
from wakizashi.model import MAX_TIME_MS
from wakizashi.probe.capture import FlowCounter
from wakizashi.probe.engines.replay import CaptureFileError, ReplayTap
from wakizashi.probe.packet import LinkType

Packet = tuple[int, int, bytes, int]
"""Time in ms, link type, captured bytes, length on the link."""

_MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
_MAGICS = {
    b"\xd4\xc3\xb2\xa1": ("<", 1_000),
    b"\xa1\xb2\xc3\xd4": (">", 1_000),
    b"\x4d\x3c\xb2\xa1": ("<", 1_000_000),
    b"\xa1\xb2\x3c\x4d": (">", 1_000_000),
}
_LENGTHS = (0, 1, 4, 12, 28, 32, 65_535, 65_536, 262_144, 2**24, 2**31 - 1, 2**31, 2**32 - 1)
_SNAP = 65_535
_FRAME = b"\2" * 12 + b"\x08\0\x45" + bytes(11) + bytes([10, 0, 0, 1, 10, 0, 0, 2]) + bytes(26)
_LONG = (_FRAME * 5_000)[: 4 * _SNAP]
"""As much of a packet as scapy reads at once."""


class Foreign(Exception):
    """Not whole, by the reader here."""


def fuzz(data: bytes) -> None:
    choices = Choices(data)
    kind = choices.number(3)
    content = choices.rest() if kind == 2 else (_pcap, _pcapng)[kind](choices)
    compressed = content[:2] != b"\x1f\x8b" and choices.chance(8)
    with tempfile.NamedTemporaryFile(dir=_MEMORY, suffix=".pcap") as file:
        file.write(gzip.compress(content, 0) if compressed else content)
        file.flush()
        _check(Path(file.name), content)


def _check(path: Path, content: bytes) -> None:
    try:
        packets = _read(path)
    except CaptureFileError as error:
        said = str(error)
        assert said.startswith("--pcap: ") and path.name in said and "; " in said, said
        assert len(said) < 2_000
        assert _may_be_refused(content), said
        return
    if content[:2] == b"\x1f\x8b":
        content = gzip.decompress(content)
    try:
        expected = list(reader(content))
    except Foreign as error:
        raise AssertionError(f"accepted, but {error}") from error
    assert packets == expected


def _read(path: Path) -> list[Packet]:
    tap = ReplayTap(path, FlowCounter(100, ()))
    packets: list[Packet] = []
    try:
        while tap._next is not None:
            time_ms, data, length, link = tap._next
            assert 0 <= time_ms <= MAX_TIME_MS, f"a time that no window can have: {time_ms}"
            packets.append((time_ms, link, data, length))
            tap.pump(1)
        counts = tap.take()
        assert counts.counted.packets + counts.non_ip.packets <= len(packets)
    finally:
        tap.close()
    return packets


def _may_be_refused(content: bytes) -> bool:
    """Whether anything is wrong with it; of pcapng this is not looked at that closely."""
    if content[:4] not in _MAGICS:
        return True
    try:
        packets = list(reader(content))
    except Foreign:
        return True
    known = {int(kind) for kind in LinkType}
    return any(link not in known or time > MAX_TIME_MS - 86_400_000 for time, link, _, _ in packets)


def reader(content: bytes) -> Iterator[Packet]:
    """The packets of a pcap or pcapng file."""
    if content[:4] in _MAGICS:
        return _pcap_packets(content)
    if content[:4] == b"\x0a\x0d\x0d\x0a":
        return _pcapng_packets(content)
    raise Foreign("it begins with none of the magic numbers")


def _pcap_packets(content: bytes) -> Iterator[Packet]:
    order, per_ms = _MAGICS[content[:4]]
    if len(content) < 24:
        raise Foreign("the header is cut off")
    (link,) = struct.unpack_from(order + "I", content, 20)
    at = 24
    while at < len(content):
        if at + 16 > len(content):
            raise Foreign("a packet's header is cut off")
        seconds, fraction, captured, length = struct.unpack_from(order + "IIII", content, at)
        at += 16
        if at + captured > len(content):
            raise Foreign("a packet is cut off")
        data = content[at : at + min(captured, _SNAP)]
        yield seconds * 1_000 + fraction // per_ms, link & 0xFFFF, data, length
        at += captured


def _pcapng_packets(content: bytes) -> Iterator[Packet]:
    order, at = "<", 0
    interfaces: list[tuple[int, int]] = []
    while at < len(content):
        if content[at : at + 4] == b"\x0a\x0d\x0d\x0a":
            order = {b"\x4d\x3c\x2b\x1a": "<", b"\x1a\x2b\x3c\x4d": ">"}.get(
                content[at + 8 : at + 12], ""
            )
            if not order:
                raise Foreign("a section has no byte order")
            interfaces = []
        if at + 12 > len(content):
            raise Foreign("a block's header is cut off")
        kind, length = struct.unpack_from(order + "II", content, at)
        end = at + length
        if length < 12 or length % 4 or end > len(content):
            raise Foreign(f"a block of {length} bytes at {at}")
        if struct.unpack_from(order + "I", content, end - 4)[0] != length:
            raise Foreign("a block's lengths differ")
        body = content[at + 8 : end - 4]
        if kind == 1:
            interfaces.append(_interface(order, body))
        elif kind in (2, 6):
            yield _packet(order, kind, body, interfaces)
        elif kind == 3:
            raise Foreign("a packet has no time")
        at = end


def _interface(order: str, body: bytes) -> tuple[int, int]:
    """Link type, and ticks a second."""
    if len(body) < 8:
        raise Foreign("an interface is cut off")
    (link,) = struct.unpack_from(order + "H", body)
    ticks, at = 1_000_000, 8
    while at + 4 <= len(body):
        code, length = struct.unpack_from(order + "HH", body, at)
        if code == 0:
            break
        if code == 9 and length == 1 and at + 4 < len(body):
            value = body[at + 4]
            ticks = (2 if value & 128 else 10) ** (value & 127)
        at += 4 + length + -length % 4
    return link, ticks


def _packet(order: str, kind: int, body: bytes, interfaces: list[tuple[int, int]]) -> Packet:
    if len(body) < 20:
        raise Foreign("a packet block is cut off")
    if kind == 6:
        number, high, low, captured, length = struct.unpack_from(order + "5I", body)
    else:
        number, _, high, low, captured, length = struct.unpack_from(order + "HH4I", body)
    if number >= len(interfaces):
        raise Foreign("a packet is of no interface")
    if captured > len(body) - 20:
        raise Foreign("a packet is longer than its block")
    link, ticks = interfaces[number]
    time_ms = (high << 32 | low) * 1_000 // ticks
    return time_ms, link, body[20 : 20 + min(captured, _SNAP)], length


def _pcap(choices: Choices) -> bytes:
    magic = choices.pick(tuple(_MAGICS))
    order, _ = _MAGICS[magic]
    link = choices.pick((1, 1, 1, 0, 12, 101, 113, 228, 276, 105, 0x10000001, 2**32 - 1))
    out = magic + struct.pack(order + "HHIIII", 2, 4, 0, 0, 262_144, link)
    for _ in range(choices.number(5)):
        data = choices.pick((_FRAME, b"", _FRAME[:20], _FRAME * 1_200, _LONG))
        captured = choices.pick(_LENGTHS) if choices.chance(4) else len(data)
        length = choices.pick(_LENGTHS) if choices.chance(4) else captured
        seconds = choices.pick((1_700_000_000, 0, 2**32 - 1, 1_700_000_100))
        fraction = choices.pick((0, 999_999, 999_999_999, 2**32 - 1))
        out += struct.pack(order + "IIII", seconds, fraction, captured, length) + data
    return choices.altered(out) if choices.chance(3) else out


def _block(order: str, kind: int, body: bytes, choices: Choices) -> bytes:
    body += bytes(-len(body) % 4)
    length = 12 + len(body)
    first = choices.pick(_LENGTHS) if choices.chance(12) else length
    last = choices.pick(_LENGTHS) if choices.chance(12) else length
    return struct.pack(order + "II", kind, first) + body + struct.pack(order + "I", last)


def _section(order: str, choices: Choices) -> bytes:
    version = choices.pick((1, 1, 1, 2))
    body = struct.pack(order + "IHHq", 0x1A2B3C4D, version, 0, -1)
    return _block(order, 0x0A0D0D0A, body + choices.pick((b"", bytes(4))), choices)


def _pcapng(choices: Choices) -> bytes:
    order = choices.pick("<>")
    out = _section(order, choices)
    for _ in range(choices.number(8)):
        kind = choices.pick((1, 6, 1, 6, 6, 2, 3, 4, 10, 0x0A0D0D0A, 0x80000001, 0xBAD))
        if kind == 0x0A0D0D0A:
            order = choices.pick("<>")
            out += _section(order, choices)
            continue
        if kind == 1:
            resolution = choices.pick(
                (b"", b"", b"\6", b"\3", b"\x89", b"\0", b"\x7f", b"\xff", b"ab")
            )
            options = struct.pack(order + "HH", 9, len(resolution)) + resolution.ljust(4, b"\0")
            link = choices.pick((1, 1, 101, 276, 105))
            body = struct.pack(order + "HHI", link, 0, 0) + (options if resolution else b"")
        elif kind in (2, 6):
            data = choices.pick((_FRAME, b"", _FRAME * 1_200))
            captured = choices.pick(_LENGTHS) if choices.chance(6) else len(data)
            length = choices.pick(_LENGTHS) if choices.chance(6) else captured
            high, low = choices.pick((0x60000, 0, 2**32 - 1)), choices.number(2**32)
            number = choices.pick((0, 0, 0, 1, 2**16 - 1))
            head = struct.pack(order + ("I" if kind == 6 else "HH"), number, *([0] * (kind == 2)))
            body = head + struct.pack(order + "4I", high, low, captured, length) + data
        else:
            body = choices.block(60)
        out += _block(order, kind, body, choices)
    return choices.altered(out) if choices.chance(3) else out


def seeds() -> Iterator[bytes]:
    """A file of each kind."""
    yield b""
    for kind in range(2):
        for first in range(4):
            yield bytes([kind, first]) + bytes([0, 4]) + bytes(60)
            for number in range(6):
                yield bytes([kind, first]) + bytes(
                    (number * 53 + n * 29 + n * n) % 256 for n in range(150)
                )
    magic = next(iter(_MAGICS))
    numbers = struct.pack("<5I", 0, 0x60000, 0, len(_FRAME), len(_FRAME))
    whole = [
        (0x0A0D0D0A, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1) + bytes(4)),
        (1, struct.pack("<HHI", 1, 0, 0)),
        (6, numbers + _FRAME),
    ]
    blocks = [_block("<", kind, body, Choices(b"")) for kind, body in whole]
    yield b"\2" + b"".join(blocks)
    yield b"\2" + b"".join(blocks + blocks)
    yield b"\2" + b"".join(blocks + blocks[:2] + blocks)
    head = magic + struct.pack("<HHIIII", 2, 4, 0, 0, 262_144, 1)
    one = head + struct.pack("<IIII", 1_700_000_000, 0, len(_FRAME), len(_FRAME)) + _FRAME
    yield b"\2" + one
    for captured in range(len(_LENGTHS)):  # of a long packet, chosen as the program does
        yield bytes([0, 0, 0, 1, 4, 3, captured, 0, 0, 0, 0])
    yield b"\2" + gzip.compress(one, mtime=0)
