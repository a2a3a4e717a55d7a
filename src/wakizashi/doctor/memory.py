"""Memory for what the engines hold: rings and maps, against what there is and what is permitted."""

import re
import resource
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from wakizashi.doctor.finding import Finding, fault, note, ok
from wakizashi.doctor.kernel import NET_ADMIN

MAP_BYTES = 16 * 2**20
"""About what the maps of 65,536 flows take; a limit below that refuses them."""
ENOUGH_OPTMEM = 20 * 2**10
"""net.core.optmem_max that a filter for as many addresses as the center may have fits into."""
MAPS_ARE_NO_LOCKED_MEMORY = (5, 11)


@dataclass(frozen=True, slots=True)
class Memory:
    """What there is, in bytes; None where it is not told."""

    available: int | None
    """To all of the host, or of the container if that is less."""
    locked: int | None
    """RLIMIT_MEMLOCK; None for no limit."""
    socket_buffer: int | None
    """net.core.rmem_max."""
    options: int | None
    """net.core.optmem_max, of one socket."""


def ask(root: Path = Path("/")) -> Memory:
    """What ``/proc`` and the process's control groups say."""
    found = re.search(r"^MemAvailable:\s*(\d+) kB", _read(root / "proc/meminfo"), re.MULTILINE)
    rooms = [int(found[1]) * 1024] if found else []
    rooms += _group_rooms(root)
    locked, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    return Memory(
        min(rooms) if rooms else None,
        None if locked == resource.RLIM_INFINITY else locked,
        _number(root / "proc/sys/net/core/rmem_max"),
        _number(root / "proc/sys/net/core/optmem_max"),
    )


def look(
    memory: Memory,
    *,
    engine: str,
    ring_bytes: int,
    devices: int,
    held: frozenset[int],
    kernel: tuple[int, int],
) -> Iterator[Finding]:
    """Whether the engine that is taken finds its memory."""
    if engine == "ebpf":
        if kernel < MAPS_ARE_NO_LOCKED_MEMORY and (memory.locked or MAP_BYTES) < MAP_BYTES:
            yield note(
                "memory",
                f"RLIMIT_MEMLOCK is {memory.locked} bytes, and this kernel counts maps as such",
                "raise it: `ulimit -l unlimited`, `LimitMEMLOCK=infinity` in systemd",
            )
        else:
            yield ok("memory", f"{size(memory.available)} available; no ring is needed")
        return
    needed = ring_bytes * devices
    shown = f"ringSize {size(ring_bytes)} for each of {devices} devices; {size(memory.available)} available"
    if memory.available is None or needed <= memory.available // 2:
        yield ok("memory", shown)
    elif needed <= memory.available:
        yield note("memory", f"{shown}: more than half of it", "lower ringSize if memory is short")
    else:
        yield fault("memory", shown, "lower ringSize, watch fewer devices, or give more memory")
    buffer = memory.socket_buffer
    if engine == "scapy" and buffer is not None and buffer < ring_bytes and NET_ADMIN not in held:
        yield note(
            "memory",
            f"net.core.rmem_max is {size(buffer)}: without CAP_NET_ADMIN a device has no more",
            f"sysctl net.core.rmem_max={ring_bytes}, or packets are dropped earlier",
        )
    if engine == "ring" and memory.options is not None and memory.options < ENOUGH_OPTMEM:
        yield note(
            "memory",
            f"net.core.optmem_max is {memory.options}: a center with many addresses is too much",
            f"sysctl net.core.optmem_max={ENOUGH_OPTMEM}",
        )


def size(value: int | None) -> str:
    """Bytes as people write them."""
    if value is None:
        return "an unknown number of bytes"
    for unit, factor in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if value >= factor:
            return (
                f"{value / factor:.3g} {unit}"
                if value < 1000 * factor
                else f"{value // factor} {unit}"
            )
    return f"{value} bytes"


def _group_rooms(root: Path) -> list[int]:
    """What is left to each control group (v2) that this process is in."""
    found = re.search(r"^0::(/.*)$", _read(root / "proc/self/cgroup"), re.MULTILINE)
    if not found:
        return []
    top = root / "sys/fs/cgroup"
    group = top / found[1].lstrip("/")
    rooms = []
    for level in (group, *group.parents):
        most, now = _number(level / "memory.max"), _number(level / "memory.current")
        if most is not None and now is not None:
            rooms.append(max(0, most - now))
        if level == top:
            break
    return rooms


def _number(path: Path) -> int | None:
    text = _read(path).strip()
    return int(text) if text.isdigit() else None


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
