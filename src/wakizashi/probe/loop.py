"""The capture loop: watches devices, closes windows, saves them. One thread.

In: what the devices counted, and the endpoints that the delivery thread announces.
Out: windows, durable in the dump directory. Lost is nothing: a window that the
directory does not take, though it merges what it can, stays open.
"""

import logging
import os
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from wakizashi.errors import Retryable
from wakizashi.lifecycle import HangUp, StopSignal
from wakizashi.model import Tags, Window
from wakizashi.probe.capture import CaptureError, Endpoint, Engine, Limits
from wakizashi.probe.config import ProbeConfig
from wakizashi.probe.devices import Netlink, Snapshot
from wakizashi.probe.dump import Dump
from wakizashi.probe.stats import ProbeStats
from wakizashi.probe.watch import Watch
from wakizashi.probe.window import Moment, WindowBuilder, WindowClock
from wakizashi.pulse import STUCK_SECONDS, Pulse
from wakizashi.telemetry import Throttle

_log = logging.getLogger(__name__)

ROUND_SECONDS = 5.0
"""The loop goes round at least so often, though nothing happens."""


def now() -> Moment:
    """Both clocks, now."""
    return Moment(time.time_ns() // 1_000_000, time.monotonic())


@dataclass(slots=True)
class _Announcement:
    """What the delivery thread wants left out, and the capture thread's answer."""

    endpoints: frozenset[Endpoint]
    done: threading.Event = field(default_factory=threading.Event)
    trouble: str = ""


class Probe:
    """Captures, closes windows, and saves them. All methods but ``announce`` on one thread."""

    def __init__(
        self,
        config: ProbeConfig,
        engine: Engine,
        dump: Dump,
        netlink: Netlink,
        stats: ProbeStats,
        *,
        on_window: Callable[[], None],
        clock: Callable[[], Moment] = now,
    ) -> None:
        self._config, self._dump, self._stats = config, dump, stats
        self._on_window, self._clock = on_window, clock
        self._throttle = Throttle(_log)
        name = config.probe_name()
        self._builder = WindowBuilder(name, _tags(config), config.maxFlows)
        self.watch = Watch(config.networkDevs, _limits(config), engine, netlink, self._builder)
        self._announced: queue.SimpleQueue[_Announcement] = queue.SimpleQueue()
        self._bell, self._ring = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self.watch.listen(self._bell, self._hear)
        last_start, last_number = dump.directory.last_identity(name)
        self._number = last_number + 1
        moment = clock()
        if last_start > moment.wall_ms:
            _log.warning(
                "the clock is %d s behind the last window; starts go on from there",
                (last_start - moment.wall_ms) // 1000,
            )
        self._windows = WindowClock(config.capInterval, last_start, moment)
        self.pulse = Pulse("the capture loop")
        self.begun = False
        """All devices that are meant and were there at the start are captured."""
        self._finished = False

    # -- own endpoints, from the delivery thread -------------------------------------------

    def announce(self, endpoints: frozenset[Endpoint]) -> None:
        """From another thread: leave these endpoints out; returns once that holds.

        Raises:
            Retryable: the capture loop does not answer, or an engine can't.
        """
        announcement = _Announcement(endpoints)
        self._announced.put(announcement)
        os.write(self._ring, b"x")
        deadline = time.monotonic() + STUCK_SECONDS
        while not self._finished and not announcement.done.wait(0.1):
            if time.monotonic() > deadline:
                raise Retryable("capture is stuck; not connecting to an address of the center")
        if announcement.trouble:
            raise Retryable(f"{announcement.trouble}; not connecting to the center")

    def _hear(self) -> None:
        os.read(self._bell, 4096)
        while not self._announced.empty():
            announcement = self._announced.get()
            try:
                self.watch.set_endpoints(announcement.endpoints)
            except CaptureError as error:
                announcement.trouble = str(error)
            announcement.done.set()

    # -- what metrics tell, to any thread ----------------------------------------------------

    @property
    def config(self) -> ProbeConfig:
        """What holds now."""
        return self._config

    @property
    def open_seconds(self) -> float:
        """How long the open window has been open."""
        return self._windows.open_seconds(time.monotonic())

    # -- windows -----------------------------------------------------------------------------

    def run(
        self, stop: StopSignal, hangup: HangUp, tend: Callable[[], None], tend_seconds: float
    ) -> None:
        """Capture until a stop is requested; then the last window is still open.

        ``tend`` is called on each round, and that every ``tend_seconds`` at the latest, and
        after a hang-up; between rounds a configuration may :meth:`change`.
        """
        self.watch.listen(stop, lambda: None)
        self.watch.listen(hangup, lambda: None)
        longest = min(ROUND_SECONDS, tend_seconds)
        self.begun = True
        while not stop.requested:
            self.pulse.beat(longest)
            due = max(0.0, self._windows.deadline - time.monotonic())
            self.watch.step(min(longest, due))
            if time.monotonic() >= self._windows.deadline:
                self.close_window()
            tend()

    def change(self, config: ProbeConfig) -> None:
        """From now on, or from the next window on, this holds.

        The open window ends at the next multiple of the new ``capInterval``, and keeps
        its tags.
        """
        self._config = config
        self._windows.change(config.capInterval, self._clock())
        self._builder.change(_tags(config), config.maxFlows)
        self.watch.change(config.networkDevs, _limits(config))

    def _cut(self, *, last: bool = False) -> tuple[Window, Snapshot, Moment]:
        snapshot = self.watch.cut(last=last)
        moment = self._clock()
        end, _ = self._windows.end(moment)
        return (
            self._builder.build(self._windows.start_ms, end, self._number),
            snapshot,
            moment,
        )

    def close_window(self) -> None:
        """Close the open window and make it durable.

        Where the dump directory does not take it, it stays open and goes on
        counting: time resolution is lost, bytes are not.
        """
        begun = time.monotonic()
        window, snapshot, moment = self._cut()
        try:
            self._save(window)
        except Retryable as error:
            self._stats.close_failures += 1
            self._throttle.error("close", f"{error}; the window stays open and goes on counting")
            self._windows.postpone(moment)
        else:
            if self._throttle.clear("close"):
                _log.info("dumpDir takes windows again")
            self._builder.reset(snapshot.addresses, overdue=self.watch.overdue)
            self._windows.next(moment)
        self._stats.close_seconds.observe(time.monotonic() - begun)
        self._on_window()

    def finish(self) -> Window | None:
        """Close the last window and all taps; the window, if the dump directory did not take it."""
        window, _, _ = self._cut(last=True)
        self.watch.close()
        self._finished = True  # nothing is captured: announcements hold at once
        try:
            self._save(window)
        except Retryable as error:
            _log.error("%s", error)
            return window
        return None

    def _save(self, window: Window) -> None:
        """Make a window durable, and use its number up.

        Where no device was there nothing was watched: nothing would be stored, and its number
        would look like that of a lost window.
        """
        if window.devices:
            self._dump.save(window)
            self._number += 1


def _tags(config: ProbeConfig) -> Tags:
    return tuple(sorted(config.tags.items()))


def _limits(config: ProbeConfig) -> Limits:
    return Limits(config.maxFlows, config.ringSize)
