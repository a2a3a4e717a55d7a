"""Starts a center from the sink back, and stops it from the source on."""

import asyncio
import contextlib
import logging
import resource
import time
from pathlib import Path

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from wakizashi import progress, wire
from wakizashi.center.admission import Admission
from wakizashi.center.backend import Backend, open_backend
from wakizashi.center.config import CenterConfig
from wakizashi.center.credentials import ServerCredentials
from wakizashi.center.handshakes import HandshakeLog
from wakizashi.center.heart import Heart
from wakizashi.center.identity import Anyone, ByCertificate, ByToken, Identity
from wakizashi.center.ingest import SERVICE_NAME, Ingest
from wakizashi.center.lag import watch_lag
from wakizashi.center.metrics import Metrics
from wakizashi.center.recovery import Recovery
from wakizashi.center.reload import apply
from wakizashi.center.series import SeriesWatch
from wakizashi.center.store import Store
from wakizashi.center.tokens import TokensFile
from wakizashi.center.writer import PATIENCE_SECONDS
from wakizashi.errors import WakizashiError
from wakizashi.garbage import collect_less
from wakizashi.lifecycle import StopSignal
from wakizashi.notify import Supervisor
from wakizashi.reload import Reload, Source
from wakizashi.telemetry import HealthServer

STOP_SECONDS = 10.0
"""For deliveries in progress to end, and again for the last write."""

_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.max_receive_message_length", wire.MAX_CHUNK_BYTES + 65_536),
    # Centers on one host may share the port. None does so unawares: each has a health port and a
    # recovery directory of its own, or it does not start.
    ("grpc.so_reuseport", 1),
    # Calls that come faster than they are accepted wait. By default the core cancels them beyond
    # 1,000, and the probe takes a new connection for each attempt: of 4,000 at once 2,301 failed.
    ("grpc.server.max_pending_requests", 65_536),
    ("grpc.server.max_pending_requests_hard_limit", 65_536),
    # Else the core would buffer megabytes of each call that is not read for lack of room: 750 MB
    # with 100 busy calls and a backend that hangs, 320 MB without.
    ("grpc.http2.bdp_probe", 0),
    # A finite age spreads probes over new replicas behind a balancer that knows only TCP.
    ("grpc.max_connection_age_ms", 600_000),
    ("grpc.max_connection_age_grace_ms", 30_000),
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
    ("grpc.http2.max_ping_strikes", 5),
)
_log = logging.getLogger(__name__)


async def run(
    config: CenterConfig, source: Source[CenterConfig], backend: Backend | None = None
) -> None:
    """Serve until SIGTERM or SIGINT; SIGHUP loads ``config`` again from its ``source``.

    With ``backend`` instead of the configured one.

    Raises:
        WakizashiError: it can't start: a port or the recovery directory is in use.
    """
    _make_room_for_connections()
    collect_less()
    with StopSignal() as signals, Supervisor() as supervisor:
        stop = _stop_event(signals)
        recovery = _open_recovery(config)
        try:
            backend = backend or open_backend(config.backendConfig)
            try:
                await _serve(config, source, supervisor, backend, recovery, stop)
            finally:
                backend.close()
        finally:
            if recovery is not None:
                recovery.close()


async def _serve(
    config: CenterConfig,
    source: Source[CenterConfig],
    supervisor: Supervisor,
    backend: Backend,
    recovery: Recovery | None,
    stop: asyncio.Event,
) -> None:
    metrics = Metrics(recovery)
    with HandshakeLog(metrics) if config.tls else contextlib.nullcontext():
        await _listen(config, source, supervisor, backend, recovery, metrics, stop)
    _log.info("stopped")


async def _listen(
    config: CenterConfig,
    source: Source[CenterConfig],
    supervisor: Supervisor,
    backend: Backend,
    recovery: Recovery | None,
    metrics: Metrics,
    stop: asyncio.Event,
) -> None:
    store = Store(
        backend,
        recovery,
        metrics,
        interval_seconds=config.recoverInterval,
        patience_seconds=max(PATIENCE_SECONDS, 10 * config.backendConfig.timeout),
    )
    admission = Admission(config.limits, metrics)
    ingest = Ingest(store.submit, admission, metrics, _identity(config))
    states = health.aio.HealthServicer()
    server = grpc.aio.server(options=_OPTIONS)
    server.add_generic_rpc_handlers((ingest.handler(),))
    health_pb2_grpc.add_HealthServicer_to_server(states, server)
    if config.reflection:
        _describe_services(server)

    def ready() -> str | None:
        return "the center is stopping" if stop.is_set() else heart.trouble() or store.trouble

    def status() -> str:
        waiting = f"; {recovery.used_bytes} bytes wait in {recovery.path}" if recovery else ""
        return f"storing in {backend.describe}{waiting}"

    heart = Heart(store, supervisor, status)
    reload = Reload(config, source, supervisor, lambda new: apply(new, store, admission, recovery))

    http = HealthServer(
        config.host,
        config.healthPort,
        key="healthPort",
        live=heart.trouble,
        ready=ready,
        metrics=metrics.render,
    )
    http.start()  # before the other port: that one may be shared, so this one tells who is too many
    try:
        _bind(server, config, metrics)
        checking = asyncio.create_task(_check(backend))
        watching = (
            asyncio.create_task(SeriesWatch(backend, metrics).loop()),
            asyncio.create_task(watch_lag(metrics.lag_seconds)),
        )
        store.start()
        beating = asyncio.create_task(heart.loop(), name="heart")
        await states.set(SERVICE_NAME, health_pb2.HealthCheckResponse.SERVING)
        await server.start()
        _log.info(
            "listening on %s, health on port %d, storing in %s, recoverDir %s",
            _address(config),
            http.port,
            backend.describe,
            f"{recovery.path} with {len(recovery.waiting())} windows" if recovery else "off",
        )
        supervisor.ready()
        asyncio.get_running_loop().add_reader(source.hangup, reload.answer)
        await stop.wait()
        source.hangup.ignore()
        asyncio.get_running_loop().remove_reader(source.hangup)
        supervisor.stopping()
        _log.info("stopping: finishing what was delivered")
        await states.enter_graceful_shutdown()
        ingest.stop()
        await _drain(server, store, admission)
        await checking
        for task in (*watching, beating):
            task.cancel()
    finally:
        await asyncio.to_thread(http.close)


async def _drain(server: grpc.aio.Server, store: Store, admission: Admission) -> None:
    """Wait for calls, then for windows, and tell who looks for which."""
    deadline = time.monotonic() + 2 * STOP_SECONDS

    def tell(_: float) -> progress.Step:
        seconds = deadline - time.monotonic()
        if store.waiting:
            return progress.stopping("window", store.waiting, seconds)
        return progress.stopping("call", admission.calls, seconds)

    with progress.shown(tell):
        await server.stop(STOP_SECONDS)
        deadline = time.monotonic() + STOP_SECONDS
        await store.close(STOP_SECONDS)


def _stop_event(signals: StopSignal) -> asyncio.Event:
    """Not by add_signal_handler: hundreds of SIGHUPs fill its pipe, and a SIGTERM finds no room."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()

    def request() -> None:
        loop.remove_reader(signals)
        stop.set()

    loop.add_reader(signals, request)
    return stop


def _make_room_for_connections() -> None:
    """A descriptor a probe: the soft limit, 1,024 as a rule, rises to the hard one."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _open_recovery(config: CenterConfig) -> Recovery | None:
    if not config.recoverDir:
        return None
    recovery = Recovery(Path(config.recoverDir), limit_bytes=config.recoverLimit)
    recovery.open()
    return recovery


def _identity(config: CenterConfig) -> Identity:
    if config.tokensFile is not None:
        return ByToken(TokensFile(config.tokensFile))
    if config.tls is not None and config.tls.clientCA is not None:
        return ByCertificate()
    return Anyone()


def _address(config: CenterConfig) -> str:
    host = f"[{config.host}]" if ":" in config.host else config.host
    return f"{host}:{config.port}"


def _bind(server: grpc.aio.Server, config: CenterConfig, metrics: Metrics) -> None:
    trouble = WakizashiError(
        f"port: can't listen on {_address(config)}; choose another port or host, "
        "or stop what uses it"
    )
    try:
        if config.tls is None:
            bound = server.add_insecure_port(_address(config))
        else:
            credentials = ServerCredentials(config.tls)
            metrics.certificate_end.set_function(lambda: credentials.end)
            bound = server.add_secure_port(_address(config), credentials.for_server())
    except RuntimeError as error:
        raise trouble from error
    if bound != config.port:
        raise trouble


def _describe_services(server: grpc.aio.Server) -> None:
    from grpc_reflection.v1alpha import reflection

    names = (SERVICE_NAME, health.SERVICE_NAME, reflection.SERVICE_NAME)
    reflection.enable_server_reflection(names, server)


async def _check(backend: Backend) -> None:
    """Tell early when the backend can't be used; a center starts without it."""
    with contextlib.suppress(asyncio.CancelledError):
        try:
            await asyncio.to_thread(backend.check)
        except WakizashiError as error:
            _log.warning("%s", error)
