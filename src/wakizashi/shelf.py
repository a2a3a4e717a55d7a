"""The files under their final names in one directory: how they get there, and the bytes they take.

A file is written under a temporary name and fsynced, then renamed, and the directory is
fsynced. What fails on the way leaves nothing that counts as a window.
"""

import contextlib
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

from wakizashi.errors import Retryable
from wakizashi.filesystem import Filesystem, remedy
from wakizashi.window_file import Entry, WindowFile

Each = Callable[
    [Callable[[WindowFile], OSError | None], Iterable[WindowFile]], Iterable[OSError | None]
]
"""``map``, or that of an executor."""


class DirectoryFull(Retryable):
    """The quota is reached; the disk may have room."""


class Shelf:
    """Files and their bytes; what has an underscore is called with ``_lock`` held."""

    def __init__(
        self,
        path: Path,
        *,
        key: str,
        limit_bytes: int,
        limit_key: str,
        filesystem: Filesystem | None = None,
    ) -> None:
        self.path = path
        self.key = key
        self.limit_bytes = limit_bytes
        self.limit_key = limit_key
        self._fs = filesystem or Filesystem()
        self._lock = threading.Lock()
        self._entries: dict[str, Entry] = {}
        self._strays: dict[str, int] = {}
        """Length of each file under its final name that is no window which waits: one that
        could not be made durable, or one that is to go. It is removed as soon as that works."""
        self._used = 0

    def _begin(self, entries: Iterable[Entry]) -> None:
        """These are the files that there are."""
        self._entries = {entry.name: entry for entry in entries}
        self._strays = {}
        self._used = sum(entry.size for entry in self._entries.values())

    @property
    def used_bytes(self) -> int:
        """Bytes in waiting files, headers included."""
        return self._used

    def _write_round(
        self, files: dict[int, WindowFile], each: Each, *, limited: bool = True
    ) -> dict[int, Entry | Retryable]:
        """Files of different names, under the lock."""
        results: dict[int, Entry | Retryable] = {}
        self._remove_strays()
        room = self.limit_bytes - self._used
        for index, (entry, _) in files.items():
            needed = entry.size - self._size_of(entry.name)
            if limited and needed > room:
                results[index] = self._too_much(entry)
            else:
                room -= needed
        new = [(index, file) for index, file in files.items() if index not in results]
        faults = list(each(self._write_temporary, [file for _, file in new]))
        renamed: list[tuple[int, Entry]] = []
        for (index, (entry, _)), fault in zip(new, faults, strict=True):
            try:
                if fault is not None:
                    raise fault
                self._fs.rename(self._temporary(entry.name), self.path / entry.name)
            except OSError as error:
                results[index] = self._not_written(entry, error)
            else:
                renamed.append((index, entry))
        trouble: OSError | None = None
        try:
            if renamed:
                self._fs.sync_directory(self.path)
        except OSError as error:
            trouble = error
        for index, entry in renamed:
            if trouble is not None:
                results[index] = self._not_durable(entry, trouble)
            else:
                self._count(entry)
                results[index] = entry
        return results

    def _count(self, entry: Entry) -> None:
        self._forget(entry.name)
        self._entries[entry.name] = entry
        self._used += entry.size

    def _forget(self, name: str) -> None:
        self._used -= self._size_of(name)
        self._entries.pop(name, None)
        self._strays.pop(name, None)

    def _size_of(self, name: str) -> int:
        known = self._entries.get(name)
        return known.size if known else self._strays.get(name, 0)

    def _too_much(self, entry: Entry) -> DirectoryFull:
        return DirectoryFull(
            f"{self.limit_key}: {self.path} holds {self._used} bytes in "
            f"{len(self._entries)} windows and {entry.size} more would pass the limit "
            f"of {self.limit_bytes}; raise {self.limit_key}, or mend what they wait for"
        )

    def _temporary(self, name: str) -> Path:
        return self.path / f".{name}.tmp"

    def _write_temporary(self, file: WindowFile) -> OSError | None:
        entry, content = file
        try:
            self._fs.remove(self._temporary(entry.name))
            self._fs.write_new(self._temporary(entry.name), content)
        except OSError as error:
            return error
        return None

    def _not_written(self, entry: Entry, error: OSError) -> Retryable:
        """A file that has not got its name; an earlier one of that name stays."""
        with contextlib.suppress(OSError):  # a temporary goes at the next start
            self._fs.remove(self._temporary(entry.name))
        return self._write_trouble(entry, error)

    def _not_durable(self, entry: Entry, error: OSError) -> Retryable:
        """A file that has its name, which a crash may take away again."""
        if entry.name in self._entries:  # of the earlier one either is there after a crash
            self._count(entry)
        else:
            self._stray(entry)
            self._remove_strays()
        return self._write_trouble(entry, error)

    def _stray(self, entry: Entry) -> None:
        self._forget(entry.name)
        self._strays[entry.name] = entry.size
        self._used += entry.size

    def _remove_strays(self) -> None:
        for name in list(self._strays):
            with contextlib.suppress(OSError):  # it still counts against the quota
                self._fs.remove(self.path / name)
                self._forget(name)

    def _write_trouble(self, entry: Entry, error: OSError) -> Retryable:
        usual = "make room, or mend the disk"
        trouble = Retryable(
            f"{self.key}: {self.path}: can't write a window of {entry.size} bytes: "
            f"{error.strerror or error}; {remedy(error.errno, self.key, usual)}"
        )
        trouble.__cause__ = error
        return trouble
