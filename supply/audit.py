"""Asks whether a vulnerability is known in what is locked: ``make audit-locks``.

In: the locks. Out: a line for each vulnerability, and an exit code: 0 none is known, 1 some are,
75 (EX_TEMPFAIL) the service did not answer for all of them. pip-audit asks PyPI's service. By
itself it ends with 0 and "No known vulnerabilities found" when the index it reaches is a mirror
that knows no advisories and answered for no package at all; so its report is read, not its code.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from supply import lock

UNANSWERED = 75


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is known of some distributions."""

    vulnerable: tuple[str, ...]
    unanswered: tuple[str, ...]
    answered: int = 0


def locked() -> list[str]:
    """Everything in the locks, as ``name==version``."""
    pins = [pin for name in lock.LOCKS for same in lock.pins(name).values() for pin in same]
    return sorted({f"{pin.name}=={pin.version}" for pin in pins})


def verdict(report: dict[str, Any]) -> Verdict:
    """Reads a report of pip-audit."""
    vulnerable, unanswered, answered = [], [], 0
    for item in report["dependencies"]:
        if "skip_reason" in item:
            unanswered.append(item["name"])
            continue
        answered += 1
        for found in item["vulns"]:
            mended = ", ".join(found["fix_versions"]) or "no version yet"
            vulnerable.append(
                f"{item['name']} {item['version']}: {found['id']}, mended in {mended}"
            )
    return Verdict(tuple(vulnerable), tuple(unanswered), answered)


def ask(pins: list[str]) -> Verdict:
    """Has pip-audit ask about pins, none of them of a distribution that another one names."""
    with tempfile.TemporaryDirectory() as folder:
        wanted = Path(folder, "locked.txt")
        wanted.write_text("\n".join(pins) + "\n")
        command = [sys.executable, "-m", "pip_audit", "--requirement", str(wanted), "--no-deps"]
        command += ["--disable-pip", "--format", "json", "--progress-spinner", "off"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  # no word of it is foreign
    if not done.stdout.startswith("{"):
        why = done.stderr.strip().splitlines()[-1:] or ["it said nothing"]
        print(f"pip-audit did not report: {why[0]}", file=sys.stderr)
        return Verdict((), tuple(pins))
    return verdict(json.loads(done.stdout))


def rounds(pins: list[str]) -> list[list[str]]:
    """Pins in lists that each name a distribution once: some are locked in two versions."""
    lists: list[list[str]] = []
    for pin in pins:
        name = pin.partition("==")[0]
        for names in lists:
            if not any(other.startswith(f"{name}==") for other in names):
                names.append(pin)
                break
        else:
            lists.append([pin])
    return lists


def main() -> int:
    """The command: ``python -m supply.audit``."""
    pins = locked()
    verdicts = [ask(some) for some in rounds(pins)]
    vulnerable = [line for item in verdicts for line in item.vulnerable]
    unanswered = [name for item in verdicts for name in item.unanswered]
    answered = sum(item.answered for item in verdicts)
    for line in vulnerable:
        print(line)
    if answered + len(unanswered) != len(pins):
        unanswered.append(f"{len(pins) - answered - len(unanswered)} that the report leaves out")
    if unanswered:
        which = "all" if len(unanswered) == len(pins) else ", ".join(unanswered)
        print(
            f"not audited, for the advisory service did not answer: {which} of the {len(pins)} that"
            " are locked; ask again where it can be reached",
            file=sys.stderr,
        )
    if vulnerable:
        return 1
    if unanswered:
        return UNANSWERED
    print(f"no vulnerability is known in any of the {len(pins)} that are locked")
    return 0


if __name__ == "__main__":
    sys.exit(main())
