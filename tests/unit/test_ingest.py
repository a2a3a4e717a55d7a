"""The Transmit handler on a real server, before a store that a test scripts."""

import asyncio
import gc
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest

from tests.center_windows import ip, window
from wakizashi import wire
from wakizashi.center import ingest
from wakizashi.center.admission import Admission
from wakizashi.center.config import Limits
from wakizashi.center.identity import Caller, Identity
from wakizashi.center.ingest import Ingest
from wakizashi.center.metrics import Metrics
from wakizashi.center.store import Outcome, Status
from wakizashi.model import Direction, Flow, Window
from wakizashi.v1 import traffic_pb2 as pb


class Desk:
    """A store that stores when ``gate`` is open, and a center before it."""

    def __init__(self, **limits: int) -> None:
        self.gate = asyncio.Event()
        self.gate.set()
        self.gates: dict[int, asyncio.Event] = {}
        """Of single windows, by number."""
        self.waiting = 0
        self.most = 0
        self.submitted: list[tuple[str, int]] = []
        self.metrics = Metrics()
        self.ingest = Ingest(
            self.submit, Admission(Limits(**limits), self.metrics, wait_seconds=0.05), self.metrics
        )
        self.channel: grpc.aio.Channel | None = None

    async def submit(self, window: Window, chunks: Sequence[bytes]) -> Outcome:
        assert wire.decode(chunks) == window
        self.submitted.append((window.probe, window.start_ms))
        self.waiting += 1
        self.most = max(self.most, self.waiting)
        await self.gates.get(window.number, self.gate).wait()
        self.waiting -= 1
        return Outcome(Status.STORED)

    def call(self) -> Any:
        assert self.channel is not None
        method: Any = self.channel.stream_stream("/wakizashi.v1.TrafficCenter/Transmit")
        return method(timeout=20)

    async def deliver(self, *windows: Window) -> list[pb.WindowAck]:
        return await acks_of(await sent(self.call(), *windows, end=True))

    def value(self, name: str, **labels: str) -> float:
        found = self.metrics.registry.get_sample_value(f"wakizashi_center_{name}", labels)
        assert found is not None
        return found

    async def until_waiting(self, number: int) -> None:
        async with asyncio.timeout(10):
            while self.waiting < number:
                await asyncio.sleep(0.005)


@asynccontextmanager
async def opened(**limits: int) -> AsyncIterator[Desk]:
    desk = Desk(**limits)
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((desk.ingest.handler(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as desk.channel:
            yield desk
    finally:
        desk.gate.set()
        await server.stop(None)
    assert desk.value("in_flight_bytes") == 0
    assert desk.value("calls") == 0


async def sent(call: Any, *windows: Window, end: bool = False) -> Any:
    for each in windows:
        for chunk in wire.encode(each):
            await call.write(chunk)
    if end:
        await call.done_writing()
    return call


async def acks_of(call: Any) -> list[pb.WindowAck]:
    acks = []
    while (data := await call.read()) is not grpc.aio.EOF:
        acks.append(pb.WindowAck.FromString(data))
    assert await call.code() is grpc.StatusCode.OK
    return acks


def statuses(acks: Sequence[pb.WindowAck]) -> dict[int, str]:
    assert len({ack.start_unix_ms for ack in acks}) == len(acks)  # one ack a window
    return {
        ack.start_unix_ms: pb.WindowStatus.Name(ack.status).removeprefix("WINDOW_STATUS_")
        for ack in acks
    }


def large(number: int, records: int = 11_000, probe: str = "vm-1") -> Window:
    """Three chunks of about 20 bytes a record."""
    flows = tuple(
        Flow(0, Direction.OUT, ip(1), ip(n % 250, n // 250), 9, 1) for n in range(records)
    )
    return window(number, flows, probe=probe)


async def test_windows_that_come_while_stopping_are_to_be_delivered_again() -> None:
    async with opened() as desk:
        call = desk.call()
        acks = []
        for start in (1_000, 2_000):
            await sent(call, Window("p", start, start + 500, 1, (), (), ()))
            acks.append(pb.WindowAck.FromString(await call.read()))
            desk.ingest.stop()
        await call.done_writing()
        assert await acks_of(call) == []
        assert desk.submitted == [("p", 1_000)]
        assert statuses(acks) == {1_000: "STORED", 2_000: "RETRY"}
        assert acks[1].retry_delay_ms > 0
        later = await desk.deliver(window(1))
        assert list(statuses(later).values()) == ["RETRY"]


async def test_calls_that_are_held_open_end_when_the_center_stops(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ingest, "STOP_SECONDS", 0.1)
    async with opened() as desk:
        held = await sent(desk.call(), window(0))
        assert await held.read()
        desk.gate.clear()
        await sent(held, window(1))
        await desk.until_waiting(1)
        desk.ingest.stop()
        begun_later = await sent(desk.call(), window(2))
        assert "STORED" not in statuses(await acks_of(begun_later)).values()
        desk.gate.set()
        assert statuses(await acks_of(held)) == {window(1).start_ms: "STORED"}
        assert not desk.ingest._stops


async def test_a_call_is_read_no_further_than_its_windows_have_room() -> None:
    async with opened(windowsPerProbe=3) as desk:
        desk.gate.clear()
        delivery = asyncio.create_task(desk.deliver(*(window(n) for n in range(20))))
        await desk.until_waiting(3)
        desk.gate.set()
        assert set(statuses(await delivery).values()) == {"STORED"}
        assert len(desk.submitted) == 20 and desk.most <= 3


async def test_a_call_waits_until_enough_of_its_windows_are_stored() -> None:
    async with opened(bytesInFlight=100_000) as desk:
        desk.gates = {0: asyncio.Event(), 1: asyncio.Event()}
        call = await sent(desk.call(), window(0), large(1, 1_500), large(2, 3_000), end=True)
        await desk.until_waiting(2)
        desk.gates[0].set()  # makes too little room for the third
        first = pb.WindowAck.FromString(await call.read())
        for _ in range(50):
            await asyncio.sleep(0)
        desk.gates[1].set()
        acks = statuses([first, *await acks_of(call)])
        assert list(acks.values()) == ["STORED"] * 3


async def test_more_calls_of_one_probe_get_no_more_room() -> None:
    async with opened(windowsPerProbe=2) as desk:
        desk.gate.clear()
        first = asyncio.create_task(desk.deliver(window(0), window(1)))
        await desk.until_waiting(2)
        (ack,) = await desk.deliver(window(2))
        assert ack.status == pb.WINDOW_STATUS_RETRY and ack.retry_delay_ms >= 2_000
        assert ack.reason.startswith("limits.windowsPerProbe: 2 windows of vm-1")
        other = asyncio.create_task(desk.deliver(window(2, probe="vm-2")))
        await desk.until_waiting(3)
        desk.gate.set()
        assert set(statuses([*await first, *await other]).values()) == {"STORED"}
        assert desk.value("windows_total", status="retry") == 1


async def test_a_window_of_many_chunks_that_finds_no_room_has_one_ack() -> None:
    async with opened(bytesInFlight=100_000) as desk:
        desk.gate.clear()
        first = asyncio.create_task(desk.deliver(large(0, 4_000)))
        await desk.until_waiting(1)
        call = await sent(desk.call(), large(1, probe="vm-2"), window(2, probe="vm-2"), end=True)
        refused = pb.WindowAck.FromString(await call.read())
        assert "limits.bytesInFlight" in refused.reason
        desk.gate.set()
        assert statuses([refused, *await acks_of(call)]) == {
            large(1).start_ms: "RETRY",
            window(2).start_ms: "STORED",
        }
        assert set(statuses(await first).values()) == {"STORED"}
        assert set(statuses(await desk.deliver(large(1, probe="vm-2"))).values()) == {"STORED"}


async def test_chunks_that_are_larger_than_the_first_count_as_they_came() -> None:
    async with opened() as desk:
        desk.gate.clear()
        flows = [Flow(0, Direction.OUT, ip(1), ip(2), 9, 1)] * 5_000
        flows += [Flow(0, Direction.OUT, bytes(16), bytes(16), 9, 1)] * 5_000
        mixed = window(0, tuple(flows))
        delivery = asyncio.create_task(desk.deliver(mixed))
        await desk.until_waiting(1)
        assert desk.value("in_flight_bytes") == sum(map(len, wire.encode(mixed)))
        desk.gate.set()
        assert set(statuses(await delivery).values()) == {"STORED"}


async def test_a_window_with_too_many_records_is_kept_by_its_probe() -> None:
    async with opened(recordsPerWindow=10_000) as desk:
        acks = await desk.deliver(window(0), large(1), large(2, 10_000), large(3, 10_001))
        assert [statuses(acks)[window(n).start_ms] for n in range(4)] == [
            "STORED",
            "RETRY",
            "STORED",
            "RETRY",
        ]
        reason = next(ack.reason for ack in acks if ack.start_unix_ms == window(1).start_ms)
        assert reason.startswith("limits.recordsPerWindow: a window has 1")


async def test_a_window_that_comes_again_in_the_same_call_has_a_word_of_its_own() -> None:
    bad = pb.WindowChunk.FromString(wire.encode(window(1))[0])
    bad.records[0].packets = 0
    async with opened(recordsPerWindow=10_000) as desk:
        call = await sent(desk.call(), large(1))
        await call.write(bad.SerializeToString())
        await call.done_writing()
        assert [ack.status for ack in await acks_of(call)] == [
            pb.WINDOW_STATUS_RETRY,
            pb.WINDOW_STATUS_REJECTED,
        ]


async def test_the_word_on_what_comes_while_stopping_is_sent_before_the_call_ends() -> None:
    desk = Desk()
    desk.ingest.stop()
    context = Context(wire.encode(window(0)))
    await handler(desk)(None, context)
    assert [pb.WindowAck.FromString(ack).status for ack in context.acks] == [pb.WINDOW_STATUS_RETRY]


async def test_calls_beyond_the_limit_are_answered_window_by_window() -> None:
    async with opened(calls=1) as desk:
        call = await sent(desk.call(), window(0))
        assert await call.read()
        acks = await desk.deliver(window(1), large(2), window(3))
        assert list(statuses(acks).values()) == ["RETRY"] * 3
        assert "limits.calls" in acks[0].reason and acks[0].retry_delay_ms >= 2_000
        await call.done_writing()
        assert await acks_of(call) == []
        assert list(statuses(await desk.deliver(window(1))).values()) == ["STORED"]


async def test_a_call_that_breaks_off_gives_its_room_back() -> None:
    async with opened(bytesInFlight=300_000) as desk:
        for number in range(10):
            call = desk.call()
            await call.write(wire.encode(large(number))[0])  # of three
            call.cancel()
        bad = pb.WindowChunk.FromString(wire.encode(large(1))[1])
        bad.records[3].packets = 0
        call = desk.call()
        await call.write(wire.encode(large(1))[0])
        await call.write(bad.SerializeToString())
        await call.write(wire.encode(large(1))[2])  # has its word already
        await sent(call, window(2), end=True)
        assert list(statuses(await acks_of(call)).values()) == ["REJECTED", "STORED"]
        assert list(statuses(await desk.deliver(large(2))).values()) == ["STORED"]


async def test_a_greedy_probe_does_not_starve_the_others() -> None:
    async with opened(bytesInFlight=400_000) as desk:
        desk.gate.clear()
        greedy = asyncio.create_task(desk.deliver(*(large(n, 4_000) for n in range(30))))
        await desk.until_waiting(2)
        modest = [
            asyncio.create_task(desk.deliver(window(0, probe=f"vm-{n}"))) for n in range(2, 30)
        ]
        await desk.until_waiting(30)  # all of them are in, while the greedy one waits
        assert sum(probe == "vm-1" for probe, _ in desk.submitted) < 30
        desk.gate.set()
        for each in modest:
            assert list(statuses(await each).values()) == ["STORED"]
        assert set(statuses(await greedy).values()) == {"STORED"}


class Context:
    """A call of a client that sends ``chunks``."""

    def __init__(self, chunks: Sequence[bytes]) -> None:
        self.acks: list[bytes] = []
        self.left = [grpc.aio.EOF, *reversed(chunks)]

    async def read(self) -> Any:
        await asyncio.sleep(0)
        return self.left.pop()

    async def write(self, ack: bytes) -> None:
        for _ in range(5):
            await asyncio.sleep(0)
        self.acks.append(ack)

    def peer(self) -> str:
        return "a test"

    def invocation_metadata(self) -> None:
        return None

    def set_trailing_metadata(self, metadata: Any) -> None:
        self.metadata = metadata


def handler(desk: Desk) -> Any:
    method: Any = desk.ingest.handler().service(
        type("Details", (), {"method": "/wakizashi.v1.TrafficCenter/Transmit"})()
    )
    return method.stream_stream


@pytest.mark.parametrize("rounds", range(1, 13))
async def test_a_client_that_goes_away_at_any_moment_leaves_nothing(rounds: int) -> None:
    """What was submitted goes on; what was not gives its room back."""
    desk = Desk()
    desk.gate.clear()
    context = Context([chunk for n in range(2) for chunk in wire.encode(large(n, 5_001))])
    call = asyncio.create_task(handler(desk)(None, context))
    for _ in range(rounds):
        await asyncio.sleep(0)
    call.cancel()
    await asyncio.wait((call,))
    left = len(context.left)
    desk.gate.set()
    for _ in range(20):
        await asyncio.sleep(0)
    assert len(context.left) == left and not context.acks  # nobody is there any more
    gc.collect()  # a coroutine that nobody waits for would tell
    assert desk.value("in_flight_bytes") == 0 == desk.waiting
    assert desk.value("calls") == 0
    assert not desk.ingest.turn.locked()


async def test_busy_calls_leave_the_event_loop_to_those_that_begin() -> None:
    """The server accepts one call a round of the loop, so no round may take long."""
    chunks = [chunk for n in range(10) for chunk in wire.encode(window(n))]

    desk = Desk()
    calls = [asyncio.create_task(handler(desk)(None, Context(chunks))) for _ in range(20)]
    rounds: list[int] = []
    while not all(call.done() for call in calls):
        before = len(desk.submitted)
        await asyncio.sleep(0)
        rounds.append(len(desk.submitted) - before)
    assert sum(rounds) == len(desk.submitted) == 200
    assert max(rounds) == 1


async def test_admission_learns_how_long_windows_take(monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened() as desk:
        seen: list[float] = []
        monkeypatch.setattr(desk.ingest.admission, "acked", seen.append)
        await desk.deliver(window(0), window(1))
        assert len(seen) == 2 and all(0 < seconds < 20 for seconds in seen)


async def test_a_small_first_chunk_does_not_open_the_door_to_large_ones() -> None:
    """210 chunks of 4 MiB would be 880 MB, of which the first told 20 kB."""
    first = pb.WindowChunk.FromString(wire.encode(window(0))[0])
    first.chunk_count = 210
    second = pb.WindowChunk(
        probe=first.probe,
        start_unix_ms=first.start_unix_ms,
        end_unix_ms=first.end_unix_ms,
        number=first.number,
        chunk_index=1,
        chunk_count=210,
    ).SerializeToString()
    async with opened() as desk:
        call = desk.call()
        await call.write(first.SerializeToString())
        await call.write(second + b"\xfa\x07\x80\x80\x40" + bytes(2**20))
        ack = pb.WindowAck.FromString(await call.read())
        assert ack.status == pb.WINDOW_STATUS_REJECTED and "of the first chunk" in ack.reason
        assert desk.value("in_flight_bytes") == 0
        call.cancel()


# -- a call without a window -------------------------------------------------------------------


class OnlyNames(Identity, Caller):
    """Permits names that begin with ``vm-``."""

    async def caller(self, context: Any) -> Caller:
        return self

    async def fault(self, probe: str) -> str | None:
        return None if probe.startswith("vm-") else f"not {probe!r}; mend name"


async def test_a_call_without_a_window_stores_nothing_and_tells_the_time() -> None:
    async with opened() as desk:
        before = time.time_ns() // 1_000_000
        call = desk.call()
        await call.done_writing()
        assert await acks_of(call) == []
        metadata = dict(await call.trailing_metadata())
        after = time.time_ns() // 1_000_000
        assert before <= int(metadata[wire.TIME_METADATA]) <= after
        assert desk.submitted == []


async def test_a_call_that_names_a_probe_is_refused_before_anything_is_sent() -> None:
    async with opened() as desk:
        desk.ingest._identity = OnlyNames()
        for name, code in (
            ("vm-ü", grpc.StatusCode.OK),
            ("db-ü", grpc.StatusCode.PERMISSION_DENIED),
        ):
            assert desk.channel is not None
            method: Any = desk.channel.stream_stream("/wakizashi.v1.TrafficCenter/Transmit")
            call = method(timeout=20, metadata=((wire.PROBE_METADATA, name.encode()),))
            await call.done_writing()
            assert await call.code() is code
        assert await call.details() == "not 'db-ü'; mend name"


async def test_calls_with_windows_tell_the_time_as_well() -> None:
    async with opened() as desk:
        call = await sent(desk.call(), window(1), end=True)
        assert len(await acks_of(call)) == 1
        assert int(dict(await call.trailing_metadata())[wire.TIME_METADATA]) > 0
