"""The known traffic: what the n-th packet of a run is follows from the seed alone.

One sequence for each direction, sent in order over one veth pair, so what a probe
counted from quiet until it was killed is the beginning of what was sent since.
Run as a program this is the sender; it is told to go and to pause, and tells how
many packets it has sent, in a file that both sides map.
"""

import mmap
import random
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

ADDRESSES = {
    "a": ("10.79.0.1", "10.79.0.2", "10.79.0.3", "fd79::a1", "fd79::a2"),
    "b": ("10.79.0.101", "10.79.0.102", "10.79.0.103", "fd79::b1", "fd79::b2"),
}
"""Of the two ends of the traffic's veth pair. All are local, so no packet is transit."""

PORT = 9000
BURST = 4
BURST_SECONDS = 0.01
MAX_PAYLOAD = 1_400


@dataclass(frozen=True, slots=True)
class Packet:
    """One UDP packet; ``size`` is its length on the link."""

    source: str
    destination: str
    payload: int

    @property
    def size(self) -> int:
        return 14 + (40 if ":" in self.source else 20) + 8 + self.payload


def sequence(seed: int, sender: str) -> Iterator[Packet]:
    """All packets of one direction, for ever."""
    random_ = random.Random(f"{seed}/{sender}")
    receiver = "b" if sender == "a" else "a"
    while True:
        source = random_.choice(ADDRESSES[sender])
        same = [a for a in ADDRESSES[receiver] if (":" in a) == (":" in source)]
        payload = random_.randint(0, MAX_PAYLOAD) if random_.random() < 0.8 else MAX_PAYLOAD
        yield Packet(source, random_.choice(same), payload)


@dataclass(frozen=True, slots=True)
class Slice:
    """The packets ``[start, end)`` of one direction."""

    sender: str
    start: int
    end: int


def sums(seed: int, part: Slice) -> dict[tuple[str, str], tuple[int, int]]:
    """(bytes, packets) by (source, destination) of a slice."""
    result: dict[tuple[str, str], tuple[int, int]] = {}
    for packet in islice(sequence(seed, part.sender), part.start, part.end):
        pair = (packet.source, packet.destination)
        size, count = result.get(pair, (0, 0))
        result[pair] = (size + packet.size, count + 1)
    return result


class Control:
    """What the sender and its master share: whether to go, whether it does, how many were sent."""

    _LAYOUT = struct.Struct("<BBxxxxxxQ")

    def __init__(self, path: Path) -> None:
        if not path.exists():
            path.write_bytes(bytes(self._LAYOUT.size))
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), self._LAYOUT.size)

    @property
    def wanted(self) -> bool:
        return bool(self._map[0])

    @wanted.setter
    def wanted(self, value: bool) -> None:
        self._map[0] = value

    @property
    def going(self) -> bool:
        return bool(self._map[1])

    @going.setter
    def going(self, value: bool) -> None:
        self._map[1] = value

    @property
    def sent(self) -> int:
        count: int = struct.unpack_from("<Q", self._map, 8)[0]
        return count

    @sent.setter
    def sent(self, value: int) -> None:
        struct.pack_into("<Q", self._map, 8, value)


def send(seed: int, sender: str, control: Control, sleep: Callable[[float], None]) -> None:
    """Send the sequence until killed. A packet that the kernel refuses is tried again."""
    sockets = {}
    for address in ADDRESSES[sender]:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        sockets[address] = made = socket.socket(family, socket.SOCK_DGRAM)
        # The address goes with its device and comes again.
        made.setsockopt(socket.IPPROTO_IP, getattr(socket, "IP_FREEBIND", 15), 1)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 0)  # nobody reads what comes
        made.bind((address, PORT))
    packets = sequence(seed, sender)
    packet = next(packets)
    while True:
        control.going = control.wanted
        for _ in range(BURST if control.going else 0):
            try:
                sockets[packet.source].sendto(bytes(packet.payload), (packet.destination, PORT))
            except OSError:
                break  # not sent, so not counted: again in the next burst
            control.sent += 1
            packet = next(packets)
        sleep(BURST_SECONDS)


if __name__ == "__main__":
    send(int(sys.argv[1]), sys.argv[2], Control(Path(sys.argv[3])), time.sleep)
