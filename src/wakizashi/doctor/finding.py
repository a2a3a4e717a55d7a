"""What a look at something finds: fine, worth knowing, or in the way. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

CHECKS = {
    "environment": "variables that begin with WAKIZASHI_",
    "secrets": "files that hold passwords, tokens and keys",
    "user": "whether `user` may use what the configuration names",
    "kernel": "release, lockdown, the compiler of BPF programs",
    "capabilities": "what this process may",
    "engine": "the capture engines, and the one that `capture` takes",
    "devices": "what `networkDevs` means now, and whether it can be captured",
    "offloads": "what a card does to packets before they are counted",
    "memory": "rings and maps against memory and limits",
    "dumpDir": "whether the probe can keep windows",
    "recoverDir": "whether the center can keep windows",
    "room": "bytes and inodes that are free, against the quota",
    "waiting": "windows that wait, and those in `bad/`",
    "clock": "whether this host's clock is synchronised",
    "name": "addresses of the center's name",
    "connection": "TCP to each of them",
    "tls": "certificates of both sides",
    "service": "whether the center serves",
    "token": "whether the center takes this probe's windows",
    "skew": "this host's clock against the center's",
    "listen": "the ports of the center, and of the health checks",
    "connections": "open files against the probes that may connect",
    "backend": "whether the database takes the center's points, and keeps them",
    "series": "the database's limits",
}
"""By name, in the order in which they are told: what each looks at. ``docs/doctor.md`` has more."""


class Verdict(Enum):
    """What a finding means."""

    OK = "ok"
    NOTE = "note"
    """It works; something is worth knowing."""
    FAULT = "fault"
    """Something would not work."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing found: a line."""

    check: str
    """Of :data:`CHECKS`."""
    verdict: Verdict
    text: str
    """What was found, with its value; no secrets."""
    remedy: str = ""
    """What to do; empty where all is fine."""


def ok(check: str, text: str) -> Finding:
    """All is fine."""
    return Finding(check, Verdict.OK, text)


def note(check: str, text: str, remedy: str) -> Finding:
    """It works, but."""
    return Finding(check, Verdict.NOTE, text, remedy)


def fault(check: str, text: str, remedy: str) -> Finding:
    """It would not work."""
    return Finding(check, Verdict.FAULT, text, remedy)


def number(findings: Iterable[Finding], verdict: Verdict) -> int:
    """How many findings mean that."""
    return sum(finding.verdict is verdict for finding in findings)
