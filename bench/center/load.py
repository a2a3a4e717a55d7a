"""The fleet seen from the bench: its processes, and their reports as one."""

import json
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from itertools import pairwise
from pathlib import Path

from bench.capture.results import BenchError
from bench.center.fleet import Order, Report
from bench.center.process import Process, running

PROBES_A_PROCESS = 2_500
CONNECT_SECONDS = 180.0


def orders(whole: Order) -> list[Order]:
    """An order for each process, none with more than ``PROBES_A_PROCESS`` probes."""
    count = -(-whole.probes // PROBES_A_PROCESS)
    edges = [whole.probes * part // count for part in range(count + 1)]
    return [
        replace(
            whole,
            first_probe=whole.first_probe + low,
            probes=high - low,
            delivering=-(-whole.delivering // count),
        )
        for low, high in pairwise(edges)
    ]


def together(reports: list[Report]) -> Report:
    """The reports of all processes as one."""
    whole = Report(started=min(r.started for r in reports), ended=max(r.ended for r in reports))
    for one in reports:
        for name in ("cpu_seconds", "closed", "stored", "wire_bytes", "retries", "failures"):
            setattr(whole, name, getattr(whole, name) + getattr(one, name))
        whole.lost += one.lost
        whole.rejected = whole.rejected or one.rejected
        whole.ack_seconds += one.ack_seconds
        whole.connections += one.connections
        whole.acked += one.acked
        whole.codes = dict(Counter(whole.codes) + Counter(one.codes))
    return whole


def peak_a_second(times: list[float]) -> int:
    """Most of these moments in one second of the clock."""
    return max(Counter(int(moment) for moment in times).values(), default=0)


class Load:
    """Processes whose probes are all connected."""

    def __init__(self, processes: list[Process]) -> None:
        self._processes = processes

    def go(self) -> None:
        """Let them deliver."""
        for process in self._processes:
            _tell(process, "go")

    def check(self) -> None:
        """Raise BenchError if one has ended without a report."""
        for process in self._processes:
            if process.popen.poll() not in (None, 0):
                process.check()

    def report(self) -> Report:
        """Wait for the end, and what came of it."""
        return together([Report(**json.loads(_hear(process))) for process in self._processes])


@contextmanager
def fleet(whole: Order, folder: Path, cpus: frozenset[int]) -> Iterator[Load]:
    """All probes of an order, connected.

    Raises:
        BenchError: they can't connect.
    """
    command = [sys.executable, "-m", "bench.center.fleet"]
    with ExitStack() as stack:
        processes = []
        for order in orders(whole):
            process = Process(command, folder / "fleet.log", cpus, pipes=True)
            processes.append(stack.enter_context(running(process)))
            _tell(process, json.dumps(asdict(order)))
        deadline = time.monotonic() + CONNECT_SECONDS + whole.ramp_seconds
        for process in processes:
            if _hear(process) != "ready" or time.monotonic() > deadline:
                raise BenchError("the probes can't connect")
        yield Load(processes)


def _tell(process: Process, line: str) -> None:
    assert process.popen.stdin is not None  # noqa: S101 - it was started with pipes
    process.popen.stdin.write(line + "\n")
    process.popen.stdin.flush()


def _hear(process: Process) -> str:
    assert process.popen.stdout is not None  # noqa: S101 - it was started with pipes
    line = process.popen.stdout.readline()
    if not line:
        process.popen.wait(10)
        process.check()
    return str(line).strip()
