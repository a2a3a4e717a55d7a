"""Compares what is stored with what was sent, to the byte. Pure."""

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.fault.campaign.ground import TO_CENTER, TRAFFIC
from tests.fault.campaign.packets import ADDRESSES, Slice, sums

if TYPE_CHECKING:
    from tests.fault.campaign.daemons import Life

Row = dict[str, Any]
Pair = tuple[str, str]

TAGS = ("probe", "probeIP", "srcIP", "dstIP", "device")


class Stored:
    """Points by their identity: measurement, tags and time."""

    def __init__(self) -> None:
        self.traffic: dict[tuple[Any, ...], Row] = {}
        self.ledgers: dict[tuple[Any, ...], Row] = {}
        self.conflicts: list[str] = []
        """Points that were stored before and after with other values."""

    def add(self, rows: dict[tuple[Any, ...], Row], row: Row) -> None:
        """One row of an answer."""
        key = (row["time"], *(row.get(tag) for tag in TAGS))
        known = rows.setdefault(key, row)
        if known != row:
            self.conflicts.append(f"{known} was stored, and then {row}")


@dataclass(frozen=True, slots=True)
class Account:
    """What is known of a probe without asking it."""

    host: str
    seed: int
    lives: tuple["Life", ...]


@dataclass(slots=True)
class Verdict:
    """What does not add up, in bytes and in words; and what a killed probe lost, which may be."""

    missing: int = 0
    spurious: int = 0
    lost_in_open_windows: int = 0
    lost_and_told: int = 0
    """What no directory and no center took at a probe's end, as the stored ledger says."""
    sent: int = 0
    stored: int = 0
    findings: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        return not (self.missing or self.spurious or self.findings)


def judge(stored: Stored, accounts: list[Account], *, recreated: bool) -> Verdict:
    """Compare, for each probe, each of its lives and each pair of addresses.

    Args:
        recreated: whether a device went, with its last counters: its ledger is not checked.
    """
    verdict = Verdict(findings=list(stored.conflicts))
    hosts = {account.host for account in accounts}
    for row in stored.traffic.values():
        if row["probe"] not in hosts:
            verdict.spurious += row["size"]
            verdict.findings.append(f"a probe that is not ours: {row}")
    for account in accounts:
        _judge_probe(stored, account, verdict, recreated=recreated)
    return verdict


def _judge_probe(stored: Stored, account: Account, verdict: Verdict, *, recreated: bool) -> None:
    host = account.host
    ledgers = [row for row in stored.ledgers.values() if row["probe"] == host]
    numbers = _numbers(host, ledgers, verdict)
    if not any(row["device"] == TO_CENTER and row["own_bytes"] for row in ledgers):
        verdict.findings.append(f"{host}: nothing of its own passed {TO_CENTER}")
    lives = account.lives
    traffic: dict[int, dict[Pair, list[int]]] = defaultdict(lambda: defaultdict(lambda: [0, 0]))
    for row in stored.traffic.values():
        if row["probe"] != host:
            continue
        if row["time"] not in numbers:
            verdict.findings.append(f"{host}: traffic without a ledger: {row}")
        if row["probeIP"] not in (row["srcIP"], row["dstIP"]) or row[
            "probeIP"
        ] not in ADDRESSES.get(host, ()):
            verdict.findings.append(f"{host}: an address that is not of this host: {row}")
        entry = traffic[_life_of(lives, numbers.get(row["time"], 0))][row["srcIP"], row["dstIP"]]
        entry[0] += row["size"]
        entry[1] += row["packets"]
    for index, life in enumerate(lives):
        where = f"{host}, life {index}"
        own_ledgers = [row for row in ledgers if _life_of(lives, row["number"]) == index]
        lost = (
            _total(own_ledgers, TRAFFIC, "lost_bytes"),
            _total(own_ledgers, TRAFFIC, "lost_packets"),
        )
        counted = _judge_life(account, life, where, traffic[index], lost, verdict)
        quiet = index == len(lives) - 1 and not recreated
        _judge_ledger(where, own_ledgers, counted, verdict, quiet=quiet)


def _total(ledgers: list[Row], device: str, name: str) -> int:
    return sum(row.get(name) or 0 for row in ledgers if row["device"] == device)


def _numbers(host: str, ledgers: list[Row], verdict: Verdict) -> dict[int, int]:
    """The number of each window by its start; a hole, or one number twice, is a finding."""
    numbers: dict[int, int] = {}
    spans: dict[int, int] = {}
    for row in ledgers:
        if numbers.setdefault(row["time"], row["number"]) != row["number"]:
            verdict.findings.append(f"{host}: a window with two numbers at {row['time']}")
        spans[row["number"]] = row.get("windows") or 1
    if len(set(numbers.values())) != len(numbers):
        verdict.findings.append(f"{host}: windows with the same number")
    expected = 1
    for number, span in sorted(spans.items()):
        if number - span + 1 != expected:
            verdict.findings.append(
                f"{host}: window {expected} expected, then comes {number - span + 1}"
            )
        expected = number + 1
    return numbers


def _life_of(lives: tuple["Life", ...], number: int) -> int:
    return max((i for i, life in enumerate(lives) if life.numbers_after < number), default=0)


def _judge_life(
    account: Account,
    life: "Life",
    where: str,
    traffic: dict[Pair, list[int]],
    lost: tuple[int, int],
    verdict: Verdict,
) -> tuple[int, int]:
    """Compare one life; the bytes and packets that should be counted in it.

    Args:
        lost: bytes and packets that its ledger says are lost; always the last of a life.
    """
    expected: dict[Pair, tuple[int, int]] = {}
    behind = [(0, 0), (0, 0)]
    """Bytes and packets of the life behind what is stored: at least, and at most."""
    for sender, addresses in ADDRESSES.items():
        packets = sum(count for (source, _), (_, count) in traffic.items() if source in addresses)
        begin, least, most = life.began[sender], life.least[sender], life.most[sender]
        end = min(begin + packets if any(lost) else max(begin + packets, least), most)
        if end != begin + packets:
            verdict.findings.append(
                f"{where}: from {sender} {packets} packets are stored; at least "
                f"{least - begin} and at most {most - begin} were to be"
            )
        expected |= sums(account.seed, Slice(sender, begin, end))
        for index, last in enumerate((max(end, least), most)):
            rest = sums(account.seed, Slice(sender, end, last)).values()
            size = behind[index][0] + sum(size for size, _ in rest)
            behind[index] = (size, behind[index][1] + last - end)
    if any(lost):
        verdict.lost_and_told += lost[0]
        if not all(
            low <= told <= high for low, told, high in zip(behind[0], lost, behind[1], strict=True)
        ):
            verdict.findings.append(
                f"{where}: the ledger has (bytes, packets) {lost} lost; "
                f"at least {behind[0]} and at most {behind[1]} are"
            )
    elif life.killed:
        verdict.lost_in_open_windows += behind[1][0]
    for pair in sorted({*expected, *traffic}):
        size, count = expected.get(pair, (0, 0))
        got = traffic.get(pair, [0, 0])
        verdict.sent += size
        verdict.stored += got[0]
        verdict.missing += max(0, size - got[0])
        verdict.spurious += max(0, got[0] - size)
        if [size, count] != got:
            verdict.findings.append(
                f"{where}: {' > '.join(pair)}: {got[0]} bytes in {got[1]} packets are stored, "
                f"{size} in {count} were sent"
            )
    total = [sum(values) for values in zip((0, 0), *expected.values(), strict=True)]
    return total[0], total[1]


FATES = ("counted", "own", "non_ip", "dropped", "lost")


def _judge_ledger(
    where: str,
    ledgers: list[Row],
    counted: tuple[int, int],
    verdict: Verdict,
    *,
    quiet: bool,
) -> None:
    """Args: quiet: whether no packet was on its way when this life began and when it ended."""
    for index, unit in enumerate(("bytes", "packets")):
        ledger = _total(ledgers, TRAFFIC, f"counted_{unit}")
        if ledger != counted[index]:
            verdict.findings.append(
                f"{where}: the ledger has {ledger} {unit} counted, {counted[index]} were sent"
            )
        for device in (TRAFFIC, TO_CENTER):
            for name in ("dropped", "other"):
                if value := _total(ledgers, device, f"{name}_{unit}"):
                    verdict.findings.append(f"{where}: {device}: {value} {unit} {name}")
        if value := _total(ledgers, TO_CENTER, f"counted_{unit}"):
            verdict.findings.append(f"{where}: {value} {unit} to the center are counted as traffic")
    if quiet:
        for unit in ("bytes", "packets"):
            fate = sum(_total(ledgers, TRAFFIC, f"{name}_{unit}") for name in FATES)
            if fate != (passed := _total(ledgers, TRAFFIC, f"device_{unit}")):
                verdict.findings.append(
                    f"{where}: {passed} {unit} passed {TRAFFIC} by its own counters, "
                    f"the ledger accounts for {fate}"
                )
