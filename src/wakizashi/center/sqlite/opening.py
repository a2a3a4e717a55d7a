"""What a reader meets before SQLite does: is there a file, may it be read, can anybody be writing it?

SQLite keeps its log and the log's index beside the file and makes both to read it, where they
are not there. So it can't read a file that lies by itself in a directory that is not to be
written, as on media that are mounted for reading, unless it is told ``immutable``: then it
looks for neither log nor locks, and reads nonsense if somebody writes meanwhile.
"""

import os
import stat
from pathlib import Path

from wakizashi.center.missing import missing
from wakizashi.center.sqlite.diagnosis import KEY
from wakizashi.errors import Retryable, WakizashiError

Rest = tuple[int, int, int, int]
"""A state of a file: which one, its size and when it was last written."""


def look(path: Path) -> None:
    """Tell what SQLite would call ``unable to open database file``.

    Raises:
        Retryable: this user may not read it.
        WakizashiError: there is no such file, or it is none.
    """
    user = f"uid {os.geteuid()}"
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError) as error:
        raise missing(f"{KEY}: {path}: there is no such file", "the one") from error
    except PermissionError as error:
        raise Retryable(
            f"{KEY}: {path} can't be looked for by {user}; let that user search the directories "
            "above it, or run this as the center's user"
        ) from error
    except OSError as error:
        raise WakizashiError(
            f"{KEY}: {path}: {error.strerror}; name the file that the center writes"
        ) from error
    if not stat.S_ISREG(mode):
        kind = "a directory" if stat.S_ISDIR(mode) else "no regular file"
        raise WakizashiError(f"{KEY}: {path} is {kind}; name the file that the center writes")
    if not os.access(path, os.R_OK, effective_ids=True):
        raise Retryable(
            f"{KEY}: {path} can't be read by {user}; let that user read it, "
            "or run this as the center's user"
        )


def at_rest(path: Path) -> Rest | None:
    """The state of a file that lies by itself where we can't write; None for any other.

    A center that has the file open has log and index beside it, from its first look at the
    file on. One that begins later is found by another state, which is to be asked for again
    when all is read.
    """
    real = os.path.realpath(path)
    places = (real, os.path.dirname(real))
    if any(os.access(place, os.W_OK, effective_ids=True) for place in places):
        return None
    if os.path.lexists(f"{real}-shm"):
        return None
    for name in ("wal", "journal"):
        try:
            if os.stat(f"{real}-{name}").st_size:
                return None
        except FileNotFoundError:
            pass
        except OSError:
            return None
    try:
        found = os.stat(real)
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def not_opened(path: Path, reason: str) -> Retryable:
    """The error for a file that may be read, but that SQLite can't read where it lies."""
    folder = os.path.dirname(os.path.realpath(path))
    return Retryable(
        f"{KEY}: {path}: {reason}: to read it SQLite needs -wal and -shm beside it, and uid "
        f"{os.geteuid()} can't make or use them in {folder}; run this as the center's user, or copy "
        "the file, and its -wal if there is one, into a directory that this user can write"
    )
