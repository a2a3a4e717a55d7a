"""No alteration of a file passes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wakizashi.window_file import HEADER_BYTES, DamagedFile, seal, unseal

payloads = st.binary(max_size=300)


@given(payloads)
def test_round_trip(payload: bytes) -> None:
    assert unseal(seal(payload)) == payload
    assert len(seal(payload)) == HEADER_BYTES + len(payload)


@given(payloads, st.data())
def test_any_flipped_bit_is_detected(payload: bytes, choice: st.DataObject) -> None:
    content = bytearray(seal(payload))
    bit = choice.draw(st.integers(0, len(content) * 8 - 1))
    content[bit // 8] ^= 1 << bit % 8
    with pytest.raises(DamagedFile):
        unseal(bytes(content))


@given(st.binary(max_size=40))
def test_every_flipped_bit_and_every_truncation_is_detected(payload: bytes) -> None:
    content = seal(payload)
    for length in range(len(content)):
        with pytest.raises(DamagedFile):
            unseal(content[:length])
    for bit in range(len(content) * 8):
        altered = bytearray(content)
        altered[bit // 8] ^= 1 << bit % 8
        with pytest.raises(DamagedFile):
            unseal(bytes(altered))


@given(payloads, st.binary(min_size=1, max_size=40))
def test_appended_bytes_are_detected(payload: bytes, more: bytes) -> None:
    with pytest.raises(DamagedFile):
        unseal(seal(payload) + more)


@given(payloads, st.data())
def test_a_torn_tail_of_zeros_is_detected(payload: bytes, choice: st.DataObject) -> None:
    content = seal(payload)
    length = choice.draw(st.integers(0, len(content) - 1))
    torn = content[:length] + bytes(len(content) - length)
    if torn != content:
        with pytest.raises(DamagedFile):
            unseal(torn)


@given(st.binary(max_size=400))
def test_any_bytes_are_damaged_or_sealed(content: bytes) -> None:
    try:
        payload = unseal(content)
    except DamagedFile:
        return
    assert seal(payload) == content
