"""The command ``python -m bench.center``."""

import os
import resource
import signal
from collections.abc import Sequence
from pathlib import Path

import click

import wakizashi
from bench.capture.cpu import machine_facts
from bench.capture.results import BenchError
from bench.center.measure import Settings, cpus, series
from bench.center.paced import Plan, attempt, describe
from bench.center.results import (
    CASES,
    INFLUX,
    NOTHING,
    Case,
    Direct,
    Results,
    load,
    select_cases,
)
from bench.center.servers import versions

ROOT = Path(__file__).parents[2]
QUICK_CASES = "*/1/5000,*/100/200"
QUICK_RECORDS = 200_000
FLEETS = (
    Plan(Case(NOTHING, 10_000, 200)),
    Plan(Case(NOTHING, 10_000, 200), spread=1.0),
    Plan(Case(INFLUX, 10_000, 200)),
    Plan(Case(NOTHING, 10_000, 200), seconds=90, restart_at=40.0),
)
QUICK_FLEETS = (
    Plan(Case(NOTHING, 1_000, 200), interval=6, spread=2.0, seconds=18),
    Plan(Case(NOTHING, 1_000, 200), interval=6, spread=2.0, seconds=24, restart_at=8.0),
)


@click.command(name="bench-center", context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--reps", type=click.IntRange(1), default=1, show_default=True, help="Repetitions.")
@click.option("--records", type=click.IntRange(1_000), help="Of a run, about.  [2000000]")
@click.option("--cases", default="", metavar="BACKEND/PROBES/RECORDS,…", help="As sqlite/100/*.")
@click.option("--fleets/--no-fleets", default=None, help="Also the paced fleets.  [with all cases]")
@click.option("--quick", is_flag=True, help="Small cases and fleets: does it work? 2 minutes.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for table, JSON and plot.  [bench/results and docs/images; "
    "build/bench for a part of the series]",
)
@click.option("--replot", is_flag=True, help="Table and plot from the JSON file there is.")
def command(
    reps: int,
    records: int | None,
    cases: str,
    fleets: bool | None,
    quick: bool,
    out: Path | None,
    replot: bool,
) -> None:
    """Measure what it costs to store a record, from the wire to each database."""
    settings = Settings(records=records or (QUICK_RECORDS if quick else 2_000_000))
    settings.repetitions = reps
    if out is None and (cases or quick) and not replot:
        out = ROOT / "build" / "bench"
    table, picture = (out, out) if out else (ROOT / "bench" / "results", ROOT / "docs" / "images")
    try:
        if not replot:
            wanted = select_cases(cases or QUICK_CASES) if cases or quick else CASES
            plans: Sequence[Plan] = QUICK_FLEETS if quick else FLEETS
            if not (not cases if fleets is None else fleets):
                plans = ()
            _measure(wanted, plans, settings, table / "center.json")
        show(load(table / "center.json"), table / "center.md", picture / "center.svg")
    except BenchError as error:
        raise click.ClickException(str(error)) from error


def _measure(cases: Sequence[Case], plans: Sequence[Plan], settings: Settings, path: Path) -> None:
    # So that all programs are gone after a SIGTERM too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    _check_files(max([case.probes for case in cases] + [plan.case.probes for plan in plans]))
    where = cpus()
    backends = list(dict.fromkeys(case.backend for case in cases))
    results = Results(
        machine=machine_facts(),
        versions={"wakizashi": wakizashi.__version__, **versions(backends)},
        settings={
            "records": settings.records,
            "repetitions": settings.repetitions,
            "seed": settings.seed,
            "center_cpus": ", ".join(map(str, sorted(where.center))),
            "other_cpus": ", ".join(map(str, sorted(where.others))),
        },
    )
    try:
        for one in series(cases, settings, click.echo):
            if isinstance(one, Direct):
                results.direct.append(one)
            else:
                results.runs.append(one)
            results.save(path)  # what is measured is kept
        for plan in plans:
            results.fleets.append(attempt(plan))
            click.echo(describe(results.fleets[-1]))
            results.save(path)
    except KeyboardInterrupt:
        click.echo("interrupted: what is measured so far is shown")
    if not results.runs:
        raise BenchError("nothing was measured")


def _check_files(probes: int) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < probes + 500:
        raise BenchError(
            f"{probes} probes are as many connections of the center, and {hard} descriptors are "
            f"permitted (ulimit -Hn); raise that, or choose less with --cases, as */100/*"
        )


def show(results: Results, table: Path, picture: Path) -> None:
    """Write the table and the plot."""
    from bench.center.plot import draw
    from bench.center.report import markdown

    table.parent.mkdir(parents=True, exist_ok=True)
    picture.parent.mkdir(parents=True, exist_ok=True)
    table.write_text(markdown(results))
    picture.write_text(draw(results))
    click.echo(f"{os.path.relpath(table)}\n{os.path.relpath(picture)}")


if __name__ == "__main__":
    command(prog_name="bench-center")
