"""Windows: when they begin and end, and what is in them."""

import pytest

from wakizashi import wire
from wakizashi.model import Direction, Ledger, Tally
from wakizashi.probe.capture import OTHER, Counts
from wakizashi.probe.window import Moment, WindowBuilder, WindowClock

HERE, THERE, ELSEWHERE = b"\x0a\0\0\1", b"\x0a\0\0\2", b"\x0a\0\0\3"


def test_first_window_starts_at_start_up_and_ends_on_the_boundary() -> None:
    clock = WindowClock(30, -1, Moment(1_000_007_000, 50.0))
    assert clock.start_ms == 1_000_007_000
    assert clock.deadline == pytest.approx(50.0 + 13.0)
    assert clock.end(Moment(1_000_020_004, 63.004)) == (1_000_020_000, 1_000_020_000)
    clock.next(Moment(1_000_020_004, 63.004))
    assert clock.start_ms == 1_000_020_000
    assert clock.deadline == pytest.approx(63.004 + 29.996)
    assert clock.end(Moment(1_000_050_001, 93.001)) == (1_000_050_000, 1_000_050_000)


def test_last_window_ends_at_shutdown() -> None:
    clock = WindowClock(30, -1, Moment(1_000_007_000, 50.0))
    assert clock.end(Moment(1_000_010_500, 53.5))[0] == 1_000_010_500


def test_start_goes_on_from_the_last_one_on_disk() -> None:
    clock = WindowClock(30, 2_000_000_000, Moment(1_000_007_000, 50.0))
    assert clock.start_ms == 2_000_000_001


def test_backward_step_neither_repeats_a_start_nor_stretches_the_duration() -> None:
    clock = WindowClock(10, -1, Moment(7_200_000_000, 0.0))
    end, following = clock.end(Moment(7_200_000_000 - 3_590_000, 10.0))
    assert end == 7_200_000_000 + 10_000
    assert following == 7_200_000_001


def test_backward_step_does_not_shorten_a_short_window() -> None:
    clock = WindowClock(1, -1, Moment(7_200_000_000, 0.0))
    end, following = clock.end(Moment(7_200_000_000 - 3_590_000, 1.0))
    assert (end, following) == (7_200_001_000, 7_200_000_001)
    # Nor the last one, which ends at any time.
    assert clock.end(Moment(7_200_000_000 - 3_590_000, 0.6))[0] == 7_200_000_600
    assert clock.end(Moment(7_200_000_100, 0.9))[0] == 7_200_000_900


def test_forward_step_leaves_a_gap_and_not_a_long_window() -> None:
    clock = WindowClock(10, -1, Moment(7_200_000_000, 0.0))
    end, following = clock.end(Moment(7_200_000_000 + 3_610_000, 10.0))
    assert end == 7_200_010_000
    assert following == 7_203_610_000


def test_postponed_window_ends_at_the_later_boundary() -> None:
    clock = WindowClock(10, -1, Moment(1_000_000, 0.0))
    clock.postpone(Moment(1_010_001, 10.001))
    assert clock.end(Moment(1_020_002, 20.002)) == (1_020_000, 1_020_000)


def built(counts: Counts, passed: Tally, *, max_flows: int = 10) -> WindowBuilder:
    builder = WindowBuilder("p", (), max_flows)
    builder.saw_addresses([HERE, ELSEWHERE])
    builder.add("eth0", HERE, counts, passed)
    return builder


@pytest.mark.parametrize(
    ("source", "destination", "direction"),
    [
        (HERE, THERE, Direction.OUT),
        (THERE, HERE, Direction.IN),
        (HERE, ELSEWHERE, Direction.LOCAL),
        (THERE, b"\x0a\0\0\4", Direction.TRANSIT),
        (b"\x7f\0\0\5", b"\x7f\1\1\1", Direction.LOCAL),
    ],
)
def test_direction(source: bytes, destination: bytes, direction: Direction) -> None:
    counts = Counts(flows={source + destination: Tally(2, 300)})
    (flow,) = built(counts, Tally(2, 300)).build(0, 1, 1).flows
    assert (flow.direction, flow.source, flow.destination) == (direction, source, destination)
    assert (flow.packets, flow.size) == (2, 300)


def test_an_address_that_went_away_during_the_window_was_local() -> None:
    builder = built(Counts(flows={HERE + THERE: Tally(1, 60)}), Tally(1, 60))
    builder.saw_addresses([THERE])
    assert builder.build(0, 1, 1).flows[0].direction is Direction.LOCAL
    builder.reset([THERE])
    builder.add("eth0", b"", Counts(flows={HERE + THERE: Tally(1, 60)}), Tally(1, 60))
    assert builder.build(0, 1, 1).flows[0].direction is Direction.IN


def test_ledger_explains_every_byte() -> None:
    counts = Counts(
        flows={HERE + THERE: Tally(2, 300), OTHER: Tally(1, 60)},
        own=Tally(1, 80),
        non_ip=Tally(1, 42),
    )
    ledger = built(counts, Tally(5, 482)).build(0, 1, 1).devices[0].ledger
    assert ledger == Ledger(
        device=Tally(5, 482),
        counted=Tally(3, 360),
        own=Tally(1, 80),
        non_ip=Tally(1, 42),
        other=Tally(1, 60),
    )
    assert ledger.accounted == ledger.device


def test_dropped_bytes_are_what_the_device_has_beyond_the_rest() -> None:
    counts = Counts(flows={HERE + THERE: Tally(2, 300)}, dropped_packets=3)
    ledger = built(counts, Tally(5, 1000)).build(0, 1, 1).devices[0].ledger
    assert ledger.dropped == Tally(3, 700)


def test_packets_in_flight_at_an_edge_are_not_called_dropped_later() -> None:
    flow = HERE + THERE
    builder = built(Counts(flows={flow: Tally(1, 100)}), Tally(2, 200))  # one is in flight
    builder.reset([])
    builder.add("eth0", HERE, Counts(flows={flow: Tally(2, 200)}), Tally(1, 100))
    builder.reset([])
    builder.add("eth0", HERE, Counts(flows={flow: Tally(1, 100)}, dropped_packets=1), Tally(2, 250))
    assert builder.build(0, 1, 1).devices[0].ledger.dropped == Tally(1, 150)


def test_window_that_stays_open_folds_beyond_max_flows_and_keeps_the_totals() -> None:
    builder = WindowBuilder("p", (), 2)
    for last in range(6):
        key = HERE + bytes([10, 0, 1, last])
        builder.add("eth0", HERE, Counts(flows={key: Tally(1, 100)}), Tally(1, 100))
    window = builder.build(0, 1, 1)
    assert sum(flow.size for flow in window.flows) == 600
    assert len(window.flows) == 3
    assert window.devices[0].ledger.other == Tally(4, 400)


def test_more_devices_than_a_window_can_carry_are_one_with_their_totals() -> None:
    """A window that stays open for days, on a host whose devices come and go."""
    builder = WindowBuilder("p", (), 10)
    for number in range(wire.MAX_DEVICES + 5):
        counts = Counts(flows={HERE + THERE: Tally(1, 60)})
        builder.add(f"veth{number}", HERE, counts, Tally(2, 99))
        builder.add(f"veth{number}", HERE, Counts(), Tally(1, 1))
    window = wire.decode(wire.encode(builder.build(0, 1, 1)))
    assert len(window.devices) == wire.MAX_DEVICES
    tallies = {device.name: device.ledger.device for device in window.devices}
    assert tallies["veth0"] == Tally(3, 100)
    assert tallies["(others)"] == Tally(18, 600)
    assert sum(flow.size for flow in window.flows) == 60 * (wire.MAX_DEVICES + 5)


def test_device_that_comes_back_in_the_same_window_has_one_ledger() -> None:
    builder = built(Counts(flows={HERE + THERE: Tally(1, 60)}), Tally(1, 60))
    builder.add("eth0", b"", Counts(flows={HERE + THERE: Tally(2, 120)}), Tally(2, 120))
    window = builder.build(0, 1, 1)
    assert [device.name for device in window.devices] == ["eth0"]
    assert window.devices[0].ledger.device == Tally(3, 180)


def test_devices_that_came_and_went_leave_nothing_behind() -> None:
    builder = WindowBuilder("p", (), 10)
    for number in range(100):
        builder.add(f"veth{number}", HERE, Counts(flows={HERE + THERE: Tally(1, 60)}), Tally(2, 99))
        builder.reset([])
    assert list(builder._unexplained) == ["veth99"]
