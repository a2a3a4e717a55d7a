"""One write at a time, the pauses after a failure, and when reposts are made."""

import asyncio
import math
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.center_windows import ip, window
from tests.unit.test_store import Clock, FakeBackend, bad_window, down, refuse, until, value
from wakizashi import wire
from wakizashi.center.aggregate import aggregate
from wakizashi.center.metrics import Metrics
from wakizashi.center.recovery import Recovery
from wakizashi.center.repost import Repost
from wakizashi.center.writer import Writer
from wakizashi.errors import Retryable
from wakizashi.model import Direction, Flow, StoredWindow
from wakizashi.window_file import Entry


def writer(
    backend: FakeBackend, clock: Clock, *, random: float = 1.0, metrics: Metrics | None = None
) -> Writer:
    return Writer(
        backend,
        metrics or Metrics(),
        longest_pause_seconds=30,
        clock=clock,
        random=lambda: random,
    )


@pytest.mark.parametrize("random", [0.0, 1.0])
async def test_pauses_grow_to_the_longest_with_jitter_and_end_with_a_success(random: float) -> None:
    backend = FakeBackend()
    made = writer(backend, Clock(), random=random)
    backend.script = down
    pauses = []
    for _ in range(7):
        with pytest.raises(Retryable):
            await made.write([aggregate(window(0))])
        pauses.append(made.pause_seconds)
    part = 0.5 + random / 2
    assert pauses == [part * pause for pause in (1, 2, 4, 8, 16, 30, 30)]
    assert not made.back.is_set()
    backend.script = lambda windows: None
    await made.write([aggregate(window(0))])
    assert made.pause_seconds == 0 and made.back.is_set()


@pytest.mark.parametrize(("asked", "pause"), [(0, 1), (20, 21), (86_400, 301)])
async def test_a_backend_that_asks_for_a_pause_has_it_up_to_five_minutes(
    asked: float, pause: float
) -> None:
    backend = FakeBackend()
    made = writer(backend, Clock())

    def script(windows: Sequence[StoredWindow]) -> None:
        raise Retryable("busy", delay_seconds=asked)

    backend.script = script
    with pytest.raises(Retryable):
        await made.write([aggregate(window(0))])
    assert made.pause_seconds == pause


async def test_metrics_tell_whether_the_last_write_failed_and_when_one_was_taken() -> None:
    backend, metrics = FakeBackend(), Metrics()
    made = writer(backend, Clock(), metrics=metrics)
    assert value(metrics, "backend_failing") == 0
    assert math.isnan(value(metrics, "backend_last_write_timestamp_seconds"))
    backend.script = down
    with pytest.raises(Retryable):
        await made.write([aggregate(window(0))])
    assert value(metrics, "backend_failing") == 1
    assert math.isnan(value(metrics, "backend_last_write_timestamp_seconds"))
    backend.script = lambda windows: None
    begun = time.time()
    await made.write([aggregate(window(0))])
    assert value(metrics, "backend_failing") == 0
    assert value(metrics, "backend_last_write_timestamp_seconds") >= begun


async def test_bad_points_in_several_parts_are_all_told() -> None:
    backend, metrics = FakeBackend(), Metrics()
    backend.script = refuse("10.0.0.13")
    made = writer(backend, Clock(), metrics=metrics)
    many = tuple(Flow(0, Direction.OUT, ip(n % 250, n // 250), ip(1), 7, 1) for n in range(10_000))
    isolated = await made.write(
        [aggregate(w) for w in (bad_window(1), window(2, many), bad_window(3))]
    )
    assert set(isolated) == {("vm-1", bad_window(n).start_ms) for n in (1, 3)}
    assert value(metrics, "points_quarantined_total") == 2


async def test_new_windows_and_reposts_are_one_write_at_a_time() -> None:
    backend, both = FakeBackend(), threading.Barrier(2)

    def meet() -> None:
        both.wait(0.2)  # breaks, for nobody else is in

    backend.after = meet
    made = writer(backend, Clock())
    results = await asyncio.gather(
        *(made.write([aggregate(window(n))]) for n in range(2)), return_exceptions=True
    )
    assert [type(result) for result in results] == [threading.BrokenBarrierError] * 2


async def test_a_repost_waits_for_the_end_of_a_pause_and_comes_once_when_the_backend_is_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = 0
    real = Recovery.waiting

    def waiting(self: Recovery) -> list[Entry]:
        nonlocal looks
        looks += 1
        return real(self)

    async def rounds() -> None:
        for _ in range(30):
            await asyncio.to_thread(lambda: None)

    monkeypatch.setattr(Recovery, "waiting", waiting)
    recovery = Recovery(tmp_path, limit_bytes=2**20)
    recovery.open()
    recovery.save([(window(0), wire.encode(window(0)))])
    backend, clock = FakeBackend(), Clock()
    made = writer(backend, clock)
    backend.script = down
    with pytest.raises(Retryable):
        await made.write([aggregate(window(9))])
    repost = Repost(made, recovery, interval_seconds=3600, sleep=asyncio.sleep)
    loop = asyncio.create_task(repost.loop())
    await rounds()
    assert looks == 0 and backend.calls == 1
    clock.now += 10
    backend.script = lambda windows: None
    await made.write([aggregate(window(9))])
    await until(lambda: not list(tmp_path.glob("*.window")))
    await rounds()
    assert looks == 1 and not made.back.is_set()
    loop.cancel()
    recovery.close()
