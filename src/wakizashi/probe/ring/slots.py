"""Reads the slots of a TPACKET_V2 receive ring and counts the packets in them. No system calls.

In: the mapped memory, which the kernel fills slot after slot. Out: :class:`Counts`.
Lost is nothing here: a slot goes back to the kernel once it is counted.

A slot is SLOT_BYTES long (Documentation/networking/packet_mmap.rst, and
tpacket_rcv() in net/packet/af_packet.c):

    0   struct tpacket2_hdr: status u32, length u32, captured u32, link at u16, network at u16, …
    32  struct sockaddr_ll
    66  the packet, from its link header on: 14 bytes of Ethernet, so that
    80  the network header is here, whatever the link header's length (up to 28)

The kernel finds the network header, so nearly every packet is counted from
fixed places. What is not plain IPv4 or IPv6 there (tags, ARP, runts) is looked
at one by one, by the same code that the engine ``scapy`` uses.

**Memory order.** The kernel writes a slot, a write barrier, the status
(__packet_set_status()); we read the status, the slot, and write the status. So
the reads of the slot must not move before that of the status, nor behind its
write. x86-64 keeps loads in order, and stores behind loads (Intel SDM 3A 9.2.2).
On aarch64 both could move; releasing and acquiring a lock in between forbids
it: sem_post() and sem_trywait(), or the mutex calls, under CPython's locks
synchronize memory (POSIX.1-2017 XBD 4.12), a release being ordered before a
later acquire there (Arm ARM B2.3.11). That NumPy works in C, behind calls,
keeps the compilers from moving anything.
"""

import threading
from mmap import mmap
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wakizashi.model import Tally
from wakizashi.probe import packet
from wakizashi.probe.capture import OTHER, Counts, FlowCounter
from wakizashi.probe.ring.table import FlowTable

SLOT_BYTES = 128
NETWORK_AT = 80
OWN_BYTES = 1
"""What the filter captures of the probe's own packets, to tell them apart (``filter.py``)."""

STATUS_KERNEL, STATUS_USER, STATUS_VLAN = 0x00, 0x01, 0x10
_VLAN_TAG_BYTES = 4
_LOOK_SLOTS, _MOST_SLOTS = 64, 4_096
"""How far to look for filled slots: so far at first, twice as far each time all were filled."""

_SLOT = np.dtype(
    {
        "names": ["status", "length", "captured", "link_at", "network_at", "head", "four", "six"],
        "formats": ["<u4", "<u4", "<u4", "<u2", "<u2", "<u4", "<u8", ("<u8", 4)],
        # head: two bytes before the network header, where Ethernet's type is, and two of it
        "offsets": [0, 4, 8, 12, 14, NETWORK_AT - 2, NETWORK_AT + 12, NETWORK_AT + 8],
        "itemsize": SLOT_BYTES,
    }
)
# (mask, IPv4, IPv6) of ``head``: the type on Ethernet, and the version in any case
_ETHERNET_HEAD = (0xF0FFFF, 0x400008, 0x60DD86)
_IP_HEAD = (0xF00000, 0x400000, 0x600000)
_HEADER_WORDS = (0x0F0000, 0x050000)
"""Mask and least value of the length of the IPv4 header in ``head``."""


class Ring:
    """The reader's end of a ring.

    Args:
        memory: the mapped ring; its length a multiple of SLOT_BYTES.
        ethernet: whether packets begin with an Ethernet header, or else with IP.
        max_flows: flows beyond so many are folded into ``OTHER``.
    """

    def __init__(self, memory: "mmap | bytearray", *, ethernet: bool, max_flows: int) -> None:
        self._bytes = memoryview(memory).cast("B")
        self._slots: NDArray[Any] = np.frombuffer(memory, _SLOT)
        self._next = 0
        self._head = _ETHERNET_HEAD if ethernet else _IP_HEAD
        self._locate = packet.ethernet if ethernet else packet.raw_ip
        self._max_flows = max_flows
        self._four, self._six = FlowTable(1, max_flows), FlowTable(4, max_flows)
        self._rest = FlowCounter(max_flows, ())
        self._own = Tally()
        self._fence = threading.Lock()
        self._fence.acquire()

    def set_max_flows(self, max_flows: int) -> None:
        """Replace the limit of flows that begin."""
        self._max_flows = max_flows
        for counter in (self._four, self._six, self._rest):
            counter.set_max_flows(max_flows)

    def close(self) -> None:
        """Let go of the memory."""
        del self._slots
        self._bytes.release()

    def _order(self) -> None:
        """What is read or written before stays before what comes after; see above."""
        self._fence.release()
        self._fence.acquire()

    def pump(self, budget: int) -> bool:
        """Count filled slots, about ``budget`` at most; whether more may be filled."""
        look = _LOOK_SLOTS
        while budget > 0:
            end = min(self._next + look, len(self._slots))
            status = self._slots["status"][self._next : end] & STATUS_USER
            filled = status.size if status.all() else int(status.argmin())
            if filled:
                self._order()
                self._count(self._next, self._next + filled)
                self._next = (self._next + filled) % len(self._slots)
                budget -= filled
            if filled < status.size:
                return False
            look = min(2 * look, _MOST_SLOTS)
        return True

    def _count(self, start: int, end: int) -> None:
        """Count a run of filled slots and give them back to the kernel."""
        slots = self._slots[start:end]
        captured = slots["captured"].copy()
        sizes = slots["length"].astype(np.int64)
        tagged = (slots["status"] & STATUS_VLAN) != 0
        if tagged.any():
            sizes[tagged] += _VLAN_TAG_BYTES  # the tag that the kernel or the card took off
        head = slots["head"].copy()
        there = slots["link_at"] + captured  # where the captured bytes end
        in_place = slots["network_at"] == NETWORK_AT
        mask, four, six = self._head
        kind = head & np.uint32(mask)
        words, least = _HEADER_WORDS
        is_four = in_place & (kind == four) & ((head & np.uint32(words)) >= least)
        is_four &= there >= NETWORK_AT + 20
        if is_four.all():
            keys = slots["four"].copy()
            self._give_back(slots)
            self._four.add([keys], sizes)
            return
        is_six = in_place & (kind == six) & (there >= NETWORK_AT + 40)
        keys = slots["four"][is_four]
        keys_six = slots["six"][is_six]
        own = (captured == OWN_BYTES) & (sizes > OWN_BYTES)
        for i in np.flatnonzero(~(is_four | is_six | own)).tolist():
            begin = (start + i) * SLOT_BYTES + int(slots["link_at"][i])
            length = int(captured[i])
            data = self._bytes[begin : begin + length]
            self._rest.add(data, length, self._locate(data, length), int(sizes[i]))
        self._give_back(slots)
        self._four.add([keys], sizes[is_four])
        self._six.add([np.ascontiguousarray(keys_six[:, i]) for i in range(4)], sizes[is_six])
        self._own += Tally(int(own.sum()), int(sizes[own].sum()))

    def _give_back(self, slots: NDArray[Any]) -> None:
        self._order()
        slots["status"] = STATUS_KERNEL

    def take(self) -> Counts:
        """Hand over everything counted since the last call; drops are not known here."""
        counts = self._rest.take()
        counts.own, self._own = self._own, Tally()
        for table in (self._four, self._six):
            other = table.other
            for key, tally in table.take():
                counts.add(key, tally, self._max_flows)
            if other.packets:
                counts.add(OTHER, other, self._max_flows)
        return counts
