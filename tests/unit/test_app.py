"""The end of a probe, with a fake device: whatever comes together, the open window is kept."""

import os
import threading
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import cast

import pytest

from tests.center_servers import until
from wakizashi import wire
from wakizashi.errors import Retryable, WakizashiError
from wakizashi.lifecycle import HangUp
from wakizashi.model import DeviceLedger, Direction, Flow, Ledger, Tally, Window
from wakizashi.notify import Supervisor
from wakizashi.probe import app
from wakizashi.probe.capture import CaptureError, Counts, Endpoint, Engine, Limits, Tap
from wakizashi.probe.config import ProbeConfig
from wakizashi.probe.courier import Courier
from wakizashi.probe.devices import ARPHRD_ETHER, Device, Netlink, Snapshot
from wakizashi.probe.dump import Dump
from wakizashi.probe.loop import Probe
from wakizashi.probe.stats import ProbeStats
from wakizashi.probe.transmit import Transmitter, Unsaved
from wakizashi.reload import Source

HERE, THERE = b"\x0a\0\0\1", b"\x0a\0\0\2"


class FakeTap(Tap):
    """Has counted two packets."""

    def __init__(self) -> None:
        self.counts = Counts(flows={HERE + THERE: Tally(2, 300)})

    def fileno(self) -> int | None:
        return None

    def pump(self, budget: int) -> bool:
        return False

    def take(self) -> Counts:
        taken, self.counts = self.counts, Counts()
        return taken

    def set_endpoints(self, endpoints: Collection[Endpoint]) -> None:
        """Counts no own traffic."""

    def set_max_flows(self, max_flows: int) -> None:
        """Has one flow."""

    def close(self) -> None:
        self.counts = Counts()


class FakeEngine(Engine):
    rank = 0

    def obstacle(self) -> str | None:
        return None

    def open(self, device: Device, limits: Limits, endpoints: Collection[Endpoint]) -> Tap:
        return FakeTap()


class FakeNetlink(Netlink):
    """One device, which a test takes away; the news of it never comes."""

    def __init__(self) -> None:
        self.devices = {1: Device(1, "eth7", ARPHRD_ETHER, True, Tally(), Tally(), HERE)}
        self.addresses = {HERE}
        self._quiet, self._end = os.pipe()

    def fileno(self) -> int:
        return self._quiet

    def snapshot(self) -> Snapshot:
        return Snapshot(dict(self.devices), frozenset(self.addresses))

    def close(self) -> None:
        os.close(self._quiet)
        os.close(self._end)


@pytest.fixture
def netlink(monkeypatch: pytest.MonkeyPatch) -> FakeNetlink:
    fake = FakeNetlink()
    monkeypatch.setattr(app, "Netlink", lambda: fake)
    return fake


def kept(folder: Path) -> int:
    """Bytes of traffic in the windows that wait."""
    dump = Dump(folder, limit_bytes=10**6, auto_clear=True, stats=ProbeStats())
    dump.open()
    chunks = [dump.directory.read(entry) for entry in dump.directory.pending()]
    dump.directory.close()
    return sum(flow.size for window in chunks for flow in wire.decode(window or []).flows)


def config(folder: Path) -> ProbeConfig:
    return ProbeConfig(dumpDir=folder, centerAddr="127.0.0.1:1", uploadRetry=0)


def run_probe(folder: Path) -> None:
    with HangUp() as hangup:
        chosen = "fake", FakeEngine(), list[str]()
        app.run(config(folder), chosen, Source("test", lambda: config(folder), hangup))


def test_device_that_goes_just_before_the_end_is_counted(
    tmp_path: Path, netlink: FakeNetlink, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(probe: Probe, *_: object) -> None:
        netlink.devices.clear()

    monkeypatch.setattr(Probe, "run", run)
    run_probe(tmp_path)
    assert kept(tmp_path) == 300


def test_capture_that_fails_keeps_the_open_window(
    tmp_path: Path, netlink: FakeNetlink, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(probe: Probe, *_: object) -> None:
        raise WakizashiError("the kernel does not list its devices")

    monkeypatch.setattr(Probe, "run", run)
    with pytest.raises(WakizashiError, match="the kernel does not list"):
        run_probe(tmp_path)
    assert kept(tmp_path) == 300


@pytest.mark.parametrize("delivers", [True, False])
def test_the_watchdog_starves_where_nothing_delivers_though_packets_are_counted(
    delivers: bool, tmp_path: Path, netlink: FakeNetlink, monkeypatch: pytest.MonkeyPatch
) -> None:
    fed: list[bool] = []
    monkeypatch.setattr(Supervisor, "alive", lambda _: fed.append(True))

    def delivering() -> bool:
        return any(thread.name == "transmit" for thread in threading.enumerate())

    def run(
        probe: Probe, _: object, hangup: object, tend: Callable[[], None], often: float
    ) -> None:
        until(lambda: delivering() is delivers, "the delivery thread is as it is to be")
        tend()

    monkeypatch.setattr(Probe, "run", run)
    if not delivers:
        monkeypatch.setattr(Courier, "_run", lambda _: None)
    run_probe(tmp_path)
    assert fed == ([True] if delivers else [])


@pytest.mark.parametrize("room", [True, False])
def test_last_window_that_nobody_took_is_saved_where_there_is_room_by_now(
    tmp_path: Path, room: bool
) -> None:
    stats = ProbeStats()
    dump = Dump(tmp_path, limit_bytes=1, auto_clear=True, stats=stats)
    dump.open()
    flow = Flow(0, Direction.OUT, HERE, THERE, 300, 2)
    device = DeviceLedger("eth7", HERE, Ledger(counted=Tally(2, 300)))

    class FakeProbe:
        def finish(self) -> Window:
            return Window("p", 1000, 2000, 1, (), (device,), (flow,))

    class FakeCourier:
        def stop(self, deadline: float) -> None:
            assert time.monotonic() < deadline
            if room:
                dump.directory.limit_bytes = 10**6

    class FakeTransmitter:
        def deliver_unsaved(self, chunks: list[bytes]) -> Unsaved:
            return Unsaved.NOT_OFFERED

    app._stop(
        cast(Probe, FakeProbe()),
        cast(Courier, FakeCourier()),
        cast(Transmitter, FakeTransmitter()),
        dump,
        stats,
    )
    assert (stats.totals.lost.bytes, stats.totals.lost.packets) == ((0, 0) if room else (300, 2))
    assert kept(tmp_path) == (300 if room else 0)


def test_addresses_that_capture_can_not_leave_out_are_not_connected_to(
    tmp_path: Path, netlink: FakeNetlink, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: FakeTap, endpoints: Collection[Endpoint]) -> None:
        raise CaptureError("no room")

    dump = Dump(tmp_path, limit_bytes=10**6, auto_clear=True, stats=ProbeStats())
    dump.open()
    probe = Probe(
        config(tmp_path), FakeEngine(), dump, netlink, ProbeStats(), on_window=lambda: None
    )
    probe.watch.open_devices()
    told: list[str] = []

    def announce(port: int) -> None:
        try:
            probe.announce(frozenset([(HERE, port)]))
        except Retryable as error:
            told.append(str(error))

    for port in (1, 1, 2):  # refused, refused again, taken
        if port == 2:
            monkeypatch.undo()
        else:
            monkeypatch.setattr(FakeTap, "set_endpoints", refuse)
        asking = threading.Thread(target=announce, args=(port,))
        asking.start()
        while asking.is_alive():
            probe.watch.step(0.01)
        asking.join()
    assert told == ["no room; not connecting to the center"] * 2
    probe.finish()
    dump.directory.close()
