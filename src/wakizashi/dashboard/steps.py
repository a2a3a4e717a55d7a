"""How long the buckets of time are into which a span is divided. Pure. All in ms of Unix time."""

from collections.abc import Iterator

SECOND, MINUTE, HOUR, DAY = 1_000, 60_000, 3_600_000, 86_400_000
NICE = (
    *(n * SECOND for n in (1, 2, 5, 10, 15, 30)),
    *(n * MINUTE for n in (1, 2, 5, 10, 15, 30)),
    *(n * HOUR for n in (1, 2, 3, 6, 12)),
    *(n * DAY for n in (1, 2, 7)),
)
"""Lengths that people read off an axis. Beyond the last they double, for spans of years."""


def step(since_ms: int, until_ms: int, points: int, window_ms: int = 0) -> int:
    """The shortest nice length with at most ``points`` (2 or more) buckets, none below ``window_ms``.

    A bucket shorter than the windows would be empty between two of them. But no longer than it
    takes for one bucket, should a window be longer than the span.
    """
    for length in _lengths():
        if buckets(since_ms, until_ms, length) > points:
            continue
        if length >= window_ms or length >= until_ms - since_ms:
            return length
    raise AssertionError("the lengths have no end")


def buckets(since_ms: int, until_ms: int, step_ms: int) -> int:
    """How many it takes to cover ``[since_ms, until_ms)``."""
    return -(-until_ms // step_ms) - since_ms // step_ms


def times(since_ms: int, until_ms: int, step_ms: int) -> list[int]:
    """The starts of the buckets that cover ``[since_ms, until_ms)``: multiples of ``step_ms``."""
    first = since_ms // step_ms * step_ms
    return list(range(first, until_ms, step_ms))


def _lengths() -> Iterator[int]:
    yield from NICE
    length = NICE[-1]
    while True:
        length *= 2
        yield length
