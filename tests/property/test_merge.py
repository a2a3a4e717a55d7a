"""Two windows as one: every tally is the sum, in whatever order, and what is stored of them too."""

from collections import Counter
from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wakizashi import wire
from wakizashi.center.aggregate import aggregate
from wakizashi.model import MAX_INTEGER, DeviceLedger, Direction, Flow, Ledger, Tally, Window
from wakizashi.probe.merge import merge

MANY = 1_000
tallies = st.builds(Tally, st.integers(0, 10**9), st.integers(0, 10**12))
ledgers = st.builds(Ledger, **{field.name: tallies for field in fields(Ledger)})
addresses = st.sampled_from([bytes(4), bytes([10, 0, 0, 1]), bytes([10, 0, 0, 2])])
sixes = st.sampled_from([bytes(16), bytes(15) + b"\1"])


@st.composite
def windows(draw: st.DrawFn) -> tuple[Window, Window, Window]:
    """Three of a probe, one right after the other."""
    names = st.lists(st.sampled_from(["eth0", "lo", "tun0"]), unique=True, max_size=3)
    start, number, made = draw(st.integers(0, 10**6)), 0, []
    for _ in range(3):
        devices = [
            DeviceLedger(name, draw(st.sampled_from([b"", b"\1\2\3\4"])), draw(ledgers))
            for name in draw(names)
        ]
        keys = st.tuples(
            st.integers(0, len(devices) - 1),
            st.sampled_from(Direction),
            st.one_of(st.tuples(addresses, addresses), st.tuples(sixes, sixes)),
        )
        chosen = draw(st.sets(keys, max_size=6)) if devices else set()
        flows = []
        for device, direction, (source, destination) in sorted(chosen):
            packets = draw(st.integers(1, 9))
            size = draw(st.integers(packets, 10**6))
            flows.append(Flow(device, direction, source, destination, size, packets))
        end, of = start + draw(st.integers(1, 10**6)), draw(st.integers(1, 5))
        number += of
        made.append(
            Window("p", start, end, number, (("env", "t"),), tuple(devices), tuple(flows), of)
        )
        # The next begins where this one ends, or before, as when the clock went back.
        start = draw(st.one_of(st.just(end), st.integers(start + 1, end)))
    return made[0], made[1], made[2]


def flows_of(*several: Window) -> Counter[tuple[object, ...]]:
    sums: Counter[tuple[object, ...]] = Counter()
    for window in several:
        for flow in window.flows:
            key = (window.devices[flow.device].name, *flow[1:4])
            sums[(*key, "bytes")] += flow.size
            sums[(*key, "packets")] += flow.packets
    return sums


def ledgers_of(*several: Window) -> Counter[tuple[str, str, str]]:
    sums: Counter[tuple[str, str, str]] = Counter()
    for window in several:
        for device in window.devices:
            for field in fields(Ledger):
                tally = getattr(device.ledger, field.name)
                sums[device.name, field.name, "bytes"] += tally.bytes
                sums[device.name, field.name, "packets"] += tally.packets
    return sums


def both(first: Window, second: Window) -> Window:
    merged = merge(first, second, MANY)
    assert merged is not None
    return merged


@given(windows())
def test_every_tally_is_the_sum(three: tuple[Window, Window, Window]) -> None:
    first, second, _ = three
    merged = both(first, second)
    lengths = [window.end_ms - window.start_ms for window in (first, second)]
    assert (merged.start_ms, merged.end_ms) == (first.start_ms, first.start_ms + sum(lengths))
    assert (merged.number, merged.windows) == (second.number, first.windows + second.windows)
    assert flows_of(merged) == flows_of(first, second)
    assert ledgers_of(merged) == ledgers_of(first, second)
    assert {d.name for d in merged.devices} == {d.name for w in (first, second) for d in w.devices}
    assert wire.decode(wire.encode(merged)) == merged


@given(windows())
def test_it_does_not_matter_which_two_are_merged_first(
    three: tuple[Window, Window, Window],
) -> None:
    first, second, third = three
    one, other = both(both(first, second), third), both(first, both(second, third))
    assert replace(one, flows=()) == replace(other, flows=())
    assert sorted(one.flows) == sorted(other.flows)


@given(windows())
def test_what_is_stored_adds_up(three: tuple[Window, Window, Window]) -> None:
    first, second, _ = three
    # A device without an address of its own takes one that it gets: else the probeIP differs.
    plain = [
        replace(w, devices=tuple(replace(d, primary_address=b"\1\2\3\4") for d in w.devices))
        for w in (first, second)
    ]
    stored = [aggregate(window) for window in plain]
    merged = aggregate(both(*plain))
    sums: Counter[tuple[str, str, str, str]] = Counter()
    for window in stored:
        for record in window.records:
            sums[record.probeIP, record.srcIP, record.dstIP, "bytes"] += record.size
            sums[record.probeIP, record.srcIP, record.dstIP, "packets"] += record.packets
    found = {
        (r.probeIP, r.srcIP, r.dstIP, unit): value
        for r in merged.records
        for unit, value in (("bytes", r.size), ("packets", r.packets))
    }
    assert found == dict(sums)


def flow(last: int, size: int = 100) -> Flow:
    return Flow(0, Direction.OUT, bytes([10, 0, 0, 1]), bytes([10, 0, 0, last]), size, 1)


def pair(first: tuple[Flow, ...] = (), second: tuple[Flow, ...] = ()) -> tuple[Window, Window]:
    device = DeviceLedger("eth0", b"", Ledger())
    return (
        Window("p", 1000, 2000, 1, (), (device,), first),
        Window("p", 2000, 3000, 2, (), (device,), second),
    )


def test_no_flow_is_ever_folded() -> None:
    first, second = pair((flow(1), flow(2)), (flow(2), flow(3)))
    assert merge(first, second, 2) is None
    assert merge(first, second, 3) is not None
    other = Flow(0, Direction.TRANSIT, bytes(4), bytes(4), 7, 1)  # takes no place: see maxFlows
    folded = replace(first, flows=(*first.flows, other))
    assert merge(folded, second, 2) is None
    assert merge(folded, second, 3) is not None


def test_max_flows_is_that_of_each_device() -> None:
    devices = tuple(DeviceLedger(name, b"", Ledger()) for name in ("eth0", "lo"))
    first, second = pair((flow(1),), (flow(1)._replace(device=1),))
    first, second = replace(first, devices=devices), replace(second, devices=devices)
    assert merge(first, second, 1) is not None


def big(size: int) -> tuple[Flow, ...]:
    return (flow(1, size),)


DIFFERENT = {
    "a gap": lambda a, b: (a, replace(b, start_ms=2001)),
    "the same start": lambda a, b: (a, replace(b, start_ms=1000)),
    "a start before": lambda a, b: (a, replace(b, start_ms=999)),
    "a lost number": lambda a, b: (a, replace(b, number=3)),
    "the same number": lambda a, b: (a, replace(b, number=1)),
    "numbers that it covers": lambda a, b: (a, replace(b, windows=2)),
    "another probe": lambda a, b: (a, replace(b, probe="q")),
    "other tags": lambda a, b: (a, replace(b, tags=(("env", "x"),))),
    "sizes beyond a bound": lambda a, b: (
        replace(a, flows=big(MAX_INTEGER)),
        replace(b, flows=big(1)),
    ),
    "a ledger beyond a bound": lambda a, b: (
        replace(a, devices=(DeviceLedger("eth0", b"", Ledger(own=Tally(1, MAX_INTEGER))),)),
        replace(b, devices=(DeviceLedger("eth0", b"", Ledger(own=Tally(1, 1))),)),
    ),
}


@pytest.mark.parametrize("difference", DIFFERENT)
def test_what_is_not_merged(difference: str) -> None:
    assert merge(*pair(), MANY) is not None
    assert merge(*DIFFERENT[difference](*pair()), MANY) is None
