"""Questions put to a backend and to the names. Called on worker threads, several at a time."""

import csv
import io
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from ipaddress import ip_address
from typing import Any

from wakizashi import __version__
from wakizashi.beside import beside
from wakizashi.center.backend import BY_KEYS, Backend, Row, Where
from wakizashi.dashboard import fleet, parameters, span, steps
from wakizashi.dashboard.names import Labels
from wakizashi.dashboard.parameters import Selection
from wakizashi.dashboard.river import Courses, Key, Tallies, largest, stacked, tallied
from wakizashi.model import MAX_TIME_MS, LedgerSum

PAIR = ("srcIP", "dstIP")
LONG_MS = 86_400_000
"""A span that is longer is read in two halves."""
MOST_NAMED = 100
MOST_UNSHOWN = 10
"""Pairs for each that is shown, up to which they are read too where more than 100 are shown."""
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
        sums = list(self._backend.ledger_sums(since, until))
        step = steps.step(since, until, asked.points, fleet.longest_window_ms(sums))
        if chosen.rolling:  # a first bucket that is cut off would look like less traffic
            since -= since % step
            chosen = replace(chosen, since_ms=since)
        where, fields = self._where(chosen), parameters.BY[asked.by]
        found = beside(lambda: list(self._rows(chosen, fields, where)))
        courses, whole = (Courses(steps.times(since, until, step)) for _ in range(2))
        everything = whole.get(())
        whole.fill(self._rows(chosen, (), where, step), lambda _: ())
        called: dict[str, str] = {}  # a name that comes meanwhile must not divide a service

        def key(row: Row) -> Key:
            values = tuple(str(row[name]) for name in fields)
            if asked.by != "services":
                return values
            if values[0] not in called:
                called[values[0]] = self._labels.label(values[0])
            return (called[values[0]],)

        totals = tallied(found(), key)
        top = largest(totals)[: asked.top]
        if top:
            if asked.by == "services":
                parts = [{"probeIP": each} for each, name in called.items() if (name,) in top]
            else:
                parts = [dict(zip(fields, each, strict=True)) for each in top]
            for each in top:
                courses.get(each)
            courses.fill(self._rows(chosen, fields, [*(where or ()), parts], step), key)
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
            "settled": self._settled(sums, until, now),
            "by": asked.by,
            **stacked(courses, everything, len(totals), describe),
        }

    def span(self, asked: parameters.Span) -> Document:
        """Flows, matrix and talkers."""
        self._labels.refresh()
        where = self._where(asked.selection)
        tallies, ledgers = self._tallies(asked.selection, where)
        by_pair, label = span.pairs(tallies), self._labels.label
        return {
            **self._head(asked.selection),
            "total": span.total(by_pair),
            "pairs": len(by_pair),
            "flows": span.flows(by_pair, asked.links, label),
            "matrix": span.matrix(tallies, asked.peers, label),
            "talkers": self._talkers(asked, where, tallies, ledgers),
        }

    def talkers(self, asked: parameters.Span) -> Document:
        """The table alone."""
        self._labels.refresh()
        where = self._where(asked.selection)
        tallies, ledgers = self._tallies(asked.selection, where)
        return {
            **self._head(asked.selection),
            "talkers": self._talkers(asked, where, tallies, ledgers),
        }

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
        rows = self._rows(chosen, PAIR, self._where(chosen))
        return self._lines(tallied(rows, lambda row: (str(row["srcIP"]), str(row["dstIP"]))))

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

    def _rows(
        self, chosen: Selection, by: tuple[str, ...], where: Where | None, step: int = 0
    ) -> Iterator[Row]:
        """Sums by key, of which a long span has some keys twice: two halves are read at a time."""
        if where is None:
            return
        since, until = chosen.since_ms, chosen.until_ms
        cut = (since + until) // 2 if until - since > LONG_MS else until
        read = partial(self._backend.traffic, by=by, step_ms=step, where=where)
        rest = beside(lambda: list(read(cut, until))) if cut < until else None
        yield from read(since, cut)
        if rest is not None:
            yield from rest()

    def _tallies(self, chosen: Selection, where: Where | None) -> tuple[Tallies, list[LedgerSum]]:
        """All sums of the span, and its ledgers, which tell how long a bucket has to be."""
        since, until = chosen.since_ms, chosen.until_ms
        ledgers = beside(lambda: list(self._backend.ledger_sums(since, until)))
        rows = self._rows(chosen, BY_KEYS, where)
        tallies = tallied(rows, lambda row: tuple(str(row[name]) for name in BY_KEYS))
        return tallies, ledgers()

    def _among(self, where: Where | None, shown: Sequence[Key], pairs: Tallies) -> Where:
        """To those that are shown; of most of them it is quicker to read them all."""
        clauses = list(where or ())
        if len(shown) <= MOST_NAMED or len(pairs) > MOST_UNSHOWN * len(shown):
            clauses.append([dict(zip(PAIR, pair, strict=True)) for pair in shown])
        return clauses

    def _talkers(
        self,
        asked: parameters.Span,
        where: Where | None,
        tallies: Tallies,
        ledgers: list[LedgerSum],
    ) -> Document:
        chosen, by_pair = asked.selection, span.pairs(tallies)
        since, until = chosen.since_ms, chosen.until_ms
        # To find a name is to want them all; else only who is shown is asked for.
        called = self._labels.name if asked.talkers.find else self._labels.known
        table = span.chosen(by_pair, asked.talkers, called)
        step = steps.step(since, until, SPARK_POINTS, fleet.longest_window_ms(ledgers))
        sparks = Courses(steps.times(since, until, step))
        if table.shown:
            rows = self._rows(chosen, PAIR, self._among(where, table.shown, by_pair), step)
            sparks.fill(rows, lambda row: (str(row["srcIP"]), str(row["dstIP"])))
        seconds = (until - since) / 1_000
        return span.talkers(tallies, by_pair, table, sparks, seconds, self._labels.label)

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
