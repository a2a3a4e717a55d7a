"""The ``scapy`` engine: scapy opens the socket, packets are decoded by hand, without dissection.

Why not ``recv_raw``: ``docs/decisions/0003``. Lost may be what the kernel can't
queue in the socket's buffer; it says how many packets that were.
"""

import contextlib
import errno
import logging
import os
import socket
import struct
from collections.abc import Collection
from importlib.util import find_spec

from wakizashi import logs
from wakizashi.probe import packet, packet_socket
from wakizashi.probe.capture import Counts, Endpoint, Engine, FlowCounter, Limits, Tap
from wakizashi.probe.devices import Device

_log = logging.getLogger(__name__)

SNAP_BYTES = 256
"""Enough for Ethernet, tags, and IPv6 with extension headers up to the TCP ports."""

_PACKET_AUXDATA = 8
_SO_RCVBUFFORCE, _SO_TIMESTAMPNS = 33, 35
_TP_STATUS_VLAN_VALID = 0x10
_VLAN_TAG_BYTES = 4
# struct tpacket_auxdata: status, len, snaplen, mac, net, vlan_tci, vlan_tpid
_AUXDATA = struct.Struct("=IIIHHHH")
_ANCILLARY_BYTES = socket.CMSG_SPACE(_AUXDATA.size)


class ScapyEngine(Engine):
    """Packets through scapy's listening socket."""

    rank = 30

    def obstacle(self) -> str | None:
        """Needs scapy, which a bundle may be without for its licence, and CAP_NET_RAW."""
        if find_spec("scapy") is None:
            return "scapy is not installed"
        return packet_socket.obstacle()

    def open(self, device: Device, limits: Limits, endpoints: Collection[Endpoint]) -> Tap:
        """Listen on a device, packets out as well as in, not promiscuous."""
        return ScapyTap(device, FlowCounter(limits.max_flows, endpoints), limits.ring_bytes)


class ScapyTap(Tap):
    """One device, one packet socket."""

    def __init__(self, device: Device, counter: FlowCounter, buffer_bytes: int) -> None:
        from scapy.arch.linux import L2ListenSocket

        logs.take_over("scapy")  # it has a handler of its own
        self._counter = counter
        self._locate = packet.ethernet if device.has_ethernet_header else packet.raw_ip
        self._buffer = bytearray(SNAP_BYTES)
        self._view = memoryview(self._buffer)
        try:
            self._listener = L2ListenSocket(iface=device.name, promisc=False)
            self._socket: socket.socket = self._listener.ins
            self._configure(device, buffer_bytes)
        except OSError as error:
            raise packet_socket.refusal(device, error) from error
        except ValueError as error:  # scapy's own list of devices lacks it by now
            gone = OSError(errno.ENODEV, os.strerror(errno.ENODEV))
            raise packet_socket.refusal(device, gone) from error
        packet_socket.drops(self._socket)  # those from before we listened

    def _configure(self, device: Device, buffer_bytes: int) -> None:
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 0)
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, buffer_bytes)
        except PermissionError:  # without CAP_NET_ADMIN, what net.core.rmem_max permits
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
            # The kernel says twice what it grants (man 7 socket).
            granted = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // 2
            if granted < buffer_bytes:
                _log.warning(
                    "ringSize: %s has a buffer of %d bytes, and not of %d, for packets that wait: "
                    "net.core.rmem_max permits no more; raise it, or use another engine: "
                    "capture: ring",
                    device.name,
                    granted,
                    buffer_bytes,
                )
        packet_socket.count_loopback_once(self._socket, device)

    def fileno(self) -> int:
        """Readable when packets wait."""
        return self._socket.fileno()

    def pump(self, budget: int) -> bool:
        """Count packets until none waits or the budget is spent."""
        receive, buffers = self._socket.recvmsg_into, [self._buffer]
        view, locate, add = self._view, self._locate, self._counter.add
        for _ in range(budget):
            try:
                size, ancillary, _, _ = receive(
                    buffers, _ANCILLARY_BYTES, socket.MSG_DONTWAIT | socket.MSG_TRUNC
                )
            except BlockingIOError:
                return False
            except OSError:
                # ENETDOWN: said once when the device goes down or away, before the packets
                # that still wait (sock_error() in __skb_try_recv_datagram()).
                continue
            length = min(size, SNAP_BYTES)
            for level, kind, data in ancillary:
                if (
                    level == packet_socket.SOL_PACKET
                    and kind == _PACKET_AUXDATA
                    and len(data) == _AUXDATA.size
                    and _AUXDATA.unpack(data)[0] & _TP_STATUS_VLAN_VALID
                ):
                    size += _VLAN_TAG_BYTES  # the kernel stripped a tag
            add(view, length, locate(view, length), size)
        return True

    def take(self) -> Counts:
        """Counts so far, with the kernel's drops."""
        counts = self._counter.take()
        counts.dropped_packets = packet_socket.drops(self._socket)
        return counts

    def set_endpoints(self, endpoints: Collection[Endpoint]) -> None:
        """Replace the center's endpoints."""
        self._counter.set_endpoints(endpoints)

    def set_max_flows(self, max_flows: int) -> None:
        """Replace the limit."""
        self._counter.set_max_flows(max_flows)

    def close(self) -> None:
        """Close the socket."""
        self._view.release()
        with contextlib.suppress(OSError):
            self._listener.close()
