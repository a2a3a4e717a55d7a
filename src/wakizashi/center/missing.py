"""What a reader says where there is nothing to read: alike for every backend.

Whoever has just started everything reads the same line as one whose configuration names
something else, and can't tell the two apart: so both are told what to do.
"""

from wakizashi.errors import WakizashiError


def missing(what: str, names: str = "database and table") -> WakizashiError:
    """The error for what is not there.

    Args:
        what: the configuration key, its place and what is not there.
        names: what in the configuration says where the center writes.
    """
    return WakizashiError(
        f"{what}; if nothing has been stored yet, start the center first, then probes, and wait "
        f"for the first window; else name {names} that the center writes"
    )
