"""A SQLite file that a reader can't open just like that: where it lies, and whose it is."""

import os
import shutil
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.center_backends import END, expected, opened, rows
from tests.center_windows import window
from wakizashi.center.aggregate import aggregate
from wakizashi.center.sqlite import opening
from wakizashi.errors import Retryable, WakizashiError

STORED = aggregate(window())


def settings(path: Path) -> list[str]:
    return [f"sqliteConfig.path={path}"]


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    """What a center has written that has ended; all may be removed afterwards."""
    folder = tmp_path / "media"
    folder.mkdir()
    with opened("sqlite", settings(folder / "w.db")) as center:
        center.write([STORED])
    yield folder / "w.db"
    folder.chmod(0o755)


def asked(path: Path) -> tuple[int, str, str]:
    """What ``wakizashi query`` ends with, and says, where nothing is permitted but by modes."""
    plain: list[str] = []
    if os.geteuid() == 0:
        plain = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]  # of util-linux, as mount is
    query = "from wakizashi.cli import main; main()"
    told = ["backendConfig.type=sqlite", f"backendConfig.sqliteConfig.path={path}"]
    words = ["query", "--last", "90000d", "--by", "probe", "--format", "csv"]
    command = [*plain, sys.executable, "-c", query, *words, *(f"--set={text}" for text in told)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=path.anchor)
    return done.returncode, done.stdout, done.stderr


def refused(path: Path) -> str:
    """The one line."""
    code, out, said = asked(path)
    assert (code, out) == (1, "")
    (line,) = said.splitlines()
    head = "wakizashi: error: backendConfig.sqliteConfig.path: "
    assert line.startswith(head)
    return line.removeprefix(head)


def test_a_file_on_media_that_can_not_be_written_is_read(path: Path) -> None:
    path.chmod(0o444)
    path.with_name("w.db-wal").touch(0o444)  # what a reader with more rights may leave behind
    path.parent.chmod(0o555)
    assert asked(path) == (0, "probe,size,packets\nvm-1,100,1\n", "")
    assert sorted(each.name for each in path.parent.iterdir()) == ["w.db", "w.db-lock", "w.db-wal"]


@pytest.mark.parametrize("mode", [0o444, 0o644])
def test_a_file_that_may_be_written_meanwhile_is_not_read_as_if_it_were_not(
    path: Path, mode: int
) -> None:
    if mode == 0o444:
        keep_a_log(path)
    path.chmod(mode)
    path.parent.chmod(0o555)
    said = refused(path)
    assert f"uid {os.geteuid()} can't make or use them in {path.parent}; run this as the" in said
    assert said.endswith("into a directory that this user can write")


def keep_a_log(path: Path) -> None:
    """The file and its log as they are copied while a program has them."""
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE another (a)")
        for suffix in ("", "-wal"):
            shutil.copy(f"{path}{suffix}", f"{path}{suffix}.copy")
    for suffix in ("", "-wal"):
        os.replace(f"{path}{suffix}.copy", f"{path}{suffix}")
    assert path.with_name("w.db-wal").stat().st_size > 0
    assert not path.with_name("w.db-shm").exists()


def test_a_file_that_is_not_to_be_read(path: Path) -> None:
    path.chmod(0)
    assert refused(path) == (
        f"{path} can't be read by uid {os.geteuid()}; let that user read it, "
        "or run this as the center's user"
    )


def test_a_directory_that_is_not_to_be_searched(path: Path) -> None:
    path.parent.chmod(0)
    said = refused(path)
    assert said.startswith(
        f"{path} can't be looked for by uid {os.geteuid()}; let that user search"
    )


def test_what_is_no_file(tmp_path: Path) -> None:
    with closing(socket.socket(socket.AF_UNIX)) as made:
        made.bind(str(tmp_path / "s"))
    os.mkfifo(tmp_path / "p")
    (tmp_path / "loop").symlink_to("loop")
    for name, said in (
        (".", "is a directory; name the file"),
        ("s", "is no regular file; name the file"),
        ("p", "is no regular file; name the file"),
        ("loop", "Too many levels of symbolic links; name the file"),
    ):
        with opened("sqlite", settings(tmp_path / name), read_only=True) as reader:
            with pytest.raises(WakizashiError, match=said):
                rows(reader)


def test_a_center_is_told_of_a_directory_too(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    with opened("sqlite", settings(tmp_path / "d")) as center:
        with pytest.raises(Retryable, match=r"path: .*/d is a directory; name a file in it"):
            center.check()
        (remark,) = center.diagnose()
        assert remark.fault and remark.text.endswith("/d is a directory")


# -- what is at rest -------------------------------------------------------------------------


@pytest.fixture
def not_writable(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on media that are mounted for reading here, and elsewhere are not."""

    def access(_: object, mode: int, **__: Any) -> bool:
        return not mode & os.W_OK

    monkeypatch.setattr(os, "access", access)


@pytest.mark.usefixtures("not_writable")
def test_what_is_beside_a_file_that_somebody_has(path: Path) -> None:
    assert opening.at_rest(path) is not None
    for suffix, content in (("-shm", b""), ("-wal", b"x"), ("-journal", b"x")):
        beside = path.with_name(f"w.db{suffix}")
        beside.write_bytes(content)
        assert opening.at_rest(path) is None, suffix
        beside.unlink()
    with opened("sqlite", settings(path)) as center:
        center.check()
        assert opening.at_rest(path) is None
    assert opening.at_rest(path) is not None


def test_what_we_can_write_is_not_at_rest(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for writable in (path, path.parent):
        with monkeypatch.context() as patched:
            patched.setattr(os, "access", lambda place, *_, own=writable, **__: place == str(own))
            assert opening.at_rest(path) is None


@pytest.mark.usefixtures("not_writable")
@pytest.mark.parametrize("ends", [False, True])
def test_a_center_that_begins_while_a_file_at_rest_is_read(path: Path, ends: bool) -> None:
    with (
        opened("sqlite", settings(path), read_only=True) as reader,
        opened("sqlite", settings(path)) as center,
    ):
        found = reader.traffic(0, END)
        next(found)
        center.write([aggregate(window(1))])
        if ends:
            center.close()
        with pytest.raises(Retryable, match="was written while it was read; ask again"):
            list(found)
        assert rows(reader) == expected(STORED, aggregate(window(1)))


def test_nonsense_that_was_read_meanwhile_is_not_called_damage(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path.write_bytes(b"neither the old pages nor the new ones" * 1_000)
    states = iter([(1, 1, 1, 1), (1, 1, 1, 2)])
    monkeypatch.setattr(opening, "at_rest", lambda _: next(states))
    with opened("sqlite", settings(path), read_only=True) as reader:
        with pytest.raises(Retryable, match="was written while it was read; ask again"):
            rows(reader)
