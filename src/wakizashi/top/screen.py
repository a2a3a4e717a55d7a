"""The whole screen as lines, for a width and a height. Pure: what is shown is passed in."""

from collections.abc import Sequence
from dataclasses import dataclass

from wakizashi.amounts import duration
from wakizashi.names import printable
from wakizashi.top import columns
from wakizashi.top.columns import Label
from wakizashi.top.text import Glyphs, Line, Style, fit
from wakizashi.top.traffic import Picture, Row
from wakizashi.top.view import KEYS, Sort, View

LEAST_WIDTH, LEAST_HEIGHT = 30, 8


@dataclass(frozen=True, slots=True)
class Header:
    """What does not change while it runs."""

    host: str
    engine: str


@dataclass(frozen=True, slots=True)
class Size:
    """Of a terminal, in characters."""

    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Scene:
    """What is to be shown."""

    header: Header
    picture: Picture
    rows: Sequence[Row]
    """Those that the filter leaves, in order."""
    view: View
    notice: str = ""
    """Something that happened, for the last line."""


def page(picture: Picture, size: Size) -> int:
    """How many pairs fit."""
    return max(0, (size.height - 4 - _device_lines(picture, size)) // 2)


def bounded(offset: int, rows: int, fit: int) -> int:
    """The offset that leaves no empty lines at the end while pairs are scrolled out above."""
    return max(0, min(offset, rows - fit))


def _device_lines(picture: Picture, size: Size) -> int:
    return 1 + min(_most_devices(size), max(1, len(picture.devices)))


def _most_devices(size: Size) -> int:
    return max(1, size.height // 8)


def lines(scene: Scene, size: Size, glyphs: Glyphs, label: Label) -> list[Line]:
    """As many lines as there are, none wider than the terminal."""
    if size.width < LEAST_WIDTH or size.height < LEAST_HEIGHT:
        said = [f"at least {LEAST_WIDTH}x{LEAST_HEIGHT}", "please"]
        return [((text[: size.width], Style.PLAIN),) for text in said[: size.height]]
    made = [title(scene, size.width)]
    if scene.view.help:
        made += _help(scene, size)
    else:
        made += _body(scene, size, glyphs, label)
    made += [()] * (size.height - 1 - len(made))
    return [*made[: size.height - 1], footer(scene, size.width)]


def _body(scene: Scene, size: Size, glyphs: Glyphs, label: Label) -> list[Line]:
    picture, view = scene.picture, scene.view
    fitting = page(picture, size)
    made = columns.devices(picture, size.width, _most_devices(size), glyphs)
    shape = columns.columns(size.width)
    made.append(columns.heading(picture, view, shape))
    offset = bounded(view.offset, len(scene.rows), fitting)
    several = len(picture.devices) > 1
    for row in scene.rows[offset : offset + fitting]:
        made += columns.pair(picture, row, view, shape, glyphs, label, devices=several)
    if not scene.rows:
        said = "no pair matches the filter" if view.filter and picture.rows else "no traffic yet"
        made.append(((f" {said}"[: size.width], Style.DIM),))
    made += [()] * (size.height - 3 - len(made))
    made.append(columns.total(scene.rows, len(picture.rows), view, shape, glyphs))
    return made


_SORTED = {Sort.TOTAL: "total", Sort.ADDRESS: "address"}


def title(scene: Scene, width: int) -> Line:
    """What runs where; what matters less goes first where the width does not do."""
    header, view, picture = scene.header, scene.view, scene.picture
    by = _SORTED.get(view.sort) or f"{picture.spans[view.sort.value]:g} s"
    left = [
        (0, "wakizashi top"),
        (3, printable(header.host)),
        (2, header.engine),
        (4, f"every {picture.interval_seconds:g} s"),
    ]
    right = [
        (0, "PAUSED" if view.paused else ""),
        (5, f"by {by}"),
        (1, duration(picture.seconds)),
    ]
    for least in (9, 5, 4, 3, 2, 1):
        before, after = (
            "  ".join(text for rank, text in part if rank < least and text)
            for part in (left, right)
        )
        if len(before) + len(after) + 4 <= width:
            break
    text = f" {before}{after.rjust(width - len(before) - 2)} "
    return ((text[:width].ljust(width), Style.BAR),)


def footer(scene: Scene, width: int) -> Line:
    """What is being typed, what happened, what is filtered, or the keys."""
    view = scene.view
    if view.editing:
        room = max(1, width - 36)
        told = f" filter: {view.filter[-room:]}_"
        hint = "  Enter keeps it, Esc drops it"
        return ((told, Style.BOLD), (hint[: max(0, width - len(told))], Style.DIM))
    if scene.notice:
        return ((fit(f" {scene.notice}", width, _CUT).rstrip(), Style.BOLD),)
    keys = ["q quit", "? help", "/ filter", "p pause", "n names", "b bits", "1 2 3 t a sort"]
    if view.paused:
        keys[3] = "p go on"
    if view.bits:
        keys[5] = "b bytes"
    spans = [(" ", Style.PLAIN)]
    used = 1
    if view.filter:
        told = f"filter: {view.filter}"[: width - 12]
        spans += [(told, Style.BOLD), ("  ", Style.PLAIN)]
        used += len(told) + 2
        keys = ["Esc no filter", *keys]
    for key in keys:
        if used + len(key) > width:
            break
        spans.append((f"{key}   ", Style.DIM))
        used += len(key) + 3
    return tuple(spans)


_CUT = Glyphs(">", "<", "~", " ")


def _help(scene: Scene, size: Size) -> list[Line]:
    said = [(f" {keys:<9} ", text) for keys, text in KEYS]
    made: list[Line] = [()]
    made += [
        ((keys, Style.BOLD), (text[: max(0, size.width - len(keys))], Style.PLAIN))
        for keys, text in said
    ]
    more = (
        "",
        "Beside an end of a pair stands what it sent to the other.",
        "The local end comes first, where only one is local.",
        "k, M, G are 1,000 each; B bytes, b bits.",
        "counters = in pairs + other + non-IP + dropped + unexplained,",
        "the last being packets on their way at this moment.",
    )
    made += [((f" {text}"[: size.width], Style.DIM),) for text in more]
    return made
