"""The river: what passed in each bucket of time, by who was largest, and all others as one. Pure."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any

from wakizashi.center.backend import SUMS, Row

Key = tuple[str, ...]
KeyOf = Callable[[Row], Key]
"""From a row to what it is counted by."""
Tallies = dict[Key, list[int]]
"""By key: bytes, and packets where both were asked for."""
Course = list[int]
"""Bytes in each bucket."""


def key_of(fields: Sequence[str]) -> KeyOf:
    """By the values of these fields."""
    get: Callable[[Row], Any] = itemgetter(*fields)
    return get if len(fields) > 1 else lambda row: (get(row),)


def tallied(rows: Iterable[Row], key: KeyOf, sums: Sequence[str] = SUMS) -> Tallies:
    """Sums of rows that have the same key."""
    found: Tallies = {}
    for row in rows:
        count(found, key(row), [int(row[name]) for name in sums])
    return found


def count(tallies: Tallies, key: Key, numbers: Sequence[int]) -> None:
    """Add to the tally of a key."""
    tally = tallies.get(key)
    if tally is None:
        tallies[key] = [*numbers]
    else:
        for place, number in enumerate(numbers):
            tally[place] += number


def largest(tallies: Tallies) -> list[Key]:
    """All keys, most bytes first; what is equal in the order of the keys, so always in the same."""
    return sorted(tallies, key=lambda key: ([-number for number in tallies[key]], key))


@dataclass(slots=True)
class Courses:
    """Courses by key, filled from rows with a ``timestamp``."""

    times: Sequence[int]
    """The starts of the buckets."""
    found: dict[Key, Course] = field(default_factory=dict)
    _places: dict[int, int] = field(init=False)

    def __post_init__(self) -> None:
        self._places = {time: place for place, time in enumerate(self.times)}

    def place(self, start_ms: int) -> int:
        """The number of the bucket that begins there."""
        return self._places[start_ms]

    def fill(self, rows: Iterable[Row], key: KeyOf) -> "Courses":
        """Add the rows."""
        for row in rows:
            self.get(key(row))[self.place(int(row["timestamp"]))] += int(row["size"])
        return self

    def get(self, key: Key) -> Course:
        """That of a key; nothing has passed unless rows say so."""
        course = self.found.get(key)
        if course is None:
            course = self.found[key] = [0] * len(self.times)
        return course

    def only(self, keys: Iterable[Key]) -> "Courses":
        """Those of some keys."""
        return Courses(self.times, {key: self.get(key) for key in keys})


def others(courses: Iterable[Course], everything: Course) -> Course:
    """What is in ``everything`` and in none of the courses.

    Never less than nothing: a window may have been stored, or deleted, between two readings.
    """
    left = everything
    for course in courses:
        left = [a - b for a, b in zip(left, course, strict=True)]
    return [max(0, number) for number in left]


def stacked(
    courses: Courses,
    everything: Course,
    count: int,
    describe: Callable[[Key], dict[str, Any]],
) -> dict[str, Any]:
    """``series``, ``other`` and ``total`` of the answer; in each bucket they add up.

    Args:
        courses: those that are shown.
        everything: all that passed.
        count: how many keys there are, shown or not.
        describe: ``id``, ``label`` and ``key`` of one.
    """
    other = others(courses.found.values(), everything)
    sums = {key: sum(course) for key, course in courses.found.items()}
    shown = sorted(sums, key=lambda key: (-sums[key], key))
    return {
        "times": list(courses.times),
        "series": [{**describe(key), **_document(courses.found[key])} for key in shown],
        "other": {"count": max(0, count - len(shown)), **_document(other)},
        "total": {"bytes": sum(sums.values()) + sum(other)},
    }


def _document(course: Course) -> dict[str, Any]:
    return {"bytes": course, "total": {"bytes": sum(course)}}
