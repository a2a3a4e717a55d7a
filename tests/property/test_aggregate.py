"""Aggregation conserves, and stores the same for every order of flows."""

import random

from hypothesis import given
from hypothesis import strategies as st

from tests.center_windows import window
from wakizashi import wire
from wakizashi.center.aggregate import aggregate
from wakizashi.model import Direction, Flow

_addresses = st.one_of(
    st.tuples(*[st.sampled_from([bytes((10, 0, 0, n)) for n in range(4)])] * 2),
    st.tuples(*[st.sampled_from([bytes(15) + bytes((n,)) for n in range(4)])] * 2),
)
_flows = st.lists(
    st.builds(
        lambda direction, pair, packets, extra: Flow(
            0, direction, pair[0], pair[1], packets + extra, packets
        ),
        st.sampled_from(Direction),
        _addresses,
        st.integers(1, 2**50),
        st.integers(0, 2**55),
    ),
    max_size=40,
).map(tuple)


@given(_flows, st.randoms(use_true_random=False))
def test_sums_are_conserved_in_any_order(flows: tuple[Flow, ...], shuffler: random.Random) -> None:
    stored = aggregate(window(0, flows))
    assert sum(r.size for r in stored.records) == sum(f.size for f in flows)
    assert sum(r.packets for r in stored.records) == sum(f.packets for f in flows)
    keys = [(r.probeIP, r.srcIP, r.dstIP) for r in stored.records]
    assert len(set(keys)) == len(keys)
    shuffled = list(flows)
    shuffler.shuffle(shuffled)
    assert set(aggregate(window(0, tuple(shuffled))).records) == set(stored.records)


@given(_flows)
def test_the_wire_changes_nothing(flows: tuple[Flow, ...]) -> None:
    original = window(0, flows)
    assert aggregate(wire.decode(wire.encode(original))) == aggregate(original)
