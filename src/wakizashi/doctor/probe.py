"""What is looked at for a probe. Imports nothing of the center."""

import os
from collections.abc import Iterator

from wakizashi.doctor import (
    capturing,
    clock,
    directory,
    environment,
    kernel,
    listening,
    secrets,
    way,
)
from wakizashi.doctor.examination import Check
from wakizashi.doctor.finding import Finding
from wakizashi.doctor.subjects import CENTER, PROBE, VARIABLES, Subject
from wakizashi.probe.config import ProbeConfig


def checks(subject: Subject) -> list[Check]:
    """All of it, each to be looked at on a thread of its own."""
    config = subject.config
    assert isinstance(config, ProbeConfig)  # noqa: S101 - for the type checker; subjects loaded it
    place = directory.Directory(
        key="dumpDir",
        path=config.dumpDir,
        limit_key="dumpLimit",
        limit_bytes=config.dumpLimit,
        interval_seconds=config.capInterval,
        whose="the center",
    )

    def look_kernel() -> Iterator[Finding]:
        system = os.uname()
        yield from kernel.look_kernel(system.release, system.machine)
        yield from kernel.look_capabilities(kernel.held(), os.geteuid(), config.capture)

    def look_environment() -> Iterator[Finding]:
        yield from environment.look(os.environ, VARIABLES[PROBE], VARIABLES[CENTER], PROBE)

    port = config.healthPort
    listen = [listening.Port("healthPort", "0.0.0.0", port, port)] if port is not None else []
    return [
        Check("environment", look_environment),
        Check("secrets", lambda: secrets.look(config, subject.path)),
        Check("kernel", look_kernel),
        Check("engine", lambda: capturing.look(config)),
        Check("dumpDir", lambda: directory.look(place)),
        Check("clock", lambda: clock.look(*clock.evidence())),
        Check("name", lambda: way.look(config)),
        *[Check("listen", lambda each=each: listening.look(each)) for each in listen],  # type: ignore[misc] # bound now
    ]
