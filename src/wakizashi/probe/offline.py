"""``probe --pcap FILE``: a capture file through the very same path, windows by packet time.

Its windows are named after ``PROBE/FILE``, so that they never stand over those
of live traffic, and sending the same file again stores the same points. First
the whole file is read into windows, then they are delivered: of a damaged file
nothing is sent.
"""

import logging
from functools import partial
from pathlib import Path

from wakizashi import progress, wire
from wakizashi.amounts import amount
from wakizashi.errors import Retryable, WakizashiError
from wakizashi.model import Tally
from wakizashi.probe.addresses import Center
from wakizashi.probe.capture import Limits
from wakizashi.probe.channel import Credentials
from wakizashi.probe.config import ProbeConfig
from wakizashi.probe.courier import Courier
from wakizashi.probe.devices import ARPHRD_ETHER, Device, Netlink
from wakizashi.probe.dump import Dump
from wakizashi.probe.engines.replay import ReplayEngine, ReplayTap
from wakizashi.probe.stats import ProbeStats
from wakizashi.probe.transmit import Transmitter
from wakizashi.probe.window import WindowBuilder
from wakizashi.window_file import Entry

_log = logging.getLogger(__name__)

_CHUNK_PACKETS = 10_000


def replay(config: ProbeConfig, path: Path) -> ProbeStats:
    """Send a capture file; returns when all of it is acknowledged.

    Raises:
        WakizashiError: the file can't be read, or the center did not take all
            of it; the windows wait in ``dumpDir/replay`` then.
    """
    stats = ProbeStats()
    credentials = Credentials.of(config)
    name = f"{config.probe_name()}/{path.name}"
    fault = wire.name_fault(name) or wire.name_fault(path.name)
    if fault:
        raise WakizashiError(f"--pcap: {path.name!r} {fault}; rename the file")
    center = Center(config.centerAddr)
    try:
        center.resolve()
    except Retryable as error:
        _log.warning("%s", error)
    device = Device(0, path.name, ARPHRD_ETHER, True, Tally(), Tally())
    engine = ReplayEngine(path)
    tap = engine.open(device, Limits(config.maxFlows), center.endpoints())
    dump = Dump(
        config.dumpDir / "replay",
        limit_bytes=config.dumpLimit,
        auto_clear=config.autoClear,
        stats=stats,
        remember=False,
    )
    dump.open()
    try:
        _save(config, name, tap, dump)
        transmitter = Transmitter(
            dump,
            center,
            interval_seconds=config.capInterval,
            channel_lifetime_seconds=config.channelLifetime,
            announce=lambda endpoints: None,
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
        with progress.shown(partial(_sent, stats, dump.directory.waiting)):
            delivered = courier.deliver_with_retries()
        if not delivered:
            waiting = len(dump.directory.pending())
            raise WakizashiError(
                f"--pcap: {path}: {waiting} windows are not acknowledged and wait in "
                f"{dump.directory.path}; run the same command again when the center answers"
            )
        if stats.windows_rejected:
            raise WakizashiError(
                f"--pcap: {path}: the center refused {stats.windows_rejected} windows; "
                f"they lie in {dump.directory.path}/bad"
            )
    finally:
        tap.close()
        dump.directory.close()
    return stats


def _save(config: ProbeConfig, name: str, tap: ReplayTap, dump: Dump) -> None:
    with Netlink() as netlink:
        addresses = netlink.snapshot().addresses
    builder = WindowBuilder(name, tuple(sorted(config.tags.items())), config.maxFlows)
    interval_ms = config.capInterval * 1000
    number = 0
    saved: list[Entry] = []
    try:
        with progress.shown(partial(_read, tap, saved)):
            while tap.next_ms is not None:
                start = tap.next_ms - tap.next_ms % interval_ms
                tap.until_ms = start + interval_ms
                builder.reset(addresses)
                while tap.pump(_CHUNK_PACKETS):
                    pass
                number += 1
                builder.add(tap.name, b"", tap.take(), tap.take_passed())
                saved.append(dump.save(builder.build(start, start + interval_ms, number)))
    except BaseException:  # an interrupt too: of a file not read to its end nothing is sent
        for entry in saved:
            dump.directory.remove(entry)
        raise


def _read(tap: ReplayTap, saved: list[Entry], elapsed_seconds: float) -> progress.Step:
    part = tap.read_bytes / max(1, tap.size_bytes)
    of = f"{amount(tap.read_bytes, 'B')} of {amount(tap.size_bytes, 'B')} read"
    windows, counted = progress.count(len(saved), "window"), amount(tap.passed_bytes, "B")
    left = progress.left(part, elapsed_seconds)
    texts = (
        progress.joined(of, f"{windows} with {counted}", left),
        progress.joined(f"{windows} with {counted}", left),
        progress.joined("reading", left),
    )
    return progress.Step(texts, part)


def _sent(stats: ProbeStats, windows: int, elapsed_seconds: float) -> progress.Step:
    done = stats.windows_acked + stats.windows_rejected
    part = done / max(1, windows)
    left = progress.left(part, elapsed_seconds)
    of = f"{done:,} of {progress.count(windows, 'window')}"
    texts = (progress.joined(f"{of} sent and acknowledged", left), progress.joined(of, left))
    return progress.Step(texts, part)
