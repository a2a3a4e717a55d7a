"""The health of the fleet, from the sums of its ledgers. Pure. Times in ms."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import groupby
from operator import add
from typing import Any

from wakizashi.model import TALLIES, Ledger, LedgerSum

GRACE_MS = 5_000
"""What is permitted beyond the half of a window in which a probe delivers, for clocks and writing."""
SILENT_MS = 60_000
"""Beyond two windows: the same as of the audit."""
_WORST_FIRST = ("silent", "late", "ok")


@dataclass(frozen=True, slots=True)
class Life:
    """How far a probe has come."""

    name: str
    last_ms: int
    """The end of its last window."""
    window_ms: int

    def status(self, now_ms: int) -> str:
        """``ok``, ``late`` or ``silent``.

        A probe delivers a window within half a window's length after its end, so the last one that
        is stored has ended up to one and a half ago. Silent is what the audit calls so: two
        windows and a minute.
        """
        lag = now_ms - self.last_ms
        if lag > 2 * self.window_ms + SILENT_MS:
            return "silent"
        return "late" if lag > self.window_ms * 3 // 2 + GRACE_MS else "ok"


def window_ms(one: LedgerSum) -> int:
    """The length of a device's ordinary windows.

    The longest may be one that was merged at the quota from many, so it is no more than the mean;
    the last and the first may be short.
    """
    mean = -(-(one.end_ms - one.first_ms) // max(1, one.windows))
    return min(one.longest_ms, max(one.end_ms - one.last_ms, mean))


def longest_window_ms(sums: Iterable[LedgerSum]) -> int:
    """The longest of all devices' ordinary windows; 0 of none."""
    return max(map(window_ms, sums), default=0)


def lives(sums: Iterable[LedgerSum]) -> dict[str, Life]:
    """By probe."""
    found: dict[str, Life] = {}
    for one in sums:
        before = found.get(one.probe, Life(one.probe, 0, 0))
        found[one.probe] = Life(
            one.probe,
            max(before.last_ms, one.end_ms),
            max(before.window_ms, window_ms(one)),
        )
    return found


def settled(sums: Iterable[LedgerSum], now_ms: int) -> int | None:
    """Up to when every probe that is alive has delivered; None if none is."""
    ends = [life.last_ms for life in lives(sums).values() if life.status(now_ms) in ("ok", "late")]
    return min(ends, default=None)


def probes(
    sums: Iterable[LedgerSum], later: Iterable[LedgerSum], now_ms: int
) -> list[dict[str, Any]]:
    """The probes that were seen: those that are silent, those that are late, then by name.

    Args:
        sums: of the span.
        later: after the span, which tell how far the same probes have come.
        now_ms: the time.
    """
    devices = sorted(sums, key=lambda one: (one.probe, one.device))
    ends = lives([*devices, *later])
    found = [
        _probe(ends[name], list(group), now_ms)
        for name, group in groupby(devices, key=lambda one: one.probe)
    ]
    return sorted(found, key=lambda probe: _WORST_FIRST.index(probe["status"]))


def total(sums: Iterable[LedgerSum]) -> dict[str, Any]:
    """The ledgers of all devices as one."""
    return _ledger(reduce(add, (one.ledger for one in sums), Ledger()))


def _probe(life: Life, devices: Sequence[LedgerSum], now_ms: int) -> dict[str, Any]:
    # Devices come and go, so the one that was there most tells best of the probe's windows.
    steady = max(devices, key=lambda one: (one.windows, -_missing(one)))
    return {
        "name": life.name,
        "status": life.status(now_ms),
        "last": life.last_ms,
        "lag": max(0, now_ms - life.last_ms),
        "window": life.window_ms,
        "windows": steady.windows,
        "missing": _missing(steady),
        **_ledger(reduce(add, (one.ledger for one in devices))),
        "devices": [
            {
                "name": one.device,
                "windows": one.windows,
                "missing": _missing(one),
                **_ledger(one.ledger),
            }
            for one in devices
        ],
    }


def _missing(one: LedgerSum) -> int:
    """Windows of which there is no ledger, by their numbers, which begin anew with a new dumpDir."""
    return max(0, one.number - one.first_number + 1 - one.windows)


def _ledger(ledger: Ledger) -> dict[str, Any]:
    tallies = {name: getattr(ledger, name) for name in TALLIES}
    return {
        **{name: {"bytes": each.bytes, "packets": each.packets} for name, each in tallies.items()},
        "coverage": ledger.accounted.bytes / ledger.device.bytes if ledger.device.bytes else None,
    }
