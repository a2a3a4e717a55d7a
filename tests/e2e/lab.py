"""Three network namespaces, joined by veth pairs, and the real programs in them.

    client (10.77.1.2, fd77:1::2) ── web (10.77.1.1 / 10.77.2.1) ── center (10.77.2.2, fd77:2::2)

nginx and the probe live in ``web``, curl in ``client``, the center and influxd
in ``center``. The oracle is tcpdump at the far ends of both pairs, checked
against the veth counters, and recounted here without any of the product's code.
"""

import contextlib
import json
import os
import signal
import struct
import subprocess
import sys
import time
import urllib.parse
from collections import Counter
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import IO, Any, TypeVar

import pytest

CENTER_PORT = 10080
INFLUX_URL = "http://127.0.0.1:8086"
Pairs = dict[tuple[str, str], int]
Program = Callable[[Path], tuple[str, ...]]
"""The command that starts a daemon with this configuration file."""
Result = TypeVar("Result")


def run(*command: str, **options: Any) -> str:
    """Run a command to its end and return what it prints; failing is an error that shows all."""
    done = subprocess.run(
        command, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options
    )
    assert done.returncode == 0, f"{' '.join(command)}: exit {done.returncode}\n{done.stdout}"
    return done.stdout


def wait_for(what: str, probe: Callable[[], Result], seconds: float = 30.0) -> Result:
    """Poll until ``probe`` returns something true; fail after ``seconds``."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if result := probe():
            return result
        time.sleep(0.05)
    raise AssertionError(f"waited {seconds} s in vain for {what}")


def require(*programs: str) -> None:
    """Skip the test, or fail it in CI, unless this is root and the programs are here."""
    missing = [
        name
        for name in programs
        if not any(
            os.access(Path(folder) / name, os.X_OK)
            for folder in (*os.environ["PATH"].split(":"), "/usr/sbin")
        )
    ]
    if os.geteuid() != 0 or missing:
        reason = f"needs root and {', '.join(missing) or 'nothing else'}"
        if "CI" in os.environ:
            pytest.fail(reason)
        pytest.skip(reason)


def from_source(name: str) -> Program:
    """A daemon of this very tree."""
    return lambda config: (sys.executable, "-m", f"wakizashi.{name}", "-c", str(config))


class Process:
    """A program in a namespace, its output in a file."""

    def __init__(self, name: str, namespace: str, folder: Path, *command: str) -> None:
        self.name, self.log = name, folder / f"{name}.log"
        self._file: IO[bytes] = self.log.open("ab")
        self._from = self.log.stat().st_size
        environment = {k: v for k, v in os.environ.items() if not k.startswith("WAKIZASHI_")}
        self.popen = subprocess.Popen(
            ["nsenter", f"--net=/run/netns/{namespace}", *command],
            stdout=self._file,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env=environment,
        )

    @property
    def output(self) -> str:
        """What this process has printed."""
        return self.log.read_bytes()[self._from :].decode(errors="replace")

    def wait_for(self, text: str, seconds: float = 30.0) -> None:
        """Until it has printed ``text``."""

        def said() -> bool:
            assert self.popen.poll() is None or text in self.output, (
                f"{self.name} ended with {self.popen.returncode}:\n{self.output}"
            )
            return text in self.output

        wait_for(f"{self.name} to say {text!r}; it said:\n{self.output}", said, seconds)

    def children(self) -> list[int]:
        """The process ids of what it started, such as a container, or what a bundle holds."""
        pid = self.popen.pid
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def stop(self, number: int = signal.SIGTERM, seconds: float = 20.0) -> int:
        """Send a signal, wait for the end, return the exit code."""
        if self.popen.poll() is None:
            self.popen.send_signal(number)
        code = self.popen.wait(seconds)
        self._file.close()
        return code


class Lab:
    """The namespaces; use :func:`lab`."""

    def __init__(self, folder: Path, prefix: str) -> None:
        self.folder = folder
        self.web, self.client, self.center = (f"{prefix}{part}" for part in ("w", "c", "z"))
        self.processes: list[Process] = []
        self._captures: list[tuple[str, str, Process, Path, int]] = []
        self.programs = {name: from_source(name) for name in ("probe", "center")}

    def up(self) -> None:
        """Create namespaces, pairs and addresses, without any chatter of their own."""
        for namespace in (self.web, self.client, self.center):
            run("ip", "netns", "add", namespace)
            run("ip", "-n", namespace, "link", "set", "lo", "up")
        self._pair("web0", "cli0", self.client, "1")
        self._pair("web1", "cen0", self.center, "2")
        self._quiet()

    def _pair(self, near: str, far: str, namespace: str, net: str) -> None:
        run(
            *f"ip -n {self.web} link add {near} type veth peer name {far} netns {namespace}".split()
        )
        for where, device, host in ((self.web, near, "1"), (namespace, far, "2")):
            enter = ("nsenter", f"--net=/run/netns/{where}")
            run(*enter, "sysctl", "-q", f"net.ipv6.conf.{device}.addr_gen_mode=1")
            run(*enter, "sysctl", "-q", f"net.ipv6.conf.{device}.accept_ra=0")
            for family in ("ipv4", "ipv6"):  # a neighbour is asked for once, not checked on again
                run(
                    *enter,
                    "sysctl",
                    "-q",
                    f"net.{family}.neigh.{device}.delay_first_probe_time=600",
                )
            run("ip", "-n", where, "addr", "add", f"10.77.{net}.{host}/24", "dev", device)
            run("ip", "-n", where, "addr", "add", f"fd77:{net}::{host}/64", "dev", device, "nodad")
            run("ip", "-n", where, "link", "set", device, "up")

    def _quiet(self) -> None:
        """Until the multicast reports that new addresses cause are over (RFC 3810, 9.11: 1 s)."""
        seen = (-1, time.monotonic())

        def silent() -> bool:
            nonlocal seen
            passed = self.counters("web0") + self.counters("web1")
            if passed != seen[0]:
                seen = (passed, time.monotonic())
            return time.monotonic() - seen[1] > 2.5

        wait_for("the new devices to be silent", silent)

    def down(self) -> None:
        """Stop everything, newest first, and remove the namespaces."""
        for process in reversed(self.processes):
            if process.popen.poll() is None:
                for child in process.children():
                    os.kill(child, signal.SIGKILL)
            process.stop(signal.SIGKILL)
        for namespace in (self.web, self.client, self.center):
            subprocess.run(["ip", "netns", "del", namespace], check=False, capture_output=True)

    def start(self, name: str, namespace: str, *command: str) -> Process:
        """Start a program in a namespace; it is stopped with the lab at the latest."""
        process = Process(name, namespace, self.folder, *command)
        self.processes.append(process)
        return process

    # -- the programs ---------------------------------------------------------------------

    def nginx(self, files: dict[str, int]) -> Process:
        """nginx in ``web``, serving files of the given sizes."""
        root = self.folder / "www"
        root.mkdir()
        for name, size in files.items():
            (root / name).write_bytes(os.urandom(size))
        config = self.folder / "nginx.conf"
        config.write_text(
            f"daemon off; user root; pid {self.folder}/nginx.pid; error_log stderr;\n"
            "events {}\n"
            f"http {{ access_log off; server {{ listen 80; listen [::]:80; root {root}; }} }}\n"
        )
        process = self.start("nginx", self.web, "nginx", "-c", str(config))
        wait_for("nginx", lambda: ":80 " in run("ip", "netns", "exec", self.web, "ss", "-ltn"))
        return process

    def influxd(self) -> Process:
        """InfluxDB in ``center``; started again it finds its data again."""
        data = self.folder / "influx"
        config = self.folder / "influxdb.conf"
        config.write_text(
            f"reporting-disabled = true\nbind-address = '127.0.0.1:8088'\n"
            f"[meta]\ndir = '{data}/meta'\n[data]\ndir = '{data}/data'\nwal-dir = '{data}/wal'\n"
            "query-log-enabled = false\n"
            "[http]\nbind-address = '127.0.0.1:8086'\nlog-enabled = false\n"
            "[monitor]\nstore-enabled = false\n"
        )
        process = self.start("influxd", self.center, "influxd", "-config", str(config))
        wait_for("influxd", self._influx_answers)
        return process

    def _influx_answers(self) -> bool:
        command = [
            "nsenter",
            f"--net=/run/netns/{self.center}",
            "curl",
            "-sf",
            INFLUX_URL + "/ping",
        ]
        return subprocess.run(command, check=False, capture_output=True).returncode == 0

    def influx(self, statement: str) -> list[dict[str, Any]]:
        """Ask InfluxDB by curl; the rows of all series, tags included."""
        query = urllib.parse.urlencode({"db": "wakizashi", "epoch": "ms", "q": statement})
        answer = run(
            "nsenter",
            f"--net=/run/netns/{self.center}",
            "curl",
            "-sS",
            f"{INFLUX_URL}/query?{query}",
        )
        return [
            dict(zip(series["columns"], row, strict=True)) | series.get("tags", {})
            for result in json.loads(answer)["results"]
            for series in result.get("series", [])
            for row in series["values"]
        ]

    def start_center(self, **config: Any) -> Process:
        """A center with InfluxDB behind it."""
        path = self.folder / "center-config.yaml"
        path.write_text(
            json.dumps(
                {
                    "port": CENTER_PORT,
                    "recoverDir": str(self.folder / "recovery"),
                    "recoverInterval": 1,
                    "backendConfig": {
                        "type": "influxdb",
                        "timeout": 2,
                        "influxConfig": {"host": INFLUX_URL},
                    },
                }
                | config
            )
        )
        process = self.start("center", self.center, *self.programs["center"](path))
        wait_for("the center", lambda: self._http("10081/readyz"))
        return process

    def _http(self, rest: str) -> bool:
        command = ["nsenter", f"--net=/run/netns/{self.center}"]
        command += ["curl", "-sf", f"http://127.0.0.1:{rest}"]
        return subprocess.run(command, check=False, capture_output=True).returncode == 0

    def start_probe(
        self, center: str = f"10.77.2.2:{CENTER_PORT}", hosts: Path | None = None, **config: Any
    ) -> Process:
        """A probe on both devices of ``web``, with ``hosts`` as its /etc/hosts; returns when it captures."""
        path = self.folder / "probe-config.yaml"
        path.write_text(
            json.dumps(
                {
                    "centerAddr": center,
                    "dumpDir": str(self.folder / "dump"),
                    "networkDevs": ["web[01]"],
                    "capInterval": 2,  # a second and more from one delivery to the next, for a quiet stop
                    "name": "web-probe",
                }
                | config
            )
        )
        own_hosts = (
            "unshare",
            "-m",
            "sh",
            "-c",
            f'mount --bind {hosts} /etc/hosts && exec "$@"',
            "-",
        )
        command = self.programs["probe"](path)
        process = self.start("probe", self.web, *(own_hosts if hosts else ()), *command)
        process.wait_for("web-probe: engine")
        return process

    def fetch(self, name: str, size: int) -> None:
        """curl a file from ``client``, over IPv4 and over IPv6."""
        for host in ("10.77.1.1", "[fd77:1::1]"):
            out = self.folder / "fetched"
            enter = f"--net=/run/netns/{self.client}"
            run("nsenter", enter, "curl", "-sSf", "-o", str(out), f"http://{host}/{name}")
            assert out.stat().st_size == size

    # -- the oracle -----------------------------------------------------------------------

    def counters(self, device: str) -> int:
        """Bytes that passed a device of ``web`` by its own counters, both ways."""
        links = json.loads(run("ip", "-n", self.web, "-s", "-j", "link", "show", "dev", device))
        stats = links[0]["stats64"]
        return int(stats["rx"]["bytes"]) + int(stats["tx"]["bytes"])

    def record(self) -> None:
        """Start tcpdump at the far end of both pairs. Nothing may be on the wire yet."""
        for near, far, namespace in (
            ("web0", "cli0", self.client),
            ("web1", "cen0", self.center),
        ):
            path = self.folder / f"{far}.pcap"
            before = self.counters(near)
            process = self.start(
                f"tcpdump-{far}",
                namespace,
                *f"tcpdump -i {far} -s 160 -B 65536 --immediate-mode -U -Z root -w {path}".split(),
            )
            process.wait_for("listening on")
            self._captures.append((near, far, process, path, before))

    def recorded(self) -> dict[str, tuple[Pairs, int, int]]:
        """Stop recording; per device of ``web``: bytes by (source, destination), own bytes, ARP.

        tcpdump saw everything, or this fails: its bytes equal the veth counters' difference.
        """
        result = {}
        for near, _, process, path, before in self._captures:
            passed = self.counters(near) - before

            def total(path: Path = path) -> int:
                return sum(size for size, _ in frames(path))

            wait_for(f"tcpdump to have {passed} bytes", lambda: total() >= passed)
            assert process.stop(signal.SIGINT) == 0
            assert total() == passed, "the oracle itself missed packets"
            assert "\n0 packets dropped by kernel" in process.output
            result[near] = recount(path)
        self._captures = []
        return result


def frames(path: Path) -> Iterator[tuple[int, bytes]]:
    """(length on the link, first bytes) of every frame in a little-endian pcap file."""
    data = path.read_bytes()
    offset = 24
    while offset + 16 <= len(data):
        _, _, captured, length = struct.unpack_from("<IIII", data, offset)
        offset += 16
        if offset + captured > len(data):
            return
        yield length, data[offset : offset + captured]
        offset += captured


def recount(path: Path) -> tuple[Pairs, int, int]:
    """Bytes by (source, destination); bytes of TCP from or to the center's port; bytes of ARP."""
    pairs: Counter[tuple[str, str]] = Counter()
    own = arp = 0
    for length, frame in frames(path):
        kind = frame[12:14]
        if kind == b"\x08\x06":
            arp += length
            continue
        if kind == b"\x08\x00":
            addresses, protocol = (frame[26:30], frame[30:34]), frame[23]
            transport = 14 + (frame[14] & 15) * 4
        else:
            assert kind == b"\x86\xdd", frame
            addresses, protocol = (frame[22:38], frame[38:54]), frame[20]
            transport = 54
        ports = struct.unpack_from("!HH", frame, transport) if protocol == 6 else ()
        if CENTER_PORT in ports:
            own += length
        else:
            source, destination = (str(ip_address(address)) for address in addresses)
            pairs[source, destination] += length
    return dict(pairs), own, arp


@contextlib.contextmanager
def lab(folder: Path) -> Iterator[Lab]:
    """A lab, taken down whatever happens; the logs are shown when something does."""
    made = Lab(folder, f"wkz{os.getpid() % 100_000}")
    try:
        made.up()
        yield made
    except BaseException:
        for log in sorted(folder.glob("*.log")):
            sys.stdout.write(f"--- {log.name}\n{log.read_text(errors='replace')[-4000:]}\n")
        raise
    finally:
        made.down()
