"""From runs to figures: median and spread over the repetitions of each case.

- **records/s**: by the clock, with one center on one CPU.
- **records per CPU second**: by the CPU time of the center's process (user and
  system, all threads): what one core does, whatever the database waits for.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from bench.capture.summary import Figure, figure
from bench.center.results import BACKENDS, Case, Direct, Results, Run


@dataclass(frozen=True, slots=True)
class Row:
    """What is known of a case."""

    case: Case
    rate: Figure | None
    a_cpu_second: Figure | None
    database_micros: Figure | None
    """CPU microseconds of the database per record."""
    generator_share: Figure | None
    p50: Figure | None
    p99: Figure | None
    """Seconds."""
    connection_bytes: Figure | None
    """Resident bytes of the center for each connection."""
    rss_peak: Figure | None
    rss_end: Figure | None
    wire: Figure | None
    disk: Figure | None
    memory: Figure | None
    """Bytes per record."""
    points_a_series: float
    retries: int
    failures: int
    faults: tuple[str, ...]


def rows(results: Results) -> list[Row]:
    """One for each case, in the order of probes, records, backend."""
    cases = sorted(
        {run.case for run in results.runs},
        key=lambda case: (case.probes, case.records, BACKENDS.index(case.backend)),
    )
    return [_row([run for run in results.runs if run.case == case]) for case in cases]


def _row(runs: list[Run]) -> Row:
    good = [run for run in runs if not run.fault and run.records]

    def of(value: Callable[[Run], float]) -> Figure | None:
        return figure(value(run) for run in good)

    case = runs[0].case
    return Row(
        case=case,
        rate=of(lambda run: run.records / run.wall_seconds),
        a_cpu_second=of(lambda run: run.records / run.center_cpu_seconds),
        database_micros=of(lambda run: 1e6 * run.database_cpu_seconds / run.records),
        generator_share=of(lambda run: run.generator_cpu_seconds / run.wall_seconds),
        p50=of(lambda run: run.acks.p50),
        p99=of(lambda run: run.acks.p99),
        connection_bytes=of(lambda run: (run.rss_connected - run.rss_start) / case.probes),
        rss_peak=of(lambda run: float(run.rss_peak)),
        rss_end=of(lambda run: float(run.rss_end)),
        wire=of(lambda run: run.wire_bytes / run.records),
        disk=of(lambda run: run.disk_bytes / run.records),
        memory=of(lambda run: run.memory_bytes / run.records),
        points_a_series=good[0].windows / case.probes if good else 0.0,
        retries=sum(run.retries for run in good),
        failures=sum(run.failures for run in good),
        faults=_faults(runs),
    )


@dataclass(frozen=True, slots=True)
class DirectRow:
    """What a database takes from a bare client."""

    backend: str
    in_flight: int
    rate: Figure | None
    """Points a second."""
    database_micros: Figure | None
    p50: Figure | None
    p99: Figure | None
    faults: tuple[str, ...]


def direct_rows(results: Results) -> list[DirectRow]:
    """One for each database and number of requests in flight."""
    keys = sorted({(one.backend, one.in_flight) for one in results.direct})
    return [
        _direct([one for one in results.direct if (one.backend, one.in_flight) == key])
        for key in keys
    ]


def _direct(runs: list[Direct]) -> DirectRow:
    good = [run for run in runs if not run.fault and run.points]
    return DirectRow(
        backend=runs[0].backend,
        in_flight=runs[0].in_flight,
        rate=figure(run.points / run.wall_seconds for run in good),
        database_micros=figure(1e6 * run.database_cpu_seconds / run.points for run in good),
        p50=figure(run.acks.p50 for run in good),
        p99=figure(run.acks.p99 for run in good),
        faults=_faults(runs),
    )


def _faults(runs: Iterable[Run | Direct]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(run.fault for run in runs if run.fault))


def find(table: list[Row], backend: str, probes: int, records: int) -> Row | None:
    """A row with figures."""
    case = Case(backend, probes, records)
    return next((row for row in table if row.case == case and row.rate), None)
