"""What a database takes from a bare HTTP client: ``python -m bench.center.direct``.

Reads an :class:`Order` as a line of JSON, makes the lines (the ones that a center
makes of the same windows, 10,000 in a request), says ``ready``, waits for a line,
posts them on connections that are kept, and prints a :class:`Report`.
"""

import http.client
import json
import queue
import resource
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field

from bench.center.windows import Windows
from wakizashi import wire
from wakizashi.center.aggregate import aggregate
from wakizashi.center.influx.lines import encode_lines

LINES_A_REQUEST = 10_000


@dataclass(frozen=True, slots=True)
class Order:
    """What to post, and where."""

    port: int
    path: str
    probes: int
    records: int
    windows: int
    """For each probe."""
    first_start_ms: int
    in_flight: int


@dataclass(slots=True)
class Report:
    """What came of it."""

    points: int = 0
    wall_seconds: float = 0.0
    cpu_seconds: float = 0.0
    seconds: list[float] = field(default_factory=list)
    """Of each request."""
    fault: str = ""


def bodies(order: Order) -> Iterator[bytes]:
    """The requests: window after window of all probes, as they come in from a fleet."""
    windows = Windows(order.records, order.first_start_ms)
    lines: list[str] = []
    for number in range(order.windows):
        for probe in range(order.probes):
            stored = aggregate(wire.decode([windows.chunk(probe, number)]))
            lines += encode_lines([stored], "traffic").split("\n")
            while len(lines) >= LINES_A_REQUEST:
                yield "\n".join(lines[:LINES_A_REQUEST]).encode()
                lines = lines[LINES_A_REQUEST:]
    if lines:
        yield "\n".join(lines).encode()


def post(order: Order, waiting: "queue.SimpleQueue[bytes]", report: Report) -> None:
    """Post what waits on one connection."""
    connection = http.client.HTTPConnection("127.0.0.1", order.port, timeout=60)
    try:
        while True:
            body = waiting.get_nowait()
            begun = time.monotonic()
            connection.request("POST", order.path, body)
            answer = connection.getresponse()
            text = answer.read()
            report.seconds.append(time.monotonic() - begun)
            if answer.status != 204:
                report.fault = f"answers {answer.status}: {text[:200]!r}"
                return
    except queue.Empty:
        return
    except OSError as error:
        report.fault = str(error)
    finally:
        connection.close()


def main() -> None:
    """Do what standard input says."""
    order = Order(**json.loads(sys.stdin.readline()))
    waiting: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    report = Report()
    for body in bodies(order):
        report.points += body.count(b"\n") + 1
        waiting.put(body)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    threads = [
        threading.Thread(target=post, args=(order, waiting, report)) for _ in range(order.in_flight)
    ]
    before, begun = resource.getrusage(resource.RUSAGE_SELF), time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    report.wall_seconds = time.monotonic() - begun
    after = resource.getrusage(resource.RUSAGE_SELF)
    report.cpu_seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    sys.stdout.write(json.dumps(asdict(report)) + "\n")


if __name__ == "__main__":
    main()
