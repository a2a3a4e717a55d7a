"""The classic filter, run by an interpreter of its own, against the counting of whole packets."""

import struct

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
from wakizashi.probe import packet
from wakizashi.probe.addresses import MAX_ADDRESSES
from wakizashi.probe.capture import Endpoint, FlowCounter
from wakizashi.probe.ring.filter import MAX_INSTRUCTIONS, build
from wakizashi.probe.ring.slots import OWN_BYTES, SLOT_BYTES

Instruction = tuple[int, int, int, int]

SCRATCH = 16
"""BPF_MEMWORDS"""
CODES = {
    *(0x40, 0x48, 0x50, 0x80, 0x60, 0x02, 0x01, 0x0C, 0x1C, 0x04, 0x54, 0x64),
    *(0x05, 0x15, 0x35, 0x45, 0x3D, 0x06, 0x07, 0x87),
}
"""What the interpreter knows: an instruction of another code is one to look at."""


def decode(code: bytes) -> list[Instruction]:
    return list(struct.iter_unpack("=HBBI", code))


def check(program: list[Instruction]) -> None:
    """What the kernel refuses (bpf_check_classic() in net/core/filter.c)."""
    assert 0 < len(program) <= MAX_INSTRUCTIONS
    assert program[-1][0] & 7 == 6, "ends without a return"
    stored: list[set[int] | None] = [None] * len(program)
    stored[0] = set()
    for at, (code, yes, no, k) in enumerate(program):
        assert code in CODES
        assert 0 <= k < SCRATCH or code not in (0x02, 0x60)
        assert k < 32 or code != 0x64, "shifts all bits out"
        known = stored[at]
        if known is None:  # never reached
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


@settings(max_examples=300)
@given(st.data(), endpoints, st.booleans())
def test_own_packets_and_no_others_are_marked(
    data: st.DataObject, centers: list[Endpoint], ethernet: bool
) -> None:
    program = decode(build(centers, ethernet=ethernet))
    check(program)
    for made in data.draw(st.lists(frames(ethernet, centers), min_size=1, max_size=8)):
        assert run(program, made) == verdict(centers, made, ethernet), made.hex()


@given(st.binary(max_size=120), st.booleans())
def test_no_packet_is_left_out(made: bytes, ethernet: bool) -> None:
    program = decode(build([(bytes([10, 0, 0, 1]), 1), (bytes(16), 1)], ethernet=ethernet))
    assert run(program, made) in (OWN_BYTES, SLOT_BYTES)


@pytest.mark.parametrize(
    ("ethernet", "made", "center", "own"),
    [case[1:] for case in NEARLY_OWN],
    ids=[case[0] for case in NEARLY_OWN],
)
def test_what_is_nearly_own(ethernet: bool, made: bytes, center: Endpoint, own: bool) -> None:
    expected = OWN_BYTES if own else SLOT_BYTES
    assert verdict([center], made, ethernet) == expected
    assert run(decode(build([center], ethernet=ethernet)), made) == expected


@pytest.mark.parametrize("tags", range(7))
def test_up_to_four_tags_are_looked_behind(tags: int) -> None:
    """Known and meant: own packets with more tags count as a flow. The probe sends none such."""
    made = MAC + b"\x81\x00\x00\x07" * tags + b"\x08\x00" + to_four()
    program = decode(build([CENTER_FOUR], ethernet=True))
    assert verdict([CENTER_FOUR], made, True) == OWN_BYTES
    assert run(program, made) == (OWN_BYTES if tags <= 4 else SLOT_BYTES)


@pytest.mark.parametrize("extensions", range(11))
@pytest.mark.parametrize("ethernet", [True, False])
def test_up_to_eight_extension_headers_are_looked_behind(extensions: int, ethernet: bool) -> None:
    """Known and meant, as with tags."""
    made = (MAC + b"\x86\xdd" if ethernet else b"") + to_six([60] * extensions)
    program = decode(build([CENTER_SIX], ethernet=ethernet))
    assert verdict([CENTER_SIX], made, ethernet) == OWN_BYTES
    assert run(program, made) == (OWN_BYTES if extensions <= 8 else SLOT_BYTES)


def test_each_word_of_an_address_and_the_port_matter() -> None:
    six = decode(build([CENTER_SIX], ethernet=False))
    four = decode(build([CENTER_FOUR], ethernet=False))
    for program, made, first in ((four, to_four(), 16), (six, to_six(), 24)):
        assert run(program, made) == OWN_BYTES
        behind = first + (4 if first == 16 else 16)
        for at in [*range(first, behind), behind + 2, behind + 3]:
            other = made[:at] + bytes([made[at] ^ 1]) + made[at + 1 :]
            assert run(program, other) == SLOT_BYTES, at


def test_as_many_addresses_as_the_probe_knows_fit() -> None:
    for length in (4, 16):
        many = [(number.to_bytes(length), 10_080) for number in range(MAX_ADDRESSES)]
        check(decode(build(many, ethernet=True)))


def test_more_addresses_than_the_kernel_takes_are_refused() -> None:
    many = [(number.to_bytes(16), 10_080) for number in range(200)]
    with pytest.raises(ValueError, match="200 addresses of the center are too many"):
        build(many, ethernet=True)
