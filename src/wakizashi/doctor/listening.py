"""Ports that a daemon is to listen on: free, permitted, and an address of this host.

A port is tried by binding it, for an instant and without listening, so nobody is answered
and a daemon that has it is not disturbed.
"""

import contextlib
import errno
import http.client
import os
import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from wakizashi.doctor.finding import Finding, fault, note, ok

ASK_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Port:
    """What is to be listened on."""

    key: str
    """The configuration key of the number."""
    host: str
    number: int
    health: int
    """The port of the same daemon that gives its metrics."""

    @property
    def shown(self) -> str:
        """``HOST:PORT``."""
        return f"[{self.host}]:{self.number}" if ":" in self.host else f"{self.host}:{self.number}"


def look(port: Port, *, root: Path = Path("/")) -> Iterator[Finding]:
    """Whether a daemon could listen there."""
    error = bind(port)
    if error is None:
        yield ok("listen", f"{port.key}: {port.shown} is free")
    elif error.errno == errno.EADDRINUSE:
        owner = listener(port.number, root)
        name = command(owner, root) if owner is not None else ""
        shown = f"{port.key}: {port.shown} is in use"
        if name:
            shown += f" by {name} (process {owner})"
        if name.removeprefix("wakizashi.") in ("probe", "center") or is_ours(port):
            yield note("listen", shown, "nothing, if that is the daemon that is looked at")
        else:
            yield fault("listen", shown, f"choose another {port.key}, or stop what uses it")
    elif isinstance(error, PermissionError):
        yield fault(
            "listen",
            f"{port.key}: {port.shown} is not for this user",
            f"choose a {port.key} from 1024 on, or grant CAP_NET_BIND_SERVICE",
        )
    else:
        yield fault(
            "listen",
            f"{port.key}: can't listen on {port.shown}: {error.strerror or error}",
            "mend host: an address of this host, 0.0.0.0 or ::",
        )


def bind(port: Port) -> OSError | None:
    """Bind and let go; why that does not work."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            port.host, port.number, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as trying:
            # As daemons do: connections of one before that wait for their end are no obstacle.
            trying.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trying.bind(address)
    except OSError as error:
        return error
    return None


def is_ours(port: Port) -> bool:
    """Whether the daemon that is to listen there runs: it gives metrics, and they are ours."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(port.host, port.host)
    connection = http.client.HTTPConnection(host, port.health, timeout=ASK_SECONDS)
    with contextlib.closing(connection):
        try:
            connection.request("GET", "/metrics")
            return b"wakizashi_" in connection.getresponse().read(2**20)
        except (OSError, http.client.HTTPException):
            return False


def listener(number: int, root: Path = Path("/")) -> int | None:
    """The process that listens on a TCP port, where this user may know."""
    inodes = set()
    for table in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):
            for line in (root / "proc/thread-self/net" / table).read_text().splitlines()[1:]:
                words = line.split()
                # sl local_address rem_address st … inode; 0A is TCP_LISTEN
                if words[3] == "0A" and int(words[1].rpartition(":")[2], 16) == number:
                    inodes.add(f"socket:[{words[9]}]")
    for process in (root / "proc").iterdir() if inodes else ():
        if process.name.isdigit():
            with contextlib.suppress(OSError):
                for descriptor in (process / "fd").iterdir():
                    with contextlib.suppress(OSError):
                        if os.readlink(descriptor) in inodes:
                            return int(process.name)
    return None


def command(process: int, root: Path = Path("/")) -> str:
    """What a process was started as: its program or, of an interpreter, the script or module."""
    try:
        words = (root / f"proc/{process}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return ""
    names = [os.path.basename(word) for word in words if word]
    if len(names) > 1 and re.match(r"python[0-9.]*$", names[0]):
        names = [name for name in names[1:] if name != "-m"]
    return names[0] if names else ""
