"""Which points can't be stored: by halving what a backend refused for good.

Runs on a worker thread. The good points are stored on the way; nothing is
lost, for the windows with bad points are kept whole by the caller.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from wakizashi.errors import Permanent
from wakizashi.model import StoredWindow

MAX_SINGLE_POINTS = 64
"""Bad points of one call that are told apart; after that a refused window is bad as a whole.

Else a measurement whose fields have another type would cost two requests a point.
"""
MAX_WRITES = 1_000
"""Writes of one call; after that a refused part is bad with all its windows, however many."""

Isolated = dict[tuple[str, int], str]
"""The reason for each window, (probe, start_ms), that holds a bad point."""


def points(window: StoredWindow) -> int:
    """Number of points a window becomes."""
    return len(window.records) + len(window.ledgers)


def _split(window: StoredWindow, at: int) -> tuple[StoredWindow, StoredWindow]:
    """The first ``at`` points, records before ledgers, and the rest."""
    cut = max(0, at - len(window.records))
    return (
        replace(window, records=window.records[:at], ledgers=window.ledgers[:cut]),
        replace(window, records=window.records[at:], ledgers=window.ledgers[cut:]),
    )


def pieces(windows: Sequence[StoredWindow], limit: int) -> Iterator[list[StoredWindow]]:
    """Cut windows into lists of at most ``limit`` points, in order."""
    piece: list[StoredWindow] = []
    room = limit
    for window in windows:
        rest = window
        while points(rest) > room:
            head, rest = _split(rest, room)
            yield [*piece, head] if room else piece
            piece, room = [], limit
        piece.append(rest)
        room -= points(rest)
    if piece:
        yield piece


def isolate(
    write: Callable[[Sequence[StoredWindow]], None],
    windows: Sequence[StoredWindow],
    reason: str,
) -> tuple[Isolated, int]:
    """Write the good points of ``windows``, which were refused with ``reason``.

    Returns the windows with bad points, and the number of these.

    Raises:
        Retryable: the backend does not take anything now.
    """
    bad: Isolated = {}
    count = writes = 0
    stack: list[tuple[Sequence[StoredWindow], str]] = [(windows, reason)]
    while stack:
        part, why = stack.pop()
        full = [window for window in part if points(window)]
        total = sum(map(points, full))
        alone = total <= 1 or (len(full) == 1 and count >= MAX_SINGLE_POINTS)
        if alone or writes >= MAX_WRITES:
            bad |= {(window.probe, window.start_ms): why for window in full}
            count += total
            continue
        for half in reversed(halves(full)):
            try:
                writes += 1
                write(half)
            except Permanent as error:
                stack.append((half, str(error)))
    return bad, count


def halves(
    windows: Sequence[StoredWindow],
) -> tuple[Sequence[StoredWindow], Sequence[StoredWindow]]:
    """Cut windows that have at least two points into two parts, each with at least one."""
    full = [window for window in windows if points(window)]
    if len(full) > 1:
        return full[: len(full) // 2], full[len(full) // 2 :]
    head, rest = _split(full[0], points(full[0]) // 2)
    return [head], [rest]
