"""Directories that a crash does not take away, and moves that it does not lose a file in.

An fsync of a directory makes the names in it durable, not its own name in the
directory above. And of a rename from one directory into another a crash may
leave either half, on a file system without a journal: the name is gone here and
not yet there. So a file that must not be lost has both names for a while.
"""

import contextlib
import errno
from pathlib import Path

from wakizashi.filesystem import Filesystem

NO_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})
"""How file systems say that they have no hard links; vfat and some network ones."""


def make_directory(filesystem: Filesystem, path: Path) -> None:
    """Create a directory with its parents; when this returns all of them are durable.

    Those that are there already may have been made by a process that was killed
    before it could make them durable: nothing tells, so every level is synced.
    """
    path = path.absolute()
    made = []
    level = path
    while not filesystem.is_directory(level) and level != level.parent:
        made.append(level)
        level = level.parent
    for level in reversed(made):
        filesystem.make_directory(level)
    for level in (path, *path.parents):
        if filesystem.is_mount(level):
            break
        try:
            filesystem.sync_directory(level.parent)
        except PermissionError:
            if level in made:
                raise
            # A directory that this user may not list is none that it made.


def move(filesystem: Filesystem, source: Path, target: Path) -> None:
    """Move a file into another directory, over ``target`` if it exists; durable on return.

    At no moment is it under neither name. A crash may leave it under both.

    Raises:
        OSError: it is still under ``source``, and perhaps under ``target`` as well.
    """
    try:
        try:
            filesystem.link(source, target)
        except FileExistsError:
            filesystem.remove(target)
            filesystem.link(source, target)
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        filesystem.rename(source, target)
        try:
            filesystem.sync_directory(target.parent)
        except OSError:
            filesystem.rename(target, source)
            raise
        return
    try:
        filesystem.sync_directory(target.parent)
    except OSError:
        with contextlib.suppress(OSError):  # then it has two names for now
            filesystem.remove(target)
        raise
    filesystem.remove(source)
