"""Capture files that are compressed, damaged, or no files; and what is kept of them."""

import gzip
from pathlib import Path

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether
from scapy.utils import wrpcap

from wakizashi.probe import offline
from wakizashi.probe.capture import FlowCounter
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
