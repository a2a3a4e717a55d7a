"""What the dashboard shows adds up, whatever is stored: nothing is missing, nothing is twice."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.memory_backend import Memory
from wakizashi.center.backend import BY_KEYS
from wakizashi.dashboard import parameters, steps
from wakizashi.dashboard.answers import Answers
from wakizashi.dashboard.names import Labels
from wakizashi.dashboard.parameters import Selection, Talkers
from wakizashi.dashboard.river import Courses, others, stacked
from wakizashi.model import Ledger, LedgerRecord, StoredWindow, TrafficRecord

SINCE, UNTIL = 1_700_000_000_000, 1_700_000_600_000
ADDRESSES = ("10.0.0.1", "10.0.0.2", "10.0.0.3", "::1", "0.0.0.0")
ADDRESS = st.sampled_from(ADDRESSES)
FILTERS = {
    "pairs": (("srcIP", "srcIP"), ("dstIP", "dstIP")),
    "services": (("probeIP", "service"),),
    "probes": (("probe", "probe"),),
}
"""The field of each part of a series' key."""


@st.composite
def stores(draw: st.DrawFn) -> Memory:
    """Windows of some probes; ends may be equal, and neither may be the probe's own."""
    found = []
    for number in range(draw(st.integers(0, 6))):
        probe = draw(st.sampled_from(("a", "b")))
        start = draw(st.integers(SINCE, UNTIL - 1))
        duration = draw(st.sampled_from((1_000, 7_000, 30_000)))
        keys = draw(
            st.lists(st.tuples(ADDRESS, ADDRESS, ADDRESS), min_size=1, max_size=8, unique=True)
        )
        sizes = st.integers(0, 2**60)
        found.append(
            StoredWindow(
                probe,
                start,
                (),
                tuple(
                    TrafficRecord(
                        start, probe, own, source, destination, draw(sizes), draw(st.integers(1, 9))
                    )
                    for own, source, destination in keys
                ),
                (LedgerRecord(start, probe, "eth0", number, duration, Ledger()),),
            )
        )
    return Memory(found, sums_here=draw(st.booleans()))


def answers(store: Memory) -> Answers:
    return Answers(store, Labels(), table="traffic", clock=lambda: UNTIL)


def truth(store: Memory, unit: str) -> int:
    return sum(int(row[unit]) for row in store.traffic(SINCE, UNTIL, BY_KEYS))


@given(
    store=stores(),
    by=st.sampled_from(tuple(parameters.BY)),
    top=st.integers(1, 5),
    points=st.integers(2, 60),
)
def test_series_and_other_are_the_total_in_every_bucket(
    store: Memory, by: str, top: int, points: int
) -> None:
    asked = parameters.River(Selection(SINCE, UNTIL), by, top, points)
    found = answers(store).river(asked)
    assert len(found["series"]) <= top
    lines = [one["bytes"] for one in (*found["series"], found["other"])]
    stack = [sum(column) for column in zip(*lines, strict=True)]
    stored = dict.fromkeys(found["times"], 0)
    for row in store.traffic(SINCE, UNTIL, (), step_ms=found["step"]):
        stored[int(row["timestamp"])] += int(row["size"])
    assert stack == list(stored.values())
    assert found["total"]["bytes"] == sum(stack) == truth(store, "size")
    for one in found["series"]:
        where = [[{name: one["key"][key] for name, key in FILTERS[by]}]]
        rows = store.traffic(SINCE, UNTIL, (), step_ms=found["step"], where=where)
        course = dict.fromkeys(found["times"], 0) | {r["timestamp"]: r["size"] for r in rows}
        assert one["bytes"] == list(course.values())
    totals = [one["total"]["bytes"] for one in found["series"]]
    assert totals == sorted(totals, reverse=True)
    keys = {
        tuple(row[name] for name in parameters.BY[by])
        for row in store.traffic(SINCE, UNTIL, BY_KEYS)
    }
    assert found["other"]["count"] == len(keys) - len(totals)


@given(
    store=stores(),
    links=st.integers(1, 6),
    peers=st.integers(1, 6),
    rows=st.integers(1, 6),
    sort=st.sampled_from(parameters.SORTS),
    order=st.sampled_from(parameters.ORDERS),
)
def test_links_matrix_and_talkers_have_the_same_total(
    store: Memory, links: int, peers: int, rows: int, sort: str, order: str
) -> None:
    asked = parameters.Span(
        Selection(SINCE, UNTIL), links, peers, Talkers(rows=rows, sort=sort, order=order)
    )
    found = answers(store).span(asked)
    matrix, table = found["matrix"], found["talkers"]
    for index, (unit, field) in enumerate((("bytes", "size"), ("packets", "packets"))):
        whole = truth(store, field)
        assert found["total"][unit] == whole
        assert sum(link[unit] for link in found["flows"]["links"]) == whole
        assert sum(cell[2 + index] for cell in matrix["cells"]) == whole
        assert sum(row[unit] for row in table["rows"]) + table["other"][unit] == whole
        for axis, heads in enumerate((matrix["probes"], matrix["peers"])):
            for place, head in enumerate(heads):
                cells = [cell[2 + index] for cell in matrix["cells"] if cell[axis] == place]
                assert sum(cells) == head[unit]
    assert len(table["rows"]) + table["other"]["count"] == table["matching"] == found["pairs"]
    for row in table["rows"]:
        assert sum(row["spark"]) == row["bytes"]
    ids = [node["id"] for node in found["flows"]["nodes"]]
    assert len(set(ids)) == len(ids)
    used = {end for link in found["flows"]["links"] for end in (link["source"], link["target"])}
    assert used == set(ids)
    check_order(table["rows"], sort, order)
    check_sources(store, found)


def check_order(rows: list[dict[str, Any]], sort: str, order: str) -> None:
    if sort in ("bytes", "packets"):
        values = [row[sort] for row in rows]
        assert values == sorted(values, reverse=order == "desc")


def check_sources(store: Memory, found: dict[str, Any]) -> None:
    """A source that is shown is as wide as all that it sent."""
    sent: dict[str, int] = {}
    for row in store.traffic(SINCE, UNTIL, ("srcIP",)):
        sent[f"s:{row['srcIP']}"] = int(row["size"])
    for node in found["flows"]["nodes"]:
        if node["side"] == "source" and node["address"]:
            links = [e["bytes"] for e in found["flows"]["links"] if e["source"] == node["id"]]
            assert sum(links) == sent[node["id"]]


@given(
    since=st.integers(0, 2**41),
    length=st.integers(1, 10 * 366 * 86_400_000),
    points=st.integers(2, 500),
    window=st.integers(0, 10**10),
)
def test_buckets_cover_the_span_and_are_no_more_than_asked_for(
    since: int, length: int, points: int, window: int
) -> None:
    until = since + length
    step = steps.step(since, until, points, window)
    times = steps.times(since, until, step)
    assert 1 <= len(times) == steps.buckets(since, until, step) <= points
    assert times[0] <= since and until <= times[-1] + step
    assert all(time % step == 0 for time in times)
    assert step >= min(window, length)
    shorter = [nice for nice in steps.NICE if nice < step]
    assert not any(
        steps.buckets(since, until, nice) <= points and nice >= min(window, length)
        for nice in shorter
    )


@given(
    whole=st.lists(st.integers(0, 100), min_size=3, max_size=3),
    part=st.lists(st.integers(0, 100), min_size=3, max_size=3),
)
def test_what_changed_between_two_readings_makes_nothing_negative(
    whole: list[int], part: list[int]
) -> None:
    assert all(n >= 0 for n in others([part], whole))
    found = stacked(Courses((0, 1, 2), {("a",): part}), whole, 1, lambda key: {"id": key[0]})
    assert found["total"]["bytes"] == sum(map(max, whole, part))
