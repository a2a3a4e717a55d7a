"""The Transmit handler on a real server: what comes while the center stops."""

from typing import Any

import grpc

from wakizashi import wire
from wakizashi.center.admission import Admission
from wakizashi.center.config import Limits
from wakizashi.center.ingest import Ingest
from wakizashi.center.metrics import Metrics
from wakizashi.center.store import Outcome, Status
from wakizashi.model import Window
from wakizashi.v1 import traffic_pb2 as pb


async def test_windows_that_come_while_stopping_are_to_be_delivered_again() -> None:
    submitted: list[int] = []

    async def submit(window: Window, _: list[bytes]) -> Outcome:
        submitted.append(window.start_ms)
        return Outcome(Status.STORED)

    metrics = Metrics()
    ingest = Ingest(submit, Admission(Limits(), metrics), metrics)
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((ingest.handler(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            method: Any = channel.stream_stream("/wakizashi.v1.TrafficCenter/Transmit")
            call = method(timeout=20)
            acks = []
            for start in (1_000, 2_000):
                for chunk in wire.encode(Window("p", start, start + 500, 1, (), (), ())):
                    await call.write(chunk)
                acks.append(pb.WindowAck.FromString(await call.read()))
                ingest.stop()
            await call.done_writing()
            assert await call.read() is grpc.aio.EOF
            assert await call.code() is grpc.StatusCode.OK
    finally:
        await server.stop(None)
    assert submitted == [1_000]
    assert [(ack.start_unix_ms, ack.status) for ack in acks] == [
        (1_000, pb.WINDOW_STATUS_STORED),
        (2_000, pb.WINDOW_STATUS_RETRY),
    ]
    assert acks[1].retry_delay_ms > 0
