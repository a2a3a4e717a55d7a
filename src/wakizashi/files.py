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

A name is ``START-NUMBER-PROBE.window``: the window's start in milliseconds (13
digits), its number (10 digits), and 12 hexadecimal digits of a hash of the
probe's name, so that ``ls`` lists them in time order and the windows of many
probes can lie side by side in a center.

The format, little-endian: magic ``WKZW`` (4 bytes), version 1 (u16), zero (u16),
payload length (u64), CRC-32 of these 16 bytes and the payload (u32), payload
(:func:`wakizashi.wire.pack`). Why CRC-32 and not CRC32C: ``docs/decisions/0002``.
"""

import contextlib
import fcntl
import hashlib
import itertools
import os
import re
import struct
import threading
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from wakizashi import wire
from wakizashi.errors import Retryable, WakizashiError

MAGIC = b"WKZW"
VERSION = 1
_HEADER = struct.Struct("<4sHHQ")
_CHECKSUM = struct.Struct("<I")
HEADER_BYTES = _HEADER.size + _CHECKSUM.size

_NAME = re.compile(r"([0-9]{13})-([0-9]{10,})-([0-9a-f]{12})\.window")
SENT = "sent"
BAD = "bad"


class DamagedFile(Exception):
    """A file that is torn, flipped, truncated, foreign or of another version; ``str()`` says how."""


class DirectoryLocked(WakizashiError):
    """Another process has the directory open."""


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


def seal(payload: bytes) -> bytes:
    """The content of a file that holds ``payload``."""
    header = _HEADER.pack(MAGIC, VERSION, 0, len(payload))
    return header + _CHECKSUM.pack(zlib.crc32(payload, zlib.crc32(header))) + payload


def unseal(content: bytes) -> bytes:
    """The payload in a file's content.

    Raises:
        DamagedFile: any bit of it is not as :func:`seal` wrote it.
    """
    if len(content) < HEADER_BYTES:
        raise DamagedFile(f"{len(content)} bytes, shorter than a header ({HEADER_BYTES})")
    header = content[: _HEADER.size]
    magic, version, zero, length = _HEADER.unpack(header)
    if magic != MAGIC:
        raise DamagedFile(f"starts with {magic!r}, not {MAGIC!r}: not a window file")
    if version != VERSION or zero != 0:
        raise DamagedFile(f"format version {version}; this release reads version {VERSION}")
    if length != len(content) - HEADER_BYTES:
        raise DamagedFile(f"{len(content) - HEADER_BYTES} bytes of payload, {length} expected")
    payload = content[HEADER_BYTES:]
    (checksum,) = _CHECKSUM.unpack_from(content, _HEADER.size)
    if zlib.crc32(payload, zlib.crc32(header)) != checksum:
        raise DamagedFile("checksum does not match: the content was altered")
    return payload


def probe_digest(probe: str) -> str:
    """The 12 hexadecimal digits that stand for a probe's name in file names."""
    return hashlib.blake2b(probe.encode(), digest_size=6).hexdigest()


def file_name(probe: str, start_ms: int, number: int) -> str:
    """The name of a window's file."""
    return f"{start_ms:013d}-{number:010d}-{probe_digest(probe)}.window"


@dataclass(frozen=True, slots=True, order=True)
class Entry:
    """A window's file: what its name says, and its length in bytes."""

    start_ms: int
    number: int
    name: str
    size: int


def _entry(name: str, size: int) -> Entry | None:
    match = _NAME.fullmatch(name)
    return Entry(int(match[1]), int(match[2]), name, size) if match else None


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
            entry = _entry(name, self._fs.size(path))
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
            if (entry := _entry(name, self._fs.size(self.path / SENT / name)))
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
        digest = probe_digest(probe)
        start, number = -1, 0
        for folder in (self.path, self.path / SENT, self.path / BAD):
            for name in self._fs.names(folder):
                match = _NAME.fullmatch(name)
                if match and match[3] == digest:
                    start, number = (
                        max(start, int(match[1])),
                        max(number, int(match[2])),
                    )
        return start, number

    def write(self, probe: str, start_ms: int, number: int, chunks: list[bytes]) -> Entry:
        """Make a window durable; when this returns it is.

        Raises:
            Retryable: the quota is reached, or the disk would not take it. No
                trace of the window counts then; writing it later, or a longer
                window of the same start, is safe.
        """
        content = seal(wire.pack(chunks))
        name = file_name(probe, start_ms, number)
        final, temporary = self.path / name, self.path / f".{name}.tmp"
        with self._lock:
            known = self._entries.get(name)
            used = self._used - (known.size if known else 0)
            if used + len(content) > self.limit_bytes:
                raise Retryable(
                    f"{self.limit_key}: {self.path} holds {self._used} bytes in "
                    f"{len(self._entries)} windows and {len(content)} more would pass the limit "
                    f"of {self.limit_bytes}; raise {self.limit_key}, or mend what they wait for"
                )
            leftovers = [temporary]
            try:
                self._fs.remove(temporary)
                self._fs.write_new(temporary, content)
                self._fs.rename(temporary, final)
                if known is None:  # an earlier file of that name counts already: it stays
                    leftovers.append(final)
                self._fs.sync_directory(self.path)
            except OSError as error:
                for leftover in leftovers:
                    with contextlib.suppress(OSError):  # a temporary goes at the next start
                        self._fs.remove(leftover)
                raise Retryable(
                    f"{self.key}: {self.path}: can't write a window of {len(content)} bytes: "
                    f"{error.strerror or error}; make room, or mend the disk"
                ) from error
            entry = Entry(start_ms, number, name, len(content))
            self._entries[name] = entry
            self._used = used + len(content)
            return entry

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
            if self._entries.pop(entry.name, None):
                self._used -= entry.size

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
