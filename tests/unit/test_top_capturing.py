"""``wakizashi top``: from taps to windows, without a kernel."""

from collections.abc import Collection, Iterator
from dataclasses import replace

import pytest

from tests.unit.test_app import HERE, THERE, FakeEngine, FakeNetlink, FakeTap
from wakizashi.errors import ConfigError
from wakizashi.lifecycle import StopSignal
from wakizashi.model import Ledger, Tally, Window
from wakizashi.probe.capture import CaptureError, Counts, Endpoint, Limits, Tap
from wakizashi.probe.devices import Device
from wakizashi.probe.window import Moment
from wakizashi.top.capturing import Capture, check

FOREVER = 3600.0


class Engine(FakeEngine):
    """Remembers its taps, which have counted two packets as they are opened."""

    def __init__(self) -> None:
        self.taps: list[FakeTap] = []

    def open(self, device: Device, limits: Limits, endpoints: Collection[Endpoint]) -> Tap:
        self.taps.append(FakeTap())
        return self.taps[-1]


class Clock:
    """Both clocks, set by a test."""

    def __init__(self) -> None:
        self.moment = Moment(1_000_000, 50.0)

    def __call__(self) -> Moment:
        return self.moment


@pytest.fixture
def netlink() -> Iterator[FakeNetlink]:
    fake = FakeNetlink()
    yield fake
    fake.close()


def opened(netlink: FakeNetlink, clock: Clock | None = None) -> tuple[Capture, FakeTap]:
    engine = Engine()
    capture = Capture("h", (), engine, netlink, clock or Clock())
    capture.open()
    return capture, engine.taps[0]


def passes(netlink: FakeNetlink, packets: int, size: int) -> None:
    (device,) = netlink.devices.values()
    netlink.devices[1] = replace(device, received=device.received + Tally(packets, size))


def test_what_was_counted_before_all_taps_were_open_is_in_no_window(netlink: FakeNetlink) -> None:
    capture, tap = opened(netlink)
    with capture:
        window, _ = capture.cut()
        assert window.flows == ()
        assert [device.ledger for device in window.devices] == [Ledger()]
        passes(netlink, 5, 900)
        tap.counts = Counts(flows={HERE + THERE: Tally(2, 300)}, dropped_packets=3)
        window, _ = capture.cut()
    (device,) = window.devices
    # Nor are the 300 bytes from before missing in what was dropped.
    assert device.ledger.dropped == Tally(3, 600)
    assert device.ledger.device == Tally(5, 900)


def test_a_window_is_as_long_as_the_monotonic_clock_says(netlink: FakeNetlink) -> None:
    clock = Clock()
    capture, _ = opened(netlink, clock)
    with capture:
        clock.moment = Moment(900_000, 52.5)  # the other one was set back
        window, seconds = capture.cut()
        assert (seconds, window.end_ms, window.start_ms) == (2.5, 900_000, 897_500)
        clock.moment = Moment(902_000, 54.5)
        window, seconds = capture.cut()
        assert (seconds, window.start_ms, window.number) == (2.0, 900_000, 2)


def test_no_device_is_an_error_that_says_which_there_are(netlink: FakeNetlink) -> None:
    with Capture("h", ["eth0", "tun.*"], Engine(), netlink) as capture:
        with pytest.raises(CaptureError, match=r"--device: eth0, tun.* means no .* has eth7; name"):
            capture.open()


def test_a_pattern_that_is_none_is_told() -> None:
    check(["eth0", "eth.*", "eth0.5"])
    with pytest.raises(ConfigError, match=r"^--device: 'eth\[' is no device name and no regular"):
        check(["eth0", "eth["])
    with pytest.raises(ConfigError, match=r"^--device: '' is no device name; name one, or leave"):
        check(["eth0", ""])


def test_windows_end_with_their_number_and_the_last_has_all(netlink: FakeNetlink) -> None:
    taken: list[Window] = []
    capture, tap = opened(netlink)
    with capture, StopSignal() as stop:

        def take(window: Window, seconds: float) -> None:
            taken.append(window)
            tap.counts = Counts(flows={HERE + THERE: Tally(1, 100)})

        capture.windows(stop, 0.001, 3, take)
    assert [window.number for window in taken] == [1, 2, 3]
    assert [sum(flow.size for flow in window.flows) for window in taken] == [0, 100, 100]


def test_a_signal_ends_with_a_window_of_what_is_left(netlink: FakeNetlink) -> None:
    taken: list[Window] = []
    capture, tap = opened(netlink)
    with capture, StopSignal() as stop:
        stop.requested = True
        tap.counts = Counts(flows={HERE + THERE: Tally(1, 100)})
        capture.windows(stop, FOREVER, None, lambda window, _: taken.append(window))
    assert [flow.size for window in taken for flow in window.flows] == [100]


def test_it_goes_on_for_as_long_as_it_is_wanted(netlink: FakeNetlink) -> None:
    taken: list[Window] = []
    capture, _ = opened(netlink)
    with capture, StopSignal() as stop:
        capture.windows(
            stop, 0.001, None, lambda window, _: taken.append(window), lambda: len(taken) < 4
        )
    assert len(taken) == 4
