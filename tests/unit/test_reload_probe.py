"""Each key of a probe that may change while it runs, and that it does.

A key's proof is the function ``effect_of_KEY`` here; a key that may change and has
none fails. Each gets a probe of its own, with a fake device, a real dump directory
and a real center on loopback.
"""

import logging
import signal
import time
from collections.abc import Collection, Iterator
from concurrent import futures
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import grpc
import pytest

from tests.center_servers import until
from tests.certificates import Authority
from tests.unit.test_app import HERE, THERE, FakeEngine, FakeNetlink, FakeTap
from tests.unit.test_transmit import FakeCenter, stored
from wakizashi import wire
from wakizashi.lifecycle import HangUp
from wakizashi.model import Tally, Window
from wakizashi.notify import Supervisor
from wakizashi.probe import courier as courier_module
from wakizashi.probe.addresses import Center
from wakizashi.probe.capture import Counts, Endpoint, Limits, Tap
from wakizashi.probe.channel import Credentials
from wakizashi.probe.config import ProbeConfig, Tls
from wakizashi.probe.courier import Courier
from wakizashi.probe.devices import Device
from wakizashi.probe.dump import Dump
from wakizashi.probe.loop import Probe
from wakizashi.probe.reload import apply
from wakizashi.probe.stats import ProbeStats
from wakizashi.probe.transmit import Transmitter
from wakizashi.probe.window import Moment
from wakizashi.reload import Reload, Source, Takes, keys
from wakizashi.v1 import traffic_pb2 as pb
from wakizashi.v1 import traffic_pb2_grpc as pb_grpc

DAY_MS = 86_400_000


class BusyTap(FakeTap):
    """Has counted three flows each time that it is asked, of 100 bytes each."""

    def __init__(self, limits: Limits) -> None:
        super().__init__()
        self.limits, self.max_flows = limits, limits.max_flows

    def take(self) -> Counts:
        counts = Counts()
        for host in (1, 2, 3):
            counts.add(HERE + THERE[:3] + bytes((host,)), Tally(1, 100), 10)
        return counts

    def set_max_flows(self, max_flows: int) -> None:
        self.max_flows = max_flows


class BusyEngine(FakeEngine):
    def __init__(self) -> None:
        self.taps: dict[str, BusyTap] = {}

    def open(self, device: Device, limits: Limits, endpoints: Collection[Endpoint]) -> Tap:
        self.taps[device.name] = tap = BusyTap(limits)
        return tap


class Side:
    """A probe whose loop is this test."""

    def __init__(
        self,
        folder: Path,
        hangup: HangUp,
        first: tuple[FakeCenter, int],
        other: tuple[FakeCenter, int],
    ) -> None:
        (self.first, port), (self.other, self.other_port) = first, other
        self.folder = folder.parent
        self.netlink, self.engine, self.stats = FakeNetlink(), BusyEngine(), ProbeStats()
        self.second = replace(self.netlink.devices[1], index=2, name="eth8")
        self.new = self.old = ProbeConfig(
            dumpDir=folder,
            name="p",
            networkDevs=("eth7",),
            centerAddr=f"127.0.0.1:{port}",
            uploadRetry=0,
        )
        self.seconds = 1.0
        self.dump = Dump(
            folder,
            limit_bytes=self.old.dumpLimit,
            auto_clear=True,
            stats=self.stats,
            max_flows=self.old.maxFlows,
        )
        self.dump.open()
        self.probe = Probe(
            self.old,
            self.engine,
            self.dump,
            self.netlink,
            self.stats,
            on_window=lambda: None,
            clock=lambda: Moment(DAY_MS + round(self.seconds * 1000), self.seconds),
        )
        self.probe.watch.open_devices()
        self.announced: list[frozenset[Endpoint]] = []
        self.transmitter = Transmitter(
            self.dump,
            Center(self.old.centerAddr),
            interval_seconds=self.old.capInterval,
            channel_lifetime_seconds=self.old.channelLifetime,
            announce=self.announced.append,
            stats=self.stats,
            credentials=Credentials.of(self.old),
        )
        self.courier = Courier(
            self.transmitter,
            self.dump,
            upload_retry=0,
            interval_seconds=self.old.capInterval,
            stats=self.stats,
        )
        self._reload = Reload(
            self.old, Source("FILE", lambda: self.new, hangup), Supervisor({}), self._apply
        )

    def _apply(self, config: ProbeConfig) -> None:
        apply(
            self._reload.config, config, self.probe, self.dump, self.courier, devices_may_lack=False
        )

    def change(self, **values: object) -> None:
        """Reload with these values in place of those of the start."""
        self.new = self.old.model_copy(update=values)
        signal.raise_signal(signal.SIGHUP)
        self._reload.answer()

    @property
    def holds(self) -> ProbeConfig:
        return self._reload.config

    def window(self) -> Window:
        """Close a window; what waits then as the newest."""
        self.seconds += 1.0
        self.probe.close_window()
        return wire.decode(self.dump.directory.read(self.dump.directory.pending()[-1]) or [])

    def deliver(self) -> bool:
        """Deliver a window of its own."""
        self.window()
        return self.courier.deliver_with_retries()

    def close(self) -> None:
        self.transmitter.close()
        self.dump.directory.close()
        self.netlink.close()


@pytest.fixture
def centers() -> Iterator[tuple[tuple[FakeCenter, int], tuple[FakeCenter, int]]]:
    made, servers = [], []
    for _ in range(2):
        center = FakeCenter()
        server = grpc.server(futures.ThreadPoolExecutor(4))
        pb_grpc.add_TrafficCenterServicer_to_server(center, server)
        made.append((center, server.add_insecure_port("127.0.0.1:0")))
        server.start()
        servers.append(server)
    yield made[0], made[1]
    for server in servers:
        server.stop(None).wait()


@pytest.fixture
def side(
    tmp_path: Path,
    centers: tuple[tuple[FakeCenter, int], tuple[FakeCenter, int]],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Side]:
    monkeypatch.setattr(courier_module, "BACKOFF_SECONDS", (0.0, 0.0))
    handler, level = signal.getsignal(signal.SIGHUP), logging.root.level
    with HangUp() as hangup:
        side = Side(tmp_path / "dump", hangup, *centers)
        yield side
        side.close()
    signal.signal(signal.SIGHUP, handler)
    logging.root.setLevel(level)


# -- what takes effect -----------------------------------------------------------------------


def effect_of_centerAddr(side: Side) -> None:
    assert side.deliver()
    side.change(centerAddr=f"127.0.0.1:{side.other_port}")
    assert side.deliver()
    assert (side.first.calls, side.other.calls) == (1, 1)
    (before,) = side.announced[0]
    local = ip_address("127.0.0.1").packed
    assert side.announced[-1] == {before, (local, side.other_port)}  # the old one may still close
    side.change()
    assert side.deliver()
    assert (side.first.calls, side.other.calls) == (2, 1)


def effect_of_logLev(side: Side) -> None:
    side.change(logLev=3)
    assert logging.root.level == logging.ERROR
    side.change()
    assert logging.root.level == logging.INFO


def effect_of_networkDevs(side: Side) -> None:
    def devices() -> dict[str, int]:
        return {d.name: d.ledger.counted.packets for d in side.window().devices}

    side.netlink.devices[2] = side.second
    assert devices() == {"eth7": 3}
    side.change(networkDevs=("eth8",))
    assert devices() == {"eth7": 3, "eth8": 3}  # what the old one had counted is in
    assert devices() == {"eth8": 3}
    side.change(networkDevs=("eth.",))
    tap = side.engine.taps["eth8"]
    assert devices() == {"eth7": 3, "eth8": 3}
    assert side.engine.taps["eth8"] is tap  # it went on without a gap


def effect_of_autoClear(side: Side) -> None:
    def kept() -> int:
        return len(list(side.dump.directory.sent()))

    assert [(side.deliver(), kept()) for _ in range(2)] == [(True, 1), (True, 1)]
    side.change(autoClear=False)
    assert [(side.deliver(), kept()) for _ in range(2)] == [(True, 2), (True, 3)]
    side.change()
    assert (side.deliver(), kept()) == (True, 1)


def effect_of_capInterval(side: Side) -> None:
    assert side.probe._windows.deadline == 30.0
    side.change(capInterval=10)
    assert side.probe._windows.deadline == 10.0  # the open window ends with the first of the new
    side.seconds = 9.0
    assert side.window().end_ms == DAY_MS + 10_000
    assert side.probe._windows.deadline == 20.0
    side.change(capInterval=86_400)
    assert side.probe._windows.deadline == 86_400.0
    assert side.courier._interval == 86_400


def effect_of_uploadRetry(side: Side) -> None:
    def refuse(_: object, context: grpc.ServicerContext) -> None:
        context.abort(grpc.StatusCode.UNAVAILABLE, "not now")

    side.first.script = refuse
    assert not side.deliver()
    assert side.first.calls == 1
    side.change(uploadRetry=3)
    assert not side.deliver()
    assert side.first.calls == 1 + 4


def effect_of_maxFlows(side: Side) -> None:
    assert len(side.window().flows) == 3
    side.change(maxFlows=2)
    window = side.window()
    assert len(window.flows) == 3  # two, and the one that takes the rest
    assert window.devices[0].ledger.other == Tally(1, 100)
    assert sum(flow.size for flow in window.flows) == 300
    assert side.engine.taps["eth7"].max_flows == 2
    assert side.dump._merging is not None and side.dump._merging._max_flows == 2
    side.change()
    assert side.window().devices[0].ledger.other == Tally()


def effect_of_tags(side: Side) -> None:
    side.change(tags={"env": "b"})
    assert [side.window().tags for _ in range(2)] == [(), (("env", "b"),)]
    assert side.probe.finish() is None
    newest = side.dump.directory.pending()[-1]
    assert wire.decode(side.dump.directory.read(newest) or []).tags == (("env", "b"),)


def effect_of_ringSize(side: Side) -> None:
    side.netlink.devices[2] = side.second
    side.change(ringSize=2**20, networkDevs=("eth.",))
    rings = {name: tap.limits.ring_bytes for name, tap in side.engine.taps.items()}
    assert rings == {"eth7": 32 * 2**20, "eth8": 2**20}


def effect_of_dumpLimit(side: Side) -> None:
    side.change(dumpLimit=1)
    side.probe.close_window()
    assert side.stats.close_failures == 1 and side.dump.directory.pending() == []
    side.change()
    assert sum(flow.packets for flow in side.window().flows) == 6  # it stayed open
    assert side.stats.close_failures == 1


def effect_of_channelLifetime(side: Side) -> None:
    assert [side.deliver(), side.deliver()] == [True, True]
    assert len(side.announced) == 1  # one connection
    side.change(channelLifetime=7)
    assert [side.deliver(), side.deliver()] == [True, True]
    assert len(side.announced) == 2
    assert side.transmitter._channels._until <= time.monotonic() + 7


def effect_of_tls(side: Side) -> None:
    authority = Authority(side.folder / "authority")
    issued = authority.server()
    center, server = FakeCenter(), grpc.server(futures.ThreadPoolExecutor(2))
    pb_grpc.add_TrafficCenterServicer_to_server(center, server)
    shown = grpc.ssl_server_credentials([(issued.key.read_bytes(), issued.cert.read_bytes())])
    port = server.add_secure_port("127.0.0.1:0", shown)
    server.start()
    assert side.deliver()
    side.change(centerAddr=f"127.0.0.1:{port}", tls=Tls(ca=authority.cert))
    assert side.deliver()
    side.change()
    assert side.deliver()
    assert (side.first.calls, center.calls) == (2, 1)
    server.stop(None).wait()


def effect_of_tokenFile(side: Side) -> None:
    tokens: list[object] = []

    def note(chunk: pb.WindowChunk, context: grpc.ServicerContext) -> pb.WindowAck:
        tokens.append(dict(context.invocation_metadata()).get("authorization"))
        return stored(chunk)

    side.first.script = note
    file = side.folder / "token"
    file.write_text("0123456789abcdef0123456789abcdef")
    file.chmod(0o600)
    assert side.deliver()
    side.change(tokenFile=file)
    assert side.deliver()
    side.change()
    assert side.deliver()
    assert tokens == [None, f"Bearer {file.read_text()}", None]


CHANGEABLE = [key for key, takes in keys(ProbeConfig).items() if takes is not Takes.RESTART]


@pytest.mark.parametrize("key", CHANGEABLE)
def test_a_key_that_may_change_takes_effect(key: str, side: Side) -> None:
    effect = globals().get(f"effect_of_{key}")
    assert effect is not None, f"{key} may change: prove it by effect_of_{key}, or say RESTART"
    effect(side)


FIXED = {
    "dumpDir": Path("x"),
    "name": "q",
    "capture": "ring",
    "healthPort": 7,
    "logFormat": "json",
    "user": "nobody",
}


@pytest.mark.parametrize(
    "key", [key for key, takes in keys(ProbeConfig).items() if takes is Takes.RESTART]
)
def test_a_key_that_may_not_change_is_named_and_stays(
    key: str, side: Side, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        side.change(**{key: FIXED[key]})
    assert caplog.messages[-1] == (
        f"reloaded FILE: nothing changed; {key} can't change while running; restart to change it"
    )
    assert side.holds == side.old


# -- what must not happen --------------------------------------------------------------------


def test_devices_that_are_none_are_refused_as_at_the_start(
    side: Side, caplog: pytest.LogCaptureFixture
) -> None:
    side.change(networkDevs=("wlan0",), capInterval=7)
    assert "networkDevs: wlan0 means no device of this host now; mend networkDevs" in caplog.text
    assert side.holds == side.old
    assert side.probe._windows.deadline == 30.0
    assert len(side.window().flows) == 3


def test_devices_that_went_by_themselves_hold_up_no_other_change(side: Side) -> None:
    side.netlink.devices.clear()
    side.change(capInterval=7)
    assert side.holds.capInterval == 7


def test_a_window_that_stays_open_keeps_its_tags(side: Side) -> None:
    side.change(dumpLimit=1, tags={"env": "b"})
    side.probe.close_window()
    side.change(dumpLimit=10**6, tags={"env": "c"})
    assert [side.window().tags for _ in range(2)] == [(), (("env", "c"),)]
    assert [entry.number for entry in side.dump.directory.pending()] == [1, 2]


def test_windows_of_different_tags_are_not_merged(side: Side) -> None:
    side.window()
    side.change(tags={"env": "b"})
    side.window()  # it was open, so it has none
    side.change(tags={"env": "b"}, dumpLimit=side.dump.directory.used_bytes + 30)
    for _ in range(5):
        side.window()
    windows = [
        wire.decode(side.dump.directory.read(entry) or [])
        for entry in side.dump.directory.pending()
    ]
    assert [
        (window.tags, window.windows, sum(flow.packets for flow in window.flows))
        for window in windows
    ] == [((), 2, 6), ((("env", "b"),), 5, 15)]


def test_a_shorter_interval_ends_a_pause_that_has_begun(
    side: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With windows of a day the probe's own moment may lie half a day ahead."""
    monkeypatch.setattr("random.uniform", lambda low, high: high)
    side.change(capInterval=86_400)
    side.window()
    side.courier.start()
    side.courier.wake()
    side.change(capInterval=1)
    until(lambda: not side.dump.directory.pending(), "the window is delivered")
    side.courier.stop(time.monotonic() + 5)


def test_there_and_back_between_two_deliveries_moves_nothing(side: Side) -> None:
    assert side.deliver()
    side.change(centerAddr=f"127.0.0.1:{side.other_port}")
    side.change()
    assert side.deliver()
    assert (side.first.calls, side.other.calls) == (2, 0)


def test_what_the_old_center_asked_for_does_not_hold_up_the_new_one(side: Side) -> None:
    side.transmitter.not_before = time.monotonic() + 3600
    side.change(centerAddr=f"127.0.0.1:{side.other_port}")
    assert side.deliver()
    assert side.transmitter.not_before == 0.0


def test_files_that_can_not_be_used_are_a_fault(
    side: Side, caplog: pytest.LogCaptureFixture
) -> None:
    side.change(tokenFile=side.folder / "none", capInterval=7)
    assert "not reloaded, what held before goes on: tokenFile: " in caplog.text
    assert side.holds == side.old
    assert side.probe._windows.deadline == 30.0


def test_a_change_of_another_key_leaves_credentials_and_connection_alone(side: Side) -> None:
    assert side.deliver()
    credentials = side.courier.way.credentials
    side.change(capInterval=7)
    assert side.courier.way.credentials is credentials
    assert side.deliver()
    assert len(side.announced) == 1
