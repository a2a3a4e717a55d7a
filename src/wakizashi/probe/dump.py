"""The dump directory: windows wait here, durable, until the center has them.

In: closed windows, from the capture thread. Out: their chunks, to the
delivery thread. Lost is nothing that :meth:`Dump.save` has taken.
"""

import logging
from dataclasses import replace
from pathlib import Path

from wakizashi.filesystem import Filesystem
from wakizashi.model import Window
from wakizashi.probe.backlog import Backlog
from wakizashi.probe.merging import Merging
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
        max_flows: most flows of one device in a window; None: windows are never merged.
    """

    def __init__(
        self,
        path: Path,
        *,
        limit_bytes: int,
        auto_clear: bool,
        stats: ProbeStats,
        remember: bool = True,
        max_flows: int | None = None,
        filesystem: Filesystem | None = None,
    ) -> None:
        self.directory = Backlog(path, limit_bytes=limit_bytes, filesystem=filesystem)
        self._merging = None if max_flows is None else Merging(self.directory, max_flows, stats)
        self._auto_clear = auto_clear
        self._remember = remember
        self._stats = stats
        self._told_bad = 0

    def change(self, *, limit_bytes: int, auto_clear: bool, max_flows: int) -> None:
        """From the capture thread: from the next window, or the next ack, on these hold."""
        self.directory.limit_bytes = limit_bytes
        self._auto_clear = auto_clear
        if self._merging is not None:
            self._merging.set_max_flows(max_flows)

    def open(self) -> None:
        """Lock and tidy the directory; see :meth:`wakizashi.files.WindowDirectory.open`."""
        self.directory.open(keeps_sent=self._remember or not self._auto_clear)
        self.tell_bad()

    def tell_bad(self) -> None:
        """Log and count what was moved to ``bad/`` since the last call."""
        news = self.directory.moved_to_bad[self._told_bad :]  # another thread may add to it
        for name, reason in news:
            _log.error("dumpDir: %s/%s: %s; see bad/", self.directory.path, name, reason)
            self._stats.windows_damaged += 1
        self._told_bad += len(news)

    def save(self, window: Window) -> Entry:
        """Make a window durable; at the quota, merged with others that were never sent.

        Returns the entry of what it is in now.

        Raises:
            Retryable: the directory would not take it; the window is still only the caller's.
        """
        if self._merging is not None:
            entry = self._merging.save(window)
        else:
            entry = self.directory.replace([], window)
        self._stats.closed(window)
        return entry

    def save_past_limit(self, window: Window) -> Entry:
        """Make a window durable though the quota is reached, the last of a probe. Raises Retryable."""
        entry = self.directory.replace([], window, past_limit=True)
        self._stats.closed(window)
        return entry

    def took(self, window: Window) -> None:
        """The center has a window that never was in the directory."""
        self._stats.closed(window)
        self._stats.acked()

    def use_up(self, window: Window) -> None:
        """Remember start and number of a window that is not in the directory.

        Raises:
            Retryable: the disk would not take what is remembered.
        """
        if self._remember:
            nothing = replace(window, flows=(), devices=())
            entry = self.directory.replace([], nothing, past_limit=True)
            self.directory.keep_sent(entry, newest_only=self._auto_clear)

    def delivered(self, entry: Entry) -> None:
        """The center has it. Raises Retryable where the disk would not let go of it."""
        if self._auto_clear and not self._remember:
            self.directory.remove(entry)
        else:
            self.directory.keep_sent(entry, newest_only=self._auto_clear)
        self._stats.acked()

    def rejected(self, entry: Entry, reason: str) -> None:
        """The center will never take it: to ``bad/``. Raises as :meth:`delivered`."""
        why = f"the center refused it: {reason}"
        self.directory.quarantine(entry, why)
        self._stats.windows_rejected += 1
        # It is no damaged one. What merging found meanwhile, on the other thread, still is to be told.
        self.directory.moved_to_bad.remove((entry.name, why))
        _log.error(
            "the center refused window %s: %s; it lies in %s/bad",
            entry.name,
            reason,
            self.directory.path,
        )
