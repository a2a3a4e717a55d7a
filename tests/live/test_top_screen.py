"""The screen of ``wakizashi top`` in a terminal that tmux plays: keys, sizes, and what it leaves."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.center_servers import until
from tests.namespaces import ip, pair
from tests.steady import Traffic
from tests.tmux import Tmux

pytestmark = pytest.mark.timeout(120)

COMMAND = f"{sys.executable} -c 'from wakizashi.cli import main; main()' top"
WIDTH, HEIGHT = 100, 30
PROMPT = r"^ready>\n*\Z"


@pytest.fixture
def tmux(namespace: None, tmp_path: Path) -> Iterator[Tmux]:
    """A terminal with a shell."""
    made = Tmux(tmp_path)
    made.start(WIDTH, HEIGHT)
    yield made
    made.stop()


@pytest.fixture
def traffic(namespace: None) -> Iterator[None]:
    """Eight pairs on eth0, both ways."""
    pair()
    with Traffic(), Traffic("veth01", answers=True):
        yield


def start(tmux: Tmux, *flags: str) -> None:
    tmux.type("-l", " ".join([COMMAND, "--interval 0.5 --device eth0", *flags]))
    tmux.type("Enter")
    tmux.shows(r"^ sum of 8 pairs ")


def senders(tmux: Tmux) -> list[str]:
    """The first end of each pair, from above."""
    return [line.split()[0] for line in tmux.screen if "→" in line]


@pytest.mark.usefixtures("traffic")
def test_keys_and_sizes(tmux: Tmux) -> None:
    tmux.type("-l", "stty -g > mode; echo before")
    tmux.type("Enter")
    tmux.shows(rf"^before\n{PROMPT}")
    before, state = tmux.screen, tmux.state()
    start(tmux)
    assert tmux.screen[0].startswith(" wakizashi top  ")
    assert tmux.state() != state
    addresses = [f"10.1.0.{number}" for number in range(8)]
    until(lambda: sorted(senders(tmux)) == addresses, "the pairs")

    tmux.type("a")
    tmux.shows(r"by address ")
    until(lambda: senders(tmux) == addresses, "pairs by address")
    tmux.type("t")
    tmux.shows(r"by total ")
    tmux.type("1")
    tmux.shows(r"by 2 s ")

    tmux.type("/")
    tmux.shows(r"^ filter: _")
    tmux.type("-l", "1.0.5")
    tmux.shows(r"^ sum of 1 of 8 pairs ")
    until(lambda: senders(tmux) == ["10.1.0.5"], "the pair that matches")
    tmux.type("Enter")
    tmux.shows(r"^ filter: 1.0.5  Esc no filter   q quit")
    tmux.type("Escape")
    tmux.shows(r"^ sum of 8 pairs ")

    tmux.type("p")
    tmux.shows(r"PAUSED  by 2 s .*\n(.*\n)+ q quit .*p go on")  # the last line that is drawn
    paused = tmux.screen
    tmux.type("a")
    tmux.shows(r"PAUSED  by address ")
    tmux.type("b")
    tmux.shows(r" b/s: 2 s ")
    tmux.type("b", "1")
    tmux.shows(r"PAUSED  by 2 s ")
    until(lambda: tmux.screen == paused, "what was shown before")  # nothing has moved meanwhile

    for width, height in ((80, 24), (120, 40), (40, 12), (WIDTH, HEIGHT)):
        tmux.resize(width, height)
        last = "p go on" if width == 40 else "a sort"
        until(lambda n=height: len(tmux.screen) == n, "tmux to resize")  # type: ignore[misc]
        tmux.shows(rf"\A wakizashi top .*\n(.*\n){{{height - 2}}} q quit .* {last}\Z")
        assert (len(senders(tmux)) == 3) == (height == 12)
        assert ("/s " in "\n".join(tmux.screen[4:6])) == (width >= 100)
    until(lambda: tmux.screen == paused, "the same, in the same size")

    tmux.type("p")
    clock = paused[0].split()[-1]
    tmux.shows(rf"\A .* by 2 s  (?!{clock})\d:\d\d:\d\d\n")
    tmux.type("j", "j", "Down")  # all fit: there is nothing to scroll
    tmux.type("h")
    tmux.shows(r"^ q +quit$")
    tmux.type("h")
    tmux.shows(r"^ sum of 8 pairs ")
    until(lambda: len(senders(tmux)) == 8, "the pairs")

    tmux.type("q")
    left_as_it_was(tmux, before, state)


def test_another_size_is_drawn_at_once(tmux: Tmux) -> None:
    ip("link", "set", "lo", "up")
    tmux.type("-l", f"{COMMAND} --interval 3600 --device lo")
    tmux.type("Enter")
    tmux.shows("no traffic yet")
    for width, height in ((120, 40), (50, 10), (80, 24)):
        tmux.resize(width, height)
        clock = rf"^ wakizashi top .{{{width - 24}}} 0:00:00$"
        tmux.shows(rf"{clock}\n(.*\n){{{height - 2}}} q quit .*\Z")
    tmux.type("q")
    tmux.shows(PROMPT)


def left_as_it_was(tmux: Tmux, before: list[str], state: str) -> None:
    """The lines above the command, the cursor, and the mode of the terminal."""
    known = [line for line in before if line]
    tmux.shows(PROMPT)
    assert tmux.state() == state
    assert tmux.screen[: len(known) - 1] == known[:-1]
    tmux.type("-l", "stty -g | cmp - mode && echo same mode")
    tmux.type("Enter")
    tmux.shows(r"^same mode$")


@pytest.mark.usefixtures("traffic")
@pytest.mark.parametrize("how", ["-TERM", "-INT", "C-c"])
def test_a_signal_leaves_the_terminal_as_it_was(tmux: Tmux, how: str) -> None:
    tmux.type("-l", "stty -g > mode; echo before")
    tmux.type("Enter")
    tmux.shows(rf"^before\n{PROMPT}")
    before, state = tmux.screen, tmux.state()
    start(tmux)
    if how == "C-c":
        tmux.type("C-c")
    else:
        os.kill(child(), signal.Signals[f"SIG{how[1:]}"])
    left_as_it_was(tmux, before, state)


def child() -> int:
    """The process that shows it, in this network namespace."""
    mine = os.readlink("/proc/thread-self/ns/net")
    found = []
    for path in Path("/proc").iterdir():
        if not path.name.isdecimal():
            continue
        with suppress(OSError):  # it is gone meanwhile
            command = (path / "cmdline").read_bytes()
            if b"--device\0eth0" in command and os.readlink(path / "ns/net") == mine:
                found.append(int(path.name))
    (only,) = found
    return only


@pytest.mark.usefixtures("traffic")
def test_it_is_left_for_the_shell_and_come_back_to(tmux: Tmux) -> None:
    tmux.type("-l", "set -m; stty -g > mode; echo before")
    tmux.type("Enter")
    tmux.shows(rf"^before\n{PROMPT}")
    before, state = tmux.screen, tmux.state()
    start(tmux)
    tmux.type("C-z")
    tmux.shows(r"Stopped")
    assert tmux.state() == state
    tmux.type("-l", "fg")
    tmux.type("Enter")
    tmux.shows(r"\A wakizashi top .*\n(.*\n)+ sum of 8 pairs ")
    tmux.type("p")
    tmux.shows("PAUSED")
    tmux.type("q")
    left_as_it_was(tmux, before, state)


@pytest.mark.usefixtures("traffic")
def test_colours_and_characters_are_those_that_are_wanted(tmux: Tmux) -> None:
    start(tmux)
    tmux.shows("→")
    assert "\x1b[36m" in tmux.styled
    tmux.type("q")
    tmux.shows(PROMPT)
    tmux.type("-l", "export NO_COLOR=1 LC_ALL=C")
    tmux.type("Enter")
    start(tmux)
    assert not re.search(r"\x1b\[[0-9;]*3\d[m;]", tmux.styled.replace("\x1b[39m", ""))
    assert "\n".join(tmux.screen).isascii()
    tmux.shows(r"^ 10\.1\.0\.\d +> ")
    tmux.type("q")
    tmux.shows(PROMPT)


@pytest.mark.usefixtures("traffic")
def test_what_happens_to_devices_is_told_in_the_last_line(tmux: Tmux) -> None:
    start(tmux, "--device 'late.*'")
    ip("link", "add", "late0", "type", "veth", "peer", "name", "other0")
    tmux.shows(r"^ capturing late0")
    ip("link", "del", "late0")
    tmux.shows(r"^ device late0 is gone")
    tmux.type("q")
    tmux.shows(PROMPT)


def test_names_are_shown_when_they_are_asked_for(tmux: Tmux) -> None:
    ip("link", "set", "lo", "up")
    # /etc/hosts has this one everywhere, so that no resolver is needed.
    tmux.type("-l", f"{COMMAND} --interval 0.5 --device lo")
    tmux.type("Enter")
    tmux.shows("no traffic yet")
    ip("route", "get", "127.0.0.1")
    ping = ["python3", "-c", "import socket; s=socket.socket(2,2); s.sendto(b'x',('127.0.0.1',9))"]
    subprocess.run(ping, check=True, timeout=30)
    tmux.shows(r"^ 127\.0\.0\.1 +→ ")
    tmux.type("n")
    tmux.shows(r"^ localhost +→ ")
    tmux.type("n")
    tmux.shows(r"^ 127\.0\.0\.1 +→ ")
    tmux.type("q")
    tmux.shows(PROMPT)
