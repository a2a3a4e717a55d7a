"""The terminal of ``wakizashi top``: what is drawn, what is read, what is put back."""

import os
import pty
import signal
import termios
from collections.abc import Iterator

import pytest

from wakizashi.top import terminal as module
from wakizashi.top.screen import Size
from wakizashi.top.terminal import Terminal, changes, rendered
from wakizashi.top.text import (
    Style,
)


def test_only_lines_that_differ_are_drawn() -> None:
    assert changes([], ["a", "b"]) == "\x1b[1;1Ha\x1b[2;1Hb"
    assert changes(["a", "b"], ["a", "c"]) == "\x1b[2;1Hc"
    assert changes(["a"], ["a"]) == ""


def test_what_was_right_of_a_line_is_erased_but_not_the_end_of_a_full_one() -> None:
    assert rendered((("ab", Style.PLAIN),), 3, colour=True) == "ab\x1b[K"
    assert rendered((("ab", Style.PLAIN),), 2, colour=True) == "ab"


def test_without_colours_there_are_none() -> None:
    for style in Style:
        coloured = rendered((("x", style),), 1, colour=True)
        bare = rendered((("x", style),), 1, colour=False)
        assert (";3" in coloured) == (style in (Style.MARK, Style.ALARM))
        assert ";3" not in bare
        assert style is Style.PLAIN or bare.startswith("\x1b[")


@pytest.fixture
def ends() -> Iterator[tuple[int, int]]:
    """Both ends of a terminal: the user's, and the program's."""
    user, program = pty.openpty()
    yield user, program
    os.close(user)
    os.close(program)


def test_a_terminal_is_put_back_after_an_error(ends: tuple[int, int]) -> None:
    user, program = ends
    before = termios.tcgetattr(program)
    handlers = [signal.getsignal(number) for number in (signal.SIGWINCH, signal.SIGTSTP)]
    with pytest.raises(ZeroDivisionError):
        with Terminal(program, program, colour=True) as terminal:
            assert termios.tcgetattr(program) != before
            terminal.draw([(("hello", Style.PLAIN),)])
            raise ZeroDivisionError
    assert termios.tcgetattr(program) == before
    assert [signal.getsignal(n) for n in (signal.SIGWINCH, signal.SIGTSTP)] == handlers
    said = heard(user, "\x1b[?1049l")
    assert said.startswith("\x1b[?1049h\x1b[?25l")
    assert "\x1b[1;1Hhello\x1b[K" in said
    assert said.endswith("\x1b[?25h\x1b[?1049l")


@pytest.mark.parametrize("entered", [True, False])
def test_a_forced_exit_puts_a_terminal_back_that_was_taken_over(
    ends: tuple[int, int], monkeypatch: pytest.MonkeyPatch, *, entered: bool
) -> None:
    def leave() -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(module, "leave_at_once", leave)
    user, program = ends
    before = termios.tcgetattr(program)
    terminal = Terminal(program, program, colour=True)
    if entered:
        terminal.__enter__()
    with pytest.raises(ZeroDivisionError):
        terminal.leave()
    assert termios.tcgetattr(program) == before
    os.write(program, b".")
    said = heard(user, ".")
    assert ("\x1b[?1049l" in said) == entered
    if entered:
        terminal.__exit__()


def test_keys_come_as_they_are_pressed(ends: tuple[int, int]) -> None:
    user, program = ends
    with Terminal(program, program, colour=True) as terminal:
        os.write(user, b"q\x13")  # Ctrl-S holds nothing up
        assert terminal.read() == b"q\x13"
        os.write(user, b"\r")
        assert terminal.read() == b"\r"


def test_a_terminal_that_tells_no_size_has_a_usual_one(ends: tuple[int, int]) -> None:
    _, program = ends
    assert Terminal(program, program, colour=True).size == Size(80, 24)
    termios.tcsetwinsize(program, (50, 132))
    assert Terminal(program, program, colour=True).size == Size(132, 50)


def heard(user: int, end: str) -> str:
    """What came until it ended so."""
    said = ""
    while not said.endswith(end):
        said += os.read(user, 4096).decode()
    return said


@pytest.mark.parametrize(("number", "anew"), [(signal.SIGWINCH, False), (signal.SIGCONT, True)])
def test_another_size_and_coming_back_draw_all_anew(
    ends: tuple[int, int], number: signal.Signals, anew: bool
) -> None:
    user, program = ends
    lines = [(("hello", Style.PLAIN),)]
    with Terminal(program, program, colour=True) as terminal:
        terminal.draw(lines)
        heard(user, "hello\x1b[K")
        signal.raise_signal(number)
        terminal.attend()
        terminal.draw(lines)
        said = heard(user, "hello\x1b[K")
        assert "\x1b[2J" in said
        assert ("\x1b[?1049h" in said) == anew
