"""When windows begin and end, and what is in one. Pure: clocks and counts are passed in.

In: counts of devices. Out: a :class:`~wakizashi.model.Window`. Nothing is lost
here; flows beyond ``maxFlows`` are folded into one, with their totals, and so are
devices beyond what one window can carry.
"""

from collections.abc import Collection
from dataclasses import dataclass, field, replace

from wakizashi.model import (
    MAX_WINDOW_RECORDS,
    DeviceLedger,
    Direction,
    Flow,
    Ledger,
    Tags,
    Tally,
    Window,
)
from wakizashi.probe.capture import NOTHING, OTHER, Counts
from wakizashi.probe.devices import is_local
from wakizashi.wire import MAX_DEVICES

SNAP_MS = 1_000
SNAP_PART = 10
"""Wall and monotonic clock may differ by ``SNAP_MS``, and by one in ``SNAP_PART`` of what a window
lasted (slewing), without leaving a gap; more is a step, and the duration is the monotonic clock's."""

OTHER_DEVICES = "(others)"
"""The devices beyond those that one window can carry, as one."""


@dataclass(frozen=True, slots=True)
class Moment:
    """One reading of both clocks: Unix time in ms, and monotonic time in seconds."""

    wall_ms: int
    monotonic: float


class WindowClock:
    """Names windows: starts strictly increase, whatever the wall clock does.

    Windows end at multiples of the interval (UTC); the first starts at
    start-up, the last ends at shutdown. Durations are the monotonic clock's.
    """

    def __init__(self, interval_seconds: int, last_start_ms: int, now: Moment) -> None:
        self._interval_ms = interval_seconds * 1000
        self.start_ms = max(now.wall_ms, last_start_ms + 1)
        self._opened = now
        self._lag_ms = 0
        self._schedule(now)

    def _schedule(self, now: Moment) -> None:
        rest = self._interval_ms - now.wall_ms % self._interval_ms
        self.deadline = now.monotonic + rest / 1000
        """Monotonic time at which the open window is due to be closed."""

    def change(self, interval_seconds: int, now: Moment) -> None:
        """The open window ends at the next multiple of another interval, and so on."""
        if interval_seconds * 1000 != self._interval_ms:
            self._interval_ms = interval_seconds * 1000
            self._schedule(now)

    def open_seconds(self, monotonic: float) -> float:
        """How long the open window has been open."""
        return monotonic - self._opened.monotonic

    def postpone(self, now: Moment) -> None:
        """Leave the window open until the next multiple of the interval."""
        self._schedule(now)

    def end(self, now: Moment) -> tuple[int, int]:
        """End (ms) of the open window if it were closed now, and the start of the next."""
        aligned = now.wall_ms
        if now.monotonic >= self.deadline:
            aligned -= now.wall_ms % self._interval_ms
        following = max(aligned, self.start_ms + 1)
        lasted = round((now.monotonic - self._opened.monotonic) * 1000) + self._lag_ms
        end = self.start_ms + max(1, lasted)
        steady = abs(now.wall_ms - end) <= min(SNAP_MS, 1 + lasted // SNAP_PART)
        return (following if steady else end), following

    def next(self, now: Moment) -> None:
        """Begin the next window."""
        _, self.start_ms = self.end(now)
        # How far the true opening lies behind the start, unless the clock went back.
        self._lag_ms = max(0, min(now.wall_ms - self.start_ms, self._interval_ms))
        self._opened = now
        self._schedule(now)


@dataclass(slots=True)
class _Account:
    """What one device did since the window opened."""

    primary_address: bytes
    counts: Counts = field(default_factory=Counts)
    passed: Tally = NOTHING


class WindowBuilder:
    """Gathers counts until a window is closed and durable."""

    def __init__(self, probe: str, tags: Tags, max_flows: int) -> None:
        self._probe, self._tags, self._max_flows = probe, tags, max_flows
        self._next_tags = tags
        self._accounts: dict[str, _Account] = {}
        self._addresses: set[bytes] = set()
        self._unexplained: dict[str, int] = {}

    def change(self, tags: Tags, max_flows: int) -> None:
        """Other tags, for the windows after the open one; another limit, for what is still added."""
        self._next_tags, self._max_flows = tags, max_flows

    def saw_addresses(self, addresses: Collection[bytes]) -> None:
        """These are, or were, addresses of this host while the window was open."""
        self._addresses.update(addresses)

    def add(self, device: str, primary_address: bytes, counts: Counts, passed: Tally) -> None:
        """Add what a device counted, and what passed it by its own counters."""
        if device not in self._accounts and len(self._accounts) >= MAX_DEVICES - 1:
            device, primary_address = OTHER_DEVICES, b""
        account = self._accounts.setdefault(device, _Account(primary_address))
        account.primary_address = primary_address or account.primary_address
        account.counts.merge(counts, self._max_flows)
        account.passed += passed

    def build(self, start_ms: int, end_ms: int, number: int) -> Window:
        """The window of all that was added since :meth:`reset`. May be called again."""
        devices, flows = [], []
        for index, (name, account) in enumerate(sorted(self._accounts.items())):
            ledger, _ = self._ledger(name, account)
            devices.append(DeviceLedger(name, account.primary_address, ledger))
            flows.extend(self._flows(index, account.counts.flows))
        if len(flows) > MAX_WINDOW_RECORDS:
            devices, flows = _fold(devices, flows)
        return Window(
            probe=self._probe,
            start_ms=start_ms,
            end_ms=end_ms,
            number=number,
            tags=self._tags,
            devices=tuple(devices),
            flows=tuple(flows),
        )

    def reset(self, addresses: Collection[bytes], *, overdue: bool = False) -> None:
        """The window is durable: begin the next one, with these local addresses.

        ``overdue``: what a device of the old window counted is still to come, so
        that window's addresses hold on.
        """
        self._tags = self._next_tags
        # Of the devices of this window alone: names that come and go for ever take no memory.
        self._unexplained = {
            name: self._ledger(name, account)[1] for name, account in self._accounts.items()
        }
        self._accounts = {}
        self._addresses = self._addresses.union(addresses) if overdue else set(addresses)

    def _ledger(self, name: str, account: _Account) -> tuple[Ledger, int]:
        """The ledger, and the bytes the device's counters have beyond it, since the start.

        The kernel tells how many packets it dropped, not their bytes: those are
        what stays unexplained. The rest is packets in flight at the edges.
        """
        counts = account.counts
        counted = counts.counted
        explained = counted + counts.own + counts.non_ip
        unexplained = self._unexplained.get(name, 0) + account.passed.bytes - explained.bytes
        dropped = Tally(
            counts.dropped_packets, max(0, unexplained) if counts.dropped_packets else 0
        )
        ledger = Ledger(
            device=account.passed,
            counted=counted,
            own=counts.own,
            non_ip=counts.non_ip,
            dropped=dropped,
            other=counts.flows.get(OTHER, Tally()),
        )
        return ledger, unexplained - dropped.bytes

    def _flows(self, device: int, flows: dict[bytes, Tally]) -> list[Flow]:
        result = []
        for key, tally in flows.items():
            half = len(key) // 2
            source, destination = key[:half], key[half:]
            if key == OTHER:
                direction = Direction.TRANSIT
            elif is_local(source, self._addresses):
                local = is_local(destination, self._addresses)
                direction = Direction.LOCAL if local else Direction.OUT
            else:
                local = is_local(destination, self._addresses)
                direction = Direction.IN if local else Direction.TRANSIT
            result.append(Flow(device, direction, source, destination, tally.bytes, tally.packets))
        return result


def _fold(devices: list[DeviceLedger], flows: list[Flow]) -> tuple[list[DeviceLedger], list[Flow]]:
    """Keep the largest flows of a window too large for the wire, fold the rest, device by device."""
    keep = MAX_WINDOW_RECORDS - len(devices)
    flows = sorted(flows, key=lambda flow: flow.size, reverse=True)
    folded: dict[int, Tally] = {}
    for flow in flows[keep:]:
        folded[flow.device] = folded.get(flow.device, Tally()) + Tally(flow.packets, flow.size)
    half = OTHER[:4]
    kept = flows[:keep] + [
        Flow(device, Direction.TRANSIT, half, half, tally.bytes, tally.packets)
        for device, tally in folded.items()
    ]
    ledgers = [
        replace(
            device,
            ledger=replace(device.ledger, other=device.ledger.other + folded.get(index, Tally())),
        )
        for index, device in enumerate(devices)
    ]
    return ledgers, kept
