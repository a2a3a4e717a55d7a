"""What a series of runs leaves: values, and the JSON file that holds them.

The file is an object: ``format`` (1), ``machine`` and ``versions`` (texts by
name), ``settings``, and ``runs``, each with the fields of :class:`Run`. It names
no host and no path, so that it can be published.
"""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

FORMAT = 1
NO_TAP = "no tap"
EMPTY_TAP = "empty tap"
PEERS = ("tcpdump", "pmacctd", "softflowd", EMPTY_TAP)
"""Every other tool is an engine of ours."""

TOP, PACED = "top", "paced"
FRAMES = (64, 1400)
FLOWS = (10, 1_024, 50_000)


class BenchError(Exception):
    """A run, or all of them, can't be done; the message says why, and what to do."""


@dataclass(frozen=True, slots=True, order=True)
class Case:
    """What is sent: frames of ``frame`` bytes (no FCS), in ``flows`` flows, at a pace."""

    pace: str
    """``top``: as fast as trafgen can. ``paced``: at a rate that every tool can take."""
    frame: int
    flows: int

    def __str__(self) -> str:
        return f"{self.frame}/{self.flows}/{self.pace}"


CASES = tuple(
    Case(pace, frame, flows) for pace in (PACED, TOP) for frame in FRAMES for flows in FLOWS
)


def select_cases(text: str) -> tuple[Case, ...]:
    """The cases that ``text`` names: ``FRAME/FLOWS/PACE``, comma-separated, ``*`` for any.

    Raises:
        BenchError: a pattern names none.
    """
    chosen: set[Case] = set()
    for pattern in text.split(","):
        parts = pattern.strip().split("/")
        found = {
            case
            for case in CASES
            if len(parts) == 3
            and all(
                part in ("*", value)
                for part, value in zip(parts, str(case).split("/"), strict=True)
            )
        }
        if not found:
            raise BenchError(
                f"--cases: {pattern!r} names no case; write FRAME/FLOWS/PACE, as 64/1024/top or "
                f"64/*/paced; there are {', '.join(map(str, CASES))}"
            )
        chosen |= found
    return tuple(case for case in CASES if case in chosen)


@dataclass(frozen=True, slots=True)
class Account:
    """What a tool says itself, after a run."""

    seen_packets: int
    seen_bytes: int | None = None
    """As the tool counts them: pmacctd leaves out layer 2. None if it does not."""
    dropped_packets: int = 0


@dataclass(frozen=True, slots=True)
class Run:
    """One tool, one case, once. Seconds are CPU seconds unless said otherwise."""

    tool: str
    case: Case
    repetition: int
    sent_packets: int = 0
    sent_bytes: int = 0
    """By the counters of the device that is captured."""
    account: Account | None = None
    """None without a tap."""
    tool_seconds: float = 0.0
    generator_seconds: float = 0.0
    """With the softirq that the kernel runs on the generator's CPU: the tap's kernel side."""
    busy_seconds: float = 0.0
    """All CPUs: wall time less idle, iowait and steal, which the kernel takes by the clock."""
    sampled_seconds: float = 0.0
    """All CPUs: user, nice, system, irq and softirq, which this kernel may sample by its tick."""
    steal_seconds: float = 0.0
    wall_seconds: float = 0.0
    """Of the measured period."""
    sending_seconds: float = 0.0
    """Of the part in which packets were sent."""
    fault: str = ""
    """Why there are no figures."""


@dataclass(slots=True)
class Results:
    """A whole series."""

    machine: dict[str, str] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    """By tool, and of the generator."""
    settings: dict[str, int | float | bool] = field(default_factory=dict)
    runs: list[Run] = field(default_factory=list)

    def save(self, path: Path) -> None:
        """Write the JSON file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        content = {"format": FORMAT, **asdict(self)}
        path.write_text(json.dumps(content, indent=1) + "\n")


def load(path: Path) -> Results:
    """Read what :meth:`Results.save` wrote.

    Raises:
        BenchError: there is no such file, or it is of another format.
    """
    try:
        content: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise BenchError(f"{path}: {error}; make it with `make bench-capture`") from error
    if content.pop("format", None) != FORMAT:
        raise BenchError(f"{path} is not of format {FORMAT}; make it anew: make bench-capture")
    runs = [
        Run(
            **run
            | {
                "case": Case(**run["case"]),
                "account": Account(**run["account"]) if run["account"] else None,
            }
        )
        for run in content.pop("runs")
    ]
    return Results(**content, runs=runs)
