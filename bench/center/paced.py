"""A fleet as in life: each probe delivers a window every interval; the center may be restarted.

``python -m bench.center.paced`` tries one out; a series has some of them.
"""

import dataclasses
import signal
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path

import click

from bench.capture.results import BenchError
from bench.center.fleet import Order, Report
from bench.center.load import Load, fleet, peak_a_second
from bench.center.measure import center_for, cpus, database
from bench.center.process import Center
from bench.center.results import BACKENDS, LINES, NOTHING, Case, Fleet, acks
from bench.center.windows import first_start_ms
from wakizashi.probe.courier import SPREAD

RAMP_SECONDS_A_THOUSAND = 1.5
"""Time for a thousand probes to connect: connecting is not what is measured."""
_LOOK_SECONDS = 1.0


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """One fleet to try."""

    case: Case
    interval: int = 30
    spread: float = 30 * SPREAD
    seconds: int = 60
    restart_at: float = 0.0


class _Watched:
    """The center of a fleet: its clocks, over a restart too."""

    def __init__(self, center: Center) -> None:
        self._center = center
        self.process = center.start()
        self._ended_cpu = 0.0
        self._begun_cpu = self.process.cpu_seconds()
        self.rss: list[tuple[float, int]] = []
        self.listens_again = 0.0
        self.down = 0.0

    def look(self, begun: float) -> None:
        """Note its memory."""
        self.process.check()
        self.rss.append((round(time.monotonic() - begun, 1), self.process.memory()[0]))

    def restart(self) -> None:
        """Stop it as an operator does, and start it again."""
        told = time.monotonic()
        self._ended_cpu += self.process.cpu_seconds() - self._begun_cpu
        self._begun_cpu = 0.0  # what it uses to stop is not known
        self.process.stop()
        self.process = self._center.start()
        self.listens_again = time.monotonic()
        self.down = self.listens_again - told

    def cpu_seconds(self) -> float:
        """Since the probes were let go."""
        return self._ended_cpu + self.process.cpu_seconds() - self._begun_cpu

    def begin(self) -> None:
        """From here on its CPU counts."""
        self._begun_cpu = self.process.cpu_seconds()


def paced(plan: Plan) -> Fleet:
    """Let a fleet live for a while.

    Raises:
        BenchError: there are no figures, and why.
    """
    where, case = cpus(), plan.case
    turns = max(1, plan.seconds // plan.interval)
    with tempfile.TemporaryDirectory(prefix="bench-center-") as name:
        folder = Path(name)
        bare = case.backend in (NOTHING, LINES)
        with nullcontext() if bare else database(case.backend, folder, where) as store:
            center = center_for(case.backend, store, folder, where)
            watched = _Watched(center)
            try:
                order = Order(
                    port=center.port,
                    first_probe=0,
                    probes=case.probes,
                    records=case.records,
                    first_start_ms=first_start_ms(int(time.time() * 1000), turns),
                    windows=turns,
                    windows_a_call=256,
                    in_flight=256,
                    interval_seconds=float(plan.interval),
                    spread_seconds=plan.spread,
                    ramp_seconds=RAMP_SECONDS_A_THOUSAND * case.probes / 1_000,
                )
                with fleet(order, folder, where.others) as load:
                    watched.begin()
                    load.go()
                    begun = time.monotonic()
                    _watch(plan, watched, load, begun)
                    report = load.report()
                    cpu = watched.cpu_seconds()
            finally:
                watched.process.stop()
    return _made(plan, report, watched, cpu)


def _watch(plan: Plan, watched: _Watched, load: Load, begun: float) -> None:
    restart = plan.restart_at
    while time.monotonic() - begun < plan.seconds:
        load.check()
        watched.look(begun)
        if restart and time.monotonic() - begun >= restart:
            restart = 0.0
            watched.restart()
        time.sleep(_LOOK_SECONDS)


def _made(plan: Plan, report: Report, watched: _Watched, cpu: float) -> Fleet:
    back = 0.0
    if watched.listens_again:
        firsts = [
            next((t for t in times if t > watched.listens_again), report.ended)
            for times in report.acked
        ]
        back = max(firsts, default=0.0) - watched.listens_again
    return Fleet(
        case=plan.case,
        interval_seconds=plan.interval,
        spread_seconds=plan.spread,
        seconds=plan.seconds,
        closed=report.closed,
        stored=report.stored,
        lost=report.lost,
        retries=report.retries,
        failures=report.failures,
        codes=report.codes,
        connections=len(report.connections),
        wall_seconds=report.ended - report.started,
        center_cpu_seconds=cpu,
        generator_cpu_seconds=report.cpu_seconds,
        acks=acks(report.ack_seconds),
        rss=tuple(watched.rss),
        restarted_at=plan.restart_at,
        down_seconds=watched.down,
        back_seconds=back,
        peak_connections=peak_a_second(report.connections),
    )


def attempt(plan: Plan) -> Fleet:
    """A fleet, or the reason why not."""
    try:
        return paced(plan)
    except (BenchError, OSError) as error:
        reason = " ".join(str(error).replace(str(Path.cwd()), ".").split())
        return Fleet(plan.case, plan.interval, plan.spread, plan.seconds, fault=reason)


def describe(one: Fleet) -> str:
    """A fleet in one line, for whoever waits."""
    head = f"fleet {one.case}, spread over {one.spread_seconds:g} of {one.interval_seconds} s"
    if one.fault:
        return f"{head}: {one.fault}"
    text = (
        f"{head}: {one.stored} of {one.closed} windows stored, {one.lost} lost, "
        f"ack p50 {1000 * one.acks.p50:.0f} ms, p99 {1000 * one.acks.p99:.0f} ms, "
        f"longest {1000 * one.acks.longest:.0f} ms, {one.retries} retries, "
        f"{one.failures} failed calls {one.codes or ''}, {one.connections} new connections, "
        f"center {100 * one.center_cpu_seconds / one.wall_seconds:.0f} % of a CPU, "
        f"RSS up to {max((size for _, size in one.rss), default=0) / 2**20:.0f} MiB"
    )
    if one.restarted_at:
        text += (
            f"; down for {one.down_seconds:.1f} s, all back {one.back_seconds:.1f} s later, "
            f"up to {one.peak_connections} connections a second"
        )
    return text


@click.command(name="paced", context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--backend", type=click.Choice(BACKENDS), default=NOTHING, show_default=True)
@click.option("--probes", type=click.IntRange(1), default=10_000, show_default=True)
@click.option("--records", type=click.IntRange(2), default=200, show_default=True)
@click.option("--interval", type=click.IntRange(1), default=30, show_default=True)
@click.option("--spread", type=float, help="Seconds.  [as probes do: half of the interval]")
@click.option("--seconds", type=click.IntRange(1), default=60, show_default=True)
@click.option("--restart-at", type=float, default=0.0, help="Seconds; 0 for never.")
def command(
    backend: str,
    probes: int,
    records: int,
    interval: int,
    spread: float | None,
    seconds: int,
    restart_at: float,
) -> None:
    """Let a fleet live for a while, and say what came of it."""
    plan = Plan(
        Case(backend, probes, records),
        interval,
        interval * SPREAD if spread is None else spread,
        seconds,
        restart_at,
    )
    # So that all programs are gone after a SIGTERM too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    click.echo(describe(attempt(plan)))


if __name__ == "__main__":
    command(prog_name="paced")
