"""What a tool under test is: how to start it, when it is ready, what it says it saw."""

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.capture.lab import Lab, Program
from bench.capture.results import Account, BenchError


@dataclass(slots=True)
class Settings:
    """What all runs of a series have in common."""

    packets: int = 2_000_000
    """At the top rate; half as many at the steady one, which takes longer."""
    rate: int = 100_000
    """The steady rate, packets a second."""
    repetitions: int = 3
    seed: int = 1
    interval: int = 5
    """Seconds in a window of ours."""
    settle: float = 6.0
    """Seconds from the last packet to the end of the measurement: more than a window."""
    pinned: bool = True
    """The generator has CPU 0 for itself."""


class Tool(ABC):
    """A tool under test."""

    name: str

    def version(self) -> str:
        """Which version it is."""
        return ""

    def obstacle(self) -> str | None:
        """Why it can't run on this host; None if it can."""
        return None

    @abstractmethod
    def command(self, folder: Path, settings: Settings) -> list[str]:
        """The command line; files that it needs are written to ``folder``."""

    ready: str
    """What it prints when it captures."""

    @abstractmethod
    def account(self, program: Program, folder: Path) -> Account:
        """Ask it what it saw, and stop it."""

    @contextmanager
    def running(self, lab: Lab, folder: Path, settings: Settings) -> Iterator[Program]:
        """Start it; it captures when this yields."""
        if obstacle := self.obstacle():
            raise BenchError(obstacle)
        with lab.program(*self.command(folder, settings)) as program:
            program.wait_for(self.ready)
            yield program


def number_before(what: str, text: str) -> int:
    """The number that stands before ``what``, as in ``12 packets captured``."""
    return _number(rf"(\d+) {re.escape(what)}", text)


def number_after(what: str, text: str) -> int:
    """The number that stands after ``what``, as in ``Packets processed: 12``."""
    return _number(rf"{re.escape(what)}\s*(\d+)", text)


def _number(pattern: str, text: str) -> int:
    found = re.findall(pattern, text)
    if not found:
        raise BenchError(f"nothing like {pattern!r} in what the tool says: {text[-300:]!r}")
    return int(found[-1])
