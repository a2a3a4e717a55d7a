"""Reading a ring that a fake kernel fills, in the layout of the real one."""

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from wakizashi.model import Tally
from wakizashi.probe import packet
from wakizashi.probe.capture import Counts, FlowCounter
from wakizashi.probe.ring import slots
from wakizashi.probe.ring.slots import OWN_BYTES, SLOT_BYTES, Ring

MAC = b"\x02" * 12
HEADERS = 52
"""TPACKET2_HDRLEN: struct tpacket2_hdr and struct sockaddr_ll."""


class FakeKernel:
    """Fills slots as tpacket_rcv() does; what is in them from before stays, as there."""

    def __init__(self, count: int) -> None:
        self.memory = bytearray(b"\xee" * count * SLOT_BYTES)
        self.count, self.next = count, 0
        for slot in range(count):
            self.status(slot, slots.STATUS_KERNEL)

    def status(self, slot: int, value: int | None = None) -> int:
        if value is not None:
            struct.pack_into("<I", self.memory, slot * SLOT_BYTES, value)
        status: int = struct.unpack_from("<I", self.memory, slot * SLOT_BYTES)[0]
        return status

    def put(
        self,
        data: bytes,
        link: int = 14,
        tagged: bool = False,
        own: bool = False,
        flags: int = 0,
        ready: bool = True,
    ) -> bool:
        """A packet whose network header lies ``link`` bytes behind its start; whether it fits.

        Unless ``ready``, all is written but the status, which comes last.
        """
        if self.status(self.next) & slots.STATUS_USER:
            return False
        start = self.next * SLOT_BYTES
        network_at = -(-(HEADERS + max(link, 16)) // 16) * 16
        link_at = network_at - link
        kept = data[:OWN_BYTES] if own else data[: SLOT_BYTES - link_at]
        self.memory[start + link_at : start + link_at + len(kept)] = kept
        struct.pack_into("<IIIHH", self.memory, start, 0, len(data), len(kept), link_at, network_at)
        if ready:
            self.status(self.next, slots.STATUS_USER | flags | (slots.STATUS_VLAN if tagged else 0))
            self.next = (self.next + 1) % self.count
        return True


class HastyKernel(Ring):
    """A ring whose slots are written over as soon as they are given back."""

    def _give_back(self, slots: NDArray[Any]) -> None:
        super()._give_back(slots)
        rest = slots.view("u1").reshape(len(slots), SLOT_BYTES)
        assert not rest[:, :4].any(), "a slot was not given back"
        rest[:, 4:] = 0x45


def ip4(number: int, payload: int = 26) -> bytes:
    head = struct.pack("!BBHHHBBHII", 0x45, 0, 20 + payload, 0, 0, 64, 17, 0, number, 0x0A000001)
    return head + bytes(payload)


def ip6(number: int) -> bytes:
    return b"\x60" + bytes(5) + b"\x3b\x40" + number.to_bytes(16) + (7).to_bytes(16) + bytes(10)


def frame(body: bytes, kind: int = 0x0800, tags: bytes = b"") -> bytes:
    return MAC + tags + struct.pack("!H", kind) + body


def key4(number: int) -> bytes:
    return struct.pack("!II", number, 0x0A000001)


def read(kernel: FakeKernel, *, ethernet: bool = True) -> Counts:
    ring = Ring(kernel.memory, ethernet=ethernet, max_flows=1_000)
    try:
        assert not ring.pump(1 << 20)
        return ring.take()
    finally:
        ring.close()


def test_ipv4_and_ipv6_and_the_rest() -> None:
    kernel = FakeKernel(64)
    for data in (frame(ip4(1)), frame(ip6(2), 0x86DD), frame(bytes(28), 0x0806), frame(ip4(1))):
        assert kernel.put(data)
    counts = read(kernel)
    assert counts.flows == {
        key4(1): Tally(2, 2 * 60),
        (2).to_bytes(16) + (7).to_bytes(16): Tally(1, 64),
    }
    assert counts.non_ip == Tally(1, 42)
    assert [kernel.status(slot) for slot in range(4)] == [slots.STATUS_KERNEL] * 4


def test_a_tag_that_was_taken_off_counts() -> None:
    kernel = FakeKernel(64)
    kernel.put(frame(ip4(1)), tagged=True)
    kernel.put(frame(bytes(28), 0x0806), tagged=True)
    counts = read(kernel)
    assert (counts.counted, counts.non_ip) == (Tally(1, 64), Tally(1, 46))


@pytest.mark.parametrize("link", [14, 18])
def test_a_tag_in_the_packet(link: int) -> None:
    """Coming in the kernel takes the tag for the network header, going out it does not."""
    kernel = FakeKernel(64)
    kernel.put(frame(ip4(3), tags=b"\x81\x00\x00\x07"), link=link)
    kernel.put(
        frame(ip6(3), 0x86DD, tags=b"\x88\xa8\x00\x07\x81\x00\x00\x08"), link=link + link - 14
    )
    counts = read(kernel)
    assert counts.flows[key4(3)] == Tally(1, 64)
    assert counts.counted == Tally(2, 64 + 72)


def test_own_packets_are_told_apart() -> None:
    kernel = FakeKernel(64)
    kernel.put(frame(ip4(1)))
    kernel.put(frame(ip4(1)), own=True)
    counts = read(kernel)
    assert (counts.counted, counts.own) == (Tally(1, 60), Tally(1, 60))


def test_a_packet_of_one_byte_is_not_own() -> None:
    kernel = FakeKernel(64)
    kernel.put(b"\x45", link=0)
    counts = read(kernel, ethernet=False)
    assert (counts.own, counts.non_ip) == (Tally(), Tally(1, 1))


def test_what_an_earlier_packet_left_in_the_slot_is_not_read() -> None:
    kernel = FakeKernel(1)
    ring = Ring(kernel.memory, ethernet=True, max_flows=10)
    for data in (frame(ip6(5), 0x86DD), frame(ip4(1)[:19]), frame(ip6(5)[:39], 0x86DD)):
        assert kernel.put(data)
        ring.pump(10)
    counts = ring.take()
    ring.close()
    assert (counts.counted, counts.non_ip) == (Tally(1, 64), Tally(2, 33 + 53))


def test_round_and_round() -> None:
    kernel = FakeKernel(100)
    ring = Ring(kernel.memory, ethernet=True, max_flows=10)
    total = 0
    for round_ in range(40):
        for _ in range(37 + round_):
            assert kernel.put(frame(ip4(1)))
            total += 1
        assert not ring.pump(1_000)
        assert not ring.pump(1_000)
    counts = ring.take()
    ring.close()
    assert counts.counted == Tally(total, total * 60)


def test_a_full_ring_and_a_budget() -> None:
    kernel = FakeKernel(300)
    while kernel.put(frame(ip4(1))):
        pass
    ring = Ring(kernel.memory, ethernet=True, max_flows=10)
    assert ring.pump(64), "there is more"
    assert 64 <= ring.take().counted.packets < 300
    while ring.pump(64):
        pass
    assert ring.take().counted.packets > 0
    assert not any(kernel.status(slot) for slot in range(300))
    assert kernel.put(frame(ip4(1))), "the kernel has them back"
    ring.close()


def test_folding_keeps_the_totals() -> None:
    kernel = FakeKernel(100)
    for number in range(60):
        kernel.put(frame(ip4(number)))
        if number < 30:
            kernel.put(frame(ip6(number), 0x86DD))
    ring = Ring(kernel.memory, ethernet=True, max_flows=20)
    ring.pump(1_000)
    counts = ring.take()
    ring.close()
    assert counts.counted == Tally(90, 60 * 60 + 30 * 64)
    assert len(counts.flows) == 21


packets = st.one_of(
    st.builds(lambda n, cut: frame(ip4(n)[:cut]), st.integers(0, 5), st.integers(0, 46)),
    st.builds(lambda n, cut: frame(ip6(n)[:cut], 0x86DD), st.integers(0, 5), st.integers(0, 50)),
    st.builds(lambda body, kind: frame(body, kind), st.binary(max_size=90), st.integers(0, 0xFFFF)),
    st.builds(
        lambda body, kind: frame(body, kind),
        st.binary(min_size=20, max_size=60),
        st.sampled_from([0x0800, 0x86DD]),
    ),
    st.binary(min_size=14, max_size=100),
)


def test_only_the_slots_that_are_filled_are_read() -> None:
    kernel = FakeKernel(128)
    ring = Ring(kernel.memory, ethernet=True, max_flows=10)
    assert not ring.pump(100)
    assert ring.take() == Counts()
    for _ in range(70):  # more than one look
        kernel.put(frame(ip4(1)))
    kernel.put(frame(ip4(2)), ready=False)
    assert not ring.pump(100)
    assert ring.take().flows == {key4(1): Tally(70, 70 * 60)}
    assert not ring.pump(100)
    assert ring.take() == Counts()
    kernel.put(frame(ip4(3)))
    assert not ring.pump(100)
    assert ring.take().flows == {key4(3): Tally(1, 60)}
    ring.close()


@pytest.mark.parametrize("mixed", [False, True])
def test_a_slot_is_given_back_only_once_it_is_counted(mixed: bool) -> None:
    kernel = FakeKernel(64)
    sent = [frame(ip4(n)) for n in range(20)]
    if mixed:
        sent += [frame(ip6(1), 0x86DD), frame(ip4(7), tags=b"\x81\0\0\7"), frame(b"", 0x0806)]
    for data in sent:
        kernel.put(data)
    if mixed:
        kernel.put(frame(ip4(1)), own=True, tagged=True)
    ring = HastyKernel(kernel.memory, ethernet=True, max_flows=100)
    ring.pump(1_000)
    counts = ring.take()
    ring.close()
    expected = {key4(n): Tally(1, 60) for n in range(20)}
    if mixed:
        expected[key4(7)] += Tally(1, 64)
        expected[(1).to_bytes(16) + (7).to_bytes(16)] = Tally(1, 64)
        assert (counts.own, counts.non_ip) == (Tally(1, 64), Tally(1, 14))
    assert counts.flows == expected


def test_a_slot_that_is_still_being_filled_holds_up_those_behind_it() -> None:
    """Two processors fill slots at once; the later one may be ready first."""
    kernel = FakeKernel(64)
    for number in range(6):
        kernel.put(frame(ip4(number)))
    kernel.status(2, slots.STATUS_KERNEL)
    ring = Ring(kernel.memory, ethernet=True, max_flows=10)
    assert not ring.pump(100)
    assert set(ring.take().flows) == {key4(0), key4(1)}
    assert kernel.status(3) == slots.STATUS_USER, "it was not counted yet"
    kernel.status(2, slots.STATUS_USER)
    assert not ring.pump(100)
    assert set(ring.take().flows) == {key4(n) for n in (2, 3, 4, 5)}
    ring.close()


@pytest.mark.parametrize("link", [0, 14, 18, 22])
@pytest.mark.parametrize(("kind", "whole", "least"), [(0x0800, ip4(5), 20), (0x86DD, ip6(5), 40)])
def test_a_header_that_is_cut_off_is_not_made_whole_by_the_packet_before(
    link: int, kind: int, whole: bytes, least: int
) -> None:
    tags = b"\x81\x00\x00\x07" * ((link - 14) // 4)
    head = frame(b"", kind, tags) if link else b""
    for length in range(1, least + 1):
        kernel = FakeKernel(1)
        ring = Ring(kernel.memory, ethernet=bool(link), max_flows=10)
        kernel.put(head + whole, link=link)
        ring.pump(10)
        ring.take()
        kernel.put(head + whole[:length], link=link)
        ring.pump(10)
        counts = ring.take()
        ring.close()
        expected = (0, 1) if length < least else (1, 0)
        assert (counts.counted.packets, counts.non_ip.packets) == expected, length


def test_what_looks_like_ip_behind_a_long_link_header_is_not() -> None:
    """There the network header does not lie where plain packets have it, but other bytes do."""
    kernel = FakeKernel(64)
    kernel.put(frame(bytes(8) + b"\x08\x00" + ip4(1), 0x88CC), link=40)
    assert read(kernel).non_ip == Tally(1, 14 + 10 + 46)


def test_labels_before_the_ip_header_are_not_ip() -> None:
    """MPLS: what stands at the network header is a label, even one that looks like a version."""
    kernel = FakeKernel(64)
    kernel.put(frame(b"\x45\x00\x11\x40" + ip4(1), 0x8847))
    kernel.put(frame(b"\x60\x00\x11\x40" + ip6(1), 0x8848))
    assert read(kernel).non_ip == Tally(2, 64 + 68)


@pytest.mark.parametrize("link", [0, 14, 18, 22, 28, 30, 40])
def test_however_long_the_link_header_is(link: int) -> None:
    """Behind 28 bytes the network header lies elsewhere in the slot."""
    kernel = FakeKernel(64)
    tags = b"\x81\x00\x00\x07" * ((link - 14) // 4)
    data = frame(ip4(3), tags=tags) if link else ip4(3)
    kernel.put(data, link=link)
    counts = read(kernel, ethernet=bool(link))
    assert counts.flows == {key4(3): Tally(1, len(data))}


# Status bits that say nothing here: copied, losing, no checksum yet, the tag's type, checksum valid.
flags = st.sampled_from([0, 0x02, 0x04, 0x08, 0x40, 0x80])
rounds = st.lists(
    st.tuples(
        st.lists(
            st.tuples(
                packets,
                st.sampled_from([14, 14, 14, 18, 22, 30]),
                st.booleans(),
                st.integers(0, 9).map(lambda n: not n),
                flags,
            ),
            max_size=12,
        ),
        st.integers(1, 16),
    ),
    max_size=10,
)


@given(rounds, st.booleans())
def test_agrees_with_counting_one_by_one_round_and_round(
    made: list[tuple[list[tuple[bytes, int, bool, bool, int]], int]], ethernet: bool
) -> None:
    """Slots that held other packets before, tags taken off, own packets, small budgets."""
    kernel = FakeKernel(12)
    ring = HastyKernel(kernel.memory, ethernet=ethernet, max_flows=1_000)
    counter, own = FlowCounter(1_000, ()), Tally()
    locate = packet.ethernet if ethernet else packet.raw_ip
    for batch, budget in made:
        for data, link, tagged, mine, more in batch:
            seen = data if ethernet else data[14:]
            if not seen:
                continue
            tagged = tagged and ethernet
            mine = mine and len(seen) > OWN_BYTES
            size = len(seen) + (4 if tagged else 0)
            if kernel.put(seen, link if ethernet else 0, tagged, mine, more):
                if mine:
                    own += Tally(1, size)
                else:
                    counter.add(seen, len(seen), locate(seen, len(seen)), size)
        ring.pump(budget)
    while ring.pump(1_000):
        pass
    counts, expected = ring.take(), counter.take()
    ring.close()
    expected.own = own
    assert counts == expected


@given(st.lists(packets, max_size=40), st.booleans())
def test_agrees_with_counting_one_by_one(made: list[bytes], ethernet: bool) -> None:
    kernel = FakeKernel(40)
    counter = FlowCounter(1_000, ())
    locate = packet.ethernet if ethernet else packet.raw_ip
    for data in made:
        seen = data if ethernet else data[14:]
        if not seen:
            continue
        assert kernel.put(seen, link=14 if ethernet else 0)
        counter.add(seen, len(seen), locate(seen, len(seen)), len(seen))
    counts, expected = read(kernel, ethernet=ethernet), counter.take()
    assert counts == expected
