"""At the quota: windows that were never sent are merged pairwise until a new one has room.

In: a closed window, from the capture thread. Out: the same on disk, alone or in a
merged one. Lost is time resolution, evenly: the pair that is the shortest together goes
first, the oldest of them. What can't be merged any more stays the caller's.
"""

import logging
from collections.abc import Iterator
from itertools import pairwise

from wakizashi import wire
from wakizashi.errors import Retryable
from wakizashi.model import Window
from wakizashi.probe.backlog import Backlog, Fresh, Taken
from wakizashi.probe.merge import follows, merge
from wakizashi.probe.stats import ProbeStats
from wakizashi.shelf import DirectoryFull
from wakizashi.telemetry import Throttle
from wakizashi.window_file import Entry

_log = logging.getLogger(__name__)

MOST_PAIRS = 4
MOST_FLOWS = 20_000
"""After so many pairs, or flows in them, a window stays open: capture waits meanwhile, and goes on
from there at the next one. Two windows of 65,536 flows, the most of one device by default, take
0.7 s of CPU, twice what closing such a window takes; two of 1,000 take 6 ms."""

WORTH_PART = 10
"""A merge has to save one in so many of the smaller window's flows: two windows that have none in
common are no shorter as one."""

FEW_FLOWS = 100
"""A window with fewer is half header and ledger, and worth it in any case."""


class Merging:
    """Saves windows in a directory, and makes room for them. Belongs to the capture thread.

    Args:
        directory: where the windows wait.
        max_flows: most flows of one device in one window.
    """

    def __init__(self, directory: Backlog, max_flows: int, stats: ProbeStats) -> None:
        self._directory, self._max_flows, self._stats = directory, max_flows, stats
        self._refused: set[tuple[int, int]] = set()
        """Start and last number of the pairs that can't be merged, or are not worth it."""
        self._looked_at = 0
        """Flows in the pairs that were looked at for the window in hand."""
        self._throttle = Throttle(_log)

    def set_max_flows(self, max_flows: int) -> None:
        """Replace the limit of flows of one device; what it refused is looked at again."""
        if max_flows != self._max_flows:
            self._max_flows = max_flows
            self._refused.clear()

    def save(self, window: Window) -> Entry:
        """Make a window durable.

        Raises:
            DirectoryFull: there is no room, and not enough that could be merged.
            Retryable: the disk would not take it. Either way it is still only the caller's.
        """
        saving, within = window, list[Entry]()
        self._looked_at = 0
        for pairs in range(1 + MOST_PAIRS):
            try:
                entry = self._directory.replace(within, saving)
            except Taken:
                saving, within = window, []
            except DirectoryFull as error:
                full = error
                pair = self._shortest(saving, within)
                if pair is None or pairs == MOST_PAIRS or self._looked_at >= MOST_FLOWS:
                    break
                first, second = pair
                if first.entry and second.entry and self._merge_waiting(first.entry, second.entry):
                    continue
                if first.entry and not second.entry and (both := self._both(first.entry, saving)):
                    saving, within = both, [first.entry, *within]
                    continue
                self._refused.add((first.start_ms, second.number))
            else:
                self._merged(len(within))
                return entry
        raise full

    def _shortest(self, saving: Window, within: list[Entry]) -> tuple[Fresh, Fresh] | None:
        waiting = [fresh for fresh in self._directory.fresh() if fresh.entry not in within]
        return min(
            self._pairs([*waiting, Fresh.of(saving, None)]),
            key=lambda pair: (sum(one.end_ms - one.start_ms for one in pair), pair[0].start_ms),
            default=None,
        )

    def _pairs(self, windows: list[Fresh]) -> Iterator[tuple[Fresh, Fresh]]:
        for first, second in pairwise(windows):
            if (
                follows(first, second)
                and first.number == second.number - second.windows
                and (first.start_ms, second.number) not in self._refused
            ):
                yield first, second

    def _merge_waiting(self, first: Entry, second: Entry) -> bool:
        later = self._read(second)
        both = self._both(first, later) if later is not None else None
        if both is None:
            return False
        try:
            self._directory.replace([first, second], both)
        except DirectoryFull:  # longer than both
            return False
        except Taken:
            return True
        self._merged(1)
        return True

    def _both(self, entry: Entry, second: Window) -> Window | None:
        first = self._read(entry)
        both = merge(first, second, self._max_flows) if first is not None else None
        if first is None or both is None:
            return None
        self._looked_at += len(first.flows) + len(second.flows)
        smaller = min(len(first.flows), len(second.flows))
        saved = len(first.flows) + len(second.flows) - len(both.flows)
        return both if smaller < FEW_FLOWS or saved * WORTH_PART >= smaller else None

    def _read(self, entry: Entry) -> Window | None:
        try:
            chunks = self._directory.read(entry)
            return None if chunks is None else wire.decode(chunks)
        except (Retryable, wire.InvalidWindow):  # who delivers it will tell
            return None

    def _merged(self, number: int) -> None:
        if number:
            self._stats.windows_merged += number
            directory = self._directory
            self._throttle.warning(
                "merge",
                f"{directory.limit_key}: {directory.path} holds {directory.used_bytes} bytes, the "
                f"limit is {directory.limit_bytes}; windows are merged: time resolution is lost, "
                f"bytes are not; raise {directory.limit_key}, or mend the way to centerAddr",
            )
        elif self._refused and self._directory.used_bytes * 2 < self._directory.limit_bytes:
            self._refused.clear()
