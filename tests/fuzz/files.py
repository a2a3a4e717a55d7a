"""Any directory of files: what is whole waits, the rest lies in ``bad/``, nothing is gone.

Also any content of a file by itself, and any name. Held:

- a content is refused as damaged, or gives the window that it was made of, to the last bit;
- opening a directory fails by a message, or each file is where it was or in ``bad/``;
- the next window of a probe has a name that the contract permits.
"""

import os
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tests.fuzz.choices import Choices
from tests.fuzz.windows import make_chunks, make_window, whole
from wakizashi import wire
from wakizashi.errors import WakizashiError
from wakizashi.files import BAD, SENT, WindowDirectory
from wakizashi.model import MAX_INTEGER, MAX_TIME_MS
from wakizashi.window_file import DamagedFile, entry_of, file_name, seal, unseal

_MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
_ODD_NAMES = (
    "x.window",
    "9999999999999-0000000001-{digest}.window",
    "0000000001000-99999999999999999999-{digest}.window",
    ".a.window.tmp",
    "notes.txt",
    "0000000001000-0000000001-{digest}.window",
    "٠٠٠٠٠٠٠٠٠١٠٠٠-0000000001-{digest}.window",
)


def fuzz(data: bytes) -> None:
    choices = Choices(data)
    if choices.chance(4):
        _content(choices.rest())
        return
    with tempfile.TemporaryDirectory(dir=_MEMORY) as name:
        _directory(choices, Path(name))


def _content(content: bytes) -> None:
    for payload in (content, _unsealed(content)):
        if payload is None:
            continue
        try:
            chunks = wire.unpack(payload)
        except wire.InvalidWindow:
            continue
        assert wire.pack(chunks) == payload
        try:
            window = wire.decode(chunks)
        except wire.InvalidWindow:
            assert whole(chunks) is None
        else:
            assert whole(chunks) is not None
            assert wire.decode(wire.encode(window)) == window


def _unsealed(content: bytes) -> bytes | None:
    try:
        payload = unseal(content)
    except DamagedFile:
        return None
    assert seal(payload) == content
    return payload


def _file(choices: Choices) -> tuple[str, bytes]:
    window = make_window(choices)
    chunks = make_chunks(choices, window)
    name = file_name(window.probe, window.start_ms, window.number)
    content = seal(wire.pack(chunks))
    kind = choices.number(7)
    if kind == 1:
        content = choices.altered(content)
    elif kind == 2:
        at = choices.number(len(chunks))
        chunks[at] = choices.altered(chunks[at])
        content = seal(wire.pack(chunks))
    elif kind == 3:
        content = seal(choices.altered(wire.pack(chunks)))
    elif kind == 4:
        digest = name.removesuffix(".window").rpartition("-")[2]
        name = choices.pick(_ODD_NAMES).format(digest=digest)
    elif kind == 5:
        content = choices.block(100)
    elif kind == 6:
        raw = choices.block(40).translate(None, b"/\0")
        name = os.fsdecode(raw if raw.strip(b".") else b"x") + choices.pick((".window", ""))
    return name, content


def _directory(choices: Choices, path: Path) -> None:
    for folder in (BAD, SENT):
        (path / folder).mkdir()
    before: dict[Path, bytes] = {}
    for _ in range(1 + choices.number(5)):
        name, content = _file(choices)
        file = path / choices.pick(("", "", "", BAD, SENT)) / name
        file.write_bytes(content)
        before[file] = content
    for _ in range(choices.number(2)):
        (path / "0000000001000-0000000001-aaaaaaaaaaaa.window").mkdir(exist_ok=True)
    directory = WindowDirectory(path, key="dumpDir", limit_bytes=2**30, limit_key="dumpLimit")
    try:
        directory.open(keeps_sent=True)
    except WakizashiError as error:
        said = str(error)
        if str(path) not in said or "; " not in said:
            raise AssertionError("it says neither where nor what to do") from error
        _check_nothing_is_gone(before, path)
        return
    try:
        _check_nothing_is_gone(before, path)
        pending = directory.pending()
        assert {entry.name for entry in pending} == {p.name for p in path.glob("*.window")}
        assert directory.used_bytes == sum(p.stat().st_size for p in path.glob("*.window"))
        for entry in pending:
            chunks = directory.read(entry)
            assert chunks is not None and whole(chunks) is not None
            window = wire.decode(chunks)
            assert (window.start_ms, window.number) == (entry.start_ms, entry.number)
            _check_next(directory, window.probe)
        for probe in ("vm-1", "vm-2", "ns/pod ü", "x" * 253):
            _check_next(directory, probe)
    finally:
        directory.close()


def _check_nothing_is_gone(before: dict[Path, bytes], path: Path) -> None:
    """Each file's content is still there as often as it was, temporaries of the scan excepted."""
    after = Counter(file.read_bytes() for file in path.rglob("*") if file.is_file())
    kept = Counter(
        content
        for file, content in before.items()
        if not (file.parent == path and _is_temporary(file.name))
    )
    assert kept <= after


def _is_temporary(name: str) -> bool:
    return name.startswith(".") and name.endswith(".window.tmp")


def _check_next(directory: WindowDirectory, probe: str) -> None:
    start, number = directory.last_identity(probe)
    assert start <= MAX_TIME_MS and number <= MAX_INTEGER, "no window can follow that one"
    name = file_name(probe, max(start, 0), number)
    entry = entry_of(name, 0)
    assert entry is not None and (entry.start_ms, entry.number) == (max(start, 0), number)


def seeds() -> Iterator[bytes]:
    """Whole and damaged files, contents alone."""
    yield b""
    from tests.center_windows import window

    yield b"\3" + seal(wire.pack(wire.encode(window(1))))
    yield b"\3" + wire.pack(wire.encode(window(1)))
    for kind in range(7):
        yield bytes([0, 4, *([1, 1, 0, 3, 1, kind, 2] * 20)])
        yield bytes([0, 3]) + bytes((kind * 91 + n * 57 + n * n) % 256 for n in range(200))
