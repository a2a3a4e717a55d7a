"""A center as two queues: how long a window waits for its ack, and how many wait.

Deterministic: arrivals come from a seeded generator, everything else is reckoned.
The first queue is the event loop on one CPU, which takes windows as they come;
the second is the store, which collects 5,000 to 10,000 points or for 200 ms, and has one
write in flight and one behind it (``center/store.py``). All of a window's CPU time is in the first;
a write takes what the database takes for its points.
"""

import random
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from bench.center.results import Acks, acks
from wakizashi.center.store import GROUP_SECONDS, READY_POINTS
from wakizashi.center.writer import GROUP_POINTS

_SEED = 1


@dataclass(frozen=True, slots=True)
class Station:
    """One center with its database."""

    records: int
    """Of a window; its ledger is one point more."""
    cpu_seconds: float
    """The center's, for a window."""
    write_seconds: float = 0.0
    """The database's, for a point."""

    def load(self, windows_a_second: float) -> tuple[float, float]:
        """Of the center's CPU and of the database; 1 is all that they can do."""
        return (
            windows_a_second * self.cpu_seconds,
            windows_a_second * (self.records + 1) * self.write_seconds,
        )


@dataclass(frozen=True, slots=True)
class Waiting:
    """What windows and center go through."""

    acks: Acks
    largest_queue: int
    """Most windows that have come and have no ack."""
    late_share: float
    """Share of acks that come after ``late_seconds``."""


def arrivals(probes: int, interval: float, spread: float, turns: int) -> list[float]:
    """When windows come: once an interval each, at moments spread over its first seconds."""
    choose = random.Random(_SEED)
    phases = [choose.uniform(0.0, spread) for _ in range(probes)]
    return sorted(turn * interval + phase for turn in range(turns) for phase in phases)


def wait(came: Sequence[float], station: Station, late_seconds: float) -> Waiting:
    """Send windows that ``came`` at these times, ascending, through both queues.

    After ``late_seconds`` a probe gives up its call and delivers again, which is not reckoned.
    """
    ready, free = [], 0.0
    for moment in came:
        free = max(free, moment) + station.cpu_seconds
        ready.append(free)
    acked = _store(ready, station.records + 1, station.write_seconds)
    seconds = [done - moment for done, moment in zip(acked, came, strict=True)]
    queue = max(
        (place + 1 - bisect_right(acked, moment) for place, moment in enumerate(came)), default=0
    )
    return Waiting(
        acks=acks(seconds),
        largest_queue=queue,
        late_share=sum(s > late_seconds for s in seconds) / len(seconds) if seconds else 0.0,
    )


def _store(ready: Sequence[float], points: int, write_seconds: float) -> list[float]:
    """When each window is durable: what ``Store._write_loop`` does."""
    most = max(1, GROUP_POINTS // points)
    """Windows that one write takes."""
    full = -(-READY_POINTS // points)
    """Windows that end the collecting."""
    acked: list[float] = []
    before, last = 0.0, 0.0  # when the last writes but one, and the last one, have ended
    while len(acked) < len(ready):
        first = len(acked)
        begin = max(before, ready[first])  # one is written while the next is built
        taken_at = begin + GROUP_SECONDS
        if first + full <= len(ready):
            taken_at = min(taken_at, max(begin, ready[first + full - 1]))
        count = min(most, bisect_right(ready, taken_at, first) - first)
        before, last = last, max(last, taken_at) + count * points * write_seconds
        acked += [last] * count
    return acked
