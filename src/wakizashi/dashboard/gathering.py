"""What passed by key and by bucket: the sums behind the river and behind the table's small courses.

A database that sums up is asked three small questions: by key, by bucket for all together, and
by bucket for the few keys that are shown. Where all records are read to be summed up here, one
reading answers all of them.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Self

from wakizashi.beside import beside
from wakizashi.center.backend import SUMS, Backend, Buckets, Row, Where
from wakizashi.dashboard import steps
from wakizashi.dashboard.river import Course, Courses, Key, KeyOf, Tallies, count, key_of, tallied

LONG_MS = 86_400_000
"""A span that is longer is read in two halves."""
MOST_NAMED = 100
MOST_UNSHOWN = 10
"""Keys for each that is shown, up to which they are read too where more than 100 are shown."""
MOST_KEPT = 2_000_000
"""Numbers of all courses of one reading, beyond which they are read again; some 100 MB."""

_SIZE = SUMS[:1]


class Reader:
    """Reads the records of a span, as far as they are selected.

    Args:
        backend: is asked from two threads.
        since_ms: milliseconds of Unix time; included.
        until_ms: the same; not included.
        where: which records; None: none at all.
    """

    def __init__(self, backend: Backend, since_ms: int, until_ms: int, where: Where | None) -> None:
        self._backend, self._where = backend, where
        self.since_ms, self.until_ms = since_ms, until_ms

    def buckets(self, by: Sequence[str], step: int, sums: Sequence[str]) -> Buckets | None:
        """One reading, where it costs less than several questions."""
        if self._where is None:
            return None
        since, until = self.since_ms, self.until_ms
        return self._backend.by_bucket(since, until, by, step, where=self._where, sums=sums)

    def rows(
        self,
        by: Sequence[str],
        step: int = 0,
        *,
        sums: Sequence[str] = SUMS,
        among: Sequence[Mapping[str, str]] | None = None,
    ) -> Iterator[Row]:
        """Sums by key, of which a long span has some keys twice: two halves are read at a time.

        Args:
            by: as of :meth:`wakizashi.center.backend.Backend.traffic`.
            step: length of buckets in ms, or 0.
            sums: as there.
            among: only records that one of these agrees with.
        """
        if self._where is None:
            return
        where = [*self._where, *([] if among is None else [among])]

        def read(since: int, until: int) -> Iterator[Row]:
            return self._backend.traffic(since, until, by, step_ms=step, where=where, sums=sums)

        since, until = self.since_ms, self.until_ms
        cut = (since + until) // 2 if until - since > LONG_MS else until
        rest = beside(lambda: list(read(cut, until))) if cut < until else None
        yield from read(since, cut)
        if rest is not None:
            yield from rest()


@dataclass(frozen=True, slots=True)
class Question:
    """What is gathered."""

    by: tuple[str, ...]
    """The fields that are totalled by."""
    course_by: tuple[str, ...]
    """Those of the fields that courses are made by: all, or at least two."""
    step: int
    """Length of the buckets in ms."""
    sums: Sequence[str] = SUMS
    """Of the totals, ``size`` first; courses have nothing else."""
    key: Callable[[Key], Key] | None = None
    """From the values of the fields to what they are counted by; None: they themselves. Only where
    courses are made by all fields."""

    def of_row(self, fields: Sequence[str]) -> KeyOf:
        """From a row to what it is counted by."""
        values, key = key_of(fields), self.key
        return values if key is None else lambda row: key(values(row))


class Gathered:
    """Sums and courses, by several questions.

    Attributes:
        totals: by key.
        whole: bytes of all together in each bucket.
    """

    totals: Tallies
    whole: Course

    def __init__(self, reader: Reader, question: Question) -> None:
        self._reader, self._question = reader, question
        self.times = steps.times(reader.since_ms, reader.until_ms, question.step)

    def ask(self, *, whole: bool) -> Self:
        """Ask for the totals, and beside for ``whole``."""
        reader, question = self._reader, self._question

        def together() -> Course:
            rows = reader.rows((), question.step, sums=_SIZE)
            return Courses(self.times).fill(rows, lambda _: ()).get(())

        found = beside(together) if whole else list[int]
        rows = reader.rows(question.by, sums=question.sums)
        self.totals = tallied(rows, question.of_row(question.by), question.sums)
        self.whole = found()
        return self

    def courses(self, shown: Sequence[Key], choices: Sequence[Mapping[str, str]]) -> Courses:
        """Those of some keys, whose records agree with one of the choices."""
        question, courses = self._question, Courses(self.times)
        if shown:
            # Of most of them it is quicker to read them all.
            named = len(shown) <= MOST_NAMED or len(self.totals) > MOST_UNSHOWN * len(shown)
            rows = self._reader.rows(
                question.course_by, question.step, sums=_SIZE, among=choices if named else None
            )
            courses.fill(rows, question.of_row(question.course_by))
        return courses.only(shown)


class GatheredAtOnce(Gathered):
    """The same by one reading."""

    def fold(self, buckets: Buckets) -> Self:
        """Take all of it from the buckets."""
        question, courses = self._question, Courses(self.times)
        pick = None if question.course_by == question.by else _picked(question)
        kept, most = True, MOST_KEPT // len(self.times)
        self.totals, self.whole = {}, [0] * len(self.times)
        for start, found in buckets:
            bucket = courses.place(start)
            # For each pair in each bucket, so for hundreds of thousands.
            for values, numbers in found.items():
                key = values if question.key is None else question.key(values)
                count(self.totals, key, numbers)
                self.whole[bucket] += numbers[0]
                if kept:
                    courses.get(key if pick is None else pick(values))[bucket] += numbers[0]
                    if len(courses.found) > most:
                        kept = False
                        courses.found.clear()
        self._courses = courses if kept else None
        return self

    def courses(self, shown: Sequence[Key], choices: Sequence[Mapping[str, str]]) -> Courses:
        """Those that have been kept; else they are asked for."""
        if self._courses is None:
            return super().courses(shown, choices)
        return self._courses.only(shown)


def _picked(question: Question) -> Callable[[Key], Key]:
    return itemgetter(*map(question.by.index, question.course_by))


def gathered(reader: Reader, question: Question, *, whole: bool = False) -> Gathered:
    """Ask; for ``whole`` too, where it is wanted.

    Raises:
        WakizashiError: as :meth:`wakizashi.center.backend.Backend.traffic`.
    """
    buckets = reader.buckets(question.by, question.step, question.sums)
    if buckets is None:
        return Gathered(reader, question).ask(whole=whole)
    return GatheredAtOnce(reader, question).fold(buckets)
