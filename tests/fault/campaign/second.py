"""A second opinion: what the product's own audit says of the rows that the oracle judges. Pure."""

from typing import Any

from tests.fault.campaign.oracle import Stored
from wakizashi.audit.analysis import Audit
from wakizashi.audit.report import document
from wakizashi.model import TALLIES, Ledger, LedgerRecord, Tally

BALANCE = frozenset({"uncounted", "overcounted"})
"""Asked for only where no packet was in flight at any edge that has no window behind it: so not where
a probe ended while traffic passed, a device went with its last counters, or a clock was set."""


def faults(stored: Stored, *, balances: bool, lost: int) -> list[str]:
    """The faults that an audit of all that is stored finds, and that it should not.

    Args:
        balances: whether the ledgers have to balance.
        lost: bytes that a probe lost at its end; the audit has to find the same.
    """
    records = sorted(map(_ledger, stored.ledgers.values()), key=lambda r: (r.timestamp, r.probe))
    points = [row | {"timestamp": row["time"]} for row in stored.traffic.values()]
    until = max((record.timestamp + record.duration for record in records), default=0)
    audit = Audit(0, until)
    audit.ledgers(records)
    audit.addresses(points)
    audit.traffic(points)
    found = [one for one in document(audit.report(), "InfluxDB")["findings"] if one["fault"]]
    told = sum(one["bytes"] for one in found if one["kind"] == "lost")
    findings = [
        f"the audit found {one}"
        for one in found
        if one["kind"] != "lost" and (balances or one["kind"] not in BALANCE)
    ]
    if told != lost:
        findings.append(f"the audit found {told} bytes lost, and {lost} were")
    return findings


def _ledger(row: dict[str, Any]) -> LedgerRecord:
    tallies = {name: Tally(row[f"{name}_packets"], row[f"{name}_bytes"]) for name in TALLIES}
    return LedgerRecord(
        row["time"],
        row["probe"],
        row["device"],
        row["number"],
        row["duration"],
        Ledger(**tallies),
        row["windows"],
    )
