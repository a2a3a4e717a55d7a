"""One run, and the series of all of them.

A run: the database starts in a new folder, the center starts, all probes
connect; **then** the clocks are read, the windows are delivered, the clocks are
read again; then the center ends, and the database writes out what it has. The
center has a CPU, and the database the others; the probes are with the center, or
where there is no database process on the others.

A series is interleaved: every repetition runs all cases, in a new order.
"""

import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.capture.results import BenchError
from bench.center import direct
from bench.center.fleet import Order
from bench.center.load import fleet
from bench.center.process import Center, Cpus, Process, running, share_cpus
from bench.center.results import (
    BY_LINES,
    LINES,
    NOTHING,
    Case,
    Direct,
    Run,
    acks,
)
from bench.center.servers import KINDS, Database, obstacle
from bench.center.windows import first_start_ms

BACKLOG = 256
"""Windows in a call of a probe that has many waiting, as transmit.BATCH_WINDOWS."""
UNACKED = 32
"""Of them, those that may be sent and not acknowledged: limits.windowsPerProbe."""
DELIVERING = 1_000
"""Probes with a window on the way; all 10,000 at once are what ``paced`` tries."""
ALONE_SHARE = 5
"""One probe with small windows sends a fifth: its acks bound it, not the center's CPU."""
DIRECT_SHAPE = (100, 200)


@dataclass(slots=True)
class Settings:
    """What all runs of a series have in common."""

    records: int = 2_000_000
    """Of a run, about: every probe sends one window at least."""
    repetitions: int = 1
    seed: int = 1


def windows_a_probe(case: Case, records: int) -> int:
    """How many windows each probe delivers."""
    if case.probes == 1 and case.records < 1_000:
        records //= ALONE_SHARE
    return max(1, round(records / case.records / case.probes))


def cpus() -> Cpus:
    """Of this machine."""
    return share_cpus(os.sched_getaffinity(0))


@contextmanager
def database(name: str, folder: Path, where: Cpus) -> Iterator[Database]:
    """A new one, running; gone at the end.

    Raises:
        BenchError: it can't be had on this host.
    """
    why = obstacle(name)
    if why:
        raise BenchError(why)
    made = KINDS[name](folder, where.others)
    try:
        made.start()
        yield made
    finally:
        made.stop()


def center_for(name: str, store: Database | None, folder: Path, where: Cpus) -> Center:
    """The center that a backend wants.

    Raises:
        BenchError: this release has no such backend.
    """
    if store is None:
        return Center(folder, [], where, kind=name)
    from wakizashi.center.backend import open_backend
    from wakizashi.center.config import load_center
    from wakizashi.errors import WakizashiError

    settings = store.center_settings()
    try:  # to tell what this release does not have from what went wrong
        open_backend(load_center(None, settings, environment={}).backendConfig).close()
    except (WakizashiError, ImportError) as error:
        raise BenchError(f"not available: {error}") from error
    return Center(folder, settings, where)


def measure(case: Case, repetition: int, settings: Settings) -> Run:
    """One run.

    Raises:
        BenchError: there are no figures, and why.
    """
    where = cpus()
    windows = windows_a_probe(case, settings.records)
    with tempfile.TemporaryDirectory(prefix="bench-center-") as name:
        folder = Path(name)
        bare = case.backend in (NOTHING, LINES)
        with nullcontext() if bare else database(case.backend, folder, where) as store:
            center = center_for(case.backend, store, folder, where)
            order = Order(
                port=center.port,
                first_probe=0,
                probes=case.probes,
                records=case.records,
                first_start_ms=first_start_ms(int(time.time() * 1000), windows),
                windows=windows,
                windows_a_call=BACKLOG if case.probes == 1 else 1,
                in_flight=UNACKED if case.probes == 1 else 1,
                delivering=DELIVERING,
            )
            with running(center.start()) as process:
                run = _deliver(case, repetition, order, process, store, where, folder)
            if store is None:
                return run
            values = asdict(run) | {"case": case, "acks": run.acks}
            values["memory_bytes"] = store.memory_bytes()
            values["disk_bytes"] = store.settle()
            return Run(**values)


def _deliver(
    case: Case,
    repetition: int,
    order: Order,
    process: Process,
    store: Database | None,
    where: Cpus,
    folder: Path,
) -> Run:
    rss_start, _ = process.memory()
    # A database has its CPUs to itself, as it has when the bare client posts to it.
    with fleet(order, folder, where.center if store else where.others) as load:
        rss_connected, _ = process.memory()
        center_before = process.cpu_seconds()
        store_before = store.cpu_seconds() if store else 0.0
        load.go()
        report = load.report()
        center_after = process.cpu_seconds()
        store_after = store.cpu_seconds() if store else 0.0
        rss_end, rss_peak = process.memory()
    if report.lost or report.stored != case.probes * order.windows:
        raise BenchError(
            f"{report.closed} windows were to be stored, {report.stored} were, {report.lost} were "
            f"not; {report.failures} calls failed; {report.rejected}; {process.said()}"
        )
    return Run(
        case=case,
        repetition=repetition,
        windows=report.stored,
        records=report.stored * case.records,
        wire_bytes=report.wire_bytes,
        wall_seconds=report.ended - report.started,
        center_cpu_seconds=center_after - center_before,
        generator_cpu_seconds=report.cpu_seconds,
        database_cpu_seconds=store_after - store_before,
        rss_start=rss_start,
        rss_connected=rss_connected,
        rss_end=rss_end,
        rss_peak=rss_peak,
        acks=acks(report.ack_seconds),
        retries=report.retries,
        failures=report.failures,
    )


def measure_direct(backend: str, in_flight: int, repetition: int, settings: Settings) -> Direct:
    """The bare client; it has the center's CPU.

    Raises:
        BenchError: there are no figures, and why.
    """
    where = cpus()
    probes, records = DIRECT_SHAPE
    windows = windows_a_probe(Case(backend, probes, records), settings.records // 2)
    with tempfile.TemporaryDirectory(prefix="bench-center-") as name:
        folder = Path(name)
        with database(backend, folder, where) as store:
            first = first_start_ms(int(time.time() * 1000), windows)
            order = direct.Order(
                store.port, store.write_url(), probes, records, windows, first, in_flight
            )
            command = [sys.executable, "-m", "bench.center.direct"]
            client = Process(command, folder / "direct.log", where.center, pipes=True)
            with running(client):
                stdin, stdout = client.popen.stdin, client.popen.stdout
                assert stdin is not None and stdout is not None  # noqa: S101, PT018 - pipes
                stdin.write(json.dumps(asdict(order)) + "\n")
                stdin.flush()
                stdout.readline()
                before = store.cpu_seconds()
                stdin.write("go\n")
                stdin.flush()
                line = stdout.readline()
                if not line:
                    raise BenchError(f"the client ended: {client.said()}")
                report = direct.Report(**json.loads(line))
                after = store.cpu_seconds()
    if report.fault:
        raise BenchError(report.fault)
    return Direct(
        backend=backend,
        in_flight=in_flight,
        repetition=repetition,
        points=report.points,
        wall_seconds=report.wall_seconds,
        client_cpu_seconds=report.cpu_seconds,
        database_cpu_seconds=after - before,
        acks=acks(report.seconds),
    )


def series(
    cases: Sequence[Case], settings: Settings, progress: Callable[[str], None]
) -> Iterator[Run | Direct]:
    """All runs. One that fails leaves a run with the reason, and the others go on."""
    order = random.Random(settings.seed)
    lined = [name for name in BY_LINES if any(case.backend == name for case in cases)]
    jobs: list[Case | tuple[str, int]] = [*cases]
    jobs += [(name, in_flight) for name in lined for in_flight in (1, 2)]
    done = 0
    for repetition in range(settings.repetitions):
        order.shuffle(jobs)
        for job in jobs:
            done += 1
            one = _attempt(job, repetition, settings)
            progress(f"{done}/{len(jobs) * settings.repetitions} {describe(one)}")
            yield one


def _attempt(job: Case | tuple[str, int], repetition: int, settings: Settings) -> Run | Direct:
    try:
        if isinstance(job, Case):
            return measure(job, repetition, settings)
        return measure_direct(*job, repetition, settings)
    except (BenchError, OSError) as error:
        reason = " ".join(str(error).replace(str(Path.cwd()), ".").split())
        if isinstance(job, Case):
            return Run(job, repetition, fault=reason)
        return Direct(*job, repetition, fault=reason)


def describe(one: Run | Direct) -> str:
    """A run in one line, for whoever waits."""
    if isinstance(one, Direct):
        head = f"{one.backend} direct, {one.in_flight} in flight"
        if one.fault:
            return f"{head}: {one.fault}"
        return f"{head}: {one.points / one.wall_seconds:,.0f} points/s"
    if one.fault:
        return f"{one.case}: {one.fault}"
    return (
        f"{one.case}: {one.records / one.wall_seconds:,.0f} records/s, "
        f"{one.records / one.center_cpu_seconds:,.0f} a CPU second, "
        f"generator {100 * one.generator_cpu_seconds / one.wall_seconds:.0f} %, "
        f"ack p99 {1000 * one.acks.p99:.0f} ms, {one.retries} retries, "
        f"RSS {one.rss_peak / 2**20:.0f} MiB"
    )
