"""Users of this host, by name or number."""

import pwd
from dataclasses import dataclass


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
    try:
        entry = pwd.getpwuid(int(user)) if user.isdecimal() else pwd.getpwnam(user)
    except KeyError:
        if not user.isdecimal():
            raise ValueError(
                "is no user of this host; name one, as nobody, or write a uid"
            ) from None
        return Account(user, int(user), int(user))
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)


def owner(uid: int) -> str:
    """Whose number it is, for messages."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"
