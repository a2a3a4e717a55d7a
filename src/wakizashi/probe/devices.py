"""The host's network devices, their counters and addresses, and news of them.

Speaks rtnetlink (man 7 rtnetlink): one socket asks, one listens. The kernel's
word that a device was removed carries the device's last counters, which no
file under /sys could give.
"""

import errno
import os
import socket
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

from wakizashi.errors import WakizashiError
from wakizashi.model import Tally
from wakizashi.pattern import Pattern

ARPHRD_ETHER = 1
ARPHRD_LOOPBACK = 772
ETHERNET_HEADER_BYTES = 14

_RTM_NEWLINK, _RTM_DELLINK, _RTM_GETLINK = 16, 17, 18
_RTM_NEWADDR, _RTM_DELADDR, _RTM_GETADDR = 20, 21, 22
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_NLM_F_REQUEST, _NLM_F_DUMP = 0x1, 0x300
_NLM_F_DUMP_INTR = 0x10
_RTMGRP_LINK, _RTMGRP_IPV4_IFADDR, _RTMGRP_IPV6_IFADDR = 0x1, 0x10, 0x100
_IFLA_IFNAME, _IFLA_STATS64 = 3, 23
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_IFF_UP = 0x1
_SCOPE_LINK = 253

_HEADER = struct.Struct("=IHHII")  # nlmsghdr: length, type, flags, sequence, port
_LINK = struct.Struct("=BxHiII")  # ifinfomsg: family, type, index, flags, change
_ADDRESS = struct.Struct("=BBBBI")  # ifaddrmsg: family, prefix length, flags, scope, index
_ATTRIBUTE = struct.Struct("=HH")  # rtattr: length, type
_STATS = struct.Struct("=QQQQ")  # rtnl_link_stats64: rx_packets, tx_packets, rx_bytes, tx_bytes


@dataclass(frozen=True, slots=True)
class Device:
    """A network interface at one moment."""

    index: int
    name: str
    link_type: int
    """ARPHRD_* of linux/if_arp.h."""
    up: bool
    received: Tally
    sent: Tally
    primary_address: bytes = b""
    """First IPv4 address, else first IPv6 address, global before link-local; packed."""

    @property
    def has_ethernet_header(self) -> bool:
        """Whether a tap sees 14 bytes of Ethernet before the network header."""
        return self.link_type in (ARPHRD_ETHER, ARPHRD_LOOPBACK)

    @property
    def passed(self) -> Tally:
        """What passed, as a tap sees it: both ways, but loopback once.

        The loopback device counts after it has taken the Ethernet header off
        (loopback_xmit() in drivers/net/loopback.c), a tap sees it with it.
        """
        if self.link_type == ARPHRD_LOOPBACK:
            header = Tally(0, ETHERNET_HEADER_BYTES * self.received.packets)
            return self.received + header
        return self.received + self.sent


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All devices, by interface index, and all addresses of this network namespace, packed."""

    devices: Mapping[int, Device]
    addresses: frozenset[bytes]


def is_local(address: bytes, addresses: frozenset[bytes] | set[bytes]) -> bool:
    """Whether an address is one of this host's; all of 127.0.0.0/8 is (RFC 1122, 3.2.1.3)."""
    return address in addresses or (len(address) == 4 and address[0] == 127)


def select(devices: Mapping[int, Device], patterns: Sequence[Pattern]) -> dict[int, Device]:
    """The devices that any pattern means; without patterns, those that are up."""
    if not patterns:
        return {index: device for index, device in devices.items() if device.up}
    return {
        index: device
        for index, device in devices.items()
        if any(pattern.matches(device.name) for pattern in patterns)
    }


class Netlink:
    """Asks the kernel for devices and addresses, and hears of changes."""

    def __init__(self) -> None:
        groups = _RTMGRP_LINK | _RTMGRP_IPV4_IFADDR | _RTMGRP_IPV6_IFADDR
        self._news = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        self._news.bind((0, groups))
        self._news.setblocking(False)
        self._ask = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        self._ask.bind((0, 0))
        self._ask.settimeout(5.0)
        self._sequence = 0
        self._last: Mapping[int, Device] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close both sockets."""
        self._news.close()
        self._ask.close()

    def fileno(self) -> int:
        """Readable when :meth:`news` has something to say."""
        return self._news.fileno()

    def news(self) -> tuple[bool, list[Device]]:
        """What happened since the last call, without blocking.

        Returns:
            Whether anything changed, and the devices that were removed, each
            with its last counters, never less than those of the last snapshot.
            What a veth received after that snapshot is not known: the kernel
            reads it from the peer, which has left before the news is written
            (veth_dellink() in drivers/net/veth.c).
        """
        changed = False
        removed: list[Device] = []
        while True:
            try:
                data = self._news.recv(1 << 16)
            except BlockingIOError:
                return changed, removed
            except OSError as error:
                # The kernel had more to say than room; look afresh. Anything else would
                # come again at once, for ever.
                if error.errno != errno.ENOBUFS:
                    raise
                changed = True
                continue
            for kind, _, body in _messages(data):
                changed = True
                # A bridge says RTM_DELLINK with family AF_BRIDGE of a port that only left it.
                if kind == _RTM_DELLINK and body and body[0] == socket.AF_UNSPEC:
                    device = _read_device(body)
                    removed.append(_not_less(device, self._last.get(device.index)))

    def snapshot(self) -> Snapshot:
        """All devices and addresses, now.

        Raises:
            WakizashiError: the kernel refuses.
        """
        devices = {
            device.index: device for device in map(_read_device, self._dump(_RTM_GETLINK, _LINK))
        }
        addresses: list[tuple[tuple[int, int], int, bytes]] = []
        for body in self._dump(_RTM_GETADDR, _ADDRESS):
            family, _, _, scope, index = _ADDRESS.unpack_from(body)
            attributes = dict(_attributes(body, _ADDRESS.size))
            address = attributes.get(_IFA_LOCAL, attributes.get(_IFA_ADDRESS))
            if address is not None:
                rank = (int(family != socket.AF_INET), int(scope == _SCOPE_LINK))
                addresses.append((rank, index, address))
        primary: dict[int, bytes] = {}
        for _, index, address in sorted(addresses, key=lambda item: item[0]):
            primary.setdefault(index, address)
        snapshot = Snapshot(
            devices={
                index: _with_address(device, primary.get(index, b""))
                for index, device in devices.items()
            },
            addresses=frozenset(address for _, _, address in addresses),
        )
        self._last = snapshot.devices
        return snapshot

    def _dump(self, kind: int, body: struct.Struct) -> list[bytes]:
        while True:
            self._sequence += 1
            flags = _NLM_F_REQUEST | _NLM_F_DUMP
            length = _HEADER.size + body.size
            request = _HEADER.pack(length, kind, flags, self._sequence, 0)
            self._ask.send(request + bytes(body.size))
            answers: list[bytes] = []
            interrupted = done = False
            while not done:
                for answer, answer_flags, content in _messages(self._ask.recv(1 << 18)):
                    interrupted |= bool(answer_flags & _NLM_F_DUMP_INTR)
                    if answer == _NLMSG_DONE:
                        done = True
                    elif answer == _NLMSG_ERROR:
                        (code,) = struct.unpack_from("=i", content)
                        reason = os.strerror(-code)
                        raise WakizashiError(f"the kernel does not list its devices: {reason}")
                    else:
                        answers.append(content)
            if not interrupted:
                return answers


def _messages(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    offset = 0
    while offset + _HEADER.size <= len(data):
        length, kind, flags, _, _ = _HEADER.unpack_from(data, offset)
        if length < _HEADER.size:
            return
        yield kind, flags, data[offset + _HEADER.size : offset + length]
        offset += (length + 3) & ~3


def _attributes(body: bytes, offset: int) -> Iterator[tuple[int, bytes]]:
    while offset + _ATTRIBUTE.size <= len(body):
        length, kind = _ATTRIBUTE.unpack_from(body, offset)
        if length < _ATTRIBUTE.size:
            return
        yield kind, body[offset + _ATTRIBUTE.size : offset + length]
        offset += (length + 3) & ~3


def _read_device(body: bytes) -> Device:
    _, link_type, index, flags, _ = _LINK.unpack_from(body)
    attributes = dict(_attributes(body, _LINK.size))
    name = attributes.get(_IFLA_IFNAME, b"").split(b"\0")[0].decode(errors="replace")
    stats = attributes.get(_IFLA_STATS64, bytes(_STATS.size))
    rx_packets, tx_packets, rx_bytes, tx_bytes = _STATS.unpack_from(stats)
    return Device(
        index=index,
        name=name,
        link_type=link_type,
        up=bool(flags & _IFF_UP),
        received=Tally(rx_packets, rx_bytes),
        sent=Tally(tx_packets, tx_bytes),
    )


def _with_address(device: Device, address: bytes) -> Device:
    return Device(
        device.index,
        device.name,
        device.link_type,
        device.up,
        device.received,
        device.sent,
        address,
    )


def _not_less(device: Device, before: Device | None) -> Device:
    """``device`` with counters that are not behind those it had ``before``."""
    if before is None or before.name != device.name:
        return device
    received, sent = (
        Tally(max(now.packets, then.packets), max(now.bytes, then.bytes))
        for now, then in ((device.received, before.received), (device.sent, before.sent))
    )
    return replace(device, received=received, sent=sent)
