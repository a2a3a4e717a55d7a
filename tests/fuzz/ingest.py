"""Any deliveries to a center: calls side by side, what they send broken, in disorder, cut off.

Runs the real handler, admission, assembly and store on a backend that remembers. Held:

- a call ends by itself, by ``INVALID_ARGUMENT`` with a reason, or cancelled by its client;
- an ack names a window that the call sent, and all but ``STORED`` say why;
- what is stored is exactly a window that came whole, and ``STORED`` is said of no other;
- a call that sent whole windows first has a word on each of them;
- at most so much is held as ``limits.bytesInFlight`` permits, windows alone excepted;
- afterwards nothing is in progress: no room taken, no call, no task.
"""

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any

import grpc

from tests.fuzz.choices import Choices
from tests.fuzz.windows import (
    Point,
    Sums,
    broken,
    make_chunks,
    make_window,
    name_of,
    points_due,
    points_of,
    whole,
)
from tests.unit.test_ingest import handler
from tests.unit.test_store import FakeBackend
from wakizashi import wire
from wakizashi.center.admission import Admission
from wakizashi.center.config import Limits
from wakizashi.center.ingest import Ingest
from wakizashi.center.metrics import Metrics
from wakizashi.center.store import Store
from wakizashi.errors import Permanent, Retryable
from wakizashi.model import StoredWindow
from wakizashi.v1 import traffic_pb2 as pb

END, BROKEN = b"end", b"broken"
"""Instead of a message: the client has said all, or the connection breaks. Neither is a chunk."""

_LIMITS = (
    Limits(),
    Limits(bytesInFlight=20_000),
    Limits(windowsPerProbe=1),
    Limits(calls=1),
    Limits(recordsPerWindow=2),
)


class Backend(FakeBackend):
    """Remembers what it was given; fails as ``script`` says."""

    def __init__(self) -> None:
        super().__init__()
        self.windows: list[set[Point]] = []
        """What each write had of each window; one that holds a bad point is written in parts."""

    def write(self, windows: Sequence[StoredWindow]) -> None:
        super().write(windows)
        self.windows += [points_of(window) for window in windows]


class Aborted(Exception):
    """What ``abort`` of a real context raises."""


class Call:
    """A call in progress, as its handler sees it."""

    def __init__(self, messages: Sequence[bytes], gone_after: int | None, center: "Center") -> None:
        self.messages = messages
        self.gone_after = gone_after
        self.acks: list[pb.WindowAck] = []
        self.aborted: tuple[grpc.StatusCode, str] | None = None
        self._left = list(reversed(messages))
        self._center = center
        self.broken = False

    async def read(self) -> Any:
        await asyncio.sleep(0)
        self._center.check_room()
        message = self._left.pop() if self._left else END
        if message == BROKEN:
            self.broken = True
            raise grpc.aio.UsageError("broken")
        return grpc.aio.EOF if message == END else message

    async def write(self, data: bytes) -> None:
        await asyncio.sleep(0)
        if self.gone_after is not None and len(self.acks) >= self.gone_after:
            self.broken = True
            raise asyncio.InvalidStateError("gone")
        self.acks.append(pb.WindowAck.FromString(data))

    async def abort(self, code: grpc.StatusCode, details: str) -> None:
        self.aborted = code, details
        raise Aborted

    def peer(self) -> str:
        return "a client"

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        return ()

    def set_trailing_metadata(self, metadata: object) -> None:
        """What a client is told beside the acks."""


class Center:
    """Everything from the handler to the backend; memory is looked at with every read."""

    def __init__(self, limits: Limits, fault: int) -> None:
        self.limits = limits
        self.backend = Backend()
        self.metrics = Metrics()
        self.admission = Admission(limits, self.metrics, wait_seconds=0.0)
        self.store = Store(self.backend, None, self.metrics, interval_seconds=1, group_seconds=0.0)
        self.ingest = Ingest(self.store.submit, self.admission, self.metrics)
        self.backend.script = lambda windows: self._fail(fault, windows)

    def _fail(self, fault: int, windows: Sequence[StoredWindow]) -> None:
        if fault == 1:
            raise Retryable("down")
        if fault == 2 and any(r.size == 1_500 for window in windows for r in window.records):
            raise Permanent("1,500 bytes are too many")
        if fault == 3 and self.backend.calls == 1:
            raise Retryable("down at first")

    def check_room(self) -> None:
        """Accounted for is at most what was estimated, times what a later chunk may be longer."""
        held = [own for _, own in self.admission._held.values()]
        assert sum(held) == self.admission._used
        most = wire.MAX_GROWTH * self.limits.bytesInFlight + max(held, default=0)
        assert self.admission._used <= most, f"{self.admission._used} bytes, {most} at most"


def program(choices: Choices) -> Iterator[list[bytes]]:
    """What each of the calls sends."""
    for _ in range(1 + choices.number(3)):
        messages: list[bytes] = []
        for _ in range(1 + choices.number(4)):
            chunks = make_chunks(choices, make_window(choices))
            kind = choices.number(8)
            at = choices.number(len(chunks))
            if kind == 1:
                chunks[at] = broken(choices, chunks[at])
            elif kind == 2:
                del chunks[at]
            elif kind == 3:
                chunks.insert(at, choices.pick(messages or chunks))
            elif kind == 4:
                chunks[at:] = reversed(chunks[at:])
            elif kind == 5:
                chunks.insert(at, choices.pick((END, BROKEN)))
            elif kind == 6:  # all of them, as a client that means ill would
                chunks = [broken(choices, chunk) for chunk in chunks]
            messages += chunks
        yield messages


def fuzz(data: bytes) -> None:
    choices = Choices(data)
    limits, fault = choices.pick(_LIMITS), choices.number(4)
    leaves, stops = choices.number(60) if choices.chance(4) else None, choices.chance(8)
    asyncio.run(_run(Center(limits, fault), choices, leaves, stops))


async def _run(center: Center, choices: Choices, leaves: int | None, stops: bool) -> None:
    calls = [
        Call(messages, choices.number(3) if choices.chance(8) else None, center)
        for messages in program(choices)
    ]
    center.store.start()
    handle = handler(center)  # type: ignore[arg-type]  # of a Desk it needs the ingest alone
    tasks = [asyncio.create_task(handle(None, call)) for call in calls]
    if leaves is not None:
        for _ in range(leaves):
            await asyncio.sleep(0)
        tasks[0].cancel()
        calls[0].broken = True
    if stops:
        center.ingest.stop()
    async with asyncio.timeout(20):
        ends = await asyncio.gather(*tasks, return_exceptions=True)
        await center.store.close(10)
        while len(asyncio.all_tasks()) > 1:
            await asyncio.sleep(0)
    for call, end in zip(calls, ends, strict=True):
        _check_end(call, end)
        _check_acks(call, center, certain=leaves is None and not stops)
    sent = [found for call in calls for found in _whole_windows(call.messages)]
    for stored in center.backend.windows:
        assert any(stored <= points_due(*found) for found in sent), (
            f"stored, but never sent: {stored}"
        )
    admission = center.admission
    assert (admission._used, admission._calls, admission._held) == (0, 0, {})
    assert not admission._queue and not center.ingest._stops


def _check_end(call: Call, end: object) -> None:
    if isinstance(end, Aborted):
        assert call.aborted is not None
        code, reason = call.aborted
        assert code is grpc.StatusCode.INVALID_ARGUMENT and reason
    elif isinstance(end, asyncio.CancelledError):
        assert call.broken
    elif isinstance(end, BaseException):
        raise end
    else:
        assert end is None


def _check_acks(call: Call, center: Center, certain: bool) -> None:
    sent = {name_of(message) for message in call.messages}
    windows = list(_whole_windows(call.messages))
    for ack in call.acks:
        name = ack.probe, ack.start_unix_ms
        assert name in sent, f"an ack of {name}, which was not sent"
        assert ack.status != pb.WINDOW_STATUS_UNSPECIFIED
        if ack.status != pb.WINDOW_STATUS_STORED:
            assert ack.reason, "no reason"
            assert ack.retry_delay_ms > 0 or ack.status == pb.WINDOW_STATUS_REJECTED
            continue
        stored = set[Point]().union(*center.backend.windows)
        mine = [points_due(*w) for w in windows if (w[0].probe, w[0].start_unix_ms) == name]
        assert any(points <= stored for points in mine), f"{name} is STORED and is not stored"
    if certain and not call.broken and call.aborted is None:
        for name, number in _due(call.messages).items():
            words = sum((ack.probe, ack.start_unix_ms) == name for ack in call.acks)
            assert words >= number, f"{name}: {words} acks, {number} due"


def _whole_windows(messages: Sequence[bytes]) -> Iterator[tuple[pb.WindowChunk, Sums]]:
    """Of all the runs of messages those that are whole windows."""
    for start in range(len(messages)):
        for end in range(start + 1, min(start + 4, len(messages)) + 1):
            if (found := whole(messages[start:end])) is not None:
                yield found


def _due(messages: Sequence[bytes]) -> dict[tuple[str, int], int]:
    """How many acks the windows must have that came whole before anything else did."""
    due: dict[tuple[str, int], int] = {}
    at = 0
    while at < len(messages):
        for end in range(at + 1, min(at + 4, len(messages)) + 1):
            found = whole(messages[at:end])
            if found is not None:
                name = found[0].probe, found[0].start_unix_ms
                due[name] = due.get(name, 0) + 1
                at = end
                break
        else:
            break
    return due


def seeds() -> Iterator[bytes]:
    """One of each kind of call."""
    yield b""
    for fault in range(4):
        yield bytes([0, fault, 0, 0, 2, 3, 1, 2, 3])
    for limits in range(len(_LIMITS)):
        for kind in range(8):
            yield bytes([limits, 0, 0, 0, 2, 3]) + bytes([1, 1, 0, 3, 1, kind, 2] * 40)
            yield bytes([limits, kind % 4, 3, kind, 7]) + bytes(
                (kind * 37 + n * 101 + n * n) % 256 for n in range(300)
            )
