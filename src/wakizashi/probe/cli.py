"""The command ``probe``."""

import logging
import os
from pathlib import Path

import click

from wakizashi import config as loader
from wakizashi import privileges
from wakizashi.lifecycle import HangUp, guard
from wakizashi.logs import setup_logging
from wakizashi.probe.capture import choose, survey
from wakizashi.probe.config import ProbeConfig
from wakizashi.reload import Source
from wakizashi.run_as import assume
from wakizashi.version import version_text

_log = logging.getLogger(__name__)


def _version(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        click.echo(version_text("probe"))
        context.exit()


@click.command(name="probe", context_settings={"help_option_names": ["-h", "--help"]})
@click.option("-c", "--config", "path", type=click.Path(path_type=Path), help="YAML file.")
@click.option("--check", is_flag=True, help="Check configuration and engines, and exit.")
@click.option(
    "--pcap",
    type=click.Path(path_type=Path),
    help="Send this capture file (pcap, pcapng) instead of live traffic, and exit.",
)
@click.option(
    "--wait-for-devices",
    is_flag=True,
    help="Start even if no configured device is there yet.",
)
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Set a key over file and environment; may be repeated.",
)
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_version)
def command(
    path: Path | None,
    check: bool,
    pcap: Path | None,
    wait_for_devices: bool,
    overrides: tuple[str, ...],
) -> None:
    """Count the bytes that pass this host's network devices, and send them to a center."""

    def load() -> ProbeConfig:
        return loader.load(ProbeConfig, path, overrides=overrides)

    def load_again() -> ProbeConfig:
        config = load()
        _warn(config)
        return config

    def work() -> None:
        loader.refuse_listed_secrets(ProbeConfig, overrides)
        with HangUp() as hangup:
            config = load()
            setup_logging(config.logLev, "probe", config.logFormat)
            if check:
                for warning in config.warnings():
                    click.echo(f"warning: {warning}", err=True)
                click.echo(f"{path or 'defaults'}: ok")
                click.echo(survey(config.capture), nl=False)
                return
            _warn(config)
            _quiet_grpc()
            if pcap is not None:  # it ends by itself: a hang-up changes nothing
                _replay(config, pcap)
                return
            from wakizashi.probe.app import run

            source = Source(str(path or "defaults"), load_again, hangup)
            chosen = choose(config.capture)
            # Sockets of devices that come later need no more than those of devices that are here:
            # so all are opened with what is kept, and no packet was read before.
            assume(
                config,
                chosen[1].capabilities | privileges.for_ports(config.healthPort),
                source=path,
            )
            run(config, chosen, source, wait_for_devices=wait_for_devices)

    guard("probe", work)


def _warn(config: ProbeConfig) -> None:
    for warning in config.warnings():
        _log.warning("%s", warning)


def _replay(config: ProbeConfig, pcap: Path) -> None:
    from wakizashi.probe.offline import replay

    assume(config, (), {"--pcap": pcap})
    stats = replay(config, pcap)
    totals = stats.totals
    click.echo(
        f"{pcap}: {totals.counted.packets} packets with {totals.counted.bytes} bytes in "
        f"{stats.windows_acked} windows, all acknowledged by {config.centerAddr} "
        f"({totals.non_ip.packets} packets without IP, {totals.own.packets} of the probe's "
        "own left out)"
    )


def _quiet_grpc() -> None:
    """The core writes to standard error by itself; we say what matters."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")


def main() -> None:
    """Entry point."""
    # What it prints by itself, as --help, may have nowhere to go either.
    guard("probe", lambda: command(prog_name="probe"))
