"""What is made of InfluxDB's answers to questions, between which something may be written."""

import re
from collections.abc import Iterator
from typing import Any

import pytest

from wakizashi.center.backends.influxdb import Config, Influx
from wakizashi.center.influx.reading import ledger_sums
from wakizashi.errors import Retryable
from wakizashi.model import TALLIES, Tally

NUMBERS = [f"{name}_{unit}" for name in TALLIES for unit in ("packets", "bytes")]


class Server:
    """Has a device of each probe; ``counts`` are told, one for each statement and probe.

    A window is 10 ms long. ``late``: they come into the midst of the others.
    """

    def __init__(self, *, late: bool = False, **counts: list[int]) -> None:
        self.counts, self.late = counts, late
        self.asked: list[str] = []

    def select(self, _: str, query: str) -> Iterator[dict[str, Any]]:
        self.asked.append(query)
        for probe, counts in self.counts.items():
            if '"probe" =' in query and f"'{probe}'" not in query:
                continue
            count = counts.pop(0) if len(counts) > 1 else counts[0]
            until = re.search(r"time < (\d+)ms", query)
            assert until
            if not self.late:
                count = min(count, -(-int(until[1]) // 10))
            row: dict[str, Any] = {"time": 0}
            if "first(" in query:
                row |= {"number": 0, "duration": 10, "windows": 1}
            elif "last(" in query:
                row |= {"time": 10 * count - 10, "number": count - 1, "duration": 10, "windows": 1}
            elif "sum(" in query:
                row |= {"all": count, "counted": count, "windows": count, "longest": 10}
                row |= dict.fromkeys(NUMBERS, count)
            else:
                row["all"] = count
            tags = {"probe": probe, "device": "eth0"}
            yield {"tags": tags, "columns": list(row), "values": [list(row.values())]}


def test_nothing_comes_meanwhile() -> None:
    server = Server(a=[4])
    (found,) = ledger_sums(server.select, "ledger", 0, 1_000)
    assert (found.windows, found.number, found.first_number) == (4, 3, 0)
    assert (found.first_ms, found.last_ms, found.end_ms) == (0, 30, 40)
    assert found.ledger.lost == Tally(4, 4)
    assert len(server.asked) == 5


def test_what_was_written_to_meanwhile_is_asked_again_alone() -> None:
    server = Server(a=[4, 4, 4, 5, 5, 5], b=[7])
    found = list(ledger_sums(server.select, "ledger", 0, 1_000))
    assert [(f.probe, f.windows, f.number) for f in found] == [("a", 4, 3), ("b", 7, 6)]
    assert len(server.asked) == 10
    assert all("'a'" in query and "'b'" not in query for query in server.asked[5:])


def test_what_is_written_to_all_the_time_is_taken_as_it_is() -> None:
    server = Server(late=True, a=list(range(1, 100)))
    assert len(list(ledger_sums(server.select, "ledger", 0, 1_000))) == 1
    assert len(server.asked) == 25


def test_what_still_comes_changes_nothing() -> None:
    server = Server(a=list(range(1, 100)))
    (found,) = ledger_sums(server.select, "ledger", 0, 1_000)
    assert found.windows == found.number + 1 == found.ledger.lost.packets == 3
    assert len(server.asked) == 10


def test_a_limit_of_what_may_be_asked_is_told_with_its_remedy() -> None:
    backend = Influx(Config(), "wakizashi", "traffic", 5)
    document = {"results": [{"error": "max-select-buckets limit exceeded: (12/10)"}]}
    with pytest.raises(Retryable, match=r"\(12/10\); ask for a shorter span, or raise that limit"):
        backend._raise(document)
    backend.close()
