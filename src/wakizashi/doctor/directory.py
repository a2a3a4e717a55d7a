"""A directory in which windows are kept: can it be written, is there room, what waits in it?

Beside a running daemon, too: the lock is looked up in ``/proc/locks`` and not tried, for
that would keep a daemon out that starts at this moment. One temporary file is written,
fsynced and removed; nothing is made that was not there.
"""

import errno
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from wakizashi.doctor.finding import Finding, fault, note, ok
from wakizashi.doctor.memory import size
from wakizashi.files import BAD
from wakizashi.filesystem import Filesystem, lock_holder, remedy
from wakizashi.window_file import Entry, entry_of

PROBE_BYTES = 4096
LEAST_BYTES = 2**20
LEAST_INODES = 1_000
SLOW_SECONDS = 1.0
"""For an fsync. The probe's capture thread waits for it at the end of a window."""
VANISHING = {
    "tmpfs": "in memory",
    "ramfs": "in memory",
    "overlay": "on the layer of a container",
}
"""Kinds of file system that do not outlive the host or the container."""
OLD_INTERVALS = 10
LEAST_OLD_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class Directory:
    """What a configuration says of it."""

    key: str
    """``dumpDir`` or ``recoverDir``."""
    path: Path
    limit_key: str
    limit_bytes: int
    interval_seconds: int
    """How often what waits in it is tried."""
    whose: str
    """Whom its windows wait for."""

    @property
    def shown(self) -> str:
        """The path, and where that is."""
        absolute = self.path.absolute()
        return str(self.path) if self.path == absolute else f"{self.path} ({absolute})"


def look(
    directory: Directory,
    *,
    filesystem: Filesystem | None = None,
    root: Path = Path("/"),
    clock: Callable[[], float] = time.time,
) -> Iterator[Finding]:
    """Everything about it."""
    system = filesystem or Filesystem()
    key, path = directory.key, directory.path
    base = _existing(path)
    is_there = base == path.absolute()
    if not base.is_dir():
        yield fault(key, f"{base} is no directory", f"name another {key}, or move that file away")
        return
    trouble = _write(system, base, key)
    if isinstance(trouble, OSError):
        yield _cannot_write(directory, base, trouble)
        if trouble.errno not in (errno.ENOSPC, errno.EDQUOT):
            return
    else:
        place = directory.shown if is_there else f"{directory.shown}: can be made in {base}"
        kind = filesystem_kind(_read(root / "proc/self/mountinfo"), base)
        yield ok(
            key, f"{place}: takes files ({kind or 'unknown file system'}, fsync {trouble:.3f} s)"
        )
        if trouble > SLOW_SECONDS:
            yield note(
                key,
                f"an fsync takes {trouble:.1f} s: each window waits for it",
                f"a faster disk for {key}",
            )
        if kind in VANISHING:
            yield note(
                key,
                f"{base} is {VANISHING[kind]} ({kind}): what waits there ends with it",
                "a disk or a volume, if windows are to outlive that",
            )
    try:
        entries = _entries(path) if is_there else []
        bad = _entries(path / BAD) if is_there else []
    except OSError as error:
        yield fault(
            key, f"{path}: can't be listed: {error.strerror}", "run as the user that the daemon has"
        )
        return
    used = sum(entry.size for entry in entries)
    yield from judge_room(directory, os.statvfs(base), used)
    yield from judge_waiting(directory, entries, bad, clock())
    holder = lock_holder(base, _read(root / "proc/locks")) if is_there else None
    if holder is not None:
        name = _read(root / f"proc/{holder}/comm").strip() or "another process"
        yield note(
            key,
            f"in use by {name} (process {holder})",
            "nothing, if that is the daemon; a second one would not start",
        )


def judge_room(directory: Directory, disk: os.statvfs_result, used: int) -> Iterator[Finding]:
    """Whether the disk has room for the quota."""
    free = disk.f_bavail * disk.f_frsize
    left = max(0, directory.limit_bytes - used)
    quota = f"{directory.limit_key} {size(directory.limit_bytes)}"
    shown = f"{size(free)} free, {size(used)} used of {quota}"
    if free < LEAST_BYTES:
        yield fault("room", f"{directory.path}: {shown}", f"make room for {directory.key}")
    elif free < left:
        yield note(
            "room",
            f"{directory.path}: {shown}: the disk is full before the quota is reached",
            f"lower {directory.limit_key} to {size(free + used)} or less, or make room",
        )
    else:
        yield ok("room", f"{directory.path}: {shown}")
    if disk.f_files and disk.f_favail < LEAST_INODES:
        judge = note if disk.f_favail else fault
        yield judge(
            "room",
            f"{directory.path}: {disk.f_favail} of {disk.f_files} inodes are free; a window is a file",
            "remove files, or use a file system with more of them",
        )


def judge_waiting(
    directory: Directory, entries: Sequence[Entry], bad: Sequence[Entry], now: float
) -> Iterator[Finding]:
    """Whether what waits waits for long, and what can't be used."""
    if entries:
        age = max(0.0, now - min(entry.start_ms for entry in entries) / 1000)
        shown = f"{len(entries)} windows wait in {directory.path}, the oldest from {_span(age)} ago"
        if age > max(LEAST_OLD_SECONDS, OLD_INTERVALS * directory.interval_seconds):
            yield note("waiting", shown, f"they wait for {directory.whose}: see the log why")
        else:
            yield ok("waiting", shown)
    else:
        yield ok("waiting", f"no window waits in {directory.path}")
    if bad:
        total = sum(entry.size for entry in bad)
        yield note(
            "waiting",
            f"{len(bad)} files in {directory.path}/{BAD}, {size(total)}",
            "look why in the log of that time, and move them away",
        )


def filesystem_kind(mounts: str, path: Path) -> str:
    """The kind of file system that ``path`` is on, from a mountinfo (man 5 proc); empty if unknown."""
    device = path.stat().st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    best = (False, -1, "")
    for line in mounts.splitlines():
        mount, _, source = line.partition(" - ")
        fields = mount.split()
        if len(fields) < 5 or not source:
            continue
        # A path with a space in it has "\040" there.
        point = Path(re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), fields[4]))
        if path.is_relative_to(point):
            best = max(best, (fields[2] == wanted, len(point.parts), source.split()[0]))
    return best[2]


def _existing(path: Path) -> Path:
    """The path, or the nearest above it that exists."""
    level = path.absolute()
    while not os.path.lexists(level) and level != level.parent:
        level = level.parent
    return level


def _write(system: Filesystem, base: Path, key: str) -> float | OSError:
    """Seconds that a file took to be durable, or what came instead."""
    # Both daemons' directories may be still to be made in the same one, and are looked at together.
    name = base / f".wakizashi-doctor-{os.getpid()}-{key}.tmp"
    began = time.monotonic()
    try:
        try:
            system.write_new(name, bytes(PROBE_BYTES))
            system.sync_directory(base)
        finally:
            system.remove(name)
    except OSError as error:
        return error
    return time.monotonic() - began


def _cannot_write(directory: Directory, base: Path, error: OSError) -> Finding:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        usual = "make room on the disk"
    elif isinstance(error, PermissionError):
        usual = (
            f"chown it to the daemon's user ({os.geteuid()} here), or name another {directory.key}"
        )
    else:
        usual = "mend the disk"
    made = "" if base == directory.path.absolute() else f", so {directory.shown} can't be made"
    return fault(
        directory.key,
        f"{base}: can't write: {error.strerror or error}{made}",
        remedy(error.errno, directory.key, usual),
    )


def _entries(path: Path) -> list[Entry]:
    found = []
    try:
        with os.scandir(path) as files:
            for file in files:
                try:
                    entry = entry_of(
                        file.name.rpartition(".window")[0] + ".window", file.stat().st_size
                    )
                except FileNotFoundError:  # a running daemon has removed it
                    continue
                if entry is not None:
                    found.append(entry)
    except FileNotFoundError:
        pass
    return found


def _span(seconds: float) -> str:
    for unit, length in (("days", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
