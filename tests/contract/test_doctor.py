"""The doctor beside real centers, databases, devices and disks: what is wrong is told, and no more."""

import ctypes
import errno
import fcntl
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.center_backends import Settings, opened, rows
from tests.center_servers import InfluxServer, free_port, until
from tests.center_windows import window
from tests.certificates import Authority
from tests.mongo_servers import MongoServer
from tests.namespaces import ip, pair
from tests.redis_servers import RedisServer
from wakizashi.center.aggregate import aggregate
from wakizashi.center.backend import Backend, Remark
from wakizashi.doctor import capturing, directory, offloads, storing
from wakizashi.doctor.finding import Finding, Verdict
from wakizashi.probe.config import ProbeConfig

PROGRAM = str(Path(sys.executable).with_name("wakizashi"))
FAULT, NOTE, OK = Verdict.FAULT, Verdict.NOTE, Verdict.OK


@dataclass(frozen=True)
class Report:
    """What the program said."""

    code: int
    document: dict[str, Any]
    error: str

    def of(self, check: str) -> list[tuple[str, str]]:
        return [(f["verdict"], f["text"]) for f in self._findings(check)]

    def worst(self, check: str) -> str:
        order = ["ok", "note", "fault"]
        return max((f["verdict"] for f in self._findings(check)), key=order.index)

    def remedy(self, check: str) -> str:
        return "; ".join(f["remedy"] for f in self._findings(check) if f["remedy"])

    def _findings(self, check: str) -> list[dict[str, Any]]:
        daemons = self.document["daemons"]
        return [f for d in daemons for f in d["findings"] if f["check"] == check]


def doctor(
    folder: Path,
    *words: str,
    before: tuple[str, ...] = (),
    environment: dict[str, str] | None = None,
    **settings: object,
) -> Report:
    """Run the program in ``folder``, where it leaves no trace."""
    flags = [f for key, value in settings.items() for f in ("--set", f"{key}={json.dumps(value)}")]
    clean = {k: v for k, v in os.environ.items() if not k.startswith("WAKIZASHI_")}
    names = sorted(path for path in folder.rglob("*") if not path.name.startswith("w.db"))
    done = subprocess.run(
        [*before, PROGRAM, "doctor", "--format", "json", *words, *flags],
        cwd=folder,
        env=clean | (environment or {}),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert names == sorted(p for p in folder.rglob("*") if not p.name.startswith("w.db"))
    assert "Traceback" not in done.stderr
    assert done.stdout, done.stderr
    return Report(done.returncode, json.loads(done.stdout), done.stderr)


@dataclass
class Center:
    """A center in a process of its own, with SQLite."""

    folder: Path
    keys: dict[str, object] = field(default_factory=dict)
    before: tuple[str, ...] = ()

    @contextmanager
    def running(self) -> Iterator["Center"]:
        self.folder.mkdir(exist_ok=True)
        self.port, self.health = free_port(), free_port()
        own = {
            "host": "127.0.0.1",
            "port": self.port,
            "healthPort": self.health,
            "recoverDir": str(self.folder / "recovery"),
            "backendConfig": {"sqliteConfig": {"path": str(self.folder / "w.db")}},
        }
        self.path = self.folder / "center-config.yaml"
        self.path.write_text(json.dumps(own | self.keys))
        command = [*self.before, sys.executable, "-m", "wakizashi.center", "-c", str(self.path)]
        with (self.folder / "log").open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            until(lambda: "listening" in (self.folder / "log").read_text(), "the center listens")
            yield self
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0, (self.folder / "log").read_text()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"


def needs(name: str) -> str:
    found = shutil.which(name)
    if found is None or os.geteuid() != 0:
        reason = f"needs root and {name}"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return found


# -- a host where all works --------------------------------------------------------------------


def test_probe_and_center_that_work(tmp_path: Path) -> None:
    needs("setpriv")
    with Center(tmp_path / "c").running() as center:
        probe = tmp_path / "probe.yaml"
        probe.write_text(f"centerAddr: {center.address}\nnetworkDevs: [lo]\n")
        report = doctor(tmp_path, "-c", str(probe), "-c", str(center.path))
        log = (center.folder / "log").read_text()
    assert report.code == 0, report.document
    assert report.document["works"] is True
    assert report.document["faults"] == 0
    assert [d["daemon"] for d in report.document["daemons"]] == ["probe", "center"]
    assert report.worst("token") == report.worst("skew") == report.worst("service") == "ok"
    # The center runs: its ports, its directory and its file are in use, by it.
    assert report.worst("listen") == report.worst("recoverDir") == report.worst("backend") == "note"
    assert [
        line.partition("WARNING ")[2][:21] for line in log.splitlines() if "WARNING" in line
    ] == [
        "center: runs as root:"  # and that nobody knocked in an odd way
    ]
    assert "ERROR" not in log


def test_center_without_anything_there_yet_works_and_nothing_is_made(tmp_path: Path) -> None:
    report = doctor(tmp_path, "--center", port=free_port(), healthPort=free_port())
    assert (report.code, report.document["faults"]) == (0, 0)
    assert list(tmp_path.iterdir()) == []


def test_exit_codes_and_messages_for_people(tmp_path: Path) -> None:
    def run(*words: str) -> tuple[int, str, str]:
        command = [PROGRAM, "doctor", *words]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
        return done.returncode, done.stdout, done.stderr

    code, out, error = run("--set", f"centerAddr=127.0.0.1:{free_port()}")
    assert code == 1
    assert "FAULT connection " in out
    assert "\x1b" not in out
    assert error == f"wakizashi: error: {error.partition('error: ')[2]}"
    assert "would not work: 1 fault" in error
    code, out, error = run("--set", "centerAdr=x")
    assert (code, out) == (78, "")
    assert "did you mean centerAddr?" in error
    (tmp_path / "e.yaml").write_text("")
    assert run("-c", "e.yaml")[:2] == (2, "")
    assert run("--no-such")[0] == 2
    assert run("-c", "missing.yaml")[0] in (2, 78)


# -- this host ---------------------------------------------------------------------------------


def test_process_without_privileges(tmp_path: Path) -> None:
    nothing = (needs("setpriv"), "--bounding-set=-all", "--inh-caps=-all")
    report = doctor(tmp_path, before=nothing, networkDevs=["lo"])
    assert report.code == 1
    assert report.worst("capabilities") == report.worst("engine") == "fault"
    assert "CAP_NET_RAW" in report.remedy("capabilities")
    without_bpf = (needs("setpriv"), "--bounding-set=-all,+net_raw", "--inh-caps=-all")
    report = doctor(tmp_path, before=without_bpf, networkDevs=["lo"])
    assert report.worst("capabilities") == report.worst("engine") == "note"
    assert ("ok", "ring: usable, and taken by capture: auto") in report.of("engine")
    assert ("ok", "ring can capture it") in report.of("devices")


def test_misspelt_variable(tmp_path: Path) -> None:
    report = doctor(tmp_path, environment={"WAKIZASHI_DUMPDIR": "/hidden"})
    assert report.code == 1
    assert report.worst("environment") == "fault"
    assert report.remedy("environment") == "did you mean WAKIZASHI_DUMP_DIR?"
    assert "hidden" not in json.dumps(report.document)


@pytest.mark.usefixtures("namespace")
def test_devices_of_a_namespace() -> None:
    pair()
    ip("link", "add", "tap7", "type", "veth", "peer", "name", "tap8")

    def looked(*patterns: str, **more: Any) -> list[Finding]:
        found = capturing.look(ProbeConfig(networkDevs=patterns, **more))
        return [f for f in found if f.check == "devices"]

    texts = [(f.verdict, f.text) for f in looked("eth0", "veth.*", capture="ring")]
    assert (OK, "eth0 is there") in texts
    assert (OK, "veth.*: veth01") in texts
    assert (OK, "eth0, veth01: Ethernet, MTU 1500, up") in texts
    assert (OK, "ring can capture all of them") in texts
    down = looked("tap7", capture="ring")
    assert [f.text for f in down if f.verdict is NOTE] == ["tap7: Ethernet, MTU 1500, down"]
    absent = looked("eth9", capture="ring")
    assert [(f.verdict, f.text) for f in absent] == [
        (FAULT, "eth9: means no device; there are eth0, lo, tap7, tap8, veth01")
    ]


@pytest.mark.usefixtures("namespace")
def test_offloads_are_what_the_device_says() -> None:
    pair()

    def turn(command: int, value: int) -> None:
        buffer = ctypes.create_string_buffer(struct.pack("=II", command, value), 8)
        request = struct.pack("@16sP16x", b"eth0", ctypes.addressof(buffer))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
            fcntl.ioctl(asking, 0x8946, request)  # SIOCETHTOOL

    on = offloads.features("eth0")
    assert {"gso", "tso", "rx-vlan"} <= on
    for command, feature in ((0x2C, "gro"), (0x1F, "tso"), (0x24, "gso")):
        turn(command, 0)
        assert feature not in offloads.features("eth0")
        turn(command, 1)
        assert feature in offloads.features("eth0")
    turn(0x26, 0)  # ETHTOOL_SFLAGS
    assert offloads.features("eth0") == (on | {"gro"}) - {"rx-vlan", "lro"}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 2 MiB with 64 inodes."""
    mount, umount = needs("mount"), needs("umount")
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run([mount, "-t", "tmpfs", "-o", "size=2m,nr_inodes=64", "x", disk], check=True)
    try:
        yield disk
    finally:
        subprocess.run([umount, disk], check=True)


def test_disk_that_is_full(small_disk: Path) -> None:
    place = directory.Directory("dumpDir", small_disk, "dumpLimit", 2**30, 30, "the center")

    def worst(check: str) -> Verdict:
        found = [f.verdict for f in directory.look(place) if f.check == check]
        return max(found, key=[OK, NOTE, FAULT].index)

    assert (worst("dumpDir"), worst("room")) == (NOTE, NOTE)  # in memory, less than the quota
    with pytest.raises(OSError) as caught:
        (small_disk / "all").write_bytes(bytes(3 * 2**20))
    assert caught.value.errno == errno.ENOSPC
    assert (worst("dumpDir"), worst("room")) == (FAULT, FAULT)
    (small_disk / "all").unlink()
    for number in range(62):
        (small_disk / str(number)).touch()
    with pytest.raises(OSError):
        for number in range(62, 100):
            (small_disk / str(number)).touch()
    assert worst("room") is FAULT


def test_directory_of_somebody_else(tmp_path: Path) -> None:
    place = tmp_path / "dump"
    place.mkdir(mode=0o555)
    # Root may write anywhere, but for CAP_DAC_OVERRIDE.
    nobody = (needs("setpriv"), "--bounding-set=-all,+net_raw,+bpf", "--inh-caps=-all")
    os.chown(place, 65534, 65534)
    report = doctor(tmp_path, before=nobody, dumpDir=str(place))
    assert report.code == 1
    assert report.worst("dumpDir") == "fault"
    assert "chown it" in report.remedy("dumpDir")


def test_sqlite_in_a_directory_of_somebody_else(tmp_path: Path) -> None:
    place = tmp_path / "data"
    place.mkdir(mode=0o555)
    os.chown(place, 65534, 65534)
    nobody = (needs("setpriv"), "--bounding-set=-all", "--inh-caps=-all")
    sqlite = {"sqliteConfig": {"path": str(place / "w.db")}}
    report = doctor(
        tmp_path,
        "--center",
        before=nobody,
        backendConfig=sqlite,
        port=free_port(),
        healthPort=free_port(),
    )
    assert (report.code, report.worst("backend")) == (1, "fault")
    assert "chown it to the center's user" in report.remedy("backend")


# -- the center --------------------------------------------------------------------------------


def test_name_without_an_address(tmp_path: Path) -> None:
    report = doctor(tmp_path, centerAddr=f"{'x' * 64}:10080")
    assert (report.code, report.worst("name")) == (1, "fault")
    assert "mend centerAddr" in report.remedy("name")


def test_center_that_is_not_there(tmp_path: Path) -> None:
    address = f"127.0.0.1:{free_port()}"
    report = doctor(tmp_path, centerAddr=address)
    assert report.of("connection") == [("fault", f"{address}: Connection refused")]
    assert report.of("service") == report.of("token") == []


def test_center_that_hangs_is_told_in_time(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        began = time.monotonic()
        report = doctor(tmp_path, centerAddr=f"127.0.0.1:{deaf.getsockname()[1]}")
        assert time.monotonic() - began < 15.0 * 2  # on a busy machine
    assert (report.code, report.worst("service")) == (1, "fault")


def test_another_server_in_its_place(tmp_path: Path, influxd: InfluxServer) -> None:
    report = doctor(tmp_path, centerAddr=f"127.0.0.1:{influxd.port}")
    assert (report.code, report.worst("service")) == (1, "fault")


def test_clock_that_is_ahead_of_the_centers(tmp_path: Path) -> None:
    faketime = needs("faketime")
    with Center(tmp_path / "c").running() as center:
        far = doctor(tmp_path, before=(faketime, "-f", "+90s"), centerAddr=center.address)
        near = doctor(tmp_path, before=(faketime, "-f", "-9s"), centerAddr=center.address)
        right = doctor(tmp_path, centerAddr=center.address)
    ((verdict, text),) = far.of("skew")
    assert verdict == "fault"
    assert text.startswith(("90.", "89."))
    assert f"ahead of {center.address}" in text
    ((verdict, text),) = near.of("skew")
    assert verdict == "note"
    assert f"behind {center.address}" in text
    assert right.worst("skew") == "ok"
    assert (far.code, near.code, right.code) == (1, 0, 0)


TOKEN = "0123456789abcdef0123"


@dataclass(frozen=True)
class Secured:
    """A center that speaks TLS, and what a probe needs for it."""

    center: Center
    authority: Authority
    tls: dict[str, str]


@pytest.fixture
def secured(tmp_path: Path) -> Callable[..., Any]:
    authority = Authority(tmp_path / "ca")

    @contextmanager
    def start(*, client: bool = False, tokens: str = "", days: int = 30) -> Iterator[Secured]:
        issued = authority.server(days=days)
        tls = {"cert": str(issued.cert), "key": str(issued.key)}
        tls |= {"clientCA": str(authority.cert)} if client else {}
        keys: dict[str, object] = {"tls": tls}
        if tokens:
            (tmp_path / "tokens").write_text(tokens)
            (tmp_path / "tokens").chmod(0o600)
            keys["tokensFile"] = str(tmp_path / "tokens")
        with Center(tmp_path / "c", keys).running() as center:
            yield Secured(center, authority, {"ca": str(authority.cert)})

    return start


def test_tls_on_one_side_only(tmp_path: Path, secured: Any) -> None:
    with secured() as found:
        plain = doctor(tmp_path, centerAddr=found.center.address)
        good = doctor(tmp_path, centerAddr=found.center.address, tls=found.tls)
        other = doctor(
            tmp_path, centerAddr=found.center.address, tls=found.tls | {"serverName": "x"}
        )
        named = found.tls | {"serverName": "center.example"}
        name = doctor(tmp_path, centerAddr=found.center.address, tls=named)
        own = doctor(tmp_path, "-c", str(found.center.path))
    assert "speaks TLS, and the probe does not" in plain.of("tls")[0][1]
    assert (good.code, good.worst("tls"), good.worst("token")) == (0, "ok", "ok")
    # A certificate with the name of tls.serverName, which is not that of centerAddr.
    assert (name.code, name.worst("tls"), name.worst("token")) == (0, "ok", "ok")
    assert (other.code, other.worst("tls")) == (1, "fault")
    assert "tls.serverName" in other.remedy("tls")
    assert own.worst("tls") == "ok"
    with Center(tmp_path / "p").running() as center:
        report = doctor(tmp_path, centerAddr=center.address, tls=found.tls)
        assert (report.code, report.worst("tls")) == (1, "fault")
        assert "speaks no TLS" in report.of("tls")[0][1]


def test_authority_of_somebody_else(tmp_path: Path, secured: Any) -> None:
    other = Authority(tmp_path / "other", "other")
    with secured() as found:
        report = doctor(tmp_path, centerAddr=found.center.address, tls={"ca": str(other.cert)})
    assert (report.code, report.worst("tls")) == (1, "fault")
    assert "set tls.ca to the authority" in report.remedy("tls")


def test_certificate_that_ends_soon(tmp_path: Path, secured: Any) -> None:
    with secured(days=3) as found:
        report = doctor(tmp_path, centerAddr=found.center.address, tls=found.tls)
        own = doctor(tmp_path, "-c", str(found.center.path))
        assert (report.code, report.worst("tls"), own.worst("tls")) == (0, "note", "note")
        late = (needs("faketime"), "-f", "+4d")
        report = doctor(tmp_path, before=late, centerAddr=found.center.address, tls=found.tls)
        own = doctor(tmp_path, "-c", str(found.center.path), before=late)
    assert (report.code, report.worst("tls")) == (1, "fault")
    assert "expired" in report.of("tls")[0][1]
    assert (own.code, own.worst("tls")) == (1, "fault")


def test_certificate_of_a_probe(tmp_path: Path, secured: Any) -> None:
    with secured(client=True) as found:
        mine = found.authority.client("vm-1")
        shown = found.tls | {"cert": str(mine.cert), "key": str(mine.key)}
        address = found.center.address
        without = doctor(tmp_path, centerAddr=address, tls=found.tls, name="vm-1")
        with_it = doctor(tmp_path, centerAddr=address, tls=shown, name="vm-1")
        other = doctor(tmp_path, centerAddr=address, tls=shown, name="vm-2")
    assert (without.code, without.worst("service")) == (1, "fault")
    assert "set tls.cert and tls.key" in without.remedy("service")
    assert with_it.code == 0
    assert "with its certificate" in with_it.of("token")[0][1]
    assert (other.code, other.worst("token")) == (1, "fault")
    assert "permits no window of 'vm-2', only of 'vm-1'" in other.of("token")[0][1]


def test_token_of_a_probe(tmp_path: Path, secured: Any) -> None:
    token = tmp_path / "token"
    token.write_text(TOKEN)
    token.chmod(0o600)
    wrong = tmp_path / "wrong"
    wrong.write_text(TOKEN[::-1])
    wrong.chmod(0o644)
    with secured(tokens=f'- {{probe: "vm-.*", token: {TOKEN}}}\n') as found:
        known = {"centerAddr": found.center.address, "tls": found.tls}
        none = doctor(tmp_path, name="vm-1", **known)
        bad = doctor(tmp_path, name="vm-1", tokenFile=str(wrong), **known)
        right = doctor(tmp_path, name="vm-1", tokenFile=str(token), **known)
        other = doctor(tmp_path, name="db-1", tokenFile=str(token), **known)
    assert "without a token" in none.of("token")[0][1]
    assert "token that the center does not know" in bad.of("token")[0][1]
    assert bad.worst("secrets") == "note"
    assert "permits no window of 'db-1'" in other.of("token")[0][1]
    assert [r.worst("token") for r in (none, bad, other)] == ["fault"] * 3
    assert (right.code, right.worst("token"), right.worst("secrets")) == (0, "ok", "ok")
    for report in (none, bad, right, other):
        assert TOKEN not in json.dumps(report.document)
        assert TOKEN[::-1] not in json.dumps(report.document)


# -- databases ---------------------------------------------------------------------------------


def diagnosed(name: str, settings: Settings) -> list[Remark]:
    with opened(name, settings, read_only=True) as made:
        return list(made.diagnose())


def test_every_backend_is_fine_before_and_after_a_write_and_not_changed(
    place: tuple[str, Settings], tmp_path: Path
) -> None:
    name, settings = place
    assert not [remark for remark in diagnosed(name, settings) if remark.fault]
    if name == "sqlite":
        assert list(tmp_path.iterdir()) == []
    with opened(name, settings) as made:
        made.write([aggregate(window())])
        before = rows(made)
    assert not [remark for remark in diagnosed(name, settings) if remark.fault]
    with opened(name, settings, read_only=True) as reader:
        assert rows(reader) == before != []


def test_sqlite_that_a_center_has_is_read_beside_it(tmp_path: Path) -> None:
    settings = [f"sqliteConfig.path={tmp_path}/w.db"]
    with opened("sqlite", settings) as made:
        made.write([aggregate(window())])
        remarks = diagnosed("sqlite", settings)
        assert [r.text for r in remarks if "in use" in r.text] == [
            f"backendConfig.sqliteConfig.path: {tmp_path}/w.db is in use by process {os.getpid()}"
        ]
        assert any("can be read, with a write-ahead log" in r.text for r in remarks)
        made.write([aggregate(window(2))])
    names = sorted(path.name for path in tmp_path.iterdir())
    assert any(
        "can be read, with a write-ahead log" in r.text for r in diagnosed("sqlite", settings)
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == names


def faults(name: str, settings: Settings) -> list[str]:
    return [remark.text for remark in diagnosed(name, settings) if remark.fault]


def notes(name: str, settings: Settings) -> list[str]:
    return [
        remark.text for remark in diagnosed(name, settings) if remark.remedy and not remark.fault
    ]


def test_influxdb_with_a_wrong_password(tmp_path: Path, influxd_with_users: InfluxServer) -> None:
    config = tmp_path / "c.yaml"
    config.write_text(
        "backendConfig:\n  type: influxdb\n  influxConfig:\n"
        f"    {{host: '{influxd_with_users.url}', user: admin, password: hidden}}\n"
    )
    config.chmod(0o644)
    report = doctor(tmp_path, "-c", str(config), port=free_port(), healthPort=free_port())
    assert (report.code, report.worst("backend")) == (1, "fault")
    assert "hidden" not in json.dumps(report.document)
    assert report.worst("secrets") == "note"


def test_influxdb_user_without_the_right_to_write(influxd_with_users: InfluxServer) -> None:
    server = influxd_with_users
    server.query("CREATE DATABASE readable")
    server.query("CREATE USER reader WITH PASSWORD 'r'")
    server.query("GRANT READ ON readable TO reader")
    who = [f"influxConfig.host={server.url}", "influxConfig.user=reader", "influxConfig.password=r"]
    with pytest.raises(Exception, match="reader"):
        diagnosed("influxdb", [*who, "database=readable"])
    (missing,) = faults("influxdb", [*who, "database=missing"])
    assert "missing is not there, and 'reader' may not create it" in missing
    server.query("GRANT ALL ON readable TO reader")
    assert faults("influxdb", [*who, "database=readable"]) == []
    admin = [who[0], "influxConfig.user=admin", "influxConfig.password=secret"]
    assert faults("influxdb", [*admin, "database=missing"]) == []
    assert b"missing" not in server.query("SHOW DATABASES")


def test_influxdb_that_keeps_points_for_an_hour(influxd: InfluxServer) -> None:
    influxd.query("CREATE DATABASE short WITH DURATION 1h NAME brief")
    settings = [f"influxConfig.host={influxd.url}", "database=short"]
    (text,) = notes("influxdb", settings)
    assert "database short keeps points for 1h0m0s" in text


def test_limits_of_influxdb(influxd: InfluxServer) -> None:
    from wakizashi.center.config import load_center

    sets = ["type=influxdb", f"influxConfig.host={influxd.url}", "database=limits"]
    influxd.query("CREATE DATABASE limits")
    influxd.write(
        "limits", "\n".join(f"traffic,srcIP=10.0.0.{n},probe=p size=1i {n}" for n in range(900))
    )
    config = load_center(None, [f"backendConfig.{text}" for text in sets], {})
    (series,) = (f for f in storing.look(config.backendConfig) if f.check == "series")
    assert series.verdict is NOTE
    assert "max-values-per-tag is 1000" in series.text


def test_redis_that_forgets(tmp_path: Path) -> None:
    server = RedisServer(tmp_path, "--appendonly", "no", "--maxmemory", "100mb")
    try:
        server.start()
        settings = [f"redisConfig.url={server.url}"]
        assert [("appendonly is off" in text) for text in notes("redis", settings)] == [True]
        server.client.config_set("maxmemory-policy", "allkeys-lru")
        (text,) = faults("redis", settings)
        assert "windows vanish" in text
        assert server.client.dbsize() == 0
    finally:
        server.end()


def test_mongodb_with_a_wrong_password(mongo_with_users: MongoServer) -> None:
    settings = [
        f"mongoConfig.mongoURI=mongodb://127.0.0.1:{mongo_with_users.port}/?authMechanism=PLAIN",
        "mongoConfig.user=admin",
        "mongoConfig.password=hidden",
    ]
    with pytest.raises(Exception) as caught:
        diagnosed("mongodb", settings)
    assert "hidden" not in str(caught.value)


def test_backend_that_is_not_there(tmp_path: Path) -> None:
    influx = {"host": f"http://127.0.0.1:{free_port()}"}
    backend = {"type": "influxdb", "influxConfig": influx}
    report = doctor(
        tmp_path, "--center", backendConfig=backend, port=free_port(), healthPort=free_port()
    )
    assert (report.code, report.worst("backend")) == (1, "fault")
    assert "start InfluxDB there" in report.remedy("backend")


def test_backend_that_hangs_for_longer_than_the_doctor_waits(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        influx = {"host": f"http://127.0.0.1:{deaf.getsockname()[1]}"}
        report = doctor(
            tmp_path,
            "--center",
            port=free_port(),
            healthPort=free_port(),
            backendConfig={"type": "influxdb", "timeout": 3_600, "influxConfig": influx},
        )  # within its own time limit, which is far below that
    assert report.code == 1
    assert report.of("backend") == [("fault", "no answer within 10 s")]


def test_a_backend_that_says_no_more_than_it_must(backend: Backend) -> None:
    """As a new one in the folder: its ``check`` is what there is."""
    assert [remark.fault for remark in Backend.diagnose(backend)] == [False]
