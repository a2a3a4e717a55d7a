"""The daemons as programs, and a link of one's own for them to watch."""

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether

from tests.center_servers import until


def need_root() -> None:
    """Skip; in CI fail."""
    if os.geteuid() != 0:
        if "CI" in os.environ:
            pytest.fail("needs root")
        pytest.skip("needs root")


@dataclass(frozen=True)
class Link:
    """One end of a veth pair with no address: nobody speaks on it but the test."""

    name: str

    def send_raw(self, frame: bytes) -> None:
        """One frame."""
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sender:
            sender.bind((self.name, 0))
            sender.send(frame)

    def send(self, number: int) -> None:
        """Frames of 142 bytes to as many addresses as there are."""
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sender:
            sender.bind((self.name, 0))
            for last in range(1, number + 1):
                header = Ether(src="02:00:00:00:00:01") / IP(src="10.9.0.1", dst=f"10.9.0.{last}")
                sender.send(bytes(header / UDP() / bytes(100)))

    @property
    def passed(self) -> tuple[int, int]:
        """Packets and bytes by the device's own counters."""
        folder = Path("/sys/class/net") / self.name / "statistics"
        packets, octets = (
            sum(int((folder / f"{way}_{unit}").read_text()) for way in ("rx", "tx"))
            for unit in ("packets", "bytes")
        )
        return packets, octets


@contextmanager
def veth(prefix: str) -> Iterator[Link]:
    """A pair that is up, named after this process."""
    name = f"{prefix}{os.getpid() % 100_000}"
    run = lambda text: subprocess.run(text.split(), check=True, capture_output=True)
    run(f"ip link add {name}a type veth peer name {name}b")
    try:
        for end in "ab":
            run(f"sysctl -q net.ipv6.conf.{name}{end}.disable_ipv6=1")
            run(f"ip link set {name}{end} up")
        carrier = Path(f"/sys/class/net/{name}a/operstate")
        until(lambda: carrier.read_text() == "up\n", "the link to be up")
        yield Link(f"{name}a")
    finally:
        run(f"ip link del {name}a")


@contextmanager
def running(module: str, folder: Path, **keys: Any) -> Iterator[subprocess.Popen[bytes]]:
    """A daemon; it has to have ended well when the block is left. It writes ``MODULE.log``."""
    path, log = folder / f"{module}.json", folder / f"{module}.log"
    path.write_text(json.dumps(keys))
    with log.open("ab") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", f"wakizashi.{module}", "-c", path], stdout=out, stderr=out
        )
    try:
        yield process
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    assert "Traceback" not in log.read_text()


def is_ready(port: int) -> bool:
    """Whether it takes work: of a probe, whether packets are counted."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def scrape(port: int) -> str:
    """Its metrics; nothing if it does not answer."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            body: bytes = answer.read()
            return body.decode()
    except OSError:
        return ""
