"""Capture files that are compressed, damaged, or no files; and what is kept of them."""

import gzip
import logging
import struct
from pathlib import Path

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether
from scapy.utils import wrpcap

from wakizashi.model import Tally
from wakizashi.probe import offline
from wakizashi.probe.capture import Counts, FlowCounter
from wakizashi.probe.config import ProbeConfig
from wakizashi.probe.engines.replay import CaptureFileError, ReplayTap


@pytest.fixture
def packed(tmp_path: Path) -> bytes:
    """A gzipped pcap of packets that are a second apart."""
    plain = tmp_path / "plain.pcap"
    packets = [Ether() / IP(dst=f"10.0.0.{n}") / UDP() / bytes(range(n * 9)) for n in range(1, 9)]
    for number, packet in enumerate(packets):
        packet.time = 1_700_000_000 + number
    wrpcap(str(plain), packets)
    return gzip.compress(plain.read_bytes(), mtime=0)


def read(path: Path) -> int:
    tap = ReplayTap(path, FlowCounter(100, ()))
    try:
        while tap.pump(1_000):
            pass
        return tap.take().counted.packets
    finally:
        tap.close()


def test_gzipped_file_cut_or_altered_anywhere_is_an_error(packed: bytes, tmp_path: Path) -> None:
    path = tmp_path / "trace.pcap.gz"
    path.write_bytes(packed)
    assert read(path) == 8
    for cut in range(2, len(packed)):
        path.write_bytes(packed[:cut])
        with pytest.raises(CaptureFileError, match="is no pcap|damaged or cut off"):
            read(path)
    for position in range(10, len(packed)):  # what is before names time and system alone
        altered = bytearray(packed)
        altered[position] ^= 0x10
        path.write_bytes(altered)
        if position == len(packed) - 9:  # has the bits that fill up the last byte
            continue
        with pytest.raises(CaptureFileError, match="is no pcap|damaged or cut off"):
            read(path)


@pytest.mark.parametrize("compressed", [True, False])
def test_how_far_it_is_in_the_file_as_it_lies_there(
    packed: bytes, tmp_path: Path, *, compressed: bool
) -> None:
    data = packed if compressed else gzip.decompress(packed)
    path = tmp_path / "trace.pcap"
    path.write_bytes(data)
    tap = ReplayTap(path, FlowCounter(100, ()))
    tap.pump(3)
    passed = tap.take_passed().bytes
    assert passed and tap.passed_bytes == passed
    while tap.pump(1_000):
        pass
    assert tap.read_bytes == tap.size_bytes == len(data)
    assert tap.passed_bytes == passed + tap.take_passed().bytes > passed
    tap.close()


def test_what_is_no_file_is_told_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(CaptureFileError, match="Is a directory; name a file that this user"):
        read(tmp_path)


def test_interrupt_leaves_no_window_of_a_file_half_read(
    packed: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "trace.pcap.gz"
    path.write_bytes(packed)
    pump = ReplayTap.pump

    def interrupted(tap: ReplayTap, budget: int) -> bool:
        if tap.next_ms and tap.next_ms >= 1_700_000_004_000:
            raise KeyboardInterrupt
        return pump(tap, budget)

    monkeypatch.setattr(ReplayTap, "pump", interrupted)
    dump = tmp_path / "dump"
    with pytest.raises(KeyboardInterrupt):
        offline.replay(ProbeConfig(dumpDir=dump, capInterval=1, centerAddr="127.0.0.1:1"), path)
    assert not list(dump.rglob("*.window"))


FRAME = bytes(12) + b"\x08\0\x45" + bytes(11) + bytes([10, 0, 0, 1, 10, 0, 0, 2]) + bytes(8)


def block(kind: int, body: bytes, tail: int = 0) -> bytes:
    """A block of a pcapng file; ``tail`` is added to the length at its end."""
    body += bytes(-len(body) % 4)
    length = 12 + len(body)
    return struct.pack("<II", kind, length) + body + struct.pack("<I", length + tail)


def section(options: bytes = b"") -> bytes:
    return block(0x0A0D0D0A, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1) + options)


def interface(link: int, resolution: int = 6) -> bytes:
    return block(1, struct.pack("<HHIHHB3x", link, 0, 0, 9, 1, resolution))


def ng_packet(
    data: bytes, seconds: int = 1_700_000_000, ticks: int = 10**6, more: int = 0
) -> bytes:
    time = seconds * ticks
    numbers = (0, time >> 32 & 0xFFFFFFFF, time & 0xFFFFFFFF, len(data) + more, len(data))
    return block(6, struct.pack("<5I", *numbers) + data)


def seen(path: Path) -> tuple[Counts, int]:
    """What is in a file, and the time of its last packet."""
    tap, last = ReplayTap(path, FlowCounter(100, ())), 0
    try:
        while tap.next_ms is not None:
            last = tap.next_ms
            tap.pump(1)
        return tap.take(), last
    finally:
        tap.close()


def test_each_section_has_interfaces_of_its_own(tmp_path: Path) -> None:
    """Two captures put one behind another: the first of Ethernet in µs, the second of IP in ms."""
    path = tmp_path / "both.pcapng"
    path.write_bytes(
        section() + interface(1) + ng_packet(FRAME)
        + section() + interface(101, 3) + ng_packet(FRAME[14:], 1_700_000_009, 1_000)
    )  # fmt: skip
    counts, last = seen(path)
    assert counts.flows == {FRAME[26:34]: Tally(2, 2 * len(FRAME) - 14)}
    assert last == 1_700_000_009_000


WHOLE = section() + interface(1) + ng_packet(FRAME)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (WHOLE + block(6, ng_packet(FRAME)[8:-4], tail=4), "after 1 packets: .*bad blocklen"),
        (WHOLE + block(5, b"", tail=8), "after 1 packets: .*bad blocklen"),
        (WHOLE + section()[:4] + b"\xff\0\0\0" + section()[8:], "after 1 packets: .*options"),
        (WHOLE + ng_packet(FRAME, more=8), r"after 1 packets: 50 bytes of a packet in a block"),
        (section() + ng_packet(FRAME), "after 0 packets: .*invalid interface"),
        (WHOLE + section() + ng_packet(FRAME), "after 1 packets: .*invalid interface"),
        (
            WHOLE + struct.pack("<II", 6, 2**31),
            "after 1 packets: it names a length of 2147483636 bytes",
        ),
        (
            WHOLE + ng_packet(FRAME, 9_214_560_001),
            "after 1 packets: the next one has a time after the year 2261",
        ),
    ],
    ids=["packet", "other", "section", "longer", "nowhere", "nowhere2", "length", "time"],
)
def test_pcapng_that_is_damaged_is_told_with_its_place(
    content: bytes, words: str, tmp_path: Path
) -> None:
    path = tmp_path / "trace.pcapng"
    path.write_bytes(WHOLE)
    assert read(path) == 1
    path.write_bytes(content)
    with pytest.raises(
        CaptureFileError, match=rf"trace\.pcapng: damaged or cut off {words}"
    ) as told:
        read(path)
    assert "nothing of it was sent; mend it" in str(told.value)


def test_damage_is_told_whatever_is_logged(tmp_path: Path) -> None:
    """scapy tells of it by a warning, and the daemons silence those."""
    path = tmp_path / "trace.pcapng"
    path.write_bytes(WHOLE + section() + ng_packet(FRAME))
    scapy, level = logging.getLogger("scapy"), logging.getLogger("scapy").level
    scapy.setLevel(logging.CRITICAL)
    try:
        with pytest.raises(CaptureFileError, match="invalid interface"):
            read(path)
    finally:
        scapy.setLevel(level)


def test_a_long_packet_that_is_cut_off_where_it_is_read_in_pieces(tmp_path: Path) -> None:
    """scapy reads 262,140 bytes of a packet and skips the rest, whether it is there or not."""
    path = tmp_path / "long.pcap"
    data = FRAME.ljust(300_000, b"\0")
    head = struct.pack("<IHHIIII", 0xA1B2C3D4, 2, 4, 0, 0, 2**18, 1)
    packet = struct.pack("<IIII", 1, 0, len(data), len(data)) + data
    path.write_bytes(head + packet + packet)
    counts, _ = seen(path)
    assert counts.counted == Tally(2, 600_000)
    for cut in (262_140, 262_139, 299_999):
        path.write_bytes(head + packet + packet[: 16 + cut])
        with pytest.raises(CaptureFileError, match="after 1 packets: the last packet is cut off"):
            read(path)
