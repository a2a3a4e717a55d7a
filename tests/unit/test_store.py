"""The store against a scripted backend: an ack is given for what is durable, and only then."""

import asyncio
import errno
import os
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.center_windows import ip, window
from wakizashi import wire
from wakizashi.center import repost as repost_module
from wakizashi.center import store as store_module
from wakizashi.center.aggregate import aggregate
from wakizashi.center.backend import Backend, Row
from wakizashi.center.isolate import MAX_WRITES, isolate
from wakizashi.center.metrics import Metrics
from wakizashi.center.recovery import Recovery
from wakizashi.center.repost import Repost
from wakizashi.center.store import READY_POINTS, Outcome, Status, Store
from wakizashi.center.writer import Writer
from wakizashi.errors import Permanent, Retryable
from wakizashi.filesystem import Filesystem
from wakizashi.model import Direction, Flow, LedgerRecord, StoredWindow, TrafficRecord, Window
from wakizashi.window_file import Entry, seal

Key = tuple[str, int, str, str]


class FakeBackend(Backend):
    """Keeps points by identity; ``script`` may raise before, ``after`` after they are kept."""

    def __init__(self) -> None:
        self.kept: dict[Key, TrafficRecord] = {}
        self.calls = 0
        self.groups: list[int] = []
        self.script: Callable[[Sequence[StoredWindow]], None] = lambda windows: None
        self.after: Callable[[], None] = lambda: None

    def write(self, windows: Sequence[StoredWindow]) -> None:
        self.calls += 1
        self.script(windows)
        self.groups.append(len(windows))
        for stored in windows:
            for record in stored.records:
                self.kept[record.probe, record.timestamp, record.srcIP, record.dstIP] = record
        self.after()

    def traffic(
        self, since_ms: int, until_ms: int, by: Sequence[str] = (), **more: Any
    ) -> Iterator[Row]:
        return iter(())

    def ledgers(self, since_ms: int, until_ms: int) -> Iterator[LedgerRecord]:
        return iter(())

    def check(self) -> None:
        """Always fine."""

    @property
    def describe(self) -> str:
        return "a fake"

    def close(self) -> None:
        """Nothing to close."""

    @property
    def size(self) -> int:
        return sum(record.size for record in self.kept.values())


class Clock:
    """Monotonic seconds that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def down(windows: Sequence[StoredWindow]) -> None:
    raise Retryable("the fake is down")


@asynccontextmanager
async def opened(
    backend: Backend,
    folder: Path | None,
    *,
    limit: int = 2**20,
    clock: Clock | None = None,
    interval: float = 3600,
    group_seconds: float = 0.01,
) -> AsyncIterator[tuple[Store, Metrics]]:
    recovery = Recovery(folder, limit_bytes=limit) if folder else None
    if recovery:
        recovery.open()
    metrics = Metrics(recovery)
    store = Store(
        backend,
        recovery,
        metrics,
        interval_seconds=interval,
        group_seconds=group_seconds,
        clock=clock or Clock(),
        random=lambda: 1.0,
    )
    store.start()
    try:
        yield store, metrics
    finally:
        await store.close(5)
        if recovery:
            recovery.close()


async def submit(store: Store, *windows: Window) -> list[Outcome]:
    return await asyncio.gather(*(store.submit(w, wire.encode(w)) for w in windows))


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


def files(folder: Path) -> int:
    return len(list(folder.glob("*.window")))


def value(metrics: Metrics, name: str, **labels: str) -> float:
    found = metrics.registry.get_sample_value(f"wakizashi_center_{name}", labels)
    assert found is not None
    return found


def test_windows_that_come_together_are_one_write() -> None:
    async def main() -> None:
        backend = FakeBackend()
        async with opened(backend, None) as (store, metrics):
            outcomes = await submit(store, *(window(n) for n in range(20)))
            assert {o.status for o in outcomes} == {Status.STORED}
            assert backend.groups == [20]
            assert value(metrics, "windows_total", status="stored") == 20
            assert value(metrics, "points_written_total") == 40

    asyncio.run(main())


def test_no_write_is_larger_than_10000_points() -> None:
    async def main() -> None:
        backend = FakeBackend()
        sizes: list[int] = []
        backend.script = lambda windows: sizes.append(
            sum(len(w.records) + len(w.ledgers) for w in windows)
        )
        flows = tuple(
            Flow(0, Direction.OUT, ip(n % 250, n // 250), ip(1, 255), 7, 1) for n in range(25_000)
        )
        async with opened(backend, None) as (store, _):
            (outcome,) = await submit(store, window(0, flows))
        assert outcome.status is Status.STORED
        assert sizes == [10_000, 10_000, 5_001]
        assert backend.size == 7 * 25_000

    asyncio.run(main())


def test_backend_down_means_recovery_then_repost(tmp_path: Path) -> None:
    async def main() -> None:
        backend, clock = FakeBackend(), Clock()
        backend.script = down
        async with opened(backend, tmp_path, clock=clock) as (store, metrics):
            assert {o.status for o in await submit(store, window(0))} == {Status.STORED}
            calls = backend.calls
            assert {o.status for o in await submit(store, window(1))} == {Status.STORED}
            assert backend.calls == calls  # down: no second timeout for the second window
            assert files(tmp_path) == 2
            assert value(metrics, "windows_total", status="recovered") == 2
            assert value(metrics, "recovery_windows") == 2
            backend.script = lambda windows: None
            clock.now += 3600
            await submit(store, window(2))  # seen to be back: reposts at once
            await until(lambda: files(tmp_path) == 0)
            assert backend.size == 300

    asyncio.run(main())


def test_backend_down_without_recovery_is_retry() -> None:
    async def main() -> None:
        backend = FakeBackend()
        backend.script = down
        async with opened(backend, None) as (store, _):
            outcomes = await submit(store, window(0))
            outcomes += await submit(store, window(1))
            assert [o.status for o in outcomes] == [Status.RETRY] * 2
            assert all("down" in o.reason and o.retry_delay_ms >= 1000 for o in outcomes)
            assert store.trouble == "the fake is down"

    asyncio.run(main())


def test_center_that_gets_no_windows_while_it_is_not_ready_is_ready_after_the_pause() -> None:
    """Kubernetes sends nothing to what is not ready: one failed write would end it for ever."""

    async def main() -> None:
        backend, clock = FakeBackend(), Clock()
        backend.script = down
        async with opened(backend, None, clock=clock) as (store, _):
            await submit(store, window(0))
            clock.now += 0.9
            assert store.trouble == "the fake is down"
            clock.now += 0.2
            assert store.trouble is None
            await submit(store, window(1))  # down still: a longer pause
            clock.now += 1.9
            assert store.trouble == "the fake is down"

    asyncio.run(main())


def test_full_recovery_is_retry(tmp_path: Path) -> None:
    async def main() -> None:
        backend = FakeBackend()
        backend.script = down
        one = len(seal(wire.pack(wire.encode(window(0)))))
        async with opened(backend, tmp_path, limit=5 * one // 2) as (store, _):
            outcomes = await submit(store, window(0), window(1), window(2))
            statuses = [o.status for o in outcomes]
            assert statuses == [Status.STORED, Status.STORED, Status.RETRY]
            assert files(tmp_path) == 2
            assert any("recoverLimit" in o.reason for o in outcomes)

    asyncio.run(main())


def refuse(text: str) -> Callable[[Sequence[StoredWindow]], None]:
    def script(windows: Sequence[StoredWindow]) -> None:
        if any(r.dstIP == text for stored in windows for r in stored.records):
            raise Permanent(f"{text} can't be stored")

    return script


def refuse_probe(probe: str) -> Callable[[Sequence[StoredWindow]], None]:
    """Refuse its records, but not its ledgers."""

    def script(windows: Sequence[StoredWindow]) -> None:
        if any(stored.records and stored.probe == probe for stored in windows):
            raise Permanent(f"{probe} can't be stored")

    return script


def bad_window(number: int) -> Window:
    flows = tuple(Flow(0, Direction.OUT, ip(1), ip(n), 10, 1) for n in range(10, 20))
    return window(number, flows)


def test_a_bad_point_is_isolated_and_its_window_kept(tmp_path: Path) -> None:
    async def main() -> None:
        backend = FakeBackend()
        backend.script = refuse("10.0.0.13")
        async with opened(backend, tmp_path) as (store, metrics):
            outcomes = await submit(store, window(0), bad_window(1), window(2))
            assert [o.status for o in outcomes] == [Status.STORED] * 3
            assert backend.size == 100 + 90 + 100
            assert value(metrics, "points_quarantined_total") == 1
        assert files(tmp_path) == 0
        assert files(tmp_path / "bad") == 1

    asyncio.run(main())


def test_a_bad_point_without_recovery_is_rejected() -> None:
    async def main() -> None:
        backend = FakeBackend()
        backend.script = refuse("10.0.0.13")
        async with opened(backend, None) as (store, _):
            outcomes = await submit(store, window(0), bad_window(1))
            assert [o.status for o in outcomes] == [Status.STORED, Status.REJECTED]
            assert outcomes[1].reason == "10.0.0.13 can't be stored"

    asyncio.run(main())


def test_a_bad_window_that_the_disk_does_not_take_stays_with_its_probe(tmp_path: Path) -> None:
    async def main() -> None:
        backend = FakeBackend()
        backend.script = refuse("10.0.0.13")
        async with opened(backend, tmp_path, limit=1) as (store, _):
            outcomes = await submit(store, window(0), bad_window(1))
            assert [o.status for o in outcomes] == [Status.STORED, Status.RETRY]
            assert "10.0.0.13 can't be stored; recoverLimit: " in outcomes[1].reason

    asyncio.run(main())


def test_a_large_window_leaves_the_event_loop_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[threading.Thread] = []

    def watched(given: Window) -> StoredWindow:
        threads.append(threading.current_thread())
        return aggregate(given)

    async def main() -> None:
        flows = tuple(
            Flow(0, Direction.OUT, ip(n % 250, n // 250), ip(1), 7, 1) for n in range(20_001)
        )
        backend = FakeBackend()
        async with opened(backend, None) as (store, _):
            (outcome,) = await submit(store, window(0, flows))
        assert outcome.status is Status.STORED and backend.size == 7 * 20_001

    monkeypatch.setattr(store_module, "aggregate", watched)
    asyncio.run(main())
    assert len(threads) == 1 and threads[0] is not threading.main_thread()


def test_everything_bad_costs_few_writes(tmp_path: Path) -> None:
    async def main() -> None:
        backend = FakeBackend()

        def script(windows: Sequence[StoredWindow]) -> None:
            if any(stored.records or stored.ledgers for stored in windows):
                raise Permanent("no")

        backend.script = script
        flows = tuple(
            Flow(0, Direction.OUT, ip(n % 250, n // 250), ip(1, 255), 7, 1) for n in range(4_000)
        )
        async with opened(backend, tmp_path) as (store, metrics):
            (outcome,) = await submit(store, window(0, flows))
            assert outcome.status is Status.STORED
            assert value(metrics, "points_quarantined_total") == 4_001
        assert backend.calls < 400
        assert files(tmp_path / "bad") == 1

    asyncio.run(main())


def test_good_windows_beside_many_bad_ones_are_stored(tmp_path: Path) -> None:
    async def main() -> None:
        backend = FakeBackend()
        backend.script = refuse_probe("old")
        flows = tuple(Flow(0, Direction.OUT, ip(1), ip(n), 10, 1) for n in range(100))
        windows = [
            window(n, flows if n % 10 == 0 else None, probe="old" if n % 10 == 0 else "vm-1")
            for n in range(50)
        ]
        async with opened(backend, tmp_path) as (store, metrics):
            outcomes = await submit(store, *windows)
            assert {o.status for o in outcomes} == {Status.STORED}
            assert backend.size == 45 * 100
            quarantined = value(metrics, "points_quarantined_total")
            assert 5 * 100 <= quarantined <= 5 * 101  # ledgers are fine, beside 64 bad points
        assert backend.calls < 300
        assert files(tmp_path / "bad") == 5

    asyncio.run(main())


def test_many_small_windows_that_are_all_bad_cost_a_bounded_number_of_writes() -> None:
    calls = 0

    def write(windows: Sequence[StoredWindow]) -> None:
        nonlocal calls
        calls += 1
        raise Permanent("no")

    windows = [aggregate(window(n)) for n in range(5_000)]
    bad, count = isolate(write, windows, "no")
    assert calls <= MAX_WRITES + 1
    assert len(bad) == 5_000 and count == 10_000  # nothing counts as stored


def test_restart_reposts_what_waits(tmp_path: Path) -> None:
    async def main() -> None:
        backend = FakeBackend()
        backend.script = down
        async with opened(backend, tmp_path) as (store, _):
            await submit(store, *(window(n) for n in range(5)))
        assert files(tmp_path) == 5
        second = FakeBackend()
        async with opened(second, tmp_path):
            await until(lambda: files(tmp_path) == 0)
        assert second.size == 500

    asyncio.run(main())


def test_files_that_can_not_be_read_do_not_hold_up_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Filesystem.read
    broken: set[Path] = set()

    def read(self: Filesystem, path: Path) -> bytes:
        if path in broken:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(self, path)

    async def main() -> None:
        backend = FakeBackend()
        recovery = Recovery(tmp_path, limit_bytes=2**20)
        recovery.open()
        recovery.save([(window(n), wire.encode(window(n))) for n in range(5)])
        oldest = min(tmp_path.glob("*.window"))
        broken.add(oldest)
        writer = Writer(
            backend,
            Metrics(recovery),
            longest_pause_seconds=1,
            clock=Clock(),
            random=lambda: 1.0,
        )
        repost = Repost(writer, recovery, interval_seconds=1, sleep=asyncio.sleep)
        with pytest.raises(Retryable, match=f"{oldest.name}: Input/output error"):
            await repost.once()
        assert list(tmp_path.glob("*.window")) == [oldest] and backend.size == 400
        # That nothing could be posted says nothing good of the backend.
        backend.script = down
        with pytest.raises(Retryable):
            await writer.write([aggregate(window(9))])
        with pytest.raises(Retryable, match="Input/output error"):
            await repost.once()
        assert writer.pause_seconds > 0
        recovery.close()

    monkeypatch.setattr(Filesystem, "read", read)
    asyncio.run(main())


@pytest.mark.parametrize("all_of_them", [False, True])
def test_files_that_can_not_be_removed_do_not_hold_up_the_others(
    all_of_them: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    oldest, waiting = tmp_path, [tmp_path]

    class Sticky(Filesystem):
        def remove(self, path: Path) -> None:
            if path == oldest or (all_of_them and path in waiting):
                raise OSError(errno.EPERM, os.strerror(errno.EPERM))
            super().remove(path)

    async def main() -> None:
        nonlocal oldest, waiting
        recovery = Recovery(tmp_path, limit_bytes=2**20, filesystem=Sticky())
        recovery.open()
        recovery.save([(window(n), wire.encode(window(n))) for n in range(5)])
        waiting = sorted(tmp_path.glob("*.window"))
        oldest = waiting[0]
        backend = FakeBackend()
        writer = Writer(
            backend,
            Metrics(recovery),
            longest_pause_seconds=1,
            clock=Clock(),
            random=lambda: 1.0,
        )
        repost = Repost(writer, recovery, interval_seconds=1, sleep=asyncio.sleep)
        with pytest.raises(Retryable, match=f"{oldest.name}: Operation not permitted"):
            await repost.once()
        if all_of_them:  # it is the disk: not everything is posted again and again
            assert sorted(tmp_path.glob("*.window")) == waiting and backend.size == 200
        else:
            assert list(tmp_path.glob("*.window")) == [oldest] and backend.size == 500
        recovery.close()

    monkeypatch.setattr(repost_module, "GROUP_POINTS", 2)  # a window is two
    monkeypatch.setattr(repost_module, "MAX_FAULTS", 2)
    asyncio.run(main())


def test_repost_leaves_the_event_loop_to_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever saves holds the directory while the disk works."""
    threads: set[threading.Thread] = set()
    real = Recovery.waiting

    def waiting(self: Recovery) -> list[Entry]:
        threads.add(threading.current_thread())
        return real(self)

    async def main() -> None:
        async with opened(FakeBackend(), tmp_path):
            await until(lambda: bool(threads))

    monkeypatch.setattr(Recovery, "waiting", waiting)
    asyncio.run(main())
    assert threading.main_thread() not in threads


def test_repost_isolates_too(tmp_path: Path) -> None:
    async def main() -> None:
        backend = FakeBackend()
        backend.script = down
        async with opened(backend, tmp_path) as (store, _):
            await submit(store, window(0), bad_window(1))
        second = FakeBackend()
        second.script = refuse("10.0.0.13")
        async with opened(second, tmp_path):
            await until(lambda: files(tmp_path) == 0)
        assert files(tmp_path / "bad") == 1
        assert second.size == 190

    asyncio.run(main())


def test_center_dies_between_write_and_ack(tmp_path: Path) -> None:
    async def main() -> None:
        backend = FakeBackend()

        def die() -> None:
            raise Retryable("connection lost after the write")

        backend.after = die
        async with opened(backend, None) as (store, _):
            (first,) = await submit(store, bad_window(0))
            assert first.status is Status.RETRY
        backend.after = lambda: None
        async with opened(backend, None) as (store, _):
            assert [o.status for o in await submit(store, bad_window(0), bad_window(0))] == [
                Status.STORED
            ] * 2
        assert backend.size == 100

    asyncio.run(main())


def test_no_ack_before_the_write_is_done() -> None:
    async def main() -> None:
        backend, release = FakeBackend(), threading.Event()

        def hold() -> None:
            release.wait(10)

        backend.after = hold
        async with opened(backend, None) as (store, _):
            first = asyncio.create_task(submit(store, window(0)))
            await until(lambda: bool(backend.groups))
            more = asyncio.create_task(submit(store, window(1), window(2)))
            await asyncio.sleep(0.05)
            assert not first.done() and not more.done() and backend.groups == [1]
            release.set()
            await asyncio.gather(first, more)
            assert backend.groups == [1, 2]  # what came meanwhile went together

    asyncio.run(main())


def test_a_full_group_does_not_wait_for_more() -> None:
    async def main() -> None:
        flows = tuple(
            Flow(0, Direction.OUT, ip(n % 250, n // 250), ip(1), 7, 1) for n in range(9_999)
        )
        async with opened(FakeBackend(), None, group_seconds=3600) as (store, _):
            (outcome,) = await submit(store, window(0, flows))
            assert outcome.status is Status.STORED
            later = asyncio.create_task(submit(store, window(1)))
            for _ in range(20):
                await asyncio.sleep(0)
            assert not later.done() and not store._full.is_set()  # the next one is not full
            assert [item.window.flows for item in store._items] == [()]  # they take much memory
        assert (await later)[0].status is Status.STORED

    asyncio.run(main())


def test_what_is_not_durable_at_the_deadline_is_to_come_again() -> None:
    async def main() -> None:
        backend, release = FakeBackend(), threading.Event()

        def hold() -> None:
            release.wait(10)

        backend.after = hold
        async with opened(backend, None) as (store, metrics):
            in_flight = asyncio.create_task(submit(store, window(0)))
            await until(lambda: bool(backend.groups))
            collected = asyncio.create_task(submit(store, window(1)))
            await asyncio.sleep(0)
            await store.close(0.01)
            for outcomes in (await in_flight, await collected):
                assert [o.status for o in outcomes] == [Status.RETRY]
                assert outcomes[0].retry_delay_ms >= 1_000
            assert value(metrics, "windows_total", status="retry") == 2
            release.set()

    asyncio.run(main())


@pytest.mark.parametrize("rounds", range(12))
def test_every_window_has_its_word_whenever_the_center_stops(rounds: int) -> None:
    async def main() -> None:
        flows = tuple(
            Flow(0, Direction.OUT, ip(1), ip(n % 250, n // 250), 7, 1) for n in range(9_999)
        )
        async with opened(FakeBackend(), None, group_seconds=3600) as (store, _):
            waiting = asyncio.create_task(submit(store, window(0, flows)))
            for _ in range(rounds):
                await asyncio.sleep(0)
            await store.close(0)
            async with asyncio.timeout(5):
                (outcome,) = await waiting
            assert outcome.status in (Status.STORED, Status.RETRY)

    asyncio.run(main())


def test_close_flushes_and_then_refuses() -> None:
    async def main() -> None:
        backend = FakeBackend()
        async with opened(backend, None, group_seconds=3600) as (store, _):
            task = asyncio.ensure_future(store.submit(window(0), wire.encode(window(0))))
            await asyncio.sleep(0)  # the task runs up to its first pause
            await store.close(5)
            assert (await task).status is Status.STORED
            assert [o.status for o in await submit(store, window(1))] == [Status.RETRY]

    asyncio.run(main())


def test_the_next_write_is_built_while_one_is_in_flight() -> None:
    async def main() -> None:
        built: list[int] = []
        in_flight: list[int] = []
        gate = threading.Event()

        class Gated(FakeBackend):
            def prepare(self, windows: Sequence[StoredWindow]) -> Callable[[], None]:
                built.append(windows[0].start_ms)
                return super().prepare(windows)

        def script(windows: Sequence[StoredWindow]) -> None:
            in_flight.append(windows[0].start_ms)
            assert gate.wait(10)

        backend = Gated()
        backend.script = script
        starts = [window(n).start_ms for n in range(4)]
        async with opened(backend, None) as (store, _):
            waiting = []
            for number in range(4):
                waiting.append(asyncio.create_task(submit(store, window(number))))
                await until(lambda number=number: len(built) == min(number + 1, 2))  # type: ignore[misc]
            await until(lambda: bool(in_flight))
            assert (built, in_flight) == (starts[:2], starts[:1])
            gate.set()
            outcomes = [outcome for each in waiting for outcome in await each]
            assert {outcome.status for outcome in outcomes} == {Status.STORED}
            assert in_flight[:2] == starts[:2]
            assert sum(backend.groups) == 4

    asyncio.run(main())


def test_a_group_that_is_worth_a_write_does_not_wait_for_more() -> None:
    async def main() -> None:
        async def never(_: float) -> None:
            await asyncio.Event().wait()

        backend = FakeBackend()
        store = Store(backend, None, Metrics(), interval_seconds=30, sleep=never)
        store.start()

        def part(number: int, records: int) -> Window:
            flows = (
                Flow(0, Direction.OUT, ip(1), ip(n % 250, n // 250), 9, 1) for n in range(records)
            )
            return window(number, tuple(flows))

        small = asyncio.create_task(submit(store, part(0, READY_POINTS - 2)))  # and a ledger
        for _ in range(20):
            await asyncio.sleep(0)
        assert not small.done() and not backend.groups
        await submit(store, window(1))
        assert (await small)[0].status is Status.STORED
        assert backend.groups == [2]
        await store.close(5)

    asyncio.run(main())
