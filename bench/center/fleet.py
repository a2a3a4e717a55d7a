"""Simulated probes, one process of them: ``python -m bench.center.fleet``.

Reads an :class:`Order` as a line of JSON from standard input, connects all its
probes, says ``ready``, waits for a line, lets them deliver, and prints a
:class:`Report` as a line of JSON.

In what matters they are real probes (``wakizashi/probe/transmit.py``): each has
a connection of its own and keeps it, one ``Transmit`` call is one delivery, a
window waits until it is acknowledged, failures are tried again up to five times
after a pause with jitter on a new connection, and ``RETRY`` ends the attempts
until the time that the center asks for. What differs: one event loop for all instead of a thread
each, and requests are bytes that were serialized beforehand.
"""

import asyncio
import gc
import json
import random
import resource
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import grpc

from bench.center.windows import Windows
from wakizashi.probe.channel import CHANNEL_OPTIONS
from wakizashi.probe.courier import BACKOFF_SECONDS
from wakizashi.probe.transmit import (
    CALL_SECONDS,
    METHOD,
    SLOWEST_BYTES_PER_SECOND,
)
from wakizashi.v1 import traffic_pb2 as pb

UPLOAD_RETRY = 5
CHANNEL_LIFETIME_SECONDS = 300.0
CONNECTING = 64
"""Connections that are being made at once."""
MAX_FAILURES = 100
"""Deliveries of a probe without an interval that may fail."""
EXTRA_TURNS = 4
"""How many intervals longer a paced probe that still has windows goes on."""


@dataclass(frozen=True, slots=True)
class Order:
    """What one process is to do."""

    port: int
    first_probe: int
    probes: int
    records: int
    first_start_ms: int
    windows: int
    """For each probe."""
    windows_a_call: int = 1
    in_flight: int = 1
    """Windows of a call that are sent and not acknowledged."""
    delivering: int = 10_000
    """Probes that deliver at once where there is no interval."""
    interval_seconds: float = 0.0
    """0: as fast as acks permit. Else a window comes in every interval."""
    spread_seconds: float = 0.0
    """Within an interval a probe delivers at a moment of its own up to here."""
    ramp_seconds: float = 0.0
    """Time over which the connections are made."""


@dataclass(slots=True)
class Report:
    """What came of it. Times are of the monotonic clock, which all processes share."""

    started: float = 0.0
    ended: float = 0.0
    cpu_seconds: float = 0.0
    closed: int = 0
    stored: int = 0
    wire_bytes: int = 0
    retries: int = 0
    failures: int = 0
    codes: dict[str, int] = field(default_factory=dict)
    """Failures by gRPC's code."""
    lost: int = 0
    rejected: str = ""
    ack_seconds: list[float] = field(default_factory=list)
    connections: list[float] = field(default_factory=list)
    """When a connection was asked for, the first of each probe left out."""
    acked: list[list[float]] = field(default_factory=list)
    """For each paced probe, when it had acks."""


class Probe:
    """One simulated probe."""

    def __init__(self, order: Order, windows: Windows, number: int, report: Report) -> None:
        self._order, self._windows, self._number = order, windows, number
        self._report = report
        self._not_before = 0.0
        self._channel: Any = None
        self._channel_until = 0.0
        self.pending: list[int] = []
        self.acked: list[float] = []

    async def connect(self) -> None:
        """Make the first connection."""
        await self._open().channel_ready()

    def _open(self) -> Any:
        self._channel = grpc.aio.insecure_channel(
            f"ipv4:127.0.0.1:{self._order.port}", options=CHANNEL_OPTIONS
        )
        self._call = self._channel.stream_stream(METHOD)
        lifetime = CHANNEL_LIFETIME_SECONDS * random.uniform(0.8, 1.0)
        self._channel_until = time.monotonic() + lifetime
        return self._channel

    async def _ready(self) -> None:
        """A channel to call on: the one there is, or a new one."""
        if self._channel is not None and time.monotonic() >= self._channel_until:
            await self.close()
        if self._channel is None:
            self._open()
        if self._channel.get_state() is not grpc.ChannelConnectivity.READY:
            self._report.connections.append(time.monotonic())

    async def close(self) -> None:
        """Let go of the connection."""
        if self._channel is not None:
            channel, self._channel = self._channel, None
            await channel.close()

    async def deliver(self) -> str:
        """One call with what waits: empty if all of it is stored, else ``failed`` or ``later``."""
        order = self._order
        names = {self._windows.start_ms(n): n for n in self.pending[: order.windows_a_call]}
        chunks = [self._windows.chunk(self._number, n) for n in names.values()]
        await self._ready()
        size = sum(map(len, chunks))
        call = self._call(timeout=CALL_SECONDS + size / SLOWEST_BYTES_PER_SECOND)
        free = asyncio.Semaphore(order.in_flight)
        sent: dict[int, float] = {}
        writing = asyncio.ensure_future(self._write(call, list(names), chunks, free, sent))
        later = False
        try:
            while (data := await call.read()) is not grpc.aio.EOF:
                now = time.monotonic()
                free.release()
                ack = pb.WindowAck.FromString(data)
                if ack.status == pb.WINDOW_STATUS_STORED:
                    self._stored(names.pop(ack.start_unix_ms), now, now - sent[ack.start_unix_ms])
                elif ack.status == pb.WINDOW_STATUS_REJECTED:
                    self._report.rejected = ack.reason
                    self.pending.remove(names.pop(ack.start_unix_ms))
                    self._report.lost += 1
                else:
                    self._report.retries += 1
                    delay = ack.retry_delay_ms / 1000 * random.uniform(1.0, 1.5)
                    self._not_before = max(self._not_before, now + delay)
                    later = True
        except grpc.RpcError:  # its code tells
            pass
        finally:
            if (
                names
            ):  # else it only has to say that nothing follows; cancelled, the call would be too
                writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)
        code = await call.code()
        if code is not grpc.StatusCode.OK or (names and not later):
            self._report.failures += 1
            text = f"{code.name}: {' '.join(str(await call.details()).split())[:120]}"
            self._report.codes[text] = self._report.codes.get(text, 0) + 1
            await self.close()
            return "failed"
        return "later" if later else ""

    async def _write(
        self,
        call: Any,
        names: Sequence[int],
        chunks: Sequence[bytes],
        free: asyncio.Semaphore,
        sent: dict[int, float],
    ) -> None:
        for name, chunk in zip(names, chunks, strict=True):
            await free.acquire()
            sent[name] = time.monotonic()
            await call.write(chunk)
            self._report.wire_bytes += len(chunk)
        await call.done_writing()

    def _stored(self, number: int, now: float, seconds: float) -> None:
        self.pending.remove(number)
        self._report.stored += 1
        self._report.ack_seconds.append(seconds)
        self.acked.append(now)

    async def deliver_with_retries(self) -> None:
        """As the real one: up to five more attempts, but none after ``RETRY``."""
        for attempt in range(1 + UPLOAD_RETRY):
            while not (trouble := await self.deliver()) and self.pending:
                pass
            if trouble != "failed":
                return
            low, high = BACKOFF_SECONDS
            await asyncio.sleep(min(high, low * 2**attempt) * random.uniform(0.5, 1.5))

    async def press(self, turns: asyncio.Semaphore) -> None:
        """Deliver all windows as fast as acks permit; ``RETRY`` is obeyed to the millisecond."""
        self.pending = list(range(self._order.windows))
        self._report.closed += len(self.pending)
        for _ in range(self._order.windows + MAX_FAILURES):
            if not self.pending:
                break
            async with turns:
                trouble = await self.deliver()
            if trouble:
                await asyncio.sleep(max(0.05, self._not_before - time.monotonic()))
        self._report.lost += len(self.pending)

    async def live(self, start: float) -> None:
        """A window closes every interval; deliver what waits at a moment of one's own."""
        order, closed, turn = self._order, 0, 0
        phase = random.uniform(0.0, order.spread_seconds)
        end = start + (order.windows + EXTRA_TURNS) * order.interval_seconds
        while (self.pending or closed < order.windows) and time.monotonic() < end:
            asked = self._not_before - time.monotonic()
            if asked > 0:
                await asyncio.sleep(asked)
            else:
                due = start + turn * order.interval_seconds + phase
                await asyncio.sleep(due - time.monotonic())
                turn += 1
            past = int((time.monotonic() - start) / order.interval_seconds) + 1
            new = range(closed, min(order.windows, past))
            closed += len(new)
            self.pending += new
            self._report.closed += len(new)
            if self.pending:
                await self.deliver_with_retries()
        self._report.lost += len(self.pending)


async def work(order: Order) -> None:
    """Connect, wait for the word, deliver, report."""
    report = Report()
    windows = Windows(order.records, order.first_start_ms)
    numbers = range(order.first_probe, order.first_probe + order.probes)
    windows.prepare(numbers)
    probes = [Probe(order, windows, number, report) for number in numbers]
    await _connect(probes, order.ramp_seconds)
    loop = asyncio.get_running_loop()
    _say("ready")
    await loop.run_in_executor(None, sys.stdin.readline)
    before, report.started = _cpu_seconds(), time.monotonic()
    start, turns = report.started, asyncio.Semaphore(order.delivering)
    await asyncio.gather(
        *(probe.live(start) if order.interval_seconds else probe.press(turns) for probe in probes)
    )
    report.ended, report.cpu_seconds = time.monotonic(), _cpu_seconds() - before
    if order.interval_seconds:
        report.acked = [probe.acked for probe in probes]
    _say(json.dumps(asdict(report)))
    for probe in probes:
        await probe.close()


async def _connect(probes: Sequence[Probe], ramp_seconds: float) -> None:
    slots = asyncio.Semaphore(CONNECTING)

    async def one(number: int, probe: Probe) -> None:
        await asyncio.sleep(ramp_seconds * number / len(probes))
        async with slots:
            await asyncio.wait_for(probe.connect(), 60)

    await asyncio.gather(*(one(number, probe) for number, probe in enumerate(probes)))


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main() -> None:
    """Do what standard input says."""
    gc.disable()  # thousands of tasks are much to walk through, and nothing here is a cycle for long
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    asyncio.run(work(Order(**json.loads(sys.stdin.readline()))))


if __name__ == "__main__":
    main()
