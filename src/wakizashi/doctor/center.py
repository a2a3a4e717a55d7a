"""What is looked at for a center. Imports nothing of the probe."""

import os
import resource
import time
from collections.abc import Iterator
from pathlib import Path

from wakizashi import exposure
from wakizashi.center.config import CenterConfig
from wakizashi.doctor import (
    certificates,
    clock,
    directory,
    environment,
    listening,
    secrets,
    storing,
)
from wakizashi.doctor.examination import Check
from wakizashi.doctor.finding import Finding, note, ok
from wakizashi.doctor.subjects import CENTER, PROBE, VARIABLES, Subject

OTHER_FILES = 128
"""Open files of a center that are no connections of probes, generously."""


def checks(subject: Subject) -> list[Check]:
    """All of it, each to be looked at on a thread of its own."""
    config = subject.config
    assert isinstance(config, CenterConfig)  # noqa: S101 - for the type checker; subjects loaded it

    def look_environment() -> Iterator[Finding]:
        yield from environment.look(os.environ, VARIABLES[CENTER], VARIABLES[PROBE], CENTER)

    def look_ports() -> Iterator[Finding]:
        for key, number in (("port", config.port), ("healthPort", config.healthPort)):
            yield from listening.look(listening.Port(key, config.host, number, config.healthPort))

    def look_connections() -> Iterator[Finding]:
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        yield judge_connections(most, config.limits.calls)

    return [
        Check("environment", look_environment),
        Check("secrets", lambda: secrets.look(config, subject.path)),
        Check("recoverDir", lambda: look_recovery(config)),
        Check("clock", lambda: clock.look(*clock.evidence())),
        Check("tls", lambda: look_certificates(config, time.time())),
        Check("listen", look_ports),
        Check("connections", look_connections),
        Check("backend", lambda: storing.look(config.backendConfig)),
    ]


def look_recovery(config: CenterConfig) -> Iterator[Finding]:
    """The recovery directory, if there is to be one."""
    if not config.recoverDir:
        yield ok(
            "recoverDir", "turned off: while the backend is away the probes keep their windows"
        )
        return
    yield from directory.look(
        directory.Directory(
            key="recoverDir",
            path=Path(config.recoverDir),
            limit_key="recoverLimit",
            limit_bytes=config.recoverLimit,
            interval_seconds=config.recoverInterval,
            whose="the backend",
        )
    )


def look_certificates(config: CenterConfig, now: float) -> Iterator[Finding]:
    """What the center shows its probes, and whose certificates it takes."""
    tls, client_ca = config.tls, config.tls.clientCA if config.tls else None
    exposed = list(
        exposure.of_center(
            config.host,
            tls=tls is not None,
            tokens=config.tokensFile is not None,
            client_ca=client_ca is not None,
        )
    )
    for text, _, remedy in (warning.partition("; ") for warning in exposed):
        yield note("tls", text, remedy)
    if tls is None:
        if not exposed:
            yield ok("tls", "plaintext, within this host")
        return
    for whose, certificate in tls.certificates(tls.load_pair(), tls.load_authorities()):
        yield certificates.judge(whose, certificate, now)


def judge_connections(most: int, calls: int) -> Finding:
    """Whether as many probes as may deliver at a time can be connected."""
    text = f"{most} open files are permitted; limits.calls is {calls}, and a probe takes one"
    if most < calls + OTHER_FILES:
        return note(
            "connections",
            text,
            f"raise the limit to {calls + OTHER_FILES} or more: `ulimit -Hn`, `LimitNOFILE=` in systemd",
        )
    return ok("connections", text)
