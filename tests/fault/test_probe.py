"""Bad input to the probe, as a user meets it: one message, the right exit code, nothing lost."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether
from scapy.utils import wrpcap

from tests.center_servers import free_port, until
from wakizashi.probe.capture import engine_names
from wakizashi.v1 import traffic_pb2 as pb
from wakizashi.v1 import traffic_pb2_grpc as pb_grpc

PROBE = (sys.executable, "-m", "wakizashi.probe")


@pytest.fixture(autouse=True)
def needs_root() -> None:
    if os.geteuid() != 0:
        if "CI" in os.environ:
            pytest.fail("needs root")
        pytest.skip("needs root")


def config(folder: Path, **keys: Any) -> Path:
    path = folder / "probe-config.yaml"
    defaults = {
        "centerAddr": f"127.0.0.1:{free_port()}",
        "dumpDir": str(folder / "dump"),
        "networkDevs": ["lo"],
        "capInterval": 1,
        "uploadRetry": 0,
        "name": "p",
    }
    path.write_text(json.dumps(defaults | keys))
    return path


def run(*arguments: object, prefix: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [*prefix, *PROBE, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "Traceback" not in done.stdout + done.stderr
    return done


class Running:
    """A probe as a process, its messages in a file."""

    def __init__(self, folder: Path, path: Path, *arguments: str) -> None:
        self._log = folder / "probe.log"
        with self._log.open("wb") as out:
            self.process = subprocess.Popen(
                [*PROBE, "-c", path, *arguments], stdout=out, stderr=out
            )

    def said(self, pattern: str) -> bool:
        return re.search(pattern, self._log.read_text()) is not None

    def until(self, pattern: str) -> None:
        until(lambda: self.said(pattern), f"the probe to say {pattern!r}")

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)


@pytest.fixture
def started(tmp_path: Path) -> Iterator[list[Running]]:
    running: list[Running] = []
    yield running
    for one in running:
        if one.process.poll() is None:
            one.process.kill()
            one.process.wait()
        assert "Traceback" not in (tmp_path / "probe.log").read_text()


class Taker(pb_grpc.TrafficCenterServicer):
    """A center that takes everything, and remembers the bytes of each window."""

    def __init__(self) -> None:
        self.windows: dict[int, int] = {}

    def Transmit(self, request_iterator: Iterator[pb.WindowChunk], context: Any) -> Iterator[Any]:
        for chunk in request_iterator:
            self.windows[chunk.start_unix_ms] = sum(record.size for record in chunk.records)
            yield pb.WindowAck(
                probe=chunk.probe,
                start_unix_ms=chunk.start_unix_ms,
                status=pb.WINDOW_STATUS_STORED,
            )


@pytest.fixture
def center() -> Iterator[tuple[Taker, int]]:
    taker = Taker()
    server = grpc.server(futures.ThreadPoolExecutor(4))
    pb_grpc.add_TrafficCenterServicer_to_server(taker, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield taker, port
    server.stop(None).wait()


def send(number: int, size: int) -> int:
    """UDP from 127.44.0.1 to 127.44.0.2; the bytes on the link."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.bind(("127.44.0.1", 0))
        for _ in range(number):
            sender.sendto(bytes(size), ("127.44.0.2", 9))
    return number * (14 + 20 + 8 + size)


def test_every_fault_of_a_configuration_is_told_at_once(tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text("centerAdr: x\ncapInterval: often\nnetworkDevs: ['eth[']\nlogLev: 9\n")
    done = run("-c", path)
    assert done.returncode == 78
    lines = done.stderr.splitlines()
    assert len(lines) == 4
    assert f"{path}:1: centerAdr: unknown key; did you mean centerAddr?" in done.stderr
    assert f"{path}:2: capInterval: 'often' is not a whole number" in done.stderr
    assert f"{path}:3: networkDevs" in done.stderr
    assert f"{path}:4: logLev: 9 is not a level" in done.stderr


def test_missing_file(tmp_path: Path) -> None:
    done = run("-c", tmp_path / "none.yaml", "--check")
    assert done.returncode == 78
    assert "none.yaml: No such file or directory; name a file" in done.stderr


def test_unknown_flag_is_usage() -> None:
    assert run("--frobnicate").returncode == 2


def test_device_that_is_not_there(tmp_path: Path) -> None:
    done = run("-c", config(tmp_path, networkDevs=["nodev7"]))
    assert done.returncode == 1
    assert "networkDevs: nodev7 means no device that can be captured; this host has" in done.stderr
    assert "--wait-for-devices" in done.stderr


def test_no_privilege_names_the_capability_and_the_ways_to_grant_it(tmp_path: Path) -> None:
    drop = ("setpriv", "--bounding-set=-net_raw", "--inh-caps=-net_raw")
    done = run("-c", config(tmp_path), prefix=drop)
    assert done.returncode == 1
    for word in ("CAP_NET_RAW", "setcap", "AmbientCapabilities", "NET_RAW]"):
        assert word in done.stderr


def test_health_port_in_use(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = run("-c", config(tmp_path, healthPort=port))
    assert done.returncode == 1
    assert f"healthPort: can't listen on 0.0.0.0:{port}: Address already in use" in done.stderr


def test_dump_directory_that_can_not_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = run("-c", config(tmp_path, dumpDir=str(tmp_path / "file" / "dump")))
    assert done.returncode == 78
    assert f"dumpDir: {tmp_path}/file/dump: {tmp_path}/file is no directory; name an" in done.stderr


def test_second_probe_on_the_same_directory(tmp_path: Path, started: list[Running]) -> None:
    path = config(tmp_path)
    started.append(Running(tmp_path, path))
    started[0].until(": engine ")
    done = run("-c", path)
    assert done.returncode == 1
    assert "is in use by another process" in done.stderr
    assert started[0].stop() == 0


def test_unreachable_center_is_told_and_windows_are_kept(
    tmp_path: Path, started: list[Running]
) -> None:
    started.append(Running(tmp_path, config(tmp_path)))
    started[0].until(
        r"centerAddr: .*: connection refused; is the center running there\?; 1 windows"
    )
    assert started[0].stop() == 0
    assert list((tmp_path / "dump").glob("*.window"))


def test_full_dump_directory_loses_nothing(
    tmp_path: Path, center: tuple[Taker, int], started: list[Running]
) -> None:
    """The window stays open, and goes to the center at the end."""
    taker, port = center
    started.append(
        Running(tmp_path, config(tmp_path, dumpLimit=10, centerAddr=f"127.0.0.1:{port}"))
    )
    started[0].until(": engine ")
    sent = send(10, 300)
    started[0].until(r"dumpLimit: .*; the window stays open and goes on counting")
    sent += send(10, 300)
    assert started[0].stop() == 0
    assert not list((tmp_path / "dump").glob("*.window"))
    assert sum(taker.windows.values()) >= sent
    assert len(taker.windows) == 1


def test_what_is_lost_in_the_end_is_told_to_the_byte(
    tmp_path: Path, started: list[Running]
) -> None:
    started.append(Running(tmp_path, config(tmp_path, dumpLimit=10, networkDevs=["lo"])))
    started[0].until(": engine ")
    send(10, 300)
    assert started[0].stop() == 0
    assert started[0].said(
        r"CRITICAL probe: lost: \d{4,} bytes in \d{2,} packets of the last window"
    )


def ready(name: str) -> bool:
    """Whether both ends of a veth pair have a carrier and a queue."""
    shown = subprocess.check_output(["ip", "-o", "link", "show", "type", "veth"], text=True)
    lines = [line for line in shown.splitlines() if name in line]
    return len(lines) == 2 and all("noqueue" in line and "state UP" in line for line in lines)


@pytest.mark.parametrize("capture", engine_names())
def test_device_comes_and_goes(
    tmp_path: Path, center: tuple[Taker, int], started: list[Running], capture: str
) -> None:
    taker, port = center
    name = f"wkh{os.getpid() % 100_000}"
    ip = lambda text: subprocess.run(["ip", *text.split()], check=True, capture_output=True)
    path = config(
        tmp_path, networkDevs=[f"{name}.?"], centerAddr=f"127.0.0.1:{port}", capture=capture
    )
    started.append(Running(tmp_path, path, "--wait-for-devices"))
    started[0].until(": engine ")
    frame = bytes(Ether(src="02:00:00:00:00:01") / IP(src="10.2.0.1", dst="10.2.0.2") / UDP())
    for time_round in (1, 2):
        ip(f"link add {name}a type veth peer name {name}b")
        try:
            for end in "ab":
                subprocess.run(
                    ["sysctl", "-q", f"net.ipv6.conf.{name}{end}.disable_ipv6=1"], check=True
                )
            for end in "ab":
                ip(f"link set {name}{end} up")
            log = tmp_path / "probe.log"
            for end in "ab":
                until(
                    lambda: log.read_text().count(f"capturing {name}{end}") == time_round,
                    "the probe to capture the new devices",
                )
            # A device gets its queue a while after its carrier; what is sent before is dropped.
            until(lambda: ready(name), "both ends to be ready")
            with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sender:
                sender.bind((f"{name}a", 0))
                for _ in range(7):
                    sender.send(frame)
        finally:
            ip(f"link del {name}a")
        until(
            lambda: log.read_text().count(f"device {name}a is gone") == time_round,
            "the probe to let go of the device",
        )
    assert started[0].stop() == 0
    # both ends are watched: each packet is seen on two devices
    assert sum(taker.windows.values()) == 2 * 2 * 7 * len(frame)


@pytest.mark.parametrize("capture", engine_names())
def test_device_that_is_down_at_first(tmp_path: Path, started: list[Running], capture: str) -> None:
    name = f"wkd{os.getpid() % 100_000}"
    ip = lambda text: subprocess.run(["ip", *text.split()], check=True, capture_output=True)
    ip(f"link add {name}a type veth peer name {name}b")
    try:
        path = config(tmp_path, networkDevs=[f"{name}a"], capture=capture)
        started.append(Running(tmp_path, path, "--wait-for-devices"))
        started[0].until("p: engine")
        ip(f"link set {name}a up")
        started[0].until(f"capturing {name}a")
    finally:
        ip(f"link del {name}a")


def test_capture_file_goes_through_the_same_path(tmp_path: Path, center: tuple[Taker, int]) -> None:
    taker, port = center
    packets = [Ether() / IP(src="10.3.0.1", dst="10.3.0.2") / UDP() for _ in range(5)]
    for number, packet in enumerate(packets):
        packet.time = 1_700_000_000.5 + number
    pcap = tmp_path / "trace.pcap"
    wrpcap(str(pcap), packets)
    path = config(tmp_path, centerAddr=f"127.0.0.1:{port}", capInterval=2)
    for _ in range(2):  # the second time stores the same
        done = run("-c", path, "--pcap", pcap)
        assert done.returncode == 0, done.stderr
        assert "5 packets with 210 bytes in 3 windows, all acknowledged" in done.stdout
    assert taker.windows == {
        1_700_000_000_000: 84,
        1_700_000_002_000: 84,
        1_700_000_004_000: 42,
    }
    assert not list((tmp_path / "dump" / "replay").glob("*.window"))


def test_capture_file_waits_for_an_absent_center(tmp_path: Path) -> None:
    pcap = tmp_path / "trace.pcap"
    wrpcap(str(pcap), [Ether() / IP() / UDP()])
    done = run("-c", config(tmp_path), "--pcap", pcap)
    assert done.returncode == 1
    assert "1 windows are not acknowledged and wait in" in done.stderr
    assert list((tmp_path / "dump" / "replay").glob("*.window"))


def test_cut_capture_file_sends_nothing(tmp_path: Path, center: tuple[Taker, int]) -> None:
    taker, port = center
    pcap = tmp_path / "trace.pcap"
    wrpcap(str(pcap), [Ether() / IP() / UDP() for _ in range(3)])
    pcap.write_bytes(pcap.read_bytes()[:-5])
    done = run("-c", config(tmp_path, centerAddr=f"127.0.0.1:{port}"), "--pcap", pcap)
    assert done.returncode == 1
    assert f"--pcap: {pcap}: damaged or cut off" in done.stderr
    assert taker.windows == {}
    assert not list((tmp_path / "dump" / "replay").glob("*.window"))


def test_starts_never_repeat_over_restarts(tmp_path: Path, center: tuple[Taker, int]) -> None:
    taker, port = center
    path = config(tmp_path, centerAddr=f"127.0.0.1:{port}")
    seen: set[int] = set()
    for _ in range(3):
        running = Running(tmp_path, path)
        running.until(": engine ")
        assert running.stop() == 0
        fresh = set(taker.windows) - seen
        assert fresh
        assert min(fresh) > max(seen, default=0)
        seen = set(taker.windows)
    assert time.time() * 1000 > max(seen)


def test_metrics_and_health(tmp_path: Path, started: list[Running]) -> None:
    port = free_port()
    started.append(Running(tmp_path, config(tmp_path, healthPort=port)))
    started[0].until(": engine ")
    url = f"http://127.0.0.1:{port}"
    for path in ("/healthz", "/readyz"):
        until(
            lambda: (
                subprocess.run(["curl", "-sf", url + path], capture_output=True).stdout == b"ok\n"
            ),
            path,
        )
    until(
        lambda: (
            b"wakizashi_probe_pending_windows 1.0"
            in subprocess.check_output(["curl", "-sf", url + "/metrics"])
        ),
        "a window to wait",
    )
    assert started[0].stop() == 0


def test_a_probe_without_a_device_lives_and_is_not_ready(
    tmp_path: Path, started: list[Running]
) -> None:
    port = free_port()
    path = config(tmp_path, healthPort=port, networkDevs=["later0"])
    started.append(Running(tmp_path, path, "--wait-for-devices"))
    url = f"http://127.0.0.1:{port}"

    def readyz() -> bytes:
        return subprocess.run(
            ["curl", "-s", "-w", "%{http_code}", f"{url}/readyz"], capture_output=True, check=False
        ).stdout

    until(lambda: readyz() == b"no device is captured\n503", "it has begun, without a device")
    assert subprocess.check_output(["curl", "-sf", f"{url}/healthz"]) == b"ok\n"
