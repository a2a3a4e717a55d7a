"""The river: what passed in each bucket of time, by who was largest, and all others as one. Pure."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from wakizashi.center.backend import Row

Key = tuple[str, ...]
Tallies = dict[Key, list[int]]
"""Bytes and packets by key."""


def tallied(rows: Iterable[Row], key: Callable[[Row], Key]) -> Tallies:
    """Sums of rows that have the same key."""
    found: Tallies = {}
    for row in rows:
        tally = found.setdefault(key(row), [0, 0])
        tally[0] += int(row["size"])
        tally[1] += int(row["packets"])
    return found


def largest(tallies: Tallies) -> list[Key]:
    """All keys, most bytes first; what is equal in the order of the keys, so always in the same."""
    return sorted(tallies, key=lambda key: (-tallies[key][0], -tallies[key][1], key))


@dataclass(slots=True)
class Course:
    """Bytes and packets in each bucket."""

    bytes: list[int]
    packets: list[int]

    @classmethod
    def of(cls, length: int) -> "Course":
        """With nothing in it."""
        return cls([0] * length, [0] * length)

    @property
    def total(self) -> dict[str, int]:
        """The sums."""
        return {"bytes": sum(self.bytes), "packets": sum(self.packets)}

    def document(self) -> dict[str, Any]:
        """As it is answered."""
        return {"bytes": self.bytes, "packets": self.packets, "total": self.total}


@dataclass(slots=True)
class Courses:
    """Courses by key, filled from rows with a ``timestamp``."""

    times: Sequence[int]
    found: dict[Key, Course] = field(default_factory=dict)

    def fill(self, rows: Iterable[Row], key: Callable[[Row], Key]) -> "Courses":
        """Add the rows."""
        place = {time: index for index, time in enumerate(self.times)}
        for row in rows:
            course = self.get(key(row))
            index = place[int(row["timestamp"])]
            course.bytes[index] += int(row["size"])
            course.packets[index] += int(row["packets"])
        return self

    def get(self, key: Key) -> Course:
        """That of a key; nothing has passed unless rows say so."""
        if key not in self.found:
            self.found[key] = Course.of(len(self.times))
        return self.found[key]


def others(courses: Iterable[Course], everything: Course) -> Course:
    """What is in ``everything`` and in none of the courses.

    Never less than nothing: a window may have been stored, or deleted, between two readings.
    """
    left = Course(list(everything.bytes), list(everything.packets))
    for course in courses:
        left.bytes = [a - b for a, b in zip(left.bytes, course.bytes, strict=True)]
        left.packets = [a - b for a, b in zip(left.packets, course.packets, strict=True)]
    left.bytes = [max(0, n) for n in left.bytes]
    left.packets = [max(0, n) for n in left.packets]
    return left


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
    sums = {key: course.total for key, course in courses.found.items()}
    shown = sorted(sums, key=lambda key: (-sums[key]["bytes"], -sums[key]["packets"], key))
    totals = [*sums.values(), other.total]
    return {
        "times": list(courses.times),
        "series": [{**describe(key), **courses.found[key].document()} for key in shown],
        "other": {"count": max(0, count - len(shown)), **other.document()},
        "total": {unit: sum(total[unit] for total in totals) for unit in ("bytes", "packets")},
    }
