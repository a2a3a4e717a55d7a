"""Windows survive the wire; any other bytes are refused, and in one way only."""

import contextlib

from hypothesis import given
from hypothesis import strategies as st

from wakizashi import wire
from wakizashi.model import (
    MAX_TIME_MS,
    TALLIES,
    DeviceLedger,
    Direction,
    Flow,
    Ledger,
    Tally,
    Window,
)

names = st.text(
    st.characters(codec="utf-8", exclude_characters="\\\x7f", exclude_categories=["Cc"]),
    min_size=1,
    max_size=20,
).filter(lambda name: name == name.strip())
tag_keys = st.from_regex(r"[A-Za-z][A-Za-z0-9_.-]{0,62}", fullmatch=True).filter(
    lambda key: key not in wire.RESERVED_TAGS
)
integers = st.integers(0, 2**40)
tallies = st.builds(Tally, integers, integers)
ledgers = st.builds(Ledger, *[tallies] * len(TALLIES))
addresses = st.one_of(
    st.just(b""), st.binary(min_size=4, max_size=4), st.binary(min_size=16, max_size=16)
)


@st.composite
def flows(draw: st.DrawFn, devices: int) -> Flow:
    """A valid flow."""
    length = draw(st.sampled_from([4, 16]))
    address = st.binary(min_size=length, max_size=length)
    packets = draw(st.integers(1, 2**40))
    return Flow(
        draw(st.integers(0, devices - 1)),
        draw(st.sampled_from(Direction)),
        draw(address),
        draw(address),
        draw(st.integers(packets, 2**50)),
        packets,
    )


@st.composite
def windows(draw: st.DrawFn) -> Window:
    """A valid window."""
    start = draw(st.integers(0, MAX_TIME_MS - 1))
    devices = tuple(
        DeviceLedger(name, draw(addresses), draw(ledgers))
        for name in draw(st.lists(names, max_size=4, unique=True))
    )
    number = draw(st.integers(0, 2**63 - 1))
    return Window(
        probe=draw(names),
        start_ms=start,
        end_ms=draw(st.integers(start + 1, MAX_TIME_MS)),
        number=number,
        tags=tuple(sorted(draw(st.dictionaries(tag_keys, names, max_size=4)).items())),
        devices=devices,
        flows=tuple(draw(st.lists(flows(len(devices)), max_size=8))) if devices else (),
        windows=draw(st.integers(1, min(max(1, number), 2**32 - 1))),
    )


@given(windows())
def test_round_trip(window: Window) -> None:
    chunks = wire.encode(window)
    assert wire.decode(chunks) == window
    assert wire.decode(wire.unpack(wire.pack(chunks))) == window
    assert wire.encode(wire.decode(chunks)) == chunks


@given(st.lists(st.binary(max_size=30), min_size=1))
def test_pack_and_unpack(chunks: list[bytes]) -> None:
    assert wire.unpack(wire.pack(chunks)) == chunks


@given(st.binary(max_size=200))
def test_any_bytes_only_ever_raise_invalid_window(data: bytes) -> None:
    with contextlib.suppress(wire.InvalidWindow):
        wire.decode([data])
    with contextlib.suppress(wire.InvalidWindow):
        wire.decode(wire.unpack(data))


@given(windows(), st.data())
def test_altered_chunks_are_refused_or_a_valid_window(
    window: Window, choice: st.DataObject
) -> None:
    (chunk,) = wire.encode(window)
    altered = bytearray(chunk)
    for _ in range(choice.draw(st.integers(1, 3))):
        altered[choice.draw(st.integers(0, len(altered) - 1))] = choice.draw(st.integers(0, 255))
    with contextlib.suppress(wire.InvalidWindow):
        decoded = wire.decode([bytes(altered)])
        assert wire.decode(wire.encode(decoded)) == decoded


@given(st.lists(st.one_of(windows().map(lambda w: wire.encode(w)[0]), st.binary(max_size=20))))
def test_an_assembly_takes_every_whole_window_whatever_came_before(stream: list[bytes]) -> None:
    assembly = wire.Assembly()
    for data in stream:
        try:
            alone: Window | None = wire.decode([data])
        except wire.InvalidWindow:
            alone = None
        try:
            found = assembly.add(data)
        except wire.InvalidWindow:
            found = None
        assert found == alone
