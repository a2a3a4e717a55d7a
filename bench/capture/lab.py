"""Two network namespaces and a veth pair without any traffic but the generator's."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from bench.capture.cpu import Group
from bench.capture.results import BenchError

SENDER, TAPPED = "gen0", "tap0"
SENDER_MAC, TAPPED_MAC = "02:00:00:00:00:01", "02:00:00:00:00:02"
START_SECONDS = 30.0
STOP_SECONDS = 30.0
_SBIN = "/usr/sbin:/sbin"
# In the shell's own namespace: it moves itself to the cgroup before the program exists,
# so that all the program does is counted.
_ENTER = 'echo $$ > "$0" && exec nsenter --net="$1" -- "${@:2}"'


def environment() -> dict[str, str]:
    """For the programs: no configuration of ours from outside, and the system's programs found."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("WAKIZASHI_")}
    return kept | {"PATH": f"{kept.get('PATH', '/usr/bin:/bin')}:{_SBIN}", "LC_ALL": "C"}


def run(*command: str, any_exit: bool = False) -> str:
    """Run a command to its end and return what it prints.

    With ``any_exit`` on whichever stream, and whatever its exit code: for the programs
    that say their version with an error.

    Raises:
        BenchError: it is missing or fails; with all it said.
    """
    try:
        done = subprocess.run(  # noqa: S603 - fixed programs
            command,
            check=False,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if any_exit else subprocess.PIPE,
            text=True,
            env=environment(),
            timeout=STOP_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BenchError(f"{' '.join(command)}: {error}") from error
    if done.returncode != 0 and not any_exit:
        said = (done.stderr or done.stdout).strip()
        raise BenchError(f"{' '.join(command)}: exit {done.returncode}: {said}")
    return done.stdout


def wait_for(what: str, condition: Callable[[], bool], seconds: float = START_SECONDS) -> None:
    """Poll until ``condition`` holds.

    Raises:
        BenchError: it does not within ``seconds``.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise BenchError(f"waited {seconds:.0f} s in vain for {what}")
        time.sleep(0.02)


class Program:
    """A program in a namespace and a cgroup of its own, its output in a file."""

    def __init__(
        self, command: list[str], namespace: Path, group: Group, log: Path, *, stdin: bool = False
    ) -> None:
        self.name, self.group, self._log = Path(command[0]).name, group, log
        with log.open("wb") as out:
            self.popen = subprocess.Popen(  # noqa: S603 - fixed programs
                ["/bin/bash", "-c", _ENTER, str(group.procs), str(namespace), *command],
                stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                cwd=log.parent,
                env=environment(),
                start_new_session=True,  # an interrupt from the keyboard is for the bench alone
            )

    def output(self) -> str:
        """What it has printed."""
        return self._log.read_text(errors="replace")

    def check(self) -> None:
        """Raise BenchError if it has ended, with the end of what it said."""
        if self.popen.poll() is not None:
            said = " | ".join(self.output().strip().splitlines()[-3:])
            raise BenchError(f"{self.name} ended with {self.popen.returncode}: {said}")

    def wait_for(self, text: str) -> None:
        """Until it has printed ``text``."""

        def said() -> bool:
            if text in self.output():
                return True
            self.check()
            return False

        wait_for(f"{self.name} to say {text!r}", said)

    def wait(self, seconds: float) -> None:
        """Until it ends by itself, successfully."""
        try:
            code = self.popen.wait(seconds)
        except subprocess.TimeoutExpired as error:
            raise BenchError(f"{self.name} did not end within {seconds:.0f} s") from error
        if code != 0:
            self.check()

    def stop(self) -> None:
        """SIGTERM, and the end of it."""
        if self.popen.poll() is None:
            self.popen.send_signal(signal.SIGTERM)
            try:
                self.popen.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired as error:
                self.kill()
                raise BenchError(f"{self.name} had to be killed") from error

    def kill(self) -> None:
        """The end of it at once; no error if it has ended."""
        if self.popen.stdin is not None:
            with contextlib.suppress(OSError):
                self.popen.stdin.close()
        if self.popen.poll() is None:
            self.popen.kill()
            self.popen.wait()


@dataclass(frozen=True, slots=True)
class Counters:
    """Packets and bytes a device has received, and packets lost between the pair."""

    packets: int
    bytes: int
    dropped: int


class Lab:
    """The namespaces, as a context manager: gone at the end, with what was started in them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        mark = f"wkzbench{os.getpid()}"
        self._mark, self._serial = mark, 0
        self._names = [f"{mark}g", f"{mark}t"]
        self.sender, self.tapped = (Path("/run/netns") / name for name in self._names)

    def __enter__(self) -> "Lab":
        try:
            self._up()
        except BaseException:
            self._down()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._down()

    def _up(self) -> None:
        generator, tool = self._names
        for name in self._names:
            run("ip", "netns", "add", name)
            self._enter(name, "sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1")
            self._enter(name, "sysctl", "-qw", "net.ipv6.conf.default.disable_ipv6=1")
            run("ip", "-n", name, "link", "set", "lo", "up")
        run(
            *f"ip -n {generator} link add {SENDER} address {SENDER_MAC} type veth "
            f"peer name {TAPPED} address {TAPPED_MAC} netns {tool}".split()
        )
        # No address and no ARP: nobody says anything by itself, and nobody answers.
        for name, device in zip(self._names, (SENDER, TAPPED), strict=True):
            run("ip", "-n", name, "link", "set", device, "arp", "off", "up")

    def _enter(self, name: str, *command: str) -> str:
        return run("nsenter", f"--net=/run/netns/{name}", *command)

    def _down(self) -> None:
        for name in self._names:
            with contextlib.suppress(BenchError):
                run("ip", "netns", "del", name)

    def counters(self) -> Counters:
        """What has arrived at the tapped device, and what was lost on the way."""
        received = self._statistics(self._names[1], TAPPED)
        sent = self._statistics(self._names[0], SENDER)
        return Counters(
            packets=received["rx_packets"],
            bytes=received["rx_bytes"],
            dropped=received["rx_dropped"] + sent["tx_dropped"] + sent["tx_errors"],
        )

    def _statistics(self, name: str, device: str) -> dict[str, int]:
        text = self._enter(name, "cat", "/proc/net/dev")
        line = next(li for li in text.splitlines() if li.strip().startswith(f"{device}:"))
        values = [int(value) for value in line.split(":", 1)[1].split()]
        return {
            "rx_bytes": values[0],
            "rx_packets": values[1],
            "rx_dropped": values[3],
            "tx_errors": values[10],
            "tx_dropped": values[11],
        }

    @contextlib.contextmanager
    def program(
        self, *command: str, sender: bool = False, stdin: bool = False
    ) -> Iterator[Program]:
        """Start a program beside the tapped device (or the sender's); it is gone at the end."""
        self._serial += 1
        group = Group(f"{self._mark}-{self._serial}")
        try:
            where = self.sender if sender else self.tapped
            log = self.folder / f"{self._serial}.log"
            program = Program(list(command), where, group, log, stdin=stdin)
            try:
                yield program
            finally:
                program.kill()
        finally:
            group.remove()
