"""The way to the backend, for new windows and for reposts: one write at a time.

Keeps the state of the backend: after a failure it counts as down until a
pause, longer each time and with jitter, is over.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from wakizashi.center.backend import Backend
from wakizashi.center.isolate import Isolated, isolate, pieces, points
from wakizashi.center.metrics import Metrics
from wakizashi.errors import Permanent, Retryable
from wakizashi.model import StoredWindow
from wakizashi.pulse import Pulse
from wakizashi.telemetry import Throttle

GROUP_POINTS = 10_000
"""Most points in one write."""
PATIENCE_SECONDS = 600.0
"""A write that has not come back after that, and after ten timeouts, waits for no backend."""
FIRST_BACKOFF_SECONDS = 1.0
LONGEST_ASKED_SECONDS = 300.0
"""Most that a backend can ask for with ``Retry-After``: what asks for hours is mended sooner."""

Result = TypeVar("Result")
_log = logging.getLogger(__name__)


class Writer:
    """Writes windows on a thread of its own; belongs to one event loop.

    Args:
        backend: where they go.
        longest_pause_seconds: the end of the exponential backoff.
        patience_seconds: more than any write takes, its timeouts included.
        clock, random: monotonic seconds, a number in [0, 1).
    """

    def __init__(
        self,
        backend: Backend,
        metrics: Metrics,
        *,
        longest_pause_seconds: float,
        clock: Callable[[], float],
        random: Callable[[], float],
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        self._backend = backend
        self._metrics = metrics
        self._longest, self._patience = longest_pause_seconds, patience_seconds
        self._clock, self._random = clock, random
        self._throttle = Throttle(_log)
        self.pulse = Pulse("the write to the backend", clock)
        # A thread, not a lock: the next write begins without asking the event loop, which is busy.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="write")
        self._failures = 0
        self._down_until = 0.0
        metrics.backend_failing.set_function(lambda: self._failures > 0)
        self.reason = ""
        """Why the backend took nothing the last time that it did not."""
        self.back = asyncio.Event()
        """Set when the backend works again after a failure."""

    @property
    def pause_seconds(self) -> float:
        """Until the backend is worth another try; 0 now."""
        return max(0.0, self._down_until - self._clock())

    @property
    def describe(self) -> str:
        """The backend, for messages."""
        return self._backend.describe

    def change(self, longest_pause_seconds: float) -> None:
        """Another end of the backoff, for a pause that has begun too."""
        self._longest = longest_pause_seconds
        self._down_until = min(self._down_until, self._clock() + longest_pause_seconds)

    async def write(self, windows: Sequence[StoredWindow]) -> Isolated:
        """Write windows, whatever their size; which of them hold points that can't be stored.

        Raises:
            Retryable: the backend does not take anything now; parts may be stored.
        """
        isolated: Isolated = {}
        count = 0
        try:
            for piece in pieces(windows, GROUP_POINTS):
                prepared = await asyncio.to_thread(self._backend.prepare, piece)
                try:
                    await self._in_turn(self._run, prepared, piece)
                except Permanent as error:
                    bad, more = await self._in_turn(isolate, self._write, piece, str(error))
                    isolated |= bad
                    count += more
        except Retryable as error:
            self._went_down(error)
            raise
        self._came_up()
        if isolated:
            self._metrics.quarantined.inc(count)
            why = next(iter(isolated.values()))
            self._throttle.error("permanent", f"{count} points can't be stored: {why}")
        return isolated

    async def _in_turn(self, work: Callable[..., Result], *arguments: object) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)

    def close(self) -> None:
        """Begin no more writes."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _write(self, windows: Sequence[StoredWindow]) -> None:
        self._run(self._backend.prepare(windows), windows)

    def _run(self, prepared: Callable[[], None], windows: Sequence[StoredWindow]) -> None:
        outcome = "retryable"
        self.pulse.beat(self._patience)
        try:
            with self._metrics.write_seconds.time():
                prepared()
            outcome = "ok"
            self._metrics.last_write.set_to_current_time()
            self._metrics.points.inc(sum(points(window) for window in windows))
        except Permanent:
            outcome = "permanent"
            raise
        finally:
            self.pulse.rest()
            self._metrics.writes.labels(outcome).inc()

    def _went_down(self, error: Retryable) -> None:
        self._failures += 1
        pause = min(self._longest, FIRST_BACKOFF_SECONDS * 2 ** min(self._failures - 1, 16))
        # Jitter, so that many centers do not come back all at once.
        pause *= 0.5 + self._random() / 2
        asked = min(error.delay_seconds, LONGEST_ASKED_SECONDS)
        self._down_until = self._clock() + asked + pause
        self.reason = str(error)
        self._throttle.warning("backend", f"{error}; nothing is lost meanwhile")

    def _came_up(self) -> None:
        if self._failures:
            self._failures, self._down_until = 0, 0.0
            self.back.set()
            self._throttle.clear("backend")
            _log.info("%s takes windows again", self._backend.describe)
