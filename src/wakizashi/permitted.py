"""May the user that this process is use what a configuration names? Tried, and told with the owner.

In: what will be needed, gathered while everything can still be seen. Out: faults, a line each.
"""

import errno
import os
import stat
import sysconfig
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from wakizashi.account import owner
from wakizashi.files import BAD, SENT
from wakizashi.filesystem import remedy
from wakizashi.sections import DaemonSection, paths


@dataclass(frozen=True, slots=True)
class Needs:
    """What a daemon will use, by what names it."""

    program: tuple[str, ...]
    """Where modules lie that are imported only when they are needed."""
    directories: Mapping[str, Path]
    written: Mapping[str, Mapping[Path, int]]
    read: Mapping[str, Path]


def needs(config: DaemonSection, also_reads: Mapping[str, Path] | None = None) -> Needs:
    """What ``config`` names, and files beside it."""
    directories = config.owned_directories()
    reads = {**paths(config), **(also_reads or {})}
    return Needs(
        tuple(program()),
        directories,
        config.written(),
        {k: path for k, path in reads.items() if k not in directories and os.path.isfile(path)},
    )


def faults(needed: Needs, user: str, handed_over: Collection[str] = ()) -> list[str]:
    """What can't be used, or made.

    Args:
        needed: what is to be tried.
        user: how this user is called in messages: ``user NAME`` or ``uid NUMBER``.
        handed_over: keys of directories that are to be given to this user before they are
            used: it is enough that there is a way to them.
    """
    found = [
        f"user: {user} can't read {place}, a part of this program; install it where every user "
        "can read it, as in /opt"
        for place in needed.program
        if not os.access(place, os.R_OK | os.X_OK, effective_ids=True)
    ]
    for key, path in needed.directories.items():
        if key in handed_over:
            found += _unwritable(key, path, {path: os.F_OK}, user, os.X_OK)
        else:
            found += _unwritable(key, path, {path: os.R_OK | os.W_OK | os.X_OK}, user)
            found += _unusable_inside(key, path, user)
    for key, files in needed.written.items():
        found += _unwritable(key, next(iter(files)), files, user)
    found += [
        f"{key}: {path}: {user} can't read it, and it is read again later; give it to that user "
        "(chown, or chgrp and chmod g+r)"
        for key, path in needed.read.items()
        if not os.access(path, os.R_OK, effective_ids=True)
    ]
    return list(dict.fromkeys(found))


def program() -> list[str]:
    """Where modules of this program lie, as far as this user sees."""
    known = sysconfig.get_paths()
    places = [known[key] for key in ("stdlib", "platstdlib", "purelib", "platlib")]
    places.append(str(Path(__file__).parent))
    return [place for place in dict.fromkeys(places) if os.path.isdir(place)]


def _unwritable(
    key: str,
    named: Path,
    wanted: Mapping[Path, int],
    user: str,
    to_make: int = os.R_OK | os.W_OK | os.X_OK,
) -> Iterator[str]:
    """Of what ``key`` names (``named``), and of what is beside it, what can't be used or made.

    ``wanted`` has what it takes of each that is there; ``to_make`` is what it takes of the
    directory in which one is to be made.
    """
    for path, needed in wanted.items():
        real = level = Path(os.path.realpath(path))
        while not os.path.lexists(level):  # nor can what is out of reach be seen
            level = level.parent
        takes = needed if level == real else to_make
        if takes & os.X_OK and not level.is_dir():
            yield f"{key}: {named}: {level} is no directory; name another, or move that away"
        elif os.access(level, takes, effective_ids=True):
            continue
        elif takes & os.W_OK and os.statvfs(level).f_flag & os.ST_RDONLY:
            yield (f"{key}: {named} is on a read-only file system; {remedy(errno.EROFS, key, '')}")
        else:
            yield (
                f"{key}: {named}: {user} can't {'read' if takes == os.R_OK else 'write'} {level}, "
                f"which {_belongs(level)}; give it to that user, or set user to its owner"
            )


def _unusable_inside(key: str, path: Path, user: str) -> Iterator[str]:
    """The first of what is in a directory and was left there by another user."""
    for folder in (path, path / SENT, path / BAD):
        if folder != path and not _may(folder, os.R_OK | os.W_OK | os.X_OK):
            bad = folder
            break
        try:
            names = sorted(name for name in os.listdir(folder) if name.endswith(".window"))
        except OSError:  # it is not there, or was told of
            continue
        unreadable = (folder / name for name in names if not _may(folder / name, os.R_OK))
        if (first := next(unreadable, None)) is not None:
            bad = first
            break
    else:
        return
    yield (
        f"{key}: {path}: {user} can't use {bad}, which {_belongs(bad)}; "
        f"chown -R {user.partition(' ')[2]} {path}"
    )


def _may(path: Path, needed: int) -> bool:
    """Whether it may be used so; what is not there is in nobody's way."""
    return os.access(path, needed, effective_ids=True) or not os.path.exists(path)


def _belongs(path: Path) -> str:
    try:
        state = path.stat()
    except OSError as error:
        return f"can't be looked at ({error.strerror})"
    return f"belongs to {owner(state.st_uid)} (mode {stat.S_IMODE(state.st_mode):04o})"
