"""For pipes and logs: each interval as lines of text, or as one JSON object. Pure.

``docs/top.md`` is the contract of the object.
"""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from wakizashi.amounts import duration
from wakizashi.model import Ledger, Tally, Window
from wakizashi.names import printable
from wakizashi.top import columns
from wakizashi.top.columns import Label
from wakizashi.top.screen import Header
from wakizashi.top.text import Glyphs, numeric, plain
from wakizashi.top.traffic import Picture, Row, Traffic
from wakizashi.top.view import View

VERSION = 1
"""Of the JSON object; fields may be added, none changes its meaning without a new number."""
WIDTH = 100
"""Columns of text: what fits a log."""
MOST_DEVICES = 100

TALLIES = ("device", "counted", "non_ip", "dropped", "other")
"""Those of a ledger that can be anything here: nothing is a probe's own, and nothing gets lost."""


def document(header: Header, traffic: Traffic, window: Window, seconds: float) -> dict[str, Any]:
    """One interval as an object; ``traffic`` has the window already."""
    picture = traffic.picture()
    totals = dict(picture.devices)
    return {
        "version": VERSION,
        "time": window.end_ms,
        "seconds": round(seconds, 6),
        "number": window.number,
        "host": header.host,
        "engine": header.engine,
        "devices": [
            {
                "device": device.name,
                "interval": _ledger(device.ledger),
                "total": _ledger(totals.get(device.name, Ledger())),
            }
            for device in window.devices
        ],
        "pairs": [_pair(row, passed, picture.spans) for row, passed in traffic.of(window)],
    }


def line(document: dict[str, Any]) -> str:
    """An object as a line."""
    return json.dumps(document, separators=(",", ":")) + "\n"


def _ledger(ledger: Ledger) -> dict[str, dict[str, int]]:
    return {name: _tally(getattr(ledger, name)) for name in TALLIES}


def _tally(tally: Tally) -> dict[str, int]:
    return {"packets": tally.packets, "bytes": tally.bytes}


def _pair(row: Row, passed: tuple[Tally, Tally], spans: Sequence[float]) -> dict[str, Any]:
    return {
        "device": row.device,
        "srcIP": numeric(row.ends[0]),
        "dstIP": numeric(row.ends[1]),
        "direction": row.direction.name.lower(),
        "interval": {"sent": _tally(passed[0]), "received": _tally(passed[1])},
        "total": {"sent": _tally(row.totals[0]), "received": _tally(row.totals[1])},
        "rates": [
            {"seconds": span, "sent": round(sent, 3), "received": round(received, 3)}
            for span, (sent, received) in zip(spans, row.rates, strict=True)
        ],
    }


def text(
    header: Header,
    picture: Picture,
    rows: Sequence[Row],
    view: View,
    label: Label,
    glyphs: Glyphs,
    most: int,
) -> str:
    """One interval as lines, the last one empty; ``most`` pairs of ``rows``, which are in order."""
    moment = datetime.fromtimestamp(picture.time_ms / 1000, UTC)
    when = moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    shape = columns.columns(WIDTH)
    several = len(picture.devices) > 1
    lines = [
        *columns.devices(picture, WIDTH, MOST_DEVICES, glyphs),
        columns.heading(picture, view, shape),
    ]
    for row in rows[:most]:
        lines += columns.pair(picture, row, view, shape, glyphs, label, devices=several)
    lines.append(columns.total(rows, len(picture.rows), view, shape, glyphs))
    first = f"{when} {printable(header.host)} {header.engine} {duration(picture.seconds)}"
    return "\n".join([first, *plain(lines)]) + "\n\n"
