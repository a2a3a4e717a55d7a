"""Would the user that a daemon is to become be able to use what its configuration names?"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from wakizashi.doctor.examination import Check
from wakizashi.doctor.finding import Finding, fault, note, ok
from wakizashi.run_as import foresee
from wakizashi.sections import DaemonSection


def check(config: DaemonSection, path: Path | None) -> Check:
    """Looks at once: it forks, which is not for a process that has other threads."""
    found = list(judge(config.user, *foresee(config, path)))
    return Check("user", lambda: iter(found))


def judge(user: str, refused: Sequence[str], trouble: str | None) -> Iterator[Finding]:
    """What a start would refuse, and what a reload would; messages with their remedies."""
    for text, _, remedy in (message.partition("; ") for message in refused):
        yield fault("user", text, remedy)
    if trouble is not None:
        text, _, remedy = trouble.partition("; ")
        yield note("user", text, remedy)
    if not refused and trouble is None:
        yield ok("user", user or f"none is set: uid {os.geteuid()}, if the same starts it")
