"""Two probes that see the same traffic, and two devices of one probe that do."""

import random
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from tests.audit_data import START, STEP, A, B, C, audited, balanced, kinds, only, record, window
from wakizashi.audit.pairs import owners
from wakizashi.audit.windows import common
from wakizashi.model import StoredWindow, Tally

# -- two probes ------------------------------------------------------------------------------


def sender(number: int, size: int = 1_000_000, **keys: Any) -> StoredWindow:
    return window(number, probe="a", records=[record("a", 0, A, B, size)], **keys)


def receiver(number: int, size: int = 1_000_000, **keys: Any) -> StoredWindow:
    return window(number, probe="b", records=[record("b", 0, A, B, size, at=B)], **keys)


def test_what_was_sent_and_received() -> None:
    report = audited([each(n) for n in range(1, 5) for each in (sender, receiver)])
    assert kinds(report) == []
    (pair,) = report.pairs
    assert (pair.sender, pair.receiver, pair.source, pair.destination) == ("a", "b", A, B)
    assert pair.sent == pair.received == Tally(40_000, 4_000_000)
    assert (pair.since_ms, pair.until_ms, pair.watched_ms) == (START, START + 4 * STEP, 4 * STEP)


@pytest.mark.parametrize(("size", "told"), [(970_000, False), (900_000, True), (0, True)])
def test_a_difference_is_told_and_is_no_fault(size: int, told: bool) -> None:
    report = audited(
        [
            window(n, probe="b", records=[record("b", 0, A, B, size, at=B), record("b", 0, B, C, 9)])
            if probe == "b"
            else sender(n)
            for n in range(1, 6)
            for probe in "ab"
        ]
    )  # fmt: skip
    assert report.adds_up
    if told:
        found = only(report, "pair_differs")
        assert (found.probe, found.bytes) == ("a", 5 * (1_000_000 - size))
    else:
        assert kinds(report) == []


def test_only_the_time_that_both_watched_is_compared() -> None:
    # The receiver starts two windows later, misses one, and its windows are twice as long.
    windows = [sender(n) for n in range(1, 12)]
    for number, position in ((1, 3), (2, 5), (3, 8), (4, 10)):
        place = {"position": position, "duration_ms": 2 * STEP}
        windows.append(receiver(number, 2_000_000, **place))
    report = audited(windows)
    assert kinds(report) == ["unwatched"]
    (pair,) = report.pairs
    assert (pair.since_ms, pair.until_ms) == (START + 2 * STEP, START + 11 * STEP)
    assert pair.watched_ms == 8 * STEP
    assert pair.sent == pair.received == Tally(80_000, 8_000_000)


def test_windows_without_a_common_edge_are_not_compared() -> None:
    windows = [sender(n) for n in range(1, 4)]
    windows += [receiver(n, shift_ms=7_000) for n in range(1, 4)]
    assert audited(windows).pairs == ()


def test_windows_that_overlap_are_not_compared() -> None:
    windows = [sender(n) for n in range(1, 7)]
    windows += [receiver(1), receiver(2), receiver(3, position=2, shift_ms=1)]
    windows += [receiver(n, position=n - 1, shift_ms=1) for n in (4, 5)]
    (pair,) = audited(windows).pairs
    assert (pair.since_ms, pair.until_ms) == (START, START + STEP)
    assert pair.sent == pair.received


def test_addresses_of_several_probes_tell_nothing() -> None:
    assert owners([("a", A), ("a", A), ("b", B), ("c", B), ("b", B), ("a", "0.0.0.0")]) == {
        A: "a",
        B: None,
    }
    third = window(1, probe="c", records=[record("c", 0, B, C, 9)])
    assert audited([sender(1), receiver(1), third]).pairs == ()


def test_a_router_between_the_two_is_neither() -> None:
    passing = [record("r", 0, A, B, 1_000_000, at=C)]
    windows = [sender(1), receiver(1), window(1, probe="r", records=passing)]
    (pair,) = audited(windows).pairs
    assert pair.sent == pair.received == Tally(10_000, 1_000_000)


def test_traffic_of_one_host_and_what_passes_through_are_no_pairs() -> None:
    records = [
        record("a", 0, A, "10.9.9.9", 1_000, at="10.9.9.9"),
        record("a", 0, A, A, 500),
        record("a", 0, B, "10.8.8.8", 500, at=A),
    ]
    windows = [window(1, probe="a", records=records), window(1, probe="b", records=[])]
    assert audited(windows).pairs == ()


@pytest.mark.parametrize(
    ("one", "other", "spans"),
    [
        ([[0, 10, 20]], [[0, 10, 20]], [(0, 20)]),
        ([[0, 10, 20, 30]], [[5, 10, 20, 25]], [(10, 20)]),
        ([[0, 10, 20, 30]], [[15, 25]], []),
        ([[0, 10, 25]], [[5, 10, 20]], []),
        ([[0, 10], [20, 30, 40]], [[0, 10, 20, 30]], [(0, 10), (20, 30)]),
        ([[0, 60]], [[0, 20, 40, 60, 80]], [(0, 60)]),
        ([[0, 10, 20, 30]], [[0, 10], [20, 30], [40, 50]], [(0, 10), (20, 30)]),
        ([], [[0, 10]], []),
        ([[0]], [[0, 10]], []),
    ],
)
def test_common_spans(
    one: list[list[int]], other: list[list[int]], spans: list[tuple[int, int]]
) -> None:
    assert common(one, other) == spans
    assert common(other, one) == spans


# -- two devices -----------------------------------------------------------------------------


def devices(**packets: Sequence[tuple[int, int]]) -> list[StoredWindow]:
    """Windows of devices that counted so many packets, and bytes each."""
    windows = []
    for n, counts in enumerate(zip(*packets.values(), strict=True)):
        tallies = {
            name: Tally(number, number * each)
            for name, (number, each) in zip(packets, counts, strict=True)
        }
        total = sum(tallies.values(), Tally())
        point = record("vm-1", 0, A, B, 1)._replace(size=total.bytes, packets=total.packets)
        ledgers = {name: balanced(tally) for name, tally in tallies.items()}
        records = [point] if total.packets else []
        windows.append(window(n + 1, ledgers=ledgers, records=records))
    return windows


BURSTS = [900, 20, 3_000, 0, 450, 12_000, 7, 1_300]


def test_a_tunnel_and_its_carrier() -> None:
    chatter = [3, 5, 2, 4, 9, 3, 0, 4]
    report = audited(
        devices(
            tunl0=[(n, 1_000) for n in BURSTS],
            eth0=[(n + more, 1_034) for n, more in zip(BURSTS, chatter, strict=True)],
        )
    )
    found = only(report, "same_packets")
    assert (found.fault, found.device) == (False, "tunl0")
    assert (found.packets, found.bytes) == (sum(BURSTS), 1_000 * sum(BURSTS))
    assert "passed eth0 as well" in found.text


def test_small_packets_in_a_tunnel_are_told_by_their_number() -> None:
    report = audited(devices(tunl0=[(n, 40) for n in BURSTS], eth0=[(n + 1, 74) for n in BURSTS]))
    only(report, "same_packets")


def test_packets_that_are_cut_on_the_carrier_are_told_by_their_bytes() -> None:
    inner = [(n, 30_000) for n in BURSTS]
    outer = [(21 * n, 1_460) for n in BURSTS]
    only(audited(devices(vx0=inner, eth0=outer)), "same_packets")


def test_packets_that_are_in_flight_when_the_windows_end() -> None:
    late = [0, 0, 40, -40, 0, 200, -200, 0]
    outer = [(n + more, 500) for n, more in zip(BURSTS, late, strict=True)]
    only(audited(devices(a=[(n, 500) for n in BURSTS], b=outer)), "same_packets")
    lacking = [(n - 40, 500) if n > 400 else (n, 500) for n in BURSTS]
    lacking[0] = (1_400, 500)  # as much in all
    assert kinds(audited(devices(a=[(n, 500) for n in BURSTS], b=lacking))) == []


def test_a_bridge_its_port_and_another_device() -> None:
    same = [(n, 500) for n in BURSTS]
    other = [(n, 500) for n in (40, 800, 10, 5, 9_000, 31, 2_000, 0)]
    report = audited(devices(br0=same, eth1=other, veth0=same))
    found = only(report, "same_packets")
    assert (found.device, "veth0" in found.text) == ("br0", True)


Rates = Callable[[random.Random, int], tuple[int, int]]


def steady(_: random.Random, window: int) -> tuple[int, int]:
    return 300, 300


def both_step_up(dice: random.Random, window: int) -> tuple[int, int]:
    level = 1_000 if window < 12 else 30_000
    return level + dice.randrange(level // 5), level + dice.randrange(level // 5)


def daily(dice: random.Random, window: int) -> tuple[int, int]:
    """Both follow the hour of the day, the one with twice as much."""
    level = 100 + 40_000 * (window % 24)
    return dice.randrange(level, level * 11 // 10), 2 * dice.randrange(level, level * 11 // 10)


def balanced_links(dice: random.Random, window: int) -> tuple[int, int]:
    """Half of everything goes over each of two links, packet by packet."""
    total = dice.choice([200, 5_000, 80_000])
    one = sum(dice.getrandbits(1) for _ in range(total))
    return one, total - one


def unlike(dice: random.Random, window: int) -> tuple[int, int]:
    return dice.randrange(1_000), 50_000 + dice.randrange(1_000)


def quiet_beside_busy(dice: random.Random, window: int) -> tuple[int, int]:
    return dice.choice([0, 2, 30]), dice.choice([50, 4_000, 90_000])


@pytest.mark.parametrize(
    "rates", [steady, both_step_up, daily, balanced_links, unlike, quiet_beside_busy]
)
def test_two_devices_that_have_nothing_to_do_with_each_other(rates: Rates) -> None:
    for seed in range(20):
        dice = random.Random(seed)
        counts = [rates(dice, n) for n in range(24)]
        windows = devices(a=[(a, 400) for a, _ in counts], b=[(b, 400) for _, b in counts])
        assert kinds(audited(windows)) == [], seed


def test_equal_steady_rates_in_windows_of_different_length_are_not_enough() -> None:
    windows, shift = [], 0
    for n, seconds in enumerate([3, 30, 30, 11, 30, 2, 30, 7, 30, 1] * 3):
        (each,) = devices(a=[(seconds * 100, 100)], b=[(seconds * 100, 100)])
        ledgers = {r.device: r.ledger for r in each.ledgers}
        place: dict[str, Any] = {"position": 1, "shift_ms": shift, "duration_ms": seconds * 1_000}
        windows.append(window(n + 1, records=each.records, ledgers=ledgers, **place))
        shift += seconds * 1_000
    assert kinds(audited(windows)) == []


def test_few_windows_or_packets_are_not_enough() -> None:
    few = [(n, 500) for n in BURSTS[:4]]
    assert kinds(audited(devices(a=few, b=few))) == []
    little = [(n // 1_000, 500) for n in BURSTS]
    assert kinds(audited(devices(a=little, b=little))) == []
