"""The dump directory's files, some of which may still be merged.

Only a window that no center was ever offered may be merged: of any other the
center may have a copy, and its bytes would be stored twice. That is known in
memory alone: a window that this process wrote and did not offer. What was there
at the start may have been offered, so it stays as it is.

A merged window is made durable, then those in it are removed, durably; only then is
it offered. So a crash leaves it and some of those in it, never one of those after the
merged one went to a center. The next start removes those whose numbers a merged window
covers. Where the disk fails in between, what is in doubt is held back until it works.
"""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from wakizashi import wire
from wakizashi.errors import Retryable
from wakizashi.files import WindowDirectory
from wakizashi.filesystem import Filesystem
from wakizashi.model import Window
from wakizashi.scan import Whole
from wakizashi.window_file import Entry, entry_of, file_name, window_file


class Taken(Exception):
    """A window that was to be merged was offered to a center meanwhile, or is gone."""


@dataclass(frozen=True, slots=True)
class Fresh:
    """A window that no center was offered."""

    start_ms: int
    end_ms: int
    number: int
    windows: int
    entry: Entry | None
    """None: it is not on disk yet."""

    @classmethod
    def of(cls, window: Window, entry: Entry | None) -> "Fresh":
        """What merging has to know of a window."""
        return cls(window.start_ms, window.end_ms, window.number, window.windows, entry)


class Backlog(WindowDirectory):
    """The windows of one probe. Threads may share it, but one alone writes."""

    def __init__(
        self, path: Path, *, limit_bytes: int, filesystem: Filesystem | None = None
    ) -> None:
        super().__init__(
            path,
            key="dumpDir",
            limit_bytes=limit_bytes,
            limit_key="dumpLimit",
            filesystem=filesystem,
        )
        self._fresh: dict[str, Fresh] = {}
        self._held: set[str] = set()
        """Windows not to be offered before all strays are gone, durably."""

    def _obsolete(self, whole: list[Whole]) -> set[str]:
        self._fresh, self._held = {}, set()
        merged = [one for one in whole if one.windows > 1]
        return {o.entry.name for o in whole if any(one.covers(o.entry) for one in merged)}

    def fresh(self) -> list[Fresh]:
        """The windows that may be merged, oldest first."""
        with self._lock:
            self._settle()
            return sorted(
                (fresh for name, fresh in self._fresh.items() if name not in self._held),
                key=lambda fresh: fresh.start_ms,
            )

    def deliverable(self) -> list[Entry]:
        """The waiting windows that may be offered to a center, oldest first."""
        with self._lock:
            self._settle()
            return sorted(e for e in self._entries.values() if e.name not in self._held)

    def offer(self, entry: Entry) -> bool:
        """From now on the center may have it. False: it was merged into another; offer it not."""
        with self._lock:
            if entry.name not in self._entries or entry.name in self._held:
                return False
            self._fresh.pop(entry.name, None)
            return True

    def replace(
        self, merged: Sequence[Entry], window: Window, *, past_limit: bool = False
    ) -> Entry:
        """Make ``window`` durable, which has the ``merged`` ones in it, and remove those.

        The files of both may lie there for a moment, beyond the quota.

        Raises:
            Taken: one of those was offered meanwhile; nothing was done.
            DirectoryFull: more bytes would wait than before, and more than the quota.
            Retryable: the disk would not take it, or it is longer than the quota itself; those
                that were to be merged wait.
        """
        chunks = wire.encode(window)
        file = window_file(window.probe, window.start_ms, window.number, chunks)
        if file[0].size > self.limit_bytes and not merged and not past_limit:
            raise Retryable(
                f"{self.limit_key}: a window of {file[0].size} bytes is longer than the limit of "
                f"{self.limit_bytes}; raise {self.limit_key}"
            )
        with self._lock:
            self._settle()
            self._remove_forms(window, but=file[0].name)
            if any(e.name not in self._fresh or e.name in self._held for e in merged):
                raise Taken
            more = file[0].size - sum(e.size for e in merged) - self._size_of(file[0].name)
            if more > max(0, self.limit_bytes - self._used) and not past_limit:
                raise self._too_much(file[0])
            result = self._write_round({0: file}, map, limited=False)[0]
            if isinstance(result, Retryable):
                # It may have its name, and a crash may bring it back after these were stored.
                self._held.update(entry.name for entry in merged)
                self._settle()
                raise result
            self._fresh[result.name] = Fresh.of(window, result)
            for entry in merged:
                self._stray(entry)
            if merged:
                self._held.add(result.name)
                self._settle()
            return result

    def withdraw(self, window: Window) -> None:
        """Make sure that no shorter form of a window, whose write failed, is here after a crash.

        Raises:
            Retryable: the disk would not tell.
        """
        name = file_name(window.probe, window.start_ms, window.number)
        with self._lock:
            self._remove_forms(window)
            try:
                self._fs.remove(self.path / name)
                self._fs.sync_directory(self.path)
            except OSError as error:
                raise self._not_removed(name, str(error.strerror)) from error

    def _remove_forms(self, window: Window, *, but: str = "") -> None:
        """Remove what a write that failed left of a window, alone or merged, or raise Retryable.

        A shorter form in a merged window would be taken for the window itself at the next start.
        """
        self._remove_strays()
        for name in self._strays:
            entry = entry_of(name, 0)
            if name != but and entry is not None and entry.number == window.number:
                raise self._not_removed(name, "the disk refuses")

    def _not_removed(self, name: str, why: str) -> Retryable:
        return Retryable(f"{self.key}: {self.path}: can't remove {name}: {why}; mend the disk")

    def _forget(self, name: str) -> None:
        super()._forget(name)
        self._fresh.pop(name, None)

    def _settle(self) -> None:
        """Let go of what is held back, if what has to be gone is."""
        if not self._held:
            return
        self._remove_strays()
        if self._strays:
            return
        with contextlib.suppress(OSError):  # it is tried again before anything is offered
            self._fs.sync_directory(self.path)
            self._held = set()
