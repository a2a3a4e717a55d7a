"""Any packets: all decoders count them alike.

The code that engine ``scapy`` and ``replay`` count with, whole and cut off as that engine
has it; the ring's vectors behind its classic filter; and, as root, now and then
the program of ``ebpf`` in the kernel. Held: the same flows, own packets and non-IP
ones, byte for byte. Left alone is what is known to be beyond the ring and its filter:
more than four tags (two before IPv6), more than eight extension headers.
"""

import os
from collections.abc import Iterator
from functools import cache

from tests.fuzz.choices import Choices
from tests.packets import EXTENSIONS, MAC, NEARLY_OWN, TAGS
from tests.property.test_ring_filter import Instruction, decode, run
from tests.unit.test_ring_slots import FakeKernel
from wakizashi.model import Tally
from wakizashi.probe import packet
from wakizashi.probe.bpf import kernel
from wakizashi.probe.bpf.traffic import Kind, Traffic
from wakizashi.probe.capture import OTHER, Counts, Endpoint, FlowCounter
from wakizashi.probe.engines.scapy import SNAP_BYTES
from wakizashi.probe.ring.filter import build
from wakizashi.probe.ring.slots import OWN_BYTES, Ring

_INTERFACE = 1
"""On which the kernel says that test packets came."""
_MOST_BYTES = 1_500
"""BPF_PROG_TEST_RUN takes no more than what a page holds."""
_MAX_FLOWS = 1_000
_FOUR = tuple(bytes([10, 0, 0, n]) for n in range(1, 4))
_SIX = tuple(b"\xfd" + bytes(14) + bytes([n]) for n in range(3))
_CENTERS: tuple[tuple[Endpoint, ...], ...] = (
    ((_FOUR[0], 10_080), (_SIX[0], 10_080)),
    (),
    ((_FOUR[0], 10_080), (_FOUR[1], 1), (bytes(4), 10_080), (bytes(16), 10_080)),
)


def fuzz(data: bytes) -> None:
    choices = Choices(data)
    ethernet, centers = choices.number(2) == 0, choices.pick(_CENTERS)
    in_kernel = choices.chance(8)
    frames = []
    for _ in range(1 + choices.number(12)):
        frame = _frame(choices, ethernet, centers)[:_MOST_BYTES]
        if frame and not _beyond_the_filters(frame, ethernet):
            frames.append(frame)
    if not frames:
        return
    counts = _one_by_one(frames, ethernet, centers)
    ring = _ring(frames, ethernet, centers)
    assert ring == counts, f"ring: {ring}, but one by one: {counts}"
    _check_cut(frames, ethernet, centers)
    if in_kernel and (traffic := _traffic()) is not None:
        seen = _program(traffic, frames, ethernet, centers)
        assert seen == counts, f"ebpf: {seen}, but one by one: {counts}"


def _frame(choices: Choices, ethernet: bool, centers: tuple[Endpoint, ...]) -> bytes:
    if choices.chance(6):
        return choices.block(200)
    four = choices.number(2) == 0
    body = _ipv4(choices, centers) if four else _ipv6(choices, centers)
    if ethernet:
        tags = b"".join(choices.pick(TAGS).to_bytes(2) + b"\0\7" for _ in range(choices.number(5)))
        kind = choices.pick((0x0800 if four else 0x86DD,) * 5 + (0x86DD, 0x0806, 0x0005))
        body = MAC + tags + kind.to_bytes(2) + body
    if choices.chance(4):
        body = choices.altered(body)
    return body[: choices.number(len(body) + 1)] if choices.chance(5) else body


def _ends(
    choices: Choices, addresses: tuple[bytes, ...], centers: tuple[Endpoint, ...]
) -> tuple[bytes, bytes]:
    ends = [(choices.pick(addresses), choices.number(2**16)) for _ in range(2)]
    mine = [end for end in centers if len(end[0]) == len(addresses[0])]
    if mine and choices.number(3):
        address, port = choices.pick(mine)
        ends[choices.number(2)] = address, choices.pick((port, port, 0, port ^ 1, port ^ 0x100))
    return ends[0][0] + ends[1][0], ends[0][1].to_bytes(2) + ends[1][1].to_bytes(2)


def _ipv4(choices: Choices, centers: tuple[Endpoint, ...]) -> bytes:
    addresses, ports = _ends(choices, _FOUR, centers)
    words = choices.pick((5, 5, 5, 4, 0, 6, 15))
    first = choices.pick((0x40, 0x40, 0x40, 0x40, 0x50, 0x60)) | words
    fragment = choices.pick((0, 0, 0, 0x4000, 0x2000, 1, 0x100, 0x1000, 0x1FFF, 0x8000))
    protocol = choices.pick((6, 6, 6, 17, 0))
    head = bytes([first, 0, 0, 60, 0, 0]) + fragment.to_bytes(2) + bytes([64, protocol, 0, 0])
    return head + addresses + bytes(max(0, 4 * words - 20)) + ports + bytes(16)


def _ipv6(choices: Choices, centers: tuple[Endpoint, ...]) -> bytes:
    addresses, ports = _ends(choices, _SIX, centers)
    body, following = ports + bytes(16), choices.pick((6, 6, 6, 17, 59))
    for _ in range(choices.number(9)):
        kind, length = choices.pick(EXTENSIONS), choices.number(4)
        if kind == 44:
            offset = choices.pick((0, 0, 0, 1, 6, 8, 0x100, 0xFFF8))
            header = bytes([following, length]) + offset.to_bytes(2) + bytes(4)
        else:
            size = (length + 2) * 4 if kind == 51 else (length + 1) * 8
            header = bytes([following, length]).ljust(size, b"\0")
        body, following = header + body, kind
    first = choices.pick((0x60, 0x60, 0x60, 0x6F, 0x40, 0x45, 0x70))
    return bytes([first, 0, 0, 0, 0, 60, following, 64]) + addresses + body


def _beyond_the_filters(frame: bytes, ethernet: bool) -> bool:
    at = tags = 0
    if ethernet:
        at = 12
        while int.from_bytes(frame[at : at + 2]) in TAGS:
            at, tags = at + 4, tags + 1
        at += 2
        if tags > (2 if frame[at - 2 : at] == b"\x86\xdd" else 4):
            return True
    if at + 40 > len(frame) or frame[at] >> 4 != 6:
        return False
    following, at = frame[at + 6], at + 40
    for _ in range(9):
        if following not in EXTENSIONS or at + 2 > len(frame):
            return False
        length = frame[at + 1]
        size = 8 if following == 44 else (length + 2) * 4 if following == 51 else (length + 1) * 8
        following, at = frame[at], at + size
    return True


def _one_by_one(
    frames: list[bytes], ethernet: bool, centers: tuple[Endpoint, ...], most: int = _MOST_BYTES
) -> Counts:
    counter = FlowCounter(_MAX_FLOWS, centers)
    locate = packet.ethernet if ethernet else packet.raw_ip
    for frame in frames:
        length = min(len(frame), most)
        counter.add(frame[:length], length, locate(frame, length), len(frame))
    return counter.take()


def _check_cut(frames: list[bytes], ethernet: bool, centers: tuple[Endpoint, ...]) -> None:
    """Ports may lie beyond what engine ``scapy`` has of a packet, addresses never do."""
    whole = _one_by_one(frames, ethernet, centers)
    cut = _one_by_one(frames, ethernet, centers, SNAP_BYTES)
    assert cut.non_ip == whole.non_ip
    assert cut.counted + cut.own == whole.counted + whole.own
    if all(len(frame) <= SNAP_BYTES for frame in frames):
        assert cut == whole


def _ring(frames: list[bytes], ethernet: bool, centers: tuple[Endpoint, ...]) -> Counts:
    program = _filter(centers, ethernet)
    fake = FakeKernel(max(2, len(frames) // 2))  # goes round, over what other packets left
    ring = Ring(fake.memory, ethernet=ethernet, max_flows=_MAX_FLOWS)
    for frame in frames:
        own = run(program, frame) == OWN_BYTES and len(frame) > OWN_BYTES
        while not fake.put(frame, link=14 if ethernet else 0, own=own):
            ring.pump(1_000)
    while ring.pump(1_000):
        pass
    counts = ring.take()
    ring.close()
    return counts


@cache
def _filter(centers: tuple[Endpoint, ...], ethernet: bool) -> list[Instruction]:
    return decode(build(centers, ethernet=ethernet))


@cache
def _traffic() -> Traffic | None:
    """The programs in the kernel, for the life of this process; None without the right to."""
    if os.geteuid() != 0 and "CI" not in os.environ:
        return None
    return Traffic()


def _program(
    traffic: Traffic, frames: list[bytes], ethernet: bool, centers: tuple[Endpoint, ...]
) -> Counts:
    traffic.set_endpoints(centers)
    for _ in traffic.swap([_INTERFACE], _MAX_FLOWS):
        pass
    for frame in frames:
        program = traffic.programs["ethernet" if ethernet else "ip"]
        returned, _ = kernel.test_run(program, bytes(14) + frame, 1)
        assert returned == 0, "the packet would be queued"
    counts = Counts()
    for _, kind, key, tally in traffic.swap([_INTERFACE], _MAX_FLOWS):
        if kind is Kind.OWN:
            counts.own += tally
        elif kind is Kind.NON_IP:
            counts.non_ip += tally
        elif tally != Tally():
            counts.add(key or OTHER, tally, 10**6)
    return counts


def seeds() -> Iterator[bytes]:
    """Packets of each kind, and those that are nearly the probe's own."""
    yield b""
    for ethernet in range(2):
        for in_kernel in (0, 7):
            head = bytes([ethernet, 0, in_kernel])
            for number in range(6):
                yield head + bytes((number * 77 + n * 31 + n * n) % 256 for n in range(300))
            for _, is_ethernet, made, _, _ in NEARLY_OWN[::7]:
                if is_ethernet is (ethernet == 0) and len(made) < 200:
                    yield head + b"\0\5" + bytes([len(made)]) + made
