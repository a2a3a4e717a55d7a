"""What every backend reads: buckets, selections, sums of ledgers, on several threads at once."""

import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Barrier, Event, Semaphore
from typing import Any

import pytest

from tests.center_backends import END, Settings, opened
from tests.center_windows import START, ip, window
from wakizashi.center.aggregate import aggregate
from wakizashi.center.backend import BY_KEYS, SUMS, Backend, Where
from wakizashi.model import (
    DeviceLedger,
    Direction,
    Flow,
    Ledger,
    LedgerSum,
    StoredWindow,
    Tally,
    Window,
)

DAY = 86_400_000
PROBES = ("vm-1", "ns/a pod,=x", 'it\'s "b"; -- $x', "zürich straße")
Sums = dict[tuple[str | int, ...], tuple[int, int]]


def at(stored: StoredWindow, start_ms: int) -> StoredWindow:
    """The same window at another time."""
    return replace(
        stored,
        start_ms=start_ms,
        records=tuple(record._replace(timestamp=start_ms) for record in stored.records),
        ledgers=tuple(replace(ledger, timestamp=start_ms) for ledger in stored.ledgers),
    )


def some_windows() -> list[StoredWindow]:
    """Twelve windows of each probe, 30 s apart; no size comes twice."""
    sizes = iter(range(1_000, 100_000))
    windows = []
    for number in range(12):
        for probe, name in enumerate(PROBES):
            own = ip(1, probe)
            flows = [
                *(Flow(0, Direction.OUT, own, ip(n, 9), next(sizes), n) for n in range(2, 6)),
                *(Flow(0, Direction.IN, ip(n, 9), own, next(sizes), n) for n in range(2, 4)),
                Flow(0, Direction.TRANSIT, ip(7, 8), ip(8, 8), next(sizes), 1),
                Flow(0, Direction.IN, bytes(15) + b"\x02", bytes(15) + b"\x01", next(sizes), 1),
            ]
            windows.append(aggregate(window(number, tuple(flows), probe=name)))
    return windows


def records(windows: Iterable[StoredWindow]) -> Iterator[dict[str, Any]]:
    for stored in windows:
        for record in stored.records:
            yield record._asdict()


def agrees(record: Mapping[str, Any], where: Where) -> bool:
    return all(
        any(all(record[key] == value for key, value in choice.items()) for choice in clause)
        for clause in where
    )


def recount(
    windows: Iterable[StoredWindow],
    by: Sequence[str] = (),
    step_ms: int = 0,
    where: Where = (),
    span: tuple[int, int] = (0, END),
) -> Sums:
    """The sums, made from the records in the plainest way."""
    found: dict[tuple[str | int, ...], list[int]] = defaultdict(lambda: [0, 0])
    for record in records(windows):
        if span[0] <= record["timestamp"] < span[1] and agrees(record, where):
            start = record["timestamp"] // step_ms * step_ms if step_ms else 0
            total = found[start, *(record[key] for key in by)]
            total[0] += record["size"]
            total[1] += record["packets"]
    return {key: (size, packets) for key, (size, packets) in found.items()}


def asked(
    backend: Backend,
    by: Sequence[str] = (),
    step_ms: int = 0,
    where: Where = (),
    span: tuple[int, int] = (0, END),
) -> Sums:
    """The backend's; each combination once, all numbers integers."""
    found: Sums = {}
    for row in backend.traffic(*span, by, step_ms=step_ms, where=where):
        assert set(row) == {*by, "size", "packets", *(["timestamp"] if step_ms else [])}
        size, packets = row["size"], row["packets"]
        assert isinstance(size, int) and isinstance(packets, int)
        key = (row["timestamp"] if step_ms else 0, *(row[name] for name in by))
        assert key not in found
        found[key] = (size, packets)
    return found


@pytest.fixture
def windows(backend: Backend) -> list[StoredWindow]:
    made = some_windows()
    backend.write(made)
    return made


# -- buckets ---------------------------------------------------------------------------------


@pytest.mark.parametrize("by", [(), ("probe",), ("srcIP", "dstIP"), ("dstIP", "probe"), BY_KEYS])
@pytest.mark.parametrize("step_ms", [1, 30_000, 45_000, 60_000, 7_200_000, 7 * DAY])
def test_buckets(
    backend: Backend, windows: list[StoredWindow], by: tuple[str, ...], step_ms: int
) -> None:
    sums = asked(backend, by, step_ms)
    assert sums == recount(windows, by, step_ms)
    assert all(int(key[0]) % step_ms == 0 for key in sums)


@pytest.mark.parametrize("sums", [("size",), ("packets",), ("packets", "size")])
@pytest.mark.parametrize(("by", "step_ms"), [(("probe",), 0), ((), 60_000), (BY_KEYS, 60_000)])
def test_only_what_is_wanted_is_summed_up(
    backend: Backend,
    windows: list[StoredWindow],
    by: tuple[str, ...],
    step_ms: int,
    sums: tuple[str, ...],
) -> None:
    whole = recount(windows, by, step_ms)
    found = {}
    for row in backend.traffic(0, END, by, step_ms=step_ms, sums=sums):
        assert set(row) == {*by, *sums, *(["timestamp"] if step_ms else [])}
        key = (row["timestamp"] if step_ms else 0, *(row[name] for name in by))
        assert key not in found
        found[key] = [row[name] for name in sums]
    assert found == {
        key: [numbers[SUMS.index(name)] for name in sums] for key, numbers in whole.items()
    }


@pytest.mark.parametrize("sums", [(), ("bytes",), ("size", "number")])
def test_other_sums_there_are_not(backend: Backend, sums: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="can't sum up .*; use size, packets"):
        list(backend.traffic(0, END, ("probe",), sums=sums))


@pytest.mark.parametrize("step_ms", [30_000, 3_600_000, 6 * 3_600_000, DAY, 2 * DAY, 7 * DAY])
def test_buckets_begin_at_multiples_of_the_step_since_1970(backend: Backend, step_ms: int) -> None:
    """Also weeks: 1970 began on a Thursday. And one that ends a bucket, one that begins the next."""
    edge = START // step_ms * step_ms + step_ms
    times = [START, edge - 1, edge, edge + step_ms - 1, edge + 3 * step_ms]
    made = [at(aggregate(window(number)), time) for number, time in enumerate(times)]
    backend.write(made)
    span = (0, START + 100 * DAY)
    assert asked(backend, (), step_ms, span=span) == recount(made, (), step_ms, span=span)
    assert {key[0] for key in asked(backend, (), step_ms, span=span)} == {
        edge - step_ms,
        edge,
        edge + 3 * step_ms,
    }


def test_since_and_until_cut_buckets(backend: Backend, windows: list[StoredWindow]) -> None:
    """A bucket has what is in the span of it, and begins where it begins all the same."""
    step_ms = 120_000
    for since, until in ((30_000, 90_000), (30_001, 90_001), (0, 1), (1, 30_000), (-1, 0)):
        span = (START + since, START + until)
        for by in ((), ("srcIP", "dstIP")):
            sums = asked(backend, by, step_ms, span=span)
            assert sums == recount(windows, by, step_ms, span=span), span
    (first, *_) = sorted(asked(backend, (), step_ms, span=(START + 30_000, END)))
    assert int(first[0]) < START + 30_000


@pytest.mark.parametrize("by", [(), ("probe",), ("srcIP", "dstIP")])
def test_an_empty_span(backend: Backend, windows: list[StoredWindow], by: tuple[str, ...]) -> None:
    for span in ((0, START), (START + 1, START + 2), (START, START), (START + 9, START), (END, 0)):
        assert asked(backend, by, 60_000, span=span) == {}
        assert list(backend.traffic(*span, by)) == []
        assert list(backend.ledger_sums(*span)) == []


@pytest.mark.parametrize("by", [(), ("probe",), ("srcIP", "dstIP")])
def test_sums_of_buckets_are_exact_beyond_53_bits(backend: Backend, by: tuple[str, ...]) -> None:
    big = 2**61 + 1
    made = [aggregate(window(number, size=big + number)) for number in range(3)]
    backend.write(made)
    assert asked(backend, by, DAY) == recount(made, by, DAY)
    assert asked(backend, by, 30_000) == recount(made, by, 30_000)


def test_steps_that_make_no_sense(backend: Backend, windows: list[StoredWindow]) -> None:
    for step_ms in (-1, 2**63):
        with pytest.raises(ValueError, match=f"can't make buckets of {step_ms} ms"):
            list(backend.traffic(0, END, step_ms=step_ms))


# -- selections ------------------------------------------------------------------------------

SELECTIONS: dict[str, Where] = {
    "a probe": [[{"probe": "vm-1"}]],
    "its own address": [[{"probeIP": "10.0.1.1"}]],
    "a source": [[{"srcIP": "10.0.9.2"}]],
    "a destination of IPv6": [[{"dstIP": "::1"}]],
    "either side": [[{"srcIP": "10.0.9.3"}, {"dstIP": "10.0.9.3"}]],
    "either side, seen by one": [
        [{"srcIP": "10.0.9.3"}, {"dstIP": "10.0.9.3"}],
        [{"probe": PROBES[2]}],
    ],
    "pairs": [
        [{"srcIP": "10.0.0.1", "dstIP": "10.0.9.2"}, {"srcIP": "10.0.9.2", "dstIP": "10.0.1.1"}]
    ],
    "pairs of a probe, or a source": [
        [{"probe": "vm-1", "srcIP": "10.0.0.1", "dstIP": "10.0.9.2"}, {"srcIP": "::2"}]
    ],
    "all keys": [
        [{"dstIP": "10.0.9.4", "srcIP": "10.0.3.1", "probeIP": "10.0.3.1", "probe": PROBES[3]}]
    ],
    "probes": [[{"probe": name} for name in PROBES[1:]]],
    "a probe and its address, twice": [[{"probe": "vm-1"}], [{"probeIP": "10.0.0.1"}]] * 2,
    "whatever there is": [[{}], [{"probe": "nobody"}, {}]],
    "all": [],
    "two that exclude each other": [[{"probe": "vm-1"}], [{"probe": PROBES[1]}]],
    "nobody": [[{"probe": "nobody"}]],
    "none of no alternatives": [[]],
    "none of no alternatives among others": [[{"probe": "vm-1"}], []],
}


@pytest.mark.parametrize("name", SELECTIONS)
def test_where(backend: Backend, windows: list[StoredWindow], name: str) -> None:
    where = SELECTIONS[name]
    for by, step_ms in (
        ((), 60_000),
        (("probe",), 0),
        (("srcIP", "dstIP"), 120_000),
        (BY_KEYS, 0),
    ):
        assert asked(backend, by, step_ms, where) == recount(windows, by, step_ms, where)
    some = [record for record in records(windows) if agrees(record, where)]
    found = list(backend.traffic(0, END, where=where))
    assert Counter(map(str, map(sorted, map(dict.items, found)))) == Counter(
        map(str, map(sorted, map(dict.items, some)))
    )
    assert [row["timestamp"] for row in found] == sorted(row["timestamp"] for row in some)


@pytest.mark.parametrize("name", SELECTIONS)
@pytest.mark.parametrize("sums", [("size",), ("packets", "size")])
def test_buckets_that_are_summed_up_here(
    backend: Backend, windows: list[StoredWindow], name: str, sums: tuple[str, ...]
) -> None:
    """The same as rows; only Redis and FerretDB have none summed up by a server."""
    where = SELECTIONS[name]
    kind = type(backend).__name__
    for by, step_ms in (((), 60_000), (("srcIP", "dstIP"), 120_000), (BY_KEYS, 45_000)):
        buckets = backend.by_bucket(0, END, by, step_ms, where=where, sums=sums)
        if buckets is None:
            assert kind != "Redis"
            continue
        assert kind in ("Redis", "Mongo")
        found = list(buckets)
        assert len(dict(found)) == len(found)
        parts = [part for part, each in enumerate(SUMS) if each in sums]
        assert {
            (start, *values): list(numbers)
            for start, totals in found
            for values, numbers in totals.items()
        } == {
            key: [numbers[part] for part in parts]
            for key, numbers in recount(windows, by, step_ms, where).items()
        }


def test_hundreds_of_pairs(backend: Backend) -> None:
    flows = tuple(
        Flow(0, Direction.OUT, ip(1), ip(n % 250, n // 250), 1_000 + n, 1) for n in range(900)
    )
    made = [aggregate(window(number, flows)) for number in range(2)]
    backend.write(made)
    pairs = [{"srcIP": r.srcIP, "dstIP": r.dstIP} for r in made[0].records]
    pairs += [{"dstIP": pair["srcIP"], "srcIP": pair["dstIP"]} for pair in pairs]
    wanted = random.Random(4).sample(pairs, 800)
    where = [wanted, [{"probe": "vm-1"}]]
    sums = asked(backend, ("srcIP", "dstIP"), 30_000, where)
    assert sums == recount(made, ("srcIP", "dstIP"), 30_000, where)
    assert 600 < len(sums) < 1_000
    assert asked(backend, (), DAY, where) == recount(made, (), DAY, where)


@pytest.mark.parametrize("probe", PROBES)
def test_names_that_want_quoting(backend: Backend, windows: list[StoredWindow], probe: str) -> None:
    where = [[{"probe": probe}]]
    assert asked(backend, ("probe",), 0, where) == recount(windows, ("probe",), 0, where)
    assert {row["probe"] for row in backend.traffic(0, END, where=where)} == {probe}


@pytest.mark.parametrize("key", BY_KEYS)
@pytest.mark.parametrize(
    "value",
    [
        "",
        "x' OR 'a' = 'a",
        "x\\' OR 'a' = 'a' --",
        "x\\",
        "\\",
        "'",
        '"',
        "x') OR (1=1",
        "x'; DROP MEASUREMENT traffic; --",
        "'; DROP SERIES FROM traffic; SELECT '",
        "/.*/",
        ".*",
        "%",
        "*",
        "$ne",
        "$probe",
        '{"$gt": ""}',
        '"],["vm-1',
        "vm-1\x00",
        "vm-1\n",
        "vm-1\r",
        "vm-1\ud800",
        "vm-1 ",
        "VM-1",
        "ｖm-1",
    ],
)
def test_no_value_is_a_piece_of_a_statement(
    backend: Backend, windows: list[StoredWindow], key: str, value: str
) -> None:
    for where in ([[{key: value}]], [[{key: value}, {"probe": "nobody", "srcIP": value}]]):
        assert list(backend.traffic(0, END, where=where)) == []
        assert asked(backend, ("probe",), 0, where) == {}
        assert asked(backend, (), 60_000, where) == {}
    other: Where = [[{key: value}, {"probe": "vm-1"}]]
    assert asked(backend, ("probe",), 0, other) == recount(windows, ("probe",), 0, other) != {}
    assert asked(backend, ("probe",)) == recount(windows, ("probe",))  # all is still there


@pytest.mark.parametrize(
    "where", [[[{"port": "1"}]], [[{"probe": "x"}, {"dstIP": "x", "size": "1"}]]]
)
def test_where_something_else(backend: Backend, where: Where) -> None:
    for by in ((), ("probe",)):
        with pytest.raises(ValueError, match="can't select by (port|size); use probe, probeIP, "):
            list(backend.traffic(0, END, by, where=where))


# -- sums of ledgers -------------------------------------------------------------------------


def with_devices(number: int, probe: str, *names: str, windows: int = 1, big: int = 0) -> Window:
    """A window of some devices, whose tallies all differ."""
    plain = window(number, probe=probe, windows=windows)
    devices = []
    for place, name in enumerate(names):
        seed = big + 100 * number + 10 * place
        tallies = [Tally(seed + n, 1_000 * (seed + n)) for n in range(1, 8)]
        devices.append(DeviceLedger(name, ip(1), Ledger(*tallies)))
    return replace(plain, devices=tuple(devices), end_ms=plain.end_ms + 1_000 * (number % 3))


def folded(windows: Sequence[StoredWindow], span: tuple[int, int] = (0, END)) -> list[LedgerSum]:
    """The sums, made from the ledgers in the plainest way."""
    by_device = defaultdict(list)
    for ledger in (ledger for stored in windows for ledger in stored.ledgers):
        if span[0] <= ledger.timestamp < span[1]:
            by_device[ledger.probe, ledger.device].append(ledger)
    found = []
    for (probe, device), ledgers in sorted(by_device.items()):
        ledgers.sort(key=lambda ledger: ledger.timestamp)
        first, last = ledgers[0], ledgers[-1]
        found.append(
            LedgerSum(
                probe=probe,
                device=device,
                windows=sum(ledger.windows for ledger in ledgers),
                first_ms=first.timestamp,
                last_ms=last.timestamp,
                end_ms=last.timestamp + last.duration,
                number=last.number,
                first_number=first.number - first.windows + 1,
                longest_ms=max(ledger.duration for ledger in ledgers),
                ledger=sum((ledger.ledger for ledger in ledgers), Ledger()),
            )
        )
    return found


def test_sums_of_ledgers(backend: Backend) -> None:
    made = []
    for number in range(10):
        for probe in PROBES:
            devices = ["eth0", 'a "b" \'c,= ü', *(["wg0"] if 2 < number < 7 else [])]
            merged = 3 if number in (3, 7) else 1
            made.append(aggregate(with_devices(number + 5, probe, *devices, windows=merged)))
    backend.write(random.Random(1).sample(made, len(made)))
    assert list(backend.ledger_sums(0, END)) == folded(made)
    assert len(folded(made)) == 3 * len(PROBES)
    for since, until in ((0, 30_000), (30_001, 90_000), (240_000, 300_001)):
        span = (START + since, START + until)
        assert list(backend.ledger_sums(*span)) == folded(made, span), span


def test_sums_of_ledgers_are_exact_beyond_53_bits(backend: Backend) -> None:
    made = [aggregate(with_devices(n, "vm-1", "eth0", big=2**50 + 1)) for n in range(3)]
    backend.write(made)
    assert list(backend.ledger_sums(0, END)) == folded(made)


def test_sums_of_ledgers_are_those_of_the_ledgers(
    backend: Backend, windows: list[StoredWindow]
) -> None:
    """What a backend's server sums up is what everybody's default does."""
    assert list(backend.ledger_sums(0, END)) == list(Backend.ledger_sums(backend, 0, END)) != []


# -- several threads -------------------------------------------------------------------------


def test_several_threads_read_at_once(
    place: tuple[str, Settings], backend: Backend, windows: list[StoredWindow]
) -> None:
    """Each gets its own answer, from one backend that none of them has used before."""
    threads = 16
    barrier = Barrier(threads)
    whole = len(list(records(windows)))

    def read(number: int) -> None:
        barrier.wait(30)
        for turn in range(4):
            probe = PROBES[(number + turn) % len(PROBES)]
            where: Where = [[{"probe": probe}]]
            by = ("srcIP", "dstIP")
            assert asked(reader, by, 60_000, where) == recount(windows, by, 60_000, where)
            span = (START + 30_000 * (number % 5), END)
            assert list(reader.ledger_sums(*span)) == folded(windows, span)
            if number % 4 == turn:
                assert sum(1 for _ in reader.traffic(0, END)) == whole
                assert sum(1 for _ in reader.ledgers(0, END)) == len(windows)

    with opened(*place, read_only=True) as reader:
        with ThreadPoolExecutor(threads) as pool:
            for made in [pool.submit(read, number) for number in range(threads)]:
                made.result(60)


def test_reading_while_it_is_written(backend: Backend) -> None:
    """What was written before is always there, and nothing counts twice."""
    made = [aggregate(window(number, size=1_000 + number)) for number in range(60)]
    backend.write(made[:10])
    ended, turned = Event(), Semaphore(0)

    def read() -> None:
        before = 10_000
        while not ended.is_set():
            turned.release()
            ((size, packets),) = asked(backend, ("probe",)).values()
            assert before <= size <= sum(record["size"] for record in records(made))
            before = size
            assert 10 <= packets <= 60
            assert sum(packets for _, packets in asked(backend, (), 60_000).values()) >= packets
            (ledger,) = backend.ledger_sums(START, END)
            assert packets <= ledger.windows == ledger.number - ledger.first_number + 1
            assert ledger.windows == ledger.ledger.counted.packets

    with ThreadPoolExecutor(3) as pool:
        readers = [pool.submit(read) for _ in range(3)]
        try:
            for stored in made[
                10:
            ]:  # about one in a turn, else nobody would see two times the same
                for _ in readers:
                    assert turned.acquire(timeout=0.0 if any(r.done() for r in readers) else 30)
                backend.write([stored])
        finally:
            ended.set()
        for reader in readers:
            reader.result(60)
    assert asked(backend, ("srcIP",), 60_000) == recount(made, ("srcIP",), 60_000)
