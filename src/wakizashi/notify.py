"""What a daemon tells the service manager that started it (man 3 sd_notify).

A message is one datagram of ``KEY=VALUE`` lines to the socket that
``$NOTIFY_SOCKET`` names. Without that variable, as in a container, nothing is told.
A manager that does not listen is no reason to stop counting: that is logged, and
the daemon goes on.
"""

import errno
import logging
import os
import socket
import time
from collections.abc import Callable, Mapping
from typing import Self

from wakizashi.telemetry import Throttle

FEEDS = 3
"""Times that the watchdog is fed within the time it grants: so one that is lost costs nothing."""

SEND_SECONDS = 1.0
"""How long a manager that is busy may hold up the loop that tells it of a state, once."""

_log = logging.getLogger(__name__)


class Supervisor:
    """The service manager, if there is one. Belongs to the work loop of a daemon.

    Args:
        environment: ``NOTIFY_SOCKET``, ``WATCHDOG_USEC`` and ``WATCHDOG_PID`` are read.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        environment: Mapping[str, str] = os.environ,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._throttle = Throttle(_log, clock)
        self._address = _address(environment.get("NOTIFY_SOCKET", ""))
        self.feed_seconds = _feed_seconds(environment) if self._address else None
        """How often the watchdog is to be fed; None if it is off."""
        self._feed_at = 0.0
        self._status = ""
        self._listens = True
        """Whether it took the last state in time: one that did not is waited for no more."""
        self._socket = None
        if self._address:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._socket is not None:
            self._socket.close()

    def ready(self) -> None:
        """The start, or a reload, is over."""
        self._state("READY=1")

    def reloading(self) -> None:
        """The configuration is being read again; :meth:`ready` ends it."""
        # The time tells the manager that this answers its signal, and not an older one.
        self._state(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """A graceful stop has begun."""
        self._state("STOPPING=1")

    def status(self, text: str) -> None:
        """One line for people: ``systemctl status`` shows it."""
        if text != self._status and self._send(f"STATUS={' '.join(text.split())}"):
            self._status = text

    def alive(self) -> None:
        """Feed the watchdog, if it is time to: the work loop calls this on each of its rounds."""
        now = self._clock()
        if self.feed_seconds is not None and now >= self._feed_at:
            self._feed_at = now + self.feed_seconds
            self._send("WATCHDOG=1")

    def _state(self, message: str) -> None:
        self._listens = self._send(message, SEND_SECONDS if self._listens else 0.0)

    def _send(self, message: str, seconds: float = 0.0) -> bool:
        """Whether the manager has it, or there is none; waits so long for room for it."""
        if self._socket is None:
            return True
        self._socket.settimeout(seconds)
        try:
            self._socket.sendto(message.encode(), self._address)
        except OSError as error:
            reason = (error.errno != errno.EAGAIN and error.strerror) or "it does not listen"
            self._throttle.warning(
                "notify", f"NOTIFY_SOCKET: can't tell the service manager {message!r}: {reason}"
            )
            return False
        return True


def _address(path: str) -> str:
    """The socket's address: a path, or the name of an abstract socket behind ``@``."""
    if path.startswith("@"):
        return f"\0{path[1:]}"
    if path and not path.startswith("/"):
        _log.warning(
            "NOTIFY_SOCKET: %s is no path and no @name; the service manager hears nothing", path
        )
        return ""
    return path


def _feed_seconds(environment: Mapping[str, str]) -> float | None:
    granted = environment.get("WATCHDOG_USEC", "")
    # The manager knows of a single-file program the process that unpacked it: our parent.
    ours = (str(os.getpid()), str(os.getppid()))
    if not granted or environment.get("WATCHDOG_PID", ours[0]) not in ours:
        return None
    if not granted.isdecimal() or int(granted) == 0:
        _log.warning("WATCHDOG_USEC: %r is no number of microseconds; nothing feeds it", granted)
        return None
    return int(granted) / 1e6 / FEEDS
