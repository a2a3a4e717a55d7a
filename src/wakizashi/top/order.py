"""Which pairs are shown, and in what order, so that they stay in place while values are near. Pure.

A pair is ordered by a value that it holds until the true one is more than ``NEAR`` away. So two
pairs change places when one of them has changed, not when both tremble; and no pair stands above one
that is larger by more than twice that.
"""

from collections.abc import Callable, Sequence

from wakizashi.top.traffic import Row
from wakizashi.top.view import Sort

NEAR = 0.1

_Key = tuple[str, bytes, bytes]


class Order:
    """Remembers the order from one interval to the next."""

    def __init__(self) -> None:
        self._by: Sort | None = None
        self._held: dict[_Key, float] = {}

    def arrange(
        self, rows: Sequence[Row], by: Sort, text: str, label: Callable[[bytes], Sequence[str]]
    ) -> list[Row]:
        """Those that match ``text``, sorted.

        Args:
            rows: all there are.
            by: what to sort by.
            text: what device, address or name must contain, in any case; empty for all.
            label: what an address is called, by number and by name.
        """
        wanted = text.lower()
        found = [row for row in rows if not wanted or _matches(row, wanted, label)]
        if by is Sort.ADDRESS:
            return sorted(found, key=_place)
        held = self._held if by is self._by else {}
        self._by, self._held = by, {}
        for row in rows:
            key, true = (row.device, *row.ends), value(row, by)
            before = held.get(key, 0.0)
            near = abs(true - before) <= NEAR * before and true > 0
            self._held[key] = before if near else true
        return sorted(found, key=lambda row: (-self._held[row.device, *row.ends], _place(row)))


def value(row: Row, by: Sort) -> float:
    """What a pair is sorted by: both ways together."""
    if by is Sort.TOTAL:
        return row.totals[0].bytes + row.totals[1].bytes
    return sum(row.rates[by.value])


def _place(row: Row) -> tuple[object, ...]:
    return (*tuple((len(end), end) for end in row.ends), row.device)


def _matches(row: Row, wanted: str, label: Callable[[bytes], Sequence[str]]) -> bool:
    texts = [row.device, *label(row.ends[0]), *label(row.ends[1])]
    return any(wanted in text.lower() for text in texts)
