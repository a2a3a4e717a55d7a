"""The dump directory: windows wait here, durable, until the center has them.

In: closed windows, from the capture thread. Out: their chunks, to the
delivery thread. Lost is nothing that :meth:`Dump.save` has taken.
"""

import logging
from pathlib import Path

from wakizashi import wire
from wakizashi.files import WindowDirectory
from wakizashi.filesystem import Filesystem
from wakizashi.model import Window
from wakizashi.probe.stats import ProbeStats
from wakizashi.window_file import Entry

_log = logging.getLogger(__name__)


class Dump:
    """The windows of one probe on disk.

    Args:
        path: the directory.
        limit_bytes: quota of the waiting windows, and of the kept ones.
        auto_clear: remove a window once it is acknowledged; else keep it in ``sent/``.
        remember: keep the newest window in any case, so that no start is used twice.
    """

    def __init__(
        self,
        path: Path,
        *,
        limit_bytes: int,
        auto_clear: bool,
        stats: ProbeStats,
        remember: bool = True,
        filesystem: Filesystem | None = None,
    ) -> None:
        self.directory = WindowDirectory(
            path,
            key="dumpDir",
            limit_bytes=limit_bytes,
            limit_key="dumpLimit",
            filesystem=filesystem,
        )
        self._auto_clear = auto_clear
        self._remember = remember
        self._stats = stats
        self._told_bad = 0

    def open(self) -> None:
        """Lock and tidy the directory; see :meth:`wakizashi.files.WindowDirectory.open`."""
        self.directory.open(keeps_sent=self._remember or not self._auto_clear)
        self.tell_bad()

    def tell_bad(self) -> None:
        """Log and count what was moved to ``bad/`` since the last call."""
        bad = self.directory.moved_to_bad
        for name, reason in bad[self._told_bad :]:
            _log.error("dumpDir: %s/%s: %s; see bad/", self.directory.path, name, reason)
            self._stats.windows_damaged += 1
        self._told_bad = len(bad)

    def save(self, window: Window) -> Entry:
        """Make a window durable.

        Raises:
            Retryable: the directory would not take it; the window is still only the caller's.
        """
        entry = self.directory.write(
            window.probe, window.start_ms, window.number, wire.encode(window)
        )
        self._stats.windows_closed += 1
        for device in window.devices:
            self._stats.add(device.ledger)
        return entry

    def delivered(self, entry: Entry) -> None:
        """The center has it. Raises Retryable where the disk would not let go of it."""
        if self._auto_clear and not self._remember:
            self.directory.remove(entry)
        else:
            self.directory.keep_sent(entry, newest_only=self._auto_clear)
        self._stats.windows_delivered += 1

    def rejected(self, entry: Entry, reason: str) -> None:
        """The center will never take it: to ``bad/``. Raises as :meth:`delivered`."""
        self.directory.quarantine(entry, f"the center refused it: {reason}")
        self._stats.windows_rejected += 1
        self._told_bad = len(self.directory.moved_to_bad)
        _log.error(
            "the center refused window %s: %s; it lies in %s/bad",
            entry.name,
            reason,
            self.directory.path,
        )
