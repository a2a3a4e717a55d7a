"""Windows made durable together: one fsync of the directory, each with a result of its own."""

import errno
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.center_windows import START, window
from wakizashi import wire
from wakizashi.errors import Retryable
from wakizashi.files import WindowDirectory
from wakizashi.filesystem import Filesystem
from wakizashi.window_file import Entry, WindowFile, window_file


class Watched(Filesystem):
    """Writes down what was made durable, in order, and fails where a test says so."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.fails: set[str] = set()

    def _call(self, call: str) -> None:
        self.calls.append(call)
        if call in self.fails:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def write_new(self, path: Path, data: bytes) -> None:
        super().write_new(path, data)
        self._call(f"write {int(path.name.split('-')[1])}")

    def rename(self, source: Path, target: Path) -> None:
        self._call(f"rename {int(target.name.split('-')[1])}")
        super().rename(source, target)

    def sync_directory(self, path: Path) -> None:
        super().sync_directory(path)
        self._call("sync directory")


def opened(path: Path, filesystem: Filesystem | None = None, limit: int = 2**20) -> WindowDirectory:
    made = WindowDirectory(
        path, key="recoverDir", limit_bytes=limit, limit_key="recoverLimit", filesystem=filesystem
    )
    made.open()
    if isinstance(filesystem, Watched):
        filesystem.calls.clear()
    return made


def files(*numbers: int) -> list[WindowFile]:
    windows = [window(number) for number in numbers]
    return [window_file(w.probe, w.start_ms, w.number, wire.encode(w)) for w in windows]


def numbers(results: list[Entry | Retryable]) -> list[int | str]:
    return [r.number if isinstance(r, Entry) else str(r) for r in results]


def on_disk(path: Path) -> list[int]:
    return sorted(int(name.split("-")[1]) for name in os.listdir(path) if name[0] != ".")


def test_one_fsync_of_the_directory_behind_all_files(tmp_path: Path) -> None:
    watched = Watched()
    directory = opened(tmp_path, watched)
    results = directory.write_all(files(3, 1, 2))
    assert numbers(results) == [3, 1, 2]
    assert watched.calls == [
        *("write 3", "write 1", "write 2"),
        *("rename 3", "rename 1", "rename 2"),
        "sync directory",
    ]
    assert [directory.read(entry) for entry in directory.pending()] == [
        wire.encode(window(n)) for n in (1, 2, 3)
    ]
    directory.close()
    assert [entry.number for entry in opened(tmp_path).pending()] == [1, 2, 3]


def test_on_many_threads(tmp_path: Path) -> None:
    directory = opened(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        results = directory.write_all(files(*range(100)), pool.map)
    assert numbers(results) == list(range(100)) == on_disk(tmp_path)
    assert directory.used_bytes == sum(f.stat().st_size for f in tmp_path.glob("*.window"))


@pytest.mark.parametrize("step", ["write", "rename"])
def test_one_that_the_disk_does_not_take_is_alone(tmp_path: Path, step: str) -> None:
    watched = Watched()
    watched.fails = {f"{step} 2"}
    directory = opened(tmp_path, watched)
    results = directory.write_all(files(1, 2, 3))
    assert numbers(results)[::2] == [1, 3] and isinstance(results[1], Retryable)
    assert "recoverDir" in str(results[1]) and "No space left" in str(results[1])
    assert on_disk(tmp_path) == [1, 3] == [entry.number for entry in directory.pending()]
    watched.fails = set()
    assert numbers(directory.write_all(files(2))) == [2]


def test_without_the_fsync_of_the_directory_none_is_durable(tmp_path: Path) -> None:
    watched = Watched()
    directory = opened(tmp_path, watched)
    directory.write_all(files(1))
    watched.fails = {"sync directory"}
    results = directory.write_all(files(1, 2, 3))
    assert all(isinstance(result, Retryable) for result in results)
    assert on_disk(tmp_path) == [1]  # the earlier file of that name stays, and counts
    assert [entry.number for entry in directory.pending()] == [1]
    assert directory.used_bytes == sum(f.stat().st_size for f in tmp_path.glob("*.window"))


def test_the_quota_takes_as_many_as_have_room(tmp_path: Path) -> None:
    size = files(1)[0][0].size
    directory = opened(tmp_path, limit=2 * size)
    results = directory.write_all(files(1, 2, 3, 4))
    assert numbers(results)[:2] == [1, 2]
    assert all("recoverLimit" in str(result) for result in results[2:])
    assert on_disk(tmp_path) == [1, 2] and directory.used_bytes == 2 * size
    assert numbers(directory.write_all(files(1, 2))) == [1, 2]  # they are there: no more room


def test_a_window_that_comes_twice_at_once_is_one_file(tmp_path: Path) -> None:
    watched = Watched()
    directory = opened(tmp_path, watched)
    with ThreadPoolExecutor(8) as pool:
        results = directory.write_all(files(1, 2, 1, 1), pool.map)
    assert numbers(results) == [1, 2, 1, 1]
    assert watched.calls.count("sync directory") == 3
    assert on_disk(tmp_path) == [1, 2]
    assert directory.used_bytes == sum(f.stat().st_size for f in tmp_path.glob("*.window"))
    assert directory.pending()[0].start_ms == START + 30_000


def test_nothing_to_write(tmp_path: Path) -> None:
    watched = Watched()
    assert opened(tmp_path, watched).write_all([]) == []
    assert watched.calls == []
