"""Pairs and devices as columns: which fit a width, and what is in them. Pure.

A pair takes two lines, an end each: what stands beside an end is what it sent to the other. So whole
IPv6 addresses and both directions fit 80 columns.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from wakizashi.amounts import amount
from wakizashi.model import Ledger, Tally
from wakizashi.names import printable
from wakizashi.top.order import value
from wakizashi.top.text import Glyphs, Line, Span, Style, fit, sparkline
from wakizashi.top.traffic import Picture, Row
from wakizashi.top.view import Sort, View

Label = Callable[[bytes], str]

MOST_ADDRESS = 43
"""Columns: the longest IPv6 address, and some of a name."""
LEAST_SPARK = 10
MOST_SPARK = 40
_WIDE = 100
"""From here on rates say "/s" each, not in the heading alone."""
_NONE = "-"


@dataclass(frozen=True, slots=True)
class Columns:
    """Those of pairs, for a width."""

    numbers: tuple[Sort, ...]
    cell: int
    """Columns of each number, with the space before it."""
    address: int
    spark: int
    """0: there is no sparkline."""
    per: str


def columns(width: int) -> Columns:
    """What fits: an address and two numbers always, then more rates, then a sparkline."""
    per = "/s" if width >= _WIDE else ""
    cell = 9 + len(per)
    if width >= 62:
        numbers: tuple[Sort, ...] = (Sort.SHORT, Sort.MIDDLE, Sort.LONG, Sort.TOTAL)
    elif width >= 52:
        numbers = (Sort.SHORT, Sort.MIDDLE, Sort.TOTAL)
    else:
        numbers = (Sort.SHORT, Sort.TOTAL)
    rest = width - 3 - cell * len(numbers)  # a margin, a space and the arrow
    spark = 0
    if width >= 72:
        spark = min(MOST_SPARK, max(LEAST_SPARK, rest - MOST_ADDRESS - 3))
        rest -= spark + 3
    return Columns(numbers, cell, max(4, min(MOST_ADDRESS, rest)), spark, per)


def heading(picture: Picture, view: View, shape: Columns) -> Line:
    """What the columns are; the one that is sorted by stands out."""

    def styled(number: Sort) -> Style:
        return Style.BOLD if view.sort is number else Style.DIM

    unit = "b/s" if view.bits else "B/s"
    text = "sender and receiver" if shape.address >= 24 else "from, to"
    spans: list[Span] = [(f" {text}", styled(Sort.ADDRESS))]
    room = shape.address + 2 - len(text)  # to be filled before the first number
    for place, number in enumerate(shape.numbers):
        said = "total" if number is Sort.TOTAL else f"{picture.spans[number.value]:g} s"
        said = f"{unit}: {said}" if place == 0 else said
        gap = max(1, room + shape.cell - len(said))
        spans += [(" " * gap, Style.PLAIN), (said, styled(number))]
        room = 0
    if shape.spark:
        said = f"last {shape.spark * picture.interval_seconds:g} s"
        spans.append((f"   {said[: shape.spark]}", Style.DIM))
    return tuple(spans)


def pair(
    picture: Picture,
    row: Row,
    view: View,
    shape: Columns,
    glyphs: Glyphs,
    label: Label,
    *,
    devices: bool,
) -> list[Line]:
    """The two lines of a pair; ``devices``: it is to be told which device it is on."""
    lines: list[Line] = []
    for way, arrow in enumerate((glyphs.forth, glyphs.back)):
        name = label(row.ends[way])
        told = f"  {name}" if way else name
        busy = row.rates[-1][way] > 0
        spans: list[Span] = [
            (" ", Style.PLAIN),
            (fit(told, shape.address, glyphs), Style.PLAIN if busy or way == 0 else Style.DIM),
            (f" {arrow}", Style.MARK if row.rates[0][way] > 0 else Style.DIM),
        ]
        for number in shape.numbers:
            text = _number(row, way, number, view, shape)
            style = Style.DIM if text == _NONE else Style.PLAIN
            spans.append((text.rjust(shape.cell), style))
        if shape.spark and way == 0:
            line = sparkline(picture.spark(row, shape.spark), glyphs)
            spans.append((f"   {line}", Style.MARK))
        elif shape.spark and way == 1 and devices:
            told = fit(printable(row.device), min(len(row.device), shape.spark), glyphs)
            spans.append((f"   {told}", Style.DIM))
        lines.append(tuple(spans))
    return lines


def _number(row: Row, way: int, number: Sort, view: View, shape: Columns) -> str:
    if number is Sort.TOTAL:
        size = row.totals[way].bytes
        return amount(size, "B") if size else _NONE
    return _rate(row.rates[number.value][way], view, shape)


def _rate(bytes_per_second: float, view: View, shape: Columns) -> str:
    if bytes_per_second <= 0:
        return _NONE
    if view.bits:
        return amount(8 * bytes_per_second, "b") + shape.per
    return amount(bytes_per_second, "B") + shape.per


def total(rows: Sequence[Row], all_rows: int, view: View, shape: Columns, glyphs: Glyphs) -> Line:
    """What is shown, summed: both ways together."""
    of = f" of {all_rows:,}" if len(rows) != all_rows else ""
    said = f"sum of {len(rows):,}{of} pair{'s' if all_rows != 1 else ''}"
    spans: list[Span] = [(f" {fit(said, shape.address + 2, glyphs)}", Style.BOLD)]
    for number in shape.numbers:
        summed = sum(value(row, number) for row in rows)
        if number is Sort.TOTAL:
            text = amount(summed, "B")
        else:
            text = _rate(summed, view, shape)
        spans.append((text.rjust(shape.cell), Style.BOLD))
    return tuple(spans)


# -- devices ---------------------------------------------------------------------------------

_CELL = 10
_FATES = (("dropped", "dropped"), ("in pairs", "pairs"), ("other", "other"), ("non-IP", "non_ip"))
"""What can become of a packet, in the order in which columns are given room."""
_FATES_IN_ORDER = ("pairs", "other", "non_ip", "dropped")


def devices(picture: Picture, width: int, most: int, glyphs: Glyphs) -> list[Line]:
    """A heading and a line for each device: its own counters, and what became of that.

    Args:
        picture: whose devices.
        width: columns there are.
        most: lines of devices; if there are more the last line is the rest of them.
        glyphs: the terminal's.
    """
    shown = [(printable(name), ledger) for name, ledger in picture.devices]
    if len(shown) > most:
        shown.sort(key=lambda each: (-each[1].device.bytes, each[0]))
        rest = sum((ledger for _, ledger in shown[most - 1 :]), Ledger())
        shown = [*shown[: most - 1], (f"({len(shown) - most + 1} devices)", rest)]
    total = sum((ledger for _, ledger in shown), Ledger())
    fates = _fates(width, others=total.other.packets > 0)
    room = min(width - 1 - _CELL - _CELL * len(fates) - 13, MOST_ADDRESS)
    heads = ["counters", *(head for head, _ in fates)]
    lines: list[Line] = [
        (
            (f" {fit('device', room, glyphs)}", Style.DIM),
            *((head.rjust(_CELL), Style.DIM) for head in heads),
            ("unexplained".rjust(13), Style.DIM),
        )
    ]
    for name, ledger in shown:
        spans: list[Span] = [
            (f" {fit(name, room, glyphs)}", Style.PLAIN),
            (amount(ledger.device.bytes, "B").rjust(_CELL), Style.PLAIN),
        ]
        for _, fate in fates:
            alarm = fate == "dropped" and ledger.dropped.packets > 0
            text = amount(_fate(ledger, fate).bytes, "B").rjust(_CELL)
            spans.append((text, Style.ALARM if alarm else Style.PLAIN))
        left = (ledger.device - ledger.accounted).bytes
        spans.append((amount(left, "B").rjust(13), Style.PLAIN))
        lines.append(tuple(spans))
    return lines


def _fates(width: int, *, others: bool) -> list[tuple[str, str]]:
    room = (width - 1 - 8 - _CELL - 13) // _CELL  # beside a name, the counters, what is unexplained
    kept = [each for each in _FATES if others or each[1] != "other"][: max(0, room)]
    return sorted(kept, key=lambda each: _FATES_IN_ORDER.index(each[1]))


def _fate(ledger: Ledger, fate: str) -> Tally:
    if fate == "pairs":
        return ledger.counted - ledger.other
    found: Tally = getattr(ledger, fate)
    return found
