"""Whether a loop still turns: each time that it says so it tells by when it will say so again.

A loop that waits for a network is alive, however long it may wait: it promised no
more. One that breaks its promise by ``STUCK_SECONDS`` stands still. Threads may share it.
"""

import time
from collections.abc import Callable

STUCK_SECONDS = 30.0
"""A loop that is so late is stuck."""


class Pulse:
    """The pulse of one loop, called ``name`` in messages."""

    def __init__(self, name: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._name, self._clock = name, clock
        self._promised: float | None = None
        self._beaten = clock()

    @property
    def silence_seconds(self) -> float:
        """Since the loop said last that it lives."""
        return self._clock() - self._beaten

    def beat(self, within_seconds: float) -> None:
        """Called by the loop: it lives, and will say so again in that time."""
        self._beaten = self._clock()
        self._promised = self._beaten + within_seconds

    def rest(self) -> None:
        """Called by the loop: it has nothing to do, or ends; it promises nothing."""
        self._promised = None

    def trouble(self) -> str | None:
        """None while the loop keeps its word, else what to tell."""
        promised = self._promised
        late = 0.0 if promised is None else self._clock() - promised
        return f"{self._name} stands still for {late:.0f} s" if late > STUCK_SECONDS else None
