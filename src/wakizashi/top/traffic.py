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
MOST_PAIRS = 16_384
MOST_DEVICES = 1_024
OTHER_DEVICES = "(gone)"
"""The devices that were forgotten, as one."""

_NOTHING = Tally()
_OTHER = bytes(4)


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
    spark: tuple[float, ...] = ()
    """Bytes a second both ways, of each interval, the newest last."""


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


@dataclass(slots=True, eq=False)
class _Pair:
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


@dataclass(slots=True)
class _Interval:
    seconds: float
    bytes: dict[_Pair, tuple[int, int]] = field(default_factory=dict)


class Traffic:
    """What has passed since the start.

    Args:
        interval_seconds: between windows.
        sparks: how many intervals a sparkline goes back.
        most_pairs: to remember.
    """

    def __init__(
        self, interval_seconds: float, *, sparks: int = 40, most_pairs: int = MOST_PAIRS
    ) -> None:
        self._interval_seconds = interval_seconds
        self._counts = [max(1, math.ceil(span / interval_seconds)) for span in SPANS_SECONDS]
        self._spans = tuple(count * interval_seconds for count in self._counts)
        self._sparks, self._most_pairs = sparks, most_pairs
        self._intervals: deque[_Interval] = deque(maxlen=max(sparks, *self._counts))
        self._pairs: dict[tuple[str, bytes, bytes], _Pair] = {}
        self._devices: dict[str, Ledger] = {}
        self._seconds = 0.0
        self._time_ms = 0

    def add(self, window: Window, seconds: float) -> None:
        """The next interval; ``seconds`` is how long it was."""
        self._forget()
        interval = _Interval(seconds)
        for flow in window.flows:
            if flow.source != _OTHER or flow.destination != _OTHER:
                self._count(window.devices[flow.device].name, flow, interval.bytes)
        for device in window.devices:
            self._devices[device.name] = self._devices.get(device.name, Ledger()) + device.ledger
        self._slide(interval)
        self._seconds += seconds
        self._time_ms = window.end_ms

    def _count(self, device: str, flow: Flow, passed: dict[_Pair, tuple[int, int]]) -> None:
        forth = flow.source <= flow.destination
        ends = (flow.source, flow.destination) if forth else (flow.destination, flow.source)
        key = (device, *ends)
        pair = self._pairs.get(key)
        if pair is None:
            sums = tuple([0, 0] for _ in self._counts)
            pair = self._pairs[key] = _Pair(device, ends, sums)
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

    def _slide(self, interval: _Interval) -> None:
        for span, count in enumerate(self._counts):
            if len(self._intervals) >= count:
                for pair, (forth, back) in self._intervals[-count].bytes.items():
                    pair.sums[span][0] -= forth
                    pair.sums[span][1] -= back
            for pair, (forth, back) in interval.bytes.items():
                pair.sums[span][0] += forth
                pair.sums[span][1] += back
        self._intervals.append(interval)

    def _forget(self) -> None:
        """Once there are too many, a tenth more than that, so that it is not at each interval."""
        if len(self._devices) > MOST_DEVICES:
            names = {pair.device for interval in self._intervals for pair in interval.bytes}
            for name in [n for n in self._devices if n not in names and n != OTHER_DEVICES]:
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

    def picture(self, *, sparks: bool = False) -> Picture:
        """All of it now, with sparklines if wanted."""
        lengths = [self._last(count) for count in self._counts]
        drawn = self._drawn() if sparks else {}
        return Picture(
            time_ms=self._time_ms,
            seconds=self._seconds,
            interval_seconds=self._interval_seconds,
            spans=self._spans,
            devices=tuple(sorted(self._devices.items())),
            rows=tuple(self._row(pair, lengths, drawn) for pair in self._pairs.values()),
        )

    def of(self, window: Window) -> list[tuple[Row, tuple[Tally, Tally]]]:
        """The pairs that the last window has, and what passed in it: as a row's totals."""
        lengths = [self._last(count) for count in self._counts]
        passed: dict[_Pair, list[Tally]] = {}
        for flow in window.flows:
            low, high = sorted((flow.source, flow.destination))
            pair = self._pairs.get((window.devices[flow.device].name, low, high))
            if pair is not None:
                tallies = passed.setdefault(pair, [_NOTHING, _NOTHING])
                tallies[(flow.source != low) != pair.swapped] += Tally(flow.packets, flow.size)
        return [
            (self._row(pair, lengths, {}), (tallies[0], tallies[1]))
            for pair, tallies in passed.items()
        ]

    def _last(self, count: int) -> float:
        """How long the last intervals were together."""
        recent = list(self._intervals)[-count:]
        return sum(interval.seconds for interval in recent) or 1.0

    def _drawn(self) -> dict[_Pair, list[float]]:
        recent = list(self._intervals)[-self._sparks :]
        drawn: dict[_Pair, list[float]] = {}
        for place, interval in enumerate(recent, self._sparks - len(recent)):
            for pair, (forth, back) in interval.bytes.items():
                values = drawn.setdefault(pair, [0.0] * self._sparks)
                values[place] = (forth + back) / (interval.seconds or 1.0)
        return drawn

    def _row(self, pair: _Pair, lengths: Sequence[float], drawn: dict[_Pair, list[float]]) -> Row:
        rates = [
            (forth / length, back / length)
            for (forth, back), length in zip(pair.sums, lengths, strict=True)
        ]
        totals, ends = (pair.forth, pair.back), pair.ends
        if pair.swapped:
            rates = [(back, forth) for forth, back in rates]
            totals, ends = (totals[1], totals[0]), (ends[1], ends[0])
        spark = tuple(drawn.get(pair, ()))
        return Row(pair.device, ends, pair.direction, tuple(rates), totals, spark)


def _bytes(pair: _Pair) -> int:
    return pair.forth.bytes + pair.back.bytes
