"""The line that says how far something is: what is in it, and that it is in nobody's way."""

import io
import logging
import os
import pty
import sys
import termios
import threading
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import TextIO, cast

import pytest

from tests.screens import seen
from wakizashi import lifecycle, progress
from wakizashi.progress import Above, Counter, Progress, Step, line, stopping

STEP = Step(("3 of 10 windows, and many more words", "3 of 10 windows", "3 of 10"), 0.3)


@pytest.mark.parametrize("unicode", [True, False])
@pytest.mark.parametrize("width", [*range(130), 1000])
def test_a_line_never_reaches_the_last_column(width: int, *, unicode: bool) -> None:
    for step in (STEP, Step(STEP.texts), Step(("x" * 500,), 2.0), stopping("window", 12, 6.4)):
        text = line(step, width, unicode=unicode)
        assert len(text) <= max(0, width - 1)
        assert unicode or text.isascii()
        assert text.isprintable() or not text  # no colours, no control characters


def test_what_fits_is_shown_the_fullest_first() -> None:
    assert line(STEP, 80, unicode=True) == "━" * 7 + "─" * 17 + "  30 %  " + STEP.texts[0]
    assert line(STEP, 53, unicode=False) == "##......" + "  30 %  " + STEP.texts[0]
    assert line(STEP, 52, unicode=False) == " 30 %  " + STEP.texts[0]
    assert line(STEP, 40, unicode=False) == "####............  30 %  3 of 10 windows"
    assert line(STEP, 18, unicode=False) == " 30 %  3 of 10"
    assert line(STEP, 10, unicode=False) == " 30 %  3 "
    assert line(Step(("much more", "more")), 9, unicode=True) == "more"


def test_a_part_is_one_though_the_file_grows() -> None:
    assert line(Step(("",), 1.7), 20, unicode=False).strip() == "########### 100 %"
    assert line(Step(("",), -1.0), 20, unicode=False).strip() == "...........   0 %"


def test_time_left_is_told_once_it_is_no_guess() -> None:
    assert progress.left(0.5, 1.9) == progress.left(0.0, 60) == ""
    assert progress.left(0.25, 20) == "0:01:00 left"
    assert progress.left(1.2, 20) == "0:00:00 left"


def test_what_a_daemon_waits_for_fits_a_narrow_terminal_with_the_way_out() -> None:
    step = stopping("window", 1200, 6.4)
    told = "stopping: waiting for 1,200 windows, 6 s at most; Ctrl-C leaves at once"
    assert line(step, 80, unicode=True) == told
    assert line(step, 40, unicode=True) == "1,200, 6 s; Ctrl-C leaves"
    assert line(stopping("call", 1, -3), 80, unicode=True).startswith(
        "stopping: waiting for 1 call, 0 s"
    )
    assert line(stopping("call", 1, 8), 40, unicode=True) == "1 call, 8 s; Ctrl-C leaves at once"


def test_rows_are_counted_and_pass_as_they_are() -> None:
    counter = Counter()
    for _ in counter.through("ledger", range(7)):
        pass
    assert counter.tell(61).texts[0] == "reading: 7 ledgers so far, 0:01:01"
    rows = counter.through("row", iter("abc"))
    assert next(rows) == "a"
    assert counter.tell(0).texts == ("reading: 1 row so far, 0:00:00", "1 row so far, 0:00:00")
    assert list(rows) == ["b", "c"]


class Fake(io.StringIO):
    """A terminal that remembers."""

    def fileno(self) -> int:
        return self.descriptor

    descriptor = 1


@pytest.fixture
def screen() -> Iterator[Fake]:
    fake = Fake()
    reader, fake.descriptor = os.pipe()  # one that can be written to
    yield fake
    os.close(reader)
    os.close(fake.descriptor)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def made(
    screen: Fake,
    clock: Clock,
    *,
    tell: progress.Tell = lambda seconds: Step((f"after {seconds:.1f} s",)),
    looks: Callable[[], bool] = lambda: True,
    columns: Callable[[], int] = lambda: 40,
) -> Progress:
    return Progress(tell, screen, unicode=True, looks=looks, columns=columns, clock=clock)


def test_what_is_over_soon_shows_nothing(screen: Fake, clock: Clock) -> None:
    shown = made(screen, clock)
    clock.now += 0.49
    shown.round()
    assert screen.getvalue() == ""
    clock.now += 0.02
    shown.round()
    assert seen(screen.getvalue(), 40) == ["after 0.5 s"]
    assert screen.getvalue().endswith("\r\x1b[?7h")  # what the terminal echoes is drawn over


def test_the_same_is_drawn_again_once_a_second_alone(screen: Fake, clock: Clock) -> None:
    shown = made(screen, clock, tell=lambda _: Step(("same",)))
    clock.now += 1
    for _ in range(40):
        shown.round()
        clock.now += 0.1
    assert screen.getvalue().count("same") == 4


def test_log_lines_stand_above_it_and_nothing_is_left_of_it(screen: Fake, clock: Clock) -> None:
    shown = made(screen, clock, tell=lambda seconds: Step(("x" * 30 + f" {seconds:.1f}",)))
    above = shown.above
    above.write("before\n")
    clock.now += 1
    shown.round()
    above.write("first\n")
    assert seen(screen.getvalue(), 40) == ["before", "first", "x" * 30 + " 1.0"]
    above.write("half")
    clock.now += 1
    shown.round()  # not into the line that is being written
    assert seen(screen.getvalue(), 40) == ["before", "first", "half"]
    above.write(" and half\n")
    clock.now += 1
    shown.round()
    assert seen(screen.getvalue(), 40)[2:] == ["half and half", "x" * 30 + " 3.0"]
    above.draw("")
    assert seen(screen.getvalue(), 40) == ["before", "first", "half and half", ""]


def test_another_width_holds_from_the_next_update_on(screen: Fake, clock: Clock) -> None:
    width = 80
    shown = made(screen, clock, tell=lambda _: STEP, columns=lambda: width)
    clock.now += 1
    shown.round()
    width = 20
    shown.round()
    assert seen(screen.getvalue(), 80) == [" 30 %  3 of 10"]


def test_a_terminal_that_is_narrower_than_it_told_shows_one_line(
    screen: Fake, clock: Clock
) -> None:
    shown = made(screen, clock, columns=lambda: 80, tell=lambda _: STEP)
    clock.now += 1
    shown.round()
    clock.now += 1
    shown.round()
    assert len(seen(screen.getvalue(), 30)) == 1
    shown.above.write("x" * 40 + "\n")  # which may have two, as ever
    assert seen(screen.getvalue(), 30)[:2] == ["x" * 30, "x" * 10]


def test_who_has_the_terminal_meanwhile_is_let_be(screen: Fake, clock: Clock) -> None:
    looks = True
    shown = made(screen, clock, looks=lambda: looks)
    clock.now += 1
    shown.round()
    looks, length = False, len(screen.getvalue())
    clock.now += 1
    shown.round()
    shown.above.write("a log line\n")  # as ever
    shown.above.draw("")
    assert screen.getvalue()[length:] == "a log line\n"


def test_a_terminal_that_is_held_holds_nobody_up(screen: Fake, clock: Clock) -> None:
    os.set_blocking(screen.descriptor, False)
    with pytest.raises(BlockingIOError):
        while True:
            os.write(screen.descriptor, bytes(4096))
    shown = made(screen, clock)
    clock.now += 1
    shown.round()
    assert screen.getvalue() == ""


def test_a_terminal_that_is_gone_ends_it_quietly(
    screen: Fake, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "ROUND_SECONDS", 0.001)
    met = threading.Event()

    def write(text: str) -> int:
        met.set()
        raise OSError(5, "gone")

    monkeypatch.setattr(screen, "write", write)
    shown = made(screen, clock)
    clock.now += 1
    with shown:
        assert met.wait(10)


def test_log_and_standard_error_go_through_it_and_back(
    screen: Fake, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    handler = logging.StreamHandler(cast(TextIO, screen))
    other = logging.StreamHandler(io.StringIO())
    monkeypatch.setattr(logging.root, "handlers", [handler, other])
    monkeypatch.setattr(sys, "stderr", screen)
    with made(screen, clock) as shown:
        shown.above.draw("the line, which is longer")
        logging.getLogger("x").warning("a warning")
        print("a print", file=sys.stderr)
        assert seen(screen.getvalue(), 40) == ["a warning", "a print", "the line, which is longer"]
        assert sys.stderr.encoding == screen.encoding
    assert sys.stderr is screen and handler.stream is screen and other.stream is not screen
    assert seen(screen.getvalue(), 40) == ["a warning", "a print", ""]
    assert not [each for each in threading.enumerate() if each.name == "progress"]


def test_an_error_wipes_it(screen: Fake, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", screen)
    with pytest.raises(KeyboardInterrupt):
        with made(screen, clock) as shown:
            shown.above.draw("the line")
            raise KeyboardInterrupt
    assert seen(screen.getvalue(), 40) == [""]


def test_the_last_words_of_a_forced_exit_stand_alone(
    monkeypatch: pytest.MonkeyPatch, screen: Fake
) -> None:
    written: list[bytes] = []

    class Left(Exception):
        pass

    def leave(code: int) -> None:
        raise Left

    monkeypatch.setattr(os, "write", lambda _, data: written.append(data))
    monkeypatch.setattr(os, "_exit", leave)
    above = Above(screen)
    above.draw("x" * 39)
    for stream, said in (
        (above, ["second signal: leaving at once", ""]),
        (screen, ["second signal: leaving at once" + "x" * 9, ""]),  # so it has to be erased
    ):
        monkeypatch.setattr(sys, "stderr", stream)
        with pytest.raises(Left):
            lifecycle.leave_at_once()
        assert seen(screen.getvalue() + written.pop().decode(), 40) == said
    above.draw("more")
    assert "more" not in screen.getvalue()


@pytest.fixture
def ends() -> Iterator[tuple[int, TextIO]]:
    """Both ends of a terminal: the user's, and the program's."""
    user, program = pty.openpty()
    with os.fdopen(program, "w", encoding="utf-8") as stream:
        yield user, stream
    os.close(user)


@pytest.mark.parametrize("term", ["dumb", "", None])
def test_a_terminal_that_can_do_nothing_is_none(
    ends: tuple[int, TextIO], monkeypatch: pytest.MonkeyPatch, term: str | None
) -> None:
    monkeypatch.setattr(sys, "stderr", ends[1])
    monkeypatch.setenv("TERM", "xterm")
    assert isinstance(progress.shown(lambda _: STEP), Progress)
    if term is None:
        monkeypatch.delenv("TERM")
    else:
        monkeypatch.setenv("TERM", term)
    assert isinstance(progress.shown(lambda _: STEP), nullcontext)


def test_a_pipe_a_file_and_nothing_are_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    closed = io.StringIO()
    closed.close()
    for stream in (io.StringIO(), closed, None):
        monkeypatch.setattr(sys, "stderr", stream)
        assert isinstance(progress.shown(lambda _: STEP), nullcontext)


@pytest.mark.parametrize(
    ("locale", "encoding", "bar"),
    [("C.UTF-8", "utf-8", "━"), ("C", "utf-8", "#"), ("C.UTF-8", "ascii", "#")],
)
def test_characters_are_those_that_the_encoding_has(
    monkeypatch: pytest.MonkeyPatch, locale: str, encoding: str, bar: str
) -> None:
    user, program = pty.openpty()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("LC_ALL", locale)
    with os.fdopen(program, "w", encoding=encoding) as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        monkeypatch.setattr(progress, "_foreground", lambda _: True)
        shown = progress.shown(lambda _: STEP)
        assert isinstance(shown, Progress)
        monkeypatch.setattr(shown, "_begun", -1000.0)
        shown.round()
        assert os.read(user, 1000).decode(encoding).startswith(f"\r\x1b[?7l{bar}")
    os.close(user)


def test_another_ones_terminal_is_not_drawn_on(ends: tuple[int, TextIO]) -> None:
    """This process is in nobody's foreground there, as under a service manager with a console."""
    assert not progress._foreground(ends[1].fileno())
    with open(os.devnull) as other:
        assert not progress._foreground(other.fileno())


def test_a_pager_has_the_terminal(
    ends: tuple[int, TextIO], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "tcgetpgrp", lambda _: os.getpgrp())
    screen = ends[1].fileno()
    assert progress._foreground(screen)
    mode = termios.tcgetattr(screen)
    mode[3] &= ~termios.ICANON
    termios.tcsetattr(screen, termios.TCSANOW, mode)
    assert not progress._foreground(screen)


def test_it_is_never_more_than_ten_times_a_second() -> None:
    assert progress.ROUND_SECONDS >= 0.1
