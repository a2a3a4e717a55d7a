"""What a series leaves: values, and the JSON file that holds them.

The file is an object: ``format`` (1), ``machine``, ``versions``, ``settings``,
and the lists ``runs``, ``direct`` and ``fleets`` with the fields of :class:`Run`,
:class:`Direct` and :class:`Fleet`. It names no host and no path, so that it can
be published.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bench.capture.results import BenchError

FORMAT = 1
NOTHING, LINES = "nothing", "lines"
"""No database: records are thrown away as they are, or once they are lines."""
INFLUX, VICTORIA, SQLITE, REDIS = "influxdb", "victoria", "sqlite", "redis"
BACKENDS = (NOTHING, LINES, SQLITE, INFLUX, VICTORIA, REDIS)
DATABASES = (SQLITE, INFLUX, VICTORIA, REDIS)
BY_LINES = (INFLUX, VICTORIA)
"""What takes lines over HTTP, so that a bare client can be put beside the center."""
SHAPES = ((1, 200), (1, 5_000), (100, 200), (100, 5_000), (10_000, 200))
"""Probes, and records in a window."""


@dataclass(frozen=True, slots=True, order=True)
class Case:
    """A backend, how many probes deliver, and how many records a window has."""

    backend: str
    probes: int
    records: int

    def __str__(self) -> str:
        return f"{self.backend}/{self.probes}/{self.records}"


CASES = tuple(Case(backend, *shape) for shape in SHAPES for backend in BACKENDS)


def select_cases(text: str, cases: Sequence[Case] = CASES) -> tuple[Case, ...]:
    """The cases that ``text`` names: ``BACKEND/PROBES/RECORDS``, comma-separated, ``*`` for any.

    Raises:
        BenchError: a pattern names none.
    """
    chosen: set[Case] = set()
    for pattern in text.split(","):
        parts = pattern.strip().split("/")
        found = {
            case
            for case in cases
            if len(parts) == 3
            and all(
                part in ("*", value)
                for part, value in zip(parts, str(case).split("/"), strict=True)
            )
        }
        if not found:
            raise BenchError(
                f"--cases: {pattern!r} names no case; write BACKEND/PROBES/RECORDS, as "
                f"sqlite/100/200 or */1/*; there are {', '.join(map(str, cases))}"
            )
        chosen |= found
    return tuple(case for case in cases if case in chosen)


@dataclass(frozen=True, slots=True)
class Acks:
    """Seconds from a window sent to its ack."""

    p50: float = 0.0
    p99: float = 0.0
    longest: float = 0.0


def percentile(ordered: Sequence[float], share: float) -> float:
    """The smallest value that at least ``share`` of all are not above (nearest rank); 0 of none."""
    if not ordered:
        return 0.0
    return ordered[max(0, -int(-share * len(ordered) // 1) - 1)]


def acks(seconds: Sequence[float]) -> Acks:
    """Their distribution."""
    ordered = sorted(seconds)
    return Acks(percentile(ordered, 0.5), percentile(ordered, 0.99), percentile(ordered, 1.0))


@dataclass(frozen=True, slots=True)
class Run:
    """One case once: probes deliver as fast as acks permit. CPU seconds are named so."""

    case: Case
    repetition: int
    windows: int = 0
    records: int = 0
    wire_bytes: int = 0
    """Payload of the gRPC messages that probes send."""
    wall_seconds: float = 0.0
    center_cpu_seconds: float = 0.0
    generator_cpu_seconds: float = 0.0
    database_cpu_seconds: float = 0.0
    rss_start: int = 0
    """Resident bytes of the center before anybody connected; below: with all connected, at the
    end, and at the peak."""
    rss_connected: int = 0
    rss_end: int = 0
    rss_peak: int = 0
    acks: Acks = Acks()
    retries: int = 0
    """Windows that the center asked to deliver again."""
    failures: int = 0
    """Calls that failed and were made again."""
    disk_bytes: int = 0
    """Of the database's folder once all is written out; 0 without one."""
    memory_bytes: int = 0
    """What a database that holds all in memory needs for it."""
    fault: str = ""
    """Why there are no figures."""


@dataclass(frozen=True, slots=True)
class Direct:
    """The same points as ready-made lines from a bare HTTP client."""

    backend: str
    in_flight: int
    repetition: int
    points: int = 0
    wall_seconds: float = 0.0
    client_cpu_seconds: float = 0.0
    database_cpu_seconds: float = 0.0
    acks: Acks = Acks()
    """Of requests of 10,000 lines."""
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Fleet:
    """Probes that each deliver a window every interval, as they do in life."""

    case: Case
    interval_seconds: int
    spread_seconds: float
    """Over how many seconds of an interval the deliveries are spread."""
    seconds: int
    closed: int = 0
    stored: int = 0
    lost: int = 0
    """Windows without a STORED at the end; there must be none."""
    retries: int = 0
    failures: int = 0
    """Calls that failed and were made again."""
    codes: dict[str, int] = field(default_factory=dict)
    """They by gRPC's code."""
    connections: int = 0
    """Asked for, the first one of each probe left out."""
    wall_seconds: float = 0.0
    center_cpu_seconds: float = 0.0
    generator_cpu_seconds: float = 0.0
    acks: Acks = Acks()
    rss: tuple[tuple[float, int], ...] = ()
    """Seconds since the start, resident bytes of the center."""
    restarted_at: float = 0.0
    """Seconds since the start at which the center was told to stop; 0 for never."""
    down_seconds: float = 0.0
    """From then until it listened again."""
    back_seconds: float = 0.0
    """From when it listened again until the last probe had an ack."""
    peak_connections: int = 0
    """Most new connections in one second."""
    fault: str = ""


@dataclass(slots=True)
class Results:
    """A whole series."""

    machine: dict[str, str] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    settings: dict[str, int | float | bool | str] = field(default_factory=dict)
    runs: list[Run] = field(default_factory=list)
    direct: list[Direct] = field(default_factory=list)
    fleets: list[Fleet] = field(default_factory=list)

    def save(self, path: Path) -> None:
        """Write the JSON file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"format": FORMAT, **asdict(self)}, indent=1) + "\n")


def load(path: Path) -> Results:
    """Read what :meth:`Results.save` wrote.

    Raises:
        BenchError: there is no such file, or it is of another format.
    """
    try:
        content: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise BenchError(f"{path}: {error}; make it with `make bench-center`") from error
    if content.pop("format", None) != FORMAT:
        raise BenchError(f"{path} is not of format {FORMAT}; make it anew: make bench-center")
    return Results(
        runs=[Run(**_values(run)) for run in content.pop("runs")],
        direct=[Direct(**_values(run)) for run in content.pop("direct")],
        fleets=[Fleet(**_values(run)) for run in content.pop("fleets")],
        **content,
    )


def _values(run: dict[str, Any]) -> dict[str, Any]:
    made = run | {"acks": Acks(**run["acks"])}
    if "case" in run:
        made["case"] = Case(**run["case"])
    if "rss" in run:
        made["rss"] = tuple((seconds, size) for seconds, size in run["rss"])
    return made
