"""Steady traffic over a device, packet for packet known."""

import socket
import threading
from collections import Counter
from typing import Self

SOURCES = 8
PAUSE_SECONDS = 0.0005
PEER = b"\x0a\2\0\1"
"""Whom all sources speak to."""


def source(number: int) -> bytes:
    """One of the sources, over and over."""
    return bytes((10, 1, 0, number % SOURCES))


def frame(sender: bytes, receiver: bytes, payload: int) -> bytes:
    """UDP over IPv4 over Ethernet, to a card that nobody has."""
    header = b"\x45\0" + (20 + payload).to_bytes(2) + bytes(4) + b"\x40\x11" + bytes(2)
    ethernet = b"\x02\0\0\0\0\x03\x02\0\0\0\0\x01\x08\0"
    return ethernet + header + sender + receiver + bytes(payload)


class Traffic:
    """Frames out of a device, one source after another, until it is told to end.

    ``answers``: from the peer to them.
    """

    def __init__(self, device: str = "eth0", *, answers: bool = False) -> None:
        self.packets: Counter[bytes] = Counter()
        self.bytes: Counter[bytes] = Counter()
        self._device, self._answers = device, answers
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as out:
            out.bind((self._device, 0))
            number = 0
            while not self._end.wait(PAUSE_SECONDS):
                here = source(number)
                ends = (PEER, here) if self._answers else (here, PEER)
                data = frame(*ends, 40 + number % 700)
                out.send(data)
                self.packets[here] += 1
                self.bytes[here] += len(data)
                number += 1

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._end.set()
        self._thread.join()
