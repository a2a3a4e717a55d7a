"""Reads windows back, batch by batch, and sums up here: Redis counts with floats.

A window is one hash, so it is fetched whole whatever is selected of it; only windows
of probes that are not asked for stay where they are. A probe's fields are much the same
in every window, so what a field means is found once in a while, not once a record.
"""

from collections.abc import Callable, Iterator, Sequence

from wakizashi.center.backend import SUMS, Buckets, Row, Values
from wakizashi.center.folding import Fold
from wakizashi.center.missing import missing
from wakizashi.center.redis.hashes import (
    Command,
    Keys,
    decode_ledgers,
    decode_names,
    decode_numbers,
    decode_traffic,
    period,
)
from wakizashi.center.redis.nodes import Nodes
from wakizashi.center.selection import Selection
from wakizashi.errors import WakizashiError
from wakizashi.model import LedgerRecord, LedgerSum

BATCH_FIELDS = 50_000
"""About so many fields are read with one pipeline: some 10 MB."""
KNOWN_FIELDS = 100_000
"""About so many fields of a probe are remembered; some 30 MB."""
_BATCH_WINDOWS, _BATCH_HOURS = 1_000, 12
_FIELDS = {"probe": 0, "probeIP": 1, "srcIP": 2, "dstIP": 3}

_Hash = list[bytes]
"""Fields and values by turns."""
_Total = list[int]
"""Of what is summed up."""
_UNWANTED: _Total = []
"""Instead of the total of what is not selected."""


class Reader:
    """What the backend reads with; may be used on several threads.

    Args:
        shown: where the nodes are, for messages.
    """

    def __init__(self, nodes: Nodes, keys: Keys, shown: str) -> None:
        self._nodes, self._keys, self._shown = nodes, keys, shown

    def _hours(self, since_ms: int, until_ms: int) -> list[int]:
        """The periods that have something, oldest first."""
        keys = self._keys
        ask: list[Command] = [
            ("EXISTS", keys.periods),
            ("ZRANGEBYSCORE", keys.periods, period(since_ms), f"({until_ms}"),
        ]
        ((exists, hours),) = self._nodes.run([(keys.periods, ask)])
        if not exists:
            raise missing(f"backendConfig.table: {self._shown} has no {keys.database}:{keys.table}")
        return list(map(int, hours))

    def _windows(
        self,
        since_ms: int,
        until_ms: int,
        name: Callable[[str, int], str],
        selection: Selection | None = None,
    ) -> Iterator[tuple[str, int, _Hash]]:
        """Probe, start and hash ``name(probe, start)`` of each window, oldest first."""
        size = 16
        hours = self._hours(since_ms, until_ms)
        while hours:
            some, hours = hours[:_BATCH_HOURS], hours[_BATCH_HOURS:]
            starts = self._starts(some, since_ms, until_ms, selection)
            while starts:
                batch, starts = starts[:size], starts[size:]
                wanted = [name(probe, start) for start, probe in batch]
                replies = self._nodes.run([(key, [("HGETALL", key)]) for key in wanted])
                for (start, probe), (flat,) in zip(batch, replies, strict=True):
                    yield probe, start, flat
                largest = max(len(flat) // 2 for (flat,) in replies)
                size = max(1, min(_BATCH_WINDOWS, BATCH_FIELDS // max(1, largest)))

    def _starts(
        self, hours: Sequence[int], since_ms: int, until_ms: int, selection: Selection | None
    ) -> list[tuple[int, str]]:
        """Start and probe of the windows in some hours, oldest first."""
        keys = self._keys
        sets = [keys.probes(hour) for hour in hours]
        probes = [
            (probe, hour)
            for hour, (members,) in zip(
                hours, self._nodes.run([(key, [("SMEMBERS", key)]) for key in sets]), strict=True
            )
            for probe in (member.decode() for member in members)
            if selection is None or selection.may_hold(probe)
        ]
        indexes = [keys.index(probe, hour) for probe, hour in probes]
        found = self._nodes.run(
            [(key, [("ZRANGEBYSCORE", key, since_ms, f"({until_ms}")]) for key in indexes]
        )
        return sorted(
            (int(start), probe)
            for (probe, _), (reply,) in zip(probes, found, strict=True)
            for start in reply
        )

    def traffic(self, since_ms: int, until_ms: int, selection: Selection) -> Iterator[Row]:
        """All records, oldest first."""
        name = self._keys.window
        for probe, start, flat in self._windows(since_ms, until_ms, name, selection):
            try:
                records = list(decode_traffic(probe, start, _pairs(flat)))
            except ValueError as error:
                raise self._foreign(name(probe, start)) from error
            for record in records:
                if not selection.clauses or selection.holds(record[1:5]):
                    yield record._asdict()

    def buckets(
        self,
        since_ms: int,
        until_ms: int,
        by: Sequence[str],
        step_ms: int,
        selection: Selection,
        sums: Sequence[str],
    ) -> Buckets:
        """Exact sums by bucket, then by values; numbers in the order of ``SUMS``."""
        name = self._keys.window
        totals = _Totals(by, selection, [part for part, each in enumerate(SUMS) if each in sums])
        bucket = None
        for probe, start, flat in self._windows(since_ms, until_ms, name, selection):
            if start - start % step_ms != bucket:
                if bucket is not None:
                    yield bucket, totals.taken()
                bucket = start - start % step_ms
            try:
                totals.add(probe, flat)
            except ValueError as error:
                raise self._foreign(name(probe, start)) from error
        if bucket is not None:
            yield bucket, totals.taken()

    def ledgers(self, since_ms: int, until_ms: int) -> Iterator[LedgerRecord]:
        """All ledgers, oldest first."""
        name = self._keys.ledger
        for probe, start, flat in self._windows(since_ms, until_ms, name):
            try:
                records = list(decode_ledgers(probe, start, _pairs(flat)))
            except ValueError as error:
                raise self._foreign(name(probe, start)) from error
            yield from records

    def ledger_sums(self, since_ms: int, until_ms: int) -> Iterator[LedgerSum]:
        """The ledgers summed up, by probe and device."""
        name, fold = self._keys.ledger, Fold()
        for probe, start, flat in self._windows(since_ms, until_ms, name):
            try:
                for device, number, duration, windows, numbers in decode_numbers(_pairs(flat)):
                    fold.add_one(
                        start,
                        probe,
                        device,
                        number=number,
                        duration=duration,
                        windows=windows,
                        numbers=numbers,
                    )
            except ValueError as error:
                raise self._foreign(name(probe, start)) from error
        yield from fold.sums()

    def _foreign(self, key: str) -> WakizashiError:
        return WakizashiError(
            f"backendConfig.redisConfig.url: {self._shown}: {key} holds what no center has "
            "written; remove the key"
        )


class _Totals:
    """Sums, taken bucket by bucket. What is done for each record is done by the million.

    Args:
        by: what is summed up by.
        selection: which records.
        parts: which of a value's two numbers are summed up.
    """

    def __init__(self, by: Sequence[str], selection: Selection, parts: Sequence[int]) -> None:
        self._selection, self._parts = selection, parts
        self._numbers = [_FIELDS[key] for key in by]
        self._keys: dict[str, dict[bytes, Values | None]] = {}
        """By probe and field; None where it is not selected."""
        self._found: dict[Values, _Total] = {}
        self._places: dict[str, dict[bytes, _Total]] = {}
        """The totals that a probe's fields count towards."""

    def taken(self) -> dict[Values, _Total]:
        """The sums; others begin."""
        found, self._found, self._places = self._found, {}, {}
        return found

    def add(self, probe: str, flat: _Hash) -> None:
        """Add a window.

        Raises:
            ValueError: there is something in it that is none of ours.
        """
        both, part = len(self._parts) > 1, 2 * self._parts[0]
        places = self._places.setdefault(probe, {})
        if len(places) > KNOWN_FIELDS:
            places.clear()
        for field, value in _pairs(flat):
            total = places.get(field)
            if total is None:
                total = places[field] = self._total(probe, field)
            if total is _UNWANTED:
                continue
            if both:
                size, packets = value.split(b" ")
                total[0] += int(size)
                total[1] += int(packets)
            else:
                total[0] += int(value.partition(b" ")[part])

    def _total(self, probe: str, field: bytes) -> _Total:
        keys = self._keys.setdefault(probe, {})
        if field not in keys:
            if len(keys) > KNOWN_FIELDS:
                keys.clear()
            names = (probe, *decode_names(field))
            held = not self._selection.clauses or self._selection.holds(names)
            keys[field] = tuple(names[number] for number in self._numbers) if held else None
        key = keys[field]
        if key is None:
            return _UNWANTED
        return self._found.setdefault(key, [0] * len(self._parts))


def _pairs(flat: _Hash) -> Iterator[tuple[bytes, bytes]]:
    by_turns = iter(flat)
    return zip(by_turns, by_turns, strict=True)
