"""Takes deliveries: the ``Transmit`` calls of probes.

In: raw chunks on grpc.aio, checked by :class:`wakizashi.wire.Assembly`. Out:
complete windows to the store, and its word on each of them back as an ack, as
soon as it is there. Lost is nothing: a window without an ack stays with the
probe. Nothing that a client sends may raise out of here or leave a traceback.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import unquote

import grpc

from wakizashi import wire
from wakizashi.center.admission import Admission
from wakizashi.center.identity import Anyone, Caller, Identity, Unauthenticated
from wakizashi.center.metrics import Metrics
from wakizashi.center.store import Outcome, Status
from wakizashi.model import Window
from wakizashi.telemetry import Throttle
from wakizashi.v1 import traffic_pb2 as pb

STOP_SECONDS = 1.0
"""How long a call is still read, and refused, once its last submitted window has its ack."""

FORBIDDEN_RETRY_MS = 30_000
"""After which a window comes again whose name its probe may not use."""

_SERVICE = pb.DESCRIPTOR.services_by_name["TrafficCenter"]
SERVICE_NAME = _SERVICE.full_name

_STATUS = {
    Status.STORED: pb.WINDOW_STATUS_STORED,
    Status.RETRY: pb.WINDOW_STATUS_RETRY,
    Status.REJECTED: pb.WINDOW_STATUS_REJECTED,
}
_log = logging.getLogger(__name__)

Submit = Callable[[Window, list[bytes]], Awaitable[Outcome]]
Context = Any
"""``grpc.aio.ServicerContext`` of bytes, which the stubs do not let one name."""


class Ingest:
    """The handler of ``Transmit``; belongs to one event loop."""

    def __init__(
        self,
        submit: Submit,
        admission: Admission,
        metrics: Metrics,
        identity: Identity | None = None,
    ) -> None:
        self._submit = submit
        self._identity = identity or Anyone()
        self.admission = admission
        self._metrics = metrics
        self._stopping = False
        self.turn = asyncio.Lock()
        """One chunk a round of the event loop. The server accepts one call a round: with a long
        one, in which each call in progress has its chunk taken, those that begin would starve."""
        self._stops: set[asyncio.Future[None]] = set()
        self._throttle = Throttle(_log)

    def handler(self) -> grpc.GenericRpcHandler:
        """For ``server.add_generic_rpc_handlers``; requests stay the bytes they are."""
        method: grpc.RpcMethodHandler[bytes, bytes] = grpc.stream_stream_rpc_method_handler(
            self._transmit, request_deserializer=None, response_serializer=None
        )
        return grpc.method_handlers_generic_handler(SERVICE_NAME, {"Transmit": method})

    def stop(self) -> None:
        """Refuse new windows with ``RETRY``; calls end once their acks are in."""
        self._stopping = True
        for stop in self._stops:
            if not stop.done():
                stop.set_result(None)

    async def _transmit(self, _: object, context: Context) -> None:
        try:
            caller = await self._identity.caller(context)
        except Unauthenticated as error:
            self._metrics.refused.labels("token").inc()
            peer = unquote(context.peer())
            # By host: the port is another one each time.
            self._throttle.warning(f"token {peer.rpartition(':')[0]}", f"{peer}: refused: {error}")
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, str(error))
        for name in _names(context):  # asked before anything is sent
            if forbidden := await caller.fault(name):
                await context.abort(grpc.StatusCode.PERMISSION_DENIED, forbidden)
        call = _Call(self, context, caller, self.admission.begin_call())
        reader = asyncio.create_task(call.read_all())
        stop = asyncio.get_running_loop().create_future()
        self._stops.add(stop)
        if self._stopping:
            stop.set_result(None)
        try:
            await asyncio.wait((reader, stop), return_when=asyncio.FIRST_COMPLETED)
            await call.settled()
            if not reader.done():
                await asyncio.wait((reader,), timeout=STOP_SECONDS)
                await call.settled()
            fault = reader.result() if reader.done() and not reader.cancelled() else None
        except asyncio.CancelledError:  # the client went away; what was submitted goes on
            call.gone = True
            raise
        finally:
            self._stops.discard(stop)
            reader.cancel()
            self.admission.end_call()
        # Who calls without a window learns in one round trip how far the clocks are apart.
        context.set_trailing_metadata(((wire.TIME_METADATA, str(time.time_ns() // 1_000_000)),))
        if fault is not None:
            self._throttle.warning("garbage", f"{context.peer()}: refused a call: {fault}")
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, fault)

    def submit(self, window: Window, chunks: list[bytes]) -> Awaitable[Outcome]:
        """The store's word to come, or ``RETRY`` while stopping."""
        if self._stopping:
            return _known(Outcome(Status.RETRY, "the center is stopping", 1000))
        return self._submit(window, chunks)

    def postponed(self, name: tuple[str, int], reason: str) -> Outcome:
        """Count and log a window that meets a limit."""
        self._metrics.windows.labels("retry").inc()
        self._throttle.warning("limit", f"{reason}; {name[0]} is to deliver again")
        return Outcome(Status.RETRY, reason, self.admission.retry_delay_ms())

    def forbidden(self, peer: str, name: tuple[str, int], reason: str) -> Outcome:
        """Count and log a window that is not its caller's to write; an operator can mend that."""
        self._metrics.windows.labels("retry").inc()
        self._metrics.refused.labels("name").inc()
        self._throttle.warning(f"name {name[0]}", f"{unquote(peer)}: refused: {reason}")
        return Outcome(Status.RETRY, reason, FORBIDDEN_RETRY_MS)

    def refused(self, peer: str, name: tuple[str, int], reason: str) -> Outcome:
        """Count and log a window that breaks the contract."""
        self._metrics.windows.labels("rejected").inc()
        self._throttle.warning(f"rejected {name[0]}", f"{peer}: refused window {name}: {reason}")
        return Outcome(Status.REJECTED, reason)


def _names(context: Context) -> list[str]:
    """The probe whose windows a call says that it would bring; none where it does not say."""
    return [
        value.decode("utf-8", "replace")
        for key, value in context.invocation_metadata() or ()
        if key == wire.PROBE_METADATA
    ]


async def _known(outcome: Outcome) -> Outcome:
    return outcome


class _OverLimit(Exception):
    """A window met a limit; ``str()`` says which."""


class _Forbidden(Exception):
    """A window's probe name is not the caller's; ``str()`` says why."""


class _Call:
    """One ``Transmit`` call: reads windows, writes acks as they come.

    Args:
        caller: who makes it.
        closed: why none of its windows can be taken; None if they can.
    """

    def __init__(
        self, ingest: Ingest, context: Context, caller: Caller, closed: str | None
    ) -> None:
        self._ingest = ingest
        self._admission = ingest.admission
        self._context = context
        self._caller = caller
        self._closed = closed
        self._sending = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._room: tuple[str, int] | None = None
        self.gone = False

    async def read_all(self) -> str | None:
        """Read to the end; why the call is to be aborted, else None."""
        assembly = wire.Assembly()
        try:
            return await self._read_all(assembly)
        finally:
            self._give_back()

    async def _read_all(self, assembly: wire.Assembly) -> str | None:
        over: tuple[str, int] | None = None  # has its ack; what still comes of it is left alone
        while (data := await self._read()) is not None:
            try:
                name = assembly.read(data)
                if assembly.begins:
                    over = None
                    await self._check_name(name[0])
                    await self._enter(name[0], assembly.expected)
                self._grow(assembly.came)
                outcome = await self._take(assembly)
            except wire.InvalidWindow as error:
                self._give_back()
                if assembly.name is None:
                    return f"{error}; is this a probe of this release?"
                if assembly.name != over:
                    over = assembly.name
                    refused = self._ingest.refused(self._context.peer(), over, str(error))
                    await self._send(over, refused)
            except _OverLimit as limit:
                assembly.drop()
                self._give_back()
                over = name
                await self._send(name, self._ingest.postponed(name, str(limit)))
            except _Forbidden as fault:
                assembly.drop()
                over = name
                peer = self._context.peer()
                await self._send(name, self._ingest.forbidden(peer, name, str(fault)))
            else:
                if outcome is not None and self._room is not None:
                    task = asyncio.create_task(self._deliver(name, outcome, self._room))
                    self._tasks.add(task)
                    task.add_done_callback(self._tasks.discard)
                    self._room = None
        return None

    async def _read(self) -> bytes | None:
        """The next message; None at the end, or where the client broke off."""
        try:
            data: Any = await self._context.read()
        except (grpc.RpcError, asyncio.InvalidStateError, grpc.aio.BaseError):
            return None
        return None if data is grpc.aio.EOF else bytes(data)

    async def _check_name(self, probe: str) -> None:
        if fault := await self._caller.fault(probe):
            raise _Forbidden(fault)

    async def _enter(self, probe: str, size: int) -> None:
        """Take room; while windows of this call have some, it is not read further for lack of it."""
        if self._closed is not None:
            raise _OverLimit(self._closed)
        while self._tasks and not self._admission.has_room(probe, size):
            await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        limit = await self._admission.enter(probe, size)
        if limit is not None:
            raise _OverLimit(limit)
        self._room = (probe, size)

    async def _take(self, assembly: wire.Assembly) -> Awaitable[Outcome] | None:
        """The store's word to come on the window that is complete now, if one is.

        The window itself goes no further: its flows take much memory.
        """
        async with self._ingest.turn:
            await asyncio.sleep(0)  # here, not behind: from submit on nothing may be cut off
            window = assembly.take()
            records = len(window.flows) if window else assembly.records
            limit = self._admission.check_records(records)
            if limit is not None:
                raise _OverLimit(limit)
            return self._ingest.submit(window, assembly.raw) if window else None

    def _grow(self, came: int) -> None:
        """The room was a guess from the first chunk: later ones may hold longer addresses."""
        if self._room is not None and came > self._room[1]:
            probe, size = self._room
            self._admission.grow(probe, came - size)
            self._room = (probe, came)

    def _give_back(self) -> None:
        if self._room is not None:
            self._admission.leave(*self._room)
            self._room = None

    async def _deliver(
        self, name: tuple[str, int], outcome: Awaitable[Outcome], room: tuple[str, int]
    ) -> None:
        begun = time.monotonic()
        try:
            word = await outcome
            self._admission.acked(time.monotonic() - begun)
        finally:
            self._admission.leave(*room)
        await self._send(name, word)

    async def _send(self, name: tuple[str, int], outcome: Outcome) -> None:
        ack = pb.WindowAck(
            probe=name[0],
            start_unix_ms=name[1],
            status=_STATUS[outcome.status],
            reason=outcome.reason,
            retry_delay_ms=outcome.retry_delay_ms,
        )
        async with self._sending:
            if self.gone:
                return
            try:
                await self._context.write(ack.SerializeToString())
            except (grpc.RpcError, asyncio.InvalidStateError, grpc.aio.BaseError):
                self.gone = True  # it delivers again, which stores the same

    async def settled(self) -> None:
        """Wait until every submitted window has its ack."""
        while self._tasks:
            await asyncio.wait(set(self._tasks))
