"""What a probe leaves out: modules it does not need, memory, and all traces in the kernel."""

import json
import os
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.center_servers import free_port, until
from wakizashi import wire
from wakizashi.probe.bpf import kernel
from wakizashi.window_file import unseal

FLOWS = 10_000
MOST_BYTES = 64 * 2**20
HEAVY = {"scapy", "numpy", "prometheus_client", "http.server"}


@pytest.fixture(autouse=True)
def needs_root() -> None:
    if os.geteuid() != 0:
        if "CI" in os.environ:
            pytest.fail("needs root")
        pytest.skip("needs root")


@pytest.fixture
def center(tmp_path: Path) -> Iterator[int]:
    """A center with SQLite on a free port of loopback."""
    port, health = free_port(), free_port()
    command = [sys.executable, "-m", "wakizashi.center"]
    for setting in (f"port={port}", f"healthPort={health}", "logLev=3"):
        command += ["--set", setting]
    with subprocess.Popen(command, cwd=tmp_path) as process:
        until(lambda: listens(port), "the center to listen")
        yield port
        process.terminate()


def listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def start(folder: Path, **keys: object) -> tuple[subprocess.Popen[bytes], Path]:
    """A probe on loopback that captures."""
    path, log = folder / "probe-config.yaml", folder / "probe.log"
    defaults = {"name": "lean", "networkDevs": ["lo"], "capInterval": 1, "uploadRetry": 0}
    path.write_text(json.dumps(defaults | {"dumpDir": str(folder / "dump")} | keys))
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "wakizashi.probe", "-c", path], stderr=out, cwd=folder
        )
    until(lambda: b"lean: engine" in log.read_bytes(), "the probe to capture")
    return process, log


def send_flows(count: int) -> None:
    """One packet of a protocol for experiments from each of so many local addresses."""
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as sender:
        for number in range(count):
            source = 0x7F400000 + number
            head = struct.pack("!BBHHHBBHII", 0x45, 0, 40, 0, 0, 64, 253, 0, source, 0x7F000001)
            sender.sendto(head + bytes(20), ("127.0.0.1", 0))


def resident_bytes(process: subprocess.Popen[bytes]) -> int:
    for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmHWM")


def test_memory_with_ten_thousand_flows_and_a_connection(tmp_path: Path, center: int) -> None:
    process, _ = start(tmp_path, capture="ebpf", centerAddr=f"127.0.0.1:{center}", autoClear=False)
    try:
        send_flows(FLOWS)
        sent = tmp_path / "dump" / "sent"

        def delivered() -> bool:
            files = [unseal(file.read_bytes()) for file in sent.glob("*.window")]
            return sum(len(wire.decode(wire.unpack(file)).flows) for file in files) >= FLOWS

        until(delivered, f"{FLOWS} flows to be delivered")
        assert resident_bytes(process) < MOST_BYTES
    finally:
        process.terminate()
        assert process.wait(20) == 0


@pytest.mark.parametrize(
    ("capture", "allowed"),
    [("ebpf", set()), ("ring", {"numpy"}), ("scapy", {"scapy"})],
)
def test_no_module_is_imported_without_need(
    capture: str, allowed: set[str], tmp_path: Path
) -> None:
    """In a child, for the modules of this process are those of all tests."""
    code = (
        "import sys\n"
        "from wakizashi.probe import app, cli\n"
        "from wakizashi.probe.capture import Limits, choose\n"
        "from wakizashi.probe.devices import Netlink\n"
        "name, engine, _ = choose(sys.argv[1])\n"
        "with Netlink() as netlink:\n"
        "    devices = netlink.snapshot().devices.values()\n"
        "tap = engine.open(next(d for d in devices if d.name == 'lo'), Limits(10), [])\n"
        "engine.cut()\n"
        "tap.take()\n"
        "tap.close()\n"
        f"print(*(set(sys.modules) & {HEAVY!r}))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, capture],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert set(done.stdout.split()) == allowed


def held(process: subprocess.Popen[bytes]) -> set[tuple[str, int]]:
    """The maps and programs that a process has descriptors of."""
    lines = (
        line
        for info in Path(f"/proc/{process.pid}/fdinfo").iterdir()
        for line in info.read_text().splitlines()
    )
    return {
        (key.removesuffix("_id"), int(value))
        for key, _, value in (line.partition(":") for line in lines)
        if key in ("map_id", "prog_id")
    }


def in_kernel() -> set[tuple[str, int]]:
    """All maps and programs there are: BPF_PROG_GET_NEXT_ID and BPF_MAP_GET_NEXT_ID."""
    found = set()
    for kind, command in (("prog", 11), ("map", 12)):
        number = 0
        with suppress(FileNotFoundError):
            while True:
                _, answer = kernel._bpf(command, struct.pack("=III", number, 0, 0))
                (number,) = struct.unpack_from("=I", answer, 4)
                found.add((kind, number))
    return found


def test_nothing_of_a_killed_probe_stays_in_the_kernel(tmp_path: Path) -> None:
    process, _ = start(tmp_path, capture="ebpf", centerAddr=f"127.0.0.1:{free_port()}")
    ours = held(process)
    assert {kind for kind, _ in ours} == {"map", "prog"}
    assert ours <= in_kernel()
    process.send_signal(signal.SIGKILL)
    process.wait(20)
    until(lambda: not ours & in_kernel(), "the kernel to forget them")
