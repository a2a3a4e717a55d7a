"""The devices being captured: which, with what taps, and what their own counters said last.

In: packets by way of an engine's taps, and news of devices. Out: counts, into the open
window. Lost is nothing: what a device counted before it goes, or before the
configuration lets go of it, is taken first. Belongs to the capture thread.
"""

import logging
import selectors
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from wakizashi.model import Tally
from wakizashi.pattern import Pattern
from wakizashi.probe.capture import CaptureError, Endpoint, Engine, Limits, Tap
from wakizashi.probe.devices import Device, Netlink, Snapshot, select
from wakizashi.probe.window import WindowBuilder
from wakizashi.wire import name_fault

_log = logging.getLogger(__name__)

DRAIN_BURSTS = 100
"""Most bursts to read from a device when a window closes, lest a flood keeps it open."""


class HasFileno(Protocol):
    """Something that can be waited for."""

    def fileno(self) -> int:
        """Its descriptor."""


@dataclass(slots=True)
class _Watched:
    """A device being captured, and its own counters when last asked."""

    device: Device
    tap: Tap
    passed: Tally
    missing: bool = False
    """Not among the host's devices when the last window closed."""


class Watch:
    """Captures the devices that ``networkDevs`` means, whichever there are.

    Args:
        device_texts: the entries of ``networkDevs``.
        limits: what one device may cost.
        builder: takes what was counted.
    """

    def __init__(
        self,
        device_texts: Iterable[str],
        limits: Limits,
        engine: Engine,
        netlink: Netlink,
        builder: WindowBuilder,
    ) -> None:
        self._patterns = [Pattern(text) for text in device_texts]
        self._limits, self._engine = limits, engine
        self._netlink, self._builder = netlink, builder
        # poll(2), not epoll: between its calls no packet has to wake anybody.
        self._selector = selectors.PollSelector()
        self._news = selectors.PollSelector()
        """What is listened to while packets are left alone to gather."""
        self._rest_until = 0.0
        self.listen(netlink, self._look)
        self._watched: dict[int, _Watched] = {}
        self._refused: dict[int, tuple[str, bool]] = {}
        """Devices that could not be captured, their names, and whether they were up then."""
        self._endpoints: frozenset[Endpoint] = frozenset()

    def __len__(self) -> int:
        """How many devices are captured."""
        return len(self._watched)

    @property
    def refused(self) -> int:
        """How many should be captured, but can't."""
        return len(self._refused)

    @property
    def overdue(self) -> bool:
        """Whether the news is still to come that a device is gone, with its last counters."""
        return any(watched.missing for watched in self._watched.values())

    def listen(self, source: int | HasFileno, react: Callable[[], None]) -> None:
        """Call ``react`` in :meth:`step` when ``source`` is readable."""
        for selector in (self._selector, self._news):
            selector.register(source, selectors.EVENT_READ, react)

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

    def set_endpoints(self, endpoints: frozenset[Endpoint]) -> None:
        """Leave out TCP to and from these. Raises CaptureError where an engine can't."""
        if endpoints != self._endpoints:
            for watched in self._watched.values():
                watched.tap.set_endpoints(endpoints)
            self._endpoints = endpoints

    # -- which devices -----------------------------------------------------------------------

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

    def meant(self, device_texts: Iterable[str]) -> Sequence[Device]:
        """The devices of this host that such a ``networkDevs`` means."""
        patterns = [Pattern(text) for text in device_texts]
        return list(select(self._netlink.snapshot().devices, patterns).values())

    def change(self, device_texts: Iterable[str], limits: Limits) -> None:
        """From now on these devices, each at such a cost.

        A device that is in both goes on without a gap. Flows beyond a lower limit are folded
        with the next window at the latest; a tap keeps its ring.
        """
        if limits.max_flows != self._limits.max_flows:
            for watched in self._watched.values():
                watched.tap.set_max_flows(limits.max_flows)
        self._limits = limits
        patterns = [Pattern(text) for text in device_texts]
        if [each.text for each in patterns] == [each.text for each in self._patterns]:
            return
        self._patterns, self._refused = patterns, {}
        self._let_go()
        self.open_devices()

    def _let_go(self) -> None:
        """Of the devices that are no longer meant; without patterns, of those that are down."""
        there = self._netlink.snapshot().devices
        leaving = [
            watched
            for index, watched in self._watched.items()
            # Of one that is gone the news tells.
            if index in there and index not in select(there, self._patterns)
        ]
        for watched in leaving:
            self._drain(watched.tap)
        # One snapshot and one cut, right behind each other: what the devices counted and what was
        # counted here then end at the same packet, but for those in flight.
        there = self._netlink.snapshot().devices
        self._engine.cut()
        for watched in leaving:
            device = there.get(watched.device.index)
            passed = watched.passed if device is None else device.passed
            self._release(watched, passed, "is captured no longer")

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
            tap = self._engine.open(device, self._limits, self._endpoints)
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
        self._drain(watched.tap)
        self._engine.cut()
        self._release(watched, passed, "is gone")

    def _release(self, watched: _Watched, passed: Tally, why: str) -> None:
        descriptor = watched.tap.fileno()
        if descriptor is not None:
            self._selector.unregister(descriptor)
        self._take(watched, passed)
        watched.tap.close()
        del self._watched[watched.device.index]
        _log.info("device %s %s", watched.device.name, why)

    # -- what they counted -------------------------------------------------------------------

    def cut(self, *, last: bool = False) -> Snapshot:
        """Move what all devices counted until now into the open window."""
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
        return snapshot

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

    def close(self) -> None:
        """Stop to capture. What was not cut is gone."""
        for watched in self._watched.values():
            watched.tap.close()
        self._engine.close()
        self._watched.clear()
        self._selector.close()
        self._news.close()
