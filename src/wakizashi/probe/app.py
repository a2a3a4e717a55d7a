"""The probe at work: one thread captures and closes windows, one delivers them.

Start is from the sink back (dump directory, delivery, capture), stop from the
source on, under one deadline. What may be lost: the open window when the
process is killed; a last window that neither the dump directory nor the center
takes, which is counted, logged, and stored as lost.
"""

import logging
import time

from wakizashi.errors import Retryable
from wakizashi.lifecycle import StopSignal
from wakizashi.probe.addresses import Center
from wakizashi.probe.capture import CaptureError, choose
from wakizashi.probe.channel import Credentials
from wakizashi.probe.config import ProbeConfig
from wakizashi.probe.devices import Netlink
from wakizashi.probe.dump import Dump
from wakizashi.probe.ending import last_resort
from wakizashi.probe.loop import STUCK_SECONDS, Probe
from wakizashi.probe.stats import ProbeStats
from wakizashi.probe.transmit import Transmitter
from wakizashi.telemetry import HealthServer

_log = logging.getLogger(__name__)

STOP_SECONDS = 8.0
"""From the signal to the exit, well within the 10 s that container runtimes give at least."""


def run(config: ProbeConfig, *, wait_for_devices: bool = False) -> None:
    """Run until SIGTERM or SIGINT.

    Raises:
        WakizashiError: it can't start: no privilege, no device, a directory in use.
    """
    stats = ProbeStats()
    credentials = Credentials.of(config)
    name, engine, reasons = choose(config.capture)
    with StopSignal() as stop, Netlink() as netlink:
        dump = Dump(
            config.dumpDir,
            limit_bytes=config.dumpLimit,
            auto_clear=config.autoClear,
            max_flows=config.maxFlows,
            stats=stats,
        )
        dump.open()
        probe = Probe(config, engine, dump, netlink, stats, on_window=lambda: transmitter.wake())
        center = Center(config.centerAddr)
        transmitter = Transmitter(
            dump,
            center,
            upload_retry=config.uploadRetry,
            interval_seconds=config.capInterval,
            channel_lifetime_seconds=config.channelLifetime,
            announce=probe.announce,
            stats=stats,
            credentials=credentials,
        )
        health = _health(config, stats, dump, probe, name)
        if health is not None:
            health.start()
        try:
            center.resolve()
        except Retryable as error:
            _log.warning("%s", error)
        probe.set_endpoints(center.endpoints())
        if not probe.open_devices() and not wait_for_devices:
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
        transmitter.start()
        transmitter.wake()
        try:
            probe.run(stop)
        finally:  # capture that fails ends like one that is stopped: the open window is kept
            _stop(probe, transmitter, dump, stats)
        if health is not None:
            health.close()


def _stop(probe: Probe, transmitter: Transmitter, dump: Dump, stats: ProbeStats) -> None:
    _log.info("stopping: delivering what waits, for %.0f s at most", STOP_SECONDS)
    deadline = time.monotonic() + STOP_SECONDS
    unsaved = probe.finish()
    transmitter.stop(deadline)
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
    config: ProbeConfig, stats: ProbeStats, dump: Dump, probe: Probe, engine: str
) -> HealthServer | None:
    if config.healthPort is None:
        return None

    def live() -> str | None:
        silent = time.monotonic() - probe.heartbeat
        limit = STUCK_SECONDS + config.capInterval
        return f"the capture loop stands still for {silent:.0f} s" if silent > limit else None

    def metrics() -> bytes:
        from wakizashi.probe.metrics import Now, render  # not before it is asked for

        captured, refused = probe.devices
        now = Now(
            engine=engine,
            time=time.time(),
            interval_seconds=config.capInterval,
            silence_seconds=time.monotonic() - probe.heartbeat,
            open_seconds=probe.open_seconds,
            captured=captured,
            refused=refused,
            flows_limit=config.maxFlows,
            pending=dump.directory.pending(),
            pending_bytes=dump.directory.used_bytes,
            pending_limit_bytes=dump.directory.limit_bytes,
        )
        return render(stats, now)

    return HealthServer(
        "0.0.0.0", config.healthPort, key="healthPort", live=live, ready=live, metrics=metrics
    )


def _no_device(config: ProbeConfig, netlink: Netlink) -> str:
    names = ", ".join(sorted(device.name for device in netlink.snapshot().devices.values()))
    wanted = ", ".join(config.networkDevs) or "(all that are up)"
    return (
        f"networkDevs: {wanted} means no device that can be captured; this host has {names}; "
        "mend networkDevs, or start with --wait-for-devices"
    )
