"""``wakizashi doctor``: loads, looks, prints."""

import json
import os
import shutil
import socket
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TextIO

from wakizashi.doctor import becoming
from wakizashi.doctor.examination import Check, examine
from wakizashi.doctor.report import Section, document, lines
from wakizashi.doctor.subjects import PROBE, Subject, subjects


def doctor(
    paths: Sequence[Path], *, overrides: Sequence[str] = (), told: Sequence[str] = ()
) -> list[Section]:
    """Look at this host for each configuration.

    Raises:
        ConfigError: one of them can't be used.
        WakizashiError: nothing tells whose one is.
    """
    found = subjects(paths, overrides, os.environ, told=told)
    # Before there is any thread.
    users = [becoming.check(subject.config, subject.path) for subject in found]
    everything = [[user, *checks(subject)] for user, subject in zip(users, found, strict=True)]
    with ThreadPoolExecutor(len(found)) as pool:  # so that the time is that of one
        looked = pool.map(examine, everything)
        return [
            Section(subject.kind, str(subject.path or "defaults"), tuple(findings))
            for subject, findings in zip(found, looked, strict=True)
        ]


def checks(subject: Subject) -> list[Check]:
    """What is to be looked at; each side is imported only where it is."""
    if subject.kind == PROBE:
        from wakizashi.doctor import probe

        return probe.checks(subject)
    from wakizashi.doctor import center

    return center.checks(subject)


def write(sections: Sequence[Section], form: str, out: TextIO | None = None) -> None:
    """Write as ``table`` or ``json``, to standard output unless told."""
    out = out or sys.stdout
    host = socket.gethostname()
    if form == "json":
        json.dump(document(sections, host), out, indent=1)
        out.write("\n")
        return
    terminal = out.isatty()
    columns = shutil.get_terminal_size().columns if terminal else None
    colour = terminal and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"
    out.writelines(f"{line}\n" for line in lines(sections, host, columns=columns, colour=colour))
