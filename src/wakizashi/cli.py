"""The command ``wakizashi``, for people: look at what is stored, see it work."""

import logging
import math
import os
import sys
from pathlib import Path
from typing import Any

import click

from wakizashi.errors import WakizashiError
from wakizashi.lifecycle import guard
from wakizashi.logs import LEVELS, setup_logging
from wakizashi.version import version_text


class _Seconds(click.FloatRange):
    """A number in a range, of which NaN is none, though it is not outside of it either."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """The number; fails as any option does."""
        number = float(super().convert(value, param, ctx))
        if math.isnan(number):
            self.fail(f"{value!r} is no number of seconds.", param, ctx)
        return number


def _version(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        click.echo(version_text("wakizashi"))
        context.exit()


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_version)
def command() -> None:
    """Who talks to whom, and how much."""


@command.command()
@click.option(
    "-c", "--config", "path", type=click.Path(path_type=Path), help="The center's YAML file."
)
@click.option("--last", default="10m", show_default=True, help="How far back: 90s, 10m, 1h30m, 7d.")
@click.option("--by", default="", help="Sum by these fields, e.g. srcIP,dstIP.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "json", "csv"]),
    default="table",
    show_default=True,
    help="How to print.",
)
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Set a key.")
def query(path: Path | None, last: str, by: str, form: str, overrides: tuple[str, ...]) -> None:
    """Read traffic records back from the center's backend."""

    def work() -> None:
        from wakizashi import query as reader

        fields = tuple(name for name in by.replace(" ", "").split(",") if name)
        _refuse_listed_secrets(overrides)
        reader.export(path, last=last, by=fields, form=form, overrides=overrides)

    guard("wakizashi", work)


@command.command()
@click.option(
    "-c", "--config", "path", type=click.Path(path_type=Path), help="The center's YAML file."
)
@click.option("--last", default="1h", show_default=True, help="How far back: 90s, 10m, 1h30m, 7d.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "json"]),
    default="table",
    show_default=True,
    help="How to print.",
)
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Set a key.")
def audit(path: Path | None, last: str, form: str, overrides: tuple[str, ...]) -> None:
    """Prove that what is stored adds up; exit with 1 where it does not."""

    def work() -> None:
        from wakizashi.audit import reading
        from wakizashi.audit.report import verdict

        _refuse_listed_secrets(overrides)
        report, backend = reading.audit(path, last=last, overrides=overrides)
        reading.write(report, backend, form)
        if not report.adds_up:
            sys.stdout.flush()
            raise WakizashiError(verdict(report))

    guard("wakizashi", work)


@command.command()
@click.option(
    "-c",
    "--config",
    "paths",
    multiple=True,
    type=click.Path(path_type=Path),
    help="A probe's or a center's YAML file; may be repeated.",
)
@click.option("--probe", is_flag=True, help="Look for a probe where the keys of FILE don't tell.")
@click.option("--center", is_flag=True, help="Look for a center where the keys of FILE don't tell.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "json"]),
    default="table",
    show_default=True,
    help="How to print.",
)
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Set a key.")
def doctor(
    paths: tuple[Path, ...], probe: bool, center: bool, form: str, overrides: tuple[str, ...]
) -> None:
    """Would the daemons work on this host? Exit with 1 where something would not.

    Without -c it looks at the defaults of a probe.
    """

    def work() -> None:
        os.environ.setdefault("GRPC_VERBOSITY", "NONE")
        setup_logging(LEVELS.index(logging.CRITICAL), "wakizashi")  # the findings tell it all
        from wakizashi.doctor import report, run

        _refuse_listed_secrets(overrides)
        told = [kind for kind, wanted in (("probe", probe), ("center", center)) if wanted]
        sections = run.doctor(paths, overrides=overrides, told=told)
        run.write(sections, form)
        sys.stdout.flush()
        if not report.works(sections):
            raise WakizashiError(report.verdict(sections))
        if form == "table":
            click.echo(report.verdict(sections))

    guard("wakizashi", work)


@command.command()
@click.option("--seconds", type=_Seconds(min=1), help="Stop by itself, and compare sums.")
@click.option(
    "--backend",
    type=click.Choice(["sqlite", "influxdb"]),
    default="sqlite",
    show_default=True,
    help="Where to store; influxdb is expected at http://127.0.0.1:8086.",
)
def demo(seconds: float | None, backend: str) -> None:
    """Run probe and center on this machine, with some traffic, and show the top talkers."""

    def work() -> None:
        os.environ.setdefault("GRPC_VERBOSITY", "NONE")
        from wakizashi.demo.run import run

        run(seconds, backend)

    guard("wakizashi", work)


@command.command()
@click.option(
    "--device",
    "devices",
    multiple=True,
    metavar="NAME|PATTERN",
    help="Watch these devices; may be repeated. Without it, all that are up.",
)
@click.option("--plain", is_flag=True, help="Lines of text at each interval, for pipes and logs.")
@click.option("--json", is_flag=True, help="A JSON object a line at each interval.")
@click.option(
    "--interval",
    type=_Seconds(min=0.5, max=3600),
    default=2,
    show_default=True,
    metavar="SECONDS",
    help="How often.",
)
@click.option("--count", type=click.IntRange(min=1), metavar="N", help="End after N intervals.")
@click.option(
    "--capture",
    default="auto",
    show_default=True,
    metavar="ENGINE",
    help="ebpf, ring or scapy; auto: the first that this host permits.",
)
@click.option("--names", is_flag=True, help="Names instead of numbers; asks the resolver.")
@click.option("--bits", is_flag=True, help="Rates in bits instead of bytes a second.")
@click.option(
    "--pairs",
    type=click.IntRange(min=0),
    default=10,
    show_default=True,
    metavar="N",
    help="How many pairs --plain shows.",
)
@click.option("--user", default="", metavar="USER", help="Become this user once all is set up.")
def top(
    devices: tuple[str, ...],
    plain: bool,
    json: bool,
    interval: float,
    count: int | None,
    capture: str,
    names: bool,
    bits: bool,
    pairs: int,
    user: str,
) -> None:
    """Who talks to whom on this host now: a live view, without a center.

    Where standard output is no terminal it is as with --plain.
    """
    if plain and json:
        raise click.UsageError("--plain and --json exclude each other")

    def work() -> None:
        setup_logging(LEVELS.index(logging.WARNING), "wakizashi")
        from wakizashi.top import run

        terminals = sys.stdin.isatty() and sys.stdout.isatty()
        run.run(
            run.Options(
                devices=devices,
                capture=capture,
                interval_seconds=interval,
                count=count,
                form=run.form(plain=plain, json=json, terminals=terminals),
                names=names,
                bits=bits,
                pairs=pairs,
                user=user,
            )
        )

    guard("wakizashi", work)


@command.command()
@click.option(
    "-c", "--config", "path", type=click.Path(path_type=Path), help="The center's YAML file."
)
@click.option(
    "--listen",
    default="127.0.0.1:8080",
    show_default=True,
    metavar="HOST:PORT",
    help="Where the page is; [::1]:8080 for IPv6, port 0 for a free one.",
)
@click.option(
    "--names",
    "names",
    type=click.Path(),
    metavar="FILE",
    help="Names of addresses and networks, as in /etc/hosts.",
)
@click.option("--no-dns", is_flag=True, help="Do not ask the resolver for names of addresses.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Set a key.")
def dashboard(
    path: Path | None, listen: str, names: str | None, no_dns: bool, overrides: tuple[str, ...]
) -> None:
    """Show what is stored on a page in the browser; reads only."""

    def work() -> None:
        from wakizashi.dashboard import run
        from wakizashi.dashboard.names import named

        _refuse_listed_secrets(overrides)
        file = named(names)
        run.run(
            run.Options(config=path, listen=listen, names=file, dns=not no_dns, overrides=overrides)
        )

    guard("wakizashi", work)


def _refuse_listed_secrets(overrides: tuple[str, ...]) -> None:
    from wakizashi.center.config import CenterConfig
    from wakizashi.config import refuse_listed_secrets

    refuse_listed_secrets(CenterConfig, overrides)


def main() -> None:
    """Entry point."""
    # What it prints by itself, as --help, may have nowhere to go either.
    guard("wakizashi", lambda: command(prog_name="wakizashi"))
