"""Known windows for the tests of the dashboards, and what of them a view lets through."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from tests.grafana import ALL, View
from wakizashi.center.backend import Backend, Row
from wakizashi.model import DeviceLedger, Direction, Flow, Ledger, LedgerRecord, Tally, Window

FIRST = 1_700_000_010_000
"""A multiple of the windows' 30 s."""
SECOND, LONG = 1_000, 30_000
ENVIRONMENTS = {"shop/web-1": "prod", "vm+2": "prod", "vm-3": "a/b test"}
SECOND_DEVICES = {"shop/web-1": "tun0", "vm+2": "tun0", "vm-3": "wg0"}
UNKNOWN = bytes(4)


def _ip(last: int) -> bytes:
    return bytes((10, 0, 0, last))


def _tally(flows: Sequence[Flow]) -> Tally:
    return Tally(sum(flow.packets for flow in flows), sum(flow.size for flow in flows))


def _window(
    probe: str, at: int, number: int, *, seconds: int = 30, merged: int = 1, odd: bool = False
) -> Window:
    """A window that begins ``at`` windows after FIRST; no two sizes in any are the same."""
    index = sorted(ENVIRONMENTS).index(probe)
    salt = 1 + index * 977 + at * 53
    flows = [
        Flow(device, Direction.OUT, _ip(source), _ip(100 + target), 900 + salt * source + target, 3)
        for device in (0, 1)
        for source in (1, 2, 3, 4 + device)
        for target in (1, 2)
    ]
    flows.append(Flow(0, Direction.OUT, _ip(1), _ip(150 + index), 11 + salt, 1))
    if odd:
        flows.append(Flow(0, Direction.TRANSIT, UNKNOWN, UNKNOWN, 4_000 + salt, 40))
        flows.append(Flow(1, Direction.IN, bytes(15) + b"\x01", bytes(15) + b"\x02", 70 + salt, 1))
    ledgers = []
    for device, name in enumerate(("eth0", SECOND_DEVICES[probe])):
        mine = [flow for flow in flows if flow.device == device]
        ledger = Ledger(
            counted=_tally(mine),
            own=Tally(2, 200 + salt),
            non_ip=Tally(1, 60),
            dropped=Tally(5, 700 + salt) if odd else Tally(),
            lost=Tally(1, 99 + salt + device) if odd else Tally(),
            other=_tally([flow for flow in mine if flow.source == UNKNOWN]),
        )
        in_flight = Tally(0, 7 * device)
        ledger = replace(ledger, device=ledger.accounted + in_flight)
        ledgers.append(DeviceLedger(name, _ip(1), ledger))
    start = FIRST + at * LONG
    return Window(
        probe=probe,
        start_ms=start,
        end_ms=start + seconds * SECOND,
        number=number,
        tags=(("env", ENVIRONMENTS[probe]),),
        devices=tuple(ledgers),
        flows=tuple(flows),
        windows=merged,
    )


def windows() -> list[Window]:
    """Three probes: one with a window missing, one that merged three, one that falls silent."""
    first, second, third = ENVIRONMENTS
    return [
        *(_window(first, at, 10 + at, odd=at == 3) for at in range(8) if at != 4),
        *(_window(second, at, 100 + at) for at in (0, 1)),
        _window(second, 2, 104, seconds=90, merged=3, odd=True),
        *(_window(second, at, 100 + at) for at in (5, 6, 7)),
        *(_window(third, at, 1 + at) for at in (0, 1)),
    ]


@dataclass(frozen=True)
class Ground:
    """What a view lets through, as the backend reads it back."""

    view: View
    records: list[Row]
    ledgers: list[LedgerRecord]

    def bucket(self, time_ms: int) -> int:
        return time_ms // self.view.interval_ms * self.view.interval_ms

    @property
    def buckets(self) -> range:
        """The intervals that InfluxDB fills, the last one included."""
        start, end = self.bucket(self.view.start_ms), self.bucket(self.view.end_ms)
        return range(start, end + 1, self.view.interval_ms)

    @property
    def per_second(self) -> float:
        return 1_000 / self.view.interval_ms


def _among(view: View, name: str, value: str) -> bool:
    chosen = view.variables.get(name, ALL)
    return chosen in (ALL, [ALL]) or value in ([chosen] if isinstance(chosen, str) else chosen)


def ground(backend: Backend, view: View) -> Ground:
    """The records and ledgers of a view; filters and tags are those of ENVIRONMENTS only."""

    def lets(probe: str) -> bool:
        environment = ENVIRONMENTS[probe]
        tagged = view.variables.get("tag") != "env" or _among(view, "tagValue", environment)
        filtered = all((environment == value) == (op == "=") for _, op, value in view.filters)
        return _among(view, "probe", probe) and tagged and filtered

    span = view.start_ms, view.end_ms + 1  # Grafana's end is part of the range
    records = [
        row
        for row in backend.traffic(*span)
        if lets(str(row["probe"]))
        and all(_among(view, key, str(row[key])) for key in ("srcIP", "dstIP"))
    ]
    ledgers = [
        ledger
        for ledger in backend.ledgers(*span)
        if lets(ledger.probe) and _among(view, "device", ledger.device)
    ]
    return Ground(view, records, ledgers)
