"""The place of a SQLite file: may it be written, is there room, who has it? Changes nothing."""

import os
from collections.abc import Iterator
from pathlib import Path

from wakizashi.center.backend import Remark
from wakizashi.filesystem import lock_holder

KEY = "backendConfig.sqliteConfig.path"
_LEAST_BYTES = 2**20
_LOCKS = Path("/proc/locks")


def look(path: Path, limit_bytes: int, locks: Path = _LOCKS) -> Iterator[Remark]:
    """What can be told without opening the file."""
    folder = Path(os.path.realpath(path)).parent
    if not folder.is_dir():
        yield Remark(
            f"{KEY}: {path}: there is no directory {folder}",
            "make it, or name a file in a directory that exists",
            fault=True,
        )
        return
    if os.path.isdir(path):
        yield Remark(f"{KEY}: {path} is a directory", "name a file in it", fault=True)
        return
    for place in (folder, *([path] if path.exists() else [])):
        # In the directory SQLite keeps its log beside the file.
        if not os.access(place, os.R_OK | os.W_OK, effective_ids=True):
            yield Remark(
                f"{KEY}: {place} can't be written by uid {os.geteuid()}",
                "chown it to the center's user, or name another file",
                fault=True,
            )
            return
    if not path.exists():
        yield Remark(f"{KEY}: {path} can be made")
    yield from _room(path, folder, limit_bytes)
    lock = Path(f"{os.path.realpath(path)}-lock")
    holder = lock_holder(lock, _read(locks)) if lock.exists() else None
    if holder is not None:
        yield Remark(
            f"{KEY}: {path} is in use by process {holder}",
            "nothing, if that is the center; a second one would not start",
        )


def journal(path: Path) -> str:
    """How the file is kept whole, by its header: a connection that is alone does not tell."""
    with path.open("rb") as file:
        head = file.read(20)  # https://www.sqlite.org/fileformat.html, 1.3.3
    return "with a write-ahead log" if head[18:19] == b"\x02" else "without a write-ahead log yet"


def _room(path: Path, folder: Path, limit_bytes: int) -> Iterator[Remark]:
    disk = os.statvfs(folder)
    free = disk.f_bavail * disk.f_frsize
    used = path.stat().st_size if path.exists() else 0
    text = (
        f"{KEY}: {folder} has {free // 2**20} MiB free, {path.name} "
        f"{used // 2**20} MiB of limit {limit_bytes // 2**20} MiB"
    )
    if free < _LEAST_BYTES:
        yield Remark(text, "make room on the disk", fault=True)
    elif free < limit_bytes - used:
        yield Remark(
            f"{text}: the disk is full before the limit is reached",
            f"set backendConfig.sqliteConfig.limit to {(free + used) // 2**20}MiB or less, or make room",
        )
    else:
        yield Remark(text)


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
