"""A scripted server that takes lines as InfluxDB does and keeps points by identity."""

import gzip
import http.server
import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from wakizashi.center.influx.lines import encode_lines
from wakizashi.model import StoredWindow

Points = dict[str, str]
"""``measurement,tags time`` to fields."""


def points_of(lines: Sequence[str]) -> Points:
    """Points by identity; a tag's value has no space that is not escaped."""
    found = {}
    for line in lines:
        head, fields, time = line.replace(r"\ ", "\0").split(" ")
        found[f"{head} {time}"] = fields
    return found


def points_of_windows(*windows: StoredWindow) -> Points:
    return points_of(encode_lines(windows, "traffic").splitlines())


class Exchange(http.server.BaseHTTPRequestHandler):
    """One request; what a script is called with."""

    server: "FakeInflux"

    def do_POST(self) -> None:
        self.server.requests.append(self.path)
        if self.path.startswith("/query"):
            self.lines()
            self.answer(200, {"results": [{}]})
        elif self.server.script:
            self.server.script.pop(0)(self)
        else:
            self.server.otherwise(self)

    def do_GET(self) -> None:
        """Where a followed redirect ends."""
        self.server.requests.append(f"GET {self.path}")
        self.answer(204)

    def lines(self) -> list[str]:
        """Read the body."""
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.headers.get("Content-Encoding") == "gzip":
            self.server.packed += 1
            body = gzip.decompress(body)
        return body.decode().splitlines()

    def commit(self, lines: Sequence[str]) -> None:
        self.server.points |= points_of(lines)
        self.server.commits += 1

    def answer(self, status: int, body: object = b"", **headers: str) -> None:
        """Answer; a body that is not bytes becomes JSON."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if status != 204:
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def reset(self) -> None:
        """End the connection with a RST."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.close()
        self.wfile = self.rfile  # nothing is left to flush

    def log_message(self, format: str, *args: object) -> None:
        """Silent."""


def take(exchange: Exchange) -> None:
    """What the server does unless told."""
    exchange.commit(exchange.lines())
    exchange.answer(204)


class FakeInflux(http.server.ThreadingHTTPServer):
    """The server. Each of ``script`` answers one write, ``otherwise`` all after them."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Exchange)
        self.points: Points = {}
        self.commits = 0
        self.packed = 0
        self.requests: list[str] = []
        self.script: list[Callable[[Exchange], None]] = []
        self.otherwise: Callable[[Exchange], None] = take
        self.over = threading.Event()
        """Set at the end of the test: what hangs may go on."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


@contextmanager
def fake_influx() -> Iterator[FakeInflux]:
    server = FakeInflux()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server
    finally:
        server.over.set()
        server.shutdown()
        server.server_close()
        thread.join()
