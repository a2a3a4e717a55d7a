"""What a center tells Prometheus; ``docs/metrics.md`` lists it, and the names are a promise.

No label holds an address, a probe or anything else that clients choose: the series of a
center are as many with ten thousand probes as with one. Every label value is there from
the start, so that a rate has a zero to begin with.
"""

import time
from collections.abc import Iterator, Sequence

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Metric,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from wakizashi.center.recovery import Recovery
from wakizashi.model import OUTCOMES, Window
from wakizashi.version import build_info

STATUSES = ("stored", "recovered", "retry", "rejected")
REFUSALS = ("handshake", "token", "name")
LIMITS = ("bytesInFlight", "calls", "windowsPerProbe", "recordsPerWindow")
WRITES = ("ok", "retryable", "permanent")
WRITE_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
DELAY_SECONDS = (1, 2.5, 5, 10, 15, 30, 60, 120, 300, 900, 3_600, 14_400, 86_400)
LAG_SECONDS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Metrics:
    """The metrics of one center, in a registry of its own."""

    def __init__(self, recovery: Recovery | None = None) -> None:
        # Else each counter has a second series, with a time that nobody asks for.
        disable_created_metrics()  # type: ignore[no-untyped-call]  # the one that has no types
        registry = self.registry = CollectorRegistry()
        self.windows = Counter(
            "wakizashi_center_windows",
            "Windows by what became of them: stored in the backend, kept in the recovery "
            "directory, to be delivered again, refused for good.",
            ["status"],
            registry=registry,
        )
        self.records = Counter(
            "wakizashi_center_records", "Raw records in complete windows.", registry=registry
        )
        self._device = {
            unit: Counter(
                f"wakizashi_center_device_{unit}",
                f"{unit.capitalize()} that passed the probes' devices in acknowledged windows, by "
                "the devices' own counters; a window that comes again counts again.",
                registry=registry,
            )
            for unit in ("packets", "bytes")
        }
        self._fates = {
            unit: Counter(
                f"wakizashi_center_{unit}",
                f"{unit.capitalize()} of acknowledged windows, by what became of them at the "
                f"probe; they add up to device_{unit}.",
                ["outcome"],
                registry=registry,
            )
            for unit in ("packets", "bytes")
        }
        self._tallies = [
            (name, unit, self._device[unit] if name == "device" else self._fates[unit].labels(name))
            for name in ("device", *OUTCOMES)
            for unit in ("packets", "bytes")
        ]
        self.delay_seconds = Histogram(
            "wakizashi_center_window_delay_seconds",
            "From the end of a window, by its probe's clock, to its ack.",
            buckets=DELAY_SECONDS,
            registry=registry,
        )
        self.limits = Counter(
            "wakizashi_center_limits_met",
            "Windows that were told to come again, and calls, by the limit that they met.",
            ["limit"],
            registry=registry,
        )
        self.refused = Counter(
            "wakizashi_center_refused",
            "Refused for who sent it: connections by their TLS handshake, calls by their token, "
            "windows by their probe name.",
            ["reason"],
            registry=registry,
        )
        self.in_flight_bytes = Gauge(
            "wakizashi_center_in_flight_bytes",
            "Bytes, as they came, of windows that have no ack yet.",
            registry=registry,
        )
        self.in_flight_limit_bytes = Gauge(
            "wakizashi_center_in_flight_limit_bytes",
            "Most bytes of windows that have no ack yet: limits.bytesInFlight.",
            registry=registry,
        )
        self.calls = Gauge("wakizashi_center_calls", "Deliveries in progress.", registry=registry)
        self.calls_limit = Gauge(
            "wakizashi_center_calls_limit",
            "Most deliveries in progress: limits.calls.",
            registry=registry,
        )
        self.points = Counter(
            "wakizashi_center_points_written",
            "Points the backend took, ledgers and repeated deliveries included.",
            registry=registry,
        )
        self.quarantined = Counter(
            "wakizashi_center_points_quarantined",
            "Points the backend can never store; their windows are in recoverDir/bad.",
            registry=registry,
        )
        self.writes = Counter(
            "wakizashi_center_backend_writes",
            "Writes to the backend by outcome.",
            ["outcome"],
            registry=registry,
        )
        self.write_seconds = Histogram(
            "wakizashi_center_backend_write_seconds",
            "Duration of writes to the backend in seconds.",
            buckets=WRITE_SECONDS,
            registry=registry,
        )
        self.backend_failing = Gauge(
            "wakizashi_center_backend_failing",
            "1 while the last write to the backend failed, else 0.",
            registry=registry,
        )
        self.last_write = Gauge(
            "wakizashi_center_backend_last_write_timestamp_seconds",
            "When the backend last took a write, Unix time; NaN before the first.",
            registry=registry,
        )
        self.series = Gauge(
            "wakizashi_center_series",
            "Distinct series in the backend's database; NaN if it does not tell.",
            registry=registry,
        )
        self.series_ratio = Gauge(
            "wakizashi_center_series_used_ratio",
            "Used part of the limit of series that is reached first; NaN if it is not known.",
            registry=registry,
        )
        self.lag_seconds = Histogram(
            "wakizashi_center_loop_lag_seconds",
            "How late the event loop is, asked once a second.",
            buckets=LAG_SECONDS,
            registry=registry,
        )
        self.certificate_end = Gauge(
            "wakizashi_center_certificate_end_timestamp_seconds",
            "When the certificate of tls.cert ends, in seconds since 1970; NaN without tls.",
            registry=registry,
        )
        info = Gauge(
            "wakizashi_center_build_info",
            "Always 1; the labels tell the build.",
            list(build_info()),
            registry=registry,
        )
        info.labels(**build_info()).set(1)
        registry.register(_Waiting(recovery))
        ProcessCollector(registry=registry)
        for gauge in (self.last_write, self.series, self.series_ratio, self.certificate_end):
            gauge.set(float("nan"))
        for status in STATUSES:
            self.windows.labels(status)
        for limit in LIMITS:
            self.limits.labels(limit)
        for reason in REFUSALS:
            self.refused.labels(reason)
        for outcome in WRITES:
            self.writes.labels(outcome)

    def acked(self, windows: Sequence[Window], now: float | None = None) -> None:
        """These are durable; ``now`` is Unix time."""
        now = time.time() if now is None else now
        for window in windows:  # a probe's clock may be ahead
            self.delay_seconds.observe(max(0.0, now - window.end_ms / 1000))
        ledgers = [device.ledger for window in windows for device in window.devices]
        for name, unit, counter in self._tallies:
            counter.inc(sum(getattr(getattr(ledger, name), unit) for ledger in ledgers))

    def render(self) -> bytes:
        """The text format."""
        return generate_latest(self.registry)


class _Waiting(Collector):
    """The recovery directory as it is when somebody asks."""

    def __init__(self, recovery: Recovery | None) -> None:
        self._recovery = recovery

    def collect(self) -> Iterator[Metric]:
        recovery = self._recovery
        waiting = recovery.waiting() if recovery else []
        age = max(0.0, time.time() - waiting[0].start_ms / 1000) if waiting else 0.0
        for name, text, value in (
            ("windows", "Windows waiting in recoverDir.", len(waiting)),
            ("bytes", "Bytes waiting in recoverDir.", recovery.used_bytes if recovery else 0),
            (
                "limit_bytes",
                "Most bytes that may wait in recoverDir: recoverLimit; 0 if recoverDir is off.",
                recovery.limit_bytes if recovery else 0,
            ),
            (
                "oldest_age_seconds",
                "Since the start of the oldest window in recoverDir; 0 if none waits.",
                age,
            ),
        ):
            yield GaugeMetricFamily(f"wakizashi_center_recovery_{name}", text, value=value)
        yield CounterMetricFamily(
            "wakizashi_center_bad_windows",
            "Windows moved to recoverDir/bad: damaged, or with points the backend can never store.",
            value=recovery.bad if recovery else 0,
        )
