"""Flows counted many packets at a time, with NumPy. Pure.

An open-addressing hash table with linear probing, its columns arrays: a batch
of packets is looked up, inserted and added with a few vector operations each,
however many flows there are.
"""

import secrets
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from wakizashi.model import Tally

Words = NDArray[np.uint64]
Integers = NDArray[np.int64]
Places = NDArray[np.intp]

_FIRST_ROWS = 1 << 10
_ROWS_FOR_A_FLOW = 4
"""The table grows before more than a quarter of its rows is used: probes stay short."""
_FOLD = np.uint64(32)


class FlowTable:
    """Bytes and packets by key.

    Args:
        words: 64-bit words in a key: 1 for IPv4, 4 for IPv6.
        max_flows: keys beyond so many are counted in :attr:`other`.
        multiplier: odd; by default one at random, for who sends packets must not
            be able to choose addresses that all fall into one place.
    """

    def __init__(self, words: int, max_flows: int, multiplier: int | None = None) -> None:
        self._words, self._max_flows = words, max_flows
        self._multiplier = np.uint64(multiplier or secrets.randbits(64) | 1)
        self._reset(_FIRST_ROWS)

    def _reset(self, rows: int) -> None:
        self.flows = 0
        self.other = Tally()
        self._allot(rows)

    def _allot(self, rows: int) -> None:
        self._mask = rows - 1
        self._shift = np.uint64(64 - self._mask.bit_length())
        self._keys = [np.zeros(rows, np.uint64) for _ in range(self._words)]
        self._packets = np.zeros(rows, np.int64)
        self._bytes = np.zeros(rows, np.int64)
        self._used = np.zeros(rows, np.bool_)

    def set_max_flows(self, max_flows: int) -> None:
        """Replace the limit; keys that there are stay."""
        self._max_flows = max_flows

    def add(self, keys: Sequence[Words], sizes: Integers) -> None:
        """Count packets.

        Args:
            keys: the words of each packet's key, an array for each word.
            sizes: the packets' sizes in bytes.
        """
        rows = self._home(keys)
        missing = self._find(rows, keys)
        while missing.size and self.flows < self._max_flows:
            self._insert([word[missing] for word in keys])
            rows = self._home(keys)  # the table may have grown
            missing = self._find(rows, keys)
        if missing.size:
            self.other += Tally(int(missing.size), int(sizes[missing].sum()))
            rows, sizes = np.delete(rows, missing), np.delete(sizes, missing)
        np.add.at(self._packets, rows, 1)
        np.add.at(self._bytes, rows, sizes)

    def take(self) -> Iterator[tuple[bytes, Tally]]:
        """Hand over (key as in the packet, tally) of every flow, and start afresh."""
        used = np.flatnonzero(self._used)
        raw = np.stack([word[used] for word in self._keys], axis=1).tobytes()
        packets, sizes = self._packets[used].tolist(), self._bytes[used].tolist()
        self._reset(max(_FIRST_ROWS, self._rows_for(len(packets))))
        length = 8 * self._words
        for i, pair in enumerate(zip(packets, sizes, strict=True)):
            yield raw[i * length : (i + 1) * length], Tally(*pair)

    @staticmethod
    def _rows_for(flows: int) -> int:
        return 1 << (flows * _ROWS_FOR_A_FLOW - 1).bit_length() if flows else 1

    def _mix(self, keys: Sequence[Words]) -> Words:
        """Multiplicative hashing (Knuth, TAOCP 6.4), word after word."""
        mixed = keys[0] * self._multiplier
        for word in keys[1:]:
            mixed ^= mixed >> _FOLD
            mixed += word
            mixed *= self._multiplier
        return mixed

    def _home(self, keys: Sequence[Words]) -> Places:
        """The row where the search for each key begins."""
        return (self._mix(keys) >> self._shift).astype(np.intp)

    def _holds(self, rows: Places, keys: Sequence[Words]) -> NDArray[np.bool_]:
        found = self._used[rows]
        for column, word in zip(self._keys, keys, strict=True):
            found &= column[rows] == word
        return found

    def _find(self, rows: Places, keys: Sequence[Words]) -> Places:
        """Move each of ``rows`` on to its key's row; the positions of keys that have none."""
        missing: list[Places] = []
        searching = np.flatnonzero(~self._holds(rows, keys))
        while searching.size:
            unused = ~self._used[rows[searching]]
            missing.append(searching[unused])
            searching = searching[~unused]
            rows[searching] = (rows[searching] + 1) & self._mask
            found = self._holds(rows[searching], [word[searching] for word in keys])
            searching = searching[~found]
        return np.concatenate(missing) if missing else searching

    def _insert(self, keys: Sequence[Words]) -> None:
        """Give rows to keys that have none, as many as ``max_flows`` leaves room for."""
        # Two keys that mix alike are rare: the second comes with the caller's next round.
        _, first = np.unique(self._mix(keys), return_index=True)
        first = first[: self._max_flows - self.flows]
        self.flows += int(first.size)
        if self._rows_for(self.flows) > self._mask + 1:
            self._grow(self._rows_for(self.flows))
        self._place([word[first] for word in keys])

    def _grow(self, rows: int) -> None:
        used = np.flatnonzero(self._used)
        keys = [word[used] for word in self._keys]
        packets, sizes = self._packets[used], self._bytes[used]
        self._allot(rows)
        places = self._place(keys)
        self._packets[places], self._bytes[places] = packets, sizes

    def _place(self, keys: Sequence[Words]) -> Places:
        """Put distinct keys that are not in the table into unused rows; which."""
        rows = self._home(keys)
        placed = np.zeros(rows.size, np.bool_)
        while not placed.all():
            waiting = np.flatnonzero(~placed)
            free = waiting[~self._used[rows[waiting]]]
            spots, first = np.unique(rows[free], return_index=True)  # several may want one row
            winners = free[first]
            for column, word in zip(self._keys, keys, strict=True):
                column[spots] = word[winners]
            self._used[spots] = True
            placed[winners] = True
            losers = np.flatnonzero(~placed)
            rows[losers] = (rows[losers] + 1) & self._mask
        return rows
