"""Known data gives the known audit, over every backend."""

from collections.abc import Sequence
from typing import Any

import pytest

from tests.audit_data import START as BEGIN
from tests.audit_data import STEP, A, B, C, balanced, record, window
from tests.center_backends import Settings, opened
from wakizashi.audit import reading
from wakizashi.audit.report import document
from wakizashi.center.backend import Backend
from wakizashi.model import StoredWindow, Tally

NOW = BEGIN + 8 * STEP


def good() -> list[StoredWindow]:
    """Two probes that see each other; one has a tunnel, a merged window and a restart."""
    windows = []
    for n in (1, 2, 3, 4, 5, 7, 8):
        traffic = [record("b", 0, A, B, 5_000, at=B), record("b", 0, C, B, 70, at=B)]
        merged: dict[str, Any] = (
            {"windows": 2, "position": 6, "duration_ms": 2 * STEP} if n == 7 else {}
        )
        windows.append(window(n, probe="b", records=traffic, **merged))
    for n, size in enumerate([9_000, 100, 30_000, 1_000, 400, 70_000, 900, 12_000], 1):
        traffic = [record("a pod", 0, A, B, 5_000), record("a pod", 0, A, C, 2 * size)]
        ledgers = {
            "tunl0": balanced(Tally(size // 100, size)),
            "eth0": balanced(Tally(size // 100 + 50, size + 5_000), own=Tally(1, 60)),
        }
        windows.append(window(n, probe="a pod", records=traffic, ledgers=ledgers))
    return windows


def test_what_adds_up(backend: Backend) -> None:
    backend.write(good())
    report = reading.read(backend, BEGIN, NOW)
    assert [(f.kind, f.probe, f.device) for f in report.findings.told] == [
        ("merged", "b", ""),
        ("same_packets", "a pod", "tunl0"),
    ]
    assert report.adds_up
    (pair,) = report.pairs
    # The time of the merged window is compared too: its edges are edges of both.
    assert (pair.sender, pair.receiver, pair.watched_ms) == ("a pod", "b", 8 * STEP)
    assert (pair.sent, pair.received) == (Tally(400, 40_000), Tally(350, 35_000))
    found = document(report, backend.describe)
    assert found["probes"][0]["stored"] == {"packets": 2_868, "bytes": 286_800}
    assert found["probes"][0]["devices"][0]["ledger"]["own"] == {"packets": 8, "bytes": 480}
    assert found["probes"][1]["points"] == 14


def broken() -> Sequence[StoredWindow]:
    """Everything that can be wrong with what is stored."""
    windows = [w for w in good() if w.probe == "b" and w.ledgers[0].number != 3]
    lost = balanced(Tally(50, 5_000), lost=Tally(3, 300))
    return [
        *windows,
        window(9, probe="b", position=9, records=[record("b", 0, A, B, 5_000)], ledgers={"e": lost}),
        window(9, probe="b", position=9, shift_ms=5),
        window(1, probe="c", records=[record("c", 0, A, B, 50)], ledgers={}),
        window(1, probe="d", records=[], ledgers={"e": balanced(Tally(7, 700))}),
        window(1, probe="e", ledgers={"e": balanced(Tally(9, 998))}),
    ]  # fmt: skip


def test_what_does_not_add_up(place: tuple[str, Settings], backend: Backend) -> None:
    backend.write(broken())
    with opened(*place, read_only=True) as reader:
        report = reading.read(reader, BEGIN, NOW)
    found = [(f.kind, f.probe, f.bytes, f.numbers) for f in report.findings.told if f.fault]
    assert found == [
        ("missing_windows", "b", 0, (3, 3)),
        ("repeated_windows", "b", 0, (9, 9)),
        ("points_missing", "d", 700, None),
        ("points_spurious", "e", 2, None),
        ("traffic_without_ledger", "c", 50, None),
        ("lost", "b", 300, (9, 9)),
    ]
    assert report.findings.faults == 6


@pytest.mark.parametrize("since", [BEGIN - 1, BEGIN + 1, BEGIN + STEP, BEGIN + 7 * STEP])
def test_the_edge_of_the_span(backend: Backend, since: int) -> None:
    backend.write(good())
    assert reading.read(backend, since, NOW).adds_up
