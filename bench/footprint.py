"""``python -m bench.footprint``: what a probe costs that has nothing to do, for each engine.

From the start of the process to the first packet it counted (packets to as many
addresses are sent every 2 ms meanwhile, and the lowest in its first window is looked
for), resident memory with FLOWS flows in a window and a connected center, and CPU while
nothing passes. Medians of REPETITIONS. Root; all of it on loopback.
"""

import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from wakizashi import wire
from wakizashi.probe.capture import engine_names
from wakizashi.window_file import unseal

FLOWS = 10_000
IDLE_SECONDS = 10.0
REPETITIONS = 3
_PORT, _HEALTH = 29_080, 29_081
_FIRST = 0x7F400000  # 127.64.0.0


def flows(folder: Path) -> Iterator[bytes]:
    """The destinations in all window files below a folder."""
    for file in sorted(folder.rglob("*.window")):
        for flow in wire.decode(wire.unpack(unseal(file.read_bytes()))).flows:
            yield flow.destination


@contextmanager
def program(folder: Path, name: str, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """A daemon of ours, its messages thrown away."""
    command = [sys.executable, "-m", f"wakizashi.{name}", *arguments]
    with subprocess.Popen(  # noqa: S603 - our own programs
        command, cwd=folder, stderr=subprocess.DEVNULL
    ) as process:
        try:
            yield process
        finally:
            process.terminate()
            process.wait(20)


def probe_file(folder: Path, engine: str, port: int, interval: int) -> str:
    """A configuration for loopback."""
    path = folder / "probe-config.yaml"
    keys = {"capture": engine, "networkDevs": ["lo"], "capInterval": interval, "uploadRetry": 0}
    more = {"autoClear": False, "centerAddr": f"127.0.0.1:{port}", "name": "footprint"}
    path.write_text(json.dumps(keys | more | {"dumpDir": str(folder / "dump")}))
    return str(path)


def send(first: int, count: int, pause: float, times: list[float], stop: threading.Event) -> None:
    """A packet to each of so many addresses, remembering when."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for number in range(first, first + count):
            if stop.is_set():
                return
            times.append(time.monotonic())
            sender.sendto(b"x", (socket.inet_ntoa((_FIRST + number).to_bytes(4)), 9))
            time.sleep(pause)


def start_seconds(engine: str) -> float:
    """From the start of the process to the first packet that it counted."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        times: list[float] = []
        stop = threading.Event()
        sender = threading.Thread(target=send, args=(0, 5_000, 0.002, times, stop))
        sender.start()
        started = time.monotonic()
        with program(folder, "probe", "-c", probe_file(folder, engine, 9, 3600)):
            time.sleep(3)
        stop.set()
        sender.join()
        numbers = (int.from_bytes(address) - _FIRST for address in flows(folder))
        first = min(number for number in numbers if 0 <= number < len(times))
        return times[first] - started


def cpu_seconds(pid: int) -> float:
    """User and system time of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def at_rest(engine: str) -> tuple[float, float]:
    """Resident MiB with FLOWS flows and a connection, and the share of a core while idle."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        settings = (f"port={_PORT}", f"healthPort={_HEALTH}")
        center = [word for setting in settings for word in ("--set", setting)]
        path = probe_file(folder, engine, _PORT, 1)
        with program(folder, "center", *center), program(folder, "probe", "-c", path) as probe:
            time.sleep(3)
            send(0, FLOWS, 0.0, [], threading.Event())
            deadline = time.monotonic() + 20
            while len(set(flows(folder / "dump" / "sent"))) < FLOWS:
                if time.monotonic() > deadline:
                    sys.exit(f"{engine}: the flows were not delivered")
                time.sleep(0.2)
            status = Path(f"/proc/{probe.pid}/status").read_text()
            (peak,) = (line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))
            before, since = cpu_seconds(probe.pid), time.monotonic()
            time.sleep(IDLE_SECONDS)
            idle = (cpu_seconds(probe.pid) - before) / (time.monotonic() - since)
            return int(peak) / 1024, idle


def main() -> None:
    """Measure and print."""
    if os.geteuid() != 0:
        sys.exit("bench.footprint: packet sockets need root")
    sys.stdout.write("engine   first packet   resident   idle (a window a second)\n")
    for engine in sorted(engine_names()):
        start = median(start_seconds(engine) for _ in range(REPETITIONS))
        rest = [at_rest(engine) for _ in range(REPETITIONS)]
        memory, idle = (median(values) for values in zip(*rest, strict=True))
        sys.stdout.write(f"{engine:<8} {start:>10.2f} s {memory:>6.1f} MiB {100 * idle:>8.2f} %\n")


if __name__ == "__main__":
    main()
