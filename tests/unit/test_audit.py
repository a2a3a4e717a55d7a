"""Every finding of an audit: what brings it up, and what does not."""

from dataclasses import replace

import pytest

from tests.audit_data import (
    START,
    STEP,
    A,
    B,
    audited,
    balanced,
    kinds,
    ledgers,
    only,
    record,
    rows,
    window,
)
from wakizashi.audit.accounts import FLIGHT_BYTES, FLIGHT_PACKETS
from wakizashi.audit.analysis import Audit
from wakizashi.audit.findings import KINDS, MOST_OF_A_KIND, Collector, Finding
from wakizashi.model import Ledger, StoredWindow, Tally


def test_what_adds_up() -> None:
    report = audited([window(number, probe=probe) for number in range(1, 6) for probe in "ab"])
    assert kinds(report) == []
    assert report.adds_up
    first, second = report.probes
    assert (first.name, first.windows, first.points) == ("a", 5, 5)
    assert first.stored == Tally(50, 5_000)
    assert second.devices["eth0"].ledger == balanced(Tally(50, 5_000))
    assert (first.first_ms, first.end_ms) == (START, START + 5 * STEP)


def test_nothing_at_all_is_a_fault() -> None:
    assert only(audited([]), "nothing").fault


# -- numbers and times -----------------------------------------------------------------------


def test_missing_windows() -> None:
    found = only(audited([window(n) for n in (3, 4, 7, 8)]), "missing_windows")
    assert found.fault
    assert found.numbers == (5, 6)
    assert (found.since_ms, found.until_ms) == (START + 4 * STEP, START + 6 * STEP)


def test_a_merged_window_covers_its_numbers() -> None:
    merged = window(4, position=2, windows=3, duration_ms=3 * STEP)
    found = only(audited([window(1), merged, window(5)]), "merged")
    assert (found.fault, found.numbers) == (False, (2, 4))
    report = audited([window(1), replace(merged, ledgers=()), window(5)])
    assert "missing_windows" in kinds(report)


def test_a_gap_before_a_merged_window() -> None:
    merged = window(4, position=3, windows=2, duration_ms=2 * STEP)
    report = audited([window(1), merged, window(5)])
    assert kinds(report) == ["missing_windows", "merged"]
    assert report.findings.told[0].numbers == (2, 2)


def test_a_restart_is_no_loss() -> None:
    report = audited([window(1), window(2), window(3, shift_ms=4_000)])
    found = only(report, "unwatched")
    assert not found.fault
    assert (found.since_ms, found.until_ms) == (START + 2 * STEP, START + 2 * STEP + 4_000)


def test_the_first_number_seen_need_not_be_one() -> None:
    assert kinds(audited([window(7), window(8)], until_ms=START + 8 * STEP)) == []


def test_numbers_that_begin_anew() -> None:
    found = only(audited([window(8, position=1), window(1, position=2)]), "begins_anew")
    assert not found.fault


def test_a_window_stored_alone_and_merged() -> None:
    merged = window(3, position=2, windows=2, duration_ms=2 * STEP)
    report = audited([window(1), merged, window(3), window(4)])
    assert kinds(report) == ["repeated_windows", "merged"]
    found = report.findings.told[0]
    assert (found.fault, found.numbers) == (True, (3, 3))


def test_the_first_window_stored_twice_is_no_new_beginning() -> None:
    twice = window(1, position=1, shift_ms=10)
    assert "repeated_windows" in kinds(audited([window(1), twice]))


def test_numbers_that_go_back() -> None:
    found = only(audited([window(8, position=1), window(5, position=2)]), "numbers_back")
    assert found.fault


def test_two_probes_with_one_name() -> None:
    other = window(70, position=2, ledgers={"eth1": balanced(Tally(10, 1_000))})
    one, two = window(1), window(2)
    report = audited([one, two, other, window(3)])
    assert "mixed_window" in kinds(report)


def test_a_clock_that_was_set_back() -> None:
    # The next start is a millisecond after the last one; both last as long as they lasted.
    back = window(3, position=2, shift_ms=1)
    later = window(4, position=3, shift_ms=1)
    found = only(audited([window(1), window(2), back, later]), "clock_back")
    assert not found.fault
    assert found.until_ms - found.since_ms == STEP - 1


def test_a_clock_that_is_ahead() -> None:
    report = audited([window(1), window(2)], until_ms=START - 3_600_000)
    assert not only(report, "clock_ahead").fault


def test_a_probe_that_fell_silent() -> None:
    end = START + 2 * STEP
    assert kinds(audited([window(1), window(2)], until_ms=end + 2 * STEP + 60_000)) == []
    found = only(audited([window(1), window(2)], until_ms=end + 2 * STEP + 60_001), "silent")
    assert (found.fault, found.since_ms) == (False, end)


# -- ledgers ---------------------------------------------------------------------------------


def with_ledgers(*each: Ledger) -> list[StoredWindow]:
    """Windows of one device with these ledgers; the traffic is what they say."""
    return [
        window(
            n + 1,
            ledgers={"eth0": ledger},
            records=[record("vm-1", 0, A, B, 1)._replace(
                size=ledger.counted.bytes, packets=ledger.counted.packets
            )],
        )
        for n, ledger in enumerate(each)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "tally", "fault"), [("lost", "lost", True), ("dropped", "dropped", False)]
)
def test_bytes_that_are_not_stored(kind: str, tally: str, fault: bool) -> None:
    bad = balanced(Tally(10, 1_000), **{tally: Tally(2, 120)})
    good = balanced(Tally(10, 1_000))
    report = audited(with_ledgers(good, bad, bad, good, bad))
    assert kinds(report) == [kind, kind]
    first, second = report.findings.told
    assert (first.bytes, first.packets, first.device) == (240, 4, "eth0")
    assert (first.since_ms, first.until_ms) == (START + STEP, START + 3 * STEP)
    assert (first.numbers, second.numbers) == ((2, 3), (5, 5))
    assert report.adds_up is not fault


def test_flows_that_were_folded() -> None:
    found = only(audited(with_ledgers(balanced(Tally(10, 900), other=Tally(4, 300)))), "folded")
    assert (found.fault, found.bytes) == (False, 300)


def off(packets: int, size: int, counted: Tally = Tally(1_000, 70_000)) -> Ledger:  # noqa: B008 - frozen
    """A ledger whose device has so much more than is accounted for."""
    ledger = balanced(counted)
    return replace(ledger, device=ledger.device + Tally(packets, size))


def test_packets_in_flight_are_no_fault() -> None:
    # Those at the end of a window are among the next one's.
    flight = [off(60, 60 * 1_514), off(-60, -60 * 1_514)] * 20
    assert kinds(audited(with_ledgers(*flight))) == []
    assert kinds(audited(with_ledgers(off(FLIGHT_PACKETS + 10, FLIGHT_BYTES)))) == []


@pytest.mark.parametrize(
    ("packets", "size", "kind"),
    [
        (0, FLIGHT_BYTES + 5_000, "uncounted"),
        (FLIGHT_PACKETS + 20, 70 * (FLIGHT_PACKETS + 20), "uncounted"),
        (0, -FLIGHT_BYTES - 5_000, "overcounted"),
        (-FLIGHT_PACKETS - 20, 0, "overcounted"),
    ],
)
def test_what_is_beyond_packets_in_flight(packets: int, size: int, kind: str) -> None:
    found = only(audited(with_ledgers(balanced(Tally(9, 900)), off(packets, size))), kind)
    assert found.fault
    assert (found.device, found.bytes, found.packets) == ("eth0", abs(size), abs(packets))


def test_a_little_in_each_window_adds_up_to_a_fault() -> None:
    each = off(3, 4_000)
    assert kinds(audited(with_ledgers(each))) == []
    assert kinds(audited(with_ledgers(*[each] * 100))) == ["uncounted"]


def test_each_run_has_its_own_packets_in_flight() -> None:
    each = off(40, 40 * 1_514)
    restarted = [
        replace_start(stored, n * 1_000) for n, stored in enumerate(with_ledgers(*[each] * 5))
    ]
    assert set(kinds(audited(restarted))) == {"unwatched"}


def test_packets_in_flight_are_in_the_next_window_though_the_clock_went_back() -> None:
    late, early = off(100, 100 * 1_514), off(-100, -100 * 1_514)
    windows = with_ledgers(balanced(Tally(9, 900)), late, early)
    back = [replace_start(stored, -n * (STEP - 1)) for n, stored in enumerate(windows)]
    assert "uncounted" not in kinds(audited(back))
    assert "overcounted" not in kinds(audited(back))
    gone = [back[0], back[1], replace_start(windows[2], 10**6)]
    assert {"uncounted", "overcounted"} <= set(kinds(audited(gone)))


def replace_start(stored: StoredWindow, shift_ms: int) -> StoredWindow:
    start = stored.start_ms + shift_ms
    return replace(
        stored,
        start_ms=start,
        records=tuple(r._replace(timestamp=start) for r in stored.records),
        ledgers=tuple(replace(r, timestamp=start) for r in stored.ledgers),
    )


@pytest.mark.parametrize(
    ("ledger", "kind"),
    [
        # Super-packets of 30,000 bytes; the card counts 21 segments each, with their headers.
        (off(20 * 1_000, 66 * 20 * 1_000, Tally(1_000, 30_000_000)), "counters"),
        (off(0, 4 * 10**6, Tally(10**6, 10**9)), "counters"),  # frame check sequences
        (off(20 * 1_000, 200 * 20 * 1_000, Tally(1_000, 30_000_000)), "uncounted"),
        (off(20 * 1_000, 66 * 20 * 1_000, Tally(100_000, 7_000_000)), "uncounted"),
        (off(0, 40 * 10**6, Tally(10**6, 10**9)), "uncounted"),
        (off(0, -14 * 10**6, Tally(10**6, 10**9)), "counters"),  # all that comes into a bridge
        (off(0, -15 * 10**6, Tally(10**6, 10**9)), "overcounted"),
        (off(-(10**6), -14 * 10**6, Tally(10**6, 10**9)), "overcounted"),
    ],
)
def test_devices_that_count_headers_otherwise(ledger: Ledger, kind: str) -> None:
    assert kinds(audited(with_ledgers(*[ledger] * 20))) == [kind]


# -- traffic against ledgers -----------------------------------------------------------------


def test_a_missing_point() -> None:
    whole = window(2, records=[record("vm-1", 0, A, B, 700), record("vm-1", 0, B, A, 300, at=A)])
    part = replace(whole, records=whole.records[:1])
    assert kinds(audited([window(1), whole])) == []
    found = only(audited([window(1), part]), "points_missing")
    assert found.fault
    assert (found.bytes, found.packets) == (300, 3)
    assert (found.since_ms, found.until_ms) == (START + STEP, START + 2 * STEP)
    assert only(audited([window(1), replace(whole, records=())]), "points_missing").bytes == 1_000


@pytest.mark.parametrize(("size", "packets"), [(1, 0), (0, 1), (1, 1)])
def test_to_the_byte_and_to_the_packet(size: int, packets: int) -> None:
    right = window(1)
    (point,) = right.records
    less = point._replace(size=point.size - size, packets=point.packets - packets)
    more = point._replace(size=point.size + size, packets=point.packets + packets)
    for changed, kind in ((less, "points_missing"), (more, "points_spurious")):
        found = only(audited([replace(right, records=(changed,))]), kind)
        assert (found.fault, found.bytes, found.packets) == (True, size, packets)


def test_traffic_without_a_ledger() -> None:
    found = only(audited([window(1), replace(window(2), ledgers=())]), "traffic_without_ledger")
    assert (found.fault, found.bytes, found.probe) == (True, 1_000, "vm-1")
    report = audited([replace(window(1, probe="other"), ledgers=())])
    assert kinds(report) == ["traffic_without_ledger"]


def test_a_window_without_traffic_needs_no_points() -> None:
    assert kinds(audited([window(1, records=[]), window(2)])) == []


def test_traffic_is_the_sum_of_all_devices() -> None:
    two = {"eth0": balanced(Tally(6, 600)), "tunl0": balanced(Tally(4, 400))}
    assert kinds(audited([window(1, ledgers=two)])) == []
    found = only(audited([window(1, ledgers={"eth0": two["eth0"]})]), "points_spurious")
    assert found.bytes == 400


# -- many findings, and a second reading -----------------------------------------------------


def test_many_findings_are_counted_and_some_are_told() -> None:
    gaps = [window(n) for n in range(1, 2 * MOST_OF_A_KIND + 20, 2)]
    report = audited(gaps)
    assert len(report.findings.told) == MOST_OF_A_KIND
    assert dict(report.findings.counts) == {"missing_windows": len(gaps) - 1}
    assert report.findings.faults == len(gaps) - 1


def finding(kind: str, since_ms: int) -> Finding:
    return Finding(kind, "p", "", since_ms, since_ms + 1, "text")


def test_a_fault_counts_when_it_is_seen_twice() -> None:
    first, second = Collector(), Collector()
    first.extend([finding("points_missing", 1), finding("points_missing", 2)])
    second.extend(
        [finding("points_missing", 2), finding("points_missing", 3), finding("merged", 3)]
    )
    both = second.result().seen_again(first.result())
    assert [(f.kind, f.since_ms) for f in both.told] == [("points_missing", 2), ("merged", 3)]
    assert dict(both.counts) == {"points_missing": 1, "merged": 1}
    many = Collector()
    many.extend(finding("points_missing", 10 + n) for n in range(MOST_OF_A_KIND + 1))
    assert second.result().seen_again(many.result()).faults == 2


def test_ledgers_of_probes_may_be_interleaved() -> None:
    windows = [
        window(n, probe=probe, ledgers={"e0": balanced(Tally(6, 600)), "e1": balanced(Tally(4, 400))})
        for n in (1, 2)
        for probe in "ab"
    ]  # fmt: skip
    audit = Audit(START, START + 2 * STEP)
    audit.ledgers(sorted(ledgers(windows), key=lambda r: (r.timestamp, r.device, r.probe)))
    audit.addresses(rows(windows))
    audit.traffic(rows(windows))
    report = audit.report()
    assert kinds(report) == []
    assert [probe.windows for probe in report.probes] == [2, 2]


def test_every_kind_says_where_to_look() -> None:
    assert all(kind.look_at for kind in KINDS.values())


def test_what_is_in_flight_is_what_passes_in_a_moment_however_long_windows_are() -> None:
    busy = balanced(Tally(10_000, 10_000_000))
    late = replace(busy, counted=busy.counted - Tally(1_000, 1_000_000))
    short = [replace_length(stored, 1_000) for stored in with_ledgers(late)]
    assert kinds(audited(short)) == []
    assert kinds(audited(with_ledgers(late))) == ["uncounted"]


def replace_length(stored: StoredWindow, duration_ms: int) -> StoredWindow:
    ledgers = tuple(replace(record, duration=duration_ms) for record in stored.ledgers)
    return replace(stored, ledgers=ledgers)
