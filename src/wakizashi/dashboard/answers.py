"""Questions put to a backend and to the names. Called on worker threads, several at a time."""

import csv
import io
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from ipaddress import ip_address
from typing import Any

from wakizashi import __version__
from wakizashi.center.backend import BY_KEYS, SUMS, Backend, Where
from wakizashi.dashboard import fleet, parameters, span, steps
from wakizashi.dashboard.gathering import Gathered, Question, Reader, gathered
from wakizashi.dashboard.names import Labels
from wakizashi.dashboard.parameters import Selection
from wakizashi.dashboard.river import Key, Tallies, key_of, largest, stacked, tallied
from wakizashi.model import MAX_TIME_MS, LedgerSum

PAIR = ("srcIP", "dstIP")
RECENT_MS = 3 * 86_400_000
"""Of a longer span so much of its end tells of its windows: a probe is alive for up to two of its
windows after its last, and a window is a day at most."""
SPARK_POINTS = 40
"""Buckets of a sparkline, at most."""
EXPORT_LINES = 500
"""At a time, so that a large export holds up nobody."""
FLEET_MS = 900_000
"""How far back the fleet of the last while reaches at least: a window may be longer than the while."""
LATER_MS = 3_600_000
"""How far back a river of the past looks for who is alive."""

Document = dict[str, Any]


class Answers:
    """What the routes answer.

    Args:
        backend: is read only, from several threads.
        labels: what addresses are called.
        table: the configured table's name.
        clock: ms of Unix time.
    """

    def __init__(
        self,
        backend: Backend,
        labels: Labels,
        *,
        table: str,
        clock: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._backend, self._labels, self._table, self._clock = backend, labels, table, clock

    def now(self) -> int:
        """Ms of Unix time."""
        return self._clock()

    def about(self) -> Document:
        """What this is, and what it reads."""
        return {
            "version": __version__,
            "backend": self._backend.describe,
            "table": self._table,
            "names": self._labels.sources,
            "now": self._clock(),
        }

    def river(self, asked: parameters.River) -> Document:
        """The largest by time, and the rest."""
        self._labels.refresh()
        chosen, now = asked.selection, self._clock()
        since, until = chosen.since_ms, chosen.until_ms
        ledgers = self._ledgers(since, until)
        step = steps.step(since, until, asked.points, fleet.longest_window_ms(ledgers))
        if chosen.rolling:  # a first bucket that is cut off would look like less traffic
            since -= since % step
            chosen = replace(chosen, since_ms=since)
        fields = parameters.BY[asked.by]
        called: dict[str, str] = {}  # a name that comes meanwhile must not divide a service

        def service(values: Key) -> Key:
            (address,) = values
            if address not in called:
                called[address] = self._labels.label(address)
            return (called[address],)

        key = service if asked.by == "services" else None
        question = Question(fields, fields, step, SUMS[:1], key)
        found = gathered(self._reader(chosen), question, whole=True)
        top = largest(found.totals)[: asked.top]
        if asked.by == "services":
            choices = [{"probeIP": each} for each, name in called.items() if (name,) in top]
        else:
            choices = [dict(zip(fields, each, strict=True)) for each in top]
        courses = found.courses(top, choices)
        describe = {
            "pairs": self._pair,
            "services": lambda each: _one("service", each),
            "probes": lambda each: _one("probe", each),
        }[asked.by]
        return {
            "since": since,
            "until": until,
            "step": step,
            "now": now,
            "settled": self._settled(ledgers, until, now),
            "by": asked.by,
            **stacked(courses, found.whole, len(found.totals), describe),
        }

    def span(self, asked: parameters.Span) -> Document:
        """Flows, matrix and talkers."""
        self._labels.refresh()
        found = self._gathered(asked.selection)
        tallies = found.totals
        by_pair, label = span.pairs(tallies), self._labels.label
        return {
            **self._head(asked.selection),
            "total": span.total(by_pair),
            "pairs": len(by_pair),
            "flows": span.flows(by_pair, asked.links, label),
            "matrix": span.matrix(tallies, asked.peers, label),
            "talkers": self._talkers(asked, found),
        }

    def talkers(self, asked: parameters.Span) -> Document:
        """The table alone."""
        self._labels.refresh()
        found = self._gathered(asked.selection)
        return {**self._head(asked.selection), "talkers": self._talkers(asked, found)}

    def fleet(self, chosen: Selection) -> Document:
        """The health of the probes that were seen."""
        now = self._clock()
        wanted, since = set(chosen.probes), chosen.since_ms
        if chosen.rolling:
            since = min(since, chosen.until_ms - FLEET_MS)
        sums = self._backend.ledger_sums(since, chosen.until_ms)
        seen = [one for one in sums if not wanted or one.probe in wanted]
        names = {one.probe for one in seen}
        later = (
            [
                one
                for one in self._backend.ledger_sums(chosen.until_ms, MAX_TIME_MS)
                if one.probe in names
            ]
            if chosen.until_ms <= now
            else []
        )
        return {"now": now, "total": fleet.total(seen), "probes": fleet.probes(seen, later, now)}

    def export(self, chosen: Selection) -> Iterator[str]:
        """All pairs as CSV, some lines at a time; the backend is read before this returns.

        As ``wakizashi query --by srcIP,dstIP --format csv`` has them, with names behind.
        """
        self._labels.refresh()
        return self._lines(tallied(self._reader(chosen).rows(PAIR), key_of(PAIR)))

    def _lines(self, by_pair: Tallies) -> Iterator[str]:
        order = largest(by_pair)
        head = [["srcIP", "dstIP", "size", "packets", "srcName", "dstName"]]
        for first in range(0, max(1, len(order)), EXPORT_LINES):
            out = io.StringIO()
            writer = csv.writer(out, lineterminator="\n")
            writer.writerows(head if first == 0 else ())
            for pair in order[first : first + EXPORT_LINES]:
                names = [harmless(self._labels.name(end)) for end in pair]
                writer.writerow([*pair, *by_pair[pair], *names])
            yield out.getvalue()

    # -- parts -------------------------------------------------------------------------------

    def _head(self, chosen: Selection) -> Document:
        return {"since": chosen.since_ms, "until": chosen.until_ms, "now": self._clock()}

    def _reader(self, chosen: Selection) -> Reader:
        return Reader(self._backend, chosen.since_ms, chosen.until_ms, self._where(chosen))

    def _ledgers(self, since: int, until: int) -> list[LedgerSum]:
        """The sums of a span's last ledgers, which tell how long windows are and how far they are."""
        recent = list(self._backend.ledger_sums(max(since, until - RECENT_MS), until))
        if recent or since >= until - RECENT_MS:
            return recent
        return list(self._backend.ledger_sums(since, until))

    def _gathered(self, chosen: Selection) -> Gathered:
        """All sums of the span, and what small courses of pairs are made of."""
        since, until = chosen.since_ms, chosen.until_ms
        longest = fleet.longest_window_ms(self._ledgers(since, until))
        step = steps.step(since, until, SPARK_POINTS, longest)
        question = Question(BY_KEYS, PAIR, step)
        return gathered(self._reader(chosen), question)

    def _talkers(self, asked: parameters.Span, found: Gathered) -> Document:
        by_pair = span.pairs(found.totals)
        # To find a name is to want them all; else only who is shown is asked for.
        called = self._labels.name if asked.talkers.find else self._labels.known
        table = span.chosen(by_pair, asked.talkers, called)
        pairs = [dict(zip(PAIR, pair, strict=True)) for pair in table.shown]
        sparks = found.courses(table.shown, pairs)
        seconds = (asked.selection.until_ms - asked.selection.since_ms) / 1_000
        return span.talkers(found.totals, by_pair, table, sparks, seconds, self._labels.label)

    def _settled(self, sums: list[LedgerSum], until: int, now: int) -> int | None:
        recent = (
            [*self._backend.ledger_sums(max(until, now - LATER_MS), MAX_TIME_MS)]
            if until <= now
            else []
        )
        return fleet.settled([*sums, *recent], now)

    def _where(self, chosen: Selection) -> Where | None:
        """What the backend is asked for; None where nothing can be of it."""
        addresses = self._addresses(chosen)
        if chosen.services and not addresses:
            return None
        filters = (
            (chosen.probes, ("probe",)),
            (chosen.hosts, ("srcIP", "dstIP")),
            (chosen.sources, ("srcIP",)),
            (chosen.destinations, ("dstIP",)),
            (addresses, ("probeIP",)),
        )
        return [
            [{field: value} for value in values for field in fields]
            for values, fields in filters
            if values
        ]

    def _addresses(self, chosen: Selection) -> list[str]:
        """The probeIPs of the services: those that are called so, and those that are so."""
        found = [name for name in chosen.services if _is_address(name)]
        names = set(chosen.services).difference(found)
        if names:
            rows = self._backend.traffic(chosen.since_ms, chosen.until_ms, ("probeIP",))
            addresses = sorted(str(row["probeIP"]) for row in rows)
            found += [each for each in addresses if self._labels.name(each) in names]
        return list(dict.fromkeys(found))

    def _pair(self, pair: Key) -> Document:
        source, destination = pair
        return {
            "id": f"{source}>{destination}",
            "label": f"{self._labels.label(source)} → {self._labels.label(destination)}",
            "key": {"srcIP": source, "dstIP": destination},
        }


def harmless(name: str) -> str:
    """A name as a spreadsheet shows it, and does not reckon it."""
    return f"'{name}" if name[:1] in "=+-@\t\r" and name else name


def _one(kind: str, key: Key) -> Document:
    return {"id": key[0], "label": key[0], "key": {kind: key[0]}}


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
