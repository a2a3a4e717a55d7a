"""From runs to figures: median and spread over the repetitions, for each tool and case.

All costs are CPU microseconds per packet that the tool counted, so that a tool
that loses packets does not look cheap.

- **process**: the tool's own processes.
- **all-in**: everything that the tap costs, the kernel's side of it too. The
  kernel hands a packet to the taps in the softirq of the sender's CPU. A kernel
  without ``IRQ_TIME_ACCOUNTING`` charges that to the sender; then all-in is
  *process*, and what the sender took more than without a tap. Those clocks are
  exact, and other programs on the machine are not in them.
- **machine**: the same from ``/proc/stat``: what the whole machine was busy for
  more than without a tap. It is *all-in* on a kernel that accounts for softirq apart.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median

from bench.capture.results import NO_TAP, Case, Results, Run

_CHARGED = 0.8
"""Where softirq is accounted apart, it is about a third of a packet's way without a tap."""


@dataclass(frozen=True, slots=True)
class Figure:
    """Median, lowest and highest of some repetitions."""

    median: float
    low: float
    high: float


def figure(values: Iterable[float]) -> Figure | None:
    """The figure of some values; None if there are none."""
    known = list(values)
    return Figure(median(known), min(known), max(known)) if known else None


@dataclass(frozen=True, slots=True)
class Row:
    """What is known of a tool in a case."""

    tool: str
    case: Case
    rate: Figure | None = None
    """Packets sent per second."""
    process: Figure | None = None
    all_in: Figure | None = None
    machine: Figure | None = None
    """CPU microseconds per counted packet; without a tap, of the machine per packet sent."""
    lost: Figure | None = None
    """Share of the packets sent that the tool did not count."""
    reported: Figure | None = None
    """Share of them that it says the kernel dropped."""
    faults: tuple[str, ...] = ()
    attempts: int = 0


def softirq_is_charged(results: Results) -> bool:
    """Whether the kernel charged softirq to the process it interrupts.

    Then a generator at its top rate was charged with all the time in which it sent;
    see ``measure.charged_share``.
    """
    return float(results.settings.get("charged_share", 0.0)) > _CHARGED


def rows(results: Results) -> list[Row]:
    """One for each tool and case, in the order in which they first ran, without a tap first."""
    charged = softirq_is_charged(results)
    bases = {(r.case, r.repetition): r for r in results.runs if r.tool == NO_TAP and not r.fault}
    groups: dict[tuple[Case, str], list[Run]] = defaultdict(list)
    for run in results.runs:
        groups[run.case, run.tool].append(run)
    order = sorted(groups, key=lambda key: (key[0], key[1] != NO_TAP, key[1]))
    return [_row(groups[key], bases, charged) for key in order]


def _row(runs: list[Run], bases: dict[tuple[Case, int], Run], charged: bool) -> Row:
    tool, case = runs[0].tool, runs[0].case
    good = [run for run in runs if not run.fault]
    faults = tuple(dict.fromkeys(run.fault for run in runs if run.fault))
    rate = figure(run.sent_packets / run.sending_seconds for run in good)
    if tool == NO_TAP:
        machine = figure(1e6 * run.busy_seconds / run.sent_packets for run in good)
        return Row(tool, case, rate, machine=machine, faults=faults, attempts=len(runs))
    pairs = [
        (run, bases[run.case, run.repetition])
        for run in good
        if (run.case, run.repetition) in bases and counted(run)
    ]
    machine = figure((r.busy_seconds - b.busy_seconds) * 1e6 / counted(r) for r, b in pairs)
    attributed = figure(
        (r.tool_seconds + r.generator_seconds - b.generator_seconds) * 1e6 / counted(r)
        for r, b in pairs
    )
    return Row(
        tool=tool,
        case=case,
        rate=rate,
        process=figure(1e6 * r.tool_seconds / counted(r) for r in good if counted(r)),
        all_in=attributed if charged else machine,
        machine=machine,
        lost=figure(1 - counted(r) / r.sent_packets for r in good),
        reported=figure(r.account.dropped_packets / r.sent_packets for r in good if r.account),
        faults=faults,
        attempts=len(runs),
    )


def counted(run: Run) -> int:
    """Packets the tool counted, at most as many as were sent."""
    return min(run.account.seen_packets, run.sent_packets) if run.account else 0


def background(runs: Iterable[Run]) -> Figure | None:
    """Share of the machine that neither tool nor generator used: other programs, and we."""
    return figure(
        (run.busy_seconds - run.tool_seconds - run.generator_seconds) / run.wall_seconds
        for run in runs
        if not run.fault
    )


def ratios(table: list[Row], tool: str, peer: str, field: str) -> Figure | None:
    """How many times as much as ``peer`` a tool costs, over all cases that have both."""
    values: dict[tuple[str, Case], float] = {}
    for row in table:
        found: Figure | None = getattr(row, field)
        if found is not None and found.median > 0:
            values[row.tool, row.case] = found.median
    return figure(
        value / values[peer, case]
        for (name, case), value in values.items()
        if name == tool and (peer, case) in values
    )
