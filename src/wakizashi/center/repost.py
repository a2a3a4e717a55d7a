"""Posts what waits in the recovery directory to the backend, oldest first.

At start, every ``recoverInterval`` unless the backend asked for a longer pause,
and as soon as the backend works again. A file is removed only when the backend
has its window.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from wakizashi.center.aggregate import aggregate
from wakizashi.center.isolate import points
from wakizashi.center.recovery import Recovery
from wakizashi.center.writer import GROUP_POINTS, Writer
from wakizashi.errors import Retryable
from wakizashi.model import StoredWindow
from wakizashi.telemetry import Throttle
from wakizashi.window_file import Entry

MAX_FAULTS = 1_000
"""Files of one round that may be in trouble; with more it is the disk, and the round ends."""

_log = logging.getLogger(__name__)


async def wait(
    event: asyncio.Event, seconds: float, sleep: Callable[[float], Awaitable[None]]
) -> None:
    """Wait for ``event``, at most ``seconds`` as ``sleep`` counts them."""

    async def pause() -> None:
        await sleep(seconds)

    tasks = [asyncio.create_task(event.wait()), asyncio.create_task(pause())]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()


def tell_bad(recovery: Recovery) -> None:
    """Log what was moved to ``bad/`` since the last call."""
    for name, reason in recovery.news_of_bad():
        _log.error("recoverDir: %s is in %s/bad now: %s", name, recovery.path, reason)


class Repost:
    """The repost loop; belongs to one event loop."""

    def __init__(
        self,
        writer: Writer,
        recovery: Recovery,
        *,
        interval_seconds: float,
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        self._writer = writer
        self._recovery = recovery
        self._interval = interval_seconds
        self._sleep = sleep
        self._throttle = Throttle(_log)

    def change(self, interval_seconds: float) -> None:
        """Another interval, from the pause on that is under way."""
        if interval_seconds != self._interval:
            self._interval = interval_seconds
            self._writer.back.set()

    async def loop(self) -> None:
        """Run until cancelled."""
        while True:
            self._writer.back.clear()
            try:
                if self._writer.pause_seconds == 0:
                    await self.once()
            except Retryable as error:
                self._throttle.warning("recovery", str(error))
            except Exception:
                _log.exception("posting from recoverDir failed unexpectedly")
            await wait(self._writer.back, self._interval, self._sleep)

    async def once(self) -> None:
        """Post everything that waits.

        Raises:
            Retryable: the backend or the disk would not go on; the files stay.
        """
        waiting = await asyncio.to_thread(self._recovery.waiting)
        waiting.reverse()
        done = 0
        faults: list[Retryable] = []  # files of which the disk won't let go: they hold up no others
        while waiting and len(faults) < MAX_FAULTS:
            entries, windows = await asyncio.to_thread(self._load, waiting, faults)
            tell_bad(self._recovery)
            if not windows:  # nothing was written, so nothing is known of the backend
                continue
            isolated = await self._writer.write(windows)
            for entry, stored in zip(entries, windows, strict=True):
                reason = isolated.get((stored.probe, stored.start_ms))
                try:
                    if reason is not None:
                        await asyncio.to_thread(self._recovery.quarantine, entry, reason)
                    else:
                        await asyncio.to_thread(self._recovery.done, entry)
                        done += 1
                except Retryable as error:
                    faults.append(error)
            tell_bad(self._recovery)
        if done:
            _log.info("%d windows of recoverDir are in %s now", done, self._writer.describe)
        for fault in faults:
            raise fault

    def _load(
        self, waiting: list[Entry], faults: list[Retryable]
    ) -> tuple[list[Entry], list[StoredWindow]]:
        """Take entries from the end of ``waiting`` until a write is full."""
        entries: list[Entry] = []
        windows: list[StoredWindow] = []
        total = 0
        while waiting and total < GROUP_POINTS:
            entry = waiting.pop()
            try:
                window = self._recovery.load(entry)
            except Retryable as error:
                faults.append(error)
                continue
            if window is not None:
                entries.append(entry)
                windows.append(aggregate(window))
                total += points(windows[-1])
        return entries, windows
