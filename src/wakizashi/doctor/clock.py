"""Clocks: is this host's synchronised, and how far is it from the center's?"""

import ctypes
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from wakizashi.doctor.finding import Finding, fault, note, ok

_TIME_ERROR = 5
"""What adjtimex(2) returns of a clock that nobody keeps right."""

_long, _int = ctypes.c_long, ctypes.c_int


class _Timex(ctypes.Structure):
    """``struct timex`` of include/uapi/linux/timex.h."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", _long), ("freq", _long), ("maxerror", _long), ("esterror", _long),
        ("status", _int),
        ("constant", _long), ("precision", _long), ("tolerance", _long),
        ("seconds", _long), ("microseconds", _long),
        ("tick", _long), ("ppsfreq", _long), ("jitter", _long),
        ("shift", _int),
        ("stabil", _long), ("jitcnt", _long), ("calcnt", _long), ("errcnt", _long),
        ("stbcnt", _long),
        ("tai", _int),
        ("rest", _int * 11),
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class KernelClock:
    """What the kernel says of its clock (man 2 adjtimex)."""

    synchronised: bool
    most_error_seconds: float


@dataclass(frozen=True, slots=True)
class Skew:
    """The center's clock less this one's, in seconds, and how far that may be off."""

    seconds: float
    error: float


def ask_kernel() -> KernelClock:
    """Ask; changes nothing.

    Raises:
        OSError: forbidden, as a seccomp profile may.
    """
    asked = _Timex()  # modes 0: only asks
    state = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.byref(asked))
    if state < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return kernel_clock(state, asked.maxerror)


def kernel_clock(state: int, most_error_us: int) -> KernelClock:
    """What a call of adjtimex(2) has said."""
    return KernelClock(state != _TIME_ERROR, most_error_us / 1e6)


TIMESYNCD = Path("/run/systemd/timesync/synchronized")
"""Made by systemd-timesyncd when it has set the clock."""


def evidence() -> tuple[KernelClock | OSError, bool]:
    """What :func:`look` judges."""
    try:
        return ask_kernel(), TIMESYNCD.exists()
    except OSError as error:
        return error, TIMESYNCD.exists()


def look(clock: KernelClock | OSError, timesyncd: bool) -> Iterator[Finding]:
    """Whether somebody keeps the clock right."""
    if isinstance(clock, OSError):
        yield note(
            "clock", f"the kernel does not tell of it: {clock.strerror}", "look on the host itself"
        )
    elif clock.synchronised:
        yield ok("clock", f"synchronised, at most {clock.most_error_seconds:.3g} s off")
    elif timesyncd:
        yield ok("clock", "synchronised by systemd-timesyncd")
    else:
        yield note(
            "clock",
            "not synchronised: windows may come to stand at a wrong time",
            "run chronyd or systemd-timesyncd on the host (a container has the host's clock)",
        )


def measured(sent: float, answered: float, center: float) -> Skew:
    """Skew from Unix times: when a call began and ended here, and the center's time between.

    The center's moment is anywhere between the two (as in RFC 5905, 8).
    """
    return Skew(center - (sent + answered) / 2, (answered - sent) / 2)


def look_skew(skew: Skew, interval_seconds: int, peer: str) -> Finding:
    """Whether windows of this probe stand beside those of others of the same time."""
    least = max(0.0, abs(skew.seconds) - skew.error)
    shown = (
        f"{abs(skew.seconds):.3f} s {'behind' if skew.seconds > 0 else 'ahead of'} {peer}, "
        f"give or take {skew.error:.3f} s"
    )
    remedy = "synchronise the clocks of both hosts: chronyd or systemd-timesyncd"
    if least > interval_seconds:
        text = (
            f"{shown}: more than capInterval ({interval_seconds} s), so windows lie in a wrong time"
        )
        return fault("skew", text, remedy)
    if least > max(0.5, interval_seconds / 10):
        return note("skew", f"{shown}: capInterval is {interval_seconds} s", remedy)
    return ok("skew", shown)
