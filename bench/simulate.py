"""``python -m bench.simulate``: what 100, 10,000 and 1,000,000 probes need, from measured figures.

Reads what ``make bench-center`` wrote, and prints the part of ``docs/scaling.md``
between its two marks. ``--write`` puts it there, ``--check`` tells whether it is
there. The same file gives the same text.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil, inf
from pathlib import Path

import click

from bench.capture.results import BenchError
from bench.center.report import NAMES
from bench.center.results import (
    BY_LINES,
    DATABASES,
    LINES,
    NOTHING,
    SQLITE,
    Case,
    Fleet,
    Results,
    load,
)
from bench.center.summary import Row, direct_rows, rows
from bench.queueing import Station, arrivals, wait
from wakizashi.center.config import Limits
from wakizashi.probe.courier import SPREAD
from wakizashi.probe.transmit import CALL_SECONDS

ROOT = Path(__file__).parents[1]
BEGIN, END = "<!-- made by bench.simulate: begin -->", "<!-- made by bench.simulate: end -->"
PROBES = (100, 10_000, 1_000_000)
FLOWS, INTERVAL = 200, 30
HEADROOM = 0.5
"""Share of a CPU, and of a database's rate, that is planned with."""
CENTER_MEMORY = 2 * 2**30
LINK_BYTES = 125_000_000
"""A second, of a link of 1 Gbit/s."""
DAY = 86_400
_TURNS = 4
"""Intervals that are simulated."""


@dataclass(frozen=True, slots=True)
class Costs:
    """Measured with one database."""

    backend: str
    records_a_core: float
    """Records that a center takes in a CPU second."""
    points_a_second: float
    """What one node of the database takes."""
    disk: float
    """Bytes per record."""
    memory: float


@dataclass(frozen=True, slots=True)
class Figures:
    """What the model reckons with."""

    backends: tuple[Costs, ...]
    bare: float
    """Records in a CPU second of a center without a database."""
    wire: float
    """Bytes per record."""
    base_bytes: float
    """Resident, of a center without connections."""
    connection_bytes: float


def figures(results: Results) -> Figures:
    """Take them from a series: with most probes, windows of ``FLOWS`` records.

    Raises:
        BenchError: the series lacks what is needed.
    """
    table = [row for row in rows(results) if row.rate is not None]
    nothing = _most_probes(table, NOTHING)
    if nothing is None:
        raise BenchError("the series has no center without a database; run make bench-center")
    found = [_costs(results, table, name) for name in DATABASES]
    return Figures(
        backends=tuple(costs for costs in found if costs is not None),
        bare=_median(nothing, "a_cpu_second"),
        wire=_median(nothing, "wire"),
        base_bytes=min(float(run.rss_start) for run in results.runs if run.case == nothing.case),
        connection_bytes=_median(nothing, "connection_bytes"),
    )


def _median(row: Row, name: str) -> float:
    value = getattr(row, name)
    return float(value.median) if value is not None else 0.0


def _most_probes(table: list[Row], backend: str) -> Row | None:
    mine = [row for row in table if (row.case.backend, row.case.records) == (backend, FLOWS)]
    return max(mine, key=lambda row: row.case.probes, default=None)


def _costs(results: Results, table: list[Row], backend: str) -> Costs | None:
    row = _most_probes(table, backend)
    if row is None:
        return None
    mine = [one for one in table if one.case.backend == backend]
    if backend in BY_LINES:
        rates = [d.rate.median for d in direct_rows(results) if d.backend == backend and d.rate]
    else:
        rates = [_median(one, "rate") for one in mine]
    # What is per series weighs least where a series has most points, as it has after a day.
    longest = max(mine, key=lambda one: one.points_a_series)
    return Costs(
        backend=backend,
        records_a_core=_median(row, "a_cpu_second"),
        points_a_second=max(rates, default=_median(row, "rate")),
        disk=_median(longest, "disk"),
        memory=_median(longest, "memory"),
    )


# -- what is needed --------------------------------------------------------------------------


def needs(known: Figures) -> str:
    """The table of needs, by number of probes."""
    lines = [
        "| | " + " | ".join(f"{probes:,} probes" for probes in PROBES) + " |",
        "|---|" + "---:|" * len(PROBES),
    ]

    def add(name: str, value: Callable[[float], str]) -> None:
        cells = [value(probes * FLOWS / INTERVAL) for probes in PROBES]
        lines.append(f"| {name} | {' | '.join(cells)} |")

    add("records a second", lambda rate: f"{rate:,.0f}")
    add("payload of gRPC, MB/s", lambda rate: _short(rate * known.wire / 1e6))
    for costs in known.backends:
        for name, value in _with(known, costs).items():
            add(f"{NAMES[costs.backend]}: {name}", value)
    return "\n".join(lines)


def _with(known: Figures, costs: Costs) -> dict[str, Callable[[float], str]]:
    """What a rate of records needs with one of the databases."""

    def center_bytes(rate: float) -> float:
        probes = rate * INTERVAL / FLOWS / _centers(costs, rate)
        return known.base_bytes + probes * known.connection_bytes

    made: dict[str, Callable[[float], str]] = {
        "CPUs the centers use": lambda rate: _short(rate / costs.records_a_core),
        "centers of one CPU": lambda rate: f"{_centers(costs, rate):,}",
        "memory of each center, MiB": lambda rate: f"{center_bytes(rate) / 2**20:,.0f}",
        "databases": lambda rate: f"{_databases(costs, rate):,}",
        "disk a day, GB": lambda rate: _short(rate * DAY * costs.disk / 1e9),
    }
    if costs.memory:
        made["memory a day, GB"] = lambda rate: _short(rate * DAY * costs.memory / 1e9)
    return made


def _centers(costs: Costs, rate: float) -> int:
    own = max(1, ceil(rate / (HEADROOM * costs.records_a_core)))
    return max(own, _databases(costs, rate)) if costs.backend == SQLITE else own


def _databases(costs: Costs, rate: float) -> int:
    own = max(1, ceil(_points(rate) / (HEADROOM * costs.points_a_second)))
    # A file belongs to one center.
    return (
        max(own, ceil(rate / (HEADROOM * costs.records_a_core))) if costs.backend == SQLITE else own
    )


def _points(rate: float) -> float:
    return rate * (FLOWS + 1) / FLOWS


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def limits(known: Figures) -> str:
    """How many probes one of each takes, the tightest first."""
    a_probe = FLOWS / INTERVAL
    found: list[tuple[float, str]] = []
    for costs in known.backends:
        name = NAMES[costs.backend]
        found.append((HEADROOM * costs.records_a_core / a_probe, f"CPU of one center with {name}"))
        rate = HEADROOM * costs.points_a_second / _points(a_probe)
        found.append((rate, f"rate of one {name}"))
    memory = (CENTER_MEMORY - known.base_bytes) / known.connection_bytes
    found.append((memory, f"connections in {CENTER_MEMORY / 2**30:.0f} GiB of one center"))
    found.append((LINK_BYTES / (a_probe * known.wire), "a link of 1 Gbit/s"))
    room = Limits()
    found.append((room.calls, f"limits.calls {room.calls:,}, all deliveries at once"))
    size = f"limits.bytesInFlight {room.bytesInFlight / 2**20:.0f} MiB, all windows at once"
    found.append((room.bytesInFlight / (FLOWS * known.wire), size))
    lines = [f"| {what} | {int(probes / 100) * 100:,} |\n" for probes, what in sorted(found)]
    return "| limit | probes |\n|---|---:|\n" + "".join(lines)


# -- waiting ---------------------------------------------------------------------------------

_HEAD = (
    "| database | deliveries spread over | load of the CPU | of the database | ack p50 s | p99 s | "
    f"longest s | most waiting | later than {CALL_SECONDS:.0f} s |\n"
    "|---|---:|---:|---:|---:|---:|---:|---:|---:|\n"
)


def _station(known: Figures, costs: Costs, records: int = FLOWS) -> Station:
    # What SQLite takes of the center's CPU is in its rate already.
    rate = known.bare if costs.backend == SQLITE else costs.records_a_core
    return Station(records, records / rate, 1 / costs.points_a_second)


def bursts(known: Figures, probes: int = 10_000) -> str:
    """One center and one database with 10,000 probes, by how their deliveries are spread."""
    return _HEAD + "".join(
        _burst(known, costs, probes, spread)
        for costs in known.backends
        for spread in (0.0, 1.0, INTERVAL * SPREAD, float(INTERVAL))
    )


def _burst(known: Figures, costs: Costs, probes: int, spread: float) -> str:
    station = _station(known, costs)
    cpu, database = station.load(probes / INTERVAL)
    start = (
        f"| {NAMES[costs.backend]} | {spread:g} s | {100 * cpu:.0f} % | {100 * database:.0f} % |"
    )
    if max(cpu, database) >= 1:
        return f"{start} grows without end | | | | |\n"
    found = wait(arrivals(probes, INTERVAL, spread, _TURNS), station, CALL_SECONDS)
    return (
        f"{start} {found.acks.p50:.2f} | {found.acks.p99:.2f} | {found.acks.longest:.2f} | "
        f"{found.largest_queue:,} | {100 * found.late_share:.0f} % |\n"
    )


def held(known: Figures, results: Results) -> str:
    """The same reckoning beside each measured fleet that was left in peace."""
    lines = [
        _compare(known, fleet)
        for fleet in results.fleets
        if not fleet.fault and not fleet.restarted_at and _of(known, fleet.case)
    ]
    if not lines:
        return "No fleet was measured in this series.\n"
    return (
        "| backend | probes | interval, spread s | p50 s: reckoned | measured | p99 s: reckoned | "
        "measured | longest s: reckoned | measured |\n"
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|\n" + "".join(lines)
    )


def _of(known: Figures, case: Case) -> Costs | None:
    if case.backend in (NOTHING, LINES):
        return Costs(case.backend, known.bare, inf, 0.0, 0.0)
    return next((costs for costs in known.backends if costs.backend == case.backend), None)


def _compare(known: Figures, fleet: Fleet) -> str:
    costs = _of(known, fleet.case)
    assert costs is not None  # noqa: S101 - asked before
    station = _station(known, costs, fleet.case.records)
    turns = max(1, fleet.seconds // fleet.interval_seconds)
    came = arrivals(fleet.case.probes, fleet.interval_seconds, fleet.spread_seconds, turns)
    found = wait(came, station, CALL_SECONDS).acks
    pairs = (
        (found.p50, fleet.acks.p50),
        (found.p99, fleet.acks.p99),
        (found.longest, fleet.acks.longest),
    )
    cells = " | ".join(f"{reckoned:.2f} | {measured:.2f}" for reckoned, measured in pairs)
    return (
        f"| {NAMES[fleet.case.backend]} | {fleet.case.probes:,} | "
        f"{fleet.interval_seconds}, {fleet.spread_seconds:g} | {cells} |\n"
    )


# -- the page --------------------------------------------------------------------------------


def generated(results: Results) -> str:
    """What stands between the marks."""
    known = figures(results)
    missing = [NAMES[name] for name in DATABASES if name not in {c.backend for c in known.backends}]
    lacks = f" Not measured: {', '.join(missing)}." if missing else ""
    per = "; ".join(
        f"{NAMES[c.backend]} {c.records_a_core:,.0f} records a CPU second of the center, "
        f"{c.points_a_second:,.0f} points a second, {c.disk:.1f} bytes a record on disk"
        for c in known.backends
    )
    facts = ", ".join(f"{name} {value}" for name, value in results.machine.items())
    return (
        f"Measured on: {facts}. {per}; a center with nothing behind it {known.bare:,.0f} records a "
        f"CPU second; {known.wire:.1f} bytes a record on the wire; a center has "
        f"{known.base_bytes / 2**20:.0f} MiB, and {known.connection_bytes / 1024:.1f} KiB more for "
        f"each connection.{lacks}\n\n"
        f"## What a fleet needs\n\n{needs(known)}\n\n"
        f"## Which limit comes first\n\nHow many probes one of each takes.\n\n{limits(known)}\n"
        f"## Bursts\n\n10,000 probes on one center and one database.\n\n{bursts(known)}\n"
        f"## Does the reckoning hold?\n\n{held(known, results)}"
    )


def replaced(page: str, text: str) -> str:
    """The page with ``text`` between its marks.

    Raises:
        BenchError: a mark is missing.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise BenchError(f"the page lacks {BEGIN} or {END}")
    return f"{before}{BEGIN}\n\n{text.strip()}\n\n{END}{after}"


@click.command(name="simulate", context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--results",
    "path",
    type=click.Path(path_type=Path),
    default=ROOT / "bench" / "results" / "center.json",
    help="What make bench-center wrote.  [bench/results/center.json]",
)
@click.option("--check", type=click.Path(path_type=Path), help="Exit 1 unless this page has it.")
@click.option("--write", type=click.Path(path_type=Path), help="Put it into this page.")
def command(path: Path, check: Path | None, write: Path | None) -> None:
    """What 100, 10,000 and 1,000,000 probes need."""
    try:
        text = generated(load(path))
        if check is not None and replaced(check.read_text(), text) != check.read_text():
            raise BenchError(
                f"{check} is not what {path.name} gives; run python -m bench.simulate --write {check}"
            )
        if write is not None:
            write.write_text(replaced(write.read_text(), text))
    except (BenchError, OSError) as error:
        raise click.ClickException(str(error)) from error
    if check is None and write is None:
        click.echo(text)


if __name__ == "__main__":
    command(prog_name="simulate")
