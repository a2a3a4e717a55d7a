"""What expires, and how it is deleted: some with each write, in the write's own transaction.

A window expires as a whole, with its ledgers and with all windows of the same
timestamp: its own ``timestamp`` becomes NULL, and no query finds it. Its rows
are deleted then, as many as one write may. The pages are used again, so the
file stays as large as it was once, and need not grow.
"""

import logging
import sqlite3
import time
from collections.abc import Callable

from wakizashi.center.sqlite.tables import Tables
from wakizashi.telemetry import Throttle

SWEEP_ROWS = 20_000
"""Most rows that one write deletes: twice what one write brings at most, so that it catches up."""

_log = logging.getLogger(__name__)


class Retention:
    """Decides what expires.

    Args:
        place: the file, for messages.
        ttl_seconds: the age at which a window expires.
        limit_bytes: what the used pages may hold; beyond it the oldest expire.
        clock: seconds of Unix time.
    """

    def __init__(
        self,
        tables: Tables,
        place: str,
        *,
        ttl_seconds: int,
        limit_bytes: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._tables = tables
        self._place = place
        self._ttl_ms = ttl_seconds * 1000
        self._limit = limit_bytes
        self._clock = clock
        self._throttle = Throttle(_log)

    def sweep(self, writer: sqlite3.Connection) -> None:
        """Delete at most ``SWEEP_ROWS`` of what has expired; in a transaction of the caller."""
        tables = self._tables
        room = SWEEP_ROWS
        while room > 0:
            window = writer.execute(tables.expired).fetchone()
            if window is None:
                if not self._expire(writer):
                    return
                continue
            beyond = writer.execute(tables.record_at, (*window, room)).fetchone()
            if beyond is not None:  # a large window: the rest goes with the next write
                writer.execute(tables.delete_records_before, (*window, *beyond))
                return
            room -= 1 + writer.execute(tables.delete_records, window).rowcount
            writer.execute(tables.delete_devices, window)
            writer.execute(tables.delete_window, window)

    def _expire(self, writer: sqlite3.Connection) -> bool:
        """Let all windows of the oldest timestamp expire, if it is time; whether it was."""
        oldest, newest = writer.execute(self._tables.ends).fetchone()
        if oldest is None or oldest == newest:
            return False
        # Not by this clock alone: one that runs years ahead must not remove everything.
        now_ms = min(int(self._clock() * 1000), newest)
        if oldest >= now_ms - self._ttl_ms:
            used = _used_bytes(writer)
            if used <= self._limit:
                return False
            self._throttle.warning(
                "limit",
                f"backendConfig.sqliteConfig.limit: {self._place} holds {used} bytes, more than "
                f"{self._limit}: windows are removed before their ttl is over, all but those of "
                f"the last {(newest - oldest) / 3_600_000:.1f} hours; raise limit, or lower ttl",
            )
        writer.execute(self._tables.expire, (oldest,))
        return True


def _used_bytes(connection: sqlite3.Connection) -> int:
    """Bytes in the pages that hold something."""
    pages, free, size = (
        int(connection.execute(f"PRAGMA {name}").fetchone()[0])
        for name in ("page_count", "freelist_count", "page_size")
    )
    return (pages - free) * size
