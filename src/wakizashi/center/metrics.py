"""What a center counts, in a registry of its own, in the Prometheus text format."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from wakizashi.center.recovery import Recovery
from wakizashi.version import build_info

STATUSES = ("stored", "recovered", "retry", "rejected")
LIMITS = ("bytesInFlight", "calls", "windowsPerProbe", "recordsPerWindow")
REFUSALS = ("handshake", "token", "name")
OUTCOMES = ("ok", "retryable", "permanent")


class Metrics:
    """The metrics of one center; every label value is there from the start."""

    def __init__(self, recovery: Recovery | None = None) -> None:
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
        self.bytes_in_flight = Gauge(
            "wakizashi_center_bytes_in_flight",
            "Bytes, as they came, of windows that have no ack yet; limits.bytesInFlight is the most.",
            registry=registry,
        )
        self.calls = Gauge("wakizashi_center_calls", "Deliveries in progress.", registry=registry)
        self.points = Counter(
            "wakizashi_center_points_written",
            "Points the backend took, ledgers and repeated deliveries included.",
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
            registry=registry,
        )
        self.quarantined = Counter(
            "wakizashi_center_points_quarantined",
            "Points the backend can never store; their windows are in recoverDir/bad.",
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
        files = Gauge(
            "wakizashi_center_recovery_files",
            "Windows waiting in the recovery directory.",
            registry=registry,
        )
        used = Gauge(
            "wakizashi_center_recovery_bytes",
            "Bytes waiting in the recovery directory.",
            registry=registry,
        )
        if recovery is not None:
            files.set_function(lambda: len(recovery.waiting()))
            used.set_function(lambda: recovery.used_bytes)
        self.certificate_end = Gauge(
            "wakizashi_center_certificate_end_timestamp_seconds",
            "When the certificate of tls.cert ends, in seconds since 1970; NaN without tls.",
            registry=registry,
        )
        info = Gauge(
            "wakizashi_center_build_info",
            "Always 1; the labels tell the build.",
            ["version", "commit"],
            registry=registry,
        )
        build = build_info()
        info.labels(build["version"], build["commit"]).set(1)
        self.series.set(float("nan"))
        self.certificate_end.set(float("nan"))
        self.series_ratio.set(float("nan"))
        for status in STATUSES:
            self.windows.labels(status)
        for limit in LIMITS:
            self.limits.labels(limit)
        for reason in REFUSALS:
            self.refused.labels(reason)
        for outcome in OUTCOMES:
            self.writes.labels(outcome)

    def render(self) -> bytes:
        """The text format."""
        return generate_latest(self.registry)
