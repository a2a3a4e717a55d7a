"""Reads a backend for an audit, twice where there is a fault: windows come while it reads."""

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TextIO

from wakizashi import progress
from wakizashi.audit.analysis import Audit, Report
from wakizashi.audit.findings import Finding
from wakizashi.audit.report import document, lines
from wakizashi.center.backend import Backend, backend_module, open_backend
from wakizashi.center.config import BackendConfig, load_center
from wakizashi.model import MAX_TIME_MS
from wakizashi.progress import Counter
from wakizashi.query import span_seconds

EXPIRY_MARGIN_MS = 600_000
"""Of what is about to expire a part may be deleted already, or while it is read."""


def audit(
    path: Path | None,
    *,
    last: str,
    overrides: Sequence[str] = (),
    now_ms: int | None = None,
) -> tuple[Report, str]:
    """Audit the last while; the report, and what was read.

    Raises:
        WakizashiError: bad arguments or configuration, or the backend does not answer.
    """
    config = load_center(path, overrides, serves=False).backendConfig
    now_ms = time.time_ns() // 1_000_000 if now_ms is None else now_ms
    since_ms = max(0, now_ms - span_seconds(last) * 1_000)
    ttl_ms = _ttl_ms(config)
    kept_ms = now_ms - ttl_ms + min(ttl_ms // 10, EXPIRY_MARGIN_MS) if ttl_ms else 0
    counter = Counter()
    backend = open_backend(config, read_only=True)
    try:
        with progress.shown(counter.tell):
            report = read(backend, since_ms, now_ms, kept_ms=kept_ms, counter=counter)
        return report, backend.describe
    finally:
        backend.close()


def read(
    backend: Backend,
    since_ms: int,
    now_ms: int,
    *,
    kept_ms: int = 0,
    counter: Counter | None = None,
) -> Report:
    """Audit the windows that start from ``since_ms`` on, none before ``kept_ms``.

    A fault counts when a second reading has it too: a window may have been
    stored between the reading of its ledger and of its traffic.
    """
    counter = counter or Counter()
    report = _read(backend, since_ms, now_ms, kept_ms, counter)
    if report.adds_up:
        return report
    again = _read(backend, since_ms, now_ms, kept_ms, counter)
    return replace(again, findings=again.findings.seen_again(report.findings))


def _read(backend: Backend, since_ms: int, now_ms: int, kept_ms: int, counter: Counter) -> Report:
    audit = Audit(since_ms, now_ms)
    if kept_ms > since_ms:
        audit.note(
            Finding("expiring", "", "", since_ms, kept_ms, "windows are kept for the ttl only")
        )
    since_ms = max(since_ms, kept_ms)
    audit.ledgers(counter.through("ledger", backend.ledgers(since_ms, MAX_TIME_MS)))
    addresses = backend.traffic(since_ms, MAX_TIME_MS, ("probe", "probeIP"))
    audit.addresses(counter.through("sum", addresses))
    audit.traffic(counter.through("row", backend.traffic(since_ms, MAX_TIME_MS)))
    return audit.report()


def _ttl_ms(config: BackendConfig) -> int:
    """How long the backend keeps a window; 0 where it does so for ever, or does not know."""
    section = getattr(config, backend_module(config.type).CONFIG_KEY)
    return int(getattr(section, "ttl", 0)) * 1_000


def write(report: Report, backend: str, form: str, out: TextIO | None = None) -> None:
    """Write a report as ``table`` or ``json``, to standard output unless told."""
    out = out or sys.stdout
    if form == "json":
        json.dump(document(report, backend), out, indent=1)
        out.write("\n")
    else:
        out.writelines(f"{line}\n" for line in lines(report, backend))
