"""What a probe has done since it started: plain numbers, for its metrics and its last log line."""

import time
from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field

from wakizashi.model import UNSPECIFIED, Ledger, Window

CLOSE_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
DELIVERY_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class Durations:
    """How many of something took how long; written by one thread.

    Not the Prometheus client's histogram: a probe imports that when it is first asked
    for its metrics, and most never are.
    """

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self._numbers = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, seconds: float) -> None:
        """One more, that took so long."""
        self._numbers[bisect_left(self.bounds, seconds)] += 1
        self.sum += seconds

    def up_to(self) -> list[tuple[str, float]]:
        """Each bound and how many took so long at most; the last is ``+Inf``."""
        total, result = 0.0, []
        for bound, number in zip((*map(str, self.bounds), "+Inf"), self._numbers, strict=True):
            total += number
            result.append((bound, total))
        return result


@dataclass(slots=True)
class ProbeStats:
    """Counters of one process. Each is written by one thread at a time, and read by any."""

    windows_closed: int = 0
    windows_merged: int = 0
    windows_sent: int = 0
    windows_acked: int = 0
    windows_rejected: int = 0
    windows_damaged: int = 0
    delivery_failures: int = 0
    close_failures: int = 0
    totals: Ledger = field(default_factory=Ledger)
    """The ledgers of all closed windows, summed. Replaced whole: who reads it finds it balanced."""
    most_flows: int = 0
    """Flows of the device that had the most, in the last closed window; ``other`` is none."""
    last_ack: float = float("nan")
    """Unix time; NaN before the first."""
    close_seconds: Durations = field(default_factory=lambda: Durations(CLOSE_SECONDS))
    delivery_seconds: Durations = field(default_factory=lambda: Durations(DELIVERY_SECONDS))

    def closed(self, window: Window) -> None:
        """A window is durable."""
        self.windows_closed += 1
        self.account(window)
        flows = Counter(
            flow.device
            for flow in window.flows
            if flow.source != UNSPECIFIED or flow.destination != UNSPECIFIED
        )
        self.most_flows = max(flows.values(), default=0)

    def account(self, window: Window) -> None:
        """Add what a window's ledgers say."""
        self.totals = sum((device.ledger for device in window.devices), self.totals)

    def acked(self) -> None:
        """A center has a window."""
        self.windows_acked += 1
        self.last_ack = time.time()
