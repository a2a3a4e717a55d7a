"""Daemons at work, started in all ways but by systemd: every thread holds what is documented."""

import os
import pwd
import shlex
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.center_servers import free_port, until
from tests.daemons import need_root, veth
from tests.privilege_table import Row, check_ids, rows
from tests.programs import command, mounts
from wakizashi.privileges import Capability, mask

USER = 54_321
CONTAINER = 10_001


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that every user can reach; what pytest makes is its own user's alone."""
    need_root()
    with tempfile.TemporaryDirectory(prefix="wakizashi-privileges-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "work").mkdir()
        yield folder


class Daemon:
    """One that runs, in a mount namespace of its own, in ``work``."""

    def __init__(self, place: Path, program: str, before: list[str], **keys: Any) -> None:
        self.log = place / f"{program}.log"
        config = place / f"{program}.yaml"
        config.write_text(yaml.safe_dump(keys))
        steps = f"mount --make-rprivate /\n{mounts(place / 'opt')}\ncd {place}/work\n"
        start = shlex.join([*before, *command(place / "opt", program), "-c", str(config)])
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(
                ["unshare", "--mount", "sh", "-ec", f"{steps}exec {start}"], stdout=out, stderr=out
            )

    @property
    def said(self) -> str:
        return self.log.read_text()

    def says(self, text: str) -> None:
        """Wait for it."""

        def said() -> bool:
            assert text in self.said or self.process.poll() is None, self.said
            return text in self.said

        until(said, f"{self.log.name} to say {text!r}")

    def ends(self) -> int:
        """Its exit code, when it ends by itself."""
        return self.process.wait(30)

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(30)
        assert code == 0, self.said


@contextmanager
def started(place: Path, program: str, before: list[str], **keys: Any) -> Iterator[Daemon]:
    daemon = Daemon(place, program, before, **keys)
    try:
        yield daemon
        daemon.stop()
    finally:
        if daemon.process.poll() is None:
            daemon.process.kill()
            daemon.process.wait()


def container(user: int, capabilities: int) -> list[str]:
    """setpriv(1) for what a runtime makes of ``drop: [ALL]`` and what is added."""
    kept = [f"+{c.name.lower()}" for c in Capability if capabilities >> c & 1]
    return [
        *("setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", "--inh-caps=-all"),
        *("--ambient-caps=-all", f"--bounding-set={','.join(['-all', *kept])}"),
    ]


def way(row: Row) -> tuple[list[str], dict[str, str], int]:
    """How a row's daemon is started: what runs it, its configuration's ``user``, and its uid."""
    if row.started == "a container":
        uid = 0 if row.user == "root" else int(row.user)
        return container(uid, row.bounding), {}, uid
    if row.started == "root, user":
        return [], {"user": str(USER)}, USER
    return [], {}, 0


@pytest.mark.parametrize(
    "row", [r for r in rows("root", "root, user", "a container") if r.daemon == "probe"], ids=str
)
def test_threads_of_a_probe_at_work(row: Row, place: Path) -> None:
    """With a center that is started likewise, and a device that comes after the drop."""
    (center,) = rows_of(row.started, "center")
    port, health = free_port(), free_port()
    database = place / "database"
    database.mkdir()
    before, keys, uid = way(center)
    os.chown(database, uid, uid)
    if center.user == str(CONTAINER):  # its image gives it this directory
        os.chown(place / "work", uid, uid)
    with started(
        place, "center", before, port=port, healthPort=health, host="127.0.0.1", **keys,
        backendConfig={"type": "sqlite", "sqliteConfig": {"path": str(database / "w.db")}},
    ) as storing:  # fmt: skip
        storing.says("listening on")
        if center.user == str(CONTAINER):
            os.chown(place / "work", 0, 0)
        before, keys, probe_uid = way(row)
        prefix = "wpv"
        with started(
            place, "probe", before, centerAddr=f"127.0.0.1:{port}", capInterval=1, name="p",
            capture=row.engine, networkDevs=["lo", f"{prefix}.*a"], **keys,
        ) as probe:  # fmt: skip
            probe.says("p: engine")
            with veth(prefix) as link:
                probe.says(f"capturing {link.name}")
                link.send(9)
                until(lambda: stored(database / "w.db") == 9 * 142, "9 packets to be stored")
                threads = check_ids(row, probe.process.pid, probe_uid, probe_uid)
                assert len(threads) > 1
                threads = check_ids(center, storing.process.pid, uid, uid)
                assert len(threads) > 3
            probe.says("is gone")
    owners = {path.stat().st_uid for path in (place / "work").rglob("*")}
    assert owners == {probe_uid, uid}


def rows_of(way_started: str, daemon: str) -> list[Row]:
    return [row for row in rows(way_started) if row.daemon == daemon]


def stored(path: Path) -> int:
    """Bytes of what the test sent."""
    if not path.exists():
        return 0
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as database:
        try:
            (size,) = database.execute(
                "SELECT sum(size) FROM traffic WHERE srcIP = '10.9.0.1'"
            ).fetchone()
        except sqlite3.OperationalError:  # there is no table yet
            return 0
    return size or 0


def test_a_low_port_keeps_what_it_takes_to_listen(place: Path) -> None:
    with started(
        place, "center", ["unshare", "--net", "sh", "-c", 'ip link set lo up; exec "$@"', "-"],
        port=443, healthPort=80, host="127.0.0.1", user=str(USER),
        backendConfig={"sqliteConfig": {"path": "/tmp/unused.db"}}, recoverDir="",
    ) as center:  # fmt: skip
        center.says("listening on 127.0.0.1:443, health on port 80")
        assert "CAP_NET_BIND_SERVICE" in center.said


def test_a_users_groups_and_threads_are_those_of_that_user_alone(place: Path) -> None:
    """Started with groups, as a login has them."""
    before = ["setpriv", "--groups=4,27"]
    with started(
        place, "probe", before, capture="ring", networkDevs=["lo"], user="nobody", name="p",
        uploadRetry=0, capInterval=60,
    ) as probe:  # fmt: skip
        probe.says("p: engine")
        (row,) = (r for r in rows_of("root, user", "probe") if r.engine == "ring")
        nobody = pwd.getpwnam("nobody")
        check_ids(row, probe.process.pid, nobody.pw_uid, nobody.pw_gid)


def test_a_program_that_is_executed_later_gains_nothing(place: Path) -> None:
    """A set-uid program and root's own powers: neither comes back."""
    code = (
        "import os, subprocess\n"
        "from wakizashi import privileges\n"
        "privileges.drop({privileges.Capability.NET_RAW})\n"
        "print(open('/proc/self/status').read(), end='')\n"
        "print(subprocess.run(['cat', '/proc/self/status'], capture_output=True, text=True).stdout)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    effective = [int(line.split()[1], 16) for line in done.stdout.splitlines() if "CapEff" in line]
    assert effective == [mask({Capability.NET_RAW}), 0]


def test_a_thread_that_kept_more_ends_the_program() -> None:
    need_root()
    code = (
        "import threading\n"
        "from wakizashi import privileges\n"
        "done = threading.Event()\n"
        "threading.Thread(target=done.wait, daemon=True).start()\n"
        "privileges.drop(())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "started a thread before it gave up its privileges" in done.stderr


def test_a_capture_file_is_read_without_any_privilege(place: Path) -> None:
    """Root who gave his up may not read what is another's; he is told before anything is read."""
    file = place / "x.pcap"
    file.write_bytes(b"no capture file")
    os.chown(file, 4242, 4242)
    file.chmod(0o600)
    done = subprocess.run(
        [sys.executable, "-m", "wakizashi.probe", "--pcap", file, "--set", f"dumpDir={place}/d"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 78
    assert f"--pcap: {file}: uid 0 can't read it" in done.stderr
