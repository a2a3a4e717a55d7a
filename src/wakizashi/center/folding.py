"""Ledgers summed up as they come, for each device of each probe. Pure; exact."""

from collections.abc import Iterator, Sequence
from operator import add

from wakizashi.model import TALLIES, Ledger, LedgerRecord, LedgerSum, Tally


class _Entry:
    """One device of one probe."""

    __slots__ = ("first", "last", "longest_ms", "numbers", "windows")

    def __init__(self, first: tuple[int, int], last: tuple[int, int, int]) -> None:
        self.windows = 0
        self.first = first
        """Start, lowest number."""
        self.last = last
        """Start, end, number."""
        self.longest_ms = 0
        self.numbers = [0] * (2 * len(TALLIES))


class Fold:
    """Takes ledgers in any order, one by one or summed up in part.

    Numbers of tallies are packets and bytes of each of
    :data:`~wakizashi.model.TALLIES`, in their order.
    """

    def __init__(self) -> None:
        self._entries: dict[tuple[str, str], _Entry] = {}

    def add(
        self,
        probe: str,
        device: str,
        *,
        windows: int,
        first: tuple[int, int],
        last: tuple[int, int, int],
        longest_ms: int,
        numbers: Sequence[int],
    ) -> None:
        """Add a part.

        Args:
            probe: its name.
            device: its name.
            windows: how many.
            first: start of the first of them (ms), and the lowest number that it covers.
            last: start and end of the last (ms), and its number.
            longest_ms: the longest one's length.
            numbers: sums of the tallies.
        """
        entry = self._entries.get((probe, device))
        if entry is None:
            entry = self._entries[probe, device] = _Entry(first, last)
        entry.windows += windows
        entry.first = min(entry.first, first)
        entry.last = max(entry.last, last)
        entry.longest_ms = max(entry.longest_ms, longest_ms)
        entry.numbers = list(map(add, entry.numbers, numbers))

    def add_one(
        self,
        timestamp: int,
        probe: str,
        device: str,
        *,
        number: int,
        duration: int,
        windows: int,
        numbers: Sequence[int],
    ) -> None:
        """Add one ledger; the arguments are as the attributes of ``LedgerRecord``."""
        self.add(
            probe,
            device,
            windows=windows,
            first=(timestamp, number - windows + 1),
            last=(timestamp, timestamp + duration, number),
            longest_ms=duration,
            numbers=numbers,
        )

    def add_record(self, record: LedgerRecord) -> None:
        """Add one ledger."""
        tallies = [getattr(record.ledger, name) for name in TALLIES]
        self.add_one(
            record.timestamp,
            record.probe,
            record.device,
            number=record.number,
            duration=record.duration,
            windows=record.windows,
            numbers=[number for tally in tallies for number in (tally.packets, tally.bytes)],
        )

    def sums(self) -> Iterator[LedgerSum]:
        """What was added, sorted by probe and device."""
        for (probe, device), entry in sorted(self._entries.items()):
            numbers = entry.numbers
            tallies = {
                name: Tally(numbers[2 * i], numbers[2 * i + 1]) for i, name in enumerate(TALLIES)
            }
            yield LedgerSum(
                probe=probe,
                device=device,
                windows=entry.windows,
                first_ms=entry.first[0],
                last_ms=entry.last[0],
                end_ms=entry.last[1],
                number=entry.last[2],
                first_number=entry.first[1],
                longest_ms=entry.longest_ms,
                ledger=Ledger(**tallies),
            )
