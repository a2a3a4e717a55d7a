"""One immutable file per window: the dump directory of a probe, the recovery directory of a center.

Invariants, in the order in which they are kept:

1. A file under its final name is whole: it is written under a temporary name
   (``.NAME.tmp``), fsynced, renamed, and the directory is fsynced. Only then
   :meth:`WindowDirectory.write` returns, and only then is anything acknowledged.
2. A file is never changed. A failed write or fsync is followed by a new file,
   never by a second attempt on the same descriptor.
3. Nothing is deleted but what is durable elsewhere, and temporaries. What can't
   be read moves to ``bad/`` and is counted.
4. There is no cursor. The names tell the order, the last window's start and its
   number; so the newest window that was sent stays in ``sent/`` until a newer one is.
5. One process at a time: the directory is locked as long as it is open.

Name and content of a file: :mod:`wakizashi.window_file`.
"""

import contextlib
import fcntl
import itertools
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from wakizashi import wire
from wakizashi.errors import Retryable, WakizashiError
from wakizashi.filesystem import Filesystem
from wakizashi.window_file import (
    DamagedFile,
    Entry,
    WindowFile,
    entry_of,
    file_name,
    probe_digest,
    unseal,
    window_file,
)

SENT = "sent"
BAD = "bad"

Each = Callable[
    [Callable[[WindowFile], OSError | None], Iterable[WindowFile]], Iterable[OSError | None]
]
"""``map``, or that of an executor."""


class DirectoryLocked(WakizashiError):
    """Another process has the directory open."""


class WindowDirectory:
    """The windows in one directory, their files crash-safe. Threads may share it.

    Use :meth:`open` (it locks, and tidies up what a crash left) and :meth:`close`.
    ``key`` is the configuration key that names the directory, for messages.
    """

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
        self.moved_to_bad: list[tuple[str, str]] = []
        """(name, reason) of each file that was moved to ``bad/`` since the directory was opened."""
        self._fs = filesystem or Filesystem()
        self._lock = threading.Lock()
        self._lock_descriptor = -1
        self._entries: dict[str, Entry] = {}
        self._sent: list[Entry] = []
        self._used = 0

    def open(self, *, keeps_sent: bool = False) -> None:
        """Create and lock the directory, remove temporaries, move damaged files to ``bad/``.

        With ``keeps_sent``, ``sent/`` is made now: a disk that is full later would not
        take it, and what only waits to move there could never make room.

        Raises:
            DirectoryLocked: another process has it.
            WakizashiError: it can't be created or read.
        """
        try:
            self._fs.make_directory(self.path)
            self._lock_descriptor = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            fcntl.flock(self._lock_descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.close()
            raise DirectoryLocked(
                f"{self.key}: {self.path} is in use by another process; "
                "stop that one, or give each its own directory"
            ) from None
        except OSError as error:
            self.close()
            raise WakizashiError(
                f"{self.key}: {self.path}: {error.strerror}; "
                "name a directory that this user can create and write"
            ) from error
        try:
            if keeps_sent:
                self._fs.make_directory(self.path / SENT)
            self._scan()
        except OSError as error:
            self.close()
            raise WakizashiError(
                f"{self.key}: {self.path}: {error}; mend the disk, or move that file away"
            ) from error

    def _scan(self) -> None:
        self._entries = {}
        self._used = 0
        for name in self._fs.names(self.path):
            path = self.path / name
            # Ours alone: the directory may be one that others write to as well.
            if name.startswith(".") and name.endswith(".window.tmp"):
                self._fs.remove(path)
                continue
            if not name.endswith(".window"):
                continue
            entry = entry_of(name, self._fs.size(path))
            try:
                if entry is None:
                    raise DamagedFile("its name is not START-NUMBER-PROBE.window")
                window = wire.decode(wire.unpack(unseal(self._fs.read(path))))
                # Else a renamed file would be delivered, and acknowledged, under two names.
                expected = file_name(window.probe, window.start_ms, window.number)
                if name != expected:
                    raise DamagedFile(f"holds the window of {expected}")
            except (DamagedFile, wire.InvalidWindow) as error:
                self._move_to_bad(name, str(error))
            else:
                self._entries[name] = entry
                self._used += entry.size
        self._sent = sorted(
            entry
            for name in self._fs.names(self.path / SENT)
            if (entry := entry_of(name, self._fs.size(self.path / SENT / name)))
        )

    def close(self) -> None:
        """Unlock. The files stay."""
        if self._lock_descriptor >= 0:
            os.close(self._lock_descriptor)
            self._lock_descriptor = -1

    @property
    def used_bytes(self) -> int:
        """Bytes in waiting files, headers included."""
        return self._used

    def pending(self) -> list[Entry]:
        """The waiting windows, oldest first."""
        with self._lock:
            return sorted(self._entries.values())

    def last_identity(self, probe: str) -> tuple[int, int]:
        """Latest start (ms) and highest number of ``probe``'s windows here; (-1, 0) if none.

        Looks at waiting, sent and bad files, for a start may never be used twice.
        """
        ending = f"-{probe_digest(probe)}.window"
        start, number = -1, 0
        for folder in (self.path, self.path / SENT, self.path / BAD):
            for name in self._fs.names(folder):
                entry = entry_of(name, 0)
                if entry and name.endswith(ending):
                    start, number = max(start, entry.start_ms), max(number, entry.number)
        return start, number

    def write(self, probe: str, start_ms: int, number: int, chunks: Sequence[bytes]) -> Entry:
        """Make a window durable; when this returns it is.

        Raises:
            Retryable: the quota is reached, or the disk would not take it. No
                trace of the window counts then; writing it later, or a longer
                window of the same start, is safe.
        """
        (result,) = self.write_all([window_file(probe, start_ms, number, chunks)])
        if isinstance(result, Retryable):
            raise result
        return result

    def write_all(self, files: Sequence[WindowFile], each: Each = map) -> list[Entry | Retryable]:
        """Make windows durable, with one fsync of the directory for all of them.

        A disk takes many fsyncs at once in little more time than one: ``each`` may
        call what it is given on several threads.

        Returns the entry of each window, or why it is not durable; see :meth:`write`.
        """
        results: dict[int, Entry | Retryable] = {}
        left = list(range(len(files)))
        with self._lock:
            while left:  # one round, unless a name stands there again
                names: dict[str, int] = {}
                for index in left:
                    names.setdefault(files[index][0].name, index)
                results |= self._write_round({i: files[i] for i in names.values()}, each)
                left = [index for index in left if index not in results]
        return [results[index] for index in range(len(files))]

    def _write_round(
        self, files: dict[int, WindowFile], each: Each
    ) -> dict[int, Entry | Retryable]:
        """Files of different names, under the lock."""
        results: dict[int, Entry | Retryable] = {}
        room = self.limit_bytes - self._used
        for index, (entry, _) in files.items():
            known = self._entries.get(entry.name)
            needed = entry.size - (known.size if known else 0)
            if needed > room:
                results[index] = Retryable(
                    f"{self.limit_key}: {self.path} holds {self._used} bytes in "
                    f"{len(self._entries)} windows and {entry.size} more would pass the limit "
                    f"of {self.limit_bytes}; raise {self.limit_key}, or mend what they wait for"
                )
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
                results[index] = self._not_written(entry, error, final=False)
            else:
                renamed.append((index, entry))
        try:
            if renamed:
                self._fs.sync_directory(self.path)
        except OSError as error:
            for index, entry in renamed:
                results[index] = self._not_written(entry, error, final=True)
            return results
        for index, entry in renamed:
            known = self._entries.get(entry.name)
            self._used += entry.size - (known.size if known else 0)
            self._entries[entry.name] = entry
            results[index] = entry
        return results

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

    def _not_written(self, entry: Entry, error: OSError, *, final: bool) -> Retryable:
        """Leave no trace; an earlier file of that name counts already: it stays."""
        leftovers = [self._temporary(entry.name)]
        if final and entry.name not in self._entries:
            leftovers.append(self.path / entry.name)
        for leftover in leftovers:
            with contextlib.suppress(OSError):  # a temporary goes at the next start
                self._fs.remove(leftover)
        trouble = Retryable(
            f"{self.key}: {self.path}: can't write a window of {entry.size} bytes: "
            f"{error.strerror or error}; make room, or mend the disk"
        )
        trouble.__cause__ = error
        return trouble

    def read(self, entry: Entry) -> list[bytes] | None:
        """The chunks of a waiting window; None if the file was damaged and moved to ``bad/``.

        Raises:
            Retryable: the disk would not give it.
        """
        path = self.path / entry.name
        try:
            return wire.unpack(unseal(self._fs.read(path)))
        except (DamagedFile, wire.InvalidWindow) as error:
            self.quarantine(entry, str(error))
            return None
        except FileNotFoundError:
            self._forget(entry)
            self.moved_to_bad.append((entry.name, "the file was taken away by somebody else"))
            return None
        except OSError as error:
            raise Retryable(f"{self.key}: {path}: {error.strerror}; mend the disk") from error

    def remove(self, entry: Entry) -> None:
        """Remove a window that is durable elsewhere.

        If the machine crashes now the file may be back, and the window is
        delivered again; that stores the same.

        Raises:
            Retryable: the disk would not do it; the window still waits.
        """
        with self._disk_trouble(entry):
            self._fs.remove(self.path / entry.name)
        self._forget(entry)

    def keep_sent(self, entry: Entry, *, newest_only: bool) -> None:
        """Move a window that is durable elsewhere to ``sent/``.

        ``sent/`` keeps the newest window alone, or as many as the byte quota
        allows; the newest always stays (invariant 4).

        Raises:
            Retryable: the disk would not do it; the window still waits, or an older
                one stays in ``sent/`` for now.
        """
        folder = self.path / SENT
        with self._disk_trouble(entry):
            self._fs.make_directory(folder)
            self._fs.rename(self.path / entry.name, folder / entry.name)
        self._forget(entry)
        with self._lock:
            self._sent = sorted({*self._sent, entry})
            total = sum(sent.size for sent in self._sent)
            while len(self._sent) > 1 and (newest_only or total > self.limit_bytes):
                oldest = self._sent[0]
                with self._disk_trouble(oldest):
                    self._fs.remove(folder / oldest.name)
                total -= oldest.size
                del self._sent[0]

    def quarantine(self, entry: Entry, reason: str) -> None:
        """Move a window that can't be used to ``bad/``, for a person to look at.

        Raises:
            Retryable: the disk would not do it; the window still waits.
        """
        with self._disk_trouble(entry):
            self._move_to_bad(entry.name, reason)
        self._forget(entry)

    @contextlib.contextmanager
    def _disk_trouble(self, entry: Entry) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise Retryable(
                f"{self.key}: {self.path}: can't move or remove {entry.name}: "
                f"{error.strerror or error}; mend the disk, or the rights in that directory"
            ) from error

    def _forget(self, entry: Entry) -> None:
        with self._lock:
            if known := self._entries.pop(entry.name, None):
                self._used -= known.size  # it may have been written again since

    def _move_to_bad(self, name: str, reason: str) -> None:
        folder = self.path / BAD
        self._fs.make_directory(folder)
        # Never over an earlier one of that name (invariant 3).
        taken = set(self._fs.names(folder))
        target = next(
            option for n in itertools.count() if (option := name + f".{n}" * bool(n)) not in taken
        )
        self._fs.rename(self.path / name, folder / target)
        self.moved_to_bad.append((name, reason))

    def sent(self) -> Iterator[tuple[Entry, list[bytes]]]:
        """The windows kept in ``sent/``, oldest first."""
        for entry in self._sent:
            yield (
                entry,
                wire.unpack(unseal(self._fs.read(self.path / SENT / entry.name))),
            )
