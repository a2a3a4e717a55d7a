"""A terminal that a program runs in, and what a person sees of it."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from tests.center_servers import until


def pictures(written: str, columns: int) -> Iterator[list[str]]:
    """The lines that a terminal shows that is written this, each time before it writes over them.

    It knows no more than is needed.
    """
    lines, row, column, breaks = [""], 0, 0, True
    for part in re.findall(r"\x1b\[J|\x1b\[\?7[lh]|\r|\n|[^\r\n]", written):
        if part.startswith("\x1b[?7"):
            breaks = part.endswith("h")
        elif part == "\r":
            yield [line.rstrip() for line in lines]
            column = 0
        elif part == "\n":
            row += 1
            lines += [""] * (row + 1 - len(lines))
        elif part == "\x1b[J":
            del lines[row + 1 :]
            lines[row] = lines[row][:column]
        else:
            if column == columns and not breaks:
                column -= 1
            if column == columns:
                row, column = row + 1, 0
                lines += [""] * (row + 1 - len(lines))
            lines[row] = lines[row][:column].ljust(column) + part + lines[row][column + 1 :]
            column += 1
    yield [line.rstrip() for line in lines]


def seen(written: str, columns: int) -> list[str]:
    """The lines that it shows in the end."""
    return list(pictures(written, columns))[-1]


class Screen:
    """One command in the foreground of a terminal of its own; its standard output is a pipe.

    Args:
        words: of ``wakizashi.probe``, ``wakizashi.center`` or ``wakizashi.cli`` and what follows.
    """

    def __init__(
        self, module: str, *words: object, folder: Path, columns: int = 100, **environment: str
    ) -> None:
        self.columns = columns
        self._user, program = pty.openpty()
        fcntl.ioctl(program, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        self.process = subprocess.Popen(
            command(module, *words),
            cwd=folder,
            stdin=program,
            stdout=subprocess.PIPE,
            stderr=program,
            env={**os.environ, "TERM": "xterm", "LC_ALL": "C.UTF-8", **environment},
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(2, termios.TIOCSCTTY, 0),
        )
        os.close(program)
        self._bytes = bytearray()
        self._looked_at = 0
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        with suppress(OSError):  # the other end is closed
            while data := os.read(self._user, 65_536):
                self._bytes += data

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: object, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()
        self._thread.join(10)
        os.close(self._user)

    @property
    def written(self) -> str:
        """All that came, as it came."""
        return self._bytes.decode(errors="replace")

    @property
    def lines(self) -> list[str]:
        """What is to be seen."""
        return seen(self.written, self.columns)

    def shows(self, pattern: str) -> re.Match[str]:
        """Wait until what is to be seen has it, or had since what was waited for before.

        On a busy machine what is there for a moment is gone before it is looked at.
        """
        found: list[re.Match[str]] = []

        def there() -> bool:
            all_seen = list(pictures(self.written, self.columns))
            for number, lines in enumerate(all_seen[self._looked_at :]):
                if match := re.search(pattern, "\n".join(lines), re.MULTILINE):
                    self._looked_at += number
                    found.append(match)
                    return True
            return False

        try:
            until(there, f"the terminal to show {pattern}")
        except pytest.fail.Exception:
            pytest.fail(f"no {pattern!r} in:\n" + "\n".join(self.lines))
        return found[0]

    def type(self, keys: bytes) -> None:
        """As a person does; 3 is Ctrl-C."""
        os.write(self._user, keys)

    def end(self) -> tuple[int, str]:
        """Wait for the end; the exit code, and standard output."""
        out, _ = self.process.communicate(timeout=60)
        self._thread.join(10)
        return self.process.returncode, out.decode()


def command(module: str, *words: object) -> list[str]:
    """The same as a list, for who wants no terminal."""
    code = f"from {module} import main; main()"
    return [sys.executable, "-c", code, *map(str, words)]
