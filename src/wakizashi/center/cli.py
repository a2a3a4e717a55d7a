"""The command ``center``."""

import asyncio
import logging
import os
from pathlib import Path

import click

from wakizashi import privileges
from wakizashi.center import handshakes
from wakizashi.center.config import CenterConfig, load_center
from wakizashi.config import refuse_listed_secrets
from wakizashi.lifecycle import HangUp, guard
from wakizashi.logs import setup_logging
from wakizashi.reload import Source
from wakizashi.run_as import assume
from wakizashi.version import version_text

_log = logging.getLogger(__name__)


def _version(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        click.echo(version_text("center"))
        context.exit()


@click.command(name="center", context_settings={"help_option_names": ["-h", "--help"]})
@click.option("-c", "--config", "path", type=click.Path(path_type=Path), help="YAML file.")
@click.option("--check", is_flag=True, help="Check the configuration and exit.")
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Set a key over file and environment; may be repeated.",
)
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_version)
def command(path: Path | None, check: bool, overrides: tuple[str, ...]) -> None:
    """Take the windows of probes and store them.

    Without -c it listens on loopback and stores in ./wakizashi.db.
    """

    def load() -> CenterConfig:
        return load_center(path, overrides)

    def load_again() -> CenterConfig:
        config = load()
        _warn(config, path)
        return config

    def work() -> None:
        refuse_listed_secrets(CenterConfig, overrides)
        with HangUp() as hangup:
            config = load()
            if check:
                for warning in config.warnings(path):
                    click.echo(f"warning: {warning}", err=True)
                click.echo(f"{path or 'defaults'}: ok")
                return
            setup_logging(config.logLev, "center", config.logFormat)
            _warn(config, path)
            # The core writes to standard error on its own; before grpc is imported only.
            if config.tls is None:
                os.environ.setdefault("GRPC_VERBOSITY", "NONE")
            elif "GRPC_VERBOSITY" not in os.environ:
                os.environ.update(handshakes.ENVIRONMENT)
            # Nothing but the configuration was read yet, and no other thread runs.
            assume(config, privileges.for_ports(config.port, config.healthPort), source=path)
            from wakizashi.center.app import run

            asyncio.run(run(config, Source(str(path or "defaults"), load_again, hangup)))

    guard("center", work)


def _warn(config: CenterConfig, path: Path | None) -> None:
    for warning in config.warnings(path):
        _log.warning("%s", warning)


def main() -> None:
    """The entry point."""
    # What it prints by itself, as --help, may have nowhere to go either.
    guard("center", lambda: command(prog_name="center"))
