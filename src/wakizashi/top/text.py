"""What lines on a screen are made of: spans with a style. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from ipaddress import ip_address

from wakizashi import terminals


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


def glyphs(environment: Mapping[str, str]) -> Glyphs:
    """Those that the terminal has."""
    return UNICODE if terminals.unicode(environment) else ASCII


def plain(lines: Iterable[Line]) -> list[str]:
    """Lines as text alone."""
    return ["".join(text for text, _ in line).rstrip() for line in lines]


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
