"""Users of this host, by name or number."""

import pwd
from dataclasses import dataclass

_LAST = 2**32 - 2
"""The largest uid; one more means none to the kernel."""


@dataclass(frozen=True, slots=True)
class Account:
    """A user to become, with his own group and no other."""

    name: str
    uid: int
    gid: int


def account(user: str) -> Account:
    """The account of a user, by name or number; a number nobody has is one too.

    Raises:
        ValueError: this host has no such user.
    """
    uid = int(user) if user.isascii() and user.isdecimal() else None
    try:
        if uid is not None and uid > _LAST:
            raise KeyError
        entry = pwd.getpwnam(user) if uid is None else pwd.getpwuid(uid)
    except KeyError:
        if uid is None or uid > _LAST:
            raise ValueError(
                "is no user of this host; name one, as nobody, or write a uid"
            ) from None
        return Account(user, uid, uid)
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)


def owner(uid: int) -> str:
    """Whose number it is, for messages."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"
