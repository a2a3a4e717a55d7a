"""What a dashboard's questions take: ``python -m bench.reading [BACKEND …]``.

A month of windows, 1,000 pairs of addresses seen by 20 probes, 1,000,000 records, written
by the backend itself to a database of its own; then each question some times, and the
fastest told, beside the rows of the answer. Nothing is kept. MongoDB is mongod, or FerretDB
1 where there is none, with a 200th of the records: that is slow to write to.
"""

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

from bench.center.process import Process, free_port, share_cpus
from bench.center.servers import KINDS
from wakizashi.center.backend import BY_KEYS, Backend, backend_names, open_backend
from wakizashi.center.config import load_center
from wakizashi.model import Ledger, LedgerRecord, StoredWindow, Tally, TrafficRecord

PROBES, PAIRS, WINDOWS = 20, 50, 1_000
"""Pairs and windows of each probe."""
SMALL = 200
"""Into so many parts the number of windows is divided where writing is slow."""
REPETITIONS = 5
DAY_MS, HOUR_MS = 86_400_000, 3_600_000
START_MS, SPAN_MS = 19_700 * DAY_MS, 30 * DAY_MS
_FOREVER = 3_155_760_000
_TALLY = Tally(100, 100_000)


def main(names: Iterable[str]) -> None:
    """Measure and print."""
    print(f"{'':10} {'records':>9}  {'question':36} {'rows':>7} {'seconds':>8}")
    for name in names:
        with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
            windows = WINDOWS // (SMALL if name == "mongodb" else 1)
            settings = [*start(name, Path(folder), stack), f"type={name}", "timeout=60"]
            overrides = [f"backendConfig.{setting}" for setting in settings]
            config = load_center(None, overrides, {}).backendConfig
            with closing(open_backend(config)) as backend:
                for number in range(windows):
                    backend.write(list(stored(number, SPAN_MS // windows)))
            with closing(open_backend(config, read_only=True)) as backend:
                for question, ask in _questions(backend):
                    rows, seconds = _measure(ask)
                    count = f"{PROBES * PAIRS * windows:,}"
                    print(f"{name:10} {count:>9}  {question:36} {rows:7,} {seconds:8.3f}")


def stored(number: int, length_ms: int, since_ms: int = START_MS) -> Iterator[StoredWindow]:
    """One window of each probe; half of the records go out, half come in."""
    start = since_ms + number * length_ms
    for probe in range(PROBES):
        name, own = f"probe-{probe:02}", f"10.0.{probe}.1"
        records = []
        for pair in range(PAIRS):
            ends = (own, f"10.1.{probe}.{pair}")
            source, destination = ends if pair % 2 else ends[::-1]
            size = 1_000 + (7 * number + 13 * pair) % 5_000
            records.append(TrafficRecord(start, name, own, source, destination, size, 1 + pair))
        ledger = LedgerRecord(start, name, "eth0", number, length_ms, Ledger(*[_TALLY] * 7))
        yield StoredWindow(name, start, (), tuple(records), (ledger,))


def _questions(backend: Backend) -> Iterator[tuple[str, Callable[[], int]]]:
    """What is asked, and how; the number of rows."""
    span = (START_MS, START_MS + SPAN_MS)
    pairs = [
        {"srcIP": f"10.0.{probe}.1", "dstIP": f"10.1.{probe}.{pair}"}
        for probe in range(PROBES)
        for pair in (1, 3)
    ]
    step = 6 * HOUR_MS

    def count(rows: Iterable[object]) -> int:
        return sum(1 for _ in rows)

    yield "by probe, probeIP, srcIP, dstIP", lambda: count(backend.traffic(*span, BY_KEYS))
    yield (
        "40 pairs, steps of 6 h",
        lambda: count(
            backend.traffic(*span, ("srcIP", "dstIP"), step_ms=step, where=[pairs]),
        ),
    )
    yield "all together, steps of 6 h", lambda: count(backend.traffic(*span, step_ms=step))
    yield "sums of ledgers", lambda: count(backend.ledger_sums(*span))


def _measure(ask: Callable[[], int]) -> tuple[int, float]:
    took = []
    rows = 0
    for _ in range(REPETITIONS):
        before = time.perf_counter()
        rows = ask()
        took.append(time.perf_counter() - before)
    return rows, min(took)


# -- databases -------------------------------------------------------------------------------


def start(name: str, folder: Path, stack: ExitStack) -> list[str]:
    """Start a server where there is one; what the center is told of it, and to keep everything."""
    cpus = share_cpus(os.sched_getaffinity(0))
    if name == "mongodb":
        port = free_port()
        process = Process(_mongo(folder, port), folder / "log", cpus.center | cpus.others)
        stack.callback(process.stop)
        uri = f"mongodb://127.0.0.1:{port}"
        return [f"mongoConfig.mongoURI={uri}/?serverSelectionTimeoutMS=30000", "mongoConfig.ttl=0"]
    database = KINDS[name](folder, cpus.center | cpus.others)
    stack.callback(database.stop)
    database.start()
    settings = [text.removeprefix("backendConfig.") for text in database.center_settings()]
    keep = {"sqlite": "sqliteConfig.ttl", "redis": "redisConfig.ttl"}
    return [*settings, *([f"{keep[name]}={_FOREVER}"] if name in keep else [])]


def _mongo(folder: Path, port: int) -> list[str]:
    mongod = shutil.which("mongod")
    if mongod is not None:
        return [mongod, f"--dbpath={folder}", f"--port={port}", "--bind_ip=127.0.0.1"]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "wakizashi"
    for ferretdb in sorted(cache.glob("ferretdb-*")):
        where = [
            f"--listen-addr=127.0.0.1:{port}",
            f"--state-dir={folder}",
            "--debug-addr=-",
            "--log-level=error",
        ]
        url = f"--sqlite-url=file:{folder}/?_pragma=synchronous(off)"
        return [str(ferretdb), "--handler=sqlite", url, *where, "--telemetry=disable"]
    raise SystemExit("there is no mongod and no FerretDB; tests/build-ferretdb.sh builds one")


if __name__ == "__main__":
    main(sys.argv[1:] or backend_names())
