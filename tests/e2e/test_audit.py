"""An audit of real probes: two hosts with tunnels and a bridge between them, and a guest behind.

guest (10.78.5.2) ── p0 ┐                       left and right: d0 (10.78.1.1, .2), and over it
``left`` u0 ── other     br0                    ipip1 (10.78.3.1, .2) and vx0 (10.78.4.1, .2);
                                                m0 (10.78.2.1, .2) leads to the center, unwatched
"""

import json
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.lab import Process, run, wait_for
from wakizashi.audit import reading
from wakizashi.audit.analysis import Report
from wakizashi.center.backend import open_backend
from wakizashi.center.config import load_center

pytestmark = pytest.mark.timeout(180)

WINDOWS = 7
"""In which there is traffic of one sort."""
LENGTH_MS = 2_000
"""Of a window."""
TUNNEL = """
import fcntl, os, selectors, socket, struct, sys
device = os.open("/dev/net/tun", os.O_RDWR)
fcntl.ioctl(device, 0x400454CA, struct.pack("16sH", b"ipip1", 0x1001))  # TUNSETIFF: TUN, NO_PI
carrier = socket.socket(socket.AF_INET, socket.SOCK_RAW, 4)
carrier.setsockopt(socket.SOL_SOCKET, 33, 2**24)  # SO_RCVBUFFORCE
carrier.bind((sys.argv[1], 0))
ready = selectors.DefaultSelector()
ready.register(device, selectors.EVENT_READ)
ready.register(carrier, selectors.EVENT_READ)
while True:
    for key, _ in ready.select():
        if key.fd == device:
            carrier.sendto(os.read(device, 2000), (sys.argv[2], 0))
        else:
            os.write(device, carrier.recv(2000)[20:])
"""
"""IP in IP, as in RFC 2003; not every kernel has it built in."""
SEND = """
import socket, sys
end, number, size = socket.socket(socket.AF_INET, socket.SOCK_DGRAM), *map(int, sys.argv[2:])
for _ in range(number):
    end.sendto(bytes(size), (sys.argv[1], 9))
"""


class Hosts:
    """The namespaces, and what runs in them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        prefix = f"wkza{os.getpid() % 100_000}"
        self.left, self.right, self.guest, self.other = (f"{prefix}{part}" for part in "lrgo")
        self.processes: list[Process] = []
        self.dice = random.Random(7)

    def ip(self, where: str, command: str) -> None:
        run("ip", "-n", where, *command.split())

    def up(self) -> None:
        for name in (self.left, self.right, self.guest, self.other):
            run("ip", "netns", "add", name)
            # No router solicitations and reports: what passes is what the test sends.
            for key in ("all", "default"):
                enter = f"--net=/run/netns/{name}"
                run("nsenter", enter, "sysctl", "-qw", f"net.ipv6.conf.{key}.disable_ipv6=1")
            self.ip(name, "link set lo up")
        self._link("d0", "d0", self.right, 1)
        self._link("m0", "m0", self.right, 2)
        self._link("u0", "u0", self.other, 6)
        for where, me, peer in ((self.left, 1, 2), (self.right, 2, 1)):
            ends = f"local 10.78.1.{me} remote 10.78.1.{peer}"
            addresses = f"10.78.1.{me}", f"10.78.1.{peer}"
            command = (sys.executable, "-c", TUNNEL, *addresses)
            self.processes.append(Process(f"ipip1-{me}", where, self.folder, *command))
            wait_for("ipip1", lambda where=where: self._has(where, "ipip1"))  # type: ignore[misc]
            self.ip(where, "link set ipip1 txqueuelen 10000")  # else it drops, behind the tap
            self.ip(where, f"link add vx0 type vxlan id 7 {ends} dstport 4789")
            for net, device in ((3, "ipip1"), (4, "vx0")):
                self.ip(where, f"addr add 10.78.{net}.{me}/24 dev {device}")
                self.ip(where, f"link set {device} up")
        self.ip(self.left, "link add br0 type bridge")
        self.ip(self.left, f"link add p0 type veth peer name p0 netns {self.guest}")
        self.ip(self.left, "link set p0 master br0 up")
        self.ip(self.left, "addr add 10.78.5.1/24 dev br0")
        self.ip(self.left, "link set br0 up")
        self.ip(self.guest, "addr add 10.78.5.2/24 dev p0")
        self.ip(self.guest, "link set p0 up")

    def _has(self, where: str, device: str) -> bool:
        return f": {device}:" in run("ip", "-n", where, "link", "show")

    def _link(self, here: str, there: str, where: str, net: int) -> None:
        self.ip(self.left, f"link add {here} type veth peer name {there} netns {where}")
        for name, device, host in ((self.left, here, 1), (where, there, 2)):
            self.ip(name, f"addr add 10.78.{net}.{host}/24 dev {device}")
            self.ip(name, f"link set {device} up")

    def down(self) -> None:
        for process in reversed(self.processes):
            if process.popen.poll() is None:
                process.stop(signal.SIGKILL)
        for name in (self.left, self.right, self.guest, self.other):
            run("ip", "netns", "del", name)

    def start(self, name: str, where: str, module: str, config: dict[str, Any]) -> Process:
        path = self.folder / f"{name}.yaml"
        path.write_text(json.dumps(config))
        command = (sys.executable, "-m", module, "-c", str(path))
        process = Process(name, where, self.folder, *command)
        self.processes.append(process)
        return process

    def probe(self, name: str) -> Process:
        config = {
            "name": name,
            "centerAddr": "10.78.2.2:10080",
            "dumpDir": str(self.folder / f"dump-{name}"),
            "networkDevs": ["d0", "ipip1", "vx0", "br0", "p0", "u0"],
            "capInterval": LENGTH_MS // 1_000,
        }
        process = self.start(name, getattr(self, name), "wakizashi.probe", config)
        process.wait_for(f"{name}: engine")
        return process

    def send(self, where: str, address: str, packets: int, size: int) -> None:
        enter = f"--net=/run/netns/{where}"
        run("nsenter", enter, sys.executable, "-c", SEND, address, str(packets), str(size))


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[Hosts]:
    if os.geteuid() != 0 or not shutil.which("ip") or not shutil.which("sysctl"):
        reason = "needs root, ip and sysctl"
        if "CI" in os.environ:
            pytest.fail(reason)
        pytest.skip(reason)
    made = Hosts(tmp_path)
    try:
        made.up()
        yield made
    except BaseException:
        for log in sorted(tmp_path.glob("*.log")):
            sys.stdout.write(f"--- {log.name}\n{log.read_text(errors='replace')[-4000:]}\n")
        raise
    finally:
        made.down()


def test_two_hosts_with_tunnels_and_a_bridge(hosts: Hosts) -> None:
    database = hosts.folder / "w.db"
    sqlite = {"type": "sqlite", "sqliteConfig": {"path": str(database)}}
    recovery = str(hosts.folder / "recovery")
    hosts.start(
        "center",
        hosts.right,
        "wakizashi.center",
        {"host": "10.78.2.2", "recoverDir": recovery, "backendConfig": sqlite},
    )
    hosts.probe("left")
    right = hosts.probe("right")
    wait_for("the first windows", database.is_file)
    setting = f"backendConfig.sqliteConfig.path={database}"
    backend = open_backend(load_center(None, [setting], {}).backendConfig, read_only=True)

    def last() -> int:
        """End of the newest window that is stored of both."""
        ends = dict.fromkeys(("left", "right"), 0)
        for record in backend.ledgers(0, 2**43):
            ends[record.probe] = record.timestamp + record.duration
        return min(ends.values())

    def now() -> int:
        return time.time_ns() // 1_000_000

    def audit_of(traffic: Callable[[int], None]) -> Report:
        """Traffic of one sort in each window; the audit of that time."""
        since = now()
        for _ in range(WINDOWS):
            # In the midst of a window: devices are not cut at the same moment, nor a device's
            # counters and the tap, and a burst may pass between. What is stored has been cut.
            wait_for("a new window", lambda: last() + LENGTH_MS * 65 // 100 > now() > last())
            traffic(hosts.dice.randrange(20, 2_000))
            sent = now()
            wait_for("the next windows", lambda sent=sent: last() > sent)  # type: ignore[misc]
        return reading.read(backend, since, now())

    def shared(report: Report) -> set[tuple[str, str, str]]:
        return {(p.name, s.inner, s.outer) for p in report.probes for s in p.shared}

    def elsewhere() -> None:
        """What has nothing to do with the rest: never the same as on another device."""
        hosts.send(hosts.other, "10.78.6.1", hosts.dice.randrange(20, 1_500), 300)

    def ipip(number: int) -> None:
        hosts.send(hosts.left, "10.78.3.2", number, 700)
        hosts.send(hosts.guest, "10.78.5.1", hosts.dice.randrange(20, 900), 200)
        elsewhere()

    def vxlan(number: int) -> None:
        hosts.send(hosts.right, "10.78.4.1", number, 60)
        elsewhere()

    def plain(number: int) -> None:
        hosts.send(hosts.left, "10.78.1.2", number, 900)
        elsewhere()

    try:
        _compare(audit_of(ipip), audit_of(vxlan), audit_of(plain), shared)
        before = now()
        right.stop(signal.SIGKILL)
        hosts.probe("right")
        report = audit_of(plain)
        assert report.adds_up, report.findings
        whole = reading.read(backend, before - 5_000, now())
        assert whole.adds_up, whole.findings
        assert "unwatched" in {f.kind for f in whole.findings.told if f.probe == "right"}
    finally:
        backend.close()


def _compare(
    ipip: Report,
    vxlan: Report,
    plain: Report,
    shared: Callable[[Report], set[tuple[str, str, str]]],
) -> None:
    for report in (ipip, vxlan, plain):
        assert report.adds_up, report.findings
        for probe in report.probes:
            for name, account in probe.devices.items():
                rest = account.ledger.device - account.ledger.accounted
                # Their counters leave out the Ethernet header of what comes in.
                headers = name in ("br0", "vx0") and rest.bytes % 14 == 0 and rest.bytes <= 0
                assert rest.packets == 0 and (rest.bytes == 0 or headers), (probe.name, name, rest)
    tunnels = {("left", "ipip1", "d0"), ("right", "ipip1", "d0")}
    bridge = {("left", "br0", "p0"), ("left", "p0", "br0")}
    assert shared(ipip) - bridge == tunnels
    assert len(shared(ipip) & bridge) == 1
    assert shared(vxlan) == {("left", "vx0", "d0"), ("right", "vx0", "d0")}
    assert shared(plain) == set()
    for report, source, destination in (
        (ipip, "10.78.3.1", "10.78.3.2"),
        (ipip, "10.78.1.1", "10.78.1.2"),
        (vxlan, "10.78.4.2", "10.78.4.1"),
        (plain, "10.78.1.1", "10.78.1.2"),
    ):
        (pair,) = [p for p in report.pairs if (p.source, p.destination) == (source, destination)]
        assert not pair.differs, pair
        assert pair.sent.packets > 50
