"""What each query of the dashboards has to answer, from what the backend reads back. No InfluxQL."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from statistics import fmean
from typing import Any

from tests.grafana_ground import Ground
from wakizashi.model import OUTCOMES

Rows = dict[tuple[Any, ...], tuple[Any, ...]]
"""Values by keys."""
Item = Any
"""A row of the backend, or a ledger."""


@dataclass(frozen=True)
class Answer:
    """A query's answer: the columns or tags that tell its rows apart, and the rows."""

    keys: tuple[str, ...]
    rows: Callable[[Ground], Rows]


def key(item: Item, name: str) -> Any:
    return item[name] if isinstance(item, dict) else getattr(item, name)


def total(items: Iterable[Item], name: str) -> int:
    """The sum of ``size`` or ``packets``, or of a ledger's bytes."""
    found: int = sum(
        item[name] if isinstance(item, dict) else getattr(item.ledger, name).bytes for item in items
    )
    return found


def grouped(items: Iterable[Item], names: Sequence[str]) -> dict[tuple[Any, ...], list[Item]]:
    def of(item: Item) -> tuple[Any, ...]:
        return tuple(key(item, name) for name in names)

    return {values: list(part) for values, part in groupby(sorted(items, key=of), of)}


Values = Callable[[list[Item], Ground], tuple[Any, ...]]


def _items(ground: Ground, values: "_Values") -> list[Item]:
    return list(ground.ledgers if values.of_ledgers else ground.records)


@dataclass(frozen=True)
class _Values:
    """What becomes of the items of a group."""

    make: Values
    of_ledgers: bool = False


def sums(*names: str) -> _Values:
    return _Values(lambda items, _: tuple(total(items, name) for name in names))


def rates(*names: str, ledgers: bool = False) -> _Values:
    return _Values(
        lambda items, ground: tuple(total(items, name) * ground.per_second for name in names),
        ledgers,
    )


def parts(of: str, whole: str) -> _Values:
    return _Values(lambda items, _: (100 * total(items, of) / total(items, whole),), True)


def by(values: _Values, *names: str) -> Answer:
    """A row for each combination of ``names``."""

    def rows(ground: Ground) -> Rows:
        groups = grouped(_items(ground, values), names)
        return {found: values.make(items, ground) for found, items in groups.items()}

    return Answer(names, rows)


def over_time(values: _Values, *names: str, fill: Any) -> Answer:
    """A row for each interval as well, also for those without items."""

    def rows(ground: Ground) -> Rows:
        found: Rows = {}
        for tags, items in grouped(_items(ground, values), names).items():
            for start in ground.buckets:
                inside = [item for item in items if ground.bucket(key(item, "timestamp")) == start]
                width = len(values.make(items, ground))
                row = values.make(inside, ground) if inside else (fill,) * width
                found[start, *tags] = row
        return found

    return Answer(("time", *names), rows)


def top(number: int, answer: Answer, within: int = 0) -> Answer:
    """The rows with the largest first values, for each of the first ``within`` keys."""

    def rows(ground: Ground) -> Rows:
        ordered = sorted(answer.rows(ground).items(), key=lambda row: row[1][0] or 0, reverse=True)
        found: Rows = {}
        for keys, values in ordered:
            if values[0] and sum(k[:within] == keys[:within] for k in found) < number:
                found[keys] = values
        return found

    return Answer(answer.keys, rows)


def only(condition: Callable[[Item], bool], answer: Callable[[], Answer]) -> Answer:
    """The same, of those records for which ``condition`` holds."""
    inner = answer()

    def rows(ground: Ground) -> Rows:
        some = [record for record in ground.records if condition(record)]
        return inner.rows(Ground(ground.view, some, ground.ledgers))

    return Answer(inner.keys, rows)


def _count(*names: str, ledgers: bool = False) -> Answer:
    def rows(ground: Ground) -> Rows:
        number = len(grouped(ground.ledgers if ledgers else ground.records, names))
        return {(): (number,)} if number else {}

    return Answer((), rows)


def _mean_rate(items: list[Item], ground: Ground) -> tuple[float]:
    return (1_000 * total(items, "size") / (ground.view.end_ms - ground.view.start_ms),)


def _numbers(items: list[Item]) -> set[int]:
    return {item.number for item in items}


def _covered(items: list[Item], ground: Ground) -> tuple[float]:
    milliseconds = len(_numbers(items)) * fmean(item.duration for item in items)
    return (100 * milliseconds / ground.view.interval_ms,)


def _windows(items: list[Item], _: Ground) -> tuple[int, int, int]:
    numbers = _numbers(items)
    absent = len(set(range(min(numbers), max(numbers) + 1)) - numbers)
    return len(numbers), absent, max(item.windows for item in items)


def _last(items: list[Item], _: Ground) -> tuple[int]:
    return (max(_numbers(items)),)


def _last_windows(ground: Ground) -> Rows:
    groups = grouped(ground.ledgers, ["probe"])
    last = {probe: max(items, key=lambda item: item.timestamp) for probe, items in groups.items()}
    return {(ledger.timestamp, *probe): (ledger.number,) for probe, ledger in last.items()}


def _all_windows(ground: Ground) -> Rows:
    number = len({(item.probe, item.number) for item in ground.ledgers})
    return {(): (number,)} if number else {}


def _became(items: list[Item], _: Ground) -> tuple[int, ...]:
    found = [total(items, name) for name in ("device", *OUTCOMES, "other")]
    return (*found, sum(item.ledger.device.bytes - item.ledger.accounted.bytes for item in items))


def _of_bytes(name: str) -> Answer:
    return by(_Values(lambda items, _: (total(items, name),), True))


def _marks(value: Callable[[Item], int], least: int) -> Answer:
    def rows(ground: Ground) -> Rows:
        return {
            (item.timestamp, item.probe, item.device): (value(item),)
            for item in ground.ledgers
            if value(item) > least
        }

    return Answer(("time", "probe", "device"), rows)


TOP = 10
"""As the dashboard comes."""
PAIRS = by(sums("size", "packets"), "srcIP", "dstIP")
LOST = _marks(lambda item: item.ledger.lost.bytes, 0)
UNKNOWN = "0.0.0.0"
PROBES = _count("probe", ledgers=True)

ANSWERS: dict[str, Answer] = {
    "traffic/Traffic/A": by(sums("size")),
    "traffic/Mean rate/A": by(_Values(_mean_rate)),
    "traffic/Packets/A": by(sums("packets")),
    "traffic/Pairs/A": _count("srcIP", "dstIP"),
    "traffic/Beyond maxFlows/A": only(
        lambda row: row["srcIP"] == row["dstIP"] == UNKNOWN, lambda: by(sums("size"))
    ),
    "traffic/Top pairs over time/A": top(
        TOP, over_time(rates("size"), "srcIP", "dstIP", fill=None), within=1
    ),
    "traffic/Top pairs over time/B": over_time(rates("size"), fill=0),
    "traffic/By probe/A": over_time(rates("size"), "probe", fill=None),
    "traffic/Packets by probe/A": over_time(rates("packets"), "probe", fill=None),
    "traffic/Top pairs/A": top(TOP, PAIRS),
    "traffic/Top sources/A": top(TOP, by(sums("size"), "srcIP")),
    "traffic/Top destinations/A": top(TOP, by(sums("size"), "dstIP")),
    "traffic/Source × destination/A": top(TOP, PAIRS),
    "traffic/Bytes lost/": LOST,
    "fleet/Probes/A": PROBES,
    "fleet/Probes heard lately/A": PROBES,
    "fleet/Windows stored/A": Answer((), _all_windows),
    "fleet/Counted/A": by(parts("counted", "device")),
    "fleet/Dropped/A": _of_bytes("dropped"),
    "fleet/Lost/A": _of_bytes("lost"),
    "fleet/Beyond maxFlows/A": _of_bytes("other"),
    "fleet/Time covered by windows/A": over_time(_Values(_covered, True), "probe", fill=0),
    "fleet/Last window of each probe/A": Answer(("time", "probe"), _last_windows),
    "fleet/Windows of each probe/A": by(_Values(_windows, True), "probe"),
    "fleet/Where the bytes went/A": over_time(rates(*OUTCOMES, ledgers=True), fill=None),
    "fleet/Where the bytes went/B": over_time(rates("device", ledgers=True), fill=None),
    "fleet/By probe and device/A": by(_Values(_became, True), "probe", "device"),
    "fleet/Dropped by the kernel/A": over_time(
        parts("dropped", "device"), "probe", "device", fill=None
    ),
    "fleet/Beyond maxFlows over time/A": over_time(
        parts("other", "counted"), "probe", "device", fill=None
    ),
    "fleet/Bytes lost/": LOST,
    "fleet/Windows merged/": _marks(lambda item: item.windows, 1),
}
