"""Says whose TLS handshake failed and why; the core of gRPC tells it to nobody but its own log.

That log goes to descriptor 2, in lines such as these (shortened), of which the
first begins a record and those without the prefix go on with it::

    I1124 18:35:33.376349   17013 handshaker.cc:155] CallNextHandshakerLocked: error=UNKNOWN:
     Ssl handshake failed (TSI_PROTOCOL_FAILURE): …PEER_DID_NOT_RETURN_A_CERTIFICATE: …
     shutdown=false index=2, args={… grpc.internal.endpoint_peer_address=ipv4:10.0.0.7:41958, …}

So descriptor 2 becomes a pipe that a thread reads; what this process has to say
goes where it went before. The core never waits for the pipe: when it is full,
lines are lost, and nothing else is. Lost with a process that dies of a defect of
the core is what that said last.
"""

import logging
import os
import re
import sys
import threading
from collections.abc import Callable
from typing import Self, TextIO
from urllib.parse import unquote

from wakizashi.center.metrics import Metrics
from wakizashi.logs import last_words
from wakizashi.telemetry import Throttle

_log = logging.getLogger(__name__)

ENVIRONMENT = {"GRPC_VERBOSITY": "INFO", "GRPC_TRACE": "handshaker"}
"""What makes the core write such lines; to be set before grpc is imported."""

_RECORD = re.compile(r"([IWEF])\d{4} \d\d:\d\d:\d\d\.\d+ +\d+ [\w.]+:\d+\] (.*)", re.DOTALL)
_FAILED = re.compile(r"CallNextHandshakerLocked: error=(?!OK)(.*)", re.DOTALL)
_CONTINUES = re.compile(r"=== Source Location|src/core/| shutdown=|\s*$")
_PEER = re.compile(r"endpoint_peer_address=([^,\s]+),")
_CERTIFICATE = re.compile(r"CERTIFICATE_VERIFY_FAILED: ([a-z' ]+)")
_LIBRARY = re.compile(r"OPENSSL_internal:(\w+)")

Refused = Callable[[str, str], None]
"""Hears the peer's address and why its handshake failed."""


class HandshakeLog:
    """Reads what the core says of handshakes, while it is entered.

    Enter it before anything of the core is made: that has something to say first.
    """

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._throttle = Throttle(_log)
        self._before: TextIO | None = None
        self._out: TextIO | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        """Take descriptor 2, unless the core was told to say something else there."""
        if any(os.environ.get(key) != value for key, value in ENVIRONMENT.items()):
            return self
        reader, writer = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(writer, False)
        self._before = sys.stderr
        self._before.flush()
        self._out = os.fdopen(os.dup(2), "w", buffering=1, errors="backslashreplace")
        os.dup2(writer, 2)
        os.close(writer)
        self._speak_through(self._before, self._out)
        self._thread = threading.Thread(
            target=self._read, args=(reader, self._out), name="handshakes", daemon=True
        )
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        """Give descriptor 2 back."""
        if self._before is None or self._out is None or self._thread is None:
            return
        os.dup2(self._out.fileno(), 2)  # the last writing end of the pipe
        self._thread.join(1.0)
        self._speak_through(self._out, self._before)
        self._out.close()
        self._before = None

    def _refused(self, peer: str, why: str) -> None:
        if not why:  # as of a balancer that looks whether the port is open
            _log.debug("%s: went away in the TLS handshake", peer)
            return
        self._metrics.refused.labels("handshake").inc()
        host = peer.rpartition(":")[0]
        self._throttle.warning(f"{host} {why}", f"{peer}: TLS handshake refused: {why}")

    def _speak_through(self, old: TextIO, new: TextIO) -> None:
        sys.stderr = new
        for handler in logging.root.handlers:
            if isinstance(handler, logging.StreamHandler) and handler.stream is old:
                handler.setStream(new)

    def _read(self, reader: int, out: TextIO) -> None:
        def foreign(line: str) -> None:
            text = line.rstrip("\n")
            out.write(f"{last_words(text, text)}\n")

        records = Records(self._refused, foreign)
        with os.fdopen(reader, encoding="utf-8", errors="replace") as lines:
            for line in lines:
                records.take(line)


class Records:
    """The core's lines, one after another. Pure.

    Args:
        refused: hears of failed handshakes.
        foreign: hears of lines that are not the core's, and of its last words.
    """

    def __init__(self, refused: Refused, foreign: Callable[[str], object]) -> None:
        self._refused, self._foreign = refused, foreign
        self._failure: str | None = None

    def take(self, line: str) -> None:
        """The next line, with its end."""
        begins = _RECORD.match(line)
        if begins:
            failed = _FAILED.match(begins[2])
            self._failure = failed[1] if failed else None
        if begins[1] == "F" if begins else not _CONTINUES.match(line):
            self._foreign(line)
        if self._failure is not None and (peer := _PEER.search(line)):
            self._refused(unquote(peer[1]), reason(self._failure))
            self._failure = None


def reason(failure: str) -> str:
    """Why a handshake failed, for a person; empty if the client just went away."""
    if certificate := _CERTIFICATE.search(failure):
        return f"its certificate is refused: {certificate[1].strip()}"
    if "PEER_DID_NOT_RETURN_A_CERTIFICATE" in failure:
        return "it showed no certificate; set tls.cert and tls.key of the probe"
    if "WRONG_VERSION_NUMBER" in failure or "HTTP_REQUEST" in failure:
        return "it speaks no TLS; set tls of the probe"
    if library := _LIBRARY.search(failure):
        return library[1].lower().replace("_", " ")
    return ""
