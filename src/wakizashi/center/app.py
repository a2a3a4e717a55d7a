"""The center at work: an event loop that takes windows and stores them.

Start is from the sink back (backend, store, ingest), stop from the source on.
"""

import asyncio
import logging
import signal
import time
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1._async import HealthServicer

from wakizashi.center.backend import Backend, open_backend
from wakizashi.center.config import CenterConfig
from wakizashi.center.ingest import MAX_MESSAGE_BYTES, SERVICE, Ingest
from wakizashi.center.metrics import Metrics
from wakizashi.center.recovery import Recovery
from wakizashi.center.store import Store
from wakizashi.errors import Retryable, WakizashiError
from wakizashi.lifecycle import STOP_SIGNALS, leave_at_once
from wakizashi.telemetry import HealthServer

_log = logging.getLogger(__name__)

STOP_SECONDS = 8.0
STUCK_SECONDS = 10.0

_OPTIONS = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    # Connections end now and then, so that a balancer that knows only TCP spreads them anew.
    ("grpc.max_connection_age_ms", 600_000),
    ("grpc.max_connection_age_grace_ms", 60_000),
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
)


class _State:
    """What the health port tells."""

    def __init__(self) -> None:
        self.ready = False
        self.heartbeat = time.monotonic()

    def live(self) -> str | None:
        """Whether the event loop turns."""
        silent = time.monotonic() - self.heartbeat
        return (
            f"the event loop stands still for {silent:.0f} s"
            if silent > STUCK_SECONDS
            else None
        )

    def is_ready(self) -> str | None:
        """Whether windows are taken."""
        return None if self.ready else "starting or stopping"

    async def beat(self) -> None:
        """Show that the event loop turns."""
        while True:
            self.heartbeat = time.monotonic()
            await asyncio.sleep(1.0)


async def run(config: CenterConfig) -> None:
    """Run until SIGTERM or SIGINT.

    Raises:
        WakizashiError: it can't start: a port or a directory in use.
    """
    stop = asyncio.Event()
    _on_signals(stop)
    metrics, state = Metrics(), _State()
    backend = open_backend(config.backendConfig)
    recovery = None
    if config.recoverDir:
        recovery = Recovery(Path(config.recoverDir), config.recoverLimit)
        recovery.open()
    store = Store(
        backend, recovery, metrics, recover_interval_seconds=config.recoverInterval
    )
    ingest = Ingest(store.submit, metrics)
    health = HealthServer(
        config.host,
        config.healthPort,
        key="healthPort",
        live=state.live,
        ready=state.is_ready,
        metrics=metrics.render,
    )
    server = grpc.aio.server(options=_OPTIONS)
    server.add_generic_rpc_handlers((ingest.handler(),))
    grpc_health = HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(grpc_health, server)
    _listen(server, config)
    health.start()
    beat = asyncio.create_task(state.beat(), name="beat")
    store.start()
    await server.start()
    await _say(grpc_health, health_pb2.HealthCheckResponse.SERVING)
    state.ready = True
    _log.info(
        "listening on %s:%d (health %d), storing to %s, recovery %s",
        config.host,
        config.port,
        config.healthPort,
        backend.description,
        config.recoverDir or "off",
    )
    check = asyncio.create_task(_check(backend), name="check")
    await stop.wait()

    state.ready = False
    await _say(grpc_health, health_pb2.HealthCheckResponse.NOT_SERVING)
    ingest.stop()
    await server.stop(STOP_SECONDS)
    await store.close()
    await asyncio.wait({check})
    await asyncio.to_thread(backend.close)
    if recovery is not None:
        recovery.close()
    beat.cancel()
    health.close()
    _log.info("stopped")


def _on_signals(stop: asyncio.Event) -> None:
    def handle() -> None:
        if stop.is_set():
            leave_at_once()
        stop.set()

    for number in STOP_SIGNALS:
        asyncio.get_running_loop().add_signal_handler(signal.Signals(number), handle)


def _listen(server: grpc.aio.Server, config: CenterConfig) -> None:
    host = f"[{config.host}]" if ":" in config.host else config.host
    try:
        bound = server.add_insecure_port(f"{host}:{config.port}")
    except RuntimeError:
        bound = 0
    if not bound:
        raise WakizashiError(
            f"port: can't listen on {host}:{config.port}: the port is in use, or {config.host} is "
            "no address of this host; choose another port or host, or stop what uses it"
        )


async def _check(backend: Backend) -> None:
    try:
        await asyncio.to_thread(backend.check)
    except Retryable as error:
        _log.warning("%s; the center goes on and tries again", error)


async def _say(
    servicer: HealthServicer,
    status: "health_pb2.HealthCheckResponse.ServingStatus.ValueType",
) -> None:
    for name in ("", SERVICE.full_name):
        await servicer.set(name, status)
