"""What was found, as lines for people and as JSON for programs: ``docs/doctor.md``. Pure."""

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from wakizashi.doctor.finding import Finding, Verdict, number

VERSION = 1
"""Of the JSON document; fields may be added, none changes its meaning without a new number."""

LEAST_COLUMNS = 60
"""A terminal narrower than that breaks the lines itself."""

_WORDS = {Verdict.OK: "ok   ", Verdict.NOTE: "note ", Verdict.FAULT: "FAULT"}
_COLOURS = {Verdict.OK: "32", Verdict.NOTE: "33", Verdict.FAULT: "1;31"}


@dataclass(frozen=True, slots=True)
class Section:
    """What was found of one daemon."""

    kind: str
    """``probe`` or ``center``."""
    source: str
    """The configuration file, or ``defaults``."""
    findings: tuple[Finding, ...]


def _all(sections: Sequence[Section]) -> list[Finding]:
    return [finding for section in sections for finding in section.findings]


def works(sections: Sequence[Section]) -> bool:
    """Whether nothing is in the way."""
    return not number(_all(sections), Verdict.FAULT)


def verdict(sections: Sequence[Section]) -> str:
    """One line: what the exit code says."""
    faults, notes = (number(_all(sections), v) for v in (Verdict.FAULT, Verdict.NOTE))
    more = f" ({_count(notes, 'note')})" if notes else ""
    return f"would not work: {_count(faults, 'fault')}{more}" if faults else f"would work{more}"


def _count(amount: int, what: str) -> str:
    return f"{amount} {what}{'s' if amount != 1 else ''}"


def document(sections: Sequence[Section], host: str) -> dict[str, Any]:
    """The JSON document."""
    found = _all(sections)
    return {
        "version": VERSION,
        "host": host,
        "works": works(sections),
        "faults": number(found, Verdict.FAULT),
        "notes": number(found, Verdict.NOTE),
        "daemons": [
            {
                "daemon": section.kind,
                "configuration": section.source,
                "findings": [
                    {
                        "check": finding.check,
                        "verdict": finding.verdict.value,
                        "text": _printable(finding.text),
                        "remedy": _printable(finding.remedy) or None,
                    }
                    for finding in section.findings
                ],
            }
            for section in sections
        ],
    }


def lines(
    sections: Sequence[Section], host: str, *, columns: int | None = None, colour: bool = False
) -> Iterator[str]:
    """A line for each finding; with ``columns``, for a terminal, broken below its text."""
    width = max((len(finding.check) for finding in _all(sections)), default=0)
    for section in sections:
        yield f"{section.kind} on {_printable(host)}, configuration: {_printable(section.source)}"
        for finding in section.findings:
            yield from _line(finding, width, columns, colour)
        yield ""


def _line(finding: Finding, width: int, columns: int | None, colour: bool) -> Iterator[str]:
    text = "; ".join(_printable(part) for part in (finding.text, finding.remedy) if part)
    word = _WORDS[finding.verdict]
    indent = len(word) + width + 3
    parts = [text]
    if columns is not None and columns >= LEAST_COLUMNS:
        parts = textwrap.wrap(text, columns - indent - 1, break_on_hyphens=False) or [""]
    shown = f"\x1b[{_COLOURS[finding.verdict]}m{word}\x1b[0m" if colour else word
    yield f"{shown} {finding.check:<{width}}  {parts[0]}"
    for part in parts[1:]:
        yield f"{'':<{indent}}{part}"


def _printable(text: str) -> str:
    """On one line, and for any terminal: names of files, devices and servers are others' words."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
