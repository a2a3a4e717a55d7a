"""The only retry loop: from complete windows to durable ones.

In: windows from ingest, on the event loop. Out: for each of them an
:class:`Outcome`, which is ``STORED`` only when the backend has said so or the
recovery file is fsynced. Windows are written in groups: 5,000 to 10,000 points, or
what came within 200 ms of the first; one write is in flight, on a thread of its
own, while the next is built and a third group collects. Lost is nothing: what
neither the backend nor the recovery directory takes stays with the probe.
"""

import asyncio
import logging
import random as random_module
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from enum import Enum

from wakizashi.center.aggregate import aggregate
from wakizashi.center.backend import Backend
from wakizashi.center.isolate import Isolated, points
from wakizashi.center.metrics import Metrics
from wakizashi.center.recovery import Recovery
from wakizashi.center.repost import Repost, tell_bad, wait
from wakizashi.center.writer import FIRST_BACKOFF_SECONDS, GROUP_POINTS, PATIENCE_SECONDS, Writer
from wakizashi.errors import Retryable
from wakizashi.model import StoredWindow, Window
from wakizashi.telemetry import Throttle

GROUP_SECONDS = 0.2
GROUPS = 2
"""One is written while the next is built."""
READY_POINTS = 5_000
"""From here on a group does not wait for more."""
_LARGE_WINDOW = 20_000
"""Records above which a window is aggregated on a thread: 20 ms of the event loop at most."""

_log = logging.getLogger(__name__)


class Status(Enum):
    """What became of a window."""

    STORED = "stored"
    RETRY = "retry"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True)
class Outcome:
    """The word to the probe; ``retry_delay_ms`` counts with ``RETRY`` alone."""

    status: Status
    reason: str = ""
    retry_delay_ms: int = 0


@dataclass(slots=True)
class _Item:
    window: Window
    """Without its flows."""
    chunks: Sequence[bytes]
    stored: StoredWindow
    future: asyncio.Future[Outcome]


class Store:
    """Makes windows durable. All methods belong to one event loop.

    Args:
        backend: where they go; called on worker threads, one write at a time.
        recovery: where they wait while the backend would not take them; None: nowhere.
        interval_seconds: between reposts, and the longest pause of the backoff.
        patience_seconds: more than any write takes, its timeouts included.
        clock, sleep, random: monotonic seconds, a pause, a number in [0, 1).
    """

    def __init__(
        self,
        backend: Backend,
        recovery: Recovery | None,
        metrics: Metrics,
        *,
        interval_seconds: float,
        patience_seconds: float = PATIENCE_SECONDS,
        group_seconds: float = GROUP_SECONDS,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        random: Callable[[], float] = random_module.random,
    ) -> None:
        self._writer = Writer(
            backend,
            metrics,
            longest_pause_seconds=interval_seconds,
            patience_seconds=patience_seconds,
            clock=clock,
            random=random,
        )
        self._repost: Repost | None = None
        self._recovery = recovery
        self._metrics = metrics
        self._interval = interval_seconds
        self._group_seconds = group_seconds
        self._sleep = sleep
        self._throttle = Throttle(_log)
        self._items: list[_Item] = []
        self._points = 0
        self.waiting = 0
        """Windows that were submitted and have no word yet."""
        self._arrived = asyncio.Event()
        self._full = asyncio.Event()
        self._closing = False
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to write, and to post what waits in the recovery directory."""
        self._tasks.append(asyncio.create_task(self._write_loop(), name="store"))
        if self._recovery is not None:
            tell_bad(self._recovery)
            self._repost = Repost(
                self._writer,
                self._recovery,
                interval_seconds=self._interval,
                sleep=self._sleep,
            )
            self._tasks.append(asyncio.create_task(self._repost.loop(), name="repost"))

    def change(self, interval_seconds: float) -> None:
        """Another interval between reposts, from now on."""
        if interval_seconds != self._interval:
            self._interval = interval_seconds
            self._writer.change(interval_seconds)
            if self._repost is not None:
                self._repost.change(interval_seconds)

    def stuck(self) -> str | None:
        """Why no window goes on, though the backend may be well; None while they do. Any thread."""
        ended = [task.get_name() for task in self._tasks if task.done()]
        if ended and not self._closing:
            return f"the {ended[0]} loop has ended"
        return self._writer.pulse.trouble()

    @property
    def trouble(self) -> str | None:
        """Why no window can be made durable now; None while one can.

        None too when the pause after a failure is over: only a window can show that the backend
        works again, and who asks before sending one would else never send any.
        """
        return self._writer.reason if self._writer.pause_seconds and not self._recovery else None

    def submit(self, window: Window, chunks: Sequence[bytes]) -> Awaitable[Outcome]:
        """Make a window durable, or tell why it is not. Never raises for the window's sake.

        The flows are looked at before this returns, or at the latest before the
        outcome is waited for long: whoever keeps them pays ten times the memory
        of the chunks for each window that waits for the backend.
        """
        self._metrics.records.inc(len(window.flows))
        if len(window.flows) > _LARGE_WINDOW:
            return self._submit_large(window, chunks)
        return self._append(replace(window, flows=()), chunks, aggregate(window))

    async def _submit_large(self, window: Window, chunks: Sequence[bytes]) -> Outcome:
        stored = await asyncio.to_thread(aggregate, window)
        window = replace(window, flows=())
        return await self._append(window, chunks, stored)

    def _append(
        self, window: Window, chunks: Sequence[bytes], stored: StoredWindow
    ) -> asyncio.Future[Outcome]:
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        item = _Item(window, chunks, stored, future)
        self.waiting += 1
        if self._closing:
            self._finish([item], self._retry("the center is stopping"))
            return future
        self._items.append(item)
        self._points += points(stored)
        self._arrived.set()
        if self._points >= READY_POINTS:
            self._full.set()
        return future

    async def close(self, deadline_seconds: float) -> None:
        """Write what was submitted; what is not durable by the deadline is to be retried."""
        self._closing = True
        self._arrived.set()
        self._full.set()
        if self._tasks:
            await asyncio.wait(self._tasks[:1], timeout=deadline_seconds)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._writer.close()
        self._finish(self._items, self._retry("the center is stopping"))
        self._items = []

    # -- groups ------------------------------------------------------------------------------

    async def _write_loop(self) -> None:
        free = asyncio.Semaphore(GROUPS)
        async with asyncio.TaskGroup() as groups:  # ends when they have
            while True:
                await free.acquire()
                await self._arrived.wait()
                if not self._items:
                    return  # closing, and nothing is left
                if not self._full.is_set():
                    await wait(self._full, self._group_seconds, self._sleep)
                task = groups.create_task(self._write_group(self._take()))
                task.add_done_callback(lambda _: free.release())

    async def _write_group(self, group: list[_Item]) -> None:
        try:
            await self._make_durable(group)
        except Exception:
            _log.exception("a group of %d windows failed unexpectedly", len(group))
        finally:  # cancelled or failed: no window may wait for its word for ever
            self._finish(group, self._retry("the center could not store it"))

    def _take(self) -> list[_Item]:
        """The next group: at least one window, else up to GROUP_POINTS."""
        count = total = 0
        for item in self._items:
            if count and total + points(item.stored) > GROUP_POINTS:
                break
            total += points(item.stored)
            count += 1
        group, self._items = self._items[:count], self._items[count:]
        self._points -= total
        if not self._items and not self._closing:
            self._arrived.clear()
        if self._points < READY_POINTS and not self._closing:
            self._full.clear()
        return group

    async def _make_durable(self, group: list[_Item]) -> None:
        if self._writer.pause_seconds == 0:
            try:
                isolated = await self._writer.write([item.stored for item in group])
            except Retryable:  # the writer has told
                pass
            else:
                await self._after_write(group, isolated)
                return
        await self._to_recovery(group)

    async def _after_write(self, group: list[_Item], isolated: Isolated) -> None:
        for item in group:
            reason = isolated.get((item.window.probe, item.window.start_ms))
            if reason is None:
                self._finish([item], Outcome(Status.STORED))
            elif self._recovery is None:
                self._finish([item], Outcome(Status.REJECTED, reason))
            else:
                save = self._recovery.save_bad
                try:
                    await asyncio.to_thread(save, item.window, item.chunks, reason)
                except Retryable as error:
                    self._finish([item], self._retry(f"{reason}; {error}"))
                else:
                    tell_bad(self._recovery)
                    self._finish([item], Outcome(Status.STORED))

    async def _to_recovery(self, group: list[_Item]) -> None:
        if self._recovery is None:
            self._finish(group, self._retry(self._writer.reason))
            return
        windows = [(item.window, item.chunks) for item in group]
        results = await asyncio.to_thread(self._recovery.save, windows)
        for item, result in zip(group, results, strict=True):
            if isinstance(result, Retryable):
                self._throttle.error("recovery", f"{result}; probes keep their windows")
                self._finish([item], self._retry(str(result)))
            else:
                self._throttle.clear("recovery")
                self._finish([item], Outcome(Status.STORED), kept=True)

    # -- words -------------------------------------------------------------------------------

    def _retry(self, reason: str) -> Outcome:
        pause = max(self._writer.pause_seconds, FIRST_BACKOFF_SECONDS)
        return Outcome(Status.RETRY, reason, int(1000 * pause))

    def _finish(self, items: Sequence[_Item], outcome: Outcome, *, kept: bool = False) -> None:
        open_items = [item for item in items if not item.future.done()]
        self.waiting -= len(open_items)
        status = "recovered" if kept else outcome.status.value
        self._metrics.windows.labels(status).inc(len(open_items))
        if outcome.status is Status.STORED:
            self._metrics.acked([item.window for item in open_items])
        for item in open_items:
            item.future.set_result(outcome)
