"""What the numbers in the metrics mean."""

import asyncio
import math
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.metric_tables import value
from wakizashi.center.lag import watch_lag
from wakizashi.center.metrics import Metrics
from wakizashi.center.recovery import Recovery
from wakizashi.model import (
    OUTCOMES,
    UNSPECIFIED,
    DeviceLedger,
    Direction,
    Flow,
    Ledger,
    Tally,
    Window,
)
from wakizashi.probe.metrics import Now, render
from wakizashi.probe.stats import Durations, ProbeStats
from wakizashi.window_file import Entry, entry_of, file_name

FIRST, SECOND = b"\x0a\0\0\1", b"\x0a\0\0\2"
LEDGERS = (
    Ledger(
        device=Tally(15, 1_500),
        counted=Tally(5, 500),
        own=Tally(4, 400),
        non_ip=Tally(3, 300),
        dropped=Tally(2, 200),
        lost=Tally(1, 100),
        other=Tally(2, 150),
    ),
    Ledger(device=Tally(1, 60), counted=Tally(1, 60)),
)


def window(end_ms: int = 1_000, flows: tuple[Flow, ...] = ()) -> Window:
    devices = tuple(DeviceLedger(f"eth{i}", b"", ledger) for i, ledger in enumerate(LEDGERS))
    return Window("p", end_ms - 1_000, end_ms, 1, (), devices, flows)


def now(**changes: object) -> Now:
    usual: dict[str, object] = {
        "engine": "ring",
        "time": 100.0,
        "interval_seconds": 30,
        "silence_seconds": 2.5,
        "open_seconds": 7.5,
        "captured": 2,
        "refused": 1,
        "flows_limit": 10,
        "pending": [],
        "pending_bytes": 0,
        "pending_limit_bytes": 1_000,
        "certificate_end": math.nan,
    }
    return Now(**(usual | changes))  # type: ignore[arg-type]  # a test names the fields it changes


def probe(stats: ProbeStats, moment: Now | None = None) -> str:
    return render(stats, moment or now()).decode()


def waiting(start_ms: int) -> Entry:
    entry = entry_of(file_name("p", start_ms, 1), 10)
    assert entry is not None
    return entry


@pytest.mark.parametrize("program", ["probe", "center"])
def test_outcomes_add_up_to_what_passed(program: str) -> None:
    if program == "probe":
        stats = ProbeStats()
        stats.closed(window())
        stats.closed(window())
        text = probe(stats)
    else:
        metrics = Metrics()
        metrics.acked([window(), window()], now=2.0)
        text = metrics.render().decode()
    for unit, expected in (("packets", 2 * 16), ("bytes", 2 * 1_560)):
        name = f"wakizashi_{program}_{unit}_total"
        outcomes = [value(text, name, outcome=outcome) for outcome in OUTCOMES]
        assert sum(outcomes) == expected
        assert value(text, f"wakizashi_{program}_device_{unit}_total") == expected
        assert all(outcomes)


def test_flows_are_those_of_the_busiest_device_without_what_was_folded() -> None:
    stats = ProbeStats()
    made = [
        (0, FIRST, SECOND),
        (1, FIRST, SECOND),
        (1, SECOND, FIRST),
        (1, UNSPECIFIED, UNSPECIFIED),
        (1, UNSPECIFIED, FIRST),
    ]
    flows = tuple(Flow(device, Direction.TRANSIT, s, d, 1, 1) for device, s, d in made)
    stats.closed(window(flows=flows))
    assert value(probe(stats), "wakizashi_probe_flows") == 3
    stats.closed(window())
    assert value(probe(stats), "wakizashi_probe_flows") == 0
    assert value(probe(stats), "wakizashi_probe_other_bytes_total") == 300


def test_durations_are_in_the_bucket_that_they_reach() -> None:
    durations = Durations((1.0, 2.0))
    for seconds in (0.5, 1.0, 1.5, 2.5):
        durations.observe(seconds)
    assert durations.up_to() == [("1.0", 2), ("2.0", 3), ("+Inf", 4)]
    assert durations.sum == 5.5


def test_a_histogram_of_the_probe_is_one() -> None:
    stats = ProbeStats()
    stats.delivery_seconds.observe(0.03)
    text = probe(stats)
    name = "wakizashi_probe_delivery_seconds"
    assert value(text, f"{name}_bucket", le="0.025") == 0
    assert value(text, f"{name}_bucket", le="0.05") == 1
    assert value(text, f"{name}_bucket", le="+Inf") == value(text, f"{name}_count") == 1
    assert value(text, f"{name}_sum") == 0.03


@pytest.mark.parametrize(
    ("pending", "age"), [([], 0), ([40_000, 90_000], 60), ([130_000], 0)], ids=str
)
def test_age_of_the_oldest_window_that_waits(pending: list[int], age: float) -> None:
    """The clock went back in the last case."""
    text = probe(ProbeStats(), now(pending=[waiting(start) for start in pending]))
    assert value(text, "wakizashi_probe_pending_oldest_age_seconds") == age
    assert value(text, "wakizashi_probe_pending_windows") == len(pending)


def test_end_of_the_certificate_that_a_probe_shows() -> None:
    name = "wakizashi_probe_certificate_end_timestamp_seconds"
    assert math.isnan(value(probe(ProbeStats()), name))
    assert value(probe(ProbeStats(), now(certificate_end=1.5e9)), name) == 1.5e9


def test_delay_of_a_window_is_from_its_end_and_never_negative() -> None:
    metrics = Metrics()
    metrics.acked([window(end_ms=10_000), window(end_ms=20_000)], now=14.0)
    text = metrics.render().decode()
    name = "wakizashi_center_window_delay_seconds"
    assert value(text, f"{name}_bucket", le="1.0") == 1
    assert value(text, f"{name}_bucket", le="5.0") == 2
    assert value(text, f"{name}_sum") == 4.0


@pytest.fixture
def recovery(tmp_path: Path) -> Iterator[Recovery]:
    made = Recovery(tmp_path, limit_bytes=500)
    made.open()
    yield made
    made.close()


def test_what_waits_in_the_recovery_directory(recovery: Recovery) -> None:
    metrics = Metrics(recovery)
    name = "wakizashi_center_recovery"
    assert value(metrics.render().decode(), f"{name}_oldest_age_seconds") == 0
    recovery.save([(window(), [b"chunk"])])
    text = metrics.render().decode()
    assert value(text, f"{name}_windows") == 1
    assert value(text, f"{name}_bytes") == recovery.used_bytes > 0
    assert value(text, f"{name}_limit_bytes") == 500
    assert value(text, f"{name}_oldest_age_seconds") > 1_700_000_000  # a window of 1970
    assert value(text, "wakizashi_center_bad_windows_total") == 0
    recovery.quarantine(recovery.waiting()[0], "for a test")
    text = metrics.render().decode()
    assert value(text, "wakizashi_center_bad_windows_total") == 1
    assert value(text, f"{name}_windows") == 0


async def test_lag_is_how_much_later_than_asked_the_loop_comes_back() -> None:
    metrics, time = Metrics(), [0.0]
    late = iter((0.0, 0.75, 20.0))

    async def sleep(seconds: float) -> None:
        more = next(late, None)
        if more is None:
            raise asyncio.CancelledError
        time[0] += seconds + more

    with pytest.raises(asyncio.CancelledError):
        await watch_lag(metrics.lag_seconds, clock=lambda: time[0], sleep=sleep)
    text = metrics.render().decode()
    name = "wakizashi_center_loop_lag_seconds"
    assert value(text, f"{name}_bucket", le="0.5") == 1
    assert value(text, f"{name}_bucket", le="1.0") == 2
    assert value(text, f"{name}_bucket", le="+Inf") == 3
    assert value(text, f"{name}_sum") == 20.75
