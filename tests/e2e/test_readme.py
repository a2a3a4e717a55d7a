"""The README's five minutes on a VM, line by line as they stand there."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.daemons import need_root
from tests.e2e.lab import run, wait_for

README = Path(__file__).parents[2] / "README.md"
PAGE = "http://127.0.0.1:8080"


def lines() -> list[str]:
    """The commands, without what they remark."""
    part = README.read_text().partition("In five minutes, all on one machine")[2]
    block = part.partition("```sh\n")[2].partition("```")[0]
    return [re.sub(r"\s+#.*", "", line) for line in block.splitlines()]


@pytest.fixture
def network() -> Iterator[str]:
    """A network of its own, so that the usual ports are free."""
    need_root()
    name = f"wkzr{os.getpid() % 100_000}"
    run("ip", "netns", "add", name)
    try:
        run("ip", "-n", name, "link", "set", "lo", "up")
        yield name
    finally:
        run("ip", "netns", "del", name)


def test_five_minutes_on_a_vm(network: str, tmp_path: Path) -> None:
    install, *daemons, query = lines()
    assert install.startswith("pip install ")
    assert len(daemons) == 3 and all(line.endswith(" &") for line in daemons)
    enter = ("nsenter", f"--net=/run/netns/{network}")
    programs = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    environment = {**os.environ, **programs}

    def ask(command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*enter, "sh", "-c", command],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
        )

    def is_shown() -> bool:
        answer = ask(f"curl -s {PAGE}/api/v1/span?last=10m").stdout
        return bool(answer) and json.loads(answer).get("pairs", 0) > 0

    script = "\n".join([*daemons, "wait"])
    with (tmp_path / "log").open("wb") as log:
        shell = subprocess.Popen(
            [*enter, "sh", "-c", script],
            cwd=tmp_path,
            env=environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        wait_for("traffic on the page", is_shown, 60)
        done = ask(query)
        assert done.returncode == 0, done.stderr
        assert re.search(r"^127\.0\.0\.1 +127\.0\.0\.1 +[\d,]+ +[\d,]+$", done.stdout, re.MULTILINE)
        assert (tmp_path / "wakizashi.db").is_file()
    finally:
        os.killpg(shell.pid, signal.SIGTERM)
        shell.wait(30)
        wait_for("all to have ended", lambda: not _alive(shell.pid))
    told = (tmp_path / "log").read_text()
    assert "Traceback" not in told
    assert f"dashboard: {PAGE} shows SQLite" in told


def _alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True
