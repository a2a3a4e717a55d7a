"""The capture loop: what comes together, or too late."""

import os
import selectors
from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.test_app import FakeEngine, FakeNetlink, FakeTap
from wakizashi import wire
from wakizashi.errors import Retryable
from wakizashi.model import Direction, Window
from wakizashi.probe.capture import Counts, Endpoint, Limits, Tap
from wakizashi.probe.config import ProbeConfig
from wakizashi.probe.devices import Device
from wakizashi.probe.dump import Dump
from wakizashi.probe.loop import Probe, now
from wakizashi.probe.stats import ProbeStats
from wakizashi.probe.window import Moment
from wakizashi.window_file import Entry


class Side:
    """A probe whose methods a test calls, with what belongs to it."""

    def __init__(
        self,
        folder: Path,
        *,
        engine: FakeEngine | None = None,
        netlink: FakeNetlink | None = None,
        clock: Callable[[], Moment] = now,
    ) -> None:
        self.stats, self.netlink = ProbeStats(), netlink or FakeNetlink()
        path = folder / "dump"
        self.dump = Dump(path, limit_bytes=10**6, auto_clear=True, stats=self.stats)
        self.dump.open()
        self.probe = Probe(
            ProbeConfig(dumpDir=path, name="p"),
            engine or FakeEngine(),
            self.dump,
            self.netlink,
            self.stats,
            on_window=lambda: None,
            clock=clock,
        )

    def close(self) -> None:
        self.netlink.close()
        self.dump.directory.close()


def test_a_tap_that_was_closed_is_left_alone_though_a_new_one_has_its_number(
    tmp_path: Path,
) -> None:
    """A device goes and another one comes in the same news, while packets of the first wait."""
    side = Side(tmp_path)
    probe = side.probe
    heard: list[str] = []
    news, old = os.pipe(), os.pipe()

    def say(what: str) -> bool:
        heard.append(what)
        return True

    def look() -> bool:
        os.read(news[0], 1)
        probe.watch._selector.unregister(old[0])
        read, write = os.pipe()
        os.write(write, b"x")
        os.dup2(read, old[0])  # closes the old one, and gives its number to the new one
        os.close(read)
        probe.watch._selector.register(old[0], selectors.EVENT_READ, lambda: say("new"))
        return say("news")

    probe.watch._selector.register(news[0], selectors.EVENT_READ, look)
    probe.watch._selector.register(old[0], selectors.EVENT_READ, lambda: say("old"))
    os.write(news[1], b"x")
    os.write(old[1], b"x")
    probe.watch.step(0.0)
    assert heard == ["news"]
    probe.watch.step(0.0)
    assert heard == ["news", "new"]
    side.close()


def test_a_device_that_went_is_counted_late_and_its_address_is_still_this_hosts(
    tmp_path: Path,
) -> None:
    """The window closes after the device went, and before the news of it: the next one has it."""
    side = Side(tmp_path)
    probe, dump, netlink = side.probe, side.dump, side.netlink
    probe.watch.open_devices()
    netlink.devices.clear()
    netlink.addresses.clear()
    probe.close_window()
    probe.close_window()
    windows = [dump.directory.read(entry) or [] for entry in dump.directory.pending()]
    flows = [wire.decode(window).flows for window in windows]
    assert [len(window) for window in flows] == [1]  # the one without devices is not kept
    assert flows[0][0].direction is Direction.OUT
    probe.close_window()  # nothing is overdue any more
    assert probe._builder._addresses == set()
    side.close()


def test_a_window_without_devices_takes_no_number(tmp_path: Path) -> None:
    """It would be stored nowhere, and its number would look like that of a lost window."""
    side = Side(tmp_path)
    probe, dump, netlink = side.probe, side.dump, side.netlink
    devices, netlink.devices = netlink.devices, {}
    assert probe.watch.open_devices() == 0
    probe.close_window()
    assert dump.directory.pending() == []
    netlink.devices = devices
    assert probe.watch.open_devices() == 1
    probe.close_window()
    netlink.devices = {}
    for _ in range(3):  # it is looked for once more, and is gone then
        probe.close_window()
    netlink.devices = devices
    assert probe.watch.open_devices() == 1
    assert probe.finish() is None
    numbers = [entry.number for entry in dump.directory.pending()]
    assert numbers == list(range(1, len(numbers) + 1))
    assert 2 <= len(numbers) <= 3
    side.close()


def test_a_device_whose_name_no_center_takes_does_not_take_the_others_with_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    r"""Linux permits a name such as ``a\b``; a center refuses the whole window that has it."""
    side = Side(tmp_path)
    probe, dump, netlink = side.probe, side.dump, side.netlink
    (device,) = netlink.devices.values()
    netlink.devices[99] = replace(device, index=99, name="a\\b")
    assert probe.watch.open_devices() == 1
    assert "networkDevs: 'a\\\\b' has a control character or backslash" in caplog.text
    probe.close_window()
    netlink.devices[99] = replace(device, index=99, name="ab")
    assert probe.watch.open_devices() == 2
    assert probe.finish() is None
    windows = [wire.decode(dump.directory.read(e) or []) for e in dump.directory.pending()]
    names = [[each.name for each in window.devices] for window in windows]
    assert names == [[device.name], ["ab", device.name]]
    side.close()


def test_numbers_and_starts_go_on_after_a_restart(tmp_path: Path) -> None:
    """Though all was delivered, and the clock is a day behind."""
    identities = []
    for day in (10, 9):
        moments = [Moment(day * 86_400_000 + second * 1000, second) for second in range(9)]
        side = Side(tmp_path, clock=iter(moments).__next__)
        probe, dump = side.probe, side.dump
        probe.watch.open_devices()
        probe.close_window()
        probe.close_window()
        for entry in dump.directory.pending():
            identities.append((entry.start_ms, entry.number))
            dump.delivered(entry)
        side.close()
    starts, numbers = zip(*identities, strict=True)
    assert numbers == (1, 2, 3, 4)
    assert list(starts) == sorted(set(starts))


class UnreadTap(FakeTap):
    """Two packets wait in its socket; counted they are when they were read."""

    def __init__(self) -> None:
        super().__init__()
        self.unread, self.counts = self.counts, Counts()

    def pump(self, budget: int) -> bool:
        had = bool(self.unread.flows)
        self.counts.merge(self.unread, 10)
        self.unread = Counts()
        return had


def test_a_device_that_goes_leaves_what_was_not_read_yet(tmp_path: Path) -> None:
    """The news of its end comes before its last packets are read."""

    class Unread(FakeEngine):
        def open(self, device: Device, limits: Limits, endpoints: Collection[Endpoint]) -> Tap:
            return UnreadTap()

    class Removed(FakeNetlink):
        def news(self) -> tuple[bool, list[Device]]:
            gone, self.devices = list(self.devices.values()), {}
            return True, gone

    side = Side(tmp_path, engine=Unread(), netlink=Removed())
    probe, dump = side.probe, side.dump
    probe.watch.open_devices()
    probe.watch._look()
    probe.close_window()
    (entry,) = dump.directory.pending()
    (flow,) = wire.decode(dump.directory.read(entry) or []).flows
    assert (flow.packets, flow.size) == (2, 300)
    side.close()


def test_a_window_that_the_disk_did_not_take_stays_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    side = Side(tmp_path)
    probe, dump = side.probe, side.dump
    probe.watch.open_devices()

    def refuse(window: Window) -> Entry:
        raise Retryable("dumpDir: no space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(dump, "save", refuse)
        probe.close_window()
    assert (side.stats.close_failures, dump.directory.pending()) == (1, [])
    probe.close_window()
    (entry,) = dump.directory.pending()
    window = wire.decode(dump.directory.read(entry) or [])
    assert (window.number, [flow.size for flow in window.flows]) == (1, [300])
    side.close()


def test_devices_are_captured_or_refused_as_they_are_now(tmp_path: Path) -> None:
    """One that was refused, and then captured, taken away or not wanted any more, is so no longer."""
    side = Side(tmp_path)
    probe, netlink = side.probe, side.netlink
    (device,) = netlink.devices.values()
    refused = replace(device, index=99, name="a\\b")
    netlink.devices[99] = refused
    probe.watch.open_devices()
    assert (len(probe.watch), probe.watch.refused) == (1, 1)
    netlink.devices[99] = replace(refused, name="ab")
    probe.watch.open_devices()
    assert (len(probe.watch), probe.watch.refused) == (2, 0)
    netlink.devices[98] = replace(refused, index=98)
    probe.watch.open_devices()
    assert (len(probe.watch), probe.watch.refused) == (2, 1)
    netlink.devices[98] = replace(refused, index=98, up=False)  # without networkDevs: not wanted
    probe.watch.open_devices()
    assert (len(probe.watch), probe.watch.refused) == (2, 0)
    side.close()


def test_an_open_window_grows_old_until_it_is_durable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [Moment(1_000_000, 1_000.0)]
    side = Side(tmp_path, clock=lambda: clock[0])
    probe = side.probe
    probe.watch.open_devices()
    monkeypatch.setattr("wakizashi.probe.loop.time.monotonic", lambda: clock[0].monotonic)

    def refuse(window: Window) -> Entry:
        raise Retryable("no")

    clock[0] = Moment(1_040_000, 1_040.0)
    with monkeypatch.context() as broken:
        broken.setattr(side.dump, "save", refuse)
        probe.close_window()
    assert probe.open_seconds == 40.0
    probe.close_window()
    assert probe.open_seconds == 0.0
    assert side.stats.close_seconds.up_to()[-1] == ("+Inf", 2)
    side.close()
