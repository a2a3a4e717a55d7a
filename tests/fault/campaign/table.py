"""The results of many runs as a table in Markdown."""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.fault.campaign.schedule import FAULTS


def table(lines: Sequence[dict[str, Any]], commit: str) -> str:
    """What was run, what was seen, what was missing."""
    verdicts = [line["verdict"] for line in lines]
    evidence: Counter[str] = Counter()
    struck: Counter[str] = Counter()
    engines: Counter[str] = Counter()
    for line in lines:
        evidence.update(line["evidence"])
        struck.update(strike["fault"] for strike in line["schedule"]["strikes"])
        engines.update(line["schedule"]["engines"])
    good = sum(line["good"] for line in lines)
    rows = [
        ("runs", f"{len(lines)}, seeds {lines[0]['seed']} to {lines[-1]['seed']}, of {commit}"),
        ("runs that add up", f"{good}"),
        ("bytes sent, as the probes should have counted them", f"{_total(verdicts, 'sent'):,}"),
        ("bytes stored", f"{_total(verdicts, 'stored'):,}"),
        ("bytes missing", f"{_total(verdicts, 'missing'):,}"),
        ("bytes spurious", f"{_total(verdicts, 'spurious'):,}"),
        (
            "bytes in open windows of killed probes, which may be lost",
            f"{_total(verdicts, 'lost_in_open_windows'):,}",
        ),
        (
            "bytes that neither a full dumpDir nor a center took, as the stored ledgers tell",
            f"{_total(verdicts, 'lost_and_told'):,}",
        ),
        ("faults injected", f"{sum(struck.values()):,}"),
        *((f"{name} seen", f"{count:,}") for name, count in sorted(evidence.items())),
        ("probes by engine", ", ".join(f"{name} {n}" for name, n in sorted(engines.items()))),
    ]
    text = "| | |\n|---|---|\n" + "".join(f"| {name} | {value} |\n" for name, value in rows)
    faults = "".join(f"| `{name}` | {struck[name]} |\n" for name in FAULTS)
    return text + "\n| fault | times |\n|---|---|\n" + faults


def _total(verdicts: Sequence[dict[str, Any]], name: str) -> int:
    return sum(verdict[name] for verdict in verdicts)


def write(path: Path, part: str, text: str) -> None:
    """Set a part of a document: what stands between ``<!-- PART -->`` and ``<!-- end -->``."""
    known = path.read_text()
    pattern = rf"(<!-- {part} -->\n).*?(<!-- end -->)"
    new, times = re.subn(pattern, lambda m: f"{m[1]}{text}{m[2]}", known, flags=re.DOTALL)
    if times != 1:
        raise ValueError(f"{path}: there is no part {part}")
    path.write_text(new)
