"""Windows cut into writes of a size: each point in one of them, none twice."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from tests.center_windows import ip, window
from wakizashi.center.aggregate import aggregate
from wakizashi.center.isolate import halves, pieces, points
from wakizashi.model import Direction, Flow, LedgerRecord, StoredWindow, TrafficRecord


def stored(number: int, records: int, ledgers: int) -> StoredWindow:
    flows = tuple(Flow(0, Direction.OUT, ip(1), ip(n), 9, 1) for n in range(records))
    made = aggregate(window(number, flows))
    return replace(
        made, ledgers=tuple(replace(made.ledgers[0], device=f"eth{n}") for n in range(ledgers))
    )


def all_points(windows: Sequence[StoredWindow]) -> list[TrafficRecord | LedgerRecord]:
    made: list[TrafficRecord | LedgerRecord] = []
    for each in windows:
        made += each.records
        made += each.ledgers
    return made


WINDOWS = [stored(0, 5, 3), stored(1, 0, 0), stored(2, 0, 4), stored(3, 10, 2)]


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 6, 8, 12, 24, 100])
def test_pieces_are_full_and_in_order(limit: int) -> None:
    made = list(pieces(WINDOWS, limit))
    assert all_points([each for piece in made for each in piece]) == all_points(WINDOWS)
    sizes = [sum(map(points, piece)) for piece in made]
    assert sizes[:-1] == [limit] * (len(sizes) - 1) and 0 < sizes[-1] <= limit


def test_halves_hold_something_each_and_together_all() -> None:
    parts: list[Sequence[StoredWindow]] = [WINDOWS]
    single = []
    while parts:
        part = parts.pop()
        if sum(map(points, part)) == 1:
            single.append(part)
            continue
        first, second = halves(part)
        assert all_points(first) and all_points(second)
        assert all_points([*first, *second]) == all_points(part)
        parts += [second, first]
    assert [all_points(part)[0] for part in single] == all_points(WINDOWS)
