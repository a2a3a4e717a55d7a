"""The picture: records a second that one center stores, by backend and fleet.

An SVG with text as text, without a background, in colours that can be read on
white and on black. The same results give the same file.
"""

import io
from typing import TYPE_CHECKING

from bench.capture.plot import FAINT, INK, OURS, THEIRS
from bench.capture.results import BenchError
from bench.center.report import NAMES
from bench.center.results import BACKENDS, Results
from bench.center.summary import DirectRow, Row, direct_rows, rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_BAR = 0.8


def draw(results: Results) -> str:
    """The picture as SVG.

    Raises:
        BenchError: matplotlib is not installed.
    """
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ImportError as error:
        raise BenchError(f"{error}; pip install '.[bench]'") from error
    table = rows(results)
    shapes = sorted({(row.case.probes, row.case.records) for row in table})
    backends = [name for name in BACKENDS if any(row.case.backend == name for row in table)]
    direct = {row.backend: row for row in direct_rows(results) if row.in_flight == 1}
    style = {
        "svg.fonttype": "none",
        "svg.hashsalt": "wakizashi",
        "font.family": "sans-serif",
        "font.sans-serif": ["DejaVu Sans", "Verdana", "sans-serif"],
        "text.color": INK,
        "axes.edgecolor": FAINT,
    }
    with mpl.rc_context(style):
        lanes = max(1, len(backends)) * (len(shapes) + 1)
        figure = Figure(figsize=(8.4, 0.19 * lanes + 1.6))
        axes = figure.subplots()
        for place, backend in enumerate(backends):
            for number, shape in enumerate(shapes):
                found = [
                    row
                    for row in table
                    if row.case.backend == backend and (row.case.probes, row.case.records) == shape
                ]
                _bar(axes, _place(place, number, len(shapes)), found, shape)
            if backend in direct:
                _mark(axes, direct[backend], place, len(shapes))
        _frame(axes, backends, len(shapes))
        figure.suptitle(
            "Records a second that one center stores, with one CPU for it", fontsize=12, color=INK
        )
        figure.tight_layout()
        out = io.StringIO()
        figure.savefig(
            out,
            format="svg",
            transparent=True,
            metadata={"Date": None, "Creator": None, "Title": "Records a second, by backend"},
        )
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"


def _place(backend: int, shape: int, shapes: int) -> float:
    return backend * (shapes + 1.0) + shape


def _bar(axes: "Axes", y: float, found: list[Row], shape: tuple[int, int]) -> None:
    row = found[0] if found else None
    label = f"{shape[0]:,} × {shape[1]:,}"
    if row is None or row.rate is None:
        why = "not measured" if row is None else (row.faults or ("no figures",))[0].split(":")[0]
        axes.annotate(f"{label}: {why}", (0, y), xytext=(4, 0), textcoords="offset points",
                      va="center", fontsize=8, color=INK)  # fmt: skip
        return
    axes.barh(y, row.rate.median, height=_BAR, color=OURS)
    if row.rate.high > row.rate.low:
        axes.plot([row.rate.low, row.rate.high], [y, y], color=INK, linewidth=1)
    axes.annotate(
        f"{label}: {row.rate.median / 1e3:,.0f} k",
        (row.rate.high, y),
        xytext=(5, 0),
        textcoords="offset points",
        va="center",
        fontsize=8,
        color=INK,
    )


def _mark(axes: "Axes", row: DirectRow, place: int, shapes: int) -> None:
    """What the database takes from a bare client, as a line across its bars."""
    if row.rate is None:
        return
    low = _place(place, 0, shapes) - 0.5
    axes.plot([row.rate.median] * 2, [low, low + shapes], color=THEIRS, linewidth=2)
    axes.annotate(
        "bare client",
        (row.rate.median, low + shapes),
        xytext=(0, -7),
        textcoords="offset points",
        ha="center",
        fontsize=7.5,
        color=THEIRS,
    )


def _frame(axes: "Axes", backends: list[str], shapes: int) -> None:
    middles = [_place(place, 0, shapes) + (shapes - 1) / 2 for place in range(len(backends))]
    axes.set_yticks(middles, [NAMES[name] for name in backends], fontsize=10)
    axes.invert_yaxis()
    axes.set_xlim(0, axes.get_xlim()[1] * 1.2)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value / 1e3:,.0f} k")
    axes.tick_params(colors=INK, length=0, labelsize=9)
    axes.grid(axis="x", color=FAINT, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.set_xlabel("probes × records a window", fontsize=8.5, color=INK)
    for side in ("top", "right", "left", "bottom"):
        axes.spines[side].set_visible(False)
