"""The system calls that files are made durable with."""

import errno
import fcntl
import os
from pathlib import Path


class Filesystem:
    """The system calls of :mod:`wakizashi.files`; tests pass one that fails, or forgets, at will."""

    def lock(self, path: Path) -> int:
        """Lock a directory until :meth:`unlock`.

        Raises:
            BlockingIOError: another process has locked it.
        """
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            raise
        return descriptor

    def unlock(self, lock: int) -> None:
        """Give up what :meth:`lock` returned."""
        os.close(lock)

    def is_directory(self, path: Path) -> bool:
        """Whether there is a directory."""
        return path.is_dir()

    def is_mount(self, path: Path) -> bool:
        """Whether a directory is the root of its file system."""
        return os.path.ismount(path)

    def make_directory(self, path: Path) -> None:
        """Create a directory, for this user alone; no error if it is there."""
        path.mkdir(mode=0o700, exist_ok=True)

    def names(self, path: Path) -> list[str]:
        """The names in a directory, sorted; empty where there is no directory."""
        try:
            return sorted(os.listdir(path))
        except FileNotFoundError:
            return []

    def size(self, path: Path) -> int:
        """Length of a file in bytes."""
        return path.stat().st_size

    def write_new(self, path: Path, data: bytes) -> None:
        """Create a file, write it whole and fsync it."""
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(descriptor, view) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def read(self, path: Path) -> bytes:
        """The whole content of a file."""
        return path.read_bytes()

    def rename(self, source: Path, target: Path) -> None:
        """Rename, over ``target`` if it exists."""
        os.rename(source, target)

    def link(self, source: Path, target: Path) -> None:
        """Give a file a second name."""
        os.link(source, target)

    def sync_directory(self, path: Path) -> None:
        """Make the directory's entries durable."""
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def remove(self, path: Path) -> None:
        """Remove a file; no error if it is gone."""
        path.unlink(missing_ok=True)


def remedy(code: int | None, key: str, usual: str) -> str:
    """What helps where something could not be written.

    Args:
        code: the ``errno``; with EROFS neither rights nor room are what is wanted.
        key: of the configuration, which names the place.
        usual: what helps with any other error.
    """
    if code == errno.EROFS:
        return f"mount a volume there that can be written, or name another {key}"
    return usual


def lock_holder(path: Path, locks: str) -> int | None:
    """Which process has locked a file or directory with flock(2), without trying to.

    Args:
        path: the file or directory.
        locks: the text of ``/proc/locks``.

    Returns:
        None for nobody, or nobody that is told of in this container.
    """
    found = path.stat()
    place = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
    for line in locks.splitlines():
        # 3: FLOCK  ADVISORY  WRITE 1159 fe:00:11594268 0 EOF; with "->" it waits
        words = line.split()
        if len(words) >= 6 and words[1] == "FLOCK" and words[5] == place:
            return int(words[4])
    return None
