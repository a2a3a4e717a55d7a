"""The kernel, and what this process may ask of it: files of ``/proc`` and ``/sys``."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from wakizashi.doctor.finding import Finding, fault, note, ok

NET_BIND_SERVICE, NET_ADMIN, NET_RAW, SYS_ADMIN, BPF = 10, 12, 13, 21, 39
"""Numbers of capabilities, include/uapi/linux/capability.h."""
_NAMES = {
    NET_RAW: "CAP_NET_RAW",
    BPF: "CAP_BPF",
    NET_ADMIN: "CAP_NET_ADMIN",
    SYS_ADMIN: "CAP_SYS_ADMIN",
    NET_BIND_SERVICE: "CAP_NET_BIND_SERVICE",
}

FOR_EBPF = (5, 10)
FOR_LOOPBACK = (4, 20)
"""PACKET_IGNORE_OUTGOING came with it."""

_GRANT = (
    "run as root, or grant CAP_NET_RAW and CAP_BPF: `setcap cap_net_raw,cap_bpf+ep` on the binary, "
    "`AmbientCapabilities=` in systemd, `securityContext.capabilities.add` in Kubernetes"
)


def version(release: str) -> tuple[int, int]:
    """The first two numbers of a kernel's release; (0, 0) if it has none."""
    match = re.match(r"(\d+)\.(\d+)", release)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def effective(status: str) -> frozenset[int]:
    """The effective capabilities in a ``/proc/PID/status``."""
    match = re.search(r"^CapEff:\s*([0-9a-f]+)$", status, re.MULTILINE)
    bits = int(match[1], 16) if match else 0
    return frozenset(bit for bit in range(bits.bit_length()) if bits >> bit & 1)


def look_kernel(
    release: str, machine: str, *, root: Path = Path("/"), captures: bool = True
) -> Iterator[Finding]:
    """Whether the kernel is new enough, and what an administrator took away from it."""
    shown = f"Linux {release}, {machine}"
    number = version(release)
    if number < FOR_LOOPBACK and captures:
        yield fault(
            "kernel",
            f"{shown} is older than 4.20: the device lo can't be captured",
            "update the kernel, or leave lo out of networkDevs",
        )
    elif number < FOR_EBPF and captures:
        yield note(
            "kernel", f"{shown} is older than 5.10: no engine ebpf", "update it for that engine"
        )
    else:
        yield ok("kernel", shown)
    if not captures:
        return
    lockdown = _read(root / "sys/kernel/security/lockdown")
    chosen = re.search(r"\[(\w+)\]", lockdown)
    if chosen and chosen[1] == "confidentiality":
        yield note(
            "kernel",
            "lockdown is confidentiality",
            "if the engine ebpf is refused that may be why: integrity permits it",
        )
    if _read(root / "proc/sys/net/core/bpf_jit_enable") == "0":
        yield note(
            "kernel",
            "net.core.bpf_jit_enable is 0: the kernel interprets programs, several times slower",
            "sysctl net.core.bpf_jit_enable=1",
        )


def look_capabilities(held: frozenset[int], uid: int, capture: str) -> Iterator[Finding]:
    """Whether this process may capture; the probe may if it is started with the same rights."""
    shown = f"uid {uid} with {_shown(held)}"
    if NET_RAW not in held:
        yield fault("capabilities", f"{shown}: without CAP_NET_RAW nothing is captured", _GRANT)
    elif not held & {BPF, SYS_ADMIN}:
        judge = fault if capture == "ebpf" else note
        yield judge("capabilities", f"{shown}: without CAP_BPF no engine ebpf", _GRANT)
    else:
        yield ok("capabilities", shown)


def _shown(held: frozenset[int]) -> str:
    names = [name for bit, name in _NAMES.items() if bit in held]
    return ", ".join(names) or "no capability that matters"


def _read(path: Path) -> str:
    """A setting; empty where it is not there, or not for this user."""
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def running() -> tuple[int, int]:
    """The version of this kernel."""
    return version(os.uname().release)


def held(root: Path = Path("/")) -> frozenset[int]:
    """What this thread may: the numbers of its effective capabilities."""
    return effective(_read(root / "proc/thread-self/status"))
