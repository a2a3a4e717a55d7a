"""Packets as Hypothesis strategies: what links carry, and what they should not."""

import struct
from collections.abc import Iterator, Sequence

from hypothesis import strategies as st

from wakizashi.probe.capture import Endpoint

MAC = b"\x02" * 12
TAGS = (0x8100, 0x88A8, 0x9100)
EXTENSIONS = (0, 43, 44, 51, 60, 135, 139, 140)

# Few addresses and ports, so that they meet; each address differs from another in one word alone.
four = st.integers(1, 3).map(lambda n: bytes([10, 0, 0, n]))
six = st.sampled_from(
    [b"\xfd" + bytes(15)]
    + [b"\xfd" + bytes(at - 1) + b"\1" + bytes(15 - at) for at in (3, 4, 7, 11, 15)]
)
ports = st.one_of(st.integers(1, 3).map(lambda n: 10_080 + n), st.integers(0, 65_535))
_addresses = st.one_of(
    four, six, st.binary(min_size=4, max_size=4), st.binary(min_size=16, max_size=16)
)
# A center's port is never 0; a packet's may be.
_endpoint = st.tuples(_addresses, st.one_of(st.just(10_081), ports.filter(bool)))
endpoints = st.one_of(st.lists(_endpoint, max_size=6), st.lists(_endpoint, max_size=64))


@st.composite
def _ends(
    draw: st.DrawFn, addresses: st.SearchStrategy[bytes], centers: Sequence[Endpoint]
) -> tuple[bytes, bytes]:
    """Both addresses and both ports; mostly one side is a center, as far as there are any."""
    ends = [(draw(addresses), draw(ports)), (draw(addresses), draw(ports))]
    mine = [end for end in centers if len(end[0]) == len(ends[0][0])]
    side = draw(st.sampled_from([0, 1, None]))
    if mine and side is not None:
        address, port = draw(st.sampled_from(mine))
        ends[side] = address, draw(st.sampled_from([port, port, port, 0, port ^ 0x100, port ^ 1]))
    (source, from_port), (destination, to_port) = ends
    return source + destination, struct.pack("!HH", from_port, to_port)


@st.composite
def ipv4(draw: st.DrawFn, centers: Sequence[Endpoint] = ()) -> bytes:
    """Header lengths from none to the most, fragments, versions that contradict."""
    words = draw(st.one_of(st.just(5), st.integers(0, 15)))
    addresses, tcp = draw(_ends(four, centers))
    fragment = draw(st.sampled_from([0, 0, 0, 0, 0x4000, 0x2000, 7, 0x100, 0x1000, 0x1FFF, 0x8000]))
    return (
        bytes([draw(st.sampled_from([0x40, 0x40, 0x40, 0x40, 0x50, 0x60])) | words])
        + bytes([0, 0, 60, 0, 0])
        + struct.pack("!H", fragment)
        + bytes([64, draw(st.sampled_from([6, 6, 6, 6, 17])), 0, 0])
        + addresses
        # Where the header says it is shorter than it can be, ports seem to lie in it.
        + bytes(max(0, 4 * words - 20))
        + tcp
        + bytes(16)
    )


@st.composite
def ipv6(draw: st.DrawFn, centers: Sequence[Endpoint] = ()) -> bytes:
    """Any chain of up to as many extension headers as all engines follow."""
    last = draw(st.sampled_from([6, 6, 6, 6, 17, 59]))
    addresses, tcp = draw(_ends(six, centers))
    body, following = tcp + bytes(16), last
    chain = st.lists(st.sampled_from(EXTENSIONS), max_size=8)
    eight = st.lists(st.sampled_from(EXTENSIONS), min_size=8, max_size=8)
    for kind in draw(st.one_of(chain, chain, eight)):
        if kind == 44:
            offset = draw(st.sampled_from([0, 0, 0, 0, 1, 6, 8, 0x100, 0xFFF8]))
            header = struct.pack("!BBHI", following, draw(st.integers(0, 255)), offset, 0)
        else:
            length = draw(st.integers(0, 3))
            size = (length + 2) * 4 if kind == 51 else (length + 1) * 8
            header = bytes([following, length]).ljust(size, b"\0")
        body, following = header + body, kind
    version = draw(st.sampled_from([0x60, 0x60, 0x60, 0x60, 0x40, 0x45, 0x70]))
    return bytes([version, 0, 0, 0, 0, 60, following, 64]) + addresses + body


@st.composite
def frames(
    draw: st.DrawFn, ethernet: bool, centers: Sequence[Endpoint] = (), most_tags: int = 4
) -> bytes:
    """A packet as a tap sees it, now and then cut off anywhere."""
    body, kind = draw(
        st.one_of(
            st.tuples(ipv4(centers), st.just(0x0800)),
            st.tuples(ipv6(centers), st.just(0x86DD)),
            st.tuples(st.binary(max_size=80), st.sampled_from([0x0800, 0x86DD, 0x0806])),
        )
    )
    if ethernet:
        some = st.lists(st.sampled_from(TAGS), max_size=most_tags)
        most = st.lists(st.sampled_from(TAGS), min_size=most_tags, max_size=most_tags)
        head = b"".join(struct.pack("!HH", tag, 7) for tag in draw(st.one_of(some, some, most)))
        body = MAC + head + struct.pack("!H", kind) + body
    whole = st.just(len(body))
    # Where the cut tells: among the last headers, or anywhere.
    near = st.integers(max(0, len(body) - 24), len(body))
    return body[: draw(st.one_of(whole, whole, near, st.integers(0, len(body))))]


CENTER_FOUR, CENTER_SIX = (bytes([10, 0, 0, 9]), 10_080), (b"\xfd" + bytes(15), 10_080)


def to_four(first: int = 0x45, fragment: int = 0, port: int = CENTER_FOUR[1]) -> bytes:
    """TCP over IPv4 from 0.0.0.0 to the center."""
    head = bytes([first, 0, 0, 60, 0, 0]) + struct.pack("!H", fragment) + b"\x40\x06" + bytes(6)
    return head + CENTER_FOUR[0] + struct.pack("!HH", 999, port) + bytes(16)


def to_six(chain: Sequence[int] = (), first: int = 0x60, fragment: int = 0) -> bytes:
    """TCP over IPv6 from :: to the center, behind extension headers of 8 bytes each."""
    body = struct.pack("!HH", 999, CENTER_SIX[1]) + bytes(16)
    following = 6
    for kind in reversed(chain):
        middle = fragment if kind == 44 else 0
        body = struct.pack("!BBHI", following, 0, middle, 0) + body
        following = kind
    return bytes([first, 0, 0, 0, 0, 60, following, 64]) + bytes(16) + CENTER_SIX[0] + body


def _nearly_own() -> Iterator[tuple[str, bool, bytes, Endpoint, bool]]:
    for fragment in (0, 0x2000, 0x4000, 0x8000, 1, 8, 0x80, 0x100, 0x1000, 0x1FFF):
        made = to_four(fragment=fragment)
        yield f"IPv4, fragment {fragment:#x}", False, made, CENTER_FOUR, not fragment & 0x1FFF
    for fragment in (0, 1, 6, 8, 0x10, 0x80, 0x100, 0x1000, 0x8000, 0xFFF8):
        made = to_six([44], fragment=fragment)
        yield f"IPv6, fragment {fragment:#x}", False, made, CENTER_SIX, not fragment & 0xFFF8
    for kind in EXTENSIONS:
        yield f"IPv6, extension {kind}", False, to_six([kind]), CENTER_SIX, True
        for length in (1, 2, 4):  # of an AH in words less two, of the others in eights less one
            size = 8 if kind == 44 else (length + 2) * 4 if kind == 51 else (length + 1) * 8
            made = to_six([kind])
            made = made[:40] + bytes([6, length]).ljust(size, b"\0") + made[48:]
            yield f"IPv6, extension {kind}, length {length}", False, made, CENTER_SIX, True
    for kind in (1, 4, 41, 50, 59, 61, 253):
        yield f"IPv6, no extension {kind}", False, to_six([kind]), CENTER_SIX, False
    for protocol in (0, 1, 17, 47, 50, 132, 255):
        made = to_four()[:9] + bytes([protocol]) + to_four()[10:]
        yield f"IPv4, protocol {protocol}", False, made, CENTER_FOUR, False
    # In a header of four words the destination address would stand where the ports are looked for.
    port = int.from_bytes(CENTER_FOUR[0][2:])
    yield "IPv4, header of four words", False, to_four(0x44), (CENTER_FOUR[0], port), False
    for version in (0, 4, 5, 6, 15):
        for ether_type, made, center, right in (
            (b"\x08\x00", to_four(version << 4 | 5), CENTER_FOUR, 4),
            (b"\x86\xdd", to_six(first=version << 4), CENTER_SIX, 6),
        ):
            name = f"EtherType {ether_type.hex()}, version {version}"
            yield name, True, MAC + ether_type + made, center, version == right
    for other in (b"\x08\x06", b"\x88\x47", b"\x00\x2e"):
        yield f"EtherType {other.hex()}", True, MAC + other + to_four(), CENTER_FOUR, False


NEARLY_OWN = list(_nearly_own())
"""Name, whether it is Ethernet, packet, center, and whether it is own."""
