"""What a probe tells Prometheus; ``docs/metrics.md`` lists it, and the names are a promise.

No label holds an address, a device or anything else that traffic or clients choose:
the series of a probe are as many on its last day as on its first. The ledgers, which
are stored, tell each device's part.

To be imported when it is first asked for: the Prometheus client takes 1.4 MB.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Metric, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from wakizashi.model import OUTCOMES
from wakizashi.probe.stats import Durations, ProbeStats
from wakizashi.version import build_info
from wakizashi.window_file import Entry


@dataclass(frozen=True, slots=True)
class Now:
    """What is not counted but so at this moment."""

    engine: str
    time: float
    """Unix time by this host's clock."""
    interval_seconds: int
    silence_seconds: float
    open_seconds: float
    captured: int
    refused: int
    flows_limit: int
    pending: Sequence[Entry]
    """Oldest first."""
    pending_bytes: int
    pending_limit_bytes: int
    certificate_end: float
    """Seconds since 1970; NaN if the probe shows no certificate."""

    @property
    def oldest_age_seconds(self) -> float:
        """Since the start of the oldest window that waits; 0 if none does, or the clock went back."""
        if not self.pending:
            return 0.0
        return max(0.0, self.time - self.pending[0].start_ms / 1000)


COUNTERS = {
    "windows_closed": "Windows closed and durable in dumpDir.",
    "windows_merged": "Windows merged into the one before, for want of room in dumpDir.",
    "windows_sent": "Windows sent to a center; one that is delivered again counts again.",
    "windows_acked": "Windows that a center acknowledged as durable.",
    "windows_rejected": "Windows that a center refused for good; they lie in dumpDir/bad.",
    "windows_damaged": "Window files that could not be read; they lie in dumpDir/bad.",
    "delivery_failures": "Deliveries that failed and are tried again.",
    "close_failures": "Times a window stayed open because dumpDir would not take it.",
}
"""Each counter of :class:`ProbeStats` that is exposed under its own name."""


class _Families(Collector):
    def __init__(self, stats: ProbeStats, now: Now) -> None:
        self._stats, self._now = stats, now

    def collect(self) -> Iterator[Metric]:
        yield from _counters(self._stats)
        yield from _durations(self._stats)
        yield from _gauges(self._stats, self._now)
        yield from _infos(self._now)


def render(stats: ProbeStats, now: Now) -> bytes:
    """The metrics in Prometheus' text format."""
    registry = CollectorRegistry()
    registry.register(_Families(stats, now))
    ProcessCollector(registry=registry)
    return generate_latest(registry)


def _counters(stats: ProbeStats) -> Iterator[Metric]:
    for name, text in COUNTERS.items():
        yield CounterMetricFamily(f"wakizashi_probe_{name}", text, value=getattr(stats, name))
    totals = stats.totals
    for unit in ("packets", "bytes"):
        what = unit.capitalize()
        fates = CounterMetricFamily(
            f"wakizashi_probe_{unit}",
            f"{what} of closed windows, by what became of them; they add up to device_{unit}.",
            labels=["outcome"],
        )
        for outcome in OUTCOMES:
            fates.add_metric([outcome], getattr(getattr(totals, outcome), unit))
        yield fates
        yield CounterMetricFamily(
            f"wakizashi_probe_device_{unit}",
            f"{what} that passed in closed windows, by the devices' own counters.",
            value=getattr(totals.device, unit),
        )
        yield CounterMetricFamily(
            f"wakizashi_probe_other_{unit}",
            f"Counted {unit} whose addresses are not known, for they were beyond maxFlows.",
            value=getattr(totals.other, unit),
        )


def _durations(stats: ProbeStats) -> Iterator[Metric]:
    def histogram(name: str, text: str, durations: Durations) -> Metric:
        return HistogramMetricFamily(
            f"wakizashi_probe_{name}", text, durations.up_to(), sum_value=durations.sum
        )

    yield histogram(
        "window_close_seconds",
        "How long it took to close a window and make it durable.",
        stats.close_seconds,
    )
    yield histogram(
        "delivery_seconds",
        "How long deliveries took that were acknowledged whole, connecting included.",
        stats.delivery_seconds,
    )


def _gauges(stats: ProbeStats, now: Now) -> Iterator[Metric]:
    for name, text, value in (
        (
            "pending_windows",
            "Windows waiting in dumpDir.",
            len(now.pending),
        ),
        (
            "pending_bytes",
            "Bytes waiting in dumpDir.",
            now.pending_bytes,
        ),
        (
            "pending_limit_bytes",
            "Most bytes that may wait in dumpDir: dumpLimit.",
            now.pending_limit_bytes,
        ),
        (
            "pending_oldest_age_seconds",
            "Since the start of the oldest window in dumpDir; 0 if none waits.",
            now.oldest_age_seconds,
        ),
        (
            "open_window_age_seconds",
            "Since the open window began.",
            now.open_seconds,
        ),
        (
            "interval_seconds",
            "Length of a window: capInterval.",
            now.interval_seconds,
        ),
        (
            "capture_silence_seconds",
            "Since the capture loop last went round; it does at least once a window.",
            now.silence_seconds,
        ),
        (
            "last_ack_timestamp_seconds",
            "When a center last acknowledged a window, Unix time; NaN before the first.",
            stats.last_ack,
        ),
        (
            "time_seconds",
            "The clock of this host, Unix time.",
            now.time,
        ),
        (
            "flows",
            "Flows of the device that had the most, in the last closed window.",
            stats.most_flows,
        ),
        (
            "flows_limit",
            "Most flows of a device in a window: maxFlows.",
            now.flows_limit,
        ),
        (
            "certificate_end_timestamp_seconds",
            "When the certificate of tls.cert ends, in seconds since 1970; NaN without tls.cert.",
            now.certificate_end,
        ),
    ):
        yield GaugeMetricFamily(f"wakizashi_probe_{name}", text, value=value)
    devices = GaugeMetricFamily(
        "wakizashi_probe_devices",
        "Devices that networkDevs means: captured, or refused with a warning in the log.",
        labels=["state"],
    )
    devices.add_metric(["captured"], now.captured)
    devices.add_metric(["refused"], now.refused)
    yield devices


def _infos(now: Now) -> Iterator[Metric]:
    for name, text, labels in (
        ("engine_info", "Always 1; the label tells the capture engine.", {"engine": now.engine}),
        ("build_info", "Always 1; the labels tell the build.", build_info()),
    ):
        info = GaugeMetricFamily(f"wakizashi_probe_{name}", text, labels=list(labels))
        info.add_metric(list(labels.values()), 1)
        yield info
