"""The capture loop: watches devices, closes windows, saves them. One thread.

In: packets by way of an engine's taps, news of devices, and the endpoints that the
delivery thread announces. Out: windows, durable in the dump directory. Lost is
nothing: a window that the directory does not take, though it merges what it can,
stays open.
"""

import logging
import os
import queue
import selectors
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from wakizashi.errors import Retryable
from wakizashi.lifecycle import StopSignal
from wakizashi.model import Tally, Window
from wakizashi.pattern import Pattern
from wakizashi.probe.capture import CaptureError, Endpoint, Engine, Limits, Tap
from wakizashi.probe.config import ProbeConfig
from wakizashi.probe.devices import Device, Netlink, Snapshot, select
from wakizashi.probe.dump import Dump
from wakizashi.probe.stats import ProbeStats
from wakizashi.probe.window import Moment, WindowBuilder, WindowClock
from wakizashi.telemetry import Throttle
from wakizashi.wire import name_fault

_log = logging.getLogger(__name__)

DRAIN_BURSTS = 100
"""Most bursts to read from a device when a window closes, lest a flood keeps it open."""

STUCK_SECONDS = 30.0
"""A loop that does not answer for so long is stuck."""


class HasFileno(Protocol):
    """Something that can be waited for."""

    def fileno(self) -> int:
        """Its descriptor."""


def now() -> Moment:
    """Both clocks, now."""
    return Moment(time.time_ns() // 1_000_000, time.monotonic())


@dataclass(slots=True)
class _Watched:
    """A device being captured, and its own counters when last asked."""

    device: Device
    tap: Tap
    passed: Tally
    missing: bool = False
    """Not among the host's devices when the last window closed."""


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
        self._config, self._engine, self._dump = config, engine, dump
        self._netlink, self._stats = netlink, stats
        self._on_window, self._clock = on_window, clock
        self._patterns = [Pattern(text) for text in config.networkDevs]
        self._throttle = Throttle(_log)
        # poll(2), not epoll: between its calls no packet has to wake anybody.
        self._selector = selectors.PollSelector()
        self._news = selectors.PollSelector()
        """What is listened to while packets are left alone to gather."""
        self._rest_until = 0.0
        self._listen(netlink, self._look)
        self._watched: dict[int, _Watched] = {}
        self._refused: dict[int, tuple[str, bool]] = {}
        """Devices that could not be captured, their names, and whether they were up then."""
        self._endpoints: frozenset[Endpoint] = frozenset()
        self._announced: queue.SimpleQueue[_Announcement] = queue.SimpleQueue()
        self._bell, self._ring = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._listen(self._bell, self._hear)
        name, tags = config.probe_name(), tuple(sorted(config.tags.items()))
        last_start, last_number = dump.directory.last_identity(name)
        self._number = last_number + 1
        self._builder = WindowBuilder(name, tags, config.maxFlows)
        moment = clock()
        if last_start > moment.wall_ms:
            _log.warning(
                "the clock is %d s behind the last window; starts go on from there",
                (last_start - moment.wall_ms) // 1000,
            )
        self._windows = WindowClock(config.capInterval, last_start, moment)
        self.heartbeat = time.monotonic()
        self._finished = False

    def _listen(self, source: int | HasFileno, react: Callable[[], None]) -> None:
        for selector in (self._selector, self._news):
            selector.register(source, selectors.EVENT_READ, react)

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
                self.set_endpoints(announcement.endpoints)
            except CaptureError as error:
                announcement.trouble = str(error)
            announcement.done.set()

    def set_endpoints(self, endpoints: frozenset[Endpoint]) -> None:
        """Leave out TCP to and from these."""
        if endpoints != self._endpoints:
            for watched in self._watched.values():
                watched.tap.set_endpoints(endpoints)
            self._endpoints = endpoints

    # -- devices -----------------------------------------------------------------------------

    def open_devices(self) -> int:
        """Start to capture the configured devices that are there; how many."""
        self._sync(self._netlink.snapshot())
        for pattern in self._patterns:
            if not any(pattern.matches(w.device.name) for w in self._watched.values()):
                _log.warning(
                    "networkDevs: %r means no device of this host now; it is watched for",
                    pattern.text,
                )
        return len(self._watched)

    def _look(self) -> None:
        """Devices or addresses changed."""
        changed, removed = self._netlink.news()
        for device in removed:
            watched = self._watched.get(device.index)
            if watched is not None:
                self._drop(watched, device.passed)
            self._refused.pop(device.index, None)
        if changed:
            self._sync(self._netlink.snapshot())

    def _sync(self, snapshot: Snapshot) -> None:
        self._builder.saw_addresses(snapshot.addresses)
        wanted = select(snapshot.devices, self._patterns)
        for index, watched in list(self._watched.items()):
            device = snapshot.devices.get(index)
            if device is None:  # it is going: its last counters come with the news
                continue
            if device.name != watched.device.name:
                self._drop(watched, device.passed)
            else:
                watched.device = device
        self._refused = {index: why for index, why in self._refused.items() if index in wanted}
        opened = []
        for index, device in wanted.items():
            if index not in self._watched and self._refused.get(index) != (device.name, device.up):
                self._open(device)
                opened.append(index)
        if opened:
            fresh = self._netlink.snapshot()
            for index in opened:
                if index in self._watched and index in fresh.devices:
                    self._watched[index].device = fresh.devices[index]
                    self._watched[index].passed = fresh.devices[index].passed

    def _open(self, device: Device) -> None:
        try:
            if fault := name_fault(device.name):  # a center would refuse the window whole
                raise CaptureError(f"networkDevs: {device.name!r} {fault}; rename it to capture it")
            limits = Limits(self._config.maxFlows, self._config.ringSize)
            tap = self._engine.open(device, limits, self._endpoints)
        except CaptureError as error:
            self._refused[device.index] = device.name, device.up  # once that changes, it may work
            _log.warning("%s", error)
            return
        self._refused.pop(device.index, None)
        self._watched[device.index] = _Watched(device, tap, device.passed)
        descriptor = tap.fileno()
        if descriptor is not None:
            self._selector.register(
                descriptor, selectors.EVENT_READ, lambda: tap.pump(self._engine.burst)
            )
        _log.info("capturing %s", device.name)

    def _drop(self, watched: _Watched, passed: Tally) -> None:
        descriptor = watched.tap.fileno()
        if descriptor is not None:
            self._selector.unregister(descriptor)
        self._drain(watched.tap)
        self._engine.cut()
        self._take(watched, passed)
        watched.tap.close()
        del self._watched[watched.device.index]
        _log.info("device %s is gone", watched.device.name)

    def _drain(self, tap: Tap) -> None:
        for _ in range(DRAIN_BURSTS):
            if not tap.pump(self._engine.burst):
                break

    def _take(self, watched: _Watched, passed: Tally) -> None:
        """Move what a device counted into the open window; ``passed`` are its counters now."""
        counts = watched.tap.take()
        delta = passed - watched.passed
        if delta.packets < 0 or delta.bytes < 0:  # the driver set its counters back
            delta = passed
        watched.passed = passed
        self._builder.add(watched.device.name, watched.device.primary_address, counts, delta)

    # -- what metrics tell, to any thread ------------------------------------------------------

    @property
    def devices(self) -> tuple[int, int]:
        """How many are captured, and how many should be but can't."""
        return len(self._watched), len(self._refused)

    @property
    def open_seconds(self) -> float:
        """How long the open window has been open."""
        return self._windows.open_seconds(time.monotonic())

    # -- windows -----------------------------------------------------------------------------

    def run(self, stop: StopSignal) -> None:
        """Capture until a stop is requested; then the last window is still open."""
        self._listen(stop, lambda: None)
        while not stop.requested:
            self.heartbeat = time.monotonic()
            self.step(max(0.0, self._windows.deadline - time.monotonic()))
            if time.monotonic() >= self._windows.deadline:
                self.close_window()

    def step(self, timeout: float) -> None:
        """Wait for packets or news, at most ``timeout`` seconds, and take care of them."""
        rest = self._rest_until - time.monotonic()
        selector = self._news if rest > 0 else self._selector
        answers = [
            key.data()
            for key, _ in selector.select(min(timeout, rest) if rest > 0 else timeout)
            # One before may have closed it, and the next one opened may have its number.
            if selector.get_map().get(key.fd) is key
        ]
        if False in answers and True not in answers:  # taps were pumped until they were empty
            self._rest_until = time.monotonic() + self._engine.rest_seconds

    def _cut(self, *, last: bool = False) -> tuple[Window, Snapshot, Moment]:
        for watched in self._watched.values():
            self._drain(watched.tap)
        snapshot = self._netlink.snapshot()
        self._engine.cut()
        self._builder.saw_addresses(snapshot.addresses)
        for watched in list(self._watched.values()):
            device = snapshot.devices.get(watched.device.index)
            if device is not None:
                watched.device = device
                self._take(watched, device.passed)
            elif watched.missing or last:
                # The news of its removal was missed, or comes too late, and its last counters.
                self._drop(watched, watched.passed)
            else:
                watched.missing = True
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
            overdue = any(watched.missing for watched in self._watched.values())
            self._builder.reset(snapshot.addresses, overdue=overdue)
            self._windows.next(moment)
        self._stats.close_seconds.observe(time.monotonic() - begun)
        self._on_window()

    def finish(self) -> Window | None:
        """Close the last window and all taps; the window, if the dump directory did not take it."""
        window, _, _ = self._cut(last=True)
        for watched in self._watched.values():
            watched.tap.close()
        self._engine.close()
        self._watched.clear()
        self._selector.close()
        self._news.close()
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
