"""Whom a daemon runs as: key ``user``, and the step from root to that user.

In: a configuration, and the capabilities that the work to come needs. Before the
step, while this is still root, the directories that the daemon writes in are handed
over; after it everything that will be needed later is tried, so that what the new
user may not do is told at the start. Why so: ``docs/decisions/0011-privileges.md``.
"""

import errno
import json
import logging
import os
import stat
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from wakizashi import permitted, privileges
from wakizashi.account import Account, account, owner
from wakizashi.errors import ConfigError
from wakizashi.filesystem import remedy
from wakizashi.lifecycle import ask_child
from wakizashi.privileges import Capability
from wakizashi.sections import DaemonSection

_log = logging.getLogger(__name__)

_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def assume(
    config: DaemonSection,
    keep: Collection[Capability],
    also_reads: Mapping[str, Path] | None = None,
    *,
    source: Path | None = None,
) -> None:
    """Become the configured user, and keep these capabilities at most. No thread may run yet.

    Args:
        config: its ``user``; its directories and files are checked.
        keep: what the work to come needs.
        also_reads: files by what names them, beside those of the configuration.
        source: the file of the configuration, which a reload reads again.

    Raises:
        ConfigError: this process may not become that user, or that user may not
            use what the configuration names.
    """
    wanted = _other_user(config)
    needed = permitted.needs(config, also_reads)
    if wanted is not None:
        _check_may_become(wanted)
        for key, path in config.owned_directories().items():
            _hand_over(key, path, wanted)
    after = privileges.drop(keep, (wanted.uid, wanted.gid) if wanted else None)
    who = f"user {wanted.name}" if wanted else f"uid {os.geteuid()}"
    if faults := permitted.faults(needed, who):
        raise ConfigError("\n".join(faults))
    _log.info("runs as uid %d with %s", os.geteuid(), privileges.names(after.effective))
    if os.geteuid() == 0 and not config.user:
        _log.warning(
            "runs as root: what root owns is open to it, even without capabilities; set user, "
            "as user: nobody, or start it as another user"
        )
    if source is not None and (trouble := unreadable_source(source, who)):
        _log.warning("%s", trouble)


def foresee(config: DaemonSection, source: Path | None) -> tuple[list[str], str | None]:
    """What :func:`assume` would refuse here and now, and what it would warn of; nothing changes.

    A child becomes the user and tries. Other threads are not in the child, nor does anybody
    give back there what they hold: call this before there are any.
    """
    wanted = _other_user(config)
    if wanted is None:
        return [], None
    try:
        _check_may_become(wanted)
    except ConfigError as error:
        return [str(error)], None
    refused, handed_over = [], set()
    for key, path in config.owned_directories().items():
        try:
            if not _hand_over(key, path, wanted, only_look=True):
                continue
        except ConfigError as error:
            refused.append(str(error))
        handed_over.add(key)
    needed, who = permitted.needs(config), f"user {wanted.name}"

    def look() -> tuple[list[str], str | None]:
        trouble = unreadable_source(source, who) if source is not None else None
        return permitted.faults(needed, who, handed_over), trouble

    found, trouble = _as(wanted, look)
    return refused + found, trouble


def unreadable_source(source: Path, who: str) -> str | None:
    """That a reload can't read the configuration again, if so; a start could, as another user."""
    if os.access(source, os.R_OK, effective_ids=True):
        return None
    return (
        f"-c: {source}: {who} can't read it, so a reload (SIGHUP) is refused; give it to that "
        "user (chown, or chgrp and chmod g+r), or restart for each change"
    )


def _other_user(config: DaemonSection) -> Account | None:
    """Whom to become; None to stay who this is."""
    wanted = account(config.user) if config.user else None
    return None if wanted is None or wanted.uid == os.geteuid() else wanted


def _check_may_become(wanted: Account) -> None:
    held = privileges.held().effective
    missing = privileges.mask({Capability.SETGID, Capability.SETUID}) & ~held
    if missing:
        raise ConfigError(
            f"user: can't become {wanted.name} (uid {wanted.uid}) from uid {os.geteuid()}: "
            f"{privileges.names(missing)} are missing; start it as root or as that user, "
            "or leave user out"
        )


def _as(user: Account, look: Callable[[], tuple[list[str], str | None]]) -> Any:
    """What ``look`` finds in a child that has become ``user``."""

    def told() -> str:
        try:
            privileges.drop((), (user.uid, user.gid))
        except OSError as error:
            return json.dumps(([f"user: can't become {user.name}: {error}; leave user out"], None))
        return json.dumps(look())

    return json.loads(ask_child(told))


def _hand_over(key: str, path: Path, to: Account, *, only_look: bool = False) -> bool:
    """Make a directory, and give it with all in it to ``to`` unless it is his; whether it is not.

    This is root's work in a place that others may be able to change under its hands.
    So only that is handed over which nobody but root can have put there, and no
    symbolic link is followed; for anything else a person has to decide.
    """
    path = Path(os.path.abspath(path))
    try:
        if path.stat().st_uid == to.uid:
            return False
    except OSError:  # there is none, or what is on the way is told below
        pass
    usual = f"chown -R {to.name} {path}, or name another directory"
    try:
        descriptor = _reach(path, make=not only_look)
        if descriptor is None:
            return True
        try:
            _give(descriptor, to, only_look=only_look)
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
    return True


class _Untrusted(Exception):
    """Somebody else than root may have put it there; the text says why."""


def _reach(path: Path, *, make: bool) -> int | None:
    """A descriptor of the directory, by way of root's directories alone; None where there is none.

    With ``make`` it is made there.
    """
    descriptor, here = os.open("/", _OPEN), Path("/")
    for part in path.parts[1:]:
        try:
            _check_only_root_writes(descriptor, here, sticky=True)
            try:
                inner = os.open(part, _OPEN, dir_fd=descriptor)
            except FileNotFoundError:
                if not make:
                    return None
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


def _give(descriptor: int, to: Account, path: Path = Path(), *, only_look: bool = False) -> None:
    """Change the owner of all in a directory, then its own: a start that is cut off begins again.

    So a directory in it that is his already was done before, and its content is not root's to
    change any more: he can have put anything there.
    """
    _check_only_root_writes(descriptor, path if path.parts else Path("it"))
    for name in os.listdir(descriptor):
        if stat.S_ISDIR(os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_mode):
            inner = os.open(name, _OPEN, dir_fd=descriptor)
            try:
                if os.fstat(inner).st_uid != to.uid:
                    _give(inner, to, path / name, only_look=only_look)
            finally:
                os.close(inner)
        elif not only_look:
            os.chown(name, to.uid, to.gid, dir_fd=descriptor, follow_symlinks=False)
    if not only_look:
        os.fchown(descriptor, to.uid, to.gid)
