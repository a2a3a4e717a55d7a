"""The system calls that files are made durable with."""

import os
from pathlib import Path


class Filesystem:
    """The system calls this module makes; tests pass one that fails, or forgets, at will."""

    def make_directory(self, path: Path) -> None:
        """Create a directory, with its parents, for this user alone."""
        path.mkdir(mode=0o700, parents=True, exist_ok=True)

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
