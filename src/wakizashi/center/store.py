"""From complete windows to durable ones: group commit, recovery, and the only retry loop.

In: windows with their chunks. Out: an :class:`Outcome` for each, once it is
decided. ``STORED`` is said of a window only when it is in the backend, or
fsynced in the recovery directory; never of what is only in memory. Nothing is
lost here: what can't be made durable is given back with ``RETRY``.

Runs on the event loop; the backend and the disk are used on worker threads, one
write at a time, while the next batch gathers.
"""

import asyncio
import logging
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import Enum

from wakizashi.center.aggregate import aggregate
from wakizashi.center.backend import Backend
from wakizashi.center.metrics import Metrics
from wakizashi.center.recovery import Recovery
from wakizashi.errors import Permanent, Retryable
from wakizashi.files import Entry
from wakizashi.model import StoredWindow, Window
from wakizashi.telemetry import Throttle

_log = logging.getLogger(__name__)

BATCH_POINTS = 10_000
LINGER_SECONDS = 0.2
RETRY_MS = 1_000
FIRST_BACKOFF_SECONDS = 1.0


class Status(Enum):
    """What became of a window."""

    STORED = "stored"
    RETRY = "retry"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True)
class Outcome:
    """The answer to one window."""

    status: Status
    reason: str = ""
    retry_delay_ms: int = 0


STORED = Outcome(Status.STORED)


@dataclass(slots=True)
class _Item:
    window: Window
    chunks: list[bytes]
    stored: StoredWindow
    done: "asyncio.Future[Outcome]"


def points(window: StoredWindow) -> int:
    """How many points a window makes."""
    return len(window.records) + len(window.ledgers)


class Store:
    """Writes windows to the backend, or to the recovery directory."""

    def __init__(
        self,
        backend: Backend,
        recovery: Recovery | None,
        metrics: Metrics,
        *,
        recover_interval_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._backend, self._recovery, self._metrics = backend, recovery, metrics
        self._interval = recover_interval_seconds
        self._clock = clock
        self._throttle = Throttle(_log)
        self._queue: asyncio.Queue[_Item | None] = asyncio.Queue()
        self._backend_lock = asyncio.Lock()
        self._failures = 0
        self._down_until = 0.0
        self._back = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        if recovery is not None:
            directory = recovery.directory
            metrics.watch_recovery(
                lambda: len(directory.pending()), lambda: directory.used_bytes
            )

    def start(self) -> None:
        """Begin to commit, and to repost what the recovery directory holds."""
        self._tasks.append(asyncio.create_task(self._commit_forever(), name="commit"))
        if self._recovery is not None:
            self._tasks.append(
                asyncio.create_task(self._repost_forever(), name="repost")
            )

    async def submit(self, window: Window, chunks: list[bytes]) -> Outcome:
        """Make a window durable, and say so; or say why not."""
        done: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._metrics.records.inc(len(window.flows))
        await self._queue.put(_Item(window, chunks, aggregate(window), done))
        return await done

    async def close(self) -> None:
        """Commit what was submitted, then end."""
        await self._queue.put(None)
        if self._tasks:
            await self._tasks[0]
        for task in self._tasks[1:]:
            task.cancel()
        await asyncio.gather(*self._tasks[1:], return_exceptions=True)

    # -- group commit ------------------------------------------------------------------------

    async def _commit_forever(self) -> None:
        last = False
        while not last:
            batch, last = await self._gather()
            if batch:
                await self._commit(batch)

    async def _gather(self) -> tuple[list[_Item], bool]:
        """The next batch: up to ``BATCH_POINTS`` points, or what came within the linger."""
        first = await self._queue.get()
        if first is None:
            return [], True
        batch, size = [first], points(first.stored)
        loop = asyncio.get_running_loop()
        until = loop.time() + LINGER_SECONDS
        while size < BATCH_POINTS:
            try:
                async with asyncio.timeout_at(until):
                    item = await self._queue.get()
            except TimeoutError:
                break
            if item is None:
                return batch, True
            batch.append(item)
            size += points(item.stored)
        return batch, False

    async def _commit(self, batch: list[_Item]) -> None:
        try:
            bad = await self._write([item.stored for item in batch])
        except Retryable as error:
            outcomes = [await self._recover(item, str(error)) for item in batch]
        else:
            outcomes = [
                await self._quarantine(item, bad[index]) if index in bad else STORED
                for index, item in enumerate(batch)
            ]
        for item, outcome in zip(batch, outcomes, strict=True):
            if (
                not item.done.done()
            ):  # else the caller has gone away; the window is safe
                item.done.set_result(outcome)

    async def _recover(self, item: _Item, reason: str) -> Outcome:
        if self._recovery is None:
            delay = max(RETRY_MS, round((self._down_until - self._clock()) * 1000))
            return Outcome(Status.RETRY, reason, delay)
        try:
            await asyncio.to_thread(self._recovery.save, item.window, item.chunks)
        except Retryable as error:
            self._throttle.error("recovery", str(error))
            return Outcome(Status.RETRY, f"{reason}; {error}", RETRY_MS)
        self._metrics.windows.labels("recovered").inc()
        return STORED

    async def _quarantine(self, item: _Item, reason: str) -> Outcome:
        """Some of the window is refused for good: keep it whole, for a person to look at."""
        if self._recovery is None:
            return Outcome(Status.REJECTED, reason)
        try:
            await asyncio.to_thread(
                self._recovery.quarantine, item.window, item.chunks, reason
            )
        except Retryable as error:
            return Outcome(Status.RETRY, f"{reason}; {error}", RETRY_MS)
        return STORED

    # -- the backend -------------------------------------------------------------------------

    async def _write(self, windows: Sequence[StoredWindow]) -> dict[int, str]:
        """Write windows; those with points refused for good, by index, with the reason.

        Raises:
            Retryable: the backend does not take them now, or did not a moment ago.
        """
        async with self._backend_lock:
            if self._clock() < self._down_until:
                raise Retryable(
                    f"{self._backend.description} is away; it is tried again soon"
                )
            bad: dict[int, str] = {}
            try:
                await asyncio.to_thread(
                    self._write_parts, list(enumerate(windows)), bad
                )
            except Retryable as error:
                self._fail(error)
                raise
            if self._failures:
                _log.info("%s takes points again", self._backend.description)
                self._throttle.clear("backend")
            self._failures, self._down_until = 0, 0.0
            self._back.set()
            return bad

    def _fail(self, error: Retryable) -> None:
        ceiling = min(
            self._interval, FIRST_BACKOFF_SECONDS * 2 ** min(self._failures, 16)
        )
        self._failures += 1
        self._down_until = self._clock() + ceiling * random.uniform(0.5, 1.0)
        place = (
            f"wait in {self._recovery.directory.path}"
            if self._recovery
            else "stay at the probes"
        )
        self._throttle.error("backend", f"{error}; windows {place}")

    def _write_parts(
        self, parts: list[tuple[int, StoredWindow]], bad: dict[int, str]
    ) -> None:
        """Write; where data is refused for good, halve until only the refused points are left."""
        try:
            with self._metrics.write_seconds.time():
                self._backend.write([window for _, window in parts])
        except Permanent as error:
            self._metrics.writes.labels("permanent").inc()
            halves = _halves(parts)
            if not halves:
                index, window = parts[0]
                bad[index] = str(error)
                self._metrics.quarantined.inc(points(window))
                self._throttle.error(
                    f"bad {error}",
                    f"window {window.start_ms} of {window.probe}: {error}",
                )
            for half in halves:
                self._write_parts(half, bad)
        except Retryable:
            self._metrics.writes.labels("retryable").inc()
            raise
        else:
            self._metrics.writes.labels("ok").inc()
            self._metrics.points.inc(sum(points(window) for _, window in parts))

    # -- recovery ----------------------------------------------------------------------------

    async def _repost_forever(self) -> None:
        while True:
            await self._repost()
            self._back.clear()
            try:
                async with asyncio.timeout(self._interval):
                    await self._back.wait()
                await asyncio.sleep(LINGER_SECONDS)
            except TimeoutError:
                pass

    async def _repost(self) -> None:
        """Write what waits, oldest first, as long as the backend takes it."""
        assert self._recovery is not None
        while entries := self._recovery.directory.pending():
            batch: list[tuple[Entry, Window, list[bytes], StoredWindow]] = []
            size = 0
            try:
                for entry in entries:
                    loaded = await asyncio.to_thread(self._recovery.load, entry)
                    if loaded is None:
                        continue
                    stored = aggregate(loaded[0])
                    batch.append((entry, *loaded, stored))
                    size += points(stored)
                    if size >= BATCH_POINTS:
                        break
                bad = (
                    await self._write([stored for *_, stored in batch]) if batch else {}
                )
            except Retryable as error:
                self._throttle.warning("repost", f"recovery has to wait: {error}")
                return
            for index, (entry, *_) in enumerate(batch):
                if index in bad:
                    self._recovery.directory.quarantine(entry, bad[index])
                else:
                    self._recovery.directory.remove(entry)
            self._metrics.reposted.inc(len(batch))
            _log.info("%d windows written from the recovery directory", len(batch))


def _halves(
    parts: list[tuple[int, StoredWindow]],
) -> list[list[tuple[int, StoredWindow]]]:
    """Two halves of the points, by windows first and then by points; none of a single point."""
    if len(parts) > 1:
        middle = len(parts) // 2
        return [parts[:middle], parts[middle:]]
    index, window = parts[0]
    count = points(window)
    if count <= 1:
        return []
    middle, records = count // 2, len(window.records)
    return [
        [
            (
                index,
                replace(
                    window,
                    records=window.records[:middle],
                    ledgers=window.ledgers[: max(0, middle - records)],
                ),
            )
        ],
        [
            (
                index,
                replace(
                    window,
                    records=window.records[middle:],
                    ledgers=window.ledgers[max(0, middle - records) :],
                ),
            )
        ],
    ]
