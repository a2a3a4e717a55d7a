"""The program in the kernel against the counting of whole packets, packet by packet.

The kernel runs it on packets that the test makes (BPF_PROG_TEST_RUN, bpf_prog_test_run_skb() in
net/bpf/test_run.c). It takes 14 bytes off their start first, refuses fewer than those,
more than a page has beside head- and tailroom (about 3,500 bytes), and in some versions what has
nothing left; and it runs on interface 1. No tag is taken off there: tests/contract has those.
"""

import os
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.packets import (
    CENTER_FOUR,
    CENTER_SIX,
    MAC,
    NEARLY_OWN,
    endpoints,
    frames,
    to_four,
    to_six,
)
from wakizashi.model import Tally
from wakizashi.probe import packet
from wakizashi.probe.bpf import kernel
from wakizashi.probe.bpf.traffic import Kind, Traffic
from wakizashi.probe.capture import OTHER, Counts, Endpoint, FlowCounter

INTERFACE = 1

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 and "CI" not in os.environ, reason="bpf(2) needs root"
)


@pytest.fixture(scope="module")
def traffic() -> Iterator[Traffic]:
    made = Traffic()
    yield made
    made.close()


def counted(traffic: Traffic, max_flows: int = 1_000) -> Counts:
    """What was counted since the last call; the next window has room for ``max_flows``."""
    counts = Counts()
    for device, kind, key, tally in traffic.swap([INTERFACE], max_flows):
        assert device == INTERFACE
        if kind is Kind.OWN:
            counts.own += tally
        elif kind is Kind.NON_IP:
            counts.non_ip += tally
        else:
            counts.add(key or OTHER, tally, 10**6)
    return counts


def count(traffic: Traffic, one: bytes, ethernet: bool) -> None:
    program = traffic.programs["ethernet" if ethernet else "ip"]
    returned, _ = kernel.test_run(program, bytes(14) + one, 1)
    assert returned == 0, "the packet would be queued"


@settings(max_examples=60)
@given(st.data(), endpoints, st.booleans(), st.sampled_from([1, 3, 1_000]))
def test_agrees_with_counting_one_by_one(
    traffic: Traffic,
    data: st.DataObject,
    centers: list[Endpoint],
    ethernet: bool,
    max_flows: int,
) -> None:
    made = data.draw(st.lists(frames(ethernet, centers, most_tags=8), min_size=1, max_size=20))
    counter = FlowCounter(max_flows, centers)
    locate = packet.ethernet if ethernet else packet.raw_ip
    traffic.set_endpoints(centers)
    counted(traffic, max_flows)
    for one in filter(None, made):
        counter.add(one, len(one), locate(one, len(one)), len(one))
        count(traffic, one, ethernet)
    assert counted(traffic) == counter.take()


@pytest.mark.parametrize(
    ("ethernet", "made", "center", "own"),
    [case[1:] for case in NEARLY_OWN],
    ids=[case[0] for case in NEARLY_OWN],
)
def test_what_is_nearly_own(
    traffic: Traffic, ethernet: bool, made: bytes, center: Endpoint, own: bool
) -> None:
    traffic.set_endpoints([center])
    counted(traffic)
    count(traffic, made, ethernet)
    assert counted(traffic).own == (Tally(1, len(made)) if own else Tally())


@pytest.mark.parametrize("port", [0, 1, 10_080, 10_081, 65_535])
def test_only_the_port_of_the_center_is_own(traffic: Traffic, port: int) -> None:
    """Port 0 stands for the host itself in the map of endpoints; a packet may have it."""
    traffic.set_endpoints([CENTER_FOUR])
    counted(traffic)
    count(traffic, to_four(port=port), False)
    assert counted(traffic).own.packets == (port == CENTER_FOUR[1])


@pytest.mark.parametrize("tags", [0, 4, 5, 8, 9])
def test_up_to_eight_tags_are_looked_behind(traffic: Traffic, tags: int) -> None:
    """Known and meant: an IP packet with more of them is not taken for one."""
    made = MAC + b"\x81\x00\x00\x07" * tags + b"\x08\x00" + to_four()
    traffic.set_endpoints([])
    counted(traffic)
    count(traffic, made, True)
    counts = counted(traffic)
    assert (counts.counted.packets, counts.non_ip.packets) == ((1, 0) if tags <= 8 else (0, 1))


@pytest.mark.parametrize("extensions", range(11))
def test_up_to_eight_extension_headers_are_looked_behind(traffic: Traffic, extensions: int) -> None:
    """Known and meant: own packets with more of them count as a flow. The probe sends none such."""
    traffic.set_endpoints([CENTER_SIX])
    counted(traffic)
    count(traffic, to_six([60] * extensions), False)
    counts = counted(traffic)
    assert (counts.own.packets, counts.counted.packets) == ((1, 0) if extensions <= 8 else (0, 1))


@pytest.mark.parametrize("max_flows", [0, 1, 5, 100])
def test_flows_beyond_the_most_are_counted_in_other(traffic: Traffic, max_flows: int) -> None:
    """Own packets are told apart without a flow of their own as well."""
    traffic.set_endpoints([CENTER_FOUR])
    counted(traffic, max_flows)
    counter = FlowCounter(max_flows, [CENTER_FOUR])
    for _ in range(2):
        for number in range(20):
            made = to_four()[:12] + number.to_bytes(4) + bytes([10, 0, 0, 1]) + to_four()[20:]
            for one in (made, to_four()):
                counter.add(one, len(one), 0, len(one))
                count(traffic, one, False)
    counts = counted(traffic)
    assert counts == counter.take()
    assert (counts.counted.packets, counts.own.packets) == (40, 40)
    assert (OTHER in counts.flows) == (max_flows < 21)
