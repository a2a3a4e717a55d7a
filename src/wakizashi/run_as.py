"""Whom a daemon runs as: key ``user``, and the step from root to that user.

In: a configuration, and the capabilities that the work to come needs. Before the
step, while this is still root, the directories that the daemon writes in are handed
over; after it everything that will be needed later is tried, so that what the new
user may not do is told at the start. Why so: ``docs/decisions/0011-privileges.md``.
"""

import errno
import logging
import os
import stat
import sysconfig
from collections.abc import Collection, Mapping
from pathlib import Path

from wakizashi import privileges
from wakizashi.account import Account, account, owner
from wakizashi.config import DaemonSection, paths
from wakizashi.errors import ConfigError
from wakizashi.filesystem import remedy
from wakizashi.privileges import Capability

_log = logging.getLogger(__name__)

_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def assume(
    config: DaemonSection,
    keep: Collection[Capability],
    also_reads: Mapping[str, Path] | None = None,
) -> None:
    """Become the configured user, and keep these capabilities at most. No thread may run yet.

    Args:
        config: its ``user``; its directories and files are checked.
        keep: what the work to come needs.
        also_reads: files by what names them, beside those of the configuration.

    Raises:
        ConfigError: this process may not become that user, or that user may not
            use what the configuration names.
    """
    before = privileges.held()
    uid = os.geteuid()
    wanted = account(config.user) if config.user else None
    change = wanted is not None and wanted.uid != uid
    directories, written = config.owned_directories(), config.written()
    writes = {**directories, **written}
    reads = {**paths(config), **(also_reads or {})}
    reads = {key: path for key, path in reads.items() if key not in writes and os.path.isfile(path)}
    program = _program()
    if wanted is not None and change:
        missing = privileges.mask({Capability.SETGID, Capability.SETUID}) & ~before.effective
        if missing:
            raise ConfigError(
                f"user: can't become {wanted.name} (uid {wanted.uid}) from uid {uid}: "
                f"{privileges.names(missing)} are missing; start it as root or as that user, "
                "or leave user out"
            )
        for key, path in directories.items():
            _hand_over(key, path, wanted)
        after = privileges.drop(keep, (wanted.uid, wanted.gid))
    else:
        after = privileges.drop(keep)
    who = f"user {wanted.name}" if wanted is not None and change else f"uid {uid}"
    faults = [*_unreadable_program(program, who), *_unwritable(writes, who)]
    faults += _unreadable(reads, who)
    if faults:
        raise ConfigError("\n".join(faults))
    _log.info("runs as uid %d with %s", os.geteuid(), privileges.names(after.effective))
    if os.geteuid() == 0 and wanted is None:
        _log.warning(
            "runs as root: what root owns is open to it, even without capabilities; set user, "
            "as user: nobody, or start it as another user"
        )


def _hand_over(key: str, path: Path, to: Account) -> None:
    """Make a directory, and give it with all in it to ``to`` unless it is his.

    This is root's work in a place that others may be able to change under its hands.
    So only that is handed over which nobody but root can have put there, and no
    symbolic link is followed; for anything else a person has to decide.
    """
    path = Path(os.path.abspath(path))
    try:
        if path.stat().st_uid == to.uid:
            return
    except FileNotFoundError:
        pass
    usual = f"chown -R {to.name} {path}, or name another directory"
    try:
        descriptor = _reach(path)
        try:
            _give(descriptor, to)
        finally:
            os.close(descriptor)
    except _Untrusted as error:
        raise ConfigError(
            f"{key}: {path} is not of user {to.name}, and is not handed over, for {error}; {usual}"
        ) from None
    except OSError as error:
        raise ConfigError(
            f"{key}: {path} can't be handed over to user {to.name}: {error.strerror}; "
            f"{remedy(error.errno, key, usual)}"
        ) from error


class _Untrusted(Exception):
    """Somebody else than root may have put it there; the text says why."""


def _reach(path: Path) -> int:
    """A descriptor of the directory, made where there is none, by way of root's directories alone."""
    descriptor, here = os.open("/", _OPEN), Path("/")
    for part in path.parts[1:]:
        try:
            _check_only_root_writes(descriptor, here, sticky=True)
            try:
                inner = os.open(part, _OPEN, dir_fd=descriptor)
            except FileNotFoundError:
                last = here / part == path
                os.mkdir(part, 0o700 if last else 0o755, dir_fd=descriptor)
                inner = os.open(part, _OPEN, dir_fd=descriptor)
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENOTDIR):
                raise _Untrusted(f"{here / part} is a symbolic link or no directory") from None
            raise
        finally:
            os.close(descriptor)
        descriptor, here = inner, here / part
    return descriptor


def _check_only_root_writes(descriptor: int, path: Path, *, sticky: bool = False) -> None:
    """In a directory with the sticky bit nobody moves what is root's; it may hold others' things."""
    state = os.fstat(descriptor)
    if state.st_uid != 0:
        raise _Untrusted(f"{path} belongs to {owner(state.st_uid)}")
    if state.st_mode & 0o022 and not (sticky and state.st_mode & stat.S_ISVTX):
        raise _Untrusted(f"others than root may write in {path}")


def _give(descriptor: int, to: Account, path: Path = Path()) -> None:
    """Change the owner of all in a directory, then its own: a start that is cut off begins again."""
    _check_only_root_writes(descriptor, path if path.parts else Path("it"))
    for name in os.listdir(descriptor):
        if stat.S_ISDIR(os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_mode):
            inner = os.open(name, _OPEN, dir_fd=descriptor)
            try:
                _give(inner, to, path / name)
            finally:
                os.close(inner)
        else:
            os.chown(name, to.uid, to.gid, dir_fd=descriptor, follow_symlinks=False)
    os.fchown(descriptor, to.uid, to.gid)


def _unwritable(paths: Mapping[str, Path], who: str) -> list[str]:
    """Directories and files that can't be used, or made, as the user that this is now."""
    faults = []
    for key, path in paths.items():
        level = Path(os.path.abspath(path))
        while not os.path.lexists(level):  # nor can what is out of reach be seen
            level = level.parent
        needed = os.R_OK | os.W_OK | (os.X_OK if level.is_dir() else 0)
        if not os.access(level, needed, effective_ids=True):
            if os.statvfs(level).f_flag & os.ST_RDONLY:
                why = f"{key}: {path} is on a read-only file system"
                faults.append(f"{why}; {remedy(errno.EROFS, key, '')}")
                continue
            state = level.stat()
            faults.append(
                f"{key}: {path}: {who} can't write {level}, which belongs to "
                f"{owner(state.st_uid)} (mode {stat.S_IMODE(state.st_mode):04o}); give it "
                "to that user, or set user to its owner"
            )
    return faults


def _program() -> list[str]:
    """Where modules lie that are imported only when they are needed, as root sees it."""
    known = sysconfig.get_paths()
    places = [known[key] for key in ("stdlib", "platstdlib", "purelib", "platlib")]
    places.append(str(Path(__file__).parent))
    return [place for place in dict.fromkeys(places) if os.path.isdir(place)]


def _unreadable_program(places: list[str], who: str) -> list[str]:
    return [
        f"user: {who} can't read {place}, a part of this program; install it where every user "
        "can read it, as in /opt"
        for place in places
        if not os.access(place, os.R_OK | os.X_OK, effective_ids=True)
    ]


def _unreadable(files: Mapping[str, Path], who: str) -> list[str]:
    return [
        f"{key}: {path}: {who} can't read it, and it is read again later; give it to that user "
        "(chown, or chgrp and chmod g+r)"
        for key, path in files.items()
        if not os.access(path, os.R_OK, effective_ids=True)
    ]
