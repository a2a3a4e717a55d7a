"""The picture: what a counted packet costs all-in, by tool, and what each tool loses.

An SVG with text as text, without a background, in colours that can be read on
white and on black. The same results give the same file.
"""

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from bench.capture.results import NO_TAP, PEERS, TOP, BenchError, Results
from bench.capture.summary import Row, rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, FAINT = "#7d8590", "#7d859040"
OURS, THEIRS, LOSS = "#2f81f7", "#9a7d3c", "#e5534b"
_NOTABLE = 0.005
"""Share of lost packets; less may be what a tool has in its buffers."""
_TICKS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50)
FLOOR = 0.01
"""µs; what is less (by noise even below zero) is drawn here."""
_OFFSETS = (0.24, 0.0, -0.24)
_MARKS = ("o", "s", "D")


@dataclass(frozen=True, slots=True)
class _Lane:
    """One tool's place in the picture."""

    tool: str
    y: int

    @property
    def colour(self) -> str:
        return THEIRS if self.tool in PEERS else OURS

    @property
    def label(self) -> str:
        if self.tool == "tcpdump":
            return "tcpdump -w /dev/null"
        return self.tool if self.tool in PEERS else f"wakizashi {self.tool}"


def draw(results: Results, pace: str = TOP) -> str:
    """The picture as SVG.

    Raises:
        BenchError: matplotlib is not installed.
    """
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ImportError as error:
        raise BenchError(f"{error}; pip install '.[bench]'") from error
    table = [row for row in rows(results) if row.tool != NO_TAP]
    if not any(row.case.pace == pace for row in table):
        pace = table[0].case.pace if table else pace
    table = [row for row in table if row.case.pace == pace]
    lanes = _lanes(table)
    frames = sorted({row.case.frame for row in table}) or [0]
    style = {
        "svg.fonttype": "none",
        "svg.hashsalt": "wakizashi",
        "font.family": "sans-serif",
        "font.sans-serif": ["DejaVu Sans", "Verdana", "sans-serif"],
        "text.color": INK,
        "axes.edgecolor": FAINT,
    }
    with mpl.rc_context(style):
        figure = Figure(figsize=(5.0 * len(frames) + 1.4, 0.62 * len(lanes) + 1.9))
        every = figure.subplots(1, len(frames), sharex=True, sharey=True, squeeze=False)[0]
        for axes, frame in zip(every, frames, strict=True):
            _panel(axes, [row for row in table if row.case.frame == frame], lanes)
            rates = [row.rate.median for row in table if row.case.frame == frame and row.rate]
            speed = f"up to {round(max(rates), -3):,.0f} a second" if rates else "none sent"
            axes.set_title(f"{frame:,}-byte packets, {speed}", fontsize=10, color=INK, pad=8)
        _frame(figure, every, table, lanes)
        out = io.StringIO()
        figure.savefig(
            out,
            format="svg",
            transparent=True,
            metadata={"Date": None, "Creator": None, "Title": "CPU time to count one packet"},
        )
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"


def _lanes(table: list[Row]) -> list[_Lane]:
    """The cheapest on top; what has no figures at the bottom."""

    def cost(tool: str) -> float:
        values = [row.all_in.median for row in table if row.tool == tool and row.all_in]
        return median(values) if values else math.inf

    tools = sorted({row.tool for row in table}, key=lambda tool: (cost(tool), tool))
    return [_Lane(tool, len(tools) - place) for place, tool in enumerate(tools)]


def _panel(axes: "Axes", table: list[Row], lanes: list[_Lane]) -> None:
    flows = sorted({row.case.flows for row in table})
    for lane in lanes:
        mine = [row for row in table if row.tool == lane.tool]
        edge = 0.0
        for row in mine:
            if row.all_in is None:
                continue
            place = flows.index(row.case.flows)
            y = lane.y + (_OFFSETS[place % 3] if len(flows) > 1 else 0.0)
            low, middle, high = (
                max(FLOOR, value) for value in (row.all_in.low, row.all_in.median, row.all_in.high)
            )
            edge = max(edge, high)
            axes.plot([low, high], [y, y], color=lane.colour, linewidth=1.2, zorder=2)
            axes.plot([middle], [y], _MARKS[place % 3], color=lane.colour, markersize=5.5, zorder=3)
        text, colour = _remark(mine)
        axes.annotate(
            text,
            (edge, lane.y) if edge else (0.0, lane.y),
            xycoords="data" if edge else axes.get_yaxis_transform(),  # else: at the left
            xytext=(9, 0),
            textcoords="offset points",
            va="center",
            fontsize=8.5,
            color=colour,
        )


def _remark(mine: list[Row]) -> tuple[str, str]:
    """The range of a tool's costs and what it loses, beside its marks."""
    costs = [row.all_in.median for row in mine if row.all_in]
    if not costs:
        return "no figures: see the table", LOSS
    low, high = (_number(value) for value in (min(costs), max(costs)))
    text = f"{low} µs" if low == high else f"{low}–{high} µs"
    worst = max((row.lost.median for row in mine if row.lost), default=0.0)
    if worst < _NOTABLE:
        return text, INK
    return f"{text}, loses up to {100 * worst:.0f} %", LOSS


def _number(value: float) -> str:
    return f"{value:.2f}" if value < 1 else f"{value:.1f}"


def _frame(figure: "Figure", every: Sequence["Axes"], table: list[Row], lanes: list[_Lane]) -> None:
    """Scales, tool names, legend."""
    highest = max((row.all_in.high for row in table if row.all_in), default=1.0)
    lowest = min((max(FLOOR, row.all_in.low) for row in table if row.all_in), default=FLOOR)
    for axes in every:
        axes.set_xscale("log")
        axes.set_xlim(lowest / 1.4, highest * 15)  # room for the remarks
        ticks = [t for t in _TICKS if lowest / 1.4 <= t <= highest * 1.6]
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks], fontsize=8.5)
        axes.set_xticks([], minor=True)
        axes.grid(axis="x", color=FAINT, linewidth=0.7)
        axes.set_ylim(0.4, len(lanes) + 0.6)
        axes.set_yticks([lane.y for lane in lanes], [lane.label for lane in lanes], fontsize=10)
        axes.tick_params(colors=INK, length=0)
        for side in ("top", "right", "left", "bottom"):
            axes.spines[side].set_visible(False)
        for line in range(1, len(lanes)):
            axes.axhline(line + 0.5, color=FAINT, linewidth=0.5)
    for label, lane in zip(every[0].get_yticklabels(), lanes, strict=True):
        label.set_color(lane.colour)
        if lane.tool not in PEERS:
            label.set_fontweight("bold")
    for place, flows in enumerate(sorted({row.case.flows for row in table})):
        every[0].plot(
            [], [], _MARKS[place % 3], color=INK, markersize=5.5, label=f"{flows:,} flows"
        )
    figure.legend(loc="lower center", ncols=3, frameon=False, fontsize=9, labelcolor=INK)
    figure.suptitle(
        "CPU time to count one packet, kernel included (µs, log scale)",
        fontsize=12,
        color=INK,
    )
    figure.tight_layout(rect=(0, 0.06, 1, 1))
