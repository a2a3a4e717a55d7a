"""Something to see: a small shop that serves its visitors, as real HTTP between local addresses.

Nothing leaves the machine. Each address of 127.0.0.0/8 plays a host, each
conversation is a thread that asks one for documents, now and then, in waves of
its own. What a probe counts of it are real packets on the loopback device.
"""

import contextlib
import http.client
import http.server
import math
import random
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

HOSTS = {
    "web-1": "127.0.0.2",
    "web-2": "127.0.0.3",
    "api": "127.0.0.10",
    "cache": "127.0.0.11",
    "db": "127.0.0.12",
    "queue": "127.0.0.13",
    "mailer": "127.0.0.14",
    "backup": "127.0.0.20",
    "alice": "127.0.0.101",
    "bob": "127.0.0.102",
    "carol": "127.0.0.103",
}
"""The cast, by name."""


@dataclass(frozen=True, slots=True)
class Conversation:
    """Who asks whom."""

    client: str
    server: str
    pause_seconds: float
    """Mean time from an answer to the next question."""
    size: int
    """Bytes of an answer in the mean."""
    wave_seconds: float
    """After so long answers are as large again; between, from a fifth to nearly double."""


CONVERSATIONS = (
    Conversation("alice", "web-1", 0.25, 90_000, 11),
    Conversation("bob", "web-1", 0.40, 60_000, 17),
    Conversation("carol", "web-2", 0.30, 120_000, 23),
    Conversation("web-1", "api", 0.20, 40_000, 13),
    Conversation("web-2", "api", 0.25, 30_000, 19),
    Conversation("web-1", "cache", 0.15, 8_000, 7),
    Conversation("api", "db", 0.20, 70_000, 29),
    Conversation("api", "queue", 0.50, 3_000, 9),
    Conversation("mailer", "queue", 0.70, 5_000, 15),
    Conversation("backup", "db", 3.00, 500_000, 31),
)


def names() -> str:
    """The cast in the form of ``/etc/hosts``."""
    return "".join(f"{address} {name}\n" for name, address in HOSTS.items())


@contextlib.contextmanager
def running() -> Iterator[None]:
    """All conversations, until the block is left.

    Raises:
        OSError: there is no loopback device that is up.
    """
    with contextlib.ExitStack() as stack:
        servers = {
            name: stack.enter_context(_server(HOSTS[name]))
            for name in {conversation.server for conversation in CONVERSATIONS}
        }
        done = threading.Event()
        threads = [
            threading.Thread(target=_ask, args=(each, servers[each.server], done), daemon=True)
            for each in CONVERSATIONS
        ]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            done.set()
            for thread in threads:
                thread.join()


class _Handler(http.server.BaseHTTPRequestHandler):
    """Answers with as many bytes as the path says."""

    def do_GET(self) -> None:
        body = bytes(int(self.path[1:]))
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """The demo shows the traffic itself."""


@contextlib.contextmanager
def _server(address: str) -> Iterator[int]:
    """A server at an address; its port."""
    server = http.server.ThreadingHTTPServer((address, 0), _Handler)
    # Asked every 0.05 s whether it is to end: the default makes each of them take half a second.
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _ask(conversation: Conversation, port: int, done: threading.Event) -> None:
    client, server = HOSTS[conversation.client], HOSTS[conversation.server]
    while not done.wait(random.expovariate(1 / conversation.pause_seconds)):
        phase = 2 * math.pi * time.monotonic() / conversation.wave_seconds
        size = int(conversation.size * (1 + 0.8 * math.sin(phase)))
        connection = http.client.HTTPConnection(server, port, timeout=5, source_address=(client, 0))
        with contextlib.suppress(OSError):  # the demo ends, or the machine is too busy
            connection.request("GET", f"/{size}")
            connection.getresponse().read()
        connection.close()
