"""The line protocol, and what answers of InfluxDB mean."""

import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.center_windows import START, window
from wakizashi.center.aggregate import aggregate
from wakizashi.center.backend import open_backend
from wakizashi.center.config import load_center
from wakizashi.center.influx.lines import encode_lines
from wakizashi.errors import ConfigError, Permanent, Retryable, WakizashiError


def test_lines_are_escaped_and_tags_sorted() -> None:
    tags = (("a-b", "x,y=z 100%s"), ("zone", "ü"))
    first, second = encode_lines(
        [aggregate(window(0, probe="ns/pod 1", tags=tags, size=2**62))], "traffic"
    ).splitlines()
    common = r"a-b=x\,y\=z\ 100%s"
    assert first == (
        rf"traffic,{common},dstIP=10.0.0.2,probe=ns/pod\ 1,probeIP=10.0.0.1,srcIP=10.0.0.1,zone=ü "
        f"size={2**62}i,packets=1i {START}"
    )
    assert second.startswith(
        rf"traffic_ledger,{common},device=eth0,probe=ns/pod\ 1,zone=ü number=0i,"
    )
    assert (
        f"duration=30000i,windows=1i,device_packets=1i,device_bytes={2**62}i,counted_packets=1i"
        in second
    )
    assert second.endswith(f"other_bytes=0i,lost_packets=0i,lost_bytes=0i {START}")


class _Scripted(http.server.BaseHTTPRequestHandler):
    status = 204
    body = b""
    seen: list[str] = []

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        type(self).seen.append(self.path)
        self.send_response(self.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, format: str, *args: object) -> None:
        """Silent."""


@pytest.fixture
def scripted() -> Iterator[tuple[str, type[_Scripted]]]:
    handler = type("Handler", (_Scripted,), {"seen": []})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", handler
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.parametrize(
    ("status", "error", "kind", "part"),
    [
        (400, "unable to parse 'x'", Permanent, "unable to parse"),
        (400, "partial write: field type conflict dropped=1", Permanent, "type conflict"),
        (400, "partial write: points beyond retention policy dropped=1", Permanent, "retention"),
        (400, "partial write: max-values-per-tag limit exceeded", Retryable, "raise that limit"),
        (400, "partial write: max-series-per-database exceeded", Retryable, "raise that limit"),
        (401, "authorization failed", Retryable, "influxConfig.user: 'admin'"),
        (403, "not authorized", Retryable, "influxConfig.user: 'admin'"),
        (404, "404 page not found", Retryable, "influxConfig.host"),
        (429, "slow down", Retryable, "429"),
        (500, "timeout", Retryable, "look at its log"),
        (
            500,
            "engine: write wal: no space left on device",
            Retryable,
            "room .* and restart it twice",
        ),
        (503, "hinted handoff queue", Retryable, "look at its log"),
    ],
)
def test_answers_have_their_kind(
    scripted: tuple[str, type[_Scripted]],
    status: int,
    error: str,
    kind: type[WakizashiError],
    part: str,
) -> None:
    url, handler = scripted
    handler.status, handler.body = status, json.dumps({"error": error}).encode()
    config = load_center(
        None,
        [
            "backendConfig.type=influxdb",
            f"backendConfig.influxConfig.host={url}",
            "backendConfig.influxConfig.user=admin",
            "backendConfig.influxConfig.password=hidden",
        ],
        {},
    )
    backend = open_backend(config.backendConfig)
    with pytest.raises(kind, match=part) as caught:
        backend.write([aggregate(window())])
    assert type(caught.value) is kind
    assert "hidden" not in str(caught.value)
    assert len(handler.seen) == 1  # the only retry loop is the store's
    backend.close()


@pytest.mark.parametrize(
    ("setting", "part"),
    [
        ("influxConfig.host=influx", "'influx' has no scheme; try http://influx:8086"),
        ("influxConfig.host=udp://influx", "is not http or https"),
        ("influxConfig.host=http://u:p@influx", "holds a user; use the keys"),
        ("type=oracle", "'oracle' is no backend; use influxdb or mongodb or redis or sqlite"),
        ("table='x\"y'", "is not a letter followed by"),
        ("timeout=0", "is not greater than 0"),
        ("influxConfig.hots=x", "unknown key; did you mean host?"),
    ],
)
def test_faults_of_the_configuration(setting: str, part: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_center(None, [f"backendConfig.{setting}"], {})
    key = setting.partition("=")[0]
    assert f"backendConfig.{key}: " in str(caught.value)
    assert part in str(caught.value)


def test_the_original_file_loads(tmp_path: Path) -> None:
    file = tmp_path / "center-config.yaml"
    file.write_text(
        """
logLev: 1
port: 10080              # gRPC
recoverDir: ./recovery
recoverInterval: 30
backendConfig:
  type: influxdb
  timeout: 5
  database: wakizashi
  table: traffic
  influxConfig: {host: "http://10.10.10.35:18086", user: admin, password: pass}
  redisConfig: {url: "redis://10.10.10.35"}
  mongoConfig: {mongoURI: "mongodb://10.10.10.35"}
  sqliteConfig: {path: ./wakizashi.db}
"""
    )
    config = load_center(file, [], {})
    assert (config.host, config.backendConfig.type) == ("0.0.0.0", "influxdb")
    assert load_center(None, [], {}).host == "127.0.0.1"
