"""``logFormat: json``: every line that a daemon writes is an object, from its start to its end."""

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.center_servers import free_port, until
from tests.certificates import SERVER, Authority
from tests.daemons import Link, need_root, running, scrape, veth
from tests.metric_tables import value

METHOD = "/wakizashi.v1.TrafficCenter/Transmit"


@pytest.fixture(autouse=True)
def needs_root() -> None:
    need_root()


@pytest.fixture
def link() -> Iterator[Link]:
    with veth("wkj") as made:
        yield made


def entries(text: str, program: str) -> list[dict[str, str]]:
    """The lines, each of which has to be an object of the daemon's."""
    found = [json.loads(line) for line in text.splitlines()]
    for entry in found:
        assert set(entry) - {"traceback"} == {"time", "level", "program", "logger", "message"}
        assert entry["program"] == program
    return found


def center_keys(folder: Path, port: int) -> dict[str, Any]:
    """A center whose database is away."""
    return {
        "logFormat": "json",
        "logLev": 0,
        "host": "127.0.0.1",
        "port": port,
        "healthPort": free_port(),
        "recoverDir": str(folder / "recovery"),
        "recoverInterval": 1,
        "backendConfig": {
            "type": "influxdb",
            "influxConfig": {"host": f"http://127.0.0.1:{free_port()}"},
        },
    }


def garbage(port: int) -> None:
    """A call that is no window."""
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        transmit: Any = channel.stream_stream(
            METHOD, request_serializer=None, response_deserializer=None
        )
        with pytest.raises(grpc.RpcError):
            list(transmit(iter([b"\xff\n\x00"]), timeout=10))


@pytest.mark.parametrize("capture", ["scapy", "auto"])
def test_start_trouble_and_stop_are_told_in_objects(
    capture: str, tmp_path: Path, link: Link
) -> None:
    port = free_port()
    center = center_keys(tmp_path, port)
    probe = {
        "logFormat": "json",
        "logLev": 0,
        "name": "p",
        "capture": capture,
        "centerAddr": f"127.0.0.1:{port}",
        "dumpDir": str(tmp_path / "dump"),
        "networkDevs": [link.name, "no-such-device"],
        "capInterval": 1,
        "uploadRetry": 0,
        "healthPort": free_port(),
    }
    log = tmp_path / "probe.log"
    with running("probe", tmp_path, **probe):
        until(lambda: "connection refused" in log.read_text(), "the probe misses its center")
        with running("center", tmp_path, **center):
            link.send(3)

            def kept() -> bool:
                text = scrape(center["healthPort"])
                return bool(text) and (
                    value(text, "wakizashi_center_windows_total", status="recovered") > 0
                )

            until(kept, "the center keeps a window", seconds=60)
            garbage(port)
    told = entries(log.read_text(), "probe")
    assert told[-1]["message"].startswith("stopped: ")
    assert any("no-such-device" in entry["message"] for entry in told)
    told = entries((tmp_path / "center.log").read_text(), "center")
    assert told[-1]["message"] == "stopped"
    assert any("refused a call" in entry["message"] for entry in told)
    assert any(entry["message"].endswith("nothing is lost meanwhile") for entry in told)


def test_refused_handshakes_and_what_else_comes_on_descriptor_2_are_objects(tmp_path: Path) -> None:
    """With TLS the core's log is read: what is not the core's goes on, in the format of the log."""
    port = free_port()
    issued = Authority(tmp_path / "ca").issue("localhost", SERVER, san="DNS:localhost")
    tls = {"cert": str(issued.cert), "key": str(issued.key)}
    log = tmp_path / "center.log"
    with running("center", tmp_path, **center_keys(tmp_path, port), tls=tls) as center:
        until(lambda: "listening on" in log.read_text(), "the center listens")
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(b"no TLS at all\n" * 10)
            until(lambda: "TLS handshake refused" in log.read_text(), "the refusal is told")
        Path(f"/proc/{center.pid}/fd/2").write_text("of a library\n")
        until(lambda: "of a library" in log.read_text(), "the line goes on")
    told = [entry["message"] for entry in entries(log.read_text(), "center")]
    assert "of a library" in told


def test_the_error_that_ends_it_is_an_object(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        keys = center_keys(tmp_path, free_port()) | {"healthPort": taken.getsockname()[1]}
        config = tmp_path / "center.json"
        config.write_text(json.dumps(keys))
        done = subprocess.run(
            [sys.executable, "-m", "wakizashi.center", "-c", config],
            check=False,
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert done.returncode == 1
    last = entries(done.stderr, "center")[-1]
    assert last["level"] == "ERROR" and last["message"].startswith("healthPort: can't listen on")


def test_a_second_signal_is_told_in_an_object(tmp_path: Path) -> None:
    """The center waits for a call that is held open; the second signal finds it waiting."""
    port = free_port()
    keys = center_keys(tmp_path, port)
    config, log = tmp_path / "center.json", tmp_path / "center.log"
    config.write_text(json.dumps(keys))
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "wakizashi.center", "-c", config], stderr=out
        )
    try:
        until(lambda: scrape(keys["healthPort"]) != "", "the center answers")
        process.send_signal(signal.SIGSTOP)  # both wait for it, in order
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGCONT)
        assert process.wait(30) == 1
    finally:
        process.kill()
        process.wait()
    last = entries(log.read_text(), "center")[-1]
    assert last["message"] == "second signal: leaving at once"


def test_scapy_that_prints_on_its_own_speaks_in_objects() -> None:
    """It sets a handler of its own when it is imported, and passes nothing on."""
    code = (
        "import logging\n"
        "from wakizashi.logs import setup_logging\n"
        "from wakizashi.probe.capture import Limits, choose\n"
        "from wakizashi.probe.devices import Netlink\n"
        "setup_logging(1, 'probe', 'json')\n"
        "name, engine, _ = choose('scapy')\n"
        "with Netlink() as netlink:\n"
        "    devices = netlink.snapshot().devices.values()\n"
        "engine.open(next(d for d in devices if d.name == 'lo'), Limits(10), []).close()\n"
        "logging.getLogger('scapy.runtime').error('of scapy')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60
    )
    (told,) = entries(done.stderr, "probe")
    assert (told["logger"], told["message"]) == ("scapy.runtime", "of scapy")
