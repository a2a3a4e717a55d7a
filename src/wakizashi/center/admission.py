"""How much a center takes in at a time: what is beyond waits a little, or is to come again.

In: windows that begin to arrive, with their size on the wire. Out: room for
them, or the limit that they meet. Lost is nothing: what finds no room is
answered with ``RETRY`` and stays with its probe. Belongs to one event loop.

The room is one buffer that all probes share. A probe that holds nothing gets
its turn in the order of arrival; one that holds windows already may hold as
much as is left free and no more. So a greedy probe alone gets half of the
buffer, and the others always find room (dynamic thresholds: Choudhury and
Hahne, IEEE/ACM Transactions on Networking 6(2), 1998). Where windows take long the
buffer is smaller, so that they are acknowledged before a probe gives up its call.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from wakizashi.center.config import Limits
from wakizashi.center.metrics import Metrics

WAIT_SECONDS = 10.0
"""How long a window waits for room before it is to come again; a probe waits 30 s at least."""
QUEUE_SECONDS = 5.0
"""As much is in progress as is worked off in this time; with the wait far from 30 s."""
LEAST_BYTES = 2**20
"""But this much in any case: less would let a database wait."""
RETRY_SECONDS = 2.0
RETRIES_A_SECOND = 200.0
"""Those that are to come again come one after another, after ``RETRY_SECONDS`` at the earliest."""


@dataclass(slots=True)
class _Waiting:
    probe: str
    size: int
    granted: asyncio.Future[bool]


class Admission:
    """The room of one center.

    Args:
        limits: ``limits`` of the configuration.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        limits: Limits,
        metrics: Metrics,
        *,
        wait_seconds: float = WAIT_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limits = limits
        self._metrics = metrics
        self._wait_seconds = wait_seconds
        self._clock = clock
        self._next_retry = 0.0
        self._most = limits.bytesInFlight
        self._used = 0
        self._calls = 0
        self._held: dict[str, tuple[int, int]] = {}
        self._queue: deque[_Waiting] = deque()
        metrics.in_flight_bytes.set_function(lambda: self._used)
        metrics.in_flight_limit_bytes.set_function(lambda: self._limits.bytesInFlight)
        metrics.calls.set_function(lambda: self._calls)
        metrics.calls_limit.set_function(lambda: self._limits.calls)

    def change(self, limits: Limits) -> None:
        """Other limits from now on; what is in stays in."""
        if limits != self._limits:
            self._limits, self._most = limits, limits.bytesInFlight
            self._serve()

    # -- calls -------------------------------------------------------------------------------

    @property
    def calls(self) -> int:
        """How many are in progress."""
        return self._calls

    def begin_call(self) -> str | None:
        """Count a call in; why its windows can't be taken, if they can't."""
        self._calls += 1
        if self._calls > self._limits.calls:
            return self._met("calls", f"{self._limits.calls} calls are in progress")
        return None

    def end_call(self) -> None:
        """Count a call out."""
        self._calls -= 1

    # -- windows -----------------------------------------------------------------------------

    def has_room(self, probe: str, size: int) -> bool:
        """Whether a window of ``size`` bytes may come in now: it fits, and nobody waits."""
        return not self._queue and self._fits(probe, size)

    def _fits(self, probe: str, size: int) -> bool:
        windows, own = self._held.get(probe, (0, 0))
        if windows >= self._limits.windowsPerProbe:
            return False
        return not self._used or size + own <= self._most - self._used

    async def enter(self, probe: str, size: int) -> str | None:
        """Take room for a window, :meth:`leave` gives it back; the limit met if there is none.

        A probe that holds nothing waits a while for its turn.
        """
        if self.has_room(probe, size):
            self._take(probe, size)
            return None
        windows, _ = self._held.get(probe, (0, 0))
        if windows >= self._limits.windowsPerProbe:
            return self._met("windowsPerProbe", f"{windows} windows of {probe} are in progress")
        if not windows and await self._turn(probe, size):
            return None
        what = f"windows of {self._used} bytes are in progress, with room for {self._most} now"
        return self._met("bytesInFlight", what)

    def grow(self, probe: str, more: int) -> None:
        """A window that is in turned out larger: it takes more room, whether or not there is any."""
        windows, own = self._held[probe]
        self._held[probe] = (windows, own + more)
        self._used += more

    def leave(self, probe: str, size: int) -> None:
        """Give back what :meth:`enter` and :meth:`grow` took."""
        windows, own = self._held.pop(probe)
        if windows > 1:
            self._held[probe] = (windows - 1, own - size)
        self._used -= size
        self._serve()

    def acked(self, seconds: float) -> None:
        """A window had its word ``seconds`` after it was complete: how much may be in progress?

        What is in progress, by the time it takes, is the rate (Little's law).
        """
        worked_off = int(self._used * QUEUE_SECONDS / max(seconds, 0.001))
        self._most = min(self._limits.bytesInFlight, max(LEAST_BYTES, worked_off))

    def check_records(self, records: int) -> str | None:
        """The limit that a window of so many records meets, if it does."""
        if records <= self._limits.recordsPerWindow:
            return None
        return self._met("recordsPerWindow", f"a window has {records} records or more")

    def retry_delay_ms(self) -> int:
        """When a window that found no room is to come again."""
        now = self._clock()
        self._next_retry = max(self._next_retry + 1 / RETRIES_A_SECOND, now + RETRY_SECONDS)
        return round(1000 * (self._next_retry - now))

    def _met(self, limit: str, what: str) -> str:
        self._metrics.limits.labels(limit).inc()
        return f"limits.{limit}: {what}; it is {getattr(self._limits, limit)}"

    def _take(self, probe: str, size: int) -> None:
        windows, own = self._held.get(probe, (0, 0))
        self._held[probe] = (windows + 1, own + size)
        self._used += size

    async def _turn(self, probe: str, size: int) -> bool:
        loop = asyncio.get_running_loop()
        waiting = _Waiting(probe, size, loop.create_future())
        self._queue.append(waiting)
        timer = loop.call_later(self._wait_seconds, self._give_up, waiting)
        try:
            return await waiting.granted
        except asyncio.CancelledError:  # the client went away
            if waiting.granted.done() and not waiting.granted.cancelled():
                if waiting.granted.result():
                    self.leave(probe, size)
            else:
                self._give_up(waiting)
            raise
        finally:
            timer.cancel()

    def _give_up(self, waiting: _Waiting) -> None:
        if not waiting.granted.done():
            waiting.granted.set_result(False)
        self._serve()  # those behind it may fit

    def _serve(self) -> None:
        while self._queue:
            first = self._queue[0]
            if not first.granted.done():
                if not self._fits(first.probe, first.size):
                    return
                self._take(first.probe, first.size)
                first.granted.set_result(True)
            self._queue.popleft()
