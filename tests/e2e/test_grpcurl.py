"""A client that is not of this project, made from the contract alone: grpcurl."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.center_process import Center
from tests.certificates import Authority

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "tests" / "build-grpcurl.sh"
METHOD = "wakizashi.v1.TrafficCenter/Transmit"
TOKEN = "0123456789abcdef"
START = 1_700_000_000_000

WINDOW: dict[str, Any] = {
    "probe": "vm-1",
    "start_unix_ms": START,
    "end_unix_ms": START + 30_000,
    "number": 1,
    "chunk_count": 1,
}


@pytest.fixture(scope="module")
def grpcurl() -> str:
    (version,) = re.findall(r"^version=(\S+)$", SCRIPT.read_text(), re.MULTILINE)
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    program = shutil.which("grpcurl") or shutil.which(
        str(cache / "wakizashi" / f"grpcurl-{version}")
    )
    if program is None:
        if os.environ.get("CI"):
            pytest.fail("grpcurl is missing; run tests/build-grpcurl.sh")
        pytest.skip("grpcurl is missing; run tests/build-grpcurl.sh")
    return program


@pytest.fixture
def running(tmp_path: Path) -> Iterator[list[Center]]:
    centers: list[Center] = []
    yield centers
    for center in centers:
        center.stop()


def run(program: str, *arguments: object, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [program, "-max-time", "20", *map(str, arguments)],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_services_are_listed_and_a_window_is_stored(
    tmp_path: Path, grpcurl: str, running: list[Center]
) -> None:
    authority = Authority(tmp_path / "authority")
    server, client = authority.server(), authority.client("vm-1")
    tls = {"cert": str(server.cert), "key": str(server.key), "clientCA": str(authority.cert)}
    tokens = tmp_path / "tokens.yaml"
    tokens.write_text(f"- {{probe: 'vm-.*', token: '{TOKEN}'}}\n")
    center = Center(tmp_path, reflection=True, tls=tls, tokensFile=str(tokens))
    running.append(center)
    there = f"127.0.0.1:{center.port}"
    shown = ("-cacert", authority.cert, "-cert", client.cert, "-key", client.key)
    token = ("-H", f"authorization: Bearer {TOKEN}")

    services = run(grpcurl, *shown, there, "list")
    assert services.stdout.split() == [
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
        "wakizashi.v1.TrafficCenter",
    ], services.stderr
    described = run(grpcurl, *shown, there, "describe", METHOD.partition("/")[0])
    assert "rpc Transmit ( stream .wakizashi.v1.WindowChunk )" in described.stdout
    health = run(grpcurl, *shown, there, "grpc.health.v1.Health/Check")
    assert json.loads(health.stdout) == {"status": "SERVING"}, health.stderr

    refused = run(grpcurl, *shown, "-d", json.dumps(WINDOW), there, METHOD)
    assert "Code: Unauthenticated" in refused.stderr
    assert "the call came without a token" in refused.stderr

    call = (*shown, *token, "-d", "@", there, METHOD)
    malformed = WINDOW | {"end_unix_ms": START}
    answer = run(grpcurl, *call, stdin=json.dumps(malformed))
    ack = json.loads(answer.stdout)
    assert ack["status"] == "WINDOW_STATUS_REJECTED" and "end" in ack["reason"], answer.stderr
    garbage = run(grpcurl, *call, stdin=json.dumps(WINDOW | {"probe": ""}))
    assert "Code: InvalidArgument" in garbage.stderr
    assert "is this a probe of this release?" in garbage.stderr
    foreign = run(grpcurl, *call, stdin=json.dumps(WINDOW | {"probe": "web-1"}))
    ack = json.loads(foreign.stdout)
    assert ack["status"] == "WINDOW_STATUS_RETRY"
    assert "permits no window of 'web-1', only of 'vm-.*'" in ack["reason"]
    assert center.stored() == []

    stored = run(grpcurl, *call, stdin=json.dumps(well_formed()))
    assert json.loads(stored.stdout)["status"] == "WINDOW_STATUS_STORED", stored.stdout
    assert center.stored() == [("vm-1", 100)]


def well_formed() -> dict[str, Any]:
    """One record of 100 bytes; the JSON of protobuf has bytes in base64."""
    return WINDOW | {
        "devices": [{"name": "eth0", "ledger": {"device": TALLY, "counted": TALLY}}],
        "records": [
            {
                "device": 0,
                "direction": "DIRECTION_OUT",
                "source": "CgAAAQ==",
                "destination": "CgAAAg==",
                "size": 100,
                "packets": 1,
            }
        ],
    }


TALLY = {"packets": 1, "bytes": 100}


def test_without_reflection_the_contract_file_does(
    tmp_path: Path, grpcurl: str, running: list[Center]
) -> None:
    center = Center(tmp_path)
    running.append(center)
    there = f"127.0.0.1:{center.port}"
    services = run(grpcurl, "-plaintext", there, "list")
    assert services.returncode != 0
    assert "server does not support the reflection API" in services.stderr
    proto = ("-import-path", ROOT / "proto", "-proto", "wakizashi/v1/traffic.proto")
    stored = run(
        grpcurl, "-plaintext", *proto, "-d", "@", there, METHOD, stdin=json.dumps(well_formed())
    )
    assert json.loads(stored.stdout)["status"] == "WINDOW_STATUS_STORED", stored.stderr
    assert center.stored() == [("vm-1", 100)]
