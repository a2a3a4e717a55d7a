"""What has passed, by pair and by device: rates over spans of time, totals, sparklines. Pure.

In: the window of each interval. Out: a :class:`Picture`. Lost is nothing: beyond ``MOST_PAIRS``
those that were quiet for longest are forgotten, and their totals are in their device's ``other``.

Sums over a span are of whole bytes, added as an interval comes and subtracted as it leaves the
span, so they are exact, and an interval costs what passed in it, not all that is remembered.
"""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from wakizashi.model import Direction, Flow, Ledger, Tally, Window

SPANS_SECONDS = (2, 10, 40)
MOST_PAIRS = 8_192
MOST_DEVICES = 1_024
OTHER_DEVICES = "(gone)"
"""The devices that were forgotten, as one."""

_NOTHING = Tally()
_OTHER = bytes(4)


@dataclass(slots=True, eq=False)
class Pair:
    """What is remembered of one, and changes."""

    device: str
    ends: tuple[bytes, bytes]
    """The lower address first."""
    sums: tuple[list[int], ...]
    """Of each span: bytes forth and back."""
    swapped: bool = False
    """Whether the second end is the local one."""
    direction: Direction = Direction.TRANSIT
    forth: Tally = _NOTHING
    back: Tally = _NOTHING


@dataclass(frozen=True, slots=True)
class Row:
    """A pair of addresses on a device."""

    device: str
    ends: tuple[bytes, bytes]
    """The local one first, where only one is."""
    direction: Direction
    """Of what the first sends: ``out``, ``local`` or ``transit``."""
    rates: tuple[tuple[float, float], ...]
    """Over each span: bytes a second from the first to the second end, and back."""
    totals: tuple[Tally, Tally]
    """Since the start: the same way."""
    pair: Pair
    """By what a picture knows its history."""


@dataclass(frozen=True, slots=True)
class Interval:
    """What passed in one, by pair: bytes from its lower address to the higher one, and back."""

    seconds: float
    bytes: dict[Pair, tuple[int, int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Picture:
    """All that can be shown, at the end of an interval; it does not change any more."""

    time_ms: int
    seconds: float
    """Since the start."""
    interval_seconds: float
    spans: tuple[float, ...]
    """How far back each rate goes, in whole intervals, once so much time has passed."""
    devices: tuple[tuple[str, Ledger], ...] = ()
    """By name; ``other`` has the totals of forgotten pairs."""
    rows: tuple[Row, ...] = ()
    history: tuple[Interval, ...] = ()
    """The last intervals, the newest last."""

    def spark(self, row: Row, length: int) -> list[float]:
        """Bytes a second both ways, in each of so many intervals, the newest last."""
        # Only for rows that are seen: there are many intervals, and may be many pairs.
        recent = self.history[-length:]
        found = [
            sum(interval.bytes.get(row.pair, (0, 0))) / (interval.seconds or 1.0)
            for interval in recent
        ]
        return [0.0] * (length - len(found)) + found


class Traffic:
    """What has passed since the start.

    Args:
        interval_seconds: between windows.
        history: how many intervals to remember, at least.
        most_pairs: to remember.
    """

    def __init__(
        self, interval_seconds: float, *, history: int = 40, most_pairs: int = MOST_PAIRS
    ) -> None:
        self._interval_seconds = interval_seconds
        self._counts = [max(1, math.ceil(span / interval_seconds)) for span in SPANS_SECONDS]
        self._spans = tuple(count * interval_seconds for count in self._counts)
        self._most_pairs = most_pairs
        self._intervals: deque[Interval] = deque(maxlen=max(history, *self._counts))
        self._pairs: dict[tuple[str, bytes, bytes], Pair] = {}
        self._devices: dict[str, Ledger] = {}
        self._present: set[str] = set()
        """Devices of the last interval."""
        self._seconds = 0.0
        self._time_ms = 0

    def add(self, window: Window, seconds: float) -> None:
        """The next interval; ``seconds`` is how long it was."""
        self._forget()
        interval = Interval(seconds)
        for flow in window.flows:
            if flow.source != _OTHER or flow.destination != _OTHER:
                self._count(window.devices[flow.device].name, flow, interval.bytes)
        self._present = {device.name for device in window.devices}
        for device in window.devices:
            self._devices[device.name] = self._devices.get(device.name, Ledger()) + device.ledger
        self._slide(interval)
        self._seconds += seconds
        self._time_ms = window.end_ms

    def _count(self, device: str, flow: Flow, passed: dict[Pair, tuple[int, int]]) -> None:
        forth = flow.source <= flow.destination
        ends = (flow.source, flow.destination) if forth else (flow.destination, flow.source)
        key = (device, *ends)
        pair = self._pairs.get(key)
        if pair is None:
            sums = tuple([0, 0] for _ in self._counts)
            pair = self._pairs[key] = Pair(device, ends, sums)
        pair.direction = flow.direction
        if flow.direction in (Direction.OUT, Direction.IN):
            pair.swapped = forth is (flow.direction is Direction.IN)
            pair.direction = Direction.OUT
        tally = Tally(flow.packets, flow.size)
        before = passed.get(pair, (0, 0))
        if forth:
            pair.forth += tally
            passed[pair] = before[0] + flow.size, before[1]
        else:
            pair.back += tally
            passed[pair] = before[0], before[1] + flow.size

    def _slide(self, interval: Interval) -> None:
        for span, count in enumerate(self._counts):
            if len(self._intervals) >= count:
                _shift(span, self._intervals[-count], -1)
            _shift(span, interval, 1)
        self._intervals.append(interval)

    def _forget(self) -> None:
        """Once there are too many, a tenth more than that, so that it is not at each interval."""
        if len(self._devices) > MOST_DEVICES:
            for name in self._devices.keys() - self._present - {OTHER_DEVICES}:
                gone = self._devices.pop(name)
                self._devices[OTHER_DEVICES] = self._devices.get(OTHER_DEVICES, Ledger()) + gone
        if len(self._pairs) <= self._most_pairs:
            return
        by_use = sorted(
            self._pairs.items(), key=lambda item: (sum(item[1].sums[-1]), _bytes(item[1]))
        )
        for key, pair in by_use[: len(by_use) - self._most_pairs * 9 // 10]:
            del self._pairs[key]
            name = pair.device if pair.device in self._devices else OTHER_DEVICES
            ledger = self._devices.get(name, Ledger())
            self._devices[name] = replace(ledger, other=ledger.other + pair.forth + pair.back)
            for interval in self._intervals:
                interval.bytes.pop(pair, None)

    # -- what is to be seen --------------------------------------------------------------------

    def picture(self) -> Picture:
        """All of it now."""
        lengths = [self._last(count) for count in self._counts]
        return Picture(
            time_ms=self._time_ms,
            seconds=self._seconds,
            interval_seconds=self._interval_seconds,
            spans=self._spans,
            devices=tuple(sorted(self._devices.items())),
            rows=tuple(self._row(pair, lengths) for pair in self._pairs.values()),
            history=tuple(self._intervals),
        )

    def of(self, window: Window) -> list[tuple[Row, tuple[Tally, Tally]]]:
        """The pairs that the last window has, and what passed in it: as a row's totals."""
        lengths = [self._last(count) for count in self._counts]
        passed: dict[Pair, list[Tally]] = {}
        for flow in window.flows:
            low, high = sorted((flow.source, flow.destination))
            pair = self._pairs.get((window.devices[flow.device].name, low, high))
            if pair is not None:
                tallies = passed.setdefault(pair, [_NOTHING, _NOTHING])
                tallies[(flow.source != low) != pair.swapped] += Tally(flow.packets, flow.size)
        return [
            (self._row(pair, lengths), (tallies[0], tallies[1])) for pair, tallies in passed.items()
        ]

    def _last(self, count: int) -> float:
        """How long the last intervals were together."""
        recent = list(self._intervals)[-count:]
        return sum(interval.seconds for interval in recent) or 1.0

    def _row(self, pair: Pair, lengths: Sequence[float]) -> Row:
        rates = [
            (forth / length, back / length)
            for (forth, back), length in zip(pair.sums, lengths, strict=True)
        ]
        totals, ends = (pair.forth, pair.back), pair.ends
        if pair.swapped:
            rates = [(back, forth) for forth, back in rates]
            totals, ends = (totals[1], totals[0]), (ends[1], ends[0])
        return Row(pair.device, ends, pair.direction, tuple(rates), totals, pair)


def _shift(span: int, interval: Interval, sign: int) -> None:
    for pair, (forth, back) in interval.bytes.items():
        sums = pair.sums[span]
        sums[0] += sign * forth
        sums[1] += sign * back


def _bytes(pair: Pair) -> int:
    return pair.forth.bytes + pair.back.bytes
