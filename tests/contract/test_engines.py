"""Every engine counts the same packets as scapy's dissection does, flow by flow, byte for byte.

Live engines are found by listing ``engines/``; they see the packets over a veth
pair. ``replay`` reads them from files of every kind.
"""

import os
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from scapy.layers.inet import GRE, ICMP, IP, TCP, UDP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrFragment, IPv6ExtHdrHopByHop
from scapy.layers.l2 import ARP, Dot1AD, Dot1Q, Ether
from scapy.packet import Packet, Raw
from scapy.utils import PcapNgWriter, wrpcap

from wakizashi.errors import WakizashiError
from wakizashi.model import Tally
from wakizashi.probe.capture import Counts, Engine, Limits, Tap, engine_names, load_engine
from wakizashi.probe.devices import ARPHRD_ETHER, Device, Netlink
from wakizashi.probe.engines.replay import ReplayEngine

L2 = {"src": "02:00:00:00:00:01", "dst": "02:00:00:00:00:02"}
FOUR = {"src": "10.1.0.1", "dst": "10.1.0.2"}
SIX = {"src": "fd01::1", "dst": "fd01::2"}
CENTER = (socket.inet_aton("10.1.0.9"), 10080)


def packets() -> list[Packet]:
    """One of each kind that a link carries; sizes all different."""
    body = [Raw(bytes(40 + 7 * size)) for size in range(20)]
    return [
        Ether(**L2) / IP(**FOUR) / UDP(sport=1, dport=2) / body[0],
        Ether(**L2) / IP(**FOUR, options=b"\x01" * 8) / TCP(sport=5, dport=6) / body[1],
        Ether(**L2) / Dot1Q(vlan=7) / IP(**FOUR) / UDP() / body[2],
        Ether(**L2) / Dot1AD(vlan=8) / Dot1Q(vlan=9) / IPv6(**SIX) / UDP() / body[3],
        Ether(**L2) / IPv6(**SIX) / IPv6ExtHdrHopByHop() / IPv6ExtHdrDestOpt() / TCP() / body[4],
        Ether(**L2) / IPv6(**SIX) / IPv6ExtHdrFragment(offset=3) / body[5],
        Ether(**L2) / IP(**FOUR, flags="MF") / UDP() / body[6],
        Ether(**L2) / IP(**FOUR, frag=12) / body[7],
        Ether(**L2) / IP(**FOUR) / IP(src="192.0.2.1", dst="192.0.2.2") / UDP() / body[8],
        Ether(**L2) / IP(**FOUR) / GRE() / IPv6(**SIX) / body[9],
        Ether(**L2) / ARP(psrc="10.1.0.1", pdst="10.1.0.2"),
        Ether(**L2, type=0x88CC) / body[10],
        Ether(**L2) / IP(src="10.1.0.2", dst="224.0.0.9") / ICMP() / body[11],
        Ether(**L2) / IP(**FOUR) / UDP() / Raw(bytes(8_958)),
        # runts: an announced IP header that is not there, or of another version
        Ether(**L2, type=0x0800) / Raw(b"\x45\x00\x00"),
        Ether(**L2, type=0x86DD) / Raw(b"\x60" + bytes(30)),
        Ether(**L2, type=0x0800) / Raw(b"\x60" + bytes(60)),
        # the probe's own, and what only looks like it
        Ether(**L2) / IP(src="10.1.0.1", dst="10.1.0.9") / TCP(sport=999, dport=10080) / body[12],
        Ether(**L2) / IP(src="10.1.0.9", dst="10.1.0.1") / TCP(sport=10080, dport=999) / body[13],
        Ether(**L2) / IP(src="10.1.0.1", dst="10.1.0.9") / UDP(sport=999, dport=10080) / body[14],
        Ether(**L2) / IP(src="10.1.0.1", dst="10.1.0.9") / TCP(sport=10080, dport=80) / body[15],
    ]


def oracle(frames: list[bytes]) -> Counts:
    """What scapy's own dissection makes of them."""
    expected = Counts()
    for frame in frames:
        one = Tally(1, len(frame))
        packet = Ether(frame)
        layer = packet.payload
        while isinstance(layer, Dot1Q | Dot1AD):
            layer = layer.payload
        own = any(
            isinstance(layer, IP)
            and isinstance(layer.payload, TCP)
            and (socket.inet_aton(address), port) == CENTER
            for address, port in (
                (getattr(layer, "src", "0.0.0.0"), getattr(layer.payload, "sport", 0)),
                (getattr(layer, "dst", "0.0.0.0"), getattr(layer.payload, "dport", 0)),
            )
            if ":" not in address
        )
        if own:
            expected.own += one
        elif isinstance(layer, IP) and layer.version == 4 and len(layer.original) >= 20:
            key = socket.inet_aton(layer.src) + socket.inet_aton(layer.dst)
            expected.flows[key] = expected.flows.get(key, Tally()) + one
        elif isinstance(layer, IPv6) and layer.version == 6 and len(layer.original) >= 40:
            key = b"".join(socket.inet_pton(socket.AF_INET6, a) for a in (layer.src, layer.dst))
            expected.flows[key] = expected.flows.get(key, Tally()) + one
        else:
            expected.non_ip += one
    return expected


@pytest.fixture
def pair() -> Iterator[tuple[str, str]]:
    """A silent veth pair with an MTU of 9000."""
    if os.geteuid() != 0:
        if "CI" in os.environ:
            pytest.fail("needs root")
        pytest.skip("needs root")
    near, far = f"wkn{os.getpid() % 100_000}", f"wkf{os.getpid() % 100_000}"
    run = lambda text: subprocess.run(text.split(), check=True, capture_output=True)
    run(f"ip link add {near} mtu 9000 type veth peer name {far} mtu 9000")
    try:
        for device in (near, far):
            run(f"sysctl -q net.ipv6.conf.{device}.disable_ipv6=1")
            run(f"ip link set {device} up")
        yield near, far
    finally:
        run(f"ip link del {near}")


def device_named(name: str) -> Device:
    with Netlink() as netlink:
        (device,) = (d for d in netlink.snapshot().devices.values() if d.name == name)
        return device


def collect(engine: Engine, tap: Tap, number: int) -> Counts:
    """Pump until ``number`` packets are counted."""
    counts = Counts()
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        tap.pump(1_000)
        engine.cut()
        counts.merge(tap.take(), 100)
        seen = counts.counted + counts.own + counts.non_ip
        if seen.packets >= number:
            return counts
    raise AssertionError(f"counted {seen.packets} of {number} packets")


@pytest.mark.parametrize("name", engine_names())
def test_live_engine_agrees_with_scapy_and_the_device(name: str, pair: tuple[str, str]) -> None:
    near, far = pair
    engine = load_engine(name)
    assert engine.obstacle() is None
    frames = [bytes(packet) for packet in packets()]
    before = device_named(near)
    tap = engine.open(before, Limits(1_000), [CENTER])
    try:
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as incoming:
            incoming.bind((far, 0))
            for frame in frames:
                incoming.send(frame)
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as outgoing:
            outgoing.bind((near, 0))
            for frame in frames:
                outgoing.send(frame)
        counts = collect(engine, tap, 2 * len(frames))
    finally:
        tap.close()
    expected = oracle(frames + frames)
    assert counts.flows == expected.flows
    assert counts.own == expected.own
    assert counts.own.packets == 4
    assert counts.non_ip == expected.non_ip
    assert counts.dropped_packets == 0
    seen = counts.counted + counts.own + counts.non_ip
    assert device_named(near).passed - before.passed == seen


@pytest.mark.parametrize("name", engine_names())
def test_packets_that_wait_when_the_device_goes_are_counted(
    name: str, pair: tuple[str, str]
) -> None:
    near, far = pair
    frame = bytes(Ether(**L2) / IP(**FOUR) / UDP())
    engine = load_engine(name)
    tap = engine.open(device_named(near), Limits(1_000), [])
    try:
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sender:
            sender.bind((far, 0))
            for _ in range(7):
                sender.send(frame)
        before = device_named(near).received
        subprocess.run(["ip", "link", "del", near], check=True)
        tap.pump(1_000)
        engine.cut()
        assert tap.take().counted == before
    finally:
        tap.close()
        subprocess.run(["ip", "link", "add", near, "type", "veth", "peer", far], check=True)


@pytest.mark.parametrize("name", engine_names())
def test_loopback_counts_once(name: str) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    engine = load_engine(name)
    device = device_named("lo")
    tap = engine.open(device, Limits(1_000), [])
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.bind(("127.66.0.1", 0))
            for _ in range(10):
                sender.sendto(bytes(100), ("127.66.0.2", 9))
        key = socket.inet_aton("127.66.0.1") + socket.inet_aton("127.66.0.2")
        deadline = time.monotonic() + 10
        seen = Tally()
        while seen.packets < 10 and time.monotonic() < deadline:
            tap.pump(100)
            engine.cut()
            seen += tap.take().flows.get(key, Tally())
        tap.pump(100)
        engine.cut()
        seen += tap.take().flows.get(key, Tally())
    finally:
        tap.close()
    assert seen == Tally(10, 10 * (14 + 20 + 8 + 100))


def replayed(path: Path) -> tuple[Counts, Tally]:
    tap = ReplayEngine(path).open(
        Device(0, path.name, ARPHRD_ETHER, True, Tally(), Tally()), Limits(1_000), [CENTER]
    )
    try:
        assert not tap.pump(10**6)
        return tap.take(), tap.take_passed()
    finally:
        tap.close()


@pytest.mark.parametrize("kind", ["pcap", "pcap-ns", "pcap-be", "pcapng", "pcap.gz"])
def test_replay_agrees_with_scapy(kind: str, tmp_path: Path) -> None:
    frames = [bytes(packet) for packet in packets()]
    path = tmp_path / f"trace.{kind}"
    if kind == "pcapng":
        writer = PcapNgWriter(str(path))
        for frame in frames:
            writer.write(Ether(frame))
        writer.close()
    else:
        wrpcap(
            str(path),
            [Ether(frame) for frame in frames],
            nano=kind == "pcap-ns",
            endianness=">" if kind == "pcap-be" else "<",
            gz=kind == "pcap.gz",
        )
    counts, passed = replayed(path)
    expected = oracle(frames)
    assert (counts.flows, counts.own, counts.non_ip) == (
        expected.flows,
        expected.own,
        expected.non_ip,
    )
    assert passed == Tally(len(frames), sum(map(len, frames)))


def write_pcap(path: Path, linktype: int, frames: list[bytes], snap: int = 65_535) -> None:
    data = struct.pack("<IHHIIII", 0xA1B2C3D4, 2, 4, 0, 0, snap, linktype)
    for number, frame in enumerate(frames):
        kept = frame[:snap]
        data += struct.pack("<IIII", 1_000 + number, 0, len(kept), len(frame)) + kept
    path.write_bytes(data)


def sll(kind: int, hardware: int, body: bytes, protocol: int = 0x0800) -> bytes:
    return struct.pack("!HHH8sH", kind, hardware, 6, bytes(8), protocol) + body


def sll2(kind: int, hardware: int, body: bytes, protocol: int = 0x0800) -> bytes:
    return struct.pack("!HHIHBB8s", protocol, 0, 1, hardware, kind, 6, bytes(8)) + body


@pytest.mark.parametrize(
    ("linktype", "frames", "lengths"),
    [
        (101, [bytes(IP(**FOUR) / UDP()), bytes(IPv6(**SIX) / UDP())], [28, 48]),
        (228, [bytes(IP(**FOUR) / UDP())], [28]),
        (229, [bytes(IPv6(**SIX) / UDP())], [48]),
        (0, [struct.pack("=I", 2) + bytes(IP(**FOUR) / UDP())], [28]),
        (113, [sll(4, 1, bytes(IP(**FOUR) / UDP())), sll(0, 772, bytes(IP(**FOUR)))], [28, 20]),
        (113, [sll(4, 772, bytes(IP(**FOUR) / UDP())), sll(0, 772, bytes(IP(**FOUR)))], [20]),
        (276, [sll2(4, 1, bytes(IP(**FOUR) / UDP())), sll2(4, 772, bytes(IP(**FOUR)))], [28]),
    ],
)
def test_replay_of_other_link_types(
    linktype: int, frames: list[bytes], lengths: list[int], tmp_path: Path
) -> None:
    path = tmp_path / "trace.pcap"
    write_pcap(path, linktype, frames)
    counts, passed = replayed(path)
    assert counts.counted == passed == Tally(len(lengths), sum(lengths))


def test_replay_counts_the_length_on_the_link_not_the_captured_one(tmp_path: Path) -> None:
    frame = bytes(Ether(**L2) / IP(**FOUR) / UDP() / Raw(bytes(1_000)))
    path = tmp_path / "trace.pcap"
    write_pcap(path, 1, [frame], snap=60)
    assert replayed(path)[0].counted == Tally(1, len(frame))


@pytest.mark.parametrize("kind", ["pcap", "pcapng"])
def test_replay_of_a_file_cut_anywhere_is_an_error(kind: str, tmp_path: Path) -> None:
    whole = tmp_path / f"whole.{kind}"
    frames = [Ether(bytes(packet)) for packet in packets()[:2]]
    if kind == "pcap":
        wrpcap(str(whole), frames)
        boundaries = {24, 24 + 16 + len(frames[0])}
    else:
        writer = PcapNgWriter(str(whole))
        for frame in frames:
            writer.write(frame)
        writer.close()
        boundaries = block_ends(whole.read_bytes())
    data = whole.read_bytes()
    cut = tmp_path / f"cut.{kind}"
    for length in range(len(data)):
        cut.write_bytes(data[:length])
        if length in boundaries:
            replayed(cut)
        else:
            with pytest.raises(WakizashiError, match=r"damaged or cut off|is no pcap"):
                replayed(cut)


def block_ends(data: bytes) -> set[int]:
    """Where a pcapng file may end: behind any of its blocks."""
    ends, offset = set(), 0
    while offset < len(data):
        offset += struct.unpack_from("<I", data, offset + 4)[0]
        ends.add(offset)
    return ends


@pytest.mark.parametrize("content", [b"", b"hello, this is no capture", bytes(100)])
def test_replay_of_a_foreign_file_is_an_error(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_bytes(content)
    with pytest.raises(WakizashiError, match="is no pcap or pcapng file"):
        replayed(path)


def test_replay_of_an_unknown_link_type_names_the_known_ones(tmp_path: Path) -> None:
    path = tmp_path / "wifi.pcap"
    write_pcap(path, 127, [bytes(60)])
    with pytest.raises(WakizashiError, match="link type 127 is not understood; there are NULL"):
        replayed(path)


def test_replay_of_a_missing_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(WakizashiError, match="No such file"):
        replayed(tmp_path / "nothing.pcap")
