"""How late the event loop is: the first thing that shows that one core is too little for a center."""

import asyncio
import time
from collections.abc import Awaitable, Callable

from prometheus_client import Histogram

INTERVAL_SECONDS = 1.0


async def watch_lag(
    lag_seconds: Histogram,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Ask for a wake-up once a second, and see how much later it comes. Runs until cancelled."""
    while True:
        due = clock() + INTERVAL_SECONDS
        await sleep(INTERVAL_SECONDS)
        lag_seconds.observe(max(0.0, clock() - due))
