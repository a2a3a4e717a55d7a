"""A host of its own for systemd: process 1 of new namespaces, over a copy of this machine's files.

systemd boots into a target without any other service, on an overlay of ``/`` that
vanishes with it, with its own network, and its own control groups below this
process's. The two programs are those of this checkout, under the names that the units
give them; the interpreter is mounted at ``/opt``, for it may lie in a home, which the
units hide. Needs root, overlayfs and control groups that may be written.
"""

import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO

import pytest

from tests.center_servers import until
from tests.daemons import need_root
from tests.programs import command, interpreter, mounts

ROOT = Path(__file__).parents[1]
UNITS = ROOT / "deploy" / "systemd"
SYSTEMD = Path("/lib/systemd/systemd")
_NAMESPACES = ("--mount", "--pid", "--cgroup", "--net", "--ipc", "--uts")
_TARGET = "[Unit]\nDescription=nothing but what a test starts\nDefaultDependencies=no\n"


class Host:
    """A running systemd; use :func:`systemd_host`."""

    def __init__(self, init: int, root: Path) -> None:
        self.init, self.root = init, root

    def run(self, *command: str, check: bool = True) -> str:
        """Run a command on the host, as root; what it prints."""
        enter = [f"--{kind}" for kind in ("mount", "pid", "cgroup", "net", "ipc", "uts", "root")]
        done = subprocess.run(
            ["nsenter", f"--target={self.init}", *enter, "--wd=/", *command],
            check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=30,
        )  # fmt: skip
        assert not check or done.returncode == 0, f"{shlex.join(command)}: {done.stdout}"
        return done.stdout

    def python(self, code: str, *arguments: str) -> str:
        """Run Python code on the host, as root; what it prints."""
        return self.run(*interpreter("/opt"), "-c", code, *arguments)

    def path(self, inside: str) -> Path:
        """A path of the host as this process sees it."""
        return Path(f"/proc/{self.init}/root{inside}")

    def write(self, inside: str, text: str, mode: int = 0o644) -> None:
        """A file on the host."""
        path = self.path(inside)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)

    def show(self, unit: str, name: str) -> str:
        """A property of a unit."""
        return self.run("systemctl", "show", "--value", f"--property={name}", unit).strip()

    def pid(self, unit: str) -> int:
        """The main process of a unit, by its number on this machine."""
        inside = int(self.show(unit, "MainPID"))
        assert inside, f"{unit} does not run:\n{self.log(unit)}"
        for status in Path("/proc").glob("[0-9]*/status"):
            try:
                lines = status.read_text().splitlines()
            except (FileNotFoundError, ProcessLookupError):  # it ended meanwhile
                continue
            numbers = next((line.split()[1:] for line in lines if line.startswith("NSpid:")), [])
            same = os.path.exists(f"/proc/{self.init}/ns/pid") and numbers[1:] == [str(inside)]
            if same and _namespace(int(numbers[0])) == _namespace(self.init):
                return int(numbers[0])
        raise AssertionError(f"there is no process {inside}")

    def log(self, unit: str) -> str:
        """What a unit has said: units of a test append to a file, for there is no journal."""
        path = self.path(f"/var/log/{unit}.log")
        return path.read_text() if path.exists() else ""


def _namespace(pid: int) -> str:
    try:
        return os.readlink(f"/proc/{pid}/ns/pid")
    except (FileNotFoundError, ProcessLookupError):
        return ""


@contextmanager
def systemd_host(folder: Path, console: IO[bytes]) -> Iterator[Host]:
    """Boot, and take all of it away again."""
    need_root()
    if not SYSTEMD.exists():
        if "CI" in os.environ:
            pytest.fail("there is no systemd")
        pytest.skip("there is no systemd")
    with _control_groups(f"wakizashi-test-{os.getpid()}") as groups:
        enter = "".join(f"echo $$ > {group}/cgroup.procs\n" for group in groups)
        root = folder / "root"
        inner = [
            "unshare",
            *_NAMESPACES,
            "--fork",
            "--kill-child",
            "sh",
            "-ec",
            _boot(folder, root),
        ]
        process = subprocess.Popen(
            ["sh", "-ec", f"{enter}exec {shlex.join(inner)}"],
            stdin=subprocess.DEVNULL, stdout=console, stderr=console,
        )  # fmt: skip
        try:
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children")

            def up() -> bool:
                assert process.poll() is None, "systemd did not start; see its console"
                inits = children.read_text().split()
                return bool(inits) and _is_up(Host(int(inits[0]), root))

            until(up, "systemd to be up", 60)
            yield Host(int(children.read_text()), root)
        finally:
            process.kill()  # and with it, by --kill-child, process 1, and with that all of them
            process.wait()


def _is_up(host: Host) -> bool:
    return "running" in host.run("systemctl", "is-system-running", check=False)


def _boot(folder: Path, root: Path) -> str:
    """Shell commands that build the host's files and end as its process 1."""
    layers = folder / "layers"
    wrappers = "\n".join(
        f"printf '%s\\n' '#!/bin/sh' 'exec {shlex.join(command('/opt', name))} \"$@\"' "
        f"> {root}/usr/local/bin/{name}\nchmod 755 {root}/usr/local/bin/{name}"
        for name in ("probe", "center")
    )
    return f"""
mount --make-rprivate /
mkdir -p {layers} {root}
mount -t tmpfs -o mode=755 tmpfs {layers}
mkdir {layers}/up {layers}/work
mount -t overlay overlay -o lowerdir=/,upperdir={layers}/up,workdir={layers}/work {root}
mount -t proc proc {root}/proc
mount --rbind /sys {root}/sys
mount --rbind /dev {root}/dev
mount -t tmpfs -o mode=755 tmpfs {root}/run
rm -rf {root}/etc/systemd/system {root}/var/lib/wakizashi-* {root}/etc/wakizashi
rm -rf {root}/lib/systemd/system/*.target.wants
mkdir -p {root}/etc/systemd/system {root}/run/systemd/system {root}/etc/wakizashi
printf %s {shlex.quote(_TARGET)} > {root}/run/systemd/system/test.target
mkdir -p {root}/usr/local/bin
{mounts("/opt", str(root))}
{wrappers}
ip link set lo up
cd {root}
mkdir -p .before
pivot_root . .before  # and not chroot(8): who is in one may not make user namespaces
umount -l .before
exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin container=test \\
  {SYSTEMD} --system --unit=test.target --show-status=no
"""


@contextmanager
def _control_groups(name: str) -> Iterator[Sequence[Path]]:
    """A group of its own in every hierarchy, for the groups that systemd makes; removed with them."""
    mine = dict(
        line.split(":", 2)[1:] for line in Path("/proc/self/cgroup").read_text().splitlines()
    )
    made = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        front, _, back = line.partition(" - ")
        kind, _, options = back.split()
        mount, inside = Path(front.split()[4]), front.split()[3]
        if kind not in ("cgroup", "cgroup2"):
            continue
        names = [""] if kind == "cgroup2" else [k for k in mine if k and k in options.split(",")]
        for key in names:
            here = mount / os.path.relpath(mine[key], inside)
            group = here / name
            group.mkdir()
            for setting in ("cpuset.cpus", "cpuset.mems"):  # empty ones take no process
                if (here / setting).exists() and kind == "cgroup":
                    (group / setting).write_text((here / setting).read_text())
            made.append(group)
    try:
        yield made
    finally:
        for group in made:
            below = sorted((p for p in group.rglob("*") if p.is_dir()), reverse=True)
            for each in (*below, group):
                until(partial(_removed, each), f"{each} to be empty")


def _removed(group: Path) -> bool:
    try:
        group.rmdir()
    except OSError:
        return False
    return True


def install(host: Host) -> None:
    """What README.md in ``deploy/systemd`` says, but the programs, which are there."""
    shutil.copy(UNITS / "wakizashi.conf", host.path("/usr/lib/sysusers.d/wakizashi.conf"))
    host.run("systemd-sysusers", "wakizashi.conf")
    for name in ("probe", "center"):
        unit = f"wakizashi-{name}.service"
        shutil.copy(UNITS / f"{name}.service", host.path(f"/etc/systemd/system/{unit}"))
        host.write(
            f"/etc/systemd/system/{unit}.d/test.conf",
            f"[Service]\nStandardOutput=append:/var/log/{unit}.log\nStandardError=inherit\n"
            "WatchdogSec=3\n",
        )
        # What the filter does not let pass kills here, where the unit only refuses it; but for
        # mbind(2), which NumPy's OpenBLAS asks for and does without.
        host.write(
            f"/run/systemd/system/{unit}.d/strict.conf",
            "[Service]\nSystemCallErrorNumber=\nSystemCallFilter=mbind\n",
        )
