"""The Markdown table."""

from bench.capture.results import NO_TAP, PEERS, TOP, Case, Results
from bench.capture.summary import Figure, Row, background, ratios, rows, softirq_is_charged

_HEAD = (
    "| flows | tool | sent kpps | process µs | all-in µs | machine µs | not counted | reported |\n"
    "|---:|---|---:|---:|---:|---:|---:|---:|\n"
)


def markdown(results: Results) -> str:
    """The whole page."""
    table = rows(results)
    parts = [_intro(results), _short(table)]
    kinds = {(row.case.pace, row.case.frame) for row in table}
    for pace, frame in sorted(kinds, key=lambda kind: (kind[0] != TOP, kind[1])):
        chosen = [row for row in table if (row.case.pace, row.case.frame) == (pace, frame)]
        parts.append(
            f"## {frame:,}-byte packets, {_pace(results, pace)}\n\n"
            + _HEAD
            + "".join(_line(row) for row in _ordered(chosen))
        )
    return "\n".join(parts)


def _intro(results: Results) -> str:
    machine, settings = results.machine, results.settings
    facts = ", ".join(f"{name} {value}" for name, value in machine.items())
    versions = "; ".join(f"{name} {version}" for name, version in results.versions.items())
    charged = softirq_is_charged(results)
    noise = background(results.runs)
    how = (
        "the tool's processes, and what the generator took more than without a tap: the kernel "
        "serves the taps in softirq on the generator's CPU, and this kernel charges it with that"
        if charged
        else "from `/proc/stat`, as *machine*"
    )
    return (
        "# What it costs to count a packet\n\n"
        "Made by `make bench-capture`; do not edit. Frames go over a veth pair between two network "
        "namespaces; flows are pairs of source and destination address, in random order. "
        f"{settings.get('repetitions')} repetitions, interleaved; medians, and the lowest and "
        "highest value in brackets.\n\n"
        "- **process**: CPU of the tool's processes, start-up left out, window closes and idling "
        "included.\n"
        f"- **all-in**: {how}.\n"
        "- **machine**: what the whole machine was busy for more than without a tap; other programs "
        f"disturb it ({_share(noise)} of one CPU in these runs).\n"
        "- Closing a window costs our engines per flow, not per packet: with 50,000 flows it is most "
        f"of their process's time. Windows of {settings.get('interval')} s.\n"
        "- All per packet that the tool **counted**. *Reported* is the loss the tool tells itself. "
        "A few packets that still lie in a tool's buffer when it is asked are not counted either "
        "(softflowd, pmacctd).\n\n"
        f"Machine: {facts}. Versions: {versions}.\n"
    )


def _pace(results: Results, pace: str) -> str:
    if pace == TOP:
        return "as fast as the generator can"
    return f"{results.settings.get('rate', 0):,} a second"


def _short(table: list[Row]) -> str:
    ours = sorted({row.tool for row in table} - {NO_TAP, *PEERS})
    peers = [peer for peer in PEERS if any(row.tool == peer for row in table)]
    if not ours or not peers:
        return ""
    head = "| |" + "".join(f" {peer}: process | all-in |" for peer in peers)
    lines = [head, "|---|" + "---:|" * (2 * len(peers))]
    for tool in ours:
        cells = [
            _times(ratios(table, tool, peer, field))
            for peer in peers
            for field in ("process", "all_in")
        ]
        lines.append(f"| **{tool}** | " + " | ".join(cells) + " |")
    return (
        "## Our engines, as parts of what the peers take\n\nMedian over all cases, and the "
        "range.\n\n" + "\n".join(lines) + "\n"
    )


def _ordered(chosen: list[Row]) -> list[Row]:
    """By flows, then without a tap first, then the cheapest first."""

    def key(row: Row) -> tuple[Case, bool, float, str]:
        cost = row.all_in.median if row.all_in else float("inf")
        return row.case, row.tool != NO_TAP, cost, row.tool

    return sorted(chosen, key=key)


def _line(row: Row) -> str:
    name = row.tool if row.tool in (NO_TAP, *PEERS) else f"**{row.tool}**"
    start = f"| {row.case.flows:,} | {name} |"
    if row.rate is None:
        return f"{start} failed: {_cell('; '.join(row.faults))} | | | | | |\n"
    machine = _micros(row.machine)
    if row.tool == NO_TAP:
        machine = f"({row.machine.median:.2f} in all)" if row.machine else "–"
    cells = [
        f"{row.rate.median / 1e3:,.0f}",
        _micros(row.process),
        _micros(row.all_in),
        machine,
        _share(row.lost),
        _share(row.reported),
    ]
    if row.faults:
        cells[-1] += f" (failed in part of {row.attempts}: {_cell('; '.join(row.faults))})"
    return f"{start} {' | '.join(cells)} |\n"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _micros(value: Figure | None) -> str:
    if value is None:
        return "–"
    places = 3 if abs(value.median) < 0.1 else 2
    return f"{value.median:.{places}f} ({value.low:.{places}f}–{value.high:.{places}f})"


def _share(value: Figure | None) -> str:
    if value is None:
        return "–"
    if value.high == 0:
        return "0"
    if value.high < 0.001:
        return "< 0.1 %"
    low, high = f"{100 * value.low:.1f}", f"{100 * value.high:.1f}"
    spread = f" ({low}–{high})" if low != high else ""
    return f"{100 * value.median:.1f} %{spread}"


def _times(value: Figure | None) -> str:
    if value is None:
        return "–"
    return f"{value.median:.2f} ({value.low:.2f}–{value.high:.2f})"
