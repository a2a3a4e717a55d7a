"""The command ``python -m bench.soak``."""

import os
import signal
from pathlib import Path

import click

import wakizashi
from bench.capture.cpu import machine_facts
from bench.capture.results import BenchError
from bench.soak.judge import judge
from bench.soak.report import save, table
from bench.soak.run import SAMPLE_SECONDS, soak

ROOT = Path(__file__).parents[2]


@click.command(name="soak", context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--minutes", type=click.FloatRange(3), default=10, show_default=True)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=ROOT / "build" / "bench",
    help="Folder for table and samples.  [build/bench]",
)
def command(minutes: float, out: Path) -> None:
    """Run probes and centers under changing traffic, and see whether they grow."""
    # So that all programs are gone after a SIGTERM too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        made = soak(minutes, click.echo)
        verdicts = [judge(series) for series in made.series()]
    except (BenchError, ValueError) as error:
        raise click.ClickException(str(error)) from error
    facts = {
        "wakizashi": wakizashi.__version__,
        "minutes": f"{minutes:g}",
        "samples": f"{len(made.seconds)}, one every {SAMPLE_SECONDS:g} s",
        "stops and starts of the second center": str(made.done.get("center", 0)),
        "devices that came and went": str(made.done.get("device", 0)),
    }
    save(out, verdicts, machine_facts(), facts, made.rows())
    click.echo(f"{table(verdicts)}\n{os.path.relpath(out / 'soak.md')}")
    faults = [f"{v.process}, {v.measure}: {v.fault}" for v in verdicts if v.fault]
    if faults:
        raise click.ClickException("not flat: " + "; ".join(faults))


if __name__ == "__main__":
    command(prog_name="soak")
