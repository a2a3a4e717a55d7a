"""The demo and the query, as a newcomer runs them."""

import contextlib
import csv
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from tests.center_servers import until

WAKIZASHI = (sys.executable, "-c", "from wakizashi.cli import main; main()")


@pytest.mark.skipif(os.geteuid() != 0 and "CI" not in os.environ, reason="needs root")
def test_demo_stops_by_itself_and_its_sums_agree() -> None:
    done = subprocess.run(
        [*WAKIZASHI, "demo", "--seconds", "6"], capture_output=True, text=True, timeout=90
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "they agree to the byte" in done.stdout
    last = done.stdout.rpartition("all pairs")[2]
    assert re.search(r"^127\.0\.0\.2 +127\.0\.0\.101 +[\d,]{7,} +\d+", last, re.MULTILINE)
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(os.geteuid() != 0 and "CI" not in os.environ, reason="needs root")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_demo_that_is_told_to_end_leaves_nothing_behind(number: int) -> None:
    with subprocess.Popen(
        [*WAKIZASHI, "demo"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as demo:
        assert demo.stdout is not None
        said = []
        for line in demo.stdout:  # the first table: both daemons run
            said.append(line)
            if line.startswith("srcIP"):
                break
        folder = said[0].split()[-1]
        assert len(running(folder)) == 3
        (page,) = re.findall(r"^demo: look at it on (http://127\.0\.0\.1:\d+)/", said[1])
        assert b"<title>" in urllib.request.urlopen(page, timeout=10).read()

        def talks() -> bool:
            shown = json.load(urllib.request.urlopen(f"{page}/api/v1/span?last=1m", timeout=10))
            return ("web-1", "alice") in {(r["src"], r["dst"]) for r in shown["talkers"]["rows"]}

        until(talks, "alice and web-1 are on the page by their names")
        demo.send_signal(number)
        out, faults = demo.communicate(timeout=60)
    assert demo.returncode == 0, out + faults
    assert "they agree to the byte" in out
    assert running(folder) == []
    assert not Path(folder).exists()


@pytest.mark.skipif(os.geteuid() != 0 and "CI" not in os.environ, reason="needs root")
def test_what_a_demo_has_started_ends_with_it_though_it_is_killed() -> None:
    with subprocess.Popen([*WAKIZASHI, "demo"], stdout=subprocess.PIPE, text=True) as demo:
        assert demo.stdout is not None
        said = []
        for line in demo.stdout:
            said.append(line)
            if line.startswith("srcIP"):
                break
        folder = said[0].split()[-1]
        assert len(running(folder)) == 3
        demo.kill()
    until(lambda: not running(folder), "center, probe and dashboard have ended", 30)
    shutil.rmtree(folder)


def running(word: str) -> list[str]:
    """The processes that have ``word`` in their command line."""
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            lines.append(path.read_text(errors="replace"))
    return [line for line in lines if word in line]


def query(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*WAKIZASHI, "query", *arguments], capture_output=True, text=True, timeout=60, check=False
    )


@pytest.fixture
def stored(tmp_path: Path) -> str:
    """A configuration whose SQLite file holds two pairs, one beyond 2^53 bytes."""
    from wakizashi.center.backend import open_backend
    from wakizashi.center.config import load_center
    from wakizashi.model import StoredWindow, TrafficRecord

    path = tmp_path / "center-config.yaml"
    path.write_text(
        json.dumps(
            {"backendConfig": {"type": "sqlite", "sqliteConfig": {"path": str(tmp_path / "t.db")}}}
        )
    )
    import time

    now = time.time_ns() // 1_000_000
    backend = open_backend(load_center(path, environment={}).backendConfig)
    for start, size in ((now - 2_000, 2**53 + 1), (now - 1_000, 2)):
        records = (
            TrafficRecord(start, "p", "10.0.0.1", "10.0.0.1", "10.0.0.2", size, 1),
            TrafficRecord(start, "p", "10.0.0.1", "10.0.0.2", "10.0.0.1", 5, 1),
        )
        backend.write([StoredWindow("p", start, (), records, ())])
    backend.close()
    return str(path)


def test_query_json_is_exact(stored: str) -> None:
    done = query("-c", stored, "--by", "srcIP,dstIP", "--format", "json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [
        {"srcIP": "10.0.0.1", "dstIP": "10.0.0.2", "size": 2**53 + 3, "packets": 2},
        {"srcIP": "10.0.0.2", "dstIP": "10.0.0.1", "size": 10, "packets": 2},
    ]


def test_query_records_have_the_fields_of_traffic_record(stored: str) -> None:
    rows = json.loads(query("-c", stored, "--format", "json").stdout)
    assert len(rows) == 4
    assert list(rows[0]) == ["timestamp", "probe", "probeIP", "srcIP", "dstIP", "size", "packets"]


def test_query_csv_and_table(stored: str) -> None:
    done = query("-c", stored, "--by", "dstIP", "--format", "csv")
    assert next(csv.DictReader(io.StringIO(done.stdout))) == {
        "dstIP": "10.0.0.2",
        "size": str(2**53 + 3),
        "packets": "2",
    }
    assert "9,007,199,254,740,995" in query("-c", stored, "--by", "dstIP").stdout


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (("--last", "soon"), 2, "--last: 'soon' is no span of time; write 90s, 10m"),
        (("--by", "colour"), 2, "--by: no field colour; there are probe"),
        (("-c", "/nonexistent.yaml"), 78, "/nonexistent.yaml: No such file"),
        (("--set", "backendConfig.sqliteConfig.path=/nonexistent.db"), 1, "/nonexistent.db"),
    ],
)
def test_query_faults_are_told(arguments: tuple[str, ...], code: int, text: str) -> None:
    done = query(*arguments)
    assert done.returncode == code, done.stderr
    assert text in done.stderr
    assert "Traceback" not in done.stderr
