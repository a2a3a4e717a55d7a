"""The packet decoder against any bytes, and against scapy's dissection."""

from ipaddress import ip_address
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import (
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
)
from scapy.layers.l2 import ARP, Dot1AD, Dot1Q, Ether
from scapy.packet import Packet, Raw

from wakizashi.probe.packet import LOCATE, LinkType, flow_key, tcp_ports

ports = st.integers(0, 65535)
transports = st.one_of(
    st.builds(TCP, sport=ports, dport=ports),
    st.builds(UDP, sport=ports, dport=ports),
    st.just(Raw(b"payload!")),
)
payloads = st.binary(max_size=40).map(Raw)
# TTL 0 and the like say nothing here; what moves offsets does.
extensions = st.lists(
    st.sampled_from(
        [
            IPv6ExtHdrHopByHop(),
            IPv6ExtHdrDestOpt(),
            IPv6ExtHdrRouting(addresses=["2001:db8::7"]),
            IPv6ExtHdrFragment(offset=0, m=1),
        ]
    ),
    max_size=3,
)


@st.composite
def ip4(draw: st.DrawFn) -> Packet:
    """An IPv4 packet, with options or as a fragment now and then."""
    addresses = st.ip_addresses(v=4).map(str)
    packet = IP(
        src=draw(addresses),
        dst=draw(addresses),
        flags=draw(st.sampled_from(["", "DF", "MF"])),
        frag=draw(st.sampled_from([0, 0, 0, 1, 256])),
        options=draw(st.sampled_from([[], ["NOP"], ["NOP"] * 9])),
    )
    return packet / draw(transports) / draw(payloads)


@st.composite
def ip6(draw: st.DrawFn) -> Packet:
    """An IPv6 packet with any chain of extension headers."""
    addresses = st.ip_addresses(v=6).map(str)
    packet: Packet = IPv6(src=draw(addresses), dst=draw(addresses))
    for extension in draw(extensions):
        packet = packet / extension.copy()
    return packet / draw(transports) / draw(payloads)


@st.composite
def frames(draw: st.DrawFn) -> bytes:
    """An Ethernet frame with up to two tags."""
    frame: Packet = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
    for tag in draw(st.lists(st.sampled_from([Dot1Q(vlan=5), Dot1AD(vlan=6)]), max_size=2)):
        frame = frame / tag.copy()
    return bytes(frame / draw(st.one_of(ip4(), ip6(), st.just(ARP()))))


def outermost(packet: Packet) -> Packet | None:
    """The first IP layer that scapy sees."""
    layer: Any = packet
    while layer:
        if isinstance(layer, IP | IPv6):
            return layer
        layer = layer.payload
    return None


def transport(network: Packet) -> TCP | None:
    """The TCP layer right behind the network layer's own headers."""
    layer: Any = network.payload
    while type(layer).__name__.startswith("IPv6ExtHdr"):
        layer = layer.payload
    return layer if isinstance(layer, TCP) else None


@given(frames(), st.data())
def test_agrees_with_scapy(whole: bytes, choice: st.DataObject) -> None:
    cut = choice.draw(st.one_of(st.just(len(whole)), st.integers(14, len(whole))))
    data = whole[:cut]
    offset = LOCATE[LinkType.ETHERNET][1](data, len(data))
    key = flow_key(data, len(data), offset)
    seen = outermost(Ether(data))
    if key is None:
        # scapy shows headers that are cut off as well; then there is no whole one.
        assert seen is None or len(seen.original) < (20 if isinstance(seen, IP) else 40)
        return
    if seen is None and cut < len(whole):
        # scapy gives up a whole layer where an extension header in it is cut off.
        seen = IPv6(data[offset : offset + 40])
        assert key == ip_address(seen.src).packed + ip_address(seen.dst).packed
        return
    assert seen is not None
    assert key == ip_address(seen.src).packed + ip_address(seen.dst).packed
    tcp = transport(seen)
    found = tcp_ports(data, len(data), offset)
    if tcp is not None and len(tcp.original) >= 4:
        assert found == (tcp.sport, tcp.dport)
    elif tcp is None and cut == len(whole):
        assert found is None


@given(frames(), st.sampled_from(sorted(LinkType)))
def test_never_raises_on_frames(data: bytes, link: LinkType) -> None:
    decode(data, link)


@given(st.binary(max_size=200), st.sampled_from(sorted(LinkType)))
def test_never_raises_on_any_bytes(data: bytes, link: LinkType) -> None:
    decode(data, link)


@given(
    st.sampled_from(sorted(LinkType)),
    st.sampled_from([b"", bytes(12) + b"\x08\0", bytes(12) + b"\x86\xdd"]),
    st.sampled_from([0x45, 0x4F, 0x60, 0x6F]),
    st.sampled_from([0, 6, 43, 44, 51, 60, 135, 139, 140, 255]),
    st.binary(max_size=120),
    st.integers(0, 200),
)
def test_never_raises_on_almost_headers(
    link: LinkType, before: bytes, first: int, protocol: int, rest: bytes, cut: int
) -> None:
    body = bytearray(bytes([first]) + rest)
    for position in (6, 9):
        if len(body) > position:
            body[position] = protocol
    decode((before + bytes(body))[:cut], link)


def decode(data: bytes, link: LinkType) -> None:
    """Decode, and hold the shapes: 8 or 32 bytes, ports of 16 bits, nothing behind the length."""
    pseudo, locate = LOCATE[link]
    for view in (data, memoryview(data)):
        offset = locate(view, len(data))
        key = flow_key(view, len(data), offset)
        if key is not None:
            assert offset >= pseudo
            assert len(key) in (8, 32)
            assert key == data[offset + 12 : offset + 20] or key == data[offset + 8 : offset + 40]
            found = tcp_ports(view, len(data), offset)
            assert found is None or all(0 <= port <= 65535 for port in found)
