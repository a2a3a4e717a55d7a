"""What this process may do that others may not, and giving it up for good.

Capabilities belong to threads (man 7 capabilities): whoever starts a thread gives it
its own. So :func:`drop` comes before any other thread, and makes sure of that. It
can't be undone: nothing is left in the bounding set of what was started as root, and
with ``no_new_privs`` no program that is executed later gains anything.
"""

import contextlib
import ctypes
import os
import signal
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

from wakizashi.errors import WakizashiError

# include/uapi/linux/prctl.h and capability.h
_PR_SET_PDEATHSIG = 1
_PR_SET_KEEPCAPS, _PR_CAPBSET_READ, _PR_CAPBSET_DROP = 8, 23, 24
_PR_SET_NO_NEW_PRIVS, _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 38, 47, 4
_CAPABILITY_VERSION_3 = 0x20080522
_FIRST_FREE_PORT = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")

_libc = ctypes.CDLL(None, use_errno=True)


class Capability(IntEnum):
    """The capabilities that are spoken of here, by their numbers."""

    SETGID = 6
    SETUID = 7
    SETPCAP = 8
    NET_BIND_SERVICE = 10
    NET_RAW = 13
    BPF = 39


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Sets(ctypes.Structure):
    """Half of the sets of a thread: 32 capabilities."""

    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


@dataclass(frozen=True, slots=True)
class Held:
    """What one thread holds, as ``/proc/PID/task/TID/status`` tells. Sets are bit masks."""

    name: str
    inheritable: int
    permitted: int
    effective: int
    bounding: int
    ambient: int
    no_new_privs: bool
    uids: frozenset[int]
    """Real, effective, saved and that of the file system."""
    gids: frozenset[int]
    groups: frozenset[int]

    def has(self, *wanted: Capability) -> bool:
        """Whether all of these are in effect."""
        return mask(wanted) & ~self.effective == 0


def mask(capabilities: Collection[Capability]) -> int:
    """A set as the kernel writes it."""
    return sum(1 << capability for capability in set(capabilities))


def names(capabilities: int) -> str:
    """A set for people: ``CAP_NET_RAW and CAP_BPF``; those without a name here by number."""
    known = {int(capability): f"CAP_{capability.name}" for capability in Capability}
    said = [known.get(bit, f"CAP_{bit}") for bit in range(64) if capabilities >> bit & 1]
    return " and ".join(said) or "no capability"


def held(task: str = "/proc/thread-self") -> Held:
    """What a thread holds, this one unless told.

    Raises:
        OSError: there is no such thread, or no /proc.
    """
    text = Path(task, "status").read_text()
    fields = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)

    def numbers(key: str) -> frozenset[int]:
        return frozenset(map(int, fields[key].split()))

    return Held(
        name=fields["Name"].strip(),
        inheritable=int(fields["CapInh"], 16),
        permitted=int(fields["CapPrm"], 16),
        effective=int(fields["CapEff"], 16),
        bounding=int(fields["CapBnd"], 16),
        ambient=int(fields["CapAmb"], 16),
        no_new_privs=fields["NoNewPrivs"].strip() == "1",
        uids=numbers("Uid"),
        gids=numbers("Gid"),
        groups=numbers("Groups"),
    )


def for_ports(*ports: int | None) -> frozenset[Capability]:
    """What it takes to listen on these ports: nothing as a rule."""
    try:
        first_free = int(_FIRST_FREE_PORT.read_text())
    except OSError:  # hidden, as by systemd's ProcSubset=pid
        first_free = 1024
    low = any(port is not None and port < first_free for port in ports)
    return frozenset({Capability.NET_BIND_SERVICE} if low else ())


def drop(keep: Collection[Capability], ids: tuple[int, int] | None = None) -> Held:
    """Give up all capabilities but those to ``keep``, and become user and group ``ids``.

    What is kept and was not there is not there afterwards either. Without ``ids`` the
    user stays. Returns what is held now.

    Raises:
        OSError: the kernel does not let this process become that user.
        WakizashiError: another thread is there that keeps what this one gave up.
    """
    before = held()
    kept = mask(keep) & before.permitted
    if before.has(Capability.SETPCAP):
        for capability in _bounding():
            _prctl(_PR_CAPBSET_DROP, capability)
    _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
    if ids is not None:
        _become(*ids)
    elif before.has(Capability.SETGID) and before.groups:
        with contextlib.suppress(PermissionError):  # a user namespace may forbid it
            os.setgroups([])
    if (before.inheritable, before.permitted, before.effective) != (0, kept, kept) or ids:
        _capset(kept)
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    return _verified(kept)


def _become(uid: int, gid: int) -> None:
    os.setgroups([])
    os.setresgid(gid, gid, gid)
    _prctl(_PR_SET_KEEPCAPS, 1)  # else all are gone with uid 0
    os.setresuid(uid, uid, uid)
    _prctl(_PR_SET_KEEPCAPS, 0)


def _bounding() -> Iterator[int]:
    for capability in range(64):
        state = _libc.prctl(_PR_CAPBSET_READ, ctypes.c_ulong(capability), *_ZEROS)
        if state < 0:  # EINVAL: the kernel knows no more
            return
        if state:
            yield capability


_ZEROS = (ctypes.c_ulong(0),) * 3


def end_with_parent(parent: int) -> None:
    """Have the kernel send this process SIGTERM when ``parent`` ends, however it does.

    For a child between fork and exec. It holds until the process becomes another user.
    """
    _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it has ended already
        signal.raise_signal(signal.SIGTERM)


def _prctl(option: int, value: int) -> None:
    if _libc.prctl(option, ctypes.c_ulong(value), *_ZEROS):
        code = ctypes.get_errno()
        raise OSError(code, f"prctl {option}: {os.strerror(code)}")


def _capset(kept: int) -> None:
    halves = [kept >> shift & 0xFFFFFFFF for shift in (0, 32)]
    sets = (_Sets * 2)(*(_Sets(half, half, 0) for half in halves))
    if _libc.capset(ctypes.byref(_Header(_CAPABILITY_VERSION_3, 0)), sets):
        code = ctypes.get_errno()
        raise OSError(code, f"capset: {os.strerror(code)}")


def _verified(kept: int) -> Held:
    """What every thread holds now, for it is to be the same."""
    mine = held()
    tasks = list(Path("/proc/self/task").iterdir())
    for task in tasks:
        its = held(str(task))
        sets = its.inheritable, its.permitted, its.effective, its.ambient
        if sets != (0, kept, kept, 0) or not its.no_new_privs or its.uids != mine.uids:
            raise WakizashiError(
                f"the thread {its.name} of this process keeps {names(its.permitted)} as uid "
                f"{', '.join(map(str, sorted(its.uids)))}; this is a defect of wakizashi: it "
                "started a thread before it gave up its privileges"
            )
    return mine
