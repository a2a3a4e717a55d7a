"""The program in the kernel against the counting of whole packets, packet by packet.

The kernel runs it on packets that the test makes (BPF_PROG_TEST_RUN); it takes 14 bytes off
their start first, and runs on interface 1.
"""

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.packets import endpoints, frames
from wakizashi.probe import packet
from wakizashi.probe.bpf import kernel
from wakizashi.probe.bpf.traffic import Kind, Traffic
from wakizashi.probe.capture import OTHER, Counts, Endpoint, FlowCounter

INTERFACE = 1

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 and "CI" not in os.environ, reason="bpf(2) needs root"
)


def counted(traffic: Traffic) -> Counts:
    counts = Counts()
    for _, kind, key, tally in traffic.swap([INTERFACE], 1_000):
        if kind is Kind.OWN:
            counts.own += tally
        elif kind is Kind.NON_IP:
            counts.non_ip += tally
        else:
            counts.add(key or OTHER, tally, 1_000)
    return counts


@settings(deadline=None, max_examples=60)
@given(st.data(), endpoints, st.booleans())
def test_agrees_with_counting_one_by_one(
    data: st.DataObject, centers: list[Endpoint], ethernet: bool
) -> None:
    made = data.draw(st.lists(frames(ethernet), min_size=1, max_size=20))
    counter = FlowCounter(1_000, centers)
    locate = packet.ethernet if ethernet else packet.raw_ip
    traffic = Traffic()
    try:
        traffic.set_endpoints(centers)
        counted(traffic)
        for one in filter(None, made):
            counter.add(one, len(one), locate(one, len(one)), len(one))
            program = traffic.programs["ethernet" if ethernet else "ip"]
            returned, _ = kernel.test_run(program, bytes(14) + one, 1)
            assert returned == 0, "the packet would be queued"
        assert counted(traffic) == counter.take()
    finally:
        traffic.close()
