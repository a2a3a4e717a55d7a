"""What a probe has done since it started: plain integers, and their Prometheus text."""

from dataclasses import dataclass, fields

from wakizashi.model import Ledger
from wakizashi.version import build_info


@dataclass(slots=True)
class ProbeStats:
    """Counters of one process. Each is written by one thread only."""

    windows_closed: int = 0
    windows_merged: int = 0
    windows_delivered: int = 0
    windows_rejected: int = 0
    windows_damaged: int = 0
    delivery_failures: int = 0
    close_failures: int = 0
    counted_packets: int = 0
    counted_bytes: int = 0
    own_packets: int = 0
    own_bytes: int = 0
    non_ip_packets: int = 0
    non_ip_bytes: int = 0
    dropped_packets: int = 0
    dropped_bytes: int = 0
    other_packets: int = 0
    other_bytes: int = 0
    lost_packets: int = 0
    lost_bytes: int = 0

    def add(self, ledger: Ledger) -> None:
        """Add a closed window's ledger of one device."""
        for name in ("counted", "own", "non_ip", "dropped", "other", "lost"):
            tally = getattr(ledger, name)
            setattr(
                self,
                f"{name}_packets",
                getattr(self, f"{name}_packets") + tally.packets,
            )
            setattr(self, f"{name}_bytes", getattr(self, f"{name}_bytes") + tally.bytes)


METRICS = {
    "windows_closed": "Windows closed and durable in dumpDir.",
    "windows_merged": "Windows merged into the one before, for want of room in dumpDir.",
    "windows_delivered": "Windows the center acknowledged as durable.",
    "windows_rejected": "Windows the center refused for good; they lie in dumpDir/bad.",
    "windows_damaged": "Window files that could not be read; they lie in dumpDir/bad.",
    "delivery_failures": "Deliveries that failed and are tried again.",
    "close_failures": "Times a window stayed open because dumpDir would not take it.",
    "counted_packets": "Packets counted into flows.",
    "counted_bytes": "Bytes counted into flows.",
    "own_packets": "Packets of the probe's own traffic with the center, left out.",
    "own_bytes": "Bytes of the probe's own traffic with the center, left out.",
    "non_ip_packets": "Packets without an IP header, left out.",
    "non_ip_bytes": "Bytes of packets without an IP header, left out.",
    "dropped_packets": "Packets the kernel could not queue for the probe.",
    "dropped_bytes": "Bytes the device's counters have beyond what was seen, when packets dropped.",
    "other_packets": "Counted packets folded into one flow beyond maxFlows.",
    "other_bytes": "Counted bytes folded into one flow beyond maxFlows.",
    "lost_packets": "Counted packets lost at the end: neither dumpDir nor center took them.",
    "lost_bytes": "Counted bytes lost at the end: neither dumpDir nor center took them.",
}
"""Each counter, exposed as ``wakizashi_probe_NAME_total``."""


def render(stats: ProbeStats, pending: int, pending_bytes: int) -> bytes:
    """The metrics in Prometheus' text format. Imports the Prometheus client."""
    from prometheus_client import (
        CollectorRegistry,
        Counter,
        Gauge,
        Info,
        generate_latest,
    )

    registry = CollectorRegistry()
    for field in fields(stats):
        counter = Counter(f"wakizashi_probe_{field.name}", METRICS[field.name], registry=registry)
        counter.inc(getattr(stats, field.name))
    Gauge(
        "wakizashi_probe_windows_pending",
        "Windows waiting in dumpDir.",
        registry=registry,
    ).set(pending)
    Gauge("wakizashi_probe_pending_bytes", "Bytes waiting in dumpDir.", registry=registry).set(
        pending_bytes
    )
    Info("wakizashi_probe_build", "What this build is.", registry=registry).info(build_info())
    return generate_latest(registry)
