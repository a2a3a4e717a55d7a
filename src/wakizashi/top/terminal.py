"""The terminal: lines drawn without flicker, keys as they are pressed, all put back at the end.

By hand, with what any terminal since the VT100 understands and xterm's alternate screen, not with
curses: that needs its database beside the program, which minimal images do not have.
"""

import contextlib
import os
import signal
import termios
from collections.abc import Sequence
from types import FrameType
from typing import NoReturn, Self

from wakizashi.lifecycle import leave_at_once
from wakizashi.top.screen import Size
from wakizashi.top.text import Line, Style

# The alternate screen; no cursor; no line break at the last column.
_ENTER = "\x1b[?1049h\x1b[?25l\x1b[?7l"
_LEAVE = "\x1b[0m\x1b[?7h\x1b[?25h\x1b[?1049l"
_SIGNALS = (signal.SIGWINCH, signal.SIGTSTP, signal.SIGCONT)
_DEFAULT_SIZE = Size(80, 24)


def rendered(line: Line, width: int, *, colour: bool) -> str:
    """A line with its styles, as the terminal wants it, and with what was right of it erased.

    Not of a line that is full: the cursor then stands on its last character, and would erase that.
    """
    made = []
    for text, style in line:
        code = style.value if colour else style.colourless
        made.append(text if style is Style.PLAIN else f"\x1b[{code}m{text}\x1b[0m")
    if sum(len(text) for text, _ in line) < width:
        made.append("\x1b[K")
    return "".join(made)


def changes(before: Sequence[str], after: Sequence[str]) -> str:
    """What makes the screen that shows ``before`` show ``after``: the lines that differ."""
    made = []
    for number, line in enumerate(after):
        if number >= len(before) or before[number] != line:
            made.append(f"\x1b[{number + 1};1H{line}")
    return "".join(made)


class Terminal:
    """A terminal that is taken over while this is entered.

    Args:
        keys: descriptor that keys are read from.
        screen: descriptor of the screen.
    """

    def __init__(self, keys: int, screen: int, *, colour: bool) -> None:
        self._keys, self._screen, self._colour = keys, screen, colour
        self._shown: list[str] = []
        self._entered = False
        self._bell, self._ring = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._stop = self._back = False

    def __enter__(self) -> Self:
        self._saved = termios.tcgetattr(self._keys)
        self._entered = True
        self._before = [(each, signal.signal(each, self._heard)) for each in _SIGNALS]
        try:
            self._take_over()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._before:
            signal.signal(number, handler)
        self.give_back()
        self._entered = False
        os.close(self._bell)
        os.close(self._ring)

    def _take_over(self) -> None:
        mode = termios.tcgetattr(self._keys)
        mode[0] &= ~(termios.IXON | termios.ICRNL)  # Ctrl-S must not hold the capture up
        mode[3] &= ~(termios.ICANON | termios.ECHO)
        mode[6][termios.VMIN], mode[6][termios.VTIME] = 1, 0
        termios.tcsetattr(self._keys, termios.TCSADRAIN, mode)
        self._write(_ENTER)
        self._clear()

    def _clear(self) -> None:
        self._shown = []
        self._write("\x1b[2J")

    def give_back(self) -> None:
        """Put all as it was, if it was taken over."""
        if not self._entered:
            return
        self._write(_LEAVE)
        # What was typed and not read is not for the shell.
        termios.tcsetattr(self._keys, termios.TCSAFLUSH, self._saved)

    def leave(self) -> NoReturn:
        """What a second signal does: as of a daemon, but with the terminal as it was."""
        self.give_back()
        leave_at_once()

    def fileno(self) -> int:
        """Readable when :meth:`attend` has work."""
        return self._bell

    def attend(self) -> None:
        """The terminal has another size, is to be left for the shell, or was come back to."""
        os.read(self._bell, 4096)
        if self._stop:
            self._stop = False
            self.give_back()
            own = signal.signal(signal.SIGTSTP, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGTSTP)  # here it stands, until it is continued
            signal.signal(signal.SIGTSTP, own)
            self._back = True
        if self._back:
            self._back = False
            self._take_over()  # whoever had it meanwhile may have left it otherwise
        else:
            self._clear()

    def read(self) -> bytes:
        """What was typed; nothing at its end."""
        return os.read(self._keys, 1024)

    @property
    def size(self) -> Size:
        """Now."""
        try:
            size = os.get_terminal_size(self._screen)
        except OSError:
            return _DEFAULT_SIZE
        if not size.columns or not size.lines:  # a serial line does not tell
            return _DEFAULT_SIZE
        return Size(size.columns, size.lines)

    def draw(self, lines: Sequence[Line]) -> None:
        """Show these lines, the first one at the top."""
        width = self.size.width
        after = [rendered(line, width, colour=self._colour) for line in lines]
        self._write(changes(self._shown, after))
        self._shown = after

    def _write(self, text: str) -> None:
        data = text.encode(errors="replace")
        while data:
            data = data[os.write(self._screen, data) :]

    def _heard(self, number: int, frame: FrameType | None) -> None:
        self._stop |= number == signal.SIGTSTP
        self._back |= number == signal.SIGCONT
        with contextlib.suppress(BlockingIOError):
            os.write(self._ring, b"x")
