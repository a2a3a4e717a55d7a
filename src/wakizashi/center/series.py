"""Warns before the backend is full: how many series it holds, against its limits.

A database that has reached a limit of series takes no new address. Runs beside
the writes, on a worker thread, and never holds one up.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from wakizashi.center.backend import Backend, Limit
from wakizashi.center.metrics import Metrics
from wakizashi.errors import WakizashiError
from wakizashi.telemetry import Throttle

WARN_RATIO = 0.8
INTERVAL_SECONDS = 60.0
MAX_SHARE = 0.01
"""Of all time, that the backend may be busy counting for one center."""

_log = logging.getLogger(__name__)


class SeriesWatch:
    """The loop that asks; belongs to one event loop.

    Args:
        backend: whom it asks.
        metrics: where the answers go; NaN while there is none.
        clock, sleep: monotonic seconds, a pause.
    """

    def __init__(
        self,
        backend: Backend,
        metrics: Metrics,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._backend = backend
        self._metrics = metrics
        self._clock, self._sleep = clock, sleep
        self._throttle = Throttle(_log)

    async def loop(self) -> None:
        """Run until cancelled."""
        while True:
            began = self._clock()
            try:
                await asyncio.to_thread(self.look)
            except Exception:
                _log.exception("counting the series failed unexpectedly")
            took = self._clock() - began
            await self._sleep(max(INTERVAL_SECONDS, took / MAX_SHARE))

    def look(self) -> None:
        """Ask once, and warn where a limit is near."""
        try:
            series = self._backend.series()
        except WakizashiError as error:  # the writes tell what matters
            _log.debug("series: %s", error)
            series = None
        self._metrics.series.set(series.count if series else float("nan"))
        tightest = series.tightest if series else None
        self._metrics.series_ratio.set(tightest.ratio if tightest else float("nan"))
        if tightest and tightest.ratio >= WARN_RATIO:
            self._throttle.warning("series", self._warning(tightest))
        else:
            self._throttle.clear("series")

    def _warning(self, limit: Limit) -> str:
        return (
            f"{self._backend.describe}: {limit.used} {limit.what}, "
            f"and {limit.name} is {limit.limit}; then new ones are refused: {limit.remedy}"
        )
