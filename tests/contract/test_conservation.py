"""Conservation through the real store and every real backend, while writes fail at random.

A window that got the word STORED is in the backend exactly once with exact
values, or whole in the recovery directory; nothing else is anywhere. That holds
after every delivery, and in the end all is in the backend or in ``bad/``.
"""

import asyncio
import random
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.center_backends import SETTINGS, Settings, expected, ledgers, opened, rows
from tests.center_windows import ip, window
from tests.unit.test_store import Clock, files, submit, until
from tests.unit.test_store import opened as opened_store
from wakizashi import wire
from wakizashi.center.aggregate import aggregate
from wakizashi.center.backend import Backend, Row, backend_names
from wakizashi.center.store import Status
from wakizashi.errors import Permanent, Retryable
from wakizashi.model import Direction, Flow, LedgerRecord, StoredWindow, Window
from wakizashi.window_file import unseal

BAD = "10.0.9.9"
"""A destination that the backend under test can never store."""

ONE_CENTER = {"sqlite"}
"""Backends of one center: it refuses a second one, so centers follow each other there."""

Name = tuple[str, int]


class Hurried(Clock):
    """Every pause of the backoff is over when it is looked at."""

    def __call__(self) -> float:
        self.now += 10_000
        return self.now


class Faulty(Backend):
    """A real backend whose writes fail at random.

    Before anything is stored, after all is, or after a part of it; for a
    while (``retryable``), or for good where :data:`BAD` is among the points.
    """

    def __init__(self, inner: Backend, seed: int, *, retryable: float) -> None:
        self.inner = inner
        self.random = random.Random(seed)
        self.retryable = retryable
        self.outcomes: set[str] = set()

    def write(self, windows: Sequence[StoredWindow]) -> None:
        if self.random.random() < self.retryable:
            how = self.random.choice(["before", "after", "part"])
            self.outcomes.add(how)
            if how == "after":
                self.inner.write([_without_bad(stored) for stored in windows])
            elif how == "part":
                self.inner.write([self._part(stored) for stored in windows])
            raise Retryable(f"made up: {how} the write")
        if any(record.dstIP == BAD for stored in windows for record in stored.records):
            self.outcomes.add("permanent")
            if self.random.random() < 0.5:
                self.inner.write([self._part(stored) for stored in windows])
            raise Permanent(f"made up: {BAD}")
        self.outcomes.add("ok")
        self.inner.write(windows)

    def _part(self, stored: StoredWindow) -> StoredWindow:
        number = self.random.randint(0, len(stored.records))
        records = tuple(self.random.sample(stored.records, number))
        kept = self.random.choice([stored.ledgers, ()])
        return _without_bad(replace(stored, records=records, ledgers=kept))

    def traffic(
        self, since_ms: int, until_ms: int, by: Sequence[str] = (), **more: Any
    ) -> Iterator[Row]:
        return self.inner.traffic(since_ms, until_ms, by, **more)

    def ledgers(self, since_ms: int, until_ms: int) -> Iterator[LedgerRecord]:
        return self.inner.ledgers(since_ms, until_ms)

    def check(self) -> None:
        self.inner.check()

    @property
    def describe(self) -> str:
        return self.inner.describe

    def close(self) -> None:
        """Whoever opened the real one closes it."""


def _without_bad(stored: StoredWindow) -> StoredWindow:
    return replace(stored, records=tuple(r for r in stored.records if r.dstIP != BAD))


@pytest.fixture(params=backend_names())
def place(request: pytest.FixtureRequest) -> tuple[str, Settings]:
    return request.param, SETTINGS[request.param](request)


def fleet(number: int, chance: random.Random, *, bad: float = 0) -> list[Window]:
    """Windows of four probes, every value different, sizes of any length."""
    made = []
    for n in range(number):
        flows = [
            Flow(0, Direction.OUT, ip(n % 4 + 1), ip(last), last + chance.getrandbits(1 + n), last)
            for last in range(10, 10 + chance.randint(1, 8))
        ]
        if chance.random() < bad:
            flows.append(Flow(0, Direction.OUT, ip(n % 4 + 1), ip(9, 9), 999, 9))
        chance.shuffle(flows)
        made.append(window(n // 4, tuple(flows), probe=f"vm-{n % 4}", tags=(("env", "a"),)))
    return made


def in_files(folder: Path) -> dict[Name, Window]:
    """The windows in a directory."""
    found = {}
    for path in folder.glob("[!.]*.window*"):
        try:
            one = wire.decode(wire.unpack(unseal(path.read_bytes())))
        except FileNotFoundError:  # posted meanwhile
            continue
        found[one.probe, one.start_ms] = one
    return found


def durable(backend: Backend, folder: Path | None, words: dict[Name, Window]) -> bool:
    """Whether each of ``words`` is whole somewhere; first the files, for they go last."""
    kept = in_files(folder) | in_files(folder / "bad") if folder else {}
    found = set(rows(backend))
    with_ledger = {(record.probe, record.timestamp) for record in ledgers(backend)}
    return all(
        kept.get(name) == one or (set(expected(aggregate(one))) <= found and name in with_ledger)
        for name, one in words.items()
    )


FAULTS: dict[str, tuple[float, float]] = {
    "retryable": (0.5, 0),
    "permanent": (0, 0.2),
    "mixed": (0.5, 0.2),
}
"""The chance of a write to fail for a while, and of a window to hold a bad point."""


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("faults", FAULTS)
@pytest.mark.parametrize("recovers", [True, False], ids=["recovery", "no-recovery"])
def test_conservation(
    place: tuple[str, Settings], tmp_path: Path, faults: str, seed: int, recovers: bool
) -> None:
    retryable, bad = FAULTS[faults]
    chance = random.Random(seed)
    windows = {(w.probe, w.start_ms): w for w in fleet(32, chance, bad=bad)}
    marked = {n: w for n, w in windows.items() if any(f.destination == ip(9, 9) for f in w.flows)}
    assert bool(marked) == bool(bad)
    folder = tmp_path / "recovery" if recovers else None
    words: dict[Name, Window] = {}
    rejected: dict[Name, Window] = {}

    async def life(backend: Backend) -> None:
        """A center from start to end; probes deliver what has no word, and some of it again."""
        waiting = [n for n in windows if n not in words and n not in rejected]
        lost_words = chance.sample(sorted(words), len(words) // 4)
        names = chance.sample(waiting + lost_words, len(waiting + lost_words))
        async with opened_store(backend, folder, clock=Hurried()) as (store, _):
            while names:
                group, names = names[:7], names[7:]
                outcomes = await submit(store, *(windows[name] for name in group))
                for name, outcome in zip(group, outcomes, strict=True):
                    if outcome.status is Status.STORED:
                        words[name] = windows[name]
                    elif outcome.status is Status.REJECTED:
                        rejected[name] = windows[name]
                assert durable(backend, folder, words)

    async def main(inner: Backend) -> None:
        faulty = Faulty(inner, seed, retryable=retryable)
        kinds = {"ok"} | ({"before", "after", "part"} if retryable else set())
        kinds |= {"permanent"} if bad else set()
        while faulty.outcomes != kinds:  # until every kind of fault was seen
            await life(faulty)
        healthy = Faulty(inner, seed, retryable=0)
        await life(healthy)
        async with opened_store(healthy, folder):
            await until(lambda: folder is None or files(folder) == 0)

    first = window(probe="first")  # so that there is something to read from the start on
    with opened(*place) as inner:
        inner.write([aggregate(first)])
        asyncio.run(main(inner))
        stored = [_without_bad(aggregate(one)) for one in (first, *windows.values())]
        assert rows(inner) == expected(*stored)
        assert ledgers(inner) == _ledgers(stored)
        in_bad = in_files(folder / "bad") if folder else rejected
        assert in_bad == marked
        assert set(words) | set(rejected) == set(windows)
        assert set(words) & set(rejected) == set()
        sizes = sum(int(row["size"]) for row in inner.traffic(0, 2**43, ["probe"]))
        lost = sum(f.size for w in in_bad.values() for f in w.flows if f.destination == ip(9, 9))
        assert sizes + lost == sum(f.size for w in (first, *windows.values()) for f in w.flows)


def _ledgers(windows: Sequence[StoredWindow]) -> list[LedgerRecord]:
    found = [record for stored in windows for record in stored.ledgers]
    return sorted(found, key=lambda record: (record.timestamp, record.probe, record.device))


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_three_deliveries_to_two_centers_are_one(place: tuple[str, Settings], seed: int) -> None:
    chance = random.Random(seed)
    windows = fleet(32, chance)
    deliveries = windows * 3
    chance.shuffle(deliveries)
    half = len(deliveries) // 2
    shares = [deliveries[:half], deliveries[half:]]

    async def center(backend: Backend, share: list[Window]) -> None:
        async with opened_store(backend, None) as (store, _):
            while share:
                number = chance.randint(1, 12)
                group, share = share[:number], share[number:]
                outcomes = await submit(store, *group)
                assert {outcome.status for outcome in outcomes} == {Status.STORED}

    async def at_once() -> None:
        async with AsyncExitStack() as stack, asyncio.TaskGroup() as group:
            for share in shares:
                group.create_task(center(stack.enter_context(opened(*place)), share))

    async def in_turn() -> None:
        for share in shares:
            with opened(*place) as backend:
                await center(backend, share)

    asyncio.run(in_turn() if place[0] in ONE_CENTER else at_once())
    stored = [aggregate(one) for one in windows]
    with opened(*place, read_only=True) as reader:
        assert rows(reader) == expected(*stored)
        assert ledgers(reader) == _ledgers(stored)
