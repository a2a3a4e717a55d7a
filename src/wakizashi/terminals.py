"""What the terminal that a person looks at can show, by its environment. Pure."""

from collections.abc import Mapping


def unicode(environment: Mapping[str, str]) -> bool:
    """Whether the locale's encoding has it; without a locale UTF-8 is taken for it."""
    for name in ("LC_ALL", "LC_CTYPE", "LANG"):
        if locale := environment.get(name):
            return "utf8" in locale.lower().replace("-", "")
    return True


def colours(environment: Mapping[str, str]) -> bool:
    """Whether colours are wanted (https://no-color.org)."""
    return not environment.get("NO_COLOR")


def capable(environment: Mapping[str, str]) -> bool:
    """Whether the terminal says that it can move a cursor."""
    return environment.get("TERM", "dumb") not in ("dumb", "")
