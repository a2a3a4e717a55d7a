"""A terminal that tmux plays, with a shell in it."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.center_servers import until


class Tmux:
    """One session with one pane, that a shell runs in; the server is its own."""

    def __init__(self, folder: Path) -> None:
        program = shutil.which("tmux")
        if program is None:
            if os.environ.get("CI"):
                pytest.fail("tmux is missing; apt-get install tmux")
            pytest.skip("tmux is missing; apt-get install tmux")
        profile = folder / "profile"
        profile.write_text("PS1='ready> '\ncd \"$HOME\"\n")
        self._command = [program, "-u", "-f", "/dev/null", "-S", str(folder / "socket")]
        self._environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "LC_ALL": "C.UTF-8",
            "TERM": "xterm-256color",
            "ENV": str(profile),  # what sh reads when it is interactive
            "PYTHONPATH": os.pathsep.join(sys.path),
        }

    def run(self, *words: str) -> str:
        done = subprocess.run(
            [*self._command, *words],
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
        return done.stdout

    def start(self, width: int, height: int) -> None:
        size = ["-x", str(width), "-y", str(height)]
        self.run("new-session", "-d", *size, "/bin/sh -i")
        self.run("set-option", "-g", "status", "off")
        self.run("set-option", "-g", "window-size", "manual")
        self.resize(width, height)
        self.shows("^ready>$")

    def stop(self) -> None:
        self.run("kill-server")

    def resize(self, width: int, height: int) -> None:
        self.run("resize-window", "-x", str(width), "-y", str(height))

    def type(self, *keys: str) -> None:
        """Names of keys as tmux has them, or text."""
        self.run("send-keys", *keys)

    @property
    def screen(self) -> list[str]:
        """What is to be seen, without the spaces at the ends."""
        return [line.rstrip() for line in self.run("capture-pane", "-p").split("\n")[:-1]]

    @property
    def styled(self) -> str:
        """The same, with its escape sequences."""
        return self.run("capture-pane", "-p", "-e")

    def shows(self, pattern: str) -> re.Match[str]:
        """Wait until what is to be seen has it."""
        found: list[re.Match[str]] = []

        def there() -> bool:
            match = re.search(pattern, "\n".join(self.screen), re.MULTILINE)
            found.extend([match] if match else [])
            return bool(found)

        try:
            until(there, f"the screen to show {pattern}")
        except pytest.fail.Exception:
            pytest.fail(f"no {pattern!r} in:\n" + "\n".join(self.screen))
        return found[0]

    def state(self) -> str:
        """Of cursor, alternate screen and line breaks."""
        flags = ("cursor_flag", "alternate_on", "wrap_flag", "insert_flag", "keypad_flag")
        return self.run("display-message", "-p", " ".join(f"#{{{flag}}}" for flag in flags))
