"""``wakizashi dashboard`` as a process: starts, answers, ends."""

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.center_servers import InfluxServer
from tests.center_windows import START
from tests.dashboard_data import END, SPAN, windows
from wakizashi.center.backend import open_backend
from wakizashi.center.config import load_center

WAKIZASHI = (sys.executable, "-c", "from wakizashi.cli import main; main()")


def fill(folder: Path, backend: dict[str, Any]) -> Path:
    """A configuration whose backend holds :func:`windows`."""
    path = folder / "center-config.yaml"
    path.write_text(json.dumps({"backendConfig": backend}))
    opened = open_backend(load_center(path, (), {}).backendConfig)
    opened.write(windows())
    opened.close()
    return path


@pytest.fixture
def config(tmp_path: Path) -> Path:
    sqlite = {"path": str(tmp_path / "w.db"), "ttl": 3_155_760_000}
    return fill(tmp_path, {"type": "sqlite", "sqliteConfig": sqlite})


def command(config: Path, *more: str) -> list[str]:
    listen = () if "--listen" in more else ("--listen", "127.0.0.1:0")
    return [*WAKIZASHI, "dashboard", "-c", str(config), "--no-dns", *listen, *more]


@contextmanager
def running(config: Path, *more: str) -> Iterator[tuple[subprocess.Popen[str], str, str]]:
    """The process, its address, and the line that it said."""
    with subprocess.Popen(
        command(config, *more), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None and process.stderr is not None
            line = process.stdout.readline()
            address = re.match(r"dashboard: (http://\S+) shows ", line)
            assert address, line + process.stderr.read()
            yield process, address[1], line
        finally:
            if process.poll() is None:
                process.kill()


def ended(process: subprocess.Popen[str]) -> tuple[str, str, float]:
    """What it said more, and how long it took to end."""
    started = time.monotonic()
    out, faults = process.communicate(timeout=30)
    return out, faults, time.monotonic() - started


def get(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=20) as answer:
        return json.loads(answer.read())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_says_where_it_is_answers_and_ends_at_once_while_a_page_asks(
    config: Path, number: signal.Signals
) -> None:
    with running(config) as (process, address, line):
        assert line == (
            f"dashboard: {address} shows SQLite at {config.parent / 'w.db'}; Ctrl-C ends it\n"
        )
        done = threading.Event()
        asked = threading.Event()

        def poll() -> None:
            host = address.removeprefix("http://")
            while not done.is_set():
                connection = http.client.HTTPConnection(host, timeout=5)
                try:
                    while not done.is_set():
                        connection.request("GET", f"/api/v1/river?{SPAN}")
                        connection.getresponse().read()
                        asked.set()
                except (OSError, http.client.HTTPException):
                    if process.poll() is not None:
                        return

        page = threading.Thread(target=poll)
        page.start()
        try:
            assert asked.wait(20)
            process.send_signal(number)
            out, faults, seconds = ended(process)
        finally:
            done.set()
            page.join()
        assert (process.returncode, out, faults) == (0, "", "")
        assert seconds < 1.5  # of which the half is this machine's


def check(address: str, config: Path) -> None:
    """What it answers is what ``wakizashi query`` says."""
    opened = open_backend(load_center(config, (), {}, serves=False).backendConfig, read_only=True)
    try:
        rows = list(opened.traffic(START, END, ("srcIP", "dstIP")))
    finally:
        opened.close()
    truth = {(row["srcIP"], row["dstIP"]): int(row["size"]) for row in rows}
    whole = sum(truth.values())
    river = get(f"{address}/api/v1/river?{SPAN}&top=5")
    assert river["total"]["bytes"] == whole
    for one in river["series"]:
        assert one["total"]["bytes"] == truth[one["key"]["srcIP"], one["key"]["dstIP"]]
    for filters in ("", "&probe=web&probe=db", "&host=10.0.0.2", "&probe=web&src=10.0.0.2"):
        span = get(f"{address}/api/v1/span?{SPAN}&rows=1000{filters}")
        assert sum(row["bytes"] for row in span["talkers"]["rows"]) == span["total"]["bytes"]
        if filters:
            assert 0 < span["total"]["bytes"] < whole
        else:
            table = span["talkers"]["rows"]
            assert {(row["srcIP"], row["dstIP"]): row["bytes"] for row in table} == truth
        for row in span["talkers"]["rows"]:
            assert sum(row["spark"]) == row["bytes"]
    fleet = get(f"{address}/api/v1/fleet?{SPAN}")
    assert [one["name"] for one in fleet["probes"]] == ["db", "v6", "web"]
    assert {one["status"] for one in fleet["probes"]} == {"silent"}
    export = urllib.request.urlopen(f"{address}/api/v1/export.csv?{SPAN}", timeout=20).read()
    assert export.count(b"\n") == len(truth) + 1


def test_what_it_answers_from_sqlite(config: Path) -> None:
    with running(config) as (_, address, _):
        check(address, config)


def test_what_it_answers_from_influxdb(tmp_path: Path, influxd: InfluxServer) -> None:
    section = {"host": influxd.url}
    database = f"dashboard{os.getpid()}"
    config = fill(tmp_path, {"type": "influxdb", "database": database, "influxConfig": section})
    with running(config) as (_, address, _):
        check(address, config)


def test_it_waits_for_no_answer_of_a_backend_when_it_ends(tmp_path: Path) -> None:
    with socket.socket() as deaf:  # takes connections, and says nothing
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        deaf.settimeout(20)
        path = tmp_path / "config.yaml"
        section = {"host": f"http://127.0.0.1:{deaf.getsockname()[1]}"}
        backend = {"type": "influxdb", "timeout": 60, "influxConfig": section}
        path.write_text(json.dumps({"backendConfig": backend}))
        with running(path) as (process, address, _):
            host = address.removeprefix("http://")
            connection = http.client.HTTPConnection(host, timeout=20)
            connection.request("GET", f"/api/v1/span?{SPAN}")
            accepted, _ = deaf.accept()
            process.send_signal(signal.SIGTERM)
            answer = connection.getresponse()
            told = json.loads(answer.read())["error"]["message"]
            _, faults, seconds = ended(process)
            accepted.close()
            connection.close()
            assert (answer.status, told) == (503, "the dashboard has been stopped; start it again")
            assert (process.returncode, faults) == (0, "")
            assert seconds < 2


def test_another_way_to_write_loopback_is_loopback(config: Path) -> None:
    with running(config, "--listen", "127.1:0") as (process, address, _):
        foreign = urllib.request.Request(
            f"{address}/api/v1/about", headers={"Host": "evil.example"}
        )
        with pytest.raises(urllib.error.HTTPError, match="400"):
            urllib.request.urlopen(foreign, timeout=20)
        assert get(f"{address}/api/v1/about")["table"] == "traffic"
        process.send_signal(signal.SIGTERM)
        _, faults, _ = ended(process)
        assert faults == ""  # no word of other machines


def test_a_port_that_is_taken(config: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        listen = f"127.0.0.1:{other.getsockname()[1]}"
        done = subprocess.run(
            command(config, "--listen", listen), capture_output=True, text=True, timeout=60
        )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"wakizashi: error: --listen: can't listen on {listen}: Address already in use; choose "
        "another address or port (0 takes a free one), or stop what uses it\n"
    )


@pytest.mark.parametrize(
    ("more", "code", "told"),
    [
        (("--listen", "8080"), 2, "--listen: '8080' is not HOST:PORT or [V6]:PORT"),
        (("--listen", "127.0.0.1:70000"), 2, "--listen: '127.0.0.1:70000' is not HOST:PORT"),
        (("--listen", "192.0.2.77:0"), 1, "can't listen on 192.0.2.77:0: Cannot assign"),
        (("--listen", "a..b:0"), 1, "can't listen on a..b:0: there is no such name"),
        (("--names", ""), 78, "--names: is empty; name a file of names, or leave it out"),
        (("--names", "/dev"), 78, "--names: /dev: is a directory; name a file of names"),
        (("--names", "/nowhere/names"), 78, "--names: /nowhere/names: No such file or directory"),
        (("--set", "backendConfig.typ=x"), 78, "backendConfig.typ"),
    ],
)
def test_what_makes_no_sense_is_told_in_a_line(
    config: Path, more: tuple[str, ...], code: int, told: str
) -> None:
    done = subprocess.run(command(config, *more), capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (code, "")
    assert told in done.stderr and done.stderr.count("\n") == 1


def test_ipv6(config: Path) -> None:
    with running(config, "--listen", "[::1]:0") as (process, address, _):
        assert address.startswith("http://[::1]:")
        assert get(f"{address}/api/v1/about")["table"] == "traffic"
        process.terminate()
        assert ended(process)[:2] == ("", "")


def test_who_can_be_reached_is_warned(config: Path) -> None:
    with running(config, "--listen", "0.0.0.0:0") as (process, _, _):
        process.terminate()
        _, faults, _ = ended(process)
        (line,) = faults.splitlines()
        assert " WARNING wakizashi: --listen: 0.0.0.0 can be reached by other machines" in line


def test_before_a_center_has_stored_anything_the_page_says_so(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    sqlite = {"path": str(tmp_path / "w.db")}
    path.write_text(json.dumps({"backendConfig": {"sqliteConfig": sqlite}}))
    with running(path) as (_, address, _):
        with pytest.raises(urllib.error.HTTPError) as caught:
            get(f"{address}/api/v1/river")
        assert caught.value.code == 503
        assert (
            "start the center first, then probes"
            in json.loads(caught.value.read())["error"]["message"]
        )
        caught.value.close()
    assert not (tmp_path / "w.db").exists()


def test_without_the_extra_it_says_what_to_install(config: Path) -> None:
    blocked = "import sys; sys.modules['uvicorn'] = None; from wakizashi.cli import main; main()"
    line = [sys.executable, "-c", blocked, *command(config)[3:]]
    done = subprocess.run(line, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr == (
        "wakizashi: error: the dashboard needs uvicorn, which is not installed; "
        "run pip install 'wakizashi[dashboard]'\n"
    )
