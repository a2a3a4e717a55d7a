"""What operators see beside log lines: an HTTP port with health and metrics.

A repeated trouble is logged at most once a minute (:class:`Throttle`), with how often
it was seen.
"""

import logging
import sys
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import http.server

from wakizashi.errors import WakizashiError

MOST_KEYS = 1_000
"""Troubles that a throttle tells apart."""
REPEAT_SECONDS = 60.0

_log = logging.getLogger(__name__)


class Throttle:
    """Logs a repeated trouble at most once a minute for each key. Threads may share it."""

    def __init__(self, logger: logging.Logger, clock: Callable[[], float] = time.monotonic) -> None:
        self._logger = logger
        self._clock = clock
        self._lock = threading.Lock()
        self._seen: dict[str, tuple[float, int]] = {}

    def warning(self, key: str, message: str) -> None:
        """Log a warning unless one of ``key`` was logged less than a minute ago."""
        self._log(logging.WARNING, key, message)

    def error(self, key: str, message: str) -> None:
        """Log an error unless one of ``key`` was logged less than a minute ago."""
        self._log(logging.ERROR, key, message)

    def clear(self, key: str) -> bool:
        """Forget ``key``, for the trouble is over; whether there was any."""
        with self._lock:
            return self._seen.pop(key, None) is not None

    def _place(self, key: str, now: float) -> str:
        """``key``, or where there are too many the one that the rest of them share.

        Keys hold names that clients choose: without a bound these would fill memory and log.
        """
        if key in self._seen or len(self._seen) < MOST_KEYS:
            return key
        self._seen = {k: v for k, v in self._seen.items() if now - v[0] < REPEAT_SECONDS}
        return key if len(self._seen) < MOST_KEYS else "the others"

    def _log(self, level: int, key: str, message: str) -> None:
        now = self._clock()
        with self._lock:
            key = self._place(key, now)
            last, suppressed = self._seen.get(key, (float("-inf"), 0))
            if now - last < REPEAT_SECONDS:
                self._seen[key] = (last, suppressed + 1)
                return
            self._seen[key] = (now, 0)
        more = f" ({suppressed} more times since)" if suppressed else ""
        self._logger.log(level, "%s%s", message, more)


class HealthServer:
    """``/healthz``, ``/readyz`` and ``/metrics`` over HTTP, on threads of its own.

    Args:
        host: address to listen on.
        port: TCP port; 0 takes a free one.
        key: the configuration key of the port, for messages.
        live: None while the process works, else what does not.
        ready: None while it takes work, else why not.
        metrics: the metrics in Prometheus' text format.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        key: str,
        live: Callable[[], str | None],
        ready: Callable[[], str | None],
        metrics: Callable[[], bytes],
    ) -> None:
        self._host, self._port, self._key = host, port, key
        self._routes: dict[str, Callable[[], tuple[int, bytes]]] = {
            "/healthz": lambda: _state(live()),
            "/readyz": lambda: _state(ready()),
            "/metrics": lambda: (200, metrics()),
        }
        self._server: http.server.ThreadingHTTPServer | None = None

    @property
    def port(self) -> int:
        """The port listened on."""
        return self._server.server_port if self._server else self._port

    def start(self) -> None:
        """Listen.

        Raises:
            WakizashiError: the port is taken, or not allowed.
        """
        try:
            self._server = _server_class(self._host, self._key)(
                (self._host, self._port), _handler(self._routes)
            )
        except OSError as error:
            raise WakizashiError(
                f"{self._key}: can't listen on {self._host}:{self._port}: {error.strerror}; "
                f"choose another {self._key}, or stop what uses it"
            ) from error
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, name="health", daemon=True).start()

    def close(self) -> None:
        """Stop listening."""
        if self._server:
            self._server.shutdown()
            self._server.server_close()
            self._server = None


def _state(trouble: str | None) -> tuple[int, bytes]:
    return (200, b"ok\n") if trouble is None else (503, f"{trouble}\n".encode())


# http.server costs 10 MB of memory: it is imported where a port is configured, and not before.
def _server_class(host: str, key: str) -> "type[http.server.ThreadingHTTPServer]":
    import http.server
    import socket

    class Server(http.server.ThreadingHTTPServer):
        address_family = socket.AF_INET6 if ":" in host else socket.AF_INET

        def server_bind(self) -> None:
            """Bind without the look-up of the own name that HTTPServer makes, which may block."""
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self.socket.bind(self.server_address)
            self.server_address = self.socket.getsockname()
            self.server_name, self.server_port = host, self.server_address[1]

        def handle_error(self, request: object, client_address: object) -> None:
            """A client that goes away early, as health checks do, is no news; else a traceback."""
            level = logging.DEBUG if isinstance(sys.exception(), OSError) else logging.ERROR
            _log.log(level, "%s: %s: %r", key, client_address, sys.exception())

    return Server


def _handler(
    routes: dict[str, Callable[[], tuple[int, bytes]]],
) -> "type[http.server.BaseHTTPRequestHandler]":
    import http.server

    class Handler(http.server.BaseHTTPRequestHandler):
        timeout = 10.0
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            route = routes.get(path)
            text = f"no {path}; there are {', '.join(routes)}\n".encode()
            status, body = route() if route else (404, text)
            self.send_response(status)
            kind = "version=0.0.4; " if path == "/metrics" else ""
            self.send_header("Content-Type", f"text/plain; {kind}charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Requests of health checks are no news."""

    return Handler
