"""The units of ``deploy/systemd`` under a real systemd: both daemons start, work, and stop.

The filter of system calls kills here what the units only refuse (``install()``); so what
works here needs nothing that is refused there.
"""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.center_servers import until
from tests.privilege_table import Row, check_ids, rows
from tests.systemd_host import Host, install, systemd_host

CENTER, PROBE = "wakizashi-center.service", "wakizashi-probe.service"
PACKET = 1_000 + 8 + 20 + 14  # payload, UDP, IP, Ethernet
CENTER_CONFIG = {"host": "127.0.0.1", "backendConfig": {"type": "sqlite"}}
PROBE_CONFIG = {
    "centerAddr": "127.0.0.1:10080",
    "networkDevs": ["lo", "late"],
    "capInterval": 1,
    "name": "vm",
}
SEND = (
    "import socket, sys\n"
    "sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
    "for _ in range(50): sender.sendto(bytes(1000), (sys.argv[1], 9))\n"
)

STORED = (
    "import sqlite3, sys\n"
    "database = sqlite3.connect(f'file:{sys.argv[1]}?mode=ro', uri=True)\n"
    "tables = database.execute(\"SELECT count(*) FROM sqlite_master WHERE name = 'traffic'\")\n"
    "ask = 'SELECT ifnull(sum(packets), 0), ifnull(sum(size), 0) FROM traffic WHERE dstIP = ?'\n"
    "known = tables.fetchone()[0]\n"
    "print(*(database.execute(ask, sys.argv[2:]).fetchone() if known else (0, 0)))\n"
)


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    folder = tmp_path_factory.mktemp("systemd")
    folder.parent.chmod(0o711)  # the host's files are looked at by other users
    with (folder / "console").open("wb") as console, systemd_host(folder, console) as made:
        install(made)
        configure(made)
        made.run("systemctl", "daemon-reload")
        made.run("systemctl", "start", CENTER)
        yield made


@pytest.fixture
def probe(host: Host) -> Iterator[Host]:
    """The host, with a probe at work that stops well in the end."""
    configure(host)
    host.path(f"/var/log/{PROBE}.log").unlink(missing_ok=True)
    host.run("systemctl", "reset-failed", check=False)
    host.run("systemctl", "start", PROBE)
    yield host
    host.run("systemctl", "stop", PROBE)
    assert host.show(PROBE, "Result") == "success", host.log(PROBE)


def configure(host: Host, **probe: object) -> None:
    host.write("/etc/wakizashi/center-config.yaml", yaml.safe_dump(CENTER_CONFIG))
    host.write("/etc/wakizashi/probe-config.yaml", yaml.safe_dump(PROBE_CONFIG | probe))


def ids(host: Host, user: str) -> tuple[int, int]:
    """The host's users are not this machine's."""
    line = host.run("getent", "passwd", user).split(":")
    return int(line[2]), int(line[3])


def stored(host: Host, address: str) -> tuple[int, int]:
    """Packets and bytes to an address, as center has them."""
    answer = host.python(STORED, "/var/lib/wakizashi-center/wakizashi.db", address)
    packets, size = map(int, answer.split())
    return packets, size


def send(host: Host, address: str) -> None:
    """50 packets, counted and stored: all of them, and every byte."""
    before = stored(host, address)
    host.python(SEND, address)
    wanted = before[0] + 50, before[1] + 50 * PACKET
    until(lambda: stored(host, address)[0] >= wanted[0], "the packets to be stored")
    assert stored(host, address) == wanted


def test_the_units_are_sound(host: Host) -> None:
    files = (f"/etc/systemd/system/{unit}" for unit in (PROBE, CENTER))
    assert host.run("systemd-analyze", "verify", *files) == ""


@pytest.mark.parametrize("row", [r for r in rows("the units") if r.daemon == "probe"], ids=str)
def test_threads_of_both_hold_what_is_documented(row: Row, host: Host) -> None:
    configure(host, capture=row.engine)
    host.run("systemctl", "start", PROBE)
    try:
        send(host, "127.0.0.7")
        threads = check_ids(row, host.pid(PROBE), *ids(host, "wakizashi-probe"))
        assert len(threads) > 1
        (center,) = (r for r in rows("the units") if r.daemon == "center")
        check_ids(center, host.pid(CENTER), *ids(host, "wakizashi-center"))
    finally:
        host.run("systemctl", "stop", PROBE)
    assert host.show(PROBE, "Result") == "success", host.log(PROBE)


@pytest.mark.parametrize("engine", ["ebpf", "ring", "scapy"])
def test_a_device_that_comes_later_is_counted(engine: str, host: Host) -> None:
    configure(host, capture=engine)
    host.run("systemctl", "start", PROBE)
    try:
        host.run("ip", "link", "add", "late", "type", "veth", "peer", "name", "far")
        host.run("sysctl", "-q", "net.ipv6.conf.far.disable_ipv6=1")
        host.run("ip", "addr", "add", "10.9.0.1/24", "dev", "far")
        for words in ("link set late up", "link set far up"):
            host.run("ip", *words.split())
        host.run(*["ip", "neigh", "add", "10.9.0.2", "lladdr", "02:00:00:00:00:02", "dev", "far"])
        until(lambda: host.log(PROBE).count("capturing late") > 0, "the device to be captured")
        until(lambda: "state UP" in host.run("ip", "link", "show", "far"), "the link to be up")
        send(host, "10.9.0.2")
    finally:
        host.run("ip", "link", "del", "late", check=False)
        host.run("systemctl", "stop", PROBE)
        host.path(f"/var/log/{PROBE}.log").unlink()
    assert host.show(PROBE, "Result") == "success"


def test_the_engine_ring_does_without_what_the_unit_refuses(host: Host) -> None:
    """NumPy's mbind(2); with the unit as it is shipped."""
    strict = host.path(f"/run/systemd/system/{PROBE}.d/strict.conf")
    text = strict.read_text()
    strict.unlink()
    host.run("systemctl", "daemon-reload")
    configure(host, capture="ring")
    host.run("systemctl", "start", PROBE)
    send(host, "127.0.0.11")
    host.run("systemctl", "stop", PROBE)
    assert host.show(PROBE, "Result") == "success", host.log(PROBE)
    strict.write_text(text)
    host.run("systemctl", "daemon-reload")


def test_the_watchdog_is_fed(probe: Host) -> None:
    for unit in (PROBE, CENTER):
        seen = {probe.show(unit, "WatchdogTimestampMonotonic")}

        def fed(unit: str = unit, seen: set[str] = seen) -> bool:
            seen.add(probe.show(unit, "WatchdogTimestampMonotonic"))
            return len(seen) > 3

        until(fed, f"{unit} to feed it")
        assert probe.show(unit, "NRestarts") == "0"


def test_one_that_stands_still_is_started_again(host: Host) -> None:
    configure(host)
    host.write(f"/run/systemd/system/{PROBE}.d/short.conf", "[Service]\nTimeoutStopSec=1\n")
    host.run("systemctl", "daemon-reload")
    host.run("systemctl", "start", PROBE)
    pid = host.pid(PROBE)
    os.kill(pid, signal.SIGSTOP)
    until(lambda: host.show(PROBE, "NRestarts") == "1", "systemd to start it again", 30)
    until(lambda: host.show(PROBE, "ActiveState") == "active", "it to be ready")
    assert host.pid(PROBE) != pid
    send(host, "127.0.0.8")
    host.run("systemctl", "stop", PROBE)
    host.path(f"/run/systemd/system/{PROBE}.d/short.conf").unlink()
    host.run("systemctl", "daemon-reload")


def test_reload_takes_what_changed(probe: Host) -> None:
    pid = probe.pid(PROBE)
    configure(probe, capInterval=2)
    probe.run("systemctl", "reload", PROBE)
    until(lambda: "capInterval 1 → 2" in probe.log(PROBE), "the probe to reload")
    assert probe.pid(PROBE) == pid
    send(probe, "127.0.0.9")


def test_a_fault_of_the_configuration_is_no_reason_to_start_again(host: Host) -> None:
    configure(host, capture="none")
    host.run("systemctl", "start", PROBE, check=False)
    until(lambda: host.show(PROBE, "ActiveState") == "failed", "it to fail")
    assert host.show(PROBE, "ExecMainStatus") == "78"
    assert host.show(PROBE, "NRestarts") == "0"
    host.run("systemctl", "reset-failed", PROBE)


def test_stop_delivers_and_keeps_nothing_back(probe: Host) -> None:
    configure(probe, capInterval=600)
    probe.run("systemctl", "restart", PROBE)
    probe.python(SEND, "127.0.0.10")
    probe.run("systemctl", "stop", PROBE)
    assert stored(probe, "127.0.0.10") == (50, 50 * PACKET)
    owner, _ = ids(probe, "wakizashi-probe")
    dump = probe.path("/var/lib/wakizashi-probe/dump")
    assert {path.stat().st_uid for path in (dump, *dump.rglob("*"))} == {owner}
    assert not list(dump.glob("*.window"))


def test_the_root_file_system_is_out_of_reach(probe: Host) -> None:
    """What the processes see of the machine: their state, and the rest read-only or not at all."""
    for unit, state in ((PROBE, "wakizashi-probe"), (CENTER, "wakizashi-center")):
        pid = probe.pid(unit)
        mounts = {
            line.split()[4]: line.split()[5].split(",")
            for line in Path(f"/proc/{pid}/mountinfo").read_text().splitlines()
        }
        assert "ro" in mounts["/"]
        assert "rw" in mounts[f"/var/lib/{state}"]
        assert not list(Path(f"/proc/{pid}/root/root").iterdir())
        others = [p for p in Path(f"/proc/{pid}/root/proc").iterdir() if p.name.isdigit()]
        assert others  # root sees them; to the daemon they are invisible


def test_none_leaves_a_core_file(probe: Host) -> None:
    for unit in (PROBE, CENTER):
        limits = Path(f"/proc/{probe.pid(unit)}/limits").read_text().splitlines()
        (core,) = (line.split() for line in limits if line.startswith("Max core file size"))
        assert core[4:6] == ["0", "0"]  # soft and hard
