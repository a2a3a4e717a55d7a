"""How a daemon ends: by a signal, with a message, with an exit code; and how it hears to reload.

Only command lines call :func:`guard`; nothing else exits.
"""

import errno
import logging
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Iterable
from types import FrameType
from typing import NoReturn, Self

from wakizashi.errors import EXIT_OK, EXIT_RUNTIME, WakizashiError
from wakizashi.logs import last_words, one_line
from wakizashi.progress import let_go

_log = logging.getLogger(__name__)

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
"""A disk that is full, a quota or limit that is reached, a disk or terminal that is broken."""
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
ECHO_SECONDS = 1.0
"""For so long the same signal once more is the same request.

A single-file program is two processes, and the parent passes on what it gets. A terminal's
Ctrl-C and a service manager signal both of them, so the child hears it twice.
"""


def guard(program: str, main: Callable[[], None]) -> NoReturn:
    """Run a command and exit: a :class:`WakizashiError` becomes a message, never a traceback.

    A standard stream that is closed is as good as /dev/null. What is printed and can't be written
    is told like any other error, but that the reader of a pipe has gone is none.
    """
    _open_streams()
    try:
        main()
        sys.stdout.flush()  # at the interpreter's end nobody would catch what goes wrong
    except WakizashiError as error:
        for line in str(error).splitlines():
            _say(f"{program}: error: {line}", line)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        _say(f"{program}: interrupted", "interrupted")
        sys.exit(EXIT_RUNTIME)
    except BrokenPipeError:  # `wakizashi query | head`
        _drop_output()
        sys.exit(EXIT_OK)
    except Exception as error:
        if fault := _output_fault(error):
            _drop_output()
            told = f"standard output: {fault}; make room there, or write elsewhere"
            _say(f"{program}: error: {told}", told)
            sys.exit(EXIT_RUNTIME)
        # The top of the program: a defect is told in one line, in full where debugging is on.
        _log.debug("unexpected", exc_info=True)
        told = one_line(
            f"unexpected {type(error).__name__}: {error}; this is a defect of wakizashi: "
            "run it again with --set logLev=0 and report what it says"
        )
        _say(f"{program}: error: {told}", told)
        sys.exit(EXIT_RUNTIME)
    sys.exit(EXIT_OK)


def _open_streams() -> None:
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115 - stays open


def _output_fault(error: Exception) -> str:
    """What is wrong with standard output, if that is what ``error`` is about.

    A write that fails names no file, and has the system's words alone: what else may fail so, as a
    database or a directory, is told where it is called, with its name.
    """
    if not isinstance(error, OSError) or error.errno not in _NO_ROOM or error.filename is not None:
        return ""
    told = os.strerror(error.errno)
    return told if error.strerror == told else ""


def _drop_output() -> None:
    """What is still to be written goes nowhere: it would fail again at the interpreter's end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _say(text: str, message: str) -> None:
    sys.stderr.write(last_words(text, message) + "\n")


def leave_at_once() -> NoReturn:
    """What a second signal does."""
    message = "second signal: leaving at once"
    line = f"{let_go(sys.stderr)}{last_words(message, message)}\n"
    os.write(sys.stderr.fileno(), line.encode())
    os._exit(EXIT_RUNTIME)


def ask_child(work: Callable[[], str]) -> str:
    """What ``work`` returns in a child of this process, which ends with it. Call it before there are threads.

    Raises:
        WakizashiError: it broke.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        code = EXIT_RUNTIME
        try:
            os.close(reader)
            with os.fdopen(writer, "w") as out:
                out.write(work())
            code = EXIT_OK
        finally:
            os._exit(code)  # nothing of the parent's is to be tidied up here
    os.close(writer)
    with os.fdopen(reader) as answers:
        said = answers.read()
    if os.waitpid(child, 0)[1]:
        raise WakizashiError("a child of this process broke; this is a defect of wakizashi")
    return said


class StopSignal:
    """SIGTERM and SIGINT as something to wait for: readable, and ``requested`` is true.

    The first asks for a graceful stop, a second one forces the exit, unless it is the first one's
    echo.

    Args:
        clock: monotonic seconds.
        signals: others to take for the same, or less.
        force: what a second one does.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        *,
        signals: Iterable[signal.Signals] = STOP_SIGNALS,
        force: Callable[[], NoReturn] = leave_at_once,
    ) -> None:
        self.requested = False
        self._clock, self._signals, self._force = clock, tuple(signals), force
        self._first = (0, clock())
        """The signal that asked, and when."""
        self._reader, self._writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def __enter__(self) -> Self:
        self._before = [(number, signal.signal(number, self._handle)) for number in self._signals]
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._before:
            signal.signal(number, handler)
        os.close(self._reader)
        os.close(self._writer)

    def fileno(self) -> int:
        """Readable once a stop was requested."""
        return self._reader

    def wait(self, seconds: float) -> bool:
        """Whether a stop is requested, or will be within so many seconds."""
        return self.requested or bool(select.select([self], [], [], seconds)[0])

    def _handle(self, number: int, frame: FrameType | None) -> None:
        now = self._clock()
        if self.requested:
            first, at = self._first
            if number == first and now - at < ECHO_SECONDS:
                return
            self._force()
        self.requested, self._first = True, (number, now)
        os.write(self._writer, b"x")


class HangUp:
    """SIGHUP as something to wait for: readable, until :meth:`take` is called.

    Enter it before anything else: until then SIGHUP ends the process. Any number of
    signals that come before the answer are one.
    """

    def __init__(self) -> None:
        self._requested = False
        self._reader, self._writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def __enter__(self) -> Self:
        signal.signal(signal.SIGHUP, self._handle)
        return self

    def __exit__(self, *exception: object) -> None:
        self.ignore()  # the process is about to end well, and is not to be hit by one
        os.close(self._reader)
        os.close(self._writer)

    def ignore(self) -> None:
        """The process stops: nothing is left to reload.

        The kernel drops them from now on, so that none interrupts a system call. A gRPC
        server that stops under a flood of them can hang: a lock is never free again.
        """
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    def fileno(self) -> int:
        """Readable once a reload was requested."""
        return self._reader

    def take(self) -> bool:
        """Whether one was requested since the last call; the caller reads its files after this."""
        if not self._requested:
            return False
        os.read(self._reader, 1)
        self._requested = False
        return True

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if not self._requested:  # so that the pipe never holds more than one
            self._requested = True
            os.write(self._writer, b"x")
