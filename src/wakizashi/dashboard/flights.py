"""Equal questions at the same moment share one answer, so that many pages cost what one costs.

Each question is worked on by a thread of its own, a few at a time; a daemon, for nobody waits at the
end for what a database does not answer. All but the work is on the event loop's thread.
"""

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar

from wakizashi.errors import Retryable

WORKERS = 4
MOST_WAITING = 64
FRESH_SECONDS = 1.0
MOST_FRESH = 64
"""Answers that are kept; a page has six at a time."""


T = TypeVar("T")
U = TypeVar("U")


@dataclass(frozen=True, slots=True)
class _Fresh(Generic[T]):
    answer: T
    until: float


class Flights(Generic[T]):
    """Runs functions on threads, once for each key at a time.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._turns = asyncio.Semaphore(WORKERS)
        self._asked = 0
        self._flights: dict[Hashable, asyncio.Task[T]] = {}
        self._fresh: dict[Hashable, _Fresh[T]] = {}

    async def answer(self, key: Hashable, work: Callable[[], T]) -> T:
        """What ``work`` returns, or has returned less than a second ago for the same key.

        Raises:
            Retryable: too many wait already; and what ``work`` raises.
        """
        fresh = self._fresh.get(key)
        if fresh is not None and self._clock() < fresh.until:
            return fresh.answer
        flight = self._flights.get(key)
        if flight is None:
            flight = asyncio.create_task(self._fly(key, work))
            # Should all have gone away that wait for it, a failure is no news to anybody.
            flight.add_done_callback(lambda done: done.cancelled() or done.exception())
            self._flights[key] = flight
        # Who goes away does not take the answer from the others.
        return await asyncio.shield(flight)

    async def turn(self, work: Callable[[], U]) -> U:
        """What ``work`` returns, or raises, once it is its turn; shared with nobody.

        Raises:
            Retryable: too many wait already; and what ``work`` raises.
        """
        if self._asked >= MOST_WAITING:
            raise Retryable(f"{MOST_WAITING} questions wait for the backend; ask again in a moment")
        self._asked += 1
        try:
            async with self._turns:
                return await on_thread(work)
        finally:
            self._asked -= 1

    async def _fly(self, key: Hashable, work: Callable[[], T]) -> T:
        try:
            answer = await self.turn(work)
            now = self._clock()
            self._fresh = {k: v for k, v in self._fresh.items() if now < v.until}
            while len(self._fresh) >= MOST_FRESH:
                del self._fresh[next(iter(self._fresh))]
            self._fresh[key] = _Fresh(answer, now + FRESH_SECONDS)
            return answer
        finally:
            del self._flights[key]


async def on_thread(work: Callable[[], U]) -> U:
    """What ``work`` returns, or raises, on a thread of its own."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[U] = loop.create_future()

    def tell(answer: U) -> None:
        if not done.cancelled():
            done.set_result(answer)

    def fail(error: Exception) -> None:
        if not done.cancelled():
            done.set_exception(error)

    def run() -> None:
        try:
            told = partial(tell, work())
        except Exception as error:
            told = partial(fail, error)
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(told)

    threading.Thread(target=run, name="answer", daemon=True).start()
    return await done
