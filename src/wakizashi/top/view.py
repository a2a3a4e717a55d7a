"""What the user has chosen to see, and what each key changes in it. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import Enum

MOST_FILTER = 60
"""Characters of a filter."""
_BACKSPACES = ("\x7f", "\x08")


class Sort(Enum):
    """By what pairs are sorted; the numbers are places in ``Row.rates``."""

    SHORT = 0
    MIDDLE = 1
    LONG = 2
    TOTAL = 3
    ADDRESS = 4


SORT_KEYS = {
    "1": Sort.SHORT,
    "2": Sort.MIDDLE,
    "3": Sort.LONG,
    "4": Sort.TOTAL,
    "t": Sort.TOTAL,
    "a": Sort.ADDRESS,
}

KEYS = (
    ("1 2 3", "sort by the first, second, third rate"),
    ("t", "sort by total (4 as well)"),
    ("a", "sort by address"),
    ("/", "filter: address, name or device contains; Enter keeps it"),
    ("Esc", "no filter; leave this page"),
    ("p space", "pause the screen; counting goes on"),
    ("n", "names instead of numbers (asks the resolver)"),
    ("b", "bits or bytes a second"),
    ("j k", "scroll; arrows, PgUp, PgDn, g and G as well"),
    ("? h", "this page"),
    ("q", "quit"),
)
"""What the help page says; ``docs/top.md`` has the same."""


@dataclass(frozen=True, slots=True)
class View:
    """What is shown, and how."""

    sort: Sort = Sort.MIDDLE
    filter: str = ""
    editing: bool = False
    """The filter is being typed."""
    paused: bool = False
    names: bool = False
    bits: bool = False
    help: bool = False
    offset: int = 0
    """Pairs that are scrolled out at the top; the screen bounds it by how many there are."""
    quit: bool = False


def press(view: View, key: str, page: int) -> View:
    """The view after a key: a character, or a name as :func:`keys` gives. ``page``: pairs on it."""
    if view.editing:
        return _edit(view, key)
    if view.help and key != "q":
        return replace(view, help=False)
    if key in SORT_KEYS:
        return replace(view, sort=SORT_KEYS[key], offset=0)
    match key:
        case "q":
            return replace(view, quit=True)
        case "?" | "h":
            return replace(view, help=True)
        case "p" | " ":
            return replace(view, paused=not view.paused)
        case "n":
            return replace(view, names=not view.names)
        case "b":
            return replace(view, bits=not view.bits)
        case "/":
            return replace(view, editing=True)
        case "escape":
            return replace(view, filter="", offset=0)
    steps = {"down": 1, "j": 1, "up": -1, "k": -1, "pagedown": page, "pageup": -page}
    steps |= {"home": -view.offset, "g": -view.offset, "end": 1 << 30, "G": 1 << 30}
    return replace(view, offset=max(0, view.offset + steps.get(key, 0)))


def _edit(view: View, key: str) -> View:
    if key == "enter":
        return replace(view, editing=False)
    if key == "escape":
        return replace(view, editing=False, filter="", offset=0)
    if key == "backspace":
        return replace(view, filter=view.filter[:-1], offset=0)
    if len(key) == 1 and len(view.filter) < MOST_FILTER:
        return replace(view, filter=view.filter + key, offset=0)
    return view


_ESCAPES = {
    "A": "up",
    "B": "down",
    "H": "home",
    "F": "end",
    "1~": "home",
    "4~": "end",
    "7~": "home",
    "8~": "end",
    "5~": "pageup",
    "6~": "pagedown",
}


def keys(data: bytes) -> Iterable[str]:
    """What was pressed, from the bytes that a terminal sent at once.

    A character for itself, or ``enter``, ``escape``, ``backspace``, ``up``, ``down``, ``pageup``,
    ``pagedown``, ``home``, ``end``. Unknown sequences (ECMA-48, 5.4) and what is not ASCII are
    nothing: no address, and no name of a host or device has such.
    """
    text = data.decode("ascii", errors="ignore")
    place = 0
    while place < len(text):
        character = text[place]
        place += 1
        if character in "\r\n":
            yield "enter"
        elif character in _BACKSPACES:
            yield "backspace"
        elif character == "\x1b":
            if text[place : place + 1] not in ("[", "O") or place + 1 == len(text):
                yield "escape"
                continue
            end = place + 1
            while end < len(text) and not "@" <= text[end] <= "~":
                end += 1
            found = _ESCAPES.get(text[place + 1 : end + 1])
            place = end + 1
            if found:
                yield found
        elif character.isprintable():
            yield character
