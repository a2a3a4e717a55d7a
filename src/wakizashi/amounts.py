"""Amounts and durations as people read them. Pure."""

PREFIXES = ("", "k", "M", "G", "T", "P", "E")
"""Of 1,000 each: as of rates on links and of a device's counters, not as of memory."""


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
