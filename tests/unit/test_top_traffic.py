"""What ``wakizashi top`` remembers: rates over spans, totals, what is forgotten; and its order."""

import itertools
import random
from collections import Counter
from collections.abc import Sequence
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wakizashi.model import DeviceLedger, Direction, Flow, Ledger, Tally, Window
from wakizashi.top import traffic as module
from wakizashi.top.order import NEAR, Order, value
from wakizashi.top.traffic import OTHER_DEVICES, Picture, Row, Traffic
from wakizashi.top.view import Sort

HERE, PEER, THIRD = (ip_address(f"10.0.0.{n}").packed for n in (9, 2, 3))
Passed = tuple[str, Direction, bytes, bytes, int]


def window(*flows: Passed, number: int = 1, devices: Sequence[str] = (), other: int = 0) -> Window:
    """A window whose ledgers hold what its flows have, each of one packet."""
    names = sorted({flow[0] for flow in flows} | set(devices))
    ledgers = []
    for name in names:
        sizes = [flow[4] for flow in flows if flow[0] == name]
        tally = Tally(len(sizes), sum(sizes)) + Tally(1, other)
        ledgers.append(
            DeviceLedger(name, b"", Ledger(device=tally, counted=tally, other=Tally(1, other)))
        )
    made = [Flow(names.index(n), d, a, b, size, 1) for n, d, a, b, size in flows]
    made += [Flow(i, Direction.TRANSIT, bytes(4), bytes(4), other, 1) for i in range(len(names))]
    return Window("h", number * 1000, number * 1000 + 1000, number, (), tuple(ledgers), tuple(made))


def out(size: int, peer: bytes = PEER, device: str = "eth0") -> Passed:
    return (device, Direction.OUT, HERE, peer, size)


def back(size: int, peer: bytes = PEER) -> Passed:
    return ("eth0", Direction.IN, peer, HERE, size)


def only(picture: Picture) -> Row:
    (row,) = picture.rows
    return row


def test_rates_are_of_the_last_seconds_and_totals_of_all_time() -> None:
    traffic = Traffic(1.0)
    for number in range(60):
        traffic.add(window(out(100 + number), back(10)), 1.0)
    row = only(traffic.picture())
    assert row.ends == (HERE, PEER)
    assert row.rates == ((158.5, 10), (154.5, 10), (139.5, 10))
    assert row.totals == (Tally(60, sum(range(100, 160))), Tally(60, 600))
    for _ in range(40):
        traffic.add(window(devices=["eth0"]), 1.0)
    assert only(traffic.picture()).rates == ((0, 0),) * 3
    assert only(traffic.picture()).totals == row.totals


def test_a_rate_is_by_how_long_its_intervals_were() -> None:
    traffic = Traffic(2.0)
    traffic.add(window(out(1000)), 2.5)
    traffic.add(window(out(3000)), 1.5)
    assert [rate for rate, _ in only(traffic.picture()).rates] == [2000, 1000, 1000]


@pytest.mark.parametrize(
    ("interval", "spans"), [(0.5, (2, 10, 40)), (2, (2, 10, 40)), (3, (3, 12, 42)), (60, (60,) * 3)]
)
def test_spans_are_whole_intervals(interval: float, spans: tuple[float, ...]) -> None:
    assert Traffic(interval).picture().spans == spans


def test_the_local_end_is_first_whoever_spoke_first_and_whichever_address_is_lower() -> None:
    low, high = sorted((HERE, PEER))
    for local, peer in ((low, high), (high, low)):
        traffic = Traffic(1.0)
        traffic.add(window(("eth0", Direction.IN, peer, local, 7)), 1.0)
        traffic.add(window(("eth0", Direction.OUT, local, peer, 5)), 1.0)
        row = only(traffic.picture())
        assert (row.ends, row.direction) == ((local, peer), Direction.OUT)
        assert [tally.bytes for tally in row.totals] == [5, 7]
        assert row.rates[1] == (2.5, 3.5)


@pytest.mark.parametrize("direction", [Direction.LOCAL, Direction.TRANSIT])
def test_where_neither_or_both_are_local_the_lower_is_first(direction: Direction) -> None:
    traffic = Traffic(1.0)
    traffic.add(window(("lo", direction, THIRD, PEER, 4), ("lo", direction, PEER, PEER, 6)), 1.0)
    first, second = sorted(traffic.picture().rows, key=lambda row: row.totals[0].bytes)
    assert (first.ends, first.totals[1].bytes, first.direction) == ((PEER, THIRD), 4, direction)
    assert (second.ends, second.totals) == ((PEER, PEER), (Tally(1, 6), Tally()))


def test_a_pair_on_two_devices_is_two() -> None:
    traffic = Traffic(1.0)
    traffic.add(window(out(5), out(6, device="tun0")), 1.0)
    assert {row.device: row.totals[0].bytes for row in traffic.picture().rows} == {
        "eth0": 5,
        "tun0": 6,
    }


def test_what_was_folded_is_no_pair_but_in_the_ledger() -> None:
    traffic = Traffic(1.0)
    traffic.add(window(out(5), other=70), 1.0)
    picture = traffic.picture()
    assert only(picture).totals[0].bytes == 5
    ((_, ledger),) = picture.devices
    assert (ledger.counted.bytes, ledger.other.bytes) == (75, 70)


def test_sparks_are_the_last_intervals_the_newest_last() -> None:
    traffic = Traffic(1.0)
    for size in (10, 0, 30):
        traffic.add(window(*[out(size)] * bool(size), devices=["eth0"]), 0.5)
    picture = traffic.picture()
    assert picture.spark(only(picture), 5) == [0, 0, 20, 0, 60]
    assert picture.spark(only(picture), 2) == [0, 60]


def test_a_picture_does_not_change_while_it_is_looked_at() -> None:
    traffic = Traffic(1.0)
    traffic.add(window(out(10)), 1.0)
    before = traffic.picture()
    row, spark = only(before), before.spark(only(before), 3)
    traffic.add(window(out(10)), 1.0)
    assert only(before) == row
    assert before.spark(row, 3) == spark == [0, 0, 10]


def test_of_a_window_is_what_passed_in_it_as_the_rows_have_it() -> None:
    traffic = Traffic(1.0)
    traffic.add(window(out(10), out(1, THIRD)), 1.0)
    last = window(back(5), out(20))
    traffic.add(last, 1.0)
    ((row, passed),) = traffic.of(last)
    assert passed == (Tally(1, 20), Tally(1, 5))
    assert row.totals == (Tally(2, 30), Tally(1, 5))


def test_beyond_the_most_pairs_the_quiet_ones_are_forgotten_and_their_bytes_are_not() -> None:
    traffic = Traffic(1.0, most_pairs=20)
    peers = [ip_address(f"10.1.0.{n}").packed for n in range(40)]
    flows = [way(5, peer) for peer in peers for way in (out, back)]
    traffic.add(window(*flows, out(9_600, peers[5])), 1.0)
    assert len(traffic.picture().rows) == 40  # until this was seen
    traffic.add(window(devices=["eth0"]), 1.0)
    picture = traffic.picture()
    assert len(picture.rows) == 18
    assert peers[5] in {row.ends[1] for row in picture.rows}
    ((_, ledger),) = picture.devices
    kept = sum(tally.bytes for row in picture.rows for tally in row.totals)
    assert ledger.counted.bytes == 10_000 == kept + ledger.other.bytes
    for interval in picture.history:
        assert interval.bytes.keys() <= {row.pair for row in picture.rows}
    for _ in range(45):  # what is forgotten leaves the spans, too
        traffic.add(window(devices=["eth0"]), 1.0)
    assert all(row.rates == ((0, 0),) * 3 for row in traffic.picture().rows)


def test_devices_that_are_gone_are_remembered_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_DEVICES", 3)
    traffic = Traffic(1.0)
    for number in range(6):
        traffic.add(window(out(10, device=f"veth{number}"), devices=["eth0"]), 1.0)
    devices = dict(traffic.picture().devices)
    assert set(devices) == {"eth0", "veth5", OTHER_DEVICES} | {
        name for name in devices if name.startswith("veth")
    }
    assert len(devices) <= 5
    assert sum(ledger.counted.bytes for ledger in devices.values()) == 60


@given(st.data())
def test_sums_are_those_of_a_recount(data: st.DataObject) -> None:
    chance = random.Random(data.draw(st.integers(0, 2**32)))
    traffic = Traffic(chance.choice((1.0, 2.0, 7.0)), most_pairs=1000)
    spans = traffic.picture().spans
    past: list[tuple[Counter[tuple[bytes, bytes]], float]] = []
    for _ in range(data.draw(st.integers(1, 60))):
        sizes: Counter[tuple[bytes, bytes]] = Counter()
        for _ in range(chance.randrange(4)):
            a, b = chance.sample((HERE, PEER, THIRD), 2)
            sizes[a, b] += chance.randrange(1, 10**9)
        seconds = chance.choice((0.5, 1.0, 2.0))
        flows = [("eth0", Direction.TRANSIT, a, b, size) for (a, b), size in sizes.items()]
        traffic.add(window(*flows, devices=["eth0"]), seconds)
        past.append((sizes, seconds))
    for row in traffic.picture().rows:
        for place, span in enumerate(spans):
            recent = past[-round(span / traffic.picture().interval_seconds) :]
            length = sum(seconds for _, seconds in recent)
            for way, ends in enumerate((row.ends, row.ends[::-1])):
                total = sum(sizes[ends] for sizes, _ in recent)
                assert row.rates[place][way] == total / length
                assert row.totals[way].bytes == sum(sizes[ends] for sizes, _ in past)


# -- order -----------------------------------------------------------------------------------


def rows(*sizes: int) -> tuple[Row, ...]:
    """A row for each size, from 10.0.0.9 to 10.2.0.N."""
    traffic = Traffic(1.0)
    peers = [ip_address(f"10.2.0.{n}").packed for n in range(len(sizes))]
    traffic.add(window(*(out(size, p) for size, p in zip(sizes, peers, strict=True))), 1.0)
    return traffic.picture().rows


def arranged(order: Order, sizes: Sequence[int], by: Sort = Sort.MIDDLE) -> list[int]:
    """The numbers of the peers, in order."""
    return [row.ends[1][3] for row in order.arrange(rows(*sizes), by, "", lambda _: ())]


def test_the_largest_is_first() -> None:
    for by in (Sort.SHORT, Sort.MIDDLE, Sort.LONG, Sort.TOTAL):
        assert arranged(Order(), (10, 30, 20), by) == [1, 2, 0]
    assert arranged(Order(), (10, 30, 20), Sort.ADDRESS) == [0, 1, 2]


def test_addresses_are_sorted_as_numbers_and_ipv4_first() -> None:
    traffic = Traffic(1.0)
    peers = [ip_address(text).packed for text in ("::1", "10.0.0.10", "9.0.0.9", "10.0.0.2")]
    traffic.add(window(*(out(1, peer) for peer in peers)), 1.0)
    found = Order().arrange(traffic.picture().rows, Sort.ADDRESS, "", lambda _: ())
    ends = [max(row.ends, key=lambda end: end != HERE) for row in found]
    assert [str(ip_address(end)) for end in ends] == ["9.0.0.9", "10.0.0.2", "10.0.0.10", "::1"]


def test_pairs_stay_in_place_while_their_values_are_near() -> None:
    order = Order()
    assert arranged(order, (1000, 990)) == [0, 1]
    assert arranged(order, (960, 1040)) == [0, 1]
    assert arranged(order, (900, 1089)) == [0, 1]
    assert arranged(order, (900, 1101)) == [1, 0]
    assert arranged(order, (1000, 1000)) == [1, 0]
    assert arranged(order, (1000, 0)) == [0, 1]


def test_no_pair_stands_above_one_that_is_much_larger() -> None:
    chance, order = random.Random(5), Order()
    sizes = [1000.0] * 30
    for _ in range(200):
        sizes = [max(1.0, size * chance.uniform(0.9, 1.1)) for size in sizes]
        by_place = [int(sizes[place]) for place in arranged(order, [int(s) for s in sizes])]
        for above, below in itertools.pairwise(by_place):
            assert below <= above * (1 + NEAR) / (1 - NEAR) + 1


def test_another_sort_key_begins_afresh() -> None:
    order = Order()
    assert arranged(order, (1000, 990)) == [0, 1]
    assert arranged(order, (990, 1000), Sort.TOTAL) == [1, 0]


@pytest.mark.parametrize(
    ("text", "found"),
    [("", 3), ("10.2.0.1", 1), ("2.0.", 3), ("ETH", 3), ("Example", 1), ("nothing", 0)],
)
def test_the_filter_looks_at_address_name_and_device(text: str, found: int) -> None:
    def label(address: bytes) -> list[str]:
        return [str(ip_address(address)), "www.eXample.org" if address[3] == 2 else ""]

    assert len(Order().arrange(rows(1, 2, 3), Sort.MIDDLE, text, label)) == found


def test_the_value_is_of_both_ways() -> None:
    traffic = Traffic(1.0)
    traffic.add(window(out(5), back(7)), 1.0)
    assert value(only(traffic.picture()), Sort.SHORT) == 12
    assert value(only(traffic.picture()), Sort.TOTAL) == 12
