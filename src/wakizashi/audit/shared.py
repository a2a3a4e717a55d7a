"""Devices of one probe that count the same packets: a tunnel and its carrier, a bridge and its port. Pure.

In: the ledgers of a probe, window by window. Out: the pairs. From sums alone,
so the rule is a careful one. ``a`` is within ``b`` where

- in every window, or with those beside it, ``b`` counted at least the bytes
  that ``a`` did, and
- whatever ``a`` does ``b`` does too: what ``b`` has beyond ``a``, in packets or
  in bytes, is nearly constant, while the rate of ``a`` itself is not.

Two devices that are busy at the same times are not taken for such: each of them
would have to be the larger one always, and by nearly the same amount. A tunnel
that is a small part of a busy carrier, or that carries a constant rate, is not
seen.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median

from wakizashi.model import LedgerRecord

WINDOWS = 120
"""Looked at are the latest so many windows."""
FEWEST = 5
"""Windows that both have to be in, with packets on the inner one in ``CHANGES`` of them apart from
its median rate by ``CHANGE_PART`` of it."""
CHANGES = 3
CHANGE_PART = 0.1
TIED_PART = 0.1
"""What the outer one has beyond the inner one may vary by this part of what the inner one varies."""
SLACK_PACKETS = 8
"""In flight between the two when a window ends."""
FEWEST_PACKETS = 100


@dataclass(frozen=True, slots=True)
class Shared:
    """Two devices that count the same packets."""

    inner: str
    outer: str
    since_ms: int
    until_ms: int
    packets: int
    bytes: int
    """What ``inner`` counted in that time, and is stored twice."""


_Counted = tuple[int, int, int]
"""Milliseconds, packets, bytes."""


class SharedDevices:
    """The latest windows of one probe."""

    def __init__(self) -> None:
        self._windows: deque[tuple[int, dict[str, _Counted]]] = deque(maxlen=WINDOWS)

    def add(self, records: Sequence[LedgerRecord]) -> None:
        """Take the ledgers of the next window."""
        if len(records) > 1 or self._windows:
            counted = {
                r.device: (r.duration, r.ledger.counted.packets, r.ledger.counted.bytes)
                for r in records
            }
            self._windows.append((records[0].timestamp, counted))

    def found(self) -> Iterator[Shared]:
        """The pairs, inner and outer one."""
        devices: dict[str, dict[int, _Counted]] = {}
        for start, window in self._windows:
            for name, counted in window.items():
                devices.setdefault(name, {})[start] = counted
        names = sorted(devices, key=lambda n: (sum(c[2] for c in devices[n].values()), n))
        for i, inner in enumerate(names):
            for outer in names[i + 1 :]:
                starts = [start for start in devices[inner] if start in devices[outer]]
                pairs = [(devices[inner][start], devices[outer][start]) for start in starts]
                if _within(pairs):
                    yield Shared(
                        inner,
                        outer,
                        starts[0],
                        starts[-1] + pairs[-1][0][0],
                        sum(a[1] for a, _ in pairs),
                        sum(a[2] for a, _ in pairs),
                    )


def _within(pairs: Sequence[tuple[_Counted, _Counted]]) -> bool:
    if len(pairs) < FEWEST or sum(a[1] for a, _ in pairs) < FEWEST_PACKETS:
        return False
    for i, (a, b) in enumerate(pairs):
        slack = SLACK_PACKETS * (a[2] / a[1] if a[1] else 0)
        if b[2] < a[2] - slack:
            # The two are not cut at the same moment: what the one lacks its neighbours have.
            beside = pairs[max(0, i - 1) : i + 2]
            if sum(b[2] for _, b in beside) < sum(a[2] for a, _ in beside) - slack:
                return False
    return _tied(pairs, 1) or _tied(pairs, 2)


def _tied(pairs: Sequence[tuple[_Counted, _Counted]], column: int) -> bool:
    """Whether rates of the outer one follow those of the inner one, one to one."""
    inner = [a[column] / max(1, a[0]) for a, _ in pairs]
    beyond = [b[column] / max(1, b[0]) - rate for (_, b), rate in zip(pairs, inner, strict=True)]
    middle, usual = median(inner), median(beyond)
    changes = sum(abs(rate - middle) > CHANGE_PART * max(middle, rate) for rate in inner)
    varies = sum(abs(rate - middle) for rate in inner)
    return changes >= CHANGES and sum(abs(more - usual) for more in beyond) <= TIED_PART * varies
