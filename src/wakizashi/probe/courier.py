"""When to deliver: after a window closed, at a moment of the probe's own, and again if it failed.

Runs :class:`~wakizashi.probe.transmit.Transmitter` on a thread. Nothing is lost
here: what did not go waits in the dump directory for the next attempt.
"""

import logging
import random
import threading
import time
from collections.abc import Callable

from wakizashi.errors import Retryable
from wakizashi.probe.channel import Way
from wakizashi.probe.dump import Dump
from wakizashi.probe.stats import ProbeStats
from wakizashi.probe.transmit import Transmitter
from wakizashi.telemetry import Throttle

_log = logging.getLogger(__name__)

BACKOFF_SECONDS = (0.2, 5.0)
SPREAD = 1 / 2
"""The part of a window's length over which a fleet spreads its deliveries (docs/scaling.md)."""


class Courier:
    """The delivery thread. Its methods are called from the capture thread."""

    def __init__(
        self,
        transmitter: Transmitter,
        dump: Dump,
        *,
        upload_retry: int,
        interval_seconds: int,
        stats: ProbeStats,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._transmitter, self._dump, self._stats = transmitter, dump, stats
        self._retries, self._interval = upload_retry, interval_seconds
        self._clock = clock
        self._throttle = Throttle(_log, clock)
        self._wake = threading.Event()
        self._nudge = threading.Event()
        """What a pause depends on changed."""
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Deliver on a thread, until :meth:`stop`."""
        self._thread = threading.Thread(target=self._run, name="transmit", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """A window was closed."""
        self._wake.set()

    @property
    def way(self) -> Way:
        """Where and how the next connection is made."""
        return self._transmitter.way

    def change(
        self,
        *,
        upload_retry: int,
        interval_seconds: int,
        way: Way,
    ) -> None:
        """From the next delivery on, and between two calls of one, these hold."""
        self._retries, self._interval = upload_retry, interval_seconds
        self._transmitter.change(interval_seconds, way)
        self._wake.set()
        self._nudge.set()

    def trouble(self) -> str | None:
        """Why nothing is delivered any more though the center may be well; None while it goes on."""
        thread = self._thread
        if thread is not None and not thread.is_alive() and not self._stopping.is_set():
            return "the delivery thread has ended"
        return self._transmitter.pulse.trouble()

    def stop(self, deadline: float) -> None:
        """Deliver what waits once more and end, at monotonic time ``deadline`` at the latest."""
        self._transmitter.deadline = deadline
        self._stopping.set()
        self._wake.set()
        self._nudge.set()
        if self._thread is not None:
            self._thread.join(max(0.0, deadline - self._clock()))
            if self._thread.is_alive():
                self._transmitter.cancel()
                self._thread.join(1.0)

    def _run(self) -> None:
        # A fleet closes its windows at the same moment: each probe has a phase of its own.
        share = random.uniform(0.0, SPREAD)
        while not self._stopping.is_set():
            asked = self._transmitter.not_before - self._clock()
            if asked <= 0:
                self._transmitter.pulse.beat(self._interval)
                self._wake.wait(self._interval)
            self._wake.clear()
            self._pause(asked if asked > 0 else None, share)
            self._attempt()
        self._attempt()
        self._transmitter.close()
        self._transmitter.pulse.rest()

    def _pause(self, asked: float | None, share: float) -> None:
        """Wait as long as the center asked, else for the probe's moment in a window as it is now."""
        begun = self._clock()
        while not self._stopping.is_set():
            seconds = share * self._interval if asked is None else asked
            left = begun + seconds - self._clock()
            if left <= 0:
                break
            self._transmitter.pulse.beat(left)
            self._nudge.wait(left)
            self._nudge.clear()

    def _attempt(self) -> None:
        """The top of the thread: whatever goes wrong, the next window is another attempt."""
        try:
            self.deliver_with_retries()
        except Exception as error:
            self._stats.delivery_failures += 1
            self._throttle.error("trouble", f"delivery failed unexpectedly: {error!r}")

    def deliver_with_retries(self) -> bool:
        """Deliver all that waits, with up to ``uploadRetry`` immediate retries; whether it went."""
        attempt = 0
        while not self._transmitter.past_deadline():
            try:
                self._transmitter.deliver()
            except Retryable as error:
                self._stats.delivery_failures += 1
                waiting = len(self._dump.directory.pending())
                self._throttle.warning(
                    "delivery",
                    f"{error}; {waiting} windows wait in {self._dump.directory.path}",
                )
                if error.delay_seconds:  # refused: an operator has to do something first
                    break
                asked = self._transmitter.not_before > self._clock()
                if attempt >= self._retries or (asked and not self._stopping.is_set()):
                    break
                self._back_off(attempt)
                attempt += 1
            else:
                if self._throttle.clear("delivery"):
                    _log.info("delivery to %s works again", self._transmitter.center_name)
                return True
        return False

    def _back_off(self, attempt: int) -> None:
        low, high = BACKOFF_SECONDS
        pause = min(high, low * 2**attempt) * random.uniform(0.5, 1.5)
        self._transmitter.pulse.beat(pause)
        if self._stopping.is_set():
            left = (self._transmitter.deadline or 0.0) - self._clock()
            time.sleep(max(0.0, min(pause, left)))
        else:
            self._stopping.wait(pause)
