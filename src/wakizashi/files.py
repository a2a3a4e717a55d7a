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
   number; so the newest window stays, in ``sent/`` once it was sent, until there is
   a newer one.
5. The directory, ``sent/`` and ``bad/`` are durable before anything in them is, and a
   window that moves there never is without a durable name.
6. One process at a time: the directory is locked as long as it is open.

Name and content of a file: :mod:`wakizashi.window_file`. What is found at the start:
:mod:`wakizashi.scan`. ``tests/property/test_files_crash.py`` ends the process, or
the power, at every system call of all this.
"""

import contextlib
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

from wakizashi import durable, wire
from wakizashi.errors import Retryable, WakizashiError
from wakizashi.filesystem import Filesystem, remedy
from wakizashi.scan import Whole, scan, scan_sent
from wakizashi.shelf import Each, Shelf
from wakizashi.window_file import (
    DamagedFile,
    Entry,
    WindowFile,
    entry_of,
    probe_digest,
    unseal,
    window_file,
)

SENT = "sent"
BAD = "bad"


class DirectoryLocked(WakizashiError):
    """Another process has the directory open."""


class WindowDirectory(Shelf):
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
        super().__init__(
            path, key=key, limit_bytes=limit_bytes, limit_key=limit_key, filesystem=filesystem
        )
        self.moved_to_bad: list[tuple[str, str]] = []
        """(name, reason) of each file that was moved to ``bad/`` since the directory was opened."""
        self._directory_lock = -1
        self._sent: list[Entry] = []
        self._folders: set[str] = set()
        """Those of ``sent/`` and ``bad/`` that are durable."""

    def open(self, *, keeps_sent: bool = False) -> None:
        """Create and lock the directory, remove temporaries, move damaged files to ``bad/``.

        With ``keeps_sent``, ``sent/`` is made now: a disk that is full later would not
        take it, and what only waits to move there could never make room.

        Raises:
            DirectoryLocked: another process has it.
            WakizashiError: it can't be created or read.
        """
        self._folders = set()
        try:
            durable.make_directory(self._fs, self.path)
            self._directory_lock = self._fs.lock(self.path)
        except BlockingIOError:
            raise DirectoryLocked(
                f"{self.key}: {self.path} is in use by another process; "
                "stop that one, or give each its own directory"
            ) from None
        except OSError as error:
            usual = "name a directory that this user can create and write"
            raise WakizashiError(
                f"{self.key}: {self.path}: {error.strerror}; {remedy(error.errno, self.key, usual)}"
            ) from error
        try:
            if keeps_sent:
                self._folder(SENT)
            self._look()
        except OSError as error:
            self.close()
            usual = "mend the disk, or move that file away"
            raise WakizashiError(
                f"{self.key}: {self.path}: {error}; {remedy(error.errno, self.key, usual)}"
            ) from error

    def _look(self) -> None:
        found = scan(self._fs, self.path)
        for name, reason in found.damaged:
            self._move_to_bad(name, reason)
        # A process that was killed may have renamed what it could not fsync any more.
        self._fs.sync_directory(self.path)
        obsolete = self._obsolete(found.whole)
        for name in obsolete:
            self._fs.remove(self.path / name)
        if obsolete:
            self._fs.sync_directory(self.path)
        self._begin(w.entry for w in found.whole if w.entry.name not in obsolete)
        self._sent = scan_sent(self._fs, self.path / SENT)

    def _obsolete(self, whole: list[Whole]) -> set[str]:
        """Names of the files whose windows are in others as well."""
        return set()

    def _folder(self, name: str) -> Path:
        """``sent/`` or ``bad/``, durable."""
        folder = self.path / name
        if name not in self._folders:
            self._fs.make_directory(folder)
            self._fs.sync_directory(self.path)
            self._folders.add(name)
        return folder

    def close(self) -> None:
        """Unlock. The files stay."""
        if self._directory_lock >= 0:
            self._fs.unlock(self._directory_lock)
            self._directory_lock = -1

    def pending(self) -> list[Entry]:
        """The waiting windows, oldest first."""
        with self._lock:
            return sorted(self._entries.values())

    @property
    def waiting(self) -> int:
        """How many windows wait. Any thread may ask, and often: it holds nobody up."""
        return len(self._entries)

    def last_identity(self, probe: str) -> tuple[int, int]:
        """Latest start (ms) and highest number of ``probe``'s windows here; (-1, 0) if none.

        Looks at waiting, sent and bad files, for a start may never be used twice.

        Raises:
            WakizashiError: the disk would not tell.
        """
        digest = probe_digest(probe)
        start, number = -1, 0
        try:
            for folder in (self.path, self.path / SENT, self.path / BAD):
                for name in self._fs.names(folder):
                    entry = entry_of(name, 0)
                    if entry and entry.probe == digest:
                        start, number = max(start, entry.start_ms), max(number, entry.number)
        except OSError as error:
            raise WakizashiError(
                f"{self.key}: {self.path}: {error.strerror}; mend the disk"
            ) from error
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
            with self._lock:
                if entry.name in self._entries:  # else it was let go of since the caller saw it
                    self._forget(entry.name)
                    self.moved_to_bad.append((entry.name, "somebody else took the file away"))
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
        with self._lock, self._disk_trouble(entry):
            self._fs.remove(self.path / entry.name)
            self._forget(entry.name)

    def keep_sent(self, entry: Entry, *, newest_only: bool) -> None:
        """Move a window that is durable elsewhere to ``sent/``.

        ``sent/`` keeps the newest window alone, and that only where none that waits is
        newer; or as many as the byte quota allows. The newest always stays (invariant 4).

        Raises:
            Retryable: the disk would not do it; the window still waits, or an older
                one stays in ``sent/`` for now.
        """
        source = self.path / entry.name
        with self._lock:
            with self._disk_trouble(entry):
                if self._is_newest(entry):  # it alone is worth an fsync
                    durable.move(self._fs, source, self._folder(SENT) / entry.name)
                elif newest_only:
                    self._fs.remove(source)
                else:
                    self._fs.rename(source, self._folder(SENT) / entry.name)
                self._forget(entry.name)
            if not newest_only or self._is_newest(entry):
                known = (sent for sent in self._sent if sent.name != entry.name)
                self._sent = sorted({*known, entry})
            self._trim_sent(newest_only)

    def _is_newest(self, entry: Entry) -> bool:
        """Whether no window of that probe, waiting or sent, is newer."""
        return not any(
            other > entry and other.probe == entry.probe
            for other in itertools.chain(self._entries.values(), self._sent)
        )

    def _trim_sent(self, newest_only: bool) -> None:
        total = sum(sent.size for sent in self._sent)
        while len(self._sent) > 1 and (newest_only or total > self.limit_bytes):
            oldest = self._sent[0]
            with self._disk_trouble(oldest):
                self._fs.remove(self.path / SENT / oldest.name)
            total -= oldest.size
            del self._sent[0]

    def quarantine(self, entry: Entry, reason: str) -> None:
        """Move a window that can't be used to ``bad/``, for a person to look at; durable on return.

        Raises:
            Retryable: the disk would not do it; the window still waits.
        """
        with self._lock, self._disk_trouble(entry):
            self._move_to_bad(entry.name, reason)
            self._forget(entry.name)

    @contextlib.contextmanager
    def _disk_trouble(self, entry: Entry) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise Retryable(
                f"{self.key}: {self.path}: can't move or remove {entry.name}: "
                f"{error.strerror or error}; mend the disk, or the rights in that directory"
            ) from error

    def _move_to_bad(self, name: str, reason: str) -> None:
        folder = self._folder(BAD)
        # Never over an earlier one of that name (invariant 3).
        taken = set(self._fs.names(folder))
        target = next(
            option for n in itertools.count() if (option := name + f".{n}" * bool(n)) not in taken
        )
        durable.move(self._fs, self.path / name, folder / target)
        self.moved_to_bad.append((name, reason))

    def sent(self) -> Iterator[tuple[Entry, list[bytes]]]:
        """The windows kept in ``sent/``, oldest first."""
        for entry in self._sent:
            yield (
                entry,
                wire.unpack(unseal(self._fs.read(self.path / SENT / entry.name))),
            )
