"""Window files under every named corruption, and under failures of every single system call."""

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from wakizashi import wire
from wakizashi.durable import NO_LINKS
from wakizashi.errors import Retryable, WakizashiError
from wakizashi.files import BAD, SENT, DirectoryLocked, WindowDirectory
from wakizashi.filesystem import Filesystem
from wakizashi.model import DeviceLedger, Direction, Flow, Ledger, Window
from wakizashi.window_file import (
    HEADER_BYTES,
    DamagedFile,
    Entry,
    file_name,
    probe_digest,
    seal,
    unseal,
)

START = 1_700_000_000_000
PROBE = "web-1"


def chunks(
    start_ms: int = START, number: int = 1, probe: str = PROBE, flows: int = 1
) -> list[bytes]:
    """The chunks of a small window."""
    flow = Flow(0, Direction.OUT, bytes(4), bytes([1, 2, 3, 4]), 100, 1)
    device = DeviceLedger("eth0", b"", Ledger())
    return wire.encode(
        Window(probe, start_ms, start_ms + 1000, number, (), (device,), (flow,) * flows)
    )


class Failing(Filesystem):
    """Raises ``error`` at the ``at``-th call that changes something, and at each later one if asked."""

    def __init__(self, at: int = 0, error: int = errno.ENOSPC, *, torn: int | None = None) -> None:
        self.at = at
        self.error = error
        self.torn = torn
        """Bytes that a failing write leaves behind."""
        self.for_ever = False
        self.calls: list[str] = []

    def _call(self, name: str) -> None:
        self.calls.append(name)
        if len(self.calls) == self.at or (self.for_ever and len(self.calls) >= self.at > 0):
            raise OSError(self.error, os.strerror(self.error))

    def write_new(self, path: Path, data: bytes) -> None:
        try:
            self._call("write_new")
        except OSError:
            if self.torn is not None:
                super().write_new(path, data[: self.torn])
            raise
        super().write_new(path, data)

    def rename(self, source: Path, target: Path) -> None:
        self._call("rename")
        super().rename(source, target)

    def sync_directory(self, path: Path) -> None:
        self._call("sync_directory")
        super().sync_directory(path)

    def remove(self, path: Path) -> None:
        self._call("remove")
        super().remove(path)


def directory(
    path: Path, *, limit: int = 1 << 20, filesystem: Filesystem | None = None
) -> WindowDirectory:
    """An opened directory."""
    opened = WindowDirectory(
        path, key="dumpDir", limit_bytes=limit, limit_key="dumpLimit", filesystem=filesystem
    )
    if isinstance(filesystem, Failing):  # what opening does is not what is made to fail here
        at, filesystem.at = filesystem.at, 0
        opened.open()
        filesystem.at = at
        filesystem.calls.clear()
    else:
        opened.open()
    return opened


def put(target: WindowDirectory, start_ms: int = START, number: int = 1, flows: int = 1) -> Entry:
    return target.write(PROBE, start_ms, number, chunks(start_ms, number, flows=flows))


def windows_at(path: Path) -> list[str]:
    return sorted(name for name in os.listdir(path) if name.endswith(".window"))


def test_write_read_and_remove(tmp_path: Path) -> None:
    target = directory(tmp_path)
    entry = put(target)
    assert entry.name == f"1700000000000-0000000001-{probe_digest(PROBE)}.window"
    assert entry.size == (tmp_path / entry.name).stat().st_size == target.used_bytes
    assert target.read(entry) == chunks()
    assert target.pending() == [entry]
    target.remove(entry)
    assert target.pending() == [] and target.used_bytes == 0
    assert os.listdir(tmp_path) == []


def test_a_file_is_its_header_and_its_payload() -> None:
    content = seal(b"payload")
    assert content[:16] == b"WKZW\x01\0\0\0\x07\0\0\0\0\0\0\0"
    assert content[HEADER_BYTES:] == b"payload"


def flipped(content: bytes, position: int) -> bytes:
    return content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :]


SEALED = seal(wire.pack(chunks()))
DAMAGES = {
    "empty": (b"", "shorter than a header"),
    "torn header": (SEALED[: HEADER_BYTES - 1], "shorter than a header"),
    "header alone": (SEALED[:HEADER_BYTES], "0 bytes of payload"),
    "torn payload": (SEALED[:-1], "expected"),
    "bytes behind": (SEALED + b"\0", "expected"),
    "zeros": (bytes(len(SEALED)), "not a window file"),
    "foreign": (b"\x7fELF" + SEALED[4:], "not a window file"),
    "version 2": (SEALED[:4] + b"\x02\0" + SEALED[6:], "format version 2; this release reads"),
    "flag": (SEALED[:6] + b"\x01\0" + SEALED[8:], "format version 1"),
    "flipped length": (flipped(SEALED, 8), "expected"),
    "flipped checksum": (flipped(SEALED, 16), "checksum"),
    "flipped payload": (flipped(SEALED, HEADER_BYTES + 3), "checksum"),
    "zeroed tail": (SEALED[:-8] + bytes(8), "checksum"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_known_damage(damage: str, tmp_path: Path) -> None:
    content, words = DAMAGES[damage]
    with pytest.raises(DamagedFile, match=words):
        unseal(content)
    # At the start it goes to bad/, and the whole file beside it stays.
    tmp_path.joinpath(file_name(PROBE, START, 1)).write_bytes(content)
    whole = file_name(PROBE, START + 1, 2)
    tmp_path.joinpath(whole).write_bytes(seal(wire.pack(chunks(START + 1, 2))))
    target = directory(tmp_path)
    assert [entry.name for entry in target.pending()] == [whole]
    assert (tmp_path / BAD / file_name(PROBE, START, 1)).read_bytes() == content
    ((name, reason),) = target.moved_to_bad
    assert name == file_name(PROBE, START, 1) and words in reason
    assert target.used_bytes == (tmp_path / whole).stat().st_size


def test_open_sorts_what_a_crash_left(tmp_path: Path) -> None:
    good = file_name(PROBE, START, 1)
    content = seal(wire.pack(chunks()))
    foreign = {
        "notes.window": content,
        f"1700000000000-1-{probe_digest(PROBE)}.window": content,
        # whole, but of another start, number and probe than their names say
        file_name(PROBE, START + 5, 1): content,
        file_name(PROBE, START, 2): content,
        file_name("web-2", START, 1): content,
        # intact, but no chunks; chunks, but not all of them
        file_name(PROBE, START + 6, 3): seal(b"\1\0\0\0x"),
        file_name(PROBE, START + 7, 4): seal(
            wire.pack(chunks(START + 7, 4, flows=wire.MAX_CHUNK_RECORDS + 1)[:1])
        ),
    }
    for name, data in foreign.items():
        (tmp_path / name).write_bytes(data)
    (tmp_path / good).write_bytes(content)
    (tmp_path / f".{good}.tmp").write_bytes(b"torn")
    (tmp_path / "download.tmp").write_bytes(b"somebody else's")
    (tmp_path / "README").write_bytes(b"somebody else's")
    target = directory(tmp_path)
    assert [entry.name for entry in target.pending()] == [good]
    assert sorted(os.listdir(tmp_path / BAD)) == sorted(foreign)
    assert {name for name, _ in target.moved_to_bad} == set(foreign)
    assert sorted(os.listdir(tmp_path)) == sorted([good, "README", "download.tmp", BAD])


def test_bad_never_loses_an_earlier_file_of_the_same_name(tmp_path: Path) -> None:
    name = file_name(PROBE, START, 1)
    for content in (b"first", b"second", b"third"):
        (tmp_path / name).write_bytes(content)
        directory(tmp_path).close()
    contents = sorted(path.read_bytes() for path in (tmp_path / BAD).iterdir())
    assert contents == [b"first", b"second", b"third"]


def test_damage_while_open_is_found_by_read(tmp_path: Path) -> None:
    target = directory(tmp_path)
    first, second = put(target), put(target, START + 1, 2)
    (tmp_path / first.name).write_bytes(b"WKZW")
    assert target.read(first) is None
    assert target.pending() == [second] and target.used_bytes == second.size
    assert (tmp_path / BAD / first.name).read_bytes() == b"WKZW"
    (tmp_path / second.name).unlink()
    assert target.read(second) is None
    assert target.pending() == [] and target.used_bytes == 0
    assert len(target.moved_to_bad) == 2


def test_a_disk_that_does_not_read_is_no_damage(tmp_path: Path) -> None:
    class Unreadable(Filesystem):
        def read(self, path: Path) -> bytes:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    target = directory(tmp_path, filesystem=Unreadable())
    entry = put(target)
    with pytest.raises(Retryable, match="dumpDir: .*Input/output error"):
        target.read(entry)
    assert target.pending() == [entry] and windows_at(tmp_path) == [entry.name]


STEPS = 4
"""Calls that change something in one write: remove, write_new, rename, sync_directory."""


def test_the_steps_of_a_write_in_their_order(tmp_path: Path) -> None:
    failing = Failing()
    target = directory(tmp_path, filesystem=failing)
    put(target)
    assert failing.calls == ["remove", "write_new", "rename", "sync_directory"]
    assert len(failing.calls) == STEPS


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("step", range(1, STEPS + 1))
@pytest.mark.parametrize("torn", [None, 0, 10, 30])
@pytest.mark.parametrize("for_ever", [False, True], ids=["once", "for ever"])
def test_write_fails_at_any_step(
    error: int, step: int, torn: int | None, for_ever: bool, tmp_path: Path
) -> None:
    failing = Failing(step, error, torn=torn)
    failing.for_ever = for_ever
    target = directory(tmp_path, filesystem=failing)
    with pytest.raises(Retryable) as refusal:
        put(target)
    message = str(refusal.value)
    assert "dumpDir" in message and str(tmp_path) in message and os.strerror(error) in message
    assert target.pending() == []
    # What has its name and won't go takes room, though it is no window that waits.
    assert target.used_bytes == sum(path.stat().st_size for path in tmp_path.glob("*.window"))
    if not for_ever:
        assert os.listdir(tmp_path) == []
    target.close()
    # A crash right now: what the next start finds is a whole window, or none.
    survivor = directory(tmp_path)
    assert survivor.moved_to_bad == []
    assert all(survivor.read(entry) == chunks() for entry in survivor.pending())
    assert len(survivor.pending()) == int(for_ever and step == STEPS)
    # And later, with a longer window of the same start, it goes.
    entry = put(survivor, flows=5)
    assert survivor.read(entry) == chunks(flows=5)
    assert survivor.used_bytes == (tmp_path / entry.name).stat().st_size


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("step", range(1, STEPS + 1))
def test_failing_rewrite_leaves_a_whole_file(error: int, step: int, tmp_path: Path) -> None:
    failing = Failing()
    target = directory(tmp_path, filesystem=failing)
    entry = put(target)
    failing.at, failing.error = len(failing.calls) + step, error
    with pytest.raises(Retryable):
        put(target, flows=5)
    assert windows_at(tmp_path) == [entry.name] == os.listdir(tmp_path)
    (kept,) = target.pending()
    # Up to the rename it is the old file. After it the new one is in place, as good as the old.
    assert target.read(kept) == chunks(flows=1 if step < STEPS else 5)
    target.close()
    assert len(directory(tmp_path).pending()) == 1


def test_a_rewrite_counts_once(tmp_path: Path) -> None:
    target = directory(tmp_path)
    put(target, flows=5)
    entry = put(target, flows=2)
    assert target.pending() == [entry]
    assert target.used_bytes == entry.size == (tmp_path / entry.name).stat().st_size


def test_who_removes_it_by_an_earlier_entry_frees_what_it_had(tmp_path: Path) -> None:
    target = directory(tmp_path)
    earlier = put(target)
    put(target, flows=5)
    target.remove(earlier)
    assert target.used_bytes == 0


def test_a_failed_fsync_is_followed_by_a_new_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []

    def fsync(descriptor: int) -> None:
        synced.append(os.fstat(descriptor).st_ino)
        if len(synced) == 1:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    target = directory(tmp_path)
    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(Retryable, match="Input/output error"):
        put(target)
    assert len(synced) == 1 and os.listdir(tmp_path) == []
    put(target)
    assert len(synced) == 3  # the new file, the directory


def test_a_short_write_is_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, bytes(data)[:7]))
    target = directory(tmp_path)
    assert target.read(put(target)) == chunks()


def test_quota_refuses_with_the_key_and_takes_again_once_there_is_room(tmp_path: Path) -> None:
    size = len(seal(wire.pack(chunks())))
    target = directory(tmp_path, limit=2 * size)
    first = put(target)
    put(target, START + 1, 2)
    with pytest.raises(Retryable) as refusal:
        put(target, START + 2, 3)
    message = str(refusal.value)
    assert "dumpLimit" in message and str(2 * size) in message and "2 windows" in message
    assert len(windows_at(tmp_path)) == 2
    assert put(target) == first  # a rewrite of the same length needs no room
    target.remove(first)
    put(target, START + 2, 3)


def test_quota_counts_what_was_there_at_the_start(tmp_path: Path) -> None:
    first = directory(tmp_path)
    put(first)
    first.close()
    again = directory(tmp_path, limit=len(seal(wire.pack(chunks()))))
    with pytest.raises(Retryable, match="dumpLimit"):
        put(again, START + 1, 2)


def test_reopened_counts_once(tmp_path: Path) -> None:
    target = directory(tmp_path)
    entry = put(target)
    target.close()
    target.open()
    assert target.pending() == [entry] and target.used_bytes == entry.size


def test_pending_is_oldest_first(tmp_path: Path) -> None:
    target = directory(tmp_path)
    for start, number in [(START + 9, 3), (START, 1), (START + 5, 2), (5, 4)]:
        put(target, start, number)
    order = [entry.start_ms for entry in target.pending()]
    assert order == [5, START, START + 5, START + 9]
    assert [entry.name for entry in target.pending()] == windows_at(tmp_path)  # as ls lists them
    target.close()
    assert [entry.start_ms for entry in directory(tmp_path).pending()] == order


def test_lock_conflict_names_key_directory_and_remedy(tmp_path: Path) -> None:
    first = directory(tmp_path)
    with pytest.raises(DirectoryLocked) as refusal:
        directory(tmp_path)
    message = str(refusal.value)
    assert message.startswith(f"dumpDir: {tmp_path} is in use by another process; ")
    put(first)  # the loser took nothing away
    first.close()
    directory(tmp_path).close()


def test_a_directory_that_can_not_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(WakizashiError, match=f"^dumpDir: {path}: .*; name a directory"):
            directory(path)


class ReadOnly(Filesystem):
    """Where nothing can be made."""

    def make_directory(self, path: Path) -> None:
        if not path.is_dir():
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))


@pytest.mark.parametrize("place", [".", "new/dump"])
def test_a_directory_on_a_read_only_file_system(place: str, tmp_path: Path) -> None:
    target = WindowDirectory(
        tmp_path / place,
        key="dumpDir",
        limit_bytes=1,
        limit_key="dumpLimit",
        filesystem=ReadOnly(),
    )
    wanted = "Read-only file system.*; mount a volume there .*, or name another dumpDir$"
    with pytest.raises(WakizashiError, match=wanted):
        target.open(keeps_sent=True)


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (errno.EROFS, "mount a volume there that can be written, or name another dumpDir"),
        (errno.ENOSPC, "make room, or mend the disk"),
    ],
)
def test_what_helps_where_a_window_can_not_be_written(
    error: int, remedy: str, tmp_path: Path
) -> None:
    target = directory(tmp_path, filesystem=Failing(2, error))
    with pytest.raises(
        Retryable, match=f"can't write a window .*: {os.strerror(error)}; {remedy}$"
    ):
        put(target)


def test_modes(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        target = directory(tmp_path / "dump")
        other, entry = put(target), put(target, START + 1, 2)
        target.keep_sent(entry, newest_only=True)
        target.quarantine(other, "test")
    finally:
        os.umask(old)
    dump = tmp_path / "dump"
    for folder in (dump, dump / SENT, dump / BAD):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for file in (dump / SENT / entry.name, dump / BAD / other.name):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_sent_keeps_the_newest_only(tmp_path: Path) -> None:
    target = directory(tmp_path)
    entries = [put(target, START + i, 1 + i) for i in range(3)]
    for entry in (entries[1], entries[0], entries[2]):  # acks come in any order
        target.keep_sent(entry, newest_only=True)
        assert target.last_identity(PROBE) == (START + 2, 3)
    assert windows_at(tmp_path / SENT) == [entries[2].name]
    assert target.pending() == [] and target.used_bytes == 0


def test_an_ack_out_of_order_never_evicts_the_newest(tmp_path: Path) -> None:
    target = directory(tmp_path)
    entries = [put(target, START + i, 1 + i) for i in range(2)]
    target.keep_sent(entries[1], newest_only=True)
    target.keep_sent(entries[0], newest_only=True)
    assert windows_at(tmp_path / SENT) == [entries[1].name]


def test_sent_keeps_to_the_quota_and_the_newest_in_any_case(tmp_path: Path) -> None:
    size = len(seal(wire.pack(chunks())))
    target = directory(tmp_path, limit=3 * size)
    for i in range(5):
        target.keep_sent(put(target, START + i, 1 + i), newest_only=False)
    kept = [entry.start_ms for entry, _ in target.sent()]
    assert kept == [START + 2, START + 3, START + 4]
    assert [content for _, content in target.sent()] == [
        chunks(START + i, 1 + i) for i in (2, 3, 4)
    ]
    target.close()
    small = directory(tmp_path, limit=size - 1)
    assert len(list(small.sent())) == 3
    bigger = WindowDirectory(tmp_path / "x", key="k", limit_bytes=size, limit_key="l")
    bigger.open()
    entry = put(bigger)
    bigger.limit_bytes = 1
    bigger.keep_sent(entry, newest_only=False)
    assert windows_at(tmp_path / "x" / SENT) == [entry.name]


def test_last_identity_over_waiting_sent_and_bad(tmp_path: Path) -> None:
    target = directory(tmp_path)
    assert target.last_identity(PROBE) == (-1, 0)
    waiting = put(target, START, 4)
    assert target.last_identity(PROBE) == (START, 4)
    sent = put(target, START + 10, 5)
    target.keep_sent(sent, newest_only=True)
    assert target.last_identity(PROBE) == (START + 10, 5)
    bad = put(target, START + 20, 6)
    target.quarantine(bad, "refused")
    assert target.last_identity(PROBE) == (START + 20, 6)
    target.write("web-2", START + 99, 99, chunks(START + 99, 99, "web-2"))
    assert target.last_identity(PROBE) == (START + 20, 6)
    target.remove(waiting)
    target.close()
    # A damaged newest window does not free its start.
    again = directory(tmp_path)
    assert again.last_identity(PROBE) == (START + 20, 6)
    assert again.last_identity("web-2") == (START + 99, 99)


def test_quarantine_forgets_and_keeps_the_file(tmp_path: Path) -> None:
    target = directory(tmp_path)
    entry = put(target)
    target.quarantine(entry, "the center refused it")
    assert target.pending() == [] and target.used_bytes == 0
    assert windows_at(tmp_path / BAD) == [entry.name]
    assert target.moved_to_bad == [(entry.name, "the center refused it")]


def test_sent_is_there_before_the_disk_can_be_full(tmp_path: Path) -> None:
    class Full(Filesystem):
        full = False

        def make_directory(self, path: Path) -> None:
            if self.full and not path.exists():
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            super().make_directory(path)

    disk = Full()
    target = WindowDirectory(
        tmp_path, key="dumpDir", limit_bytes=1 << 20, limit_key="dumpLimit", filesystem=disk
    )
    target.open(keeps_sent=True)
    entry = put(target)
    disk.full = True
    target.keep_sent(entry, newest_only=True)  # else what is acknowledged would fill it for ever
    assert target.pending() == []


@pytest.mark.parametrize("step", ["remove", "keep_sent", "quarantine"])
def test_window_that_the_disk_does_not_let_go_of_still_waits(tmp_path: Path, step: str) -> None:
    disk = Failing(error=errno.EROFS)
    target = directory(tmp_path, filesystem=disk)
    entry = put(target)
    steps: dict[str, Callable[[], None]] = {
        "remove": lambda: target.remove(entry),
        "keep_sent": lambda: target.keep_sent(entry, newest_only=True),
        "quarantine": lambda: target.quarantine(entry, "the center refused it"),
    }
    disk.at = len(disk.calls) + 1
    with pytest.raises(Retryable) as told:
        steps[step]()
    message = str(told.value)
    assert message.startswith(f"dumpDir: {tmp_path}: can't move or remove {entry.name}: ")
    assert "Read-only file system; mend the disk" in message
    assert target.pending() == [entry] and target.used_bytes == entry.size
    steps[step]()
    assert target.pending() == [] and target.used_bytes == 0


def test_older_one_in_sent_that_can_not_be_removed_goes_with_the_next(tmp_path: Path) -> None:
    disk = Failing()
    target = directory(tmp_path, filesystem=disk)
    first = put(target)
    target.keep_sent(first, newest_only=True)
    second = put(target, START + 1, 2)
    disk.at = len(disk.calls) + 3  # the move works, the removal of the older one does not
    with pytest.raises(Retryable, match=first.name):
        target.keep_sent(second, newest_only=True)
    assert disk.calls[-3:] == ["sync_directory", "remove", "remove"]
    assert target.pending() == []
    third = put(target, START + 2, 3)
    target.keep_sent(third, newest_only=True)
    assert windows_at(tmp_path / SENT) == [third.name]


def test_only_the_newest_window_costs_an_fsync_when_it_is_acknowledged(tmp_path: Path) -> None:
    disk = Failing()
    target = directory(tmp_path, filesystem=disk)
    entries = [put(target, START + i, 1 + i) for i in range(3)]
    disk.calls.clear()
    for entry in entries[:2]:
        target.keep_sent(entry, newest_only=True)
    assert disk.calls == ["remove", "remove"]
    target.keep_sent(entries[2], newest_only=True)
    assert disk.calls.count("sync_directory") == 2  # sent/ itself, and what is in it


@pytest.mark.parametrize("code", sorted(NO_LINKS))
@pytest.mark.parametrize("folder", [SENT, BAD])
def test_file_system_without_hard_links(tmp_path: Path, code: int, folder: str) -> None:
    class NoLinks(Failing):
        def link(self, source: Path, target: Path) -> None:
            raise OSError(code, os.strerror(code))

    disk = NoLinks()
    target = directory(tmp_path, filesystem=disk)
    entry = put(target)

    def let_go() -> None:
        if folder == SENT:
            target.keep_sent(entry, newest_only=True)
        else:
            target.quarantine(entry, "refused")

    disk.calls.clear()
    disk.at = 3  # the folder is made durable, the file is renamed, and can't be made durable
    with pytest.raises(Retryable, match="can't move or remove"):
        let_go()
    assert disk.calls == ["sync_directory", "rename", "sync_directory", "rename"]
    assert target.pending() == [entry] and target.read(entry) == chunks()
    let_go()
    assert windows_at(tmp_path / folder) == [entry.name]
    assert windows_at(tmp_path) == [] and target.used_bytes == 0


def test_every_directory_that_open_makes_is_durable(tmp_path: Path) -> None:
    class Watched(Filesystem):
        def __init__(self) -> None:
            self.synced: list[Path] = []

        def sync_directory(self, path: Path) -> None:
            self.synced.append(path)
            super().sync_directory(path)

    disk = Watched()
    deep = tmp_path / "a" / "b" / "dump"
    directory(deep, filesystem=disk).close()
    levels = [tmp_path / "a" / "b", tmp_path / "a", tmp_path]
    assert disk.synced[:3] == levels
    disk.synced.clear()
    directory(deep, filesystem=disk).close()  # whoever made them may have been killed too soon
    assert disk.synced[:3] == levels


def test_a_directory_above_that_may_not_be_listed_is_no_obstacle(tmp_path: Path) -> None:
    class Closed(Filesystem):
        def sync_directory(self, path: Path) -> None:
            if path == tmp_path:
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            super().sync_directory(path)

    (tmp_path / "there").mkdir()
    directory(tmp_path / "there", filesystem=Closed()).close()
    with pytest.raises(WakizashiError, match="Permission denied; name a directory"):
        directory(tmp_path / "new", filesystem=Closed())


def test_a_disk_that_does_not_list_is_told_when_the_last_window_is_asked_for(
    tmp_path: Path,
) -> None:
    class Unlisted(Filesystem):
        broken = False

        def names(self, path: Path) -> list[str]:
            if self.broken:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return super().names(path)

    disk = Unlisted()
    target = directory(tmp_path, filesystem=disk)
    disk.broken = True
    with pytest.raises(WakizashiError, match=f"^dumpDir: {tmp_path}: Input/output error; mend"):
        target.last_identity(PROBE)


def test_what_could_not_be_removed_goes_with_the_next_write(tmp_path: Path) -> None:
    """Else a center that never gets that window again would find it at its next start."""
    disk = Failing()
    target = directory(tmp_path, filesystem=disk)
    disk.at, disk.for_ever = STEPS, True  # neither durable nor to be removed
    with pytest.raises(Retryable):
        put(target)
    assert len(windows_at(tmp_path)) == 1
    disk.at = 0
    other = put(target, START + 1, 2)
    assert windows_at(tmp_path) == [other.name]
    assert target.used_bytes == other.size


def test_a_rewrite_that_is_not_durable_counts_as_long_as_it_is(tmp_path: Path) -> None:
    disk = Failing()
    target = directory(tmp_path, filesystem=disk)
    put(target)
    disk.at = len(disk.calls) + STEPS
    with pytest.raises(Retryable):
        put(target, flows=5)
    assert target.used_bytes == sum(path.stat().st_size for path in tmp_path.glob("*.window"))


@pytest.mark.parametrize("folder", ["", BAD, SENT])
@pytest.mark.parametrize(
    "start_and_number",
    ["9999999999999-0000000001", "9214646400000-0000000001", "0000000000005-9223372036854775808"],
)
def test_a_name_that_no_window_can_have_is_no_last_identity(
    start_and_number: str, folder: str, tmp_path: Path
) -> None:
    """Else the windows after it would be beyond what any center takes, for ever."""
    target = directory(tmp_path)
    entry = put(target, START, 3)
    for made in (BAD, SENT):
        (tmp_path / made).mkdir()
    path = tmp_path / folder / f"{start_and_number}-{entry.name.rpartition('-')[2]}"
    path.write_bytes(b"whatever it holds")
    target.close()
    target.open()
    assert target.last_identity(PROBE) == (START, 3)
    assert path.exists() or (tmp_path / BAD / path.name).exists()
    target.close()
