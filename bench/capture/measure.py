"""One run, and the series of all of them.

A run: the tool captures; the generator has read what to send; **then** the
clocks are read, the packets are sent, a pause that is the same for every tool
lets it drain and close a window, the clocks are read again; only then is the
tool asked what it saw, and stopped. Start-up is not in the figures, idling is.

A series is interleaved: every repetition runs all tools on all cases, for each
case in a new order, so that no tool always has the machine at its warmest.
"""

import os
import random
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path

from bench.capture import traffic
from bench.capture.cpu import busy, machine_times
from bench.capture.lab import Lab
from bench.capture.results import NO_TAP, TOP, BenchError, Case, Run
from bench.capture.tools import Settings, Tool

_WARM_SECONDS = 1.0
_CALIBRATIONS, _CALIBRATION_PACKETS = 2, 1_000_000
_SLOWEST = 10_000
"""Packets a second; a generator that is slower hangs."""


def pin() -> None:
    """Leave the generator's CPU to it: we, and so all we start, run on the others."""
    others = os.sched_getaffinity(0) - {traffic.GENERATOR_CPU}
    if others:
        os.sched_setaffinity(0, others)


def measure(lab: Lab, tool: Tool | None, case: Case, repetition: int, settings: Settings) -> Run:
    """One run; ``None`` is no tap.

    Raises:
        BenchError: there are no figures, and why.
    """
    packets = settings.packets if case.pace == TOP else settings.packets // 2
    folder = lab.folder / "tool"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o755)
    tapping = tool.running(lab, folder, settings) if tool else nullcontext()
    with tapping as program, traffic.sender(lab, case, packets, settings.rate) as sender:
        time.sleep(_WARM_SECONDS)
        counters = lab.counters()
        tool_before = program.group.seconds() if program else 0.0
        generator_before = sender.program.group.seconds()
        machine_before, started = machine_times(), time.monotonic()
        sender.go()
        sender.program.wait(packets / _SLOWEST)
        sent_at = time.monotonic()
        time.sleep(settings.settle)
        machine_after, ended = machine_times(), time.monotonic()
        generator_after = sender.program.group.seconds()
        tool_after = program.group.seconds() if program else 0.0
        passed = lab.counters()
        if program:
            program.check()
        account = tool.account(program, folder) if tool and program else None
    if passed.packets - counters.packets != packets or passed.dropped != counters.dropped:
        raise BenchError(
            f"{packets} packets were to be sent, {passed.packets - counters.packets} came, "
            f"{passed.dropped - counters.dropped} were lost before the tap"
        )
    return Run(
        tool=tool.name if tool else NO_TAP,
        case=case,
        repetition=repetition,
        sent_packets=packets,
        sent_bytes=passed.bytes - counters.bytes,
        account=account,
        tool_seconds=tool_after - tool_before,
        generator_seconds=generator_after - generator_before,
        busy_seconds=busy(machine_before, machine_after, ended - started),
        sampled_seconds=machine_after.sampled - machine_before.sampled,
        steal_seconds=machine_after.steal - machine_before.steal,
        wall_seconds=ended - started,
        sending_seconds=sent_at - started,
    )


def charged_share(lab: Lab) -> float:
    """CPU time of a generator at its top rate without a tap, by the time in which it sent.

    It is busy throughout, so what is missing is softirq that the kernel accounts for apart
    (``CONFIG_IRQ_TIME_ACCOUNTING``), or other programs; hence the best of some attempts.
    """
    case = Case(TOP, 64, 10)
    settings = Settings(packets=_CALIBRATION_PACKETS, settle=0.0)
    runs = [measure(lab, None, case, 0, settings) for _ in range(_CALIBRATIONS)]
    return max(run.generator_seconds / run.sending_seconds for run in runs)


def series(
    lab: Lab,
    tools: Sequence[Tool],
    cases: Sequence[Case],
    settings: Settings,
    progress: Callable[[str], None],
) -> Iterator[Run]:
    """All runs. A tool that fails leaves a run with the reason, and the others go on."""
    order = random.Random(settings.seed)
    total = settings.repetitions * len(cases) * (len(tools) + 1)
    done = 0
    for repetition in range(settings.repetitions):
        for case in cases:
            entrants: list[Tool | None] = [None, *tools]
            order.shuffle(entrants)
            for tool in entrants:
                done += 1
                run = _attempt(lab, tool, case, repetition, settings)
                progress(f"{done}/{total} {case} {describe(run)}")
                yield run


def _attempt(lab: Lab, tool: Tool | None, case: Case, repetition: int, settings: Settings) -> Run:
    try:
        return measure(lab, tool, case, repetition, settings)
    except BenchError as error:
        # The tool's own folder is in its messages; the results name no path.
        reason = str(error).replace(f"{lab.folder}{os.sep}", "").replace(str(Path.cwd()), ".")
        return Run(tool.name if tool else NO_TAP, case, repetition, fault=reason)


def describe(run: Run) -> str:
    """A run in one line, for whoever waits."""
    if run.fault:
        return f"{run.tool}: {run.fault}"
    rate = run.sent_packets / run.sending_seconds
    micros = 1e6 / run.sent_packets
    text = f"{run.tool}: {rate / 1e3:.0f} kpps, busy {run.busy_seconds * micros:.2f} µs a packet"
    if run.account:
        unseen = run.sent_packets - run.account.seen_packets
        text += f", tool {run.tool_seconds * micros:.3f} µs, {unseen} not seen"
    return text
