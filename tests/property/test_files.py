"""No alteration of a file passes; random sequences against a model of the directory."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wakizashi import wire
from wakizashi.errors import Retryable
from wakizashi.files import WindowDirectory
from wakizashi.filesystem import Filesystem
from wakizashi.model import Window
from wakizashi.window_file import HEADER_BYTES, DamagedFile, Entry, seal, unseal

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


class Flaky(Filesystem):
    """Fails at the calls whose numbers are given."""

    def __init__(self, failing: set[int]) -> None:
        self._failing = failing
        self._calls = 0

    def _call(self) -> None:
        self._calls += 1
        if self._calls in self._failing:
            raise OSError(5, "Input/output error")

    def write_new(self, path: Path, data: bytes) -> None:
        self._call()
        super().write_new(path, data)

    def rename(self, source: Path, target: Path) -> None:
        self._call()
        super().rename(source, target)

    def sync_directory(self, path: Path) -> None:
        self._call()
        super().sync_directory(path)


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["write", "write", "write", "remove", "crash"]), st.integers(0, 5)
        ),
        max_size=25,
    ),
    st.sets(st.integers(1, 60), max_size=12),
)
def test_random_sequences_against_a_model(steps: list[tuple[str, int]], failing: set[int]) -> None:
    """Whatever fails, what write() returned for is there after a crash, and nothing else is whole."""
    disk = Flaky(failing)
    model: dict[int, list[bytes]] = {}
    with tempfile.TemporaryDirectory() as folder:

        def start() -> WindowDirectory:
            target = WindowDirectory(
                Path(folder), key="k", limit_bytes=1 << 20, limit_key="l", filesystem=disk
            )
            target.open()
            return target

        directory = start()
        entries: dict[int, Entry] = {}
        for action, start_ms in steps:
            if action == "write":
                data = wire.encode(Window("p", start_ms, start_ms + 1, start_ms, (), (), ()))
                try:
                    entries[start_ms] = directory.write("p", start_ms, start_ms, data)
                    model[start_ms] = data
                except Retryable:
                    pass
            elif action == "remove" and start_ms in entries:
                directory.remove(entries.pop(start_ms))
                del model[start_ms]
            elif action == "crash":
                directory.close()
                directory = start()
            found = {entry.start_ms: directory.read(entry) for entry in directory.pending()}
            assert found == model
            assert directory.used_bytes == sum(
                path.stat().st_size for path in Path(folder).glob("*.window")
            )
        directory.close()
