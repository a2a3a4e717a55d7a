"""From the first bytes of a packet to its flow key. Pure; never raises on any bytes.

A flow key is the source and the destination address one behind the other: 8
bytes for IPv4, 32 for IPv6. It is one slice of the packet, for the two stand
side by side in both headers (RFC 791 section 3.1, RFC 8200 section 3).
"""

from collections.abc import Callable
from enum import IntEnum

NOT_IP = -1

_VLAN_TYPES = (0x8100, 0x88A8, 0x9100)
_IPV4, _IPV6 = 0x0800, 0x86DD
_TCP = 6
_HOP_BY_HOP, _ROUTING, _FRAGMENT, _AH, _DESTINATION = 0, 43, 44, 51, 60
_MOBILITY, _HIP, _SHIM6 = 135, 139, 140

Locate = Callable[[bytes | memoryview, int], int]
"""``(data, length) -> offset`` of the IP header in the ``length`` captured bytes, or ``NOT_IP``.

Where the link header announces a version, another one is ``NOT_IP``. That the
fixed header is there is checked by :func:`flow_key`.
"""


class LinkType(IntEnum):
    """Link types of capture files (https://www.tcpdump.org/linktypes.html) that are understood."""

    NULL = 0
    ETHERNET = 1
    RAW_BSD = 12
    RAW_OPENBSD = 14
    RAW = 101
    LOOP = 108
    LINUX_SLL = 113
    IPV4 = 228
    IPV6 = 229
    LINUX_SLL2 = 276


def _by_type(data: bytes | memoryview, length: int, offset: int) -> int:
    """Offset of the IP header where an EtherType stands at ``offset``, VLAN tags skipped."""
    while offset + 2 <= length:
        kind = data[offset] << 8 | data[offset + 1]
        if kind in (_IPV4, _IPV6):
            start = offset + 2
            version = 4 if kind == _IPV4 else 6
            return start if start < length and data[start] >> 4 == version else NOT_IP
        if kind not in _VLAN_TYPES:
            return NOT_IP
        offset += 4
    return NOT_IP


def ethernet(data: bytes | memoryview, length: int) -> int:
    """Ethernet II, with any number of 802.1Q and 802.1ad tags."""
    return _by_type(data, length, 12)


def raw_ip(data: bytes | memoryview, length: int) -> int:
    """No link header: tun, tunl0, wg, and LINKTYPE_RAW."""
    return 0


def _cooked(data: bytes | memoryview, length: int) -> int:
    """Linux cooked capture: 16 bytes, the protocol type in the last two."""
    return _by_type(data, length, 14)


def _cooked2(data: bytes | memoryview, length: int) -> int:
    """Linux cooked capture v2: 20 bytes, the protocol type in the first two."""
    if length < 20:
        return NOT_IP
    kind = data[0] << 8 | data[1]
    if kind in (_IPV4, _IPV6):
        version = 4 if kind == _IPV4 else 6
        return 20 if length > 20 and data[20] >> 4 == version else NOT_IP
    # A tag is followed by four bytes and the next type, as on Ethernet.
    return _by_type(data, length, 22) if kind in _VLAN_TYPES else NOT_IP


def _null(data: bytes | memoryview, length: int) -> int:
    """BSD loopback: four bytes of address family, in either byte order."""
    return 4


LOCATE: dict[LinkType, tuple[int, Locate]] = {
    LinkType.ETHERNET: (0, ethernet),
    LinkType.RAW: (0, raw_ip),
    LinkType.RAW_BSD: (0, raw_ip),
    LinkType.RAW_OPENBSD: (0, raw_ip),
    LinkType.IPV4: (0, raw_ip),
    LinkType.IPV6: (0, raw_ip),
    LinkType.NULL: (4, _null),
    LinkType.LOOP: (4, _null),
    LinkType.LINUX_SLL: (16, _cooked),
    LinkType.LINUX_SLL2: (20, _cooked2),
}
"""For each link type the bytes of pseudo-header, which were never on a link, and how to locate IP."""


def flow_key(data: bytes | memoryview, length: int, offset: int) -> bytes | None:
    """The addresses of the IP packet at ``offset`` within ``length`` captured bytes.

    None where there is no whole fixed header of IPv4 (version 4, at least 5
    words) or IPv6: such a packet is counted as ``non_ip``.
    """
    if offset < 0 or offset >= length:
        return None
    first = data[offset]
    if first >> 4 == 4:
        if first & 15 < 5 or offset + 20 > length:
            return None
        return bytes(data[offset + 12 : offset + 20])
    if first >> 4 == 6 and offset + 40 <= length:
        return bytes(data[offset + 8 : offset + 40])
    return None


def tcp_ports(data: bytes | memoryview, length: int, offset: int) -> tuple[int, int] | None:
    """Source and destination port of the IP packet at ``offset``, if it is TCP and they are there.

    Later fragments have none; TCP to a center is never fragmented, for Linux
    sets "don't fragment" on it. ``offset`` is one that :func:`flow_key` took.
    """
    if data[offset] >> 4 == 4:
        protocol = data[offset + 9]
        if (data[offset + 6] & 0x1F) << 8 | data[offset + 7]:
            return None
        offset += (data[offset] & 15) * 4
    else:
        protocol = data[offset + 6]
        offset += 40
        while protocol != _TCP:
            if offset + 8 > length:
                return None
            if protocol in (
                _HOP_BY_HOP,
                _ROUTING,
                _DESTINATION,
                _MOBILITY,
                _HIP,
                _SHIM6,
            ):
                size = (data[offset + 1] + 1) * 8
            elif protocol == _AH:
                size = (data[offset + 1] + 2) * 4
            elif protocol == _FRAGMENT:
                if data[offset + 2] << 8 | data[offset + 3] & 0xF8:
                    return None
                size = 8
            else:
                return None
            protocol = data[offset]
            offset += size
    if protocol != _TCP or offset + 4 > length:
        return None
    return (
        data[offset] << 8 | data[offset + 1],
        data[offset + 2] << 8 | data[offset + 3],
    )
