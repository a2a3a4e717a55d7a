"""From samples to verdicts. Pure.

A series is judged from the end of its warm-up on, the first third. Then

- **memory**: a straight line is fitted (least squares). It fails where the line,
  less twice its standard error, rises by more than ``MOST_RISE`` an hour: what
  a daemon may grow in a day without anyone's harm is another matter than a leak, but
  a run of minutes cannot tell less than that from the noise of an allocator;
- **descriptors and threads**: the plateau is the highest value of the first half.
  It fails where the second half goes above it by more than ``SLACK``;
- **files** in a directory: they come and go, as the center does. It fails where
  the lowest value of the second half is above that of the first by more than ``SLACK``:
  then some never go.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

MOST_RISE = 16 * 2**20
"""Bytes of memory an hour."""
SLACK = 2
WARM_UP = 1 / 3
LEAST_SAMPLES = 20
"""After the warm-up; fewer say nothing."""
MEMORY, DESCRIPTORS, THREADS, FILES = "memory", "descriptors", "threads", "files"


@dataclass(frozen=True, slots=True)
class Series:
    """What was sampled: seconds since the start, and values."""

    process: str
    measure: str
    kind: str
    seconds: Sequence[float]
    values: Sequence[int]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a series; ``fault`` is empty where it is flat."""

    process: str
    measure: str
    kind: str
    start: int
    warm: int
    end: int
    an_hour: float
    """Slope of the fitted line after the warm-up, times an hour."""
    error_an_hour: float
    """Standard error of that slope."""
    fault: str = ""


def fit(seconds: Sequence[float], values: Sequence[float]) -> tuple[float, float]:
    """Slope of the line of least squares, and its standard error."""
    count = len(values)
    middle, mean = sum(seconds) / count, sum(values) / count
    spread = sum((second - middle) ** 2 for second in seconds)
    slope = sum((s - middle) * (v - mean) for s, v in zip(seconds, values, strict=True)) / spread
    left = sum((v - mean - slope * (s - middle)) ** 2 for s, v in zip(seconds, values, strict=True))
    return slope, sqrt(left / (count - 2) / spread)


def judge(series: Series) -> Verdict:
    """The verdict on one series.

    Raises:
        ValueError: there are too few samples after the warm-up.
    """
    begin = series.seconds[-1] * WARM_UP if series.seconds else 0.0
    first = next((i for i, s in enumerate(series.seconds) if s >= begin), 0)
    seconds, values = series.seconds[first:], series.values[first:]
    if len(values) < LEAST_SAMPLES:
        raise ValueError(
            f"{series.process}, {series.measure}: {len(values)} samples after the warm-up are too "
            f"few to judge by, {LEAST_SAMPLES} are needed; run it for longer"
        )
    slope, error = fit(seconds, values)
    return Verdict(
        series.process,
        series.measure,
        series.kind,
        start=series.values[0],
        warm=values[0],
        end=values[-1],
        an_hour=slope * 3_600,
        error_an_hour=error * 3_600,
        fault=_fault(series.kind, values, slope, error),
    )


def _fault(kind: str, values: Sequence[int], slope: float, error: float) -> str:
    half = len(values) // 2
    before, after = values[:half], values[half:]
    if kind == MEMORY:
        sure = (slope - 2 * error) * 3_600
        if sure > MOST_RISE:
            return (
                f"rises by {sure / 2**20:.0f} MiB an hour at least, {MOST_RISE >> 20} are the most"
            )
    elif kind == FILES:
        if min(after) > min(before) + SLACK:
            return f"never fewer than {min(after)} in the second half, {min(before)} in the first"
    elif max(after) > max(before) + SLACK:
        return f"up to {max(after)} in the second half, {max(before)} in the first"
    return ""
