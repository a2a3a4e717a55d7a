"""Captures as the probe does, and closes a window at each interval; nothing of it is kept or sent.

In: packets. Out: windows, whose ledgers hold what passed the devices by their own counters. Lost
is nothing that a window does not tell. Belongs to the main thread, as everything but ``names``.
"""

import re
import time
from collections.abc import Callable, Sequence
from typing import Self

from wakizashi.errors import ConfigError
from wakizashi.lifecycle import StopSignal
from wakizashi.model import Window
from wakizashi.pattern import Pattern
from wakizashi.probe.capture import CaptureError, Engine, Limits
from wakizashi.probe.devices import Netlink
from wakizashi.probe.loop import ROUND_SECONDS, now
from wakizashi.probe.watch import Watch
from wakizashi.probe.window import Moment, WindowBuilder

MAX_FLOWS = 65_536
"""Of a device in one interval, as of a probe's window; those beyond are in ``other``."""


def check(devices: Sequence[str]) -> None:
    """Whether each is a device's name or a regular expression.

    Raises:
        ConfigError: one is neither.
    """
    for text in devices:
        if not text:
            raise ConfigError("--device: '' is no device name; name one, or leave --device out")
        try:
            Pattern(text)
        except re.error as error:
            raise ConfigError(
                f"--device: {text!r} is no device name and no regular expression: {error}; write "
                "a name as eth0, or an expression for the whole name as eth.*"
            ) from error


class Capture:
    """Devices being captured, window by window.

    Args:
        host: whose windows they are.
        devices: names and patterns; empty for all that are up.
    """

    def __init__(
        self,
        host: str,
        devices: Sequence[str],
        engine: Engine,
        netlink: Netlink,
        clock: Callable[[], Moment] = now,
    ) -> None:
        self._devices, self._netlink, self._clock = devices, netlink, clock
        self._builder = WindowBuilder(host, (), MAX_FLOWS)
        self.watch = Watch(devices, Limits(MAX_FLOWS), engine, netlink, self._builder)
        self._opened = clock()
        self._number = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.watch.close()

    def open(self) -> None:
        """Begin.

        Raises:
            CaptureError: no device is meant, or none can be captured.
        """
        if not self.watch.open_devices():
            there = sorted(device.name for device in self._netlink.snapshot().devices.values())
            wanted = ", ".join(self._devices) or "(all that are up)"
            raise CaptureError(
                f"--device: {wanted} means no device that can be captured; this host has "
                f"{', '.join(there)}; name one of these, or a pattern"
            )
        # What passed until now is cut off as an interval is, at an edge as sharp: a tap of a busy
        # device is open for some time before its counters are asked for.
        snapshot = self.watch.cut()
        self._builder.reset(snapshot.addresses)
        self._builder.reset(snapshot.addresses)  # and nothing of it is owed
        self._opened = self._clock()

    def cut(self, *, last: bool = False) -> tuple[Window, float]:
        """The window that ends now, and its length in seconds."""
        snapshot = self.watch.cut(last=last)
        moment = self._clock()
        seconds = moment.monotonic - self._opened.monotonic
        self._number += 1
        # By the monotonic clock: the wall clock may have been set meanwhile.
        end_ms = max(moment.wall_ms, 1)
        start_ms = end_ms - max(1, min(round(seconds * 1000), end_ms))
        window = self._builder.build(start_ms, end_ms, self._number)
        self._builder.reset(snapshot.addresses, overdue=self.watch.overdue)
        self._opened = moment
        return window, seconds

    def windows(
        self,
        stop: StopSignal,
        interval_seconds: float,
        count: int | None,
        take: Callable[[Window, float], None],
        going: Callable[[], bool] = lambda: True,
    ) -> None:
        """Hand over a window each interval until ``count``, a signal, or ``going`` says no.

        The last one is shorter as a rule when it ends by a signal: windows add up to the run.
        """
        self.watch.listen(stop, lambda: None)
        due = self._opened.monotonic + interval_seconds
        while going():
            self.watch.step(min(ROUND_SECONDS, max(0.0, due - time.monotonic())))
            late = time.monotonic() - due
            if late < 0 and not stop.requested:
                continue
            last = stop.requested or self._number + 1 == count
            take(*self.cut(last=last))
            if last:
                return
            due += interval_seconds * (1 + late // interval_seconds)
