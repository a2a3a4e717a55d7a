"""Room for windows: bounded, shared fairly, and given back."""

import asyncio
import random

import pytest

from wakizashi.center.admission import Admission
from wakizashi.center.config import Limits
from wakizashi.center.metrics import Metrics


def admission(
    *, size: int = 1_000, wait: float = 30.0, metrics: Metrics | None = None, **limits: int
) -> Admission:
    return Admission(
        Limits(bytesInFlight=size, **limits),
        metrics or Metrics(),
        wait_seconds=wait,
        clock=lambda: 1_000.0,
    )


async def turn() -> None:
    """Let every task that can go on do so."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_what_fits_comes_in_and_what_does_not_waits_for_room() -> None:
    room = admission()
    assert await room.enter("a", 600) is None
    later = asyncio.create_task(room.enter("b", 600))
    await turn()
    assert not later.done()
    room.leave("a", 600)
    assert await later is None
    assert not room.has_room("c", 600)
    room.leave("b", 600)
    assert room.has_room("c", 600)


async def test_a_window_larger_than_the_limit_comes_in_alone() -> None:
    room = admission()
    assert await room.enter("a", 5_000) is None
    assert not room.has_room("b", 1)
    room.leave("a", 5_000)
    assert await room.enter("b", 1) is None
    large = asyncio.create_task(room.enter("a", 5_000))
    await turn()
    assert not large.done()
    room.leave("b", 1)
    assert await large is None


async def test_who_waits_longest_is_next_whatever_the_size() -> None:
    room = admission()
    assert await room.enter("a", 1_000) is None
    large = asyncio.create_task(room.enter("large", 900))
    await turn()
    small = asyncio.create_task(room.enter("small", 200))
    await turn()
    room.leave("a", 1_000)
    assert await large is None
    await turn()
    assert not small.done()  # it would have fitted before the large one
    room.leave("large", 900)
    assert await small is None


async def test_nobody_overtakes_those_who_wait() -> None:
    room = admission()
    assert await room.enter("a", 500) is None
    large = asyncio.create_task(room.enter("large", 800))
    await turn()
    assert not room.has_room("small", 100)
    room.leave("a", 500)
    assert await large is None
    assert room.has_room("small", 100)


async def test_what_left_counts_no_longer_for_its_probe() -> None:
    room = admission()
    assert [await room.enter("a", 300) for _ in range(2)] == [None, None]
    room.leave("a", 300)
    assert room.has_room("a", 400)  # 300 are held, 700 are free
    assert not room.has_room("a", 401)
    room.grow("a", 100)
    assert room.has_room("a", 200) and not room.has_room("a", 201)
    assert room.has_room("b", 600) and not room.has_room("b", 601)
    room.leave("a", 400)
    assert room.has_room("a", 1_000)


async def test_who_goes_away_does_not_hold_up_those_behind() -> None:
    room = admission()
    assert await room.enter("a", 500) is None
    large = asyncio.create_task(room.enter("large", 800))
    await turn()
    small = asyncio.create_task(room.enter("small", 300))
    await turn()
    large.cancel()
    await turn()
    assert small.done() and await small is None


async def test_who_does_not_get_room_in_time_is_to_come_again() -> None:
    metrics = Metrics()
    room = admission(wait=0.01, metrics=metrics)
    assert await room.enter("a", 1_000) is None
    reason = await room.enter("b", 10)
    assert reason == (
        "limits.bytesInFlight: windows of 1000 bytes are in progress, with room for 1000 now; "
        "it is 1000"
    )
    met = metrics.registry.get_sample_value(
        "wakizashi_center_limits_met_total", {"limit": "bytesInFlight"}
    )
    assert met == 1
    room.leave("a", 1_000)
    assert await room.enter("b", 10) is None


async def test_who_gives_up_does_not_hold_up_those_behind() -> None:
    room = admission(wait=0.01)
    assert await room.enter("a", 500) is None
    large = asyncio.create_task(room.enter("large", 800))
    await turn()
    small = asyncio.create_task(room.enter("small", 300))
    assert await large is not None
    assert await small is None


@pytest.mark.parametrize("granted", [False, True])
async def test_a_client_that_goes_away_while_it_waits_leaves_nothing(granted: bool) -> None:
    room = admission()
    assert await room.enter("a", 1_000) is None
    waiting = asyncio.create_task(room.enter("b", 1_000))
    await turn()
    if granted:
        room.leave("a", 1_000)  # its turn comes in the same moment
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    if not granted:
        room.leave("a", 1_000)
    assert await room.enter("c", 1_000) is None


async def test_a_greedy_probe_gets_half_and_leaves_room_for_others() -> None:
    room = admission(size=10_000, windowsPerProbe=1_000)
    taken = 0
    while await room.enter("greedy", 100) is None:
        taken += 100
    assert taken == 5_000
    others = 0
    while await room.enter(f"modest-{others}", 100) is None:
        others += 1
        if others == 40:
            break
    assert others == 40


async def test_windows_of_one_probe_are_counted_over_all_its_calls() -> None:
    room = admission(windowsPerProbe=2)
    assert [await room.enter("a", 10) for _ in range(2)] == [None, None]
    reason = await room.enter("a", 10)
    assert reason == "limits.windowsPerProbe: 2 windows of a are in progress; it is 2"
    assert await room.enter("b", 10) is None
    room.leave("a", 10)
    assert await room.enter("a", 10) is None


def test_calls_are_counted_in_and_out() -> None:
    room = admission(calls=2)
    assert [room.begin_call() for _ in range(2)] == [None, None]
    assert room.begin_call() == "limits.calls: 2 calls are in progress; it is 2"
    room.end_call()
    room.end_call()
    assert room.begin_call() is None


def test_records() -> None:
    room = admission(recordsPerWindow=10)
    assert room.check_records(10) is None
    reason = room.check_records(11)
    assert reason == "limits.recordsPerWindow: a window has 11 records or more; it is 10"


@pytest.mark.parametrize("seed", range(5))
async def test_room_is_never_exceeded_nor_lost(seed: int) -> None:
    """A crowd of clients, some of which go away; at the end all room is there again."""
    draw = random.Random(seed)
    metrics = Metrics()
    room = admission(size=1_000, wait=0.005, metrics=metrics)
    held = 0

    async def client(number: int) -> None:
        nonlocal held
        probe, size = f"p{number % 7}", draw.randrange(1, 700)
        if await room.enter(probe, size) is None:
            held += size
            assert held <= 1_000
            try:
                for _ in range(draw.randrange(5)):
                    await asyncio.sleep(0)
            finally:
                held -= size
                room.leave(probe, size)

    tasks = [asyncio.create_task(client(number)) for number in range(300)]
    await turn()
    for task in draw.sample(tasks, 60):
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    failed = [t.exception() for t in tasks if not t.cancelled() and t.exception()]
    assert not failed
    assert metrics.registry.get_sample_value("wakizashi_center_in_flight_bytes") == 0
    assert room.has_room("anyone", 1_000)
    assert not room._held  # nor are the names of all probes that ever came


def test_those_that_are_to_come_again_come_one_after_another() -> None:
    now = 1_000.0
    room = Admission(Limits(), Metrics(), clock=lambda: now)
    delays = [room.retry_delay_ms() for _ in range(1_000)]
    assert delays[:3] == [2_000, 2_005, 2_010]
    assert delays[-1] == 2_000 + 999 * 5  # 200 a second
    now += 4.0
    assert room.retry_delay_ms() == 3_000
    now += 60.0
    assert room.retry_delay_ms() == 2_000


async def test_a_slow_database_gets_no_more_than_it_works_off_in_time() -> None:
    room = admission(size=8 * 2**20)
    for number in range(6):
        assert await room.enter(f"p{number}", 2**20) is None
    room.acked(10.0)  # 6 MiB in 10 s: 3 MiB in 5 s
    for number in range(4):
        room.leave(f"p{number}", 2**20)
    assert room.has_room("q", 2**20) and not room.has_room("q", 2**20 + 1)
    room.acked(1_000.0)  # never less than a database needs to be busy
    room.leave("p4", 2**20)
    room.leave("p5", 2**20)
    assert await room.enter("p", 1) is None
    assert room.has_room("q", 2**20 - 1) and not room.has_room("q", 2**20)
    assert await room.enter("q", 2**20 - 1) is None
    room.acked(0.1)  # it is quick again: 50 MiB in 5 s, but no more than the limit
    assert room.has_room("r", 7 * 2**20) and not room.has_room("r", 7 * 2**20 + 1)
