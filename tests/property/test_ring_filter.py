"""The classic filter, run by an interpreter of its own, against the counting of whole packets."""

import struct

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.packets import endpoints, frames
from wakizashi.probe import packet
from wakizashi.probe.capture import Endpoint, FlowCounter
from wakizashi.probe.ring.filter import MAX_INSTRUCTIONS, build
from wakizashi.probe.ring.slots import OWN_BYTES, SLOT_BYTES
from wakizashi.probe.transmit import MAX_ADDRESSES

Instruction = tuple[int, int, int, int]


def decode(code: bytes) -> list[Instruction]:
    return list(struct.iter_unpack("=HBBI", code))


def check(program: list[Instruction]) -> None:
    """What the kernel refuses (bpf_check_classic() in net/core/filter.c)."""
    assert 0 < len(program) <= MAX_INSTRUCTIONS
    assert program[-1][0] & 7 == 6, "ends without a return"
    stored: list[set[int] | None] = [None] * len(program)
    stored[0] = set()
    for at, (code, yes, no, k) in enumerate(program):
        known = stored[at]
        if known is None:
            continue
        after = known | ({k} if code == 0x02 else set())
        if code == 0x60:
            assert k in known, f"M[{k}] is read at {at} where it may not be written"
        targets = [] if code & 7 == 6 else [at + 1]
        if code & 7 == 5:
            targets = [at + 1 + k] if code == 0x05 else [at + 1 + yes, at + 1 + no]
        for target in targets:
            assert at < target < len(program)
            before = stored[target]
            stored[target] = after if before is None else before & after


def run(program: list[Instruction], data: bytes) -> int:
    """What the program returns; 0 where it reads beyond the packet, as in the kernel."""
    a = x = at = 0
    memory: dict[int, int] = {}
    loads = {0x40: 4, 0x48: 2, 0x50: 1}
    while True:
        code, yes, no, k = program[at]
        at += 1
        if code in loads:
            if x + k + loads[code] > len(data):
                return 0
            a = int.from_bytes(data[x + k : x + k + loads[code]])
        elif code == 0x80:
            a = len(data)
        elif code == 0x60:
            a = memory[k]
        elif code == 0x02:
            memory[k] = a
        elif code == 0x01:
            x = k
        elif code == 0x07:
            x = a
        elif code == 0x87:
            a = x
        elif code == 0x06:
            return k
        elif code == 0x05:
            at += k
        elif code & 7 == 5:
            value = x if code & 8 else k
            holds = {0x10: a == value, 0x30: a >= value, 0x40: bool(a & value)}[code & 0xF0]
            at += yes if holds else no
        else:
            value = x if code & 8 else k
            a = {
                0x00: a + value,
                0x10: a - value,
                0x50: a & value,
                0x60: a << value,
            }[code & 0xF0] & 0xFFFFFFFF


def verdict(endpoints: list[Endpoint], data: bytes, ethernet: bool) -> int:
    """By the counting of whole packets."""
    counter = FlowCounter(10, endpoints)
    locate = packet.ethernet if ethernet else packet.raw_ip
    counter.add(data, len(data), locate(data, len(data)), len(data))
    return OWN_BYTES if counter.take().own.packets else SLOT_BYTES


@settings(deadline=None, max_examples=150)
@given(st.data(), endpoints, st.booleans())
def test_own_packets_and_no_others_are_marked(
    data: st.DataObject, centers: list[Endpoint], ethernet: bool
) -> None:
    program = decode(build(centers, ethernet=ethernet))
    check(program)
    for made in data.draw(st.lists(frames(ethernet), min_size=1, max_size=8)):
        assert run(program, made) == verdict(centers, made, ethernet), made.hex()


@given(st.binary(max_size=120), st.booleans())
def test_no_packet_is_left_out(made: bytes, ethernet: bool) -> None:
    program = decode(build([(bytes([10, 0, 0, 1]), 1), (bytes(16), 1)], ethernet=ethernet))
    assert run(program, made) in (OWN_BYTES, SLOT_BYTES)


def test_as_many_addresses_as_the_probe_knows_fit() -> None:
    for length in (4, 16):
        many = [(number.to_bytes(length), 10_080) for number in range(MAX_ADDRESSES)]
        check(decode(build(many, ethernet=True)))
