"""A directory of windows, looked at on disks that refuse; and what of it is parsed."""

import errno
import os
from dataclasses import replace
from pathlib import Path

import pytest

from wakizashi.doctor.directory import Directory, filesystem_kind, look
from wakizashi.doctor.finding import Finding, Verdict
from wakizashi.files import WindowDirectory
from wakizashi.filesystem import Filesystem, lock_holder

PLACE = Directory("dumpDir", Path("/d"), "dumpLimit", 2**20, 30, "the center")


class Refusing(Filesystem):
    """Fails one kind of call."""

    def __init__(self, call: str, code: int) -> None:
        self.call, self.code = call, code

    def _fail(self, call: str) -> None:
        if call == self.call:
            raise OSError(self.code, os.strerror(self.code))

    def write_new(self, path: Path, data: bytes) -> None:
        super().write_new(path, data)
        self._fail("fsync")

    def sync_directory(self, path: Path) -> None:
        self._fail("sync_directory")


def looked(path: Path, filesystem: Filesystem | None = None) -> list[Finding]:
    return list(look(replace(PLACE, path=path), filesystem=filesystem))


def first(path: Path, filesystem: Filesystem | None = None) -> Finding:
    return looked(path, filesystem)[0]


def test_nothing_is_made_and_nothing_left(tmp_path: Path) -> None:
    found = first(tmp_path / "a" / "b")
    assert found.verdict is Verdict.OK
    assert f"can be made in {tmp_path}" in found.text
    assert list(tmp_path.iterdir()) == []
    assert first(tmp_path).verdict is Verdict.OK
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("call", ["fsync", "sync_directory"])
@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        (errno.EIO, "mend the disk"),
        (errno.ENOSPC, "make room on the disk"),
        (errno.EDQUOT, "make room on the disk"),
        (errno.EROFS, "mount a volume there that can be written, or name another dumpDir"),
        (errno.EACCES, "chown it"),
    ],
)
def test_a_disk_that_refuses(tmp_path: Path, call: str, code: int, remedy: str) -> None:
    found = first(tmp_path, Refusing(call, code))
    assert found.verdict is Verdict.FAULT
    assert os.strerror(code) in found.text
    assert remedy in found.remedy
    assert list(tmp_path.iterdir()) == []
    below = first(tmp_path / "dump", Refusing(call, code))
    assert "can't be made" in below.text


def test_both_daemons_in_one_place_are_not_in_each_others_way(tmp_path: Path) -> None:
    """While one's file is there the other is looked at: each looks on a thread of its own."""
    other = replace(PLACE, key="recoverDir", path=tmp_path / "recovery")

    class Meanwhile(Filesystem):
        def sync_directory(self, path: Path) -> None:
            assert next(look(other)).verdict is Verdict.OK

    assert first(tmp_path / "dump", Meanwhile()).verdict is Verdict.OK
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_way_at_any_level(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("")
    for path in (tmp_path / "f", tmp_path / "f" / "dump"):
        (found,) = looked(path)
        assert (found.verdict, found.text) == (Verdict.FAULT, f"{tmp_path}/f is no directory")
    (tmp_path / "l").symlink_to("nowhere")
    (found,) = looked(tmp_path / "l" / "dump")
    assert found.verdict is Verdict.FAULT


def test_a_directory_in_use_is_found_by_its_lock_and_not_disturbed(tmp_path: Path) -> None:
    windows = WindowDirectory(tmp_path, key="dumpDir", limit_bytes=2**20, limit_key="dumpLimit")
    assert not [f for f in looked(tmp_path) if "in use" in f.text]
    windows.open()
    try:
        entry = windows.write("vm-1", 1_000, 1, [b"x"])
        (found,) = (f for f in looked(tmp_path) if "in use" in f.text)
        assert f"process {os.getpid()}" in found.text
        assert found.verdict is Verdict.NOTE
        assert [f.name for f in tmp_path.iterdir()] == [entry.name]
    finally:
        windows.close()
    assert not [f for f in looked(tmp_path) if "in use" in f.text]


def test_waiting_and_bad_windows_are_counted(tmp_path: Path) -> None:
    windows = WindowDirectory(tmp_path, key="dumpDir", limit_bytes=2**20, limit_key="dumpLimit")
    windows.open()
    windows.write("vm-1", 1_000, 1, [b"x"])
    windows.quarantine(windows.write("vm-1", 2_000, 2, [b"x"]), "for a test")
    windows.quarantine(windows.write("vm-1", 2_000, 2, [b"x"]), "again")
    windows.close()
    (tmp_path / "README").write_text("not a window")
    waiting, bad = (f for f in looked(tmp_path) if f.check == "waiting")
    assert waiting.verdict is Verdict.NOTE  # since 1970
    assert waiting.text.startswith(f"1 windows wait in {tmp_path}, the oldest from ")
    assert bad.text.startswith(f"2 files in {tmp_path}/bad, ")


def test_who_has_a_lock(tmp_path: Path) -> None:
    found = tmp_path.stat()
    place = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
    held = f"1: FLOCK  ADVISORY  WRITE 4711 {place} 0 EOF\n"
    assert lock_holder(tmp_path, held) == 4711
    assert lock_holder(tmp_path, held.replace("FLOCK", "POSIX")) is None
    assert lock_holder(tmp_path, held.replace(place, f"00:00:{found.st_ino}")) is None
    waits = f"1: -> FLOCK  ADVISORY  WRITE 4712 {place} 0 EOF\n"
    assert lock_holder(tmp_path, f"\nx\n{waits}{held}") == 4711


def test_the_kind_of_file_system(tmp_path: Path) -> None:
    device = tmp_path.stat().st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    folder = tmp_path / "a b"
    folder.mkdir()
    shown = str(folder).replace(" ", r"\040")
    mounts = (
        "1 1 0:1 / / rw - overlay overlay rw\n"
        f"2 1 {number} / {shown} rw,noatime shared:1 - xfs /dev/sdb rw\n"
        "3 1 0:9 / /elsewhere rw - tmpfs tmpfs rw\n"
        "garbage\n"
    )
    assert filesystem_kind(mounts, folder) == "xfs"
    assert filesystem_kind(mounts.splitlines()[0], folder) == "overlay"
    assert filesystem_kind("", folder) == ""
    # Of two with the same device the nearer one, whatever their order.
    nearer = f"5 1 {number} / {tmp_path} rw - ext4 /dev/sda rw\n"
    assert filesystem_kind(mounts + nearer, folder) == "xfs"


@pytest.mark.parametrize("kind", ["tmpfs", "ramfs", "overlay"])
def test_what_vanishes_is_told(tmp_path: Path, kind: str) -> None:
    root = tmp_path / "root"
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/mountinfo").write_text(f"1 1 0:1 / / rw - {kind} x rw\n")
    found = [f for f in look(replace(PLACE, path=tmp_path), root=root) if f.check == "dumpDir"]
    assert [f.verdict for f in found] == [Verdict.OK, Verdict.NOTE]
    assert f"({kind})" in found[1].text
