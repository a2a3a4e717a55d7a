"""The single-file programs, built for real and run in a bare Debian that has no Python."""

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.images import NAMES, ROOT, documented_size, report_size, the_base
from tests.e2e.lab import CENTER_PORT, Lab, Process, Program, lab, require, run
from tests.e2e.test_acceptance import FILES, check, fetch_all, next_windows, quiet_stop

pytestmark = pytest.mark.timeout(600)

VERSION = "9.8.7"
USER = 10001


@pytest.fixture(scope="session")
def bare(
    tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config, commit: str
) -> Path:
    """A Debian without Python, with both programs in ``/usr/local/bin``."""
    assert commit
    archive = the_base() / "minbase.tar"
    said = run(str(ROOT / "build-binary.sh"), VERSION)
    assert said == "".join(
        f"generating wakizashi {name}\nwakizashi {name} generated\n" for name in ("center", "probe")
    )
    root = tmp_path_factory.mktemp("bare")
    run("tar", "-C", str(root), "-xf", str(archive))
    assert list(root.rglob("python3*")) == list(root.rglob("libpython*")) == []
    for name in NAMES:
        shutil.copy(ROOT / "build" / name, root / "usr/local/bin" / name)
        size = (ROOT / "build" / name).stat().st_size
        assert [size / 1e6] == pytest.approx(documented_size(f"build/{name}"), rel=0.2)
        report_size(pytestconfig, f"build/{name}", f"{size / 1e6:.0f} MB")
    return root


def inside(root: Path, *command: str) -> tuple[str, ...]:
    """A command in the bare system, which has /proc as any system has."""
    script = 'mount -t proc proc "$1/proc" && exec chroot "$@"'
    return ("unshare", "--mount", "sh", "-c", script, "-", str(root), *command)


def program(name: str, root: Path, *capabilities: str) -> Program:
    """As a service of systemd with ``User=`` and ``AmbientCapabilities=`` would be started."""
    sets = ",".join(("-all", *(f"+{capability}" for capability in capabilities)))
    drop = f"setpriv --reuid {USER} --regid {USER} --clear-groups --no-new-privs".split()
    drop += [f"--{which}={sets}" for which in ("bounding-set", "inh-caps", "ambient-caps")]

    def command(config: Path) -> tuple[str, ...]:
        copied = root / "etc" / config.name
        shutil.copy(config, copied)
        return inside(root, *drop, f"/usr/local/bin/{name}", "-c", f"/etc/{config.name}")

    return command


@pytest.fixture
def ground(tmp_path: Path, bare: Path) -> Iterator[Lab]:
    """A lab with nginx and InfluxDB running, and with the binaries for probe and center."""
    require("nginx", "influxd", "tcpdump", "curl", "nsenter", "setpriv")
    with lab(tmp_path) as made:
        made.nginx(FILES)
        made.programs["probe"] = program("probe", bare, "net_raw", "bpf")
        made.programs["center"] = program("center", bare)
        for folder in ("dump", "recovery"):
            real = bare / f"var/lib/{tmp_path.name}-{folder}"
            real.mkdir()
            os.chown(real, USER, USER)
            (made.folder / folder).symlink_to(real)
        yield made


def there(ground: Lab, folder: str) -> str:
    """Where the program finds a folder of the lab."""
    return f"/var/lib/{ground.folder.name}-{folder}"


def test_one_request_is_in_influxdb_to_the_byte(ground: Lab) -> None:
    ground.influxd()
    center = ground.start_center(recoverDir=there(ground, "recovery"))
    ground.record()
    probe = ground.start_probe(dumpDir=there(ground, "dump"), capture="ebpf")
    fetch_all(ground)
    next_windows(ground, 2)
    quiet_stop(ground, probe)
    check(ground)
    assert center.stop() == 0
    assert list((ground.folder / "dump").rglob("*.window"))  # it was there, and nowhere else


@pytest.mark.parametrize("capture", ["ring", "scapy"])
def test_every_engine_is_in_it(ground: Lab, capture: str) -> None:
    probe = ground.start_probe(dumpDir=there(ground, "dump"), capture=capture, uploadRetry=0)
    assert f"engine {capture}" in probe.output
    fetch_all(ground)
    assert probe.stop() == 0


ASKS = """
import sys, grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
stub = reflection_pb2_grpc.ServerReflectionStub(grpc.insecure_channel(sys.argv[1]))
asked = iter([reflection_pb2.ServerReflectionRequest(list_services="")])
for answer in stub.ServerReflectionInfo(asked, timeout=10):
    print(*(service.name for service in answer.list_services_response.service))
"""


def test_the_center_tells_what_services_it_has(ground: Lab) -> None:
    """It imports what it takes only where ``reflection`` is set."""
    center = start(ground, "center", reflection=True)
    enter = f"--net=/run/netns/{ground.center}"
    said = run("nsenter", enter, sys.executable, "-c", ASKS, f"127.0.0.1:{CENTER_PORT}")
    assert "wakizashi.v1.TrafficCenter" in said.split()
    assert center.stop() == 0


def start(ground: Lab, name: str, **keys: Any) -> Process:
    """A daemon that needs nobody: a probe without a center, a center with SQLite."""
    if name == "probe":
        return ground.start_probe(dumpDir=there(ground, "dump"), uploadRetry=0, **keys)
    recovery = there(ground, "recovery")
    sqlite = {"type": "sqlite", "sqliteConfig": {"path": f"{recovery}/wakizashi.db"}}
    return ground.start_center(recoverDir=recovery, backendConfig=sqlite, **keys)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_parent_and_child_is_one_request(ground: Lab, name: str, number: int) -> None:
    """As a terminal's Ctrl-C comes, and a service manager's stop; and the parent passes it on."""
    process = start(ground, name)
    (child,) = process.children()
    os.kill(child, number)
    assert process.stop(number) == 0
    assert "second signal" not in process.output


@pytest.mark.parametrize("name", NAMES)
def test_a_service_manager_is_told(ground: Lab, bare: Path, name: str) -> None:
    """The manager knows the parent; it is the child that tells (hence NotifyAccess=all)."""
    program = ground.programs[name]
    says = 'export NOTIFY_SOCKET=/run/notify WATCHDOG_USEC=3000000 WATCHDOG_PID=$$ && exec "$@"'
    ground.programs[name] = lambda config: ("sh", "-c", says, "-", *program(config))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        path = bare / "run/notify"
        path.unlink(missing_ok=True)
        # The whole path may be longer than an address can be.
        with contextlib.chdir(bare):
            manager.bind("run/notify")
        path.chmod(0o777)
        manager.settimeout(30)

        def hear(*wanted: str) -> None:
            for line in wanted:
                while line not in manager.recv(4096).decode().split("\n"):
                    pass

        process = start(ground, name)
        hear("READY=1", "WATCHDOG=1", "WATCHDOG=1")
        process.popen.send_signal(signal.SIGHUP)
        hear("RELOADING=1", "READY=1", "WATCHDOG=1")
        process.popen.send_signal(signal.SIGTERM)
        hear("STOPPING=1")
        assert process.stop() == 0


@pytest.mark.parametrize("name", NAMES)
def test_it_says_what_it_is(bare: Path, commit: str, name: str) -> None:
    before = set((bare / "tmp").iterdir())
    said = run(*inside(bare, f"/usr/local/bin/{name}", "--version"))
    assert set((bare / "tmp").iterdir()) == before  # where it unpacks itself
    assert re.fullmatch(rf"{name} {VERSION} \(commit {commit}, built [\dTZ:-]+\)\n", said)


@pytest.mark.parametrize("name", NAMES)
def test_a_wrong_configuration_is_told(bare: Path, name: str) -> None:
    (bare / "etc/wrong.yaml").write_text("logLevel: 1\n")
    done = subprocess.run(
        inside(bare, f"/usr/local/bin/{name}", "-c", "/etc/wrong.yaml"),
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (78, "")
    assert f"{name}: error: /etc/wrong.yaml:1: logLevel: unknown key" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("kind", ["influxdb", "mongodb", "redis", "sqlite"])
def test_the_center_has_all_backends(bare: Path, kind: str) -> None:
    text = f"backendConfig:\n  type: {kind}\n"
    (bare / "etc/backend.yaml").write_text(text)
    program = "/usr/local/bin/center"
    assert "ok" in run(*inside(bare, program, "--check", "-c", "/etc/backend.yaml"))
