"""The command ``python -m bench.capture``."""

import os
import signal
import tempfile
from pathlib import Path

import click

from bench.capture import engines, peers
from bench.capture.cpu import machine_facts
from bench.capture.lab import Lab, run
from bench.capture.measure import charged_share, pin, series
from bench.capture.results import CASES, BenchError, Case, Results, load, select_cases
from bench.capture.tools import Settings, Tool

ROOT = Path(__file__).parents[2]
QUICK = Settings(packets=200_000, repetitions=1, interval=1, settle=2.0)
QUICK_CASES = "64/1024/top"


def all_tools() -> list[Tool]:
    """Peers first, then our engines."""
    return [
        peers.EmptyTap(),
        peers.Tcpdump(),
        peers.Pmacctd(),
        peers.Softflowd(),
        *engines.probes(),
    ]


def select_tools(text: str) -> list[Tool]:
    """The tools named in ``text``, comma-separated; all if it is empty."""
    tools = {tool.name: tool for tool in all_tools()}
    names = [name.strip() for name in text.split(",")] if text else list(tools)
    unknown = [name for name in names if name not in tools]
    if unknown:
        raise BenchError(f"--only: {', '.join(unknown)}: there are {', '.join(tools)}")
    return [tools[name] for name in names]


@click.command(name="bench-capture", context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--reps", type=click.IntRange(1), help="Repetitions of everything.  [3]")
@click.option(
    "--packets",
    type=click.IntRange(1_000),
    help="Packets of a run at the top rate; half as many at the steady one.  [2000000]",
)
@click.option("--rate", type=click.IntRange(20_000), help="The steady rate in packets/s.  [100000]")
@click.option("--only", default="", metavar="TOOL,…", help="These tools; 'no tap' runs always.")
@click.option("--cases", default="", metavar="FRAME/FLOWS/PACE,…", help="As 64/*/top; * is any.")
@click.option("--quick", is_flag=True, help="One small case once: does it work? Under a minute.")
@click.option("--pin/--no-pin", default=True, help="Keep the tools off the generator's CPU.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for table, JSON and plot.  [bench/results and docs/images; "
    "build/bench for a part of the series]",
)
@click.option("--replot", is_flag=True, help="Table and plot from the JSON file there is.")
def command(
    reps: int | None,
    packets: int | None,
    rate: int | None,
    only: str,
    cases: str,
    quick: bool,
    pin: bool,
    out: Path | None,
    replot: bool,
) -> None:
    """Measure what capturing costs with our engines and with the usual tools."""
    settings = QUICK if quick else Settings()
    settings.repetitions = reps or settings.repetitions
    settings.packets = packets or settings.packets
    settings.rate = rate or settings.rate
    settings.pinned = pin
    part = bool(only or cases or quick)
    if out is None and part and not replot:
        out = ROOT / "build" / "bench"
    table, picture = (out, out) if out else (ROOT / "bench" / "results", ROOT / "docs" / "images")
    try:
        if not replot:
            wanted = select_cases(cases or QUICK_CASES) if cases or quick else CASES
            _measure(select_tools(only), wanted, settings, table / "capture.json")
        show(load(table / "capture.json"), table / "capture.md", picture / "capture.svg")
    except BenchError as error:
        raise click.ClickException(str(error)) from error


def _measure(tools: list[Tool], cases: tuple[Case, ...], settings: Settings, path: Path) -> None:
    if os.geteuid() != 0:
        raise BenchError("namespaces and packet sockets need root: sudo make bench-capture")
    facts = machine_facts()
    if settings.pinned:
        pin()
    # So that namespaces and programs are gone after a SIGTERM too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    results = Results(
        machine=facts,
        versions=_versions(tools),
        settings={
            name: getattr(settings, name)
            for name in ("packets", "rate", "repetitions", "seed", "interval", "settle", "pinned")
        },
    )
    with tempfile.TemporaryDirectory(prefix="bench-capture-") as name:
        # softflowd and tcpdump drop their privileges and still write there.
        Path(name).chmod(0o755)
        with Lab(Path(name)) as lab:
            try:
                results.settings["charged_share"] = round(charged_share(lab), 3)
                for one in series(lab, tools, cases, settings, click.echo):
                    results.runs.append(one)
                    results.save(path)  # a series takes an hour; what is measured is kept
            except KeyboardInterrupt:
                click.echo("interrupted: what is measured so far is shown")
    if not results.runs:
        raise BenchError("nothing was measured")


def _versions(tools: list[Tool]) -> dict[str, str]:
    versions = {"trafgen": peers.version_in(run("trafgen", "-v", any_exit=True), "trafgen")}
    for tool in tools:
        try:
            versions[tool.name] = tool.version()
        except BenchError as error:
            versions[tool.name] = f"unknown: {error}"
    return versions


def show(results: Results, table: Path, picture: Path) -> None:
    """Write the table and the plot."""
    from bench.capture.plot import draw
    from bench.capture.report import markdown

    table.parent.mkdir(parents=True, exist_ok=True)
    picture.parent.mkdir(parents=True, exist_ok=True)
    table.write_text(markdown(results))
    picture.write_text(draw(results))
    click.echo(f"{table}\n{picture}")


if __name__ == "__main__":
    command(prog_name="bench-capture")
