"""``wakizashi query``: traffic records read back from whichever backend the center uses."""

import csv
import json
import re
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

from wakizashi.center.backend import BY_KEYS, open_backend
from wakizashi.center.config import load_center
from wakizashi.errors import WakizashiError

FIELDS = ("timestamp", "probe", "probeIP", "srcIP", "dstIP", "size", "packets")
_SPAN = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}

Row = dict[str, str | int]


class QueryError(WakizashiError):
    """A query that makes no sense; says which part, and what would."""

    exit_code = 2


def span_seconds(text: str) -> int:
    """Seconds in ``10m``, ``1h30m``, ``7d``.

    Raises:
        QueryError: it is none of these.
    """
    if not re.fullmatch(r"(\d+[smhdw])+", text):
        raise QueryError(f"--last: {text!r} is no span of time; write 90s, 10m, 1h30m or 7d")
    return sum(int(n) * _SPAN[unit] for n, unit in re.findall(r"(\d+)([smhdw])", text))


def query(
    path: Path | None,
    *,
    last: str,
    by: Sequence[str],
    overrides: Sequence[str] = (),
    now_ms: int | None = None,
) -> list[Row]:
    """The records of the last while, or their sums by some of their fields, largest first.

    Raises:
        WakizashiError: bad arguments or configuration, or the backend does not answer.
    """
    unknown = [name for name in by if name not in BY_KEYS]
    if unknown:
        raise QueryError(f"--by: no field {', '.join(unknown)}; there are {', '.join(BY_KEYS)}")
    end = (now_ms if now_ms is not None else time.time_ns() // 1_000_000) + 1
    since = max(0, end - span_seconds(last) * 1_000)
    config = load_center(path, overrides, serves=False)
    backend = open_backend(config.backendConfig, read_only=True)
    try:
        rows = [dict(row) for row in backend.traffic(since, end, by)]
    finally:
        backend.close()
    if by:
        rows.sort(key=lambda row: int(row["size"]), reverse=True)
    return rows


def write(rows: Sequence[Row], by: Sequence[str], form: str, out: TextIO = sys.stdout) -> None:
    """Write rows as ``table``, ``json`` (an array of objects) or ``csv``."""
    names = [*by, "size", "packets"] if by else list(FIELDS)
    if form == "json":
        json.dump([{name: row[name] for name in names} for row in rows], out, indent=1)
        out.write("\n")
    elif form == "csv":
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(names)
        writer.writerows([row[name] for name in names] for row in rows)
    else:
        out.write(table(rows, names))


def table(rows: Sequence[Row], names: Sequence[str]) -> str:
    """Columns, numbers to the right, times in UTC."""
    if not rows:
        return "no traffic in that time\n"
    cells = [list(names)] + [[_cell(name, row[name]) for name in names] for row in rows]
    widths = [max(len(line[i]) for line in cells) for i in range(len(names))]
    numbers = [name in ("size", "packets") for name in names]
    return "".join(
        "  ".join(
            cell.rjust(width) if number else cell.ljust(width)
            for cell, width, number in zip(line, widths, numbers, strict=True)
        ).rstrip()
        + "\n"
        for line in cells
    )


def _cell(name: str, value: str | int) -> str:
    if name == "timestamp":
        moment = datetime.fromtimestamp(int(value) / 1000, UTC)
        return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return f"{value:,}" if isinstance(value, int) else value
