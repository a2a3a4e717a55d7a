"""Traffic that two probes see: what the sender's counted going out, the receiver's coming in. Pure.

In: which addresses are whose, the spans each probe watched, points of traffic.
Out: for each pair of addresses both sums, over the time that both watched.

A point is going out where its source is an address of the probe, some point's
probeIP, and coming in where its destination is. An address that two probes call theirs (a bridge's, a
loopback's, two probes on one host) tells nothing, and is left out.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from wakizashi.audit.windows import common
from wakizashi.model import Tally

DIFFERS_PART = 20
"""A difference beyond one in so many is told. Offloads alone come to a few in a hundred."""
DIFFERS_BYTES = 100_000
"""Packets in flight, and clocks that are a little apart, at both ends."""


NO_ADDRESS = "0.0.0.0"
"""The probeIP of a device without address."""


@dataclass(slots=True)
class Pair:
    """One direction between two probes' addresses."""

    sender: str
    receiver: str
    source: str
    destination: str
    since_ms: int
    until_ms: int
    watched_ms: int
    sent: Tally = field(default_factory=Tally)
    received: Tally = field(default_factory=Tally)

    @property
    def differs(self) -> bool:
        """Whether the difference is beyond what edges and offloads explain."""
        difference = abs(self.sent.bytes - self.received.bytes)
        most = max(self.sent.bytes, self.received.bytes)
        return difference > DIFFERS_BYTES and difference * DIFFERS_PART > most


@dataclass(slots=True)
class _Spans:
    """When two probes both watched."""

    starts: list[int] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)

    def hold(self, start_ms: int) -> bool:
        """Whether a window that starts then is in one; edges are edges of windows of both."""
        position = bisect_right(self.starts, start_ms) - 1
        return position >= 0 and start_ms < self.ends[position]


def owners(addresses: Iterable[tuple[str, str]]) -> dict[str, str | None]:
    """From (probe, probeIP): whose an address is; None if it is of several."""
    found: dict[str, str | None] = {}
    for probe, address in addresses:
        if address != NO_ADDRESS:
            found[address] = probe if found.get(address, probe) == probe else None
    return found


class Pairs:
    """Sums of what goes between addresses of two probes."""

    def __init__(
        self, owner: Mapping[str, str | None], runs: Mapping[str, list[list[int]]]
    ) -> None:
        self._owner, self._runs = owner, runs
        self._spans: dict[tuple[str, str], _Spans] = {}
        self._pairs: dict[tuple[str, str], Pair] = {}

    def point(self, start_ms: int, probe: str, ends: tuple[str, str], tally: Tally) -> None:
        """Take a point; ``ends`` are its source and destination."""
        source, destination = ends
        sender, receiver = self._owner.get(source), self._owner.get(destination)
        if sender is None or receiver is None or sender == receiver:
            return
        if probe not in (sender, receiver):
            return
        spans = self._between(sender, receiver)
        if not spans.hold(start_ms):
            return
        pair = self._pairs.get((source, destination))
        if pair is None:
            watched = sum(b - a for a, b in zip(spans.starts, spans.ends, strict=True))
            span = spans.starts[0], spans.ends[-1]
            pair = Pair(sender, receiver, source, destination, *span, watched)
            self._pairs[source, destination] = pair
        if probe == sender:
            pair.sent += tally
        else:
            pair.received += tally

    def _between(self, sender: str, receiver: str) -> _Spans:
        key = min(sender, receiver), max(sender, receiver)
        if key not in self._spans:
            spans = common(self._runs.get(key[0], []), self._runs.get(key[1], []))
            self._spans[key] = _Spans([a for a, _ in spans], [b for _, b in spans])
        return self._spans[key]

    def found(self) -> Iterator[Pair]:
        """All, those with the most bytes first."""
        yield from sorted(
            self._pairs.values(),
            key=lambda p: (-max(p.sent.bytes, p.received.bytes), p.source, p.destination),
        )
