"""How rows are laid out: which is first, what is folded, how a probe fares."""

from dataclasses import replace
from typing import Any

import pytest

from wakizashi.dashboard import fleet, span
from wakizashi.dashboard.parameters import Talkers
from wakizashi.dashboard.river import Tallies, largest
from wakizashi.model import Ledger, LedgerSum, Tally

WINDOW = 30_000


def test_the_largest_are_always_the_same() -> None:
    tallies: Tallies = {("b",): [5, 1], ("a",): [5, 1], ("c",): [5, 2], ("d",): [9, 1]}
    order = [("d",), ("c",), ("a",), ("b",)]
    assert largest(tallies) == order
    assert largest(dict(reversed(tallies.items()))) == order


@pytest.mark.parametrize(
    ("own", "source", "destination", "peer"),
    [
        ("own", "own", "b", "b"),
        ("own", "a", "own", "a"),
        ("own", "a", "b", "b"),  # transit
        ("own", "own", "own", "own"),
    ],
)
def test_a_peer_is_the_other_end(own: str, source: str, destination: str, peer: str) -> None:
    assert span.peer(("probe", own, source, destination)) == peer


def test_what_has_no_link_of_its_own_goes_to_other() -> None:
    pairs: Tallies = {("a", "x"): [50, 1], ("b", "y"): [40, 1]}
    pairs |= {("a", "y"): [5, 1], ("a", "z"): [4, 1], ("c", "x"): [3, 1], ("c", "z"): [2, 1]}
    found = span.flows(pairs, 2, lambda address: address.upper())
    assert [(link["source"], link["target"], link["bytes"]) for link in found["links"]] == [
        ("s:a", "d:x", 50),
        ("s:b", "d:y", 40),
        ("s:a", "d:", 9),
        ("s:", "d:x", 3),
        ("s:", "d:", 2),
    ]
    other = [node for node in found["nodes"] if node["address"] is None]
    assert [(node["id"], node["side"], node["label"]) for node in other] == [
        ("d:", "destination", "other"),
        ("s:", "source", "other"),
    ]
    assert {node["label"] for node in found["nodes"]} == {"A", "B", "X", "Y", "other"}


def test_the_smallest_peers_are_one() -> None:
    tallies: Tallies = {
        ("p", "o", "o", name): [size, 1] for name, size in zip("abcd", (9, 7, 2, 1), strict=True)
    }
    tallies["q", "o", "d", "o"] = [100, 2]
    found = span.matrix(tallies, 2, str)
    assert found == {
        "probes": [{"name": "q", "bytes": 100, "packets": 2}, {"name": "p", "bytes": 19, "packets": 4}],
        "peers": [
            {"address": "d", "label": "d", "bytes": 101, "packets": 3},
            {"address": "a", "label": "a", "bytes": 9, "packets": 1},
            {"address": None, "label": "other (2)", "bytes": 9, "packets": 2},
        ],
        "cells": [[0, 0, 100, 2], [1, 1, 9, 1], [1, 2, 9, 2], [1, 0, 1, 1]],
    }  # fmt: skip


PAIRS: Tallies = {
    ("10.0.0.10", "10.0.0.1"): [5, 50],
    ("10.0.0.9", "10.0.0.1"): [7, 40],
    ("10.0.0.2", "::1"): [7, 60],
}
NAMES = {"10.0.0.2": "Web", "::1": "db"}


@pytest.mark.parametrize(
    ("sort", "order", "shown"),
    [
        ("bytes", "desc", ["2", "9", "10"]),
        ("bytes", "asc", ["10", "9", "2"]),
        ("packets", "desc", ["2", "10", "9"]),
        ("src", "asc", ["2", "9", "10"]),  # names first, then numbers as numbers
        ("src", "desc", ["10", "9", "2"]),
        ("dst", "asc", ["2", "9", "10"]),
    ],
)
def test_the_order_of_talkers(sort: str, order: str, shown: list[str]) -> None:
    asked = Talkers(sort=sort, order=order)
    table = span.chosen(PAIRS, asked, lambda address: NAMES.get(address, ""))
    assert [source.rpartition(".")[2] for source, _ in table.shown] == shown


@pytest.mark.parametrize(
    ("find", "matching"), [("", 3), ("WEB", 1), ("db", 1), ("::", 1), ("0.0.1", 2), ("nobody", 0)]
)
def test_finding(find: str, matching: int) -> None:
    asked = Talkers(rows=1, find=find)
    table = span.chosen(PAIRS, asked, lambda address: NAMES.get(address, ""))
    assert table.matching == matching
    assert len(table.shown) + table.other["count"] == matching


# -- the fleet -------------------------------------------------------------------------------


def device(name: str = "eth0", windows: int = 10, **more: Any) -> LedgerSum:
    one = LedgerSum(
        probe="p",
        device=name,
        windows=windows,
        first_ms=0,
        last_ms=(windows - 1) * WINDOW,
        end_ms=windows * WINDOW,
        number=windows,
        first_number=1,
        longest_ms=WINDOW,
        ledger=Ledger(device=Tally(10, 1_000), counted=Tally(9, 900), lost=Tally(1, 50)),
    )
    return replace(one, **more)


@pytest.mark.parametrize(
    ("lag", "status"),
    [
        (-5_000, "ok"),  # a clock that is ahead
        (0, "ok"),
        (50_000, "ok"),  # one and a half windows, and the grace
        (50_001, "late"),
        (120_000, "late"),  # two windows and a minute
        (120_001, "silent"),
    ],
)
def test_how_a_probe_fares(lag: int, status: str) -> None:
    one = device()
    (found,) = fleet.probes([one], [], one.end_ms + lag)
    assert found["status"] == status
    assert found["lag"] == max(0, lag)
    alive = status != "silent"
    assert fleet.settled([one], one.end_ms + lag) == (one.end_ms if alive else None)


def test_settled_is_as_far_as_the_last_of_those_alive() -> None:
    quick, slow = device(), replace(device(), probe="slow", end_ms=9 * WINDOW)
    dead = replace(device(), probe="dead", end_ms=WINDOW)
    assert fleet.settled([quick, slow, dead], 10 * WINDOW + 1) == 9 * WINDOW
    assert fleet.settled([], 0) is None


@pytest.mark.parametrize(
    ("more", "length"),
    [
        ({}, WINDOW),
        ({"longest_ms": 10 * WINDOW, "windows": 20}, WINDOW),  # one was merged of ten
        ({"longest_ms": 10 * WINDOW, "last_ms": 0}, 10 * WINDOW),  # and that was the last
        ({"windows": 1, "end_ms": 5_000, "longest_ms": 5_000}, 5_000),  # the first, and short
        ({"end_ms": 9 * WINDOW + 10}, 27_001),  # the last, and short
    ],
)
def test_how_long_a_window_is(more: dict[str, Any], length: int) -> None:
    assert fleet.window_ms(device(**more)) == length


def test_a_device_that_was_away_makes_no_window_missing() -> None:
    whole, part = device(), device("veth1", windows=3, first_number=2, number=8)
    assert fleet._missing(part) == 4
    (found,) = fleet.probes([part, whole], [], 10 * WINDOW)
    assert (found["windows"], found["missing"]) == (10, 0)
    assert [one["missing"] for one in found["devices"]] == [0, 4]
    assert found["counted"] == {"bytes": 1_800, "packets": 18}
    assert found["coverage"] == 0.95


def test_numbers_that_began_anew_make_none_missing() -> None:
    (found,) = fleet.probes([device(number=2, first_number=90)], [], 0)
    assert found["missing"] == 0


def test_without_traffic_there_is_no_coverage() -> None:
    (found,) = fleet.probes([device(ledger=Ledger())], [], 0)
    assert found["coverage"] is None


def test_those_that_need_a_look_come_first() -> None:
    now = 100 * WINDOW
    seen = [
        device(probe=name, end_ms=now - lag)
        for name, lag in (("a", 0), ("b", 3 * WINDOW), ("c", now // 2), ("d", 0), ("e", now // 3))
    ]
    found = [(one["name"], one["status"]) for one in fleet.probes(seen, [], now)]
    late = ("b", "late")
    assert found == [("c", "silent"), ("e", "silent"), late, ("a", "ok"), ("d", "ok")]


def test_the_fleet_as_one() -> None:
    one = device(ledger=Ledger(device=Tally(4, 400), counted=Tally(3, 300)))
    other = device(ledger=Ledger(device=Tally(1, 100), dropped=Tally(1, 50)))
    whole = fleet.total([one, other])
    assert whole["device"] == {"bytes": 500, "packets": 5}
    assert whole["coverage"] == 350 / 500
    assert fleet.total([])["coverage"] is None


def test_what_is_no_address_is_sorted_behind_those_that_are() -> None:
    ends = ["x", "::1", "10.0.0.10", "10.0.0.9"]
    assert sorted(ends, key=lambda end: span._by_name(end, "")) == [
        "10.0.0.9",
        "10.0.0.10",
        "::1",
        "x",
    ]
