"""What a person in a terminal sees of what takes long; and that nobody else sees any of it."""

import contextlib
import gzip
import http.server
import json
import re
import shlex
import signal
import socket
import struct
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote_plus

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether

from tests.center_process import Center
from tests.center_servers import free_port, until
from tests.daemons import is_ready, need_root, veth
from tests.influx_fake import Exchange, fake_influx
from tests.screens import Screen, command
from tests.tmux import Tmux

pytestmark = pytest.mark.timeout(120)

PROBE, CENTER, PEOPLE = "wakizashi.probe.cli", "wakizashi.center.cli", "wakizashi.cli"
LOG = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z [A-Z]+ (probe|center): "
CTRL_C = b"\x03"
WINDOWS, PACKETS = 30, 300_000


def config(folder: Path, **keys: Any) -> Path:
    path = folder / "config.json"
    path.write_text(json.dumps(keys))
    return path


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """So many packets that it takes a second or two to read them, gzipped."""
    packed = tmp_path_factory.mktemp("capture") / "many.pcap.gz"
    packet = bytes(Ether() / IP(src="10.1.0.1", dst="10.1.0.2") / UDP())
    content = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65_535, 1)
    for second in range(WINDOWS):
        header = struct.pack("<IIII", 1_700_000_000 + second, 0, len(packet), len(packet))
        content += (header + packet) * (PACKETS // WINDOWS)
    packed.write_bytes(gzip.compress(content, 1))
    return packed


def replay(folder: Path, port: int, capture: Path) -> list[object]:
    keys = {"centerAddr": f"127.0.0.1:{port}", "name": "p", "capInterval": 1, "uploadRetry": 100}
    return ["-c", config(folder, dumpDir=str(folder / "dump"), **keys), "--pcap", capture]


SUMMARY = f"{PACKETS} packets with {PACKETS * 42} bytes in {WINDOWS} windows, all acknowledged"


@pytest.mark.parametrize(("columns", "environment"), [(100, {}), (40, {"LC_ALL": "C"})])
def test_replay(tmp_path: Path, capture: Path, columns: int, environment: dict[str, str]) -> None:
    need_root()
    port = free_port()
    words = replay(tmp_path, port, capture)
    with Screen(
        PROBE, *words, folder=tmp_path, columns=columns, NO_COLOR="1", **environment
    ) as screen:
        if columns == 100:
            screen.shows(r"^━*─+ +\d+ %  \S+ [kM]?B of 1\d\d kB read, \d+ windows? with \S+ MB")
            screen.shows(r"^─+   0 %  0 of 30 windows sent and acknowledged$")
        else:
            screen.shows(r"^#+\.* +\d+ %  (\d+ windows? with \S+ MB|reading)")
            screen.shows(r"^\.+ +0 %  0 of 30 windows$")
            assert screen.written.isascii()
        until(lambda: "not delivered" in "".join(screen.lines), "a warning")
        center = Center(tmp_path, port=port)
        try:
            code, out = screen.end()
        finally:
            center.stop()
    assert code == 0 and SUMMARY in out and "\x1b" not in out
    assert "\x1b[3" not in screen.written and not re.search(r"\x1b\[[\d;]*m", screen.written)
    text = "".join(screen.lines)  # what is wider than the terminal has several lines there
    assert not re.search(" % |of 30|━|#", text) and screen.lines[-1] == ""
    assert text.count("not delivered: ") == text.count("delivery to") == 1


def test_interrupted_replay_leaves_no_line(tmp_path: Path, capture: Path) -> None:
    need_root()
    with Screen(PROBE, *replay(tmp_path, free_port(), capture), folder=tmp_path) as screen:
        screen.shows(r" %  .* read, ")
        screen.type(CTRL_C)
        code, _ = screen.end()
    assert code == 1 and screen.lines[-2:] == ["probe: interrupted", ""]
    assert not re.search(" % |read, ", "".join(screen.lines))
    assert not list((tmp_path / "dump" / "replay").glob("*.window"))


@contextlib.contextmanager
def mute() -> Iterator[int]:
    """A port that lets in and never says a word."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(100)
        yield server.getsockname()[1]


@contextlib.contextmanager
def stopping_probe(folder: Path) -> Iterator[tuple[Path, int]]:
    """A configuration with which a probe waits till its deadline, and its health port."""
    need_root()
    with veth("wakip") as link, mute() as port:
        health = free_port()
        yield (
            config(
                folder,
                centerAddr=f"127.0.0.1:{port}",
                networkDevs=[link.name],
                dumpDir=str(folder / "dump"),
                healthPort=health,
            ),
            health,
        )


WAITS = r"^stopping: waiting for \d windows?, \d s at most; Ctrl-C leaves at once$"


def test_probe_that_stops_and_a_second_signal(tmp_path: Path) -> None:
    with stopping_probe(tmp_path) as (path, health):
        with Screen(PROBE, "-c", path, folder=tmp_path) as screen:
            until(lambda: is_ready(health), "the probe to be ready")
            screen.type(CTRL_C)
            screen.shows(WAITS)
            screen.shows("waiting for 1 window, 6 s")  # so the second one is no echo
            screen.type(CTRL_C)
            code, _ = screen.end()
    assert code == 1
    assert screen.lines[-2:] == ["second signal: leaving at once", ""]
    assert not [line for line in screen.lines if line.startswith("stopping")]


def test_probe_that_stops_in_its_time(tmp_path: Path) -> None:
    with stopping_probe(tmp_path) as (path, health):
        with Screen(PROBE, "-c", path, folder=tmp_path, columns=500) as screen:
            until(lambda: is_ready(health), "the probe to be ready")
            screen.process.send_signal(signal.SIGTERM)
            screen.shows(WAITS)
            code, _ = screen.end()
    assert code == 0
    assert re.search(r"probe: stopped: .*, \d wait in ", screen.lines[-2])
    assert all(re.match(LOG, line) for line in screen.lines[:-1]), screen.lines


@contextlib.contextmanager
def delivering(folder: Path, port: int, capture: Path) -> Iterator[None]:
    (folder / "sender").mkdir()
    words = replay(folder / "sender", port, capture)
    with subprocess.Popen(command(PROBE, *words), stdout=subprocess.DEVNULL) as sender:
        try:
            yield
        finally:
            sender.kill()


def test_center_that_stops(tmp_path: Path, capture: Path) -> None:
    need_root()
    met = threading.Event()

    def hang(exchange: Exchange) -> None:
        met.set()
        exchange.server.over.wait(60)
        exchange.answer(204)

    port, health = free_port(), free_port()
    with fake_influx() as influx:
        influx.otherwise = hang
        backend = {"type": "influxdb", "timeout": 50, "influxConfig": {"host": influx.url}}
        path = config(
            tmp_path,
            host="127.0.0.1",
            port=port,
            healthPort=health,
            recoverDir="",
            backendConfig=backend,
        )
        with Screen(CENTER, "-c", path, folder=tmp_path, columns=500) as screen:
            screen.shows("listening on")
            with delivering(tmp_path, port, capture):
                assert met.wait(60)
                screen.type(CTRL_C)
                screen.shows(
                    r"^stopping: waiting for \d+ windows?, 1\d s at most; Ctrl-C leaves at once$"
                )
                influx.over.set()
                code, _ = screen.end()
    assert code == 0
    assert re.fullmatch(rf"{LOG}stopped", screen.lines[-2])
    told = [re.sub(r"^\^C", "", line) for line in screen.lines[:-1]]  # what the terminal echoed
    assert all(re.match(LOG, line) for line in told), screen.lines


class Influx(http.server.ThreadingHTTPServer):
    """Answers that there is nothing, once it is told to."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.go = threading.Event()
        self.asked = threading.Event()


class Answer(http.server.BaseHTTPRequestHandler):
    server: Influx

    def do_GET(self) -> None:
        self.server.asked.set()
        self.server.go.wait(60)
        # It has the measurement, and nothing of that time in it.
        asked = self.path + self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        there = "SHOW MEASUREMENTS" in unquote_plus(asked)
        series = b',"series":[{"name":"measurements","columns":["name"],"values":[["traffic"]]}]'
        body = b'{"results":[{"statement_id":0%b}]}\n' % (series if there else b"")
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("X-Influxdb-Version", "1.8.10")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET

    def log_message(self, format: str, *args: object) -> None:
        """Silent."""


@pytest.fixture
def influx() -> Iterator[Influx]:
    server = Influx()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.go.set()
    server.shutdown()
    server.server_close()
    thread.join()


def asking(folder: Path, verb: str, influx: Influx) -> list[object]:
    host = f"http://127.0.0.1:{influx.server_port}"
    backend = {"type": "influxdb", "timeout": 50, "influxConfig": {"host": host}}
    return [verb, "-c", config(folder, backendConfig=backend)]


@pytest.mark.parametrize(
    ("verb", "what"),
    [("query", "rows"), ("audit", "ledgers")],
)
def test_query_and_audit(tmp_path: Path, influx: Influx, verb: str, what: str) -> None:
    with Screen(PEOPLE, *asking(tmp_path, verb, influx), folder=tmp_path) as screen:
        screen.shows(rf"^reading: 0 {what} so far, 0:00:01$")
        influx.go.set()
        code, out = screen.end()
    assert out and "\x1b" not in out and "so far" not in out
    told = (
        ["wakizashi: error: does not add up: 1 fault"] if verb == "audit" else []
    )  # it proves nothing
    assert (code, screen.lines) == (len(told), [*told, ""])


def test_another_size(tmp_path: Path, influx: Influx) -> None:
    """A real terminal breaks the line that became too long into two, and puts it together again."""
    tmux = Tmux(tmp_path)
    tmux.start(100, 20)
    try:
        words = shlex.join(command(PEOPLE, *asking(tmp_path, "query", influx)))
        script = tmp_path / "run"
        script.write_text(f"exec {words}\n")
        tmux.type("-l", f"sh {script}")
        tmux.type("Enter")
        tmux.shows(r"^reading: 0 rows so far, \d:\d\d:\d\d$")
        for width in (25, 100, 12, 80):
            tmux.resize(width, 20)
            text = {25: r"0 rows so far, 0:\d\d", 12: r"0 rows so f"}.get(
                width, "reading: 0 rows so far,"
            )
            tmux.shows(rf"^{text}.*\n*\Z")
            until(lambda: "\n".join(tmux.screen).count("so f") == 1, "one line alone")
        influx.go.set()
        tmux.shows(r"^no traffic in that time\nready>\n*\Z")
        assert "so far" not in "\n".join(tmux.screen)
    finally:
        tmux.stop()


def test_a_pager_has_the_screen_for_itself(tmp_path: Path, influx: Influx) -> None:
    tmux = Tmux(tmp_path)
    tmux.start(80, 20)
    try:
        words = shlex.join(command(PEOPLE, *asking(tmp_path, "query", influx)))
        script = tmp_path / "run"
        script.write_text(f"{words} | less\n")
        tmux.type("-l", f"sh {script}; echo over")
        tmux.type("Enter")
        assert influx.asked.wait(60)
        assert not influx.go.wait(1.5)  # it would be there by now
        assert "so far" not in "\n".join(tmux.screen)
        influx.go.set()
        tmux.shows(r"^no traffic in that time$")
        tmux.type("q")
        tmux.shows(r"^over$")
    finally:
        tmux.stop()


def test_what_is_over_soon_writes_nothing(tmp_path: Path, influx: Influx) -> None:
    influx.go.set()
    with Screen(PEOPLE, *asking(tmp_path, "query", influx), folder=tmp_path) as screen:
        assert screen.end() == (0, "no traffic in that time\n")
    assert screen.written == ""


def test_a_dumb_terminal_gets_nothing(tmp_path: Path, influx: Influx) -> None:
    words = asking(tmp_path, "query", influx)
    with Screen(PEOPLE, *words, folder=tmp_path, TERM="dumb") as screen:
        assert influx.asked.wait(60)
        with pytest.raises(subprocess.TimeoutExpired):
            screen.process.wait(1)
        influx.go.set()
        assert screen.end()[0] == 0
    assert screen.written == ""


def test_pipes_get_not_one_byte_more(tmp_path: Path, capture: Path, influx: Influx) -> None:
    """Of the same that take so long above."""
    asked = subprocess.Popen(
        command(PEOPLE, *asking(tmp_path, "query", influx)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert influx.asked.wait(60)
    with pytest.raises(subprocess.TimeoutExpired):
        asked.wait(1)
    influx.go.set()
    assert asked.communicate(timeout=30) == (b"no traffic in that time\n", b"")

    (tmp_path / "c").mkdir()
    center = Center(tmp_path / "c")
    try:
        done = subprocess.run(
            command(PROBE, *replay(tmp_path, center.port, capture)),
            capture_output=True,
            timeout=60,
            check=True,
        )
    finally:
        center.stop()
    assert SUMMARY.encode() in done.stdout
    log_alone(done.stderr)

    with stopping_probe(tmp_path) as (path, health):
        probe = subprocess.Popen(command(PROBE, "-c", path), stderr=subprocess.PIPE)
        until(lambda: is_ready(health), "the probe to be ready")
        probe.send_signal(signal.SIGTERM)
        _, told = probe.communicate(timeout=30)
    log_alone(told)


def log_alone(told: bytes) -> None:
    assert b"\x1b" not in told and b"\r" not in told and told.endswith(b"\n")
    assert all(re.match(LOG, line) for line in told.decode().splitlines()), told
