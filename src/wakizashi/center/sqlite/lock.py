"""Keeps a second center away from a file."""

import fcntl
import os
from pathlib import Path


class Lock:
    """An exclusive lock on ``PATH-lock``, however PATH is spelled; the empty file stays.

    Not on the file itself: closing that descriptor would let go of SQLite's own locks.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = -1

    def take(self) -> None:
        """Lock, unless it is locked by this object already.

        Raises:
            BlockingIOError: somebody else has it.
            OSError: the file can't be made.
        """
        if self._descriptor >= 0:
            return
        name = f"{os.path.realpath(self._path)}-lock"
        descriptor = os.open(name, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            raise
        self._descriptor = descriptor

    def release(self) -> None:
        """Unlock."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
