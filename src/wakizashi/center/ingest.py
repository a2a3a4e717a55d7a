"""The gRPC side of the center: chunks in, acks out.

Chunks are taken as bytes, validated here, and kept as they came for the
recovery directory. Memory is bounded by the deliveries in progress: one window
being put together and ``UNACKED`` submitted ones in each call.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import grpc

from wakizashi import wire
from wakizashi.center.metrics import Metrics
from wakizashi.center.store import Outcome, Status
from wakizashi.model import Window
from wakizashi.v1 import traffic_pb2 as pb

_log = logging.getLogger(__name__)

UNACKED = 32
MAX_MESSAGE_BYTES = wire.MAX_CHUNK_BYTES
STOPPING_RETRY_MS = 500

SERVICE = pb.DESCRIPTOR.services_by_name["TrafficCenter"]
_STATUS = {
    Status.STORED: pb.WINDOW_STATUS_STORED,
    Status.RETRY: pb.WINDOW_STATUS_RETRY,
    Status.REJECTED: pb.WINDOW_STATUS_REJECTED,
}

Submit = Callable[[Window, list[bytes]], Awaitable[Outcome]]


class Ingest:
    """The ``Transmit`` method."""

    def __init__(self, submit: Submit, metrics: Metrics) -> None:
        self._submit, self._metrics = submit, metrics
        self._stopping = asyncio.Event()

    def handler(self) -> grpc.GenericRpcHandler:
        """For ``server.add_generic_rpc_handlers``."""
        method: Any = grpc.stream_stream_rpc_method_handler(
            self._transmit,
            request_deserializer=None,
            response_serializer=pb.WindowAck.SerializeToString,
        )
        name = SERVICE.methods_by_name["Transmit"].name
        return grpc.method_handlers_generic_handler(SERVICE.full_name, {name: method})

    def stop(self) -> None:
        """Finish what was submitted, refuse the rest with ``RETRY``, end the calls."""
        self._stopping.set()

    async def _transmit(self, _: Any, context: Any) -> None:
        call = _Call(self._submit, self._metrics, context)
        stopping = asyncio.ensure_future(self._stopping.wait())
        try:
            while True:
                reading = asyncio.ensure_future(context.read())
                await asyncio.wait(
                    {reading, stopping}, return_when=asyncio.FIRST_COMPLETED
                )
                if not reading.done():
                    reading.cancel()
                    break
                data = reading.result()
                if data is grpc.aio.EOF:
                    break
                fault = await call.take(data, refuse=self._stopping.is_set())
                if fault:
                    await call.finish()
                    await context.abort(grpc.StatusCode.INVALID_ARGUMENT, fault)
            await call.finish()
        finally:
            stopping.cancel()
            call.cancel()


class _Call:
    """One call's windows: the one under way, and those whose ack is due."""

    def __init__(self, submit: Submit, metrics: Metrics, context: Any) -> None:
        self._submit, self._metrics, self._context = submit, metrics, context
        self._assembly = wire.Assembly()
        self._refused: tuple[str, int] | None = None
        self._due: set[asyncio.Task[None]] = set()
        self._writing = asyncio.Lock()

    async def take(self, data: bytes, *, refuse: bool) -> str | None:
        """Take a chunk; why the call has to end, if it has to."""
        try:
            window = self._assembly.add(data)
        except wire.InvalidWindow as error:
            name = self._assembly.name
            if name is None:
                return str(error)
            if name != self._refused:  # its further chunks are refused by the same word
                self._refused = name
                _log.warning("refused window %d of %s: %s", name[1], name[0], error)
                await self._ack(*name, Outcome(Status.REJECTED, str(error)))
            return None
        if window is None:
            return None
        chunks = self._assembly.raw
        if refuse:
            outcome = Outcome(Status.RETRY, "the center is stopping", STOPPING_RETRY_MS)
            await self._ack(window.probe, window.start_ms, outcome)
            return None
        while len(self._due) >= UNACKED:
            await asyncio.wait(self._due, return_when=asyncio.FIRST_COMPLETED)
        task = asyncio.create_task(self._store(window, chunks))
        self._due.add(task)
        task.add_done_callback(self._due.discard)
        return None

    async def _store(self, window: Window, chunks: list[bytes]) -> None:
        outcome = await self._submit(window, chunks)
        await self._ack(window.probe, window.start_ms, outcome)

    async def _ack(self, probe: str, start_ms: int, outcome: Outcome) -> None:
        self._metrics.windows.labels(outcome.status.value).inc()
        ack = pb.WindowAck(
            probe=probe,
            start_unix_ms=start_ms,
            status=_STATUS[outcome.status],
            reason=outcome.reason,
            retry_delay_ms=outcome.retry_delay_ms,
        )
        async with self._writing:
            try:
                await self._context.write(ack)
            except (grpc.RpcError, asyncio.InvalidStateError, grpc.aio.UsageError):
                _log.debug(
                    "the caller is gone; it will deliver window %d again", start_ms
                )

    async def finish(self) -> None:
        """Until every ack is out."""
        while self._due:
            await asyncio.wait(self._due)

    def cancel(self) -> None:
        """The call is over: nobody waits for these acks."""
        for task in self._due:
            task.cancel()
