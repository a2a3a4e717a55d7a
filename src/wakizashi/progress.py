"""How far something is that a person waits for, in one line on a terminal, wiped at the end.

Only where somebody looks: standard error is this program's own terminal, it can move a cursor,
and the program is in its foreground. Elsewhere nothing is written and no thread is started, so a
pipe, a file and a journal get the same bytes as ever. What takes less than :data:`QUIET_SECONDS`
shows nothing.

What is written to standard error meanwhile, log lines above all, stands above the line. That is
why it is no ``click.progressbar``: log lines would be written into that, it moves only when it is
told to, and it writes its label where there is no terminal.

The work is not slowed down to tell of itself: a thread looks at its counters.
"""

import contextlib
import logging
import os
import select
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Self, TextIO, TypeVar, cast

from wakizashi import terminals
from wakizashi.amounts import duration

QUIET_SECONDS = 0.5
"""What is over by then shows nothing."""
ROUND_SECONDS = 0.1
"""At most ten updates a second."""
_REFRESH_SECONDS = 1.0
"""A line that stays the same is drawn again so often: what a key echoed may stand in it."""
_LEFT_SECONDS = 2.0
"""Before that nobody can tell how long it will take."""

ERASE = "\r\x1b[J"
"""All from the line on. It may have become two when the terminal became narrower; the cursor waits
at its beginning, so that both are below it."""

_BAR = (8, 24)
"""A bar has so many columns, or is left out."""
_LFLAG = 3


@dataclass(frozen=True, slots=True)
class Step:
    """How far it is."""

    texts: tuple[str, ...]
    """The same in words, the fullest first; what is shown is the first one that fits."""
    part: float | None = None
    """From 0 to 1; None where the end is not known."""


Row = TypeVar("Row")
Tell = Callable[[float], Step]
"""How far it is after so many seconds. Called on a thread of its own, so it only looks."""


def line(step: Step, width: int, *, unicode: bool) -> str:
    """A step in less than ``width`` columns: in the last one a terminal may begin a new line."""
    room = max(0, width - 1)
    percent = "" if step.part is None else f"{int(100 * _within(step.part)):3} %  "
    fitting = (text for text in step.texts if len(percent) + len(text) <= room)
    text = percent + next(fitting, step.texts[-1])
    least, most = _BAR
    columns = min(most, room - len(text) - 1)
    if step.part is None or columns < least:
        return text[:room]
    return f"{_bar(_within(step.part), columns, unicode=unicode)} {text}"


def _bar(part: float, columns: int, *, unicode: bool) -> str:
    full, empty = "━─" if unicode else "#."
    done = int(part * columns)
    return full * done + empty * (columns - done)


def _within(part: float) -> float:
    return min(1.0, max(0.0, part))


def left(part: float, elapsed_seconds: float) -> str:
    """How long it will take yet, at the pace so far: ``0:01:40 left``; empty while that is a guess."""
    if part <= 0 or elapsed_seconds < _LEFT_SECONDS:
        return ""
    return f"{duration(elapsed_seconds * (1 - _within(part)) / part)} left"


def joined(*texts: str) -> str:
    """Those that are not empty."""
    return ", ".join(text for text in texts if text)


def count(number: int, what: str) -> str:
    """``1 window``, ``12,000 windows``."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def stopping(what: str, number: int, deadline_seconds: float) -> Step:
    """A daemon that stops and waits: for how many, e.g. ``window``, for how long, and the way out."""
    seconds = max(0, round(deadline_seconds))
    return Step(
        (
            f"stopping: waiting for {count(number, what)}, {seconds} s at most;"
            " Ctrl-C leaves at once",
            f"{count(number, what)}, {seconds} s; Ctrl-C leaves at once",
            f"{number:,}, {seconds} s; Ctrl-C leaves",
        )
    )


class Counter:
    """Rows of unknown number that are read, one kind after another."""

    def __init__(self) -> None:
        self._what, self._number = "row", 0

    def through(self, what: str, rows: Iterable[Row]) -> Iterator[Row]:
        """The same rows, each of them a ``what``, counted anew."""
        self._what, self._number = what, 0
        for row in rows:
            self._number += 1
            yield row

    def tell(self, elapsed_seconds: float) -> Step:
        """How many so far, of those that are being read, and how long all took."""
        text = f"{count(self._number, self._what)} so far, {duration(elapsed_seconds)}"
        return Step((f"reading: {text}", text))


class Above:
    """Standard error with a line below it, that what is written pushes down."""

    def __init__(self, below: TextIO) -> None:
        self._below = below
        self._lock = threading.RLock()
        self._line = ""
        self._there = False
        """The line is on the terminal."""
        self._whole = True
        """What was written last ended its line; else there is no room below it."""
        self._over = False

    def write(self, text: str) -> int:
        """Write above the line."""
        with self._lock:
            before = ERASE if self._there else ""
            self._whole = text.endswith("\n") if text else self._whole
            self._there = bool(self._line) and self._whole
            self._below.write(f"{before}{text}{_drawn(self._line) if self._there else ''}")
            self._below.flush()
        return len(text)

    def draw(self, text: str) -> None:
        """Have this line there; none where it is empty. A terminal that takes nothing is let be."""
        with self._lock:
            self._line = text
            if self._over or not self._whole or not _takes(self._below):
                return
            if text or self._there:
                self._below.write(_drawn(text) or ERASE)
                self._below.flush()
            self._there = bool(text)

    def forget(self) -> None:
        """Somebody else has the terminal: what is there is not the line's."""
        with self._lock:
            self._line, self._there = "", False

    def let_go(self) -> str:
        """Draw no more; what erases the line. In a signal handler, so without the lock."""
        self._over = True
        return ERASE if self._there else ""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._below, name)


def _drawn(text: str) -> str:
    # A terminal may have become narrower and not told yet (tmux takes 0.25 s): it must not begin a
    # second line. So no line breaks (DECAWM) meanwhile.
    return f"\r\x1b[?7l{text}{ERASE[1:]}\r\x1b[?7h" if text else ""


def _takes(stream: TextIO) -> bool:
    """Whether it can be written to without waiting: it may be held (Ctrl-S), or slow."""
    poll = select.poll()
    poll.register(stream.fileno(), select.POLLOUT)
    return any(events & select.POLLOUT for _, events in poll.poll(0))


class Progress:
    """The line while this is entered.

    Args:
        tell: how far it is.
        stream: the terminal, standard error; what is written to it meanwhile stands above the line.
        looks: whether somebody looks at it now.
        columns: its width now.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        tell: Tell,
        stream: TextIO,
        *,
        unicode: bool,
        looks: Callable[[], bool],
        columns: Callable[[], int],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tell, self._stream, self._unicode = tell, stream, unicode
        self._looks, self._columns, self._clock = looks, columns, clock
        self.above = Above(stream)
        self._begun = self._drawn = clock()
        self._shown = ""
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name="progress", daemon=True)

    def __enter__(self) -> Self:
        _speak_through(self._stream, cast(TextIO, self.above))
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._done.set()
        self._thread.join()
        with contextlib.suppress(OSError):  # the terminal is gone
            self.above.draw("")
        _speak_through(cast(TextIO, self.above), self._stream)

    def _run(self) -> None:
        with contextlib.suppress(OSError):  # as above: whoever logs will tell
            while not self._done.wait(ROUND_SECONDS):
                self.round()

    def round(self) -> None:
        """Draw the line, if it is time and somebody looks."""
        now = self._clock()
        if now - self._begun < QUIET_SECONDS:
            return
        if not self._looks():
            self.above.forget()
            return
        text = line(self._tell(now - self._begun), self._columns(), unicode=self._unicode)
        if text != self._shown or now - self._drawn >= _REFRESH_SECONDS:
            self.above.draw(text)
            self._shown, self._drawn = text, now


def shown(tell: Tell) -> contextlib.AbstractContextManager[object]:
    """Show how far it is while this is entered, where somebody looks at standard error."""
    stream = sys.stderr
    try:
        terminal = stream.isatty() and terminals.capable(os.environ)
    except (AttributeError, ValueError):  # there is none, or it is closed
        terminal = False
    if not terminal:
        return contextlib.nullcontext()
    return Progress(
        tell,
        stream,
        unicode=terminals.unicode(os.environ) and stream.encoding.lower().startswith("utf"),
        looks=lambda: _foreground(stream.fileno()),
        columns=lambda: _columns(stream.fileno()),
    )


def let_go(stream: object) -> str:
    """For who writes past ``stream``, and ends the program: what erases a line that is below it."""
    return stream.let_go() if isinstance(stream, Above) else ""


def _foreground(screen: int) -> bool:
    """Whether it is our terminal, and we have it, not the shell, nor a pager that reads from us."""
    try:
        lines = bool(termios.tcgetattr(screen)[_LFLAG] & termios.ICANON)
        return lines and os.tcgetpgrp(screen) == os.getpgrp()
    except (termios.error, OSError):
        return False


def _columns(screen: int) -> int:
    try:
        return os.get_terminal_size(screen).columns or 80  # a serial line does not tell
    except OSError:
        return 80


def _speak_through(old: TextIO, new: TextIO) -> None:
    """Have what is written to standard error, and what is logged there, go another way."""
    if sys.stderr is old:
        sys.stderr = new
    for handler in logging.root.handlers:
        if isinstance(handler, logging.StreamHandler) and handler.stream is old:
            handler.setStream(new)
