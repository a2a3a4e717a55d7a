"""``wakizashi query``: traffic records read back from whichever backend the center uses."""

import csv
import io
import json
import re
import shutil
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import BinaryIO, TextIO, cast

from wakizashi import progress
from wakizashi.center.backend import BY_KEYS, open_backend
from wakizashi.center.config import load_center
from wakizashi.errors import WakizashiError

FIELDS = ("timestamp", "probe", "probeIP", "srcIP", "dstIP", "size", "packets")
_MOST_TEXT = 300
"""Characters of a span, shorter than any number that Python refuses to read."""
_SPAN = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}

FORMS = ("table", "json", "csv")
"""The JSON is an array of objects."""
KEPT_BYTES = 16 * 2**20

Row = dict[str, str | int]


class QueryError(WakizashiError):
    """A query that makes no sense; says which part, and what would."""

    exit_code = 2


def span_seconds(text: str) -> int:
    """Seconds in ``10m``, ``1h30m``, ``7d``.

    Raises:
        QueryError: it is none of these, or none that anybody means.
    """
    # Not \d, which is digits of all scripts; and no more of them than int() takes.
    if len(text) > _MOST_TEXT or not re.fullmatch(r"([0-9]+[smhdw])+", text):
        shown = text if len(text) <= _MOST_TEXT else f"{text[:_MOST_TEXT]}…"
        raise QueryError(f"--last: {shown!r} is no span of time; write 90s, 10m, 1h30m or 7d")
    return sum(int(n) * _SPAN[unit] for n, unit in re.findall(r"([0-9]+)([smhdw])", text))


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
    with _reading(path, last, by, overrides, now_ms) as rows:
        return list(_ordered(rows, by))


def export(
    path: Path | None,
    *,
    last: str,
    by: Sequence[str],
    form: str,
    overrides: Sequence[str] = (),
    out: TextIO | None = None,
) -> None:
    """Write what :func:`query` finds in one of ``FORMS``, to standard output unless told.

    All is read before anything is written: so a reader that takes its time does not hold the
    backend up, and what can't be read to its end is not written in part. Meanwhile it is kept
    as text, beyond ``KEPT_BYTES`` in a file: as Python objects it is ten times as large.

    Raises:
        WakizashiError: as :func:`query`; or there is no room for the file.
    """
    try:
        kept = _kept(path, last, by, form, overrides)
    except OSError as error:
        raise WakizashiError(
            f"no room for what was read: {error.strerror or error}; "
            "set TMPDIR to a folder that has some, or choose a shorter --last"
        ) from error
    with kept:
        shutil.copyfileobj(kept, out or sys.stdout)


def _kept(
    path: Path | None, last: str, by: Sequence[str], form: str, overrides: Sequence[str]
) -> TextIO:
    counter = progress.Counter()
    file = cast(BinaryIO, SpooledTemporaryFile(KEPT_BYTES))  # noqa: SIM115 - the text closes it
    with ExitStack() as failed:
        text = failed.enter_context(io.TextIOWrapper(file, encoding="utf-8", newline=""))
        with progress.shown(counter.tell), _reading(path, last, by, overrides) as rows:
            write(_ordered(counter.through("row", rows), by), by, form, text)
        text.seek(0)
        failed.pop_all()
    return text


@contextmanager
def _reading(
    path: Path | None,
    last: str,
    by: Sequence[str],
    overrides: Sequence[str],
    now_ms: int | None = None,
) -> Iterator[Iterator[Row]]:
    unknown = [name for name in by if name not in BY_KEYS]
    if unknown:
        raise QueryError(f"--by: no field {', '.join(unknown)}; there are {', '.join(BY_KEYS)}")
    twice = sorted(name for name in set(by) if by.count(name) > 1)
    if twice:
        raise QueryError(f"--by: {', '.join(twice)} is there twice; name each field once")
    end = (now_ms if now_ms is not None else time.time_ns() // 1_000_000) + 1
    since = max(0, end - span_seconds(last) * 1_000)
    config = load_center(path, overrides, serves=False)
    backend = open_backend(config.backendConfig, read_only=True)
    try:
        yield (dict(row) for row in backend.traffic(since, end, by))
    finally:
        backend.close()


def _ordered(rows: Iterable[Row], by: Sequence[str]) -> Iterable[Row]:
    return sorted(rows, key=lambda row: int(row["size"]), reverse=True) if by else rows


def write(rows: Iterable[Row], by: Sequence[str], form: str, out: TextIO) -> None:
    """Write rows in one of ``FORMS``; but for a table, one after another."""
    names = [*by, "size", "packets"] if by else list(FIELDS)
    if form == "json":
        _write_array(({name: row[name] for name in names} for row in rows), out)
    elif form == "csv":
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(names)
        writer.writerows([row[name] for name in names] for row in rows)
    else:
        out.write(table(list(rows), names))


def _write_array(objects: Iterable[Row], out: TextIO) -> None:
    """As ``json.dump`` with an indent of 1 would, which wants them all at once."""
    between = "\n "
    out.write("[")
    for each in objects:
        out.write(between + json.dumps(each, indent=1).replace("\n", "\n "))
        between = ",\n "
    out.write("]\n" if between == "\n " else "\n]\n")


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
