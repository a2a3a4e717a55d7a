"""The fault campaign's own parts: a schedule is its seed's, and the oracle sees what is wrong."""

import ast
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fault.campaign.daemons import REPOSITORY, Life
from tests.fault.campaign.mutations import MUTATIONS, Mutation
from tests.fault.campaign.oracle import Account, Stored, Verdict, judge
from tests.fault.campaign.packets import ADDRESSES, Slice, sequence, sums
from tests.fault.campaign.schedule import FAULTS, LONG, covering, schedule

SEED, WINDOW_PACKETS = 7, 100
Row = dict[str, Any]


def test_schedule_is_its_seeds() -> None:
    assert schedule(3) == schedule(3)
    assert schedule(3) != schedule(4)
    assert {strike.fault for seed in covering() for strike in schedule(seed).strikes} == set(FAULTS)
    assert set(LONG) <= set(FAULTS)


def test_sequences_are_their_seeds_and_sizes_are_those_on_the_link() -> None:
    first = next(sequence(SEED, "a"))
    assert first == next(sequence(SEED, "a")) != next(sequence(SEED + 1, "a"))
    assert first.size == first.payload + (62 if ":" in first.source else 42)
    whole, parts = sums(SEED, Slice("a", 0, 50)), [Slice("a", 0, 20), Slice("a", 20, 50)]
    assert sum(size for size, _ in whole.values()) == sum(
        size for part in parts for size, _ in sums(SEED, part).values()
    )


def windows(host: str, first: int, count: int) -> Iterator[tuple[int, dict[Any, tuple[int, int]]]]:
    """(number, what was sent in it) of windows that hold so many packets each way."""
    for index in range(count):
        begin = index * WINDOW_PACKETS
        sent = {
            **sums(SEED, Slice("a", begin, begin + WINDOW_PACKETS)),
            **sums(SEED, Slice("b", begin, begin + WINDOW_PACKETS)),
        }
        yield first + index, sent


def stored(
    change: Callable[[list[Row], list[Row]], None] = lambda traffic, ledgers: None,
) -> Stored:
    """What two probes that missed nothing store of three windows, changed."""
    traffic, ledgers = [], []
    for host in "ab":
        for number, sent in windows(host, 1, 3):
            counted = [sum(column) for column in zip(*sent.values(), strict=True)]
            identity = {"time": 1000 * number, "probe": host}
            nothing = dict.fromkeys(
                f"{name}_{unit}"
                for name in ("device", "counted", "own", "non_ip", "dropped", "other", "lost")
                for unit in ("bytes", "packets")
            )
            passed = {
                "device_bytes": counted[0],
                "counted_bytes": counted[0],
                "device_packets": counted[1],
                "counted_packets": counted[1],
            }
            ledgers.append({**identity, "number": number, "device": "traf0", **nothing, **passed})
            ledgers.append(
                {**identity, "number": number, "device": "mgmt0", **nothing, "own_bytes": 99}
            )
            for (source, destination), (size, packets) in sent.items():
                mine = source if source in ADDRESSES[host] else destination
                row = {"srcIP": source, "dstIP": destination, "probeIP": mine}
                traffic.append({**identity, **row, "size": size, "packets": packets})
    change(traffic, ledgers)
    result = Stored()
    for row in traffic:
        result.add(result.traffic, row)
    for row in ledgers:
        result.add(result.ledgers, row)
    return result


def accounts(killed: bool = False, unseen: int = 0) -> list[Account]:
    """Of probes whose only life saw three windows, and ``unseen`` packets more each way."""
    sent = 3 * WINDOW_PACKETS
    most = dict.fromkeys("ab", sent + unseen)
    life = Life(0, dict.fromkeys("ab", 0), dict.fromkeys("ab", sent), most, killed=killed)
    return [Account(host, SEED, (life,)) for host in "ab"]


def verdict(change: Callable[[list[Row], list[Row]], None]) -> Verdict:
    return judge(stored(change), accounts(), recreated=False)


def test_what_adds_up_is_good() -> None:
    result = judge(stored(), accounts(), recreated=False)
    assert result == Verdict(sent=result.sent, stored=result.sent)
    assert result.sent > 0
    assert result.good


def test_open_window_of_a_killed_probe_is_counted_to_the_byte() -> None:
    result = judge(stored(), accounts(killed=True, unseen=10), recreated=False)
    parts = [Slice(host, 3 * WINDOW_PACKETS, 3 * WINDOW_PACKETS + 10) for host in "ab"]
    expected = 2 * sum(size for part in parts for size, _ in sums(SEED, part).values())
    assert result.good
    assert result.lost_in_open_windows == expected


def test_a_record_too_few_is_missing() -> None:
    gone: list[Row] = []
    result = verdict(lambda traffic, ledgers: gone.append(traffic.pop(4)))
    assert result.missing >= gone[0]["size"]
    assert not result.good


def test_a_window_too_few_is_missing() -> None:
    def change(traffic: list[Row], ledgers: list[Row]) -> None:
        traffic[:] = [row for row in traffic if (row["probe"], row["time"]) != ("a", 2000)]
        ledgers[:] = [row for row in ledgers if (row["probe"], row["time"]) != ("a", 2000)]

    result = verdict(change)
    assert result.missing > 0
    assert any("window 2 expected, then comes 3" in finding for finding in result.findings)


def test_a_window_twice_is_spurious() -> None:
    def change(traffic: list[Row], ledgers: list[Row]) -> None:
        traffic += [{**row, "time": 3001} for row in traffic if row["time"] == 3000]
        ledgers += [{**row, "time": 3001, "number": 4} for row in ledgers if row["time"] == 3000]

    assert verdict(change).spurious > 0


@pytest.mark.parametrize(
    ("change", "finding"),
    [
        (lambda row: row.update(size=row["size"] + 1), "bytes in"),
        (lambda row: row.update(time=5), "traffic without a ledger"),
        (lambda row: row.update(probeIP="10.79.0.250"), "not of this host"),
        (lambda row: row.update(probe="c"), "a probe that is not ours"),
    ],
)
def test_a_record_that_is_wrong_is_told(change: Callable[[Row], None], finding: str) -> None:
    result = verdict(lambda traffic, ledgers: change(traffic[0]))
    assert any(finding in text for text in result.findings)


@pytest.mark.parametrize(
    ("change", "finding"),
    [
        (lambda row: row.update(dropped_packets=1), "packets dropped"),
        (lambda row: row.update(lost_bytes=1), "the ledger has (bytes, packets) (1, 0) lost"),
        (lambda row: row.update(counted_bytes=1), "the ledger has"),
        (lambda row: row.update(device_bytes=1), "by its own counters"),
        (lambda row: row.update(number=3), "windows with the same number"),
    ],
)
def test_a_ledger_that_is_wrong_is_told(change: Callable[[Row], None], finding: str) -> None:
    result = verdict(lambda traffic, ledgers: change(ledgers[0]))
    assert any(finding in text for text in result.findings)


def test_own_traffic_that_is_counted_is_told() -> None:
    result = verdict(lambda traffic, ledgers: ledgers[1].update(counted_bytes=60))
    assert any("are counted as traffic" in text for text in result.findings)


def test_points_that_change_are_told() -> None:
    known = stored()
    (row, *_) = known.traffic.values()
    known.add(known.traffic, {**row, "size": row["size"] + 1})
    assert not judge(known, accounts(), recreated=False).good


def lose_the_last_window(traffic: list[Row], ledgers: list[Row], less: int = 0) -> None:
    """As probe a does that can neither keep nor deliver it."""
    traffic[:] = [row for row in traffic if (row["probe"], row["time"]) != ("a", 3000)]
    for row in ledgers:
        if (row["probe"], row["time"], row["device"]) == ("a", 3000, "traf0"):
            row["lost_bytes"], row["counted_bytes"] = row["counted_bytes"] - less, None
            row["lost_packets"], row["counted_packets"] = row["counted_packets"], None


def test_a_loss_that_is_told_is_no_missing_byte() -> None:
    result = verdict(lose_the_last_window)
    assert result.good
    parts = [Slice(host, 2 * WINDOW_PACKETS, 3 * WINDOW_PACKETS) for host in "ab"]
    assert result.lost_and_told == sum(
        size for part in parts for size, _ in sums(SEED, part).values()
    )


def test_a_loss_that_is_told_wrong_is_told() -> None:
    result = verdict(lambda traffic, ledgers: lose_the_last_window(traffic, ledgers, 1))
    assert any("at least" in text for text in result.findings)


def test_every_fault_is_in_the_documentation() -> None:
    text = (REPOSITORY / "docs" / "campaign.md").read_text()
    assert [fault for fault in FAULTS if f"`{fault}`" not in text] == []


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_what_a_mutation_breaks_is_there(mutation: Mutation, tmp_path: Path) -> None:
    target = tmp_path / "src" / "wakizashi" / mutation.path
    target.parent.mkdir(parents=True)
    target.write_text((REPOSITORY / "src" / "wakizashi" / mutation.path).read_text())
    mutation.apply(tmp_path)
    ast.parse(target.read_text())
    assert all((REPOSITORY / test).exists() for test in mutation.tests)
    assert mutation.old not in target.read_text() or mutation.old in mutation.new
