"""What a target draws from its bytes; when they are used up, all choices are the first one."""

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")

MAX_INTEGERS = (0, 1, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**63 - 1, 2**63, 2**64 - 1)
"""Where integers end, on the wire and in memory."""


class Choices:
    """Reads the bytes from their start on."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def left(self) -> int:
        """Number of bytes that are not used yet."""
        return len(self._data) - self._at

    def take(self, count: int) -> bytes:
        """Up to ``count`` bytes, fewer at the end."""
        taken = self._data[self._at : self._at + count]
        self._at += len(taken)
        return taken

    def number(self, below: int) -> int:
        """From 0 to ``below`` - 1."""
        width = max(1, ((below - 1).bit_length() + 7) // 8)
        return int.from_bytes(self.take(width)) % below

    def pick(self, options: Sequence[T]) -> T:
        """One of them."""
        return options[self.number(len(options))]

    def chance(self, one_in: int) -> bool:
        """False at the end of the bytes, true once in ``one_in`` where they are random."""
        return self.number(one_in) == one_in - 1

    def integer(self) -> int:
        """Any of 64 bits, often one where something ends."""
        return self.pick(MAX_INTEGERS) if self.chance(2) else int.from_bytes(self.take(8))

    def block(self, most: int) -> bytes:
        """Bytes behind their length."""
        return self.take(self.number(most + 1))

    def rest(self) -> bytes:
        """All that are left."""
        return self.take(self.left)

    def altered(self, data: bytes) -> bytes:
        """``data`` with a few bytes changed, taken out or put in, or cut off."""
        out = bytearray(data)
        for _ in range(1 + self.number(4)):
            at = self.number(len(out) + 1)
            kind = self.number(4)
            if kind == 0 and at < len(out):
                out[at] = self.number(256)
            elif kind == 1:
                out[at:at] = self.block(8)
            elif kind == 2:
                del out[at : at + 1 + self.number(8)]
            else:
                del out[at:]
        return bytes(out)
