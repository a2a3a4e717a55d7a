"""The health port under clients that do not behave."""

import http.client
import logging
import socket
import struct
import threading
import time
from collections.abc import Iterator

import pytest

from wakizashi.telemetry import MOST_KEYS, REPEAT_SECONDS, HealthServer, Throttle


@pytest.fixture
def served() -> Iterator[tuple[HealthServer, threading.Event]]:
    """A server whose metrics wait for the event."""
    go = threading.Event()

    def metrics() -> bytes:
        go.wait(10)
        return b"x" * 10_000_000

    server = HealthServer(
        "127.0.0.1",
        0,
        key="healthPort",
        live=lambda: None,
        ready=lambda: "not yet",
        metrics=metrics,
    )
    server.start()
    yield server, go
    server.close()


def test_client_that_goes_away_early_leaves_no_traceback(
    served: tuple[HealthServer, threading.Event],
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    server, go = served
    caplog.set_level(logging.DEBUG)
    for sent in (b"GET /healthz", b"GET /metrics HTTP/1.1\r\n\r\n"):
        with socket.create_connection(("127.0.0.1", server.port)) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.sendall(sent)
    go.set()
    deadline = time.monotonic() + 10
    while len(caplog.records) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert {record.levelno for record in caplog.records} == {logging.DEBUG}
    assert all(record.getMessage().startswith("healthPort: ") for record in caplog.records)
    assert capfd.readouterr().err == ""


def test_states(served: tuple[HealthServer, threading.Event]) -> None:
    answers = []
    for path in ("/healthz", "/readyz", "/nothing"):
        connection = http.client.HTTPConnection("127.0.0.1", served[0].port, timeout=5)
        connection.request("GET", path)
        answer = connection.getresponse()
        answers.append((answer.status, answer.read()))
        connection.close()
    assert answers[:2] == [(200, b"ok\n"), (503, b"not yet\n")]
    assert answers[2][0] == 404 and b"/metrics" in answers[2][1]


def test_a_throttle_keeps_so_many_keys_and_no_more(caplog: pytest.LogCaptureFixture) -> None:
    """Clients choose the names in them: a fleet of made-up probes must fill neither memory nor log."""
    now = [0.0]
    throttle = Throttle(logging.getLogger("many"), clock=lambda: now[0])
    for number in range(5_000):
        throttle.warning(f"rejected {number}", f"refused {number}")
    assert len(throttle._seen) <= MOST_KEYS + 1
    assert len(caplog.records) == MOST_KEYS + 1
    throttle.warning("rejected 7", "again")  # one that is known is told apart still
    assert len(caplog.records) == MOST_KEYS + 1
    now[0] += REPEAT_SECONDS
    throttle.warning("new", "new")
    assert caplog.records[-1].getMessage() == "new"
    assert len(throttle._seen) == 1
