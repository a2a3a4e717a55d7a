"""The table, for a terminal and for a page."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from bench.soak.judge import MEMORY, MOST_RISE, SLACK, Verdict

_HEAD = (
    "| process | measure | start | warm | end | an hour | verdict |\n"
    "|---|---|---:|---:|---:|---:|---|\n"
)


def _bytes(value: float, form: str) -> str:
    return f"{value / 2**20:{form}} MiB"


def _slope(verdict: Verdict) -> str:
    slope, error = verdict.an_hour, verdict.error_an_hour
    if verdict.kind == MEMORY:
        return f"{_bytes(slope, '+.1f')} ± {error / 2**20:.1f}"
    return f"{slope:+.1f} ± {error:.1f}"


def _row(verdict: Verdict) -> str:
    values = (verdict.start, verdict.warm, verdict.end)
    shown = [_bytes(v, ".1f") if verdict.kind == MEMORY else str(v) for v in values]
    cells = [verdict.process, verdict.measure, *shown, _slope(verdict), verdict.fault or "flat"]
    return f"| {' | '.join(cells)} |\n"


def table(verdicts: Sequence[Verdict]) -> str:
    """A row for each series."""
    return _HEAD + "".join(map(_row, verdicts))


def markdown(verdicts: Sequence[Verdict], machine: dict[str, str], facts: dict[str, str]) -> str:
    """The whole page."""
    where = ", ".join(f"{name} {value}" for name, value in machine.items())
    what = "; ".join(f"{name}: {value}" for name, value in facts.items())
    return (
        "# Whether they stay as large as they are\n\n"
        "Made by `make soak`; do not edit. A probe and a center with SQLite stay up; a second probe "
        "delivers to a center that is stopped and started again and again; a client sends broken "
        "windows and breaks calls off; devices come and go; the addresses change all the time, so "
        "that every cache is full when the warm-up, the first third, ends. `capInterval` is 1. "
        '"An hour" is the slope of the line fitted to what comes after the warm-up, with its '
        f"standard error: memory fails beyond {MOST_RISE >> 20} MiB an hour less twice that error, "
        f"descriptors and threads {SLACK} above the plateau of the first half, files in a directory "
        f"{SLACK} above its low tide. The rule is `bench/soak/judge.py`.\n\n"
        f"{where}.\n\n{what}.\n\n{table(verdicts)}"
    )


def save(
    path: Path,
    verdicts: Sequence[Verdict],
    machine: dict[str, str],
    facts: dict[str, str],
    samples: Sequence[dict[str, float]],
) -> None:
    """Write the page, and the JSON file beside it with every sample."""
    path.mkdir(parents=True, exist_ok=True)
    (path / "soak.md").write_text(markdown(verdicts, machine, facts))
    whole = {
        "format": 1,
        "machine": machine,
        "facts": facts,
        "verdicts": [asdict(verdict) for verdict in verdicts],
        "samples": list(samples),
    }
    (path / "soak.json").write_text(json.dumps(whole, indent=None) + "\n")
