"""What lines on a screen are made of: spans with a style, amounts with their units. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from ipaddress import ip_address

PREFIXES = ("", "k", "M", "G", "T", "P", "E")
"""Of 1,000 each: as of rates on links and of a device's counters, not as of memory."""


class Style(Enum):
    """How a span looks; the numbers are those of SGR (ECMA-48, 8.3.117)."""

    PLAIN = ""
    BOLD = "1"
    DIM = "2"
    BAR = "7"
    """The line at the top: reverse."""
    MARK = "1;36"
    ALARM = "1;31"

    @property
    def colourless(self) -> str:
        """The same where colours are not wanted."""
        return {"1;36": "1", "1;31": "7"}.get(self.value, self.value)


Span = tuple[str, Style]
Line = tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class Glyphs:
    """The characters that not every terminal has; each is one column wide."""

    forth: str
    back: str
    cut: str
    """Stands for what is left out of a name."""
    levels: str
    """Of a sparkline, from nothing to most."""


UNICODE = Glyphs("→", "←", "…", " ▁▂▃▄▅▆▇█")
ASCII = Glyphs(">", "<", "~", " .,:-=+*#")


def plain(lines: Iterable[Line]) -> list[str]:
    """Lines as text alone."""
    return ["".join(text for text, _ in line).rstrip() for line in lines]


def amount(value: float, unit: str) -> str:
    """Three digits, an SI prefix and the unit, seven characters of it at most: ``1.23 MB``.

    Below 1,000 it is whole: ``999 B``.
    """
    sign, value = ("-", -value) if value < 0 else ("", value)
    power = 0
    while power < len(PREFIXES) - 1 and value / 1000**power >= 999.5:
        power += 1
    scaled = value / 1000**power
    digits = 0 if power == 0 or scaled >= 99.95 else 1 if scaled >= 9.995 else 2
    return f"{sign}{scaled:.{digits}f} {PREFIXES[power]}{unit}"


def duration(seconds: float) -> str:
    """``0:03:12``, hours first; days from 100 hours on."""
    whole = int(seconds)
    days = f"{whole // 86_400}d " if whole >= 360_000 else ""
    hours = whole // 3600 % 24 if days else whole // 3600
    return f"{days}{hours}:{whole // 60 % 60:02}:{whole % 60:02}"


def fit(text: str, width: int, glyphs: Glyphs) -> str:
    """``text`` in exactly ``width`` columns, its middle left out where it is too long."""
    if len(text) <= width:
        return text.ljust(width)
    if width < 3:
        return text[: max(0, width)]
    head = width // 2
    return text[:head] + glyphs.cut + text[len(text) - (width - head - 1) :]


def sparkline(values: Sequence[float], glyphs: Glyphs) -> str:
    """A character for each value, the highest for the largest; what is there is never nothing."""
    most = max(values, default=0.0)
    steps = len(glyphs.levels) - 1
    if most <= 0:
        return glyphs.levels[0] * len(values)
    # From 1 to steps, for any value that is more than nothing.
    return "".join(glyphs.levels[-int(-value / most * steps // 1)] for value in values)


@lru_cache(maxsize=65_536)
def numeric(address: bytes) -> str:
    """A packed address as people write it."""
    return str(ip_address(address))
