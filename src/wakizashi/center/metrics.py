"""The center's Prometheus metrics. Never labelled by address or probe."""

from collections.abc import Callable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    generate_latest,
)

from wakizashi.version import build_info


class Metrics:
    """One process's metrics, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.windows = Counter(
            "wakizashi_center_windows",
            "Windows by what was answered: stored, recovered, retry, rejected.",
            ["status"],
            registry=self.registry,
        )
        self.records = Counter(
            "wakizashi_center_records",
            "Raw traffic records in complete, valid windows.",
            registry=self.registry,
        )
        self.points = Counter(
            "wakizashi_center_points_written",
            "Points the backend took, ledgers included; a redelivered one counts again.",
            registry=self.registry,
        )
        self.writes = Counter(
            "wakizashi_center_backend_writes",
            "Writes to the backend by outcome: ok, retryable, permanent.",
            ["outcome"],
            registry=self.registry,
        )
        self.write_seconds = Histogram(
            "wakizashi_center_backend_write_seconds",
            "Duration of writes to the backend, in seconds.",
            registry=self.registry,
        )
        self.quarantined = Counter(
            "wakizashi_center_points_quarantined",
            "Points the backend refused for good; their windows lie in recoverDir/bad.",
            registry=self.registry,
        )
        self.reposted = Counter(
            "wakizashi_center_windows_reposted",
            "Windows written from the recovery directory.",
            registry=self.registry,
        )
        self.recovery_files = Gauge(
            "wakizashi_center_recovery_files",
            "Windows waiting in the recovery directory.",
            registry=self.registry,
        )
        self.recovery_bytes = Gauge(
            "wakizashi_center_recovery_bytes",
            "Bytes waiting in the recovery directory.",
            registry=self.registry,
        )
        Info(
            "wakizashi_center_build", "What this build is.", registry=self.registry
        ).info(build_info())

    def watch_recovery(
        self, files: Callable[[], float], size: Callable[[], float]
    ) -> None:
        """Take the gauges of the recovery directory from these."""
        self.recovery_files.set_function(files)
        self.recovery_bytes.set_function(size)

    def render(self) -> bytes:
        """The text format."""
        return generate_latest(self.registry)
