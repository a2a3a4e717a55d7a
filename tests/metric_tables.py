"""Metrics as ``docs/metrics.md`` lists them, and as a daemon exposes them: the same values to compare."""

import re
from dataclasses import dataclass
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

DOCUMENT = Path(__file__).parents[1] / "docs" / "metrics.md"
FREE_LABELS = {"version", "commit", "built", "le"}
"""Labels whose values are not listed: they are the build's, or a histogram's own."""

Labels = frozenset[tuple[str, frozenset[str]]]
"""Each label and its values; of free labels the values are left out."""


@dataclass(frozen=True)
class Described:
    """One metric; the program is ``probe``, ``center`` or ``both``."""

    kind: str
    labels: Labels
    meaning: str


def documented(text: str | None = None) -> dict[str, Described]:
    """The rows of all tables of metrics."""
    text = DOCUMENT.read_text() if text is None else text
    rows: dict[str, Described] = {}
    for line in text.splitlines():
        if re.match(r"\| `(wakizashi|process)_", line):
            name, kind, labels, meaning = (cell.strip() for cell in line.strip("|\n ").split("|"))
            name = name.strip("`")
            assert name not in rows, f"{name} is listed twice"
            rows[name] = Described(kind, _cell(labels), meaning)
    return rows


def _cell(text: str) -> Labels:
    labels = set()
    for part in filter(None, map(str.strip, text.split(";"))):
        name, _, values = part.partition(":")
        labels.add((name.strip("` "), frozenset(filter(None, map(str.strip, values.split(","))))))
    return frozenset(labels)


def exposed(text: str) -> dict[str, Described]:
    """What Prometheus' text format says."""
    found: dict[str, Described] = {}
    for family in text_string_to_metric_families(text):
        values: dict[str, set[str]] = {}
        for sample in family.samples:
            for label, value in sample.labels.items():
                seen = values.setdefault(label, set())
                if label not in FREE_LABELS:
                    seen.add(value)
        values.pop("le", None)
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = frozenset((label, frozenset(these)) for label, these in values.items())
        found[name] = Described(family.type, labels, family.documentation)
    return found


def value(text: str, name: str, **labels: str) -> float:
    """The value of one sample."""
    (found,) = (
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name and sample.labels == labels
    )
    return found
