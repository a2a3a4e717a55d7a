"""The probe at work: one thread captures and closes windows, one delivers them.

Start is from the sink back (dump directory, delivery, capture), stop from the
source on, under one deadline. What may be lost: the open window when the
process is killed; a last window that neither the dump directory nor the center
takes, which is counted, logged, and stored as lost.
"""

import logging
import math
import time

from wakizashi import progress
from wakizashi.errors import Retryable
from wakizashi.lifecycle import StopSignal
from wakizashi.notify import Supervisor
from wakizashi.probe.addresses import Center
from wakizashi.probe.capture import CaptureError, Chosen
from wakizashi.probe.channel import Credentials
from wakizashi.probe.config import ProbeConfig
from wakizashi.probe.courier import Courier
from wakizashi.probe.devices import Netlink
from wakizashi.probe.dump import Dump
from wakizashi.probe.ending import last_resort
from wakizashi.probe.loop import ROUND_SECONDS, Probe
from wakizashi.probe.reload import apply
from wakizashi.probe.stats import ProbeStats
from wakizashi.probe.transmit import Transmitter
from wakizashi.reload import Reload, Source
from wakizashi.telemetry import HealthServer, Throttle

_log = logging.getLogger(__name__)

STOP_SECONDS = 8.0
"""From the signal to the exit, well within the 10 s that container runtimes give at least."""


def run(
    config: ProbeConfig,
    chosen: Chosen,
    source: Source[ProbeConfig],
    *,
    wait_for_devices: bool = False,
) -> None:
    """Run until SIGTERM or SIGINT; SIGHUP loads ``config`` again from its ``source``.

    Raises:
        WakizashiError: it can't start: no privilege, no device, a directory in use.
    """
    stats = ProbeStats()
    credentials = Credentials.of(config)
    name, engine, reasons = chosen
    with StopSignal() as stop, Supervisor() as supervisor, Netlink() as netlink:
        dump = Dump(
            config.dumpDir,
            limit_bytes=config.dumpLimit,
            auto_clear=config.autoClear,
            max_flows=config.maxFlows,
            stats=stats,
        )
        dump.open()

        def closed() -> None:
            courier.wake()
            tell()

        def tell() -> None:
            supervisor.status(
                f"engine {name}; devices: {len(probe.watch)}; "
                f"windows waiting: {len(dump.directory.pending())}"
            )

        probe = Probe(config, engine, dump, netlink, stats, on_window=closed)
        center = Center(config.centerAddr)
        transmitter = Transmitter(
            dump,
            center,
            interval_seconds=config.capInterval,
            channel_lifetime_seconds=config.channelLifetime,
            announce=probe.announce,
            stats=stats,
            credentials=credentials,
        )
        courier = Courier(
            transmitter,
            dump,
            upload_retry=config.uploadRetry,
            interval_seconds=config.capInterval,
            stats=stats,
        )
        health = _health(config.healthPort, stats, dump, probe, courier, name)
        if health is not None:
            health.start()
        try:
            center.resolve()
        except Retryable as error:
            _log.warning("%s", error)
        probe.watch.set_endpoints(center.endpoints())
        if not probe.watch.open_devices() and not wait_for_devices:
            raise CaptureError(_no_device(config, netlink))
        _log.info(
            "%s: engine %s%s, windows of %d s, to %s; %d windows wait in %s",
            config.probe_name(),
            name,
            f" (not {'; not '.join(reasons)})" if reasons else "",
            config.capInterval,
            config.centerAddr,
            len(dump.directory.pending()),
            config.dumpDir,
        )

        def change(new: ProbeConfig) -> None:
            apply(reload.config, new, probe, dump, courier, devices_may_lack=wait_for_devices)

        reload = Reload(config, source, supervisor, change)
        throttle = Throttle(_log)

        def tend() -> None:
            # Fed from here, not from a thread of its own: it says that packets are counted and
            # windows delivered, not that a process exists.
            trouble = courier.trouble()
            if trouble is None:
                supervisor.alive()
            else:
                throttle.error("stuck", trouble)
            reload.answer()

        courier.start()
        courier.wake()
        probe.pulse.beat(ROUND_SECONDS)  # before it is said to be ready
        supervisor.ready()
        tell()
        try:
            probe.run(stop, source.hangup, tend, supervisor.feed_seconds or ROUND_SECONDS)
        finally:  # capture that fails ends like one that is stopped: the open window is kept
            source.hangup.ignore()
            supervisor.stopping()
            _stop(probe, courier, transmitter, dump, stats)
        if health is not None:
            health.close()


def _stop(
    probe: Probe, courier: Courier, transmitter: Transmitter, dump: Dump, stats: ProbeStats
) -> None:
    _log.info("stopping: delivering what waits, for %.0f s at most", STOP_SECONDS)
    deadline = time.monotonic() + STOP_SECONDS
    unsaved = probe.finish()

    def tell(_: float) -> progress.Step:
        number = dump.directory.waiting + (unsaved is not None)
        return progress.stopping("window", number, deadline - time.monotonic())

    with progress.shown(tell):
        courier.stop(deadline)
        if unsaved is not None:
            last_resort(unsaved, transmitter, dump, stats)
    waiting = len(dump.directory.pending())
    dump.directory.close()
    _log.info(
        "stopped: %d bytes in %d packets counted, %d windows delivered, %d wait in %s",
        stats.totals.counted.bytes,
        stats.totals.counted.packets,
        stats.windows_acked,
        waiting,
        dump.directory.path,
    )


def _health(
    port: int | None, stats: ProbeStats, dump: Dump, probe: Probe, courier: Courier, engine: str
) -> HealthServer | None:
    if port is None:
        return None

    def live() -> str | None:
        return probe.pulse.trouble() or courier.trouble()

    def metrics() -> bytes:
        from wakizashi.probe.metrics import Now, render  # not before it is asked for

        shown = courier.way.credentials.certificate
        now = Now(
            engine=engine,
            time=time.time(),
            interval_seconds=probe.config.capInterval,
            silence_seconds=probe.pulse.silence_seconds,
            open_seconds=probe.open_seconds,
            captured=len(probe.watch),
            refused=probe.watch.refused,
            flows_limit=probe.config.maxFlows,
            pending=dump.directory.pending(),
            pending_bytes=dump.directory.used_bytes,
            pending_limit_bytes=dump.directory.limit_bytes,
            certificate_end=shown.not_after if shown else math.nan,
        )
        return render(stats, now)

    def ready() -> str | None:
        if not probe.begun:
            return "it starts: no packet is counted yet"
        return live() or (None if len(probe.watch) else "no device is captured")

    return HealthServer("0.0.0.0", port, key="healthPort", live=live, ready=ready, metrics=metrics)


def _no_device(config: ProbeConfig, netlink: Netlink) -> str:
    names = ", ".join(sorted(device.name for device in netlink.snapshot().devices.values()))
    wanted = ", ".join(config.networkDevs) or "(all that are up)"
    return (
        f"networkDevs: {wanted} means no device that can be captured; this host has {names}; "
        "mend networkDevs, or start with --wait-for-devices"
    )
