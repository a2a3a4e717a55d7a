"""The ``ring`` engine: the kernel writes packets' heads into memory, NumPy counts them in bulk.

A TPACKET_V2 receive ring (man 7 packet) on one AF_PACKET socket for each device:
fixed slots, mapped, read in runs (``ring/slots.py``) after a classic BPF filter
(``ring/filter.py``). Lost may be what finds no free slot; the kernel says how
many packets that were. Decisions with losers: ``docs/decisions/0006``.
"""

import ctypes
import errno
import mmap
import socket
import struct
from collections.abc import Collection

from wakizashi.probe import packet_socket
from wakizashi.probe.capture import CaptureError, Counts, Endpoint, Engine, Limits, Tap
from wakizashi.probe.devices import Device

BLOCK_BYTES = 1 << 16
_PACKET_RX_RING, _PACKET_VERSION = 5, 10
_TPACKET_V2 = 1
_SO_ATTACH_FILTER = 26


class RingEngine(Engine):
    """Packets' heads in memory that kernel and process share."""

    rank = 20
    burst = 1 << 16
    # A run of one slot costs 50 µs, of a thousand slots 70 µs. The default ring holds
    # 262,144 slots, so it is full after 20 ms only at 13 million packets a second.
    rest_seconds = 0.02

    def obstacle(self) -> str | None:
        """Needs CAP_NET_RAW."""
        return packet_socket.obstacle()

    def open(self, device: Device, limits: Limits, endpoints: Collection[Endpoint]) -> Tap:
        """Map a ring for a device, packets out as well as in, not promiscuous."""
        try:
            return RingTap(device, limits, endpoints)
        except MemoryError as error:
            raise _no_memory(device, limits) from error
        except OSError as error:
            if error.errno == errno.ENOMEM:
                raise _no_memory(device, limits) from error
            raise packet_socket.refusal(device, error) from error


def _no_memory(device: Device, limits: Limits) -> CaptureError:
    return CaptureError(
        f"ringSize: no memory for a ring of {limits.ring_bytes} bytes for {device.name}; "
        "lower ringSize, or watch fewer devices"
    )


class RingTap(Tap):
    """One device, one socket, one ring."""

    def __init__(self, device: Device, limits: Limits, endpoints: Collection[Endpoint]) -> None:
        from wakizashi.probe.ring.slots import SLOT_BYTES, Ring

        self._ethernet = device.has_ethernet_header
        blocks = -(-limits.ring_bytes // BLOCK_BYTES)
        # Without a protocol it sees nothing until it is bound, filter and all.
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        try:
            level = packet_socket.SOL_PACKET
            self._socket.setsockopt(level, _PACKET_VERSION, _TPACKET_V2)
            self._socket.setsockopt(
                level,
                _PACKET_RX_RING,
                # struct tpacket_req: block size, blocks, slot size, slots
                struct.pack(
                    "=4I", BLOCK_BYTES, blocks, SLOT_BYTES, blocks * BLOCK_BYTES // SLOT_BYTES
                ),
            )
            packet_socket.count_loopback_once(self._socket, device)
            self.set_endpoints(endpoints)
            self._memory = mmap.mmap(self._socket.fileno(), blocks * BLOCK_BYTES)
            self._ring = Ring(self._memory, ethernet=self._ethernet, max_flows=limits.max_flows)
            self._socket.bind((device.name, packet_socket.ETH_P_ALL))
        except (OSError, CaptureError):
            self._socket.close()
            raise

    def _attach(self, endpoints: Collection[Endpoint]) -> None:
        """Set the kernel's filter; packets that passed the one before stay as it saw them."""
        from wakizashi.probe.ring import filter as classic

        code = classic.build(endpoints, ethernet=self._ethernet)
        buffer = ctypes.create_string_buffer(code, len(code))
        # struct sock_fprog: number of instructions, address of them
        program = struct.pack("@HP", len(code) // 8, ctypes.addressof(buffer))
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)

    def fileno(self) -> int:
        """Readable when packets wait."""
        return self._socket.fileno()

    def pump(self, budget: int) -> bool:
        """Count the slots that are filled."""
        # ENETDOWN, once the device was down, would make the socket readable for ever.
        self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        return self._ring.pump(budget)

    def take(self) -> Counts:
        """Counts so far, with the kernel's drops."""
        counts = self._ring.take()
        counts.dropped_packets = packet_socket.drops(self._socket)
        return counts

    def set_endpoints(self, endpoints: Collection[Endpoint]) -> None:
        """Replace the center's endpoints."""
        try:
            self._attach(endpoints)
        except OSError as error:
            raise packet_socket.no_room(error) from error

    def set_max_flows(self, max_flows: int) -> None:
        """Replace the limit."""
        self._ring.set_max_flows(max_flows)

    def close(self) -> None:
        """Close the socket and unmap the ring."""
        self._socket.close()
        self._ring.close()
        self._memory.close()
