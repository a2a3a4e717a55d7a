"""Real daemons and who started them: a socket that stands for systemd, and signals at any moment."""

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path

import grpc
import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether
from scapy.utils import wrpcap

from tests.center_servers import free_port, until
from tests.unit.test_notify import Manager
from tests.unit.test_transmit import FakeCenter
from wakizashi.v1 import traffic_pb2 as pb
from wakizashi.v1 import traffic_pb2_grpc as pb_grpc

STILL = """
import pathlib, signal, sys, time
from wakizashi import pulse
pulse.STUCK_SECONDS = 0.2

def stand_still(*_):
    while not pathlib.Path("go on").exists():
        time.sleep(0.01)

signal.signal(signal.SIGUSR1, stand_still)  # a handler runs where the work loop does
sys.argv[:] = sys.argv[1:]
from wakizashi.{program}.cli import main
main()
"""


SLOW = """
import pathlib, sys, time
from wakizashi import config
read = config._read

def read_slowly(*arguments):
    pathlib.Path("reading").touch()
    while not pathlib.Path("go on").exists():
        time.sleep(0.01)
    return read(*arguments)

config._read = read_slowly
sys.argv[:] = sys.argv[1:]
from wakizashi.{program}.cli import main
main()
"""


class Daemon:
    """A probe or a center in a folder, with a service manager that listens."""

    def __init__(self, program: str, folder: Path) -> None:
        self.program, self.folder = program, folder
        self.health = free_port()
        self.path = folder / "config.yaml"
        self.manager = Manager(str(folder / "notify"))
        self.config: dict[str, object] = {"healthPort": self.health, "logLev": 1}
        if program == "probe":
            self.config |= {"networkDevs": ["lo"], "centerAddr": f"127.0.0.1:{free_port()}"}
            self.config |= {"dumpDir": str(folder / "dump"), "uploadRetry": 0, "name": "p"}
        else:
            self.config |= {"host": "127.0.0.1", "port": free_port()}
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *code: str) -> None:
        environment = {**os.environ, "NOTIFY_SOCKET": self.manager.name, "WATCHDOG_USEC": "300000"}
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, *(code or ("-m", f"wakizashi.{self.program}"))),
                    *("-c", str(self.path)),
                ],
                cwd=self.folder,
                env=environment,
                stderr=log,
            )

    def write(self, **values: object) -> str:
        text = json.dumps(self.config | values)
        self.path.write_text(text)
        return text

    def send(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def hears(self, state: str) -> None:
        """Until the manager hears of this; feeding the watchdog and the status are no states."""
        try:
            said = self.manager.hears()
            while said[0].startswith(("WATCHDOG", "STATUS")) and said[0] != state:
                said = self.manager.hears()
        except TimeoutError:
            ended = self.process and self.process.poll()
            pytest.fail(f"no {state!r}; it ended with {ended}, and said: {self.said()}")
        assert said[0] == state

    def ignores(self, number: signal.Signals) -> bool:
        assert self.process is not None
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return bool(int(status.partition("SigIgn:")[2].split()[0], 16) >> (number - 1) & 1)

    def said(self) -> str:
        return (self.folder / "log").read_text()

    def healthz(self) -> int:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.health}/healthz", timeout=5) as a:
                return int(a.status)
        except urllib.error.HTTPError as error:
            return error.code

    def stop(self) -> int:
        assert self.process is not None
        self.send(signal.SIGTERM)
        return self.process.wait(30)

    def close(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.manager.close()
        assert "Traceback" not in self.said()


@pytest.fixture(params=["probe", "center"])
def daemon(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Daemon]:
    if request.param == "probe" and os.geteuid() != 0:
        if "CI" in os.environ:
            pytest.fail("needs root")
        pytest.skip("needs root")
    made = Daemon(request.param, tmp_path)
    yield made
    made.close()


def test_a_life_as_the_manager_hears_it(daemon: Daemon) -> None:
    daemon.write()
    daemon.start()
    daemon.hears("READY=1")
    for _ in range(3):
        daemon.hears("WATCHDOG=1")
    daemon.write(logLev=0)
    daemon.send(signal.SIGHUP)
    daemon.hears("RELOADING=1")
    daemon.hears("READY=1")
    until(lambda: "config.yaml: logLev 1 → 0" in daemon.said(), "it says what changed")
    daemon.send(signal.SIGTERM)
    daemon.hears("STOPPING=1")
    assert daemon.process is not None and daemon.process.wait(30) == 0


def test_a_faulty_configuration_changes_nothing(daemon: Daemon) -> None:
    daemon.write()
    daemon.start()
    daemon.hears("READY=1")
    daemon.path.write_text("logLev: 9\nnix: 1\n")
    daemon.send(signal.SIGHUP)
    daemon.hears("RELOADING=1")
    daemon.hears("READY=1")
    told = [line for line in daemon.said().splitlines() if "not reloaded" in line]
    assert len(told) == 2 and "config.yaml:1: logLev: 9 is not a level" in told[0]
    assert daemon.healthz() == 200
    assert daemon.stop() == 0


def test_a_hang_up_during_the_start_is_answered_after_it(daemon: Daemon) -> None:
    daemon.write()
    daemon.start("-c", SLOW.format(program=daemon.program), "-")
    until((daemon.folder / "reading").exists, "it reads its configuration")
    daemon.send(signal.SIGHUP)
    (daemon.folder / "go on").touch()
    daemon.hears("READY=1")
    daemon.hears("RELOADING=1")
    daemon.hears("READY=1")
    assert daemon.stop() == 0


def test_a_manager_that_no_longer_listens_holds_nothing_up(daemon: Daemon) -> None:
    daemon.write()
    daemon.start()
    daemon.hears("READY=1")
    until(lambda: daemon.manager.is_full(), "it has told more than anybody hears")
    assert daemon.healthz() == 200
    daemon.send(signal.SIGTERM)
    until(lambda: daemon.ignores(signal.SIGHUP), "nothing is left to reload")
    assert "stopping" not in daemon.said()  # it waits, once, to tell the manager of it
    assert daemon.process is not None and daemon.process.wait(10) == 0


def test_hang_ups_while_it_stops_are_no_matter(daemon: Daemon) -> None:
    daemon.write()
    daemon.start()
    daemon.hears("READY=1")
    daemon.send(signal.SIGTERM)
    assert daemon.process is not None
    while daemon.process.poll() is None:
        daemon.send(signal.SIGHUP)
    assert daemon.process.returncode == 0


def test_one_that_stands_still_is_found_out_and_is_not_when_it_goes_on(daemon: Daemon) -> None:
    daemon.write()
    daemon.start("-c", STILL.format(program=daemon.program), "-")
    daemon.hears("READY=1")
    assert daemon.healthz() == 200
    daemon.send(signal.SIGUSR1)
    until(lambda: daemon.healthz() == 503, "it fails healthz")
    while not daemon.manager.hears_nothing():
        daemon.manager.hears()
    assert daemon.healthz() == 503
    assert daemon.manager.hears_nothing()  # the watchdog is hungry
    (daemon.folder / "go on").touch()
    daemon.hears("WATCHDOG=1")
    assert daemon.healthz() == 200
    assert daemon.stop() == 0


# -- the probe alone -------------------------------------------------------------------------


@pytest.fixture
def probe(tmp_path: Path) -> Iterator[Daemon]:
    if os.geteuid() != 0:
        if "CI" in os.environ:
            pytest.fail("needs root")
        pytest.skip("needs root")
    made = Daemon("probe", tmp_path)
    yield made
    made.close()


def test_a_capture_file_is_sent_though_a_hang_up_comes(probe: Daemon) -> None:
    file = probe.folder / "real.pcap"
    wrpcap(str(file), [Ether() / IP(src="10.0.0.1", dst="10.0.0.2") / UDP()])
    probe.write()
    probe.start("-c", SLOW.format(program="probe"), "-", "--pcap", str(file))
    until((probe.folder / "reading").exists, "it reads its configuration")
    probe.send(signal.SIGHUP)
    (probe.folder / "go on").touch()
    assert probe.process is not None
    assert probe.process.wait(30) == 1  # there is no center, which it told
    assert "are not acknowledged" in probe.said()


def test_a_reload_in_the_middle_of_a_delivery_leaves_it_alone(probe: Daemon) -> None:
    """The call ends where it began; what closes after it goes to the new center."""
    centers = [FakeCenter(), FakeCenter()]
    servers, ports = [], []
    for center in centers:
        server = grpc.server(futures.ThreadPoolExecutor(2))
        pb_grpc.add_TrafficCenterServicer_to_server(center, server)
        ports.append(server.add_insecure_port("127.0.0.1:0"))
        server.start()
        servers.append(server)
    first, second = centers
    usual = first.script

    def hold(chunk: pb.WindowChunk, context: grpc.ServicerContext) -> pb.WindowAck | None:
        until(lambda: "centerAddr" in probe.said() and "reloaded" in probe.said(), "the reload")
        return usual(chunk, context)

    first.script = hold
    probe.config |= {"centerAddr": f"127.0.0.1:{ports[0]}", "capInterval": 1}
    probe.write()
    probe.start()
    until(lambda: bool(first.starts), "a delivery begins")
    probe.write(centerAddr=f"127.0.0.1:{ports[1]}")
    probe.send(signal.SIGHUP)
    until(lambda: bool(second.starts), "the new center hears of it")
    assert probe.stop() == 0
    for server in servers:
        server.stop(None).wait()
    assert first.calls == 1
    starts = [*first.starts, *second.starts]
    assert starts == sorted(set(starts))
    assert list((probe.folder / "dump").glob("*.window")) == []
