"""Secrets planted in everything that holds one, looked for in everything that is shown."""

import json
import os
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.center_process import Center
from tests.center_servers import free_port, until
from tests.certificates import Authority

ROOT = Path(__file__).parents[2]
PASSWORD, TOKEN, OTHER = (f"planted{word}0123456789abcdef" for word in ("Pass", "Token", "Other"))
NOWHERE = "127.0.0.1:1"

BACKENDS: dict[str, dict[str, Any]] = {
    "influxdb": {"influxConfig": {"host": f"http://{NOWHERE}", "user": "u", "password": PASSWORD}},
    "redis": {"redisConfig": {"url": f"redis://u:{PASSWORD}@{NOWHERE}/0"}},
    "mongodb": {"mongoConfig": {"mongoURI": f"mongodb://u:{PASSWORD}@{NOWHERE}"}},
}


@pytest.fixture
def running() -> Iterator[list[Center]]:
    centers: list[Center] = []
    yield centers
    for center in centers:
        center.stop()


def secret(path: Path, content: str, mode: int = 0o600) -> str:
    path.write_text(content)
    path.chmod(mode)
    return str(path)


def key_of(path: Path) -> str:
    """A line from the middle of a private key."""
    return path.read_text().splitlines()[1]


def run(program: str, *arguments: object) -> str:
    """All that a command says."""
    done = subprocess.run(
        [sys.executable, "-m", f"wakizashi.{program}", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.stdout + done.stderr


@pytest.mark.parametrize("backend", BACKENDS)
def test_no_secret_is_shown(backend: str, tmp_path: Path, running: list[Center]) -> None:
    if os.geteuid() != 0:
        if os.environ.get("CI"):
            pytest.fail("needs root")
        pytest.skip("needs root")
    authority = Authority(tmp_path / "authority")
    server, client = authority.server(), authority.client("vm-1")
    tokens = secret(
        tmp_path / "tokens.yaml",
        f"- {{probe: vm-1, token: {TOKEN}}}\n- {{probe: vm-2, token: {OTHER}}}\n",
    )
    tls = {"cert": str(server.cert), "key": str(server.key), "clientCA": str(authority.cert)}
    center = Center(
        tmp_path,
        logLev=0,
        tokensFile=tokens,
        tls=tls,
        backendConfig={"type": backend, "timeout": 1} | BACKENDS[backend],
    )
    running.append(center)
    health = free_port()
    probe = {
        "centerAddr": f"127.0.0.1:{center.port}",
        "dumpDir": str(tmp_path / "dump"),
        "networkDevs": ["lo"],
        "capInterval": 1,
        "logLev": 0,
        "name": "vm-1",
        "healthPort": health,
        "tokenFile": secret(tmp_path / "token", OTHER, mode=0o644),
        "tls": {"ca": str(authority.cert), "cert": str(client.cert), "key": str(client.key)},
    }
    path = tmp_path / "probe-config.yaml"
    path.write_text(json.dumps(probe))
    shown = []
    with (tmp_path / "probe.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "wakizashi.probe", "-c", path], stdout=log, stderr=log
        )
    try:
        center.until_said("permits no window of 'vm-1', only of 'vm-2'")
        secret(tmp_path / "token", "planted-unknown-to-all")
        center.until_said("a token that the center does not know")
        secret(tmp_path / "token", TOKEN)
        recovery = tmp_path / "recovery"
        until(lambda: any(recovery.glob("*.window")), "a window waits for the backend")
        for port in (health, center.health):
            for page in ("metrics", "healthz", "nothing"):
                url = f"http://127.0.0.1:{port}/{page}"
                try:
                    shown.append(urllib.request.urlopen(url, timeout=10).read().decode())
                except urllib.error.HTTPError as error:
                    shown.append(error.read().decode())
        for pid in (process.pid, center.process.pid):
            shown.append(Path(f"/proc/{pid}/cmdline").read_text())
    finally:
        process.terminate()
        process.wait(30)
    shown += [(tmp_path / "probe.log").read_text(), center.log()]
    # Told at the start: the token lay there for all to read, and so does the password.
    assert f"WARNING probe: tokenFile: {tmp_path / 'token'} can be read by others" in shown[-2]
    assert f" in -c: {center.path} can be read by others" in shown[-1]
    shown += [run("probe", "-c", path, "--check"), run("center", "-c", center.path, "--check")]
    for program, config in (("probe", path), ("center", center.path)):
        faulty = tmp_path / f"faulty-{program}.yaml"
        text = config.read_text()
        for fault in (
            text.replace("{", '{"nosuch": 1, ', 1),
            re.sub(r'"(logLev|port|capInterval)": \d+', r'"\1": "x"', text),
            text.replace('"tls": {', '"tls": {"nosuch": 1, '),
            text.replace(PASSWORD, f"{PASSWORD}@{PASSWORD}/{PASSWORD}#"),
            text.replace(f'"{PASSWORD}"', f"*{PASSWORD}"),
            text + "}",
        ):
            faulty.write_text(fault)
            shown.append(run(program, "-c", faulty, "--check"))
    everything = "\n".join(shown)
    assert NOWHERE in everything and "nosuch: unknown key" in everything
    for planted in (
        PASSWORD,
        TOKEN,
        OTHER,
        "planted-unknown",
        key_of(server.key),
        key_of(client.key),
    ):
        assert planted not in everything, planted
    assert "plantedPass" not in everything


@pytest.mark.parametrize(
    "command",
    [
        ("wakizashi.center.cli", "--check"),
        ("wakizashi.center.cli",),
        ("wakizashi.cli", "query"),
        ("wakizashi.cli", "audit"),
    ],
)
def test_no_command_takes_a_secret_in_a_flag(command: tuple[str, ...], tmp_path: Path) -> None:
    module, *more = command
    flag = f"backendConfig.influxConfig.password={PASSWORD}"
    done = subprocess.run(
        [sys.executable, "-c", f"import {module} as m; m.main()", *more, "--set", flag],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 78
    assert "shown in every list of processes" in done.stderr and PASSWORD not in done.stderr


def test_check_tells_of_what_is_exposed(tmp_path: Path) -> None:
    said = run("probe", "--check", "--set", "centerAddr=192.0.2.1:10080")
    assert "warning: centerAddr: 192.0.2.1:10080 is another machine and tls is not set" in said
    path = tmp_path / "center-config.yaml"
    path.write_text("{}")
    said = run("center", "--check", "-c", path)
    assert said.count("warning: host: 0.0.0.0 can be reached by other machines") == 2
    assert said.startswith(f"{path}: ok\n")  # on standard output
