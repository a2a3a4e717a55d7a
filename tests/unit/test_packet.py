"""The packet decoder, link type by link type, on packets that scapy built."""

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import (
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
)
from scapy.layers.ipsec import AH
from scapy.layers.l2 import ARP, CookedLinux, Dot1AD, Dot1Q, Ether
from scapy.packet import Packet, Raw

from wakizashi.probe.packet import LOCATE, NOT_IP, LinkType, flow_key, tcp_ports

A4, B4 = bytes([192, 0, 2, 1]), bytes([198, 51, 100, 2])
A6, B6 = bytes.fromhex("20010db8" + "0" * 23 + "1"), bytes.fromhex("20010db8" + "0" * 23 + "2")
V4 = IP(src="192.0.2.1", dst="198.51.100.2") / TCP(sport=1234, dport=10080)
V6 = IPv6(src="2001:db8::1", dst="2001:db8::2") / TCP(sport=1234, dport=10080)
PORTS = (1234, 10080)
MACS = bytes(12)


def build(packet: Packet) -> bytes:
    """The packet's bytes."""
    return bytes(packet)


def look(
    data: bytes, link: LinkType = LinkType.ETHERNET
) -> tuple[bytes | None, tuple[int, int] | None]:
    """Flow key and TCP ports of a packet; the same from a view of a longer buffer."""
    locate = LOCATE[link][1]
    offset = locate(data, len(data))
    key = flow_key(data, len(data), offset)
    ports = tcp_ports(data, len(data), offset) if key is not None else None
    # An engine hands over a longer buffer: what is behind the length must not be looked at.
    longer = memoryview(data + b"\x45" * 80)
    assert locate(longer, len(data)) == offset
    assert flow_key(longer, len(data), offset) == key
    if key is not None:
        assert tcp_ports(longer, len(data), offset) == ports
    return key, ports


def sll2(kind: int, rest: bytes) -> bytes:
    return kind.to_bytes(2, "big") + bytes(18) + rest


LINKS: list[tuple[LinkType, bytes, bytes]] = [
    (LinkType.ETHERNET, MACS + b"\x08\x00", MACS + b"\x86\xdd"),
    (LinkType.RAW, b"", b""),
    (LinkType.RAW_BSD, b"", b""),
    (LinkType.RAW_OPENBSD, b"", b""),
    (LinkType.NULL, b"\x02\0\0\0", b"\x1e\0\0\0"),
    (LinkType.NULL, b"\0\0\0\x02", b"\0\0\0\x1e"),
    (LinkType.LOOP, b"\0\0\0\x02", b"\0\0\0\x18"),
    (LinkType.LINUX_SLL, bytes(14) + b"\x08\x00", bytes(14) + b"\x86\xdd"),
    (LinkType.LINUX_SLL, bytes(14) + b"\x81\0\0\7\x08\0", bytes(14) + b"\x81\0\0\7\x86\xdd"),
    (LinkType.LINUX_SLL2, sll2(0x0800, b""), sll2(0x86DD, b"")),
    (LinkType.LINUX_SLL2, sll2(0x8100, b"\0\7\x08\0"), sll2(0x88A8, b"\0\7\x86\xdd")),
]


@pytest.mark.parametrize(("link", "before4", "before6"), LINKS)
def test_every_link_type(link: LinkType, before4: bytes, before6: bytes) -> None:
    assert look(before4 + build(V4), link) == (A4 + B4, PORTS)
    assert look(before6 + build(V6), link) == (A6 + B6, PORTS)


def test_link_types_of_one_family() -> None:
    assert look(build(V4), LinkType.IPV4) == (A4 + B4, PORTS)
    assert look(build(V6), LinkType.IPV6) == (A6 + B6, PORTS)


def test_a_locator_for_every_link_type_with_its_pseudo_header() -> None:
    assert set(LOCATE) == set(LinkType)
    pseudo = {link: LOCATE[link][0] for link in LinkType if LOCATE[link][0]}
    assert pseudo == {
        LinkType.NULL: 4,
        LinkType.LOOP: 4,
        LinkType.LINUX_SLL: 16,
        LinkType.LINUX_SLL2: 20,
    }


def test_cooked_capture_as_scapy_writes_it() -> None:
    assert look(build(CookedLinux() / V4), LinkType.LINUX_SLL) == (A4 + B4, PORTS)


@pytest.mark.parametrize(
    "tags",
    [
        Dot1Q(vlan=7),
        Dot1AD(vlan=7) / Dot1Q(vlan=8),
        Dot1Q(vlan=7) / Dot1Q(vlan=8),
        Dot1AD(vlan=7) / Dot1AD(vlan=8) / Dot1Q(vlan=9),
    ],
)
@pytest.mark.parametrize(("inner", "key"), [(V4, A4 + B4), (V6, A6 + B6)])
def test_vlan_tags(tags: Packet, inner: Packet, key: bytes) -> None:
    assert look(build(Ether() / tags / inner)) == (key, PORTS)


def test_old_qinq_ethertype() -> None:
    assert look(MACS + b"\x91\0\0\7\x81\0\0\x08\x08\0" + build(V4)) == (A4 + B4, PORTS)


def test_tags_without_end() -> None:
    assert look(MACS + b"\x81\0\0\7" * 50) == (None, None)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        MACS,
        MACS + b"\x08",
        MACS + b"\x08\x00",
        build(Ether() / ARP()),
        MACS + b"\x88\xcc" + bytes(60),
        build(Ether() / Dot1Q(vlan=7) / ARP()),
        # 802.3: a length, not a type
        MACS + b"\x00\x2e" + build(V4),
    ],
    ids=["empty", "macs", "half type", "no header", "arp", "lldp", "vlan arp", "802.3"],
)
def test_not_ip(data: bytes) -> None:
    assert look(data) == (None, None)


def test_version_that_is_not_the_announced_one() -> None:
    assert look(MACS + b"\x08\x00" + build(V6)) == (None, None)
    assert look(MACS + b"\x86\xdd" + build(V4)) == (None, None)
    assert look(bytes(14) + b"\x08\x00" + build(V6), LinkType.LINUX_SLL) == (None, None)
    assert look(sll2(0x0800, build(V6)), LinkType.LINUX_SLL2) == (None, None)
    assert look(sll2(0x86DD, build(V4)), LinkType.LINUX_SLL2) == (None, None)
    assert look(sll2(0x8100, b"\0\7\x08\0" + build(V6)), LinkType.LINUX_SLL2) == (None, None)


@pytest.mark.parametrize("first", [0x05, 0x15, 0x55, 0x75, 0xF5, 0x44, 0x40])
def test_no_such_version_or_header_length(first: int) -> None:
    data = bytes([first]) + bytes(60)
    assert look(data, LinkType.RAW) == (None, None)


def test_offset_of_what_is_not_ip() -> None:
    assert flow_key(build(V4), 40, NOT_IP) is None
    assert flow_key(build(V4), 40, 40) is None


@pytest.mark.parametrize(("packet", "header"), [(V4, 20), (V6, 40)])
def test_truncated_anywhere(packet: Packet, header: int) -> None:
    data = build(packet)
    for length in range(len(data) + 1):
        key, ports = look(data[:length], LinkType.RAW)
        assert (key is not None) == (length >= header)
        assert ports == (PORTS if length >= header + 4 else None)


def test_ipv4_options_move_the_ports() -> None:
    packet = IP(src="192.0.2.1", dst="198.51.100.2", options=[("NOP"), ("NOP"), ("EOL")])
    assert look(build(packet / TCP(sport=1234, dport=10080)), LinkType.RAW) == (A4 + B4, PORTS)


@pytest.mark.parametrize("transport", [UDP(sport=1234, dport=10080), ICMP(), Raw(b"x" * 20)])
def test_ports_are_those_of_tcp_alone(transport: Packet) -> None:
    packet = IP(src="192.0.2.1", dst="198.51.100.2") / transport
    assert look(build(packet), LinkType.RAW) == (A4 + B4, None)
    packet = IPv6(src="2001:db8::1", dst="2001:db8::2") / UDP(sport=1234, dport=10080)
    assert look(build(packet), LinkType.RAW) == (A6 + B6, None)


def test_ipv4_fragments() -> None:
    tcp = TCP(sport=1234, dport=10080)
    first = IP(src="192.0.2.1", dst="198.51.100.2", flags="MF", frag=0) / tcp
    assert look(build(first), LinkType.RAW) == (A4 + B4, PORTS)
    for offset in (1, 31, 32, 255, 256, 8191):
        later = IP(src="192.0.2.1", dst="198.51.100.2", frag=offset, proto=6) / Raw(bytes(tcp))
        assert look(build(later), LinkType.RAW) == (A4 + B4, None)


EXTENSIONS: list[Packet] = [
    IPv6ExtHdrHopByHop(),
    IPv6ExtHdrDestOpt(options=[]),
    IPv6ExtHdrRouting(addresses=["2001:db8::9"]),
    IPv6ExtHdrHopByHop() / IPv6ExtHdrRouting() / IPv6ExtHdrDestOpt(),
    IPv6ExtHdrFragment(offset=0, m=1),
    IPv6ExtHdrHopByHop() / IPv6ExtHdrFragment(offset=0, m=1),
    AH(icv=bytes(12)),
    AH(icv=bytes(24)) / IPv6ExtHdrDestOpt(),
    IPv6ExtHdrDestOpt() / AH(icv=bytes(16)),
]


@pytest.mark.parametrize("extension", EXTENSIONS, ids=lambda packet: packet.summary())
def test_ipv6_extension_headers(extension: Packet) -> None:
    last = extension.lastlayer()
    chain = extension.copy()
    if isinstance(last, AH):
        # scapy neither fills the length nor the next header of an AH without a security
        # association.
        chain[AH].payloadlen = (12 + len(last.icv)) // 4 - 2
        chain[AH].nh = 6
    elif chain.haslayer(AH):
        chain[AH].payloadlen = (12 + len(chain[AH].icv)) // 4 - 2
        chain[AH].nh = 60
    packet = IPv6(src="2001:db8::1", dst="2001:db8::2") / chain / TCP(sport=1234, dport=10080)
    data = build(packet)
    assert look(data, LinkType.RAW) == (A6 + B6, PORTS)
    for length in range(len(data)):
        key, ports = look(data[:length], LinkType.RAW)
        assert (key is not None) == (length >= 40)
        assert ports == (PORTS if length >= len(data) - 16 else None)


@pytest.mark.parametrize("kind", [135, 139, 140], ids=["mobility", "hip", "shim6"])
def test_ipv6_extension_headers_that_scapy_does_not_chain(kind: int) -> None:
    data = bytearray(build(V6))
    data[6] = kind
    data[40:40] = bytes([6, 1]) + bytes(14)
    assert look(bytes(data), LinkType.RAW) == (A6 + B6, PORTS)


@pytest.mark.parametrize("offset", [1, 31, 32, 8191])
def test_later_ipv6_fragments_have_no_ports(offset: int) -> None:
    packet = (
        IPv6(src="2001:db8::1", dst="2001:db8::2")
        / IPv6ExtHdrFragment(offset=offset, nh=6)
        / Raw(bytes(TCP(sport=1234, dport=10080)))
    )
    assert look(build(packet), LinkType.RAW) == (A6 + B6, None)


def test_the_outermost_addresses_of_a_tunnel() -> None:
    tunnel = IP(src="203.0.113.1", dst="203.0.113.2", proto=4) / V4
    key = bytes([203, 0, 113, 1, 203, 0, 113, 2])
    assert look(build(tunnel), LinkType.RAW) == (key, None)
