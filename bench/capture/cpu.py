"""CPU time: of the whole machine from ``/proc/stat``, of a program's processes from its cgroup."""

import os
import platform
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from bench.capture.results import BenchError

_TICKS = os.sysconf("SC_CLK_TCK")
_REMOVE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class MachineTimes:
    """Seconds since boot, summed over all CPUs, by the kernel's account."""

    cpus: int
    sampled: float
    """user, nice, system, irq, softirq: attributed tick by tick where the kernel has no finer clock."""
    idle: float
    """idle and iowait: by the clock, where the tick stops on an idle CPU (NO_HZ)."""
    steal: float


def parse_stat(text: str, ticks: int = _TICKS) -> MachineTimes:
    """The machine's times in a ``/proc/stat`` (proc_stat(5); guest time is in user already)."""
    lines = text.splitlines()
    fields = next(line for line in lines if line.startswith("cpu ")).split()[1:]
    user, nice, system, idle, iowait, irq, softirq, steal = (int(f) / ticks for f in fields[:8])
    cpus = sum(line.startswith("cpu") and not line.startswith("cpu ") for line in lines)
    return MachineTimes(
        cpus=cpus,
        sampled=user + nice + system + irq + softirq,
        idle=idle + iowait,
        steal=steal,
    )


def machine_times() -> MachineTimes:
    """The machine's times now."""
    return parse_stat(Path("/proc/stat").read_text())


def busy(before: MachineTimes, after: MachineTimes, wall_seconds: float) -> float:
    """CPU seconds in which the machine did something, in ``wall_seconds``.

    Not the sum of user, system and the others: with tick accounting, work that
    is woken by timers, as a paced sender is, falls between the samples.
    """
    idle = after.idle - before.idle + after.steal - before.steal
    return wall_seconds * after.cpus - idle


class Group:
    """A cgroup for one program and all its children and threads; its CPU time is exact.

    Of version 2 where it is mounted (``cpu.stat`` is there without any controller),
    else ``cpuacct`` of version 1.
    """

    def __init__(self, name: str) -> None:
        mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
        second = [where for _, where, kind, *_ in mounts if kind == "cgroup2"]
        first = [m[1] for m in mounts if m[2] == "cgroup" and "cpuacct" in m[3].split(",")]
        for where in (*second, *first):
            self.path = Path(where) / name
            try:
                self.path.mkdir()
            except OSError:
                continue
            return
        raise BenchError(
            "no cgroup can be made (neither of version 2 nor cpuacct), so the CPU time of a "
            "program's processes can't be told; run as root, outside of a container"
        )

    @property
    def procs(self) -> Path:
        """The file that a process writes its number to, to be counted here."""
        return self.path / "cgroup.procs"

    def seconds(self) -> float:
        """CPU time so far, of those that ended too."""
        try:
            text = (self.path / "cpu.stat").read_text()
            return int(text.split("usage_usec", 1)[1].split()[0]) / 1e6
        except (FileNotFoundError, IndexError):
            return int((self.path / "cpuacct.usage").read_text()) / 1e9

    def remove(self) -> None:
        """Remove the group; what still runs in it is killed."""
        deadline = time.monotonic() + _REMOVE_SECONDS
        while True:
            for pid in self.procs.read_text().split():
                os.kill(int(pid), signal.SIGKILL)
            try:
                self.path.rmdir()
                return
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)


def machine_facts() -> dict[str, str]:
    """Kernel, CPU and Python of this machine; nothing that names it."""
    cpuinfo = Path("/proc/cpuinfo").read_text()
    models = [
        line.split(":", 1)[1].strip()
        for line in cpuinfo.splitlines()
        if line.startswith(("model name", "Model"))
    ]
    return {
        "kernel": platform.release(),
        "architecture": platform.machine(),
        "cpu": models[0] if models else platform.processor() or "unknown",
        "cores": str(os.cpu_count()),
        "hypervisor": "yes" if " hypervisor" in cpuinfo else "no",
        "python": platform.python_version(),
    }
