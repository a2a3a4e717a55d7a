"""Packets as Hypothesis strategies: what links carry, and what they should not."""

import struct

from hypothesis import strategies as st

MAC = b"\x02" * 12

# Few addresses and ports, so that they meet.
four = st.integers(1, 3).map(lambda n: bytes([10, 0, 0, n]))
six = st.integers(1, 3).map(lambda n: b"\xfd" + bytes(14) + bytes([n]))
ports = st.integers(1, 3).map(lambda n: 10_080 + n)
endpoints = st.one_of(
    st.lists(st.tuples(st.one_of(four, six), ports), max_size=6),
    st.just([(bytes([10, 0, 0, n]), 10_080 + port) for n in (1, 2, 3) for port in (1, 2, 3)]),
)


@st.composite
def ipv4(draw: st.DrawFn) -> bytes:
    words = draw(st.integers(5, 15))
    return (
        bytes([draw(st.sampled_from([0x40, 0x40, 0x40, 0x50])) | words, 0, 0, 60, 0, 0])
        + draw(st.sampled_from([b"\0\0", b"\x40\0", b"\x20\0", b"\0\7", b"\x1f\xff"]))
        + bytes([64, draw(st.sampled_from([6, 6, 6, 17])), 0, 0])
        + draw(four)
        + draw(four)
        + bytes(4 * words - 20)
        + struct.pack("!HH", draw(ports), draw(ports))
        + bytes(16)
    )


@st.composite
def ipv6(draw: st.DrawFn) -> bytes:
    last = draw(st.sampled_from([6, 6, 6, 17, 59]))
    body = struct.pack("!HH", draw(ports), draw(ports)) + bytes(16)
    following = last
    for kind in draw(st.lists(st.sampled_from([0, 43, 44, 51, 60, 135, 139, 140]), max_size=8)):
        if kind == 44:
            offset = draw(st.sampled_from([0, 0, 0, 1, 8, 0xFFF8]))
            header = struct.pack("!BBHI", following, 0, offset, 0)
        else:
            length = draw(st.integers(0, 2))
            size = (length + 2) * 4 if kind == 51 else (length + 1) * 8
            header = (bytes([following, length]) + bytes(6)).ljust(size, b"\0")[:size]
        body, following = header + body, kind
    return bytes([0x60, 0, 0, 0, 0, 60, following, 64]) + draw(six) + draw(six) + body


@st.composite
def frames(draw: st.DrawFn, ethernet: bool) -> bytes:
    body, kind = draw(
        st.one_of(
            st.tuples(ipv4(), st.just(0x0800)),
            st.tuples(ipv6(), st.just(0x86DD)),
            st.tuples(st.binary(max_size=80), st.sampled_from([0x0800, 0x86DD, 0x0806])),
        )
    )
    if ethernet:
        tags = draw(st.lists(st.sampled_from([0x8100, 0x88A8, 0x9100]), max_size=4))
        head = b"".join(struct.pack("!HH", tag, 7) for tag in tags)
        body = MAC + head + struct.pack("!H", kind) + body
    cut = draw(st.one_of(st.just(len(body)), st.integers(0, len(body))))
    return body[:cut]
