"""What keys do in ``wakizashi top``; names that are asked for; what is meant by its options."""

import threading
from dataclasses import replace

import pytest

from tests.center_servers import until
from wakizashi import names as module
from wakizashi import terminals
from wakizashi.names import Names
from wakizashi.top.run import Form, form
from wakizashi.top.text import ASCII, UNICODE, glyphs
from wakizashi.top.view import KEYS, MOST_FILTER, Sort, View, keys, press


def after(*pressed: str, view: View | None = None) -> View:
    view = view or View()
    for key in pressed:
        view = press(view, key, 5)
    return view


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"q1/", ["q", "1", "/"]),
        (b"\r\n", ["enter", "enter"]),
        (b"\x7f\x08", ["backspace", "backspace"]),
        (b"\x1b", ["escape"]),
        (b"\x1bq", ["escape", "q"]),
        (b"\x1b[A\x1bOB\x1b[5~\x1b[6~", ["up", "down", "pageup", "pagedown"]),
        (b"\x1b[H\x1b[F\x1b[1~\x1b[4~", ["home", "end", "home", "end"]),
        (b"\x1b[1;5Cq\x1b[200~", ["q"]),
        (b"\x1b[", ["escape", "["]),
        (b"\x1b[1", []),
        (b"\xc3\xa4\x00\x01a", ["a"]),
    ],
)
def test_what_a_terminal_sends(data: bytes, found: list[str]) -> None:
    assert list(keys(data)) == found


def test_sort_keys() -> None:
    assert View().sort is Sort.MIDDLE
    sorts = [after(key).sort for key in "123t4a"]
    assert sorts == [Sort.SHORT, Sort.MIDDLE, Sort.LONG, Sort.TOTAL, Sort.TOTAL, Sort.ADDRESS]
    assert after("down", "1").offset == 0


def test_switches() -> None:
    for key, name in (("p", "paused"), (" ", "paused"), ("n", "names"), ("b", "bits")):
        assert getattr(after(key), name) is True
        assert after(key, key) == View()
    assert after("q").quit
    assert after("h").help
    assert after("?").help


def test_any_key_leaves_the_help_and_does_nothing_else() -> None:
    for key in ("p", "?", "escape", "1"):
        assert after("?", key) == View()
    assert after("?", "q").quit


def test_a_filter_is_typed() -> None:
    view = after("/", *"ab q1")
    assert (view.filter, view.editing, view.quit) == ("ab q1", True, False)
    view = after("backspace", "enter", view=view)
    assert (view.filter, view.editing) == ("ab q", False)
    assert after("/", "c", view=view).filter == "ab qc"
    assert after("escape", view=view) == View()
    assert after("/", "x", "escape") == View()
    assert after("/", "up", "backspace", "backspace").filter == ""
    assert len(after("/", *"x" * 100).filter) == MOST_FILTER


def test_scrolling() -> None:
    assert after("down", "j", "pagedown").offset == 7
    assert after("pagedown", "up", "k").offset == 3
    assert after("up", "pageup").offset == 0
    assert after("pagedown", "g").offset == after("pagedown", "home").offset == 0
    assert after("G").offset == after("end").offset > 10**6
    assert after("j", "/", "a").offset == 0


def test_an_unknown_key_changes_nothing() -> None:
    for key in ("x", "Z", "enter", "~"):
        assert after(key, view=View(offset=3)) == View(offset=3)


def test_the_help_has_every_key() -> None:
    told = {key for text, _ in KEYS for key in text.split()}
    for key in map(chr, range(33, 127)):
        for view in (View(filter="x", offset=3, sort=Sort.MIDDLE), View(sort=Sort.SHORT)):
            if key != "4" and press(view, key, 5) != view:
                assert key in told or key in "gG", key
    assert replace(View(), help=True) == after("?")


# -- names -----------------------------------------------------------------------------------

HOST = "192.0.2.1"


def test_a_name_comes_later_and_nobody_waits() -> None:
    answer = threading.Event()

    def resolve(address: str) -> str:
        assert answer.wait(20)
        return f"host-{address}"

    names = Names(resolve, threads=1)
    assert names.get(HOST) == names.get(HOST) == names.peek(HOST) == ""
    answer.set()

    def known() -> bool:
        names.collect()
        return names.peek(HOST) != ""

    until(known, "the name")
    assert names.get(HOST) == "host-192.0.2.1"


def test_an_address_is_asked_for_once_whether_it_has_a_name_or_not() -> None:
    asked: list[str] = []

    def resolve(address: str) -> str:
        asked.append(address)
        return ""

    names = Names(resolve, threads=2)
    for address in (HOST, "10.0.0.1"):
        for _ in range(3):
            names.get(address)
    until(lambda: len(asked) == 2, "both")
    names.collect()
    for _ in range(3):
        assert names.get(HOST) == ""
    assert sorted(asked) == ["10.0.0.1", "192.0.2.1"]


def test_peeking_asks_nobody() -> None:
    names = Names(lambda _: pytest.fail("asked"))
    assert names.peek(HOST) == ""
    names.collect()


def test_a_name_does_no_harm_to_a_terminal() -> None:
    names = Names(lambda _: "a\x1b[2Jb\nc\u202ed", threads=1)
    names.get(HOST)

    def known() -> bool:
        names.collect()
        return names.peek(HOST) != ""

    until(known, "the name")
    assert names.peek(HOST) == "a?[2Jb?c?d"


def test_names_that_were_not_shown_for_long_are_forgotten() -> None:
    names = Names(lambda address: f"h{address}", threads=1, most=2)
    addresses = [f"10.0.0.{n}" for n in range(3)]
    for address in addresses:
        names.get(address)

    def known() -> bool:
        names.collect()
        return all(names.peek(address) for address in addresses[1:])

    until(known, "the last two")
    assert names.peek(addresses[0]) == ""


def test_with_too_many_waiting_it_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_WAITING", 1)
    names = Names(lambda _: "h", threads=0)
    names.get(HOST)
    other = "10.0.0.1"
    assert names.get(other) == ""
    names._wanted.get_nowait()
    names.get(other)
    assert names._wanted.get_nowait() == other


# -- options ---------------------------------------------------------------------------------


def test_what_is_printed_where() -> None:
    xterm = {"TERM": "xterm"}
    assert form(plain=False, json=False, terminals=True, environment=xterm) is Form.SCREEN
    assert form(plain=True, json=False, terminals=True, environment=xterm) is Form.PLAIN
    assert form(plain=False, json=True, terminals=True, environment=xterm) is Form.JSON
    assert form(plain=False, json=False, terminals=False, environment=xterm) is Form.PLAIN
    for dumb in ({"TERM": "dumb"}, {}):
        assert form(plain=False, json=False, terminals=True, environment=dumb) is Form.PLAIN


@pytest.mark.parametrize(
    ("environment", "found"),
    [
        ({}, UNICODE),
        ({"LANG": "de_DE.UTF-8"}, UNICODE),
        ({"LANG": "C.utf8"}, UNICODE),
        ({"LANG": "de_DE.ISO-8859-1"}, ASCII),
        ({"LC_ALL": "C", "LANG": "de_DE.UTF-8"}, ASCII),
        ({"LC_CTYPE": "C.UTF-8", "LANG": "C"}, UNICODE),
    ],
)
def test_characters_are_those_of_the_locale(environment: dict[str, str], found: object) -> None:
    assert glyphs(environment) is found


def test_no_color() -> None:
    assert terminals.colours({}) and terminals.colours({"NO_COLOR": ""})
    assert not terminals.colours({"NO_COLOR": "1"})
