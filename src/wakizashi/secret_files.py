"""Files that hold secrets, and what is wrong with how they lie about."""

import os
import re
import stat
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

MOST_BYTES = 2**20
LEAST_TOKEN = 16
MOST_TOKEN = 512

_TOKEN = re.compile(r"[\x21-\x7e]+")


def read_bytes(path: Path) -> bytes:
    """A regular file's content; ``path`` may be a link to it, as in a volume of Kubernetes.

    Raises:
        ValueError: why there is none; nothing of the content is in it.
    """
    try:
        # A named pipe that nobody writes to would hold whoever opens it, a work loop too, for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        try:
            mode = os.fstat(descriptor).st_mode
            if not stat.S_ISREG(mode):
                raise ValueError(f"is {_kind(mode)}; name a regular file, or a link to one")
            with open(descriptor, "rb", closefd=False) as file:
                content = file.read(MOST_BYTES + 1)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise ValueError(
            f"can't be read: {error.strerror}; name a file that this user can read"
        ) from error
    if len(content) > MOST_BYTES:
        raise ValueError(f"has more than {MOST_BYTES} bytes; is it the right file?")
    return content


def _kind(mode: int) -> str:
    if stat.S_ISDIR(mode):
        return "a directory"
    return "a named pipe" if stat.S_ISFIFO(mode) else "a device"


def read_token(path: Path) -> str:
    """The bearer token in a file, without the white space around it.

    Raises:
        ValueError: why there is none; nothing of it is in it.
    """
    token = read_bytes(path).decode("ascii", "replace").strip()
    if fault := token_fault(token):
        raise ValueError(f"holds no token: it {fault}")
    return token


def token_fault(token: str) -> str | None:
    """Why ``token`` can't be one, with a remedy; None if it can."""
    remedy = "make one with: openssl rand -hex 32"
    if token and not _TOKEN.fullmatch(token):
        return f"has white space, or characters that are not ASCII; {remedy}"
    if not LEAST_TOKEN <= len(token) <= MOST_TOKEN:
        return (
            f"has {len(token)} characters, and {LEAST_TOKEN} to {MOST_TOKEN} are wanted; {remedy}"
        )
    return None


def exposed(files: Sequence[tuple[str, Path | None]], groups: Collection[int]) -> Iterator[str]:
    """What can be read by others than the daemon, a warning each.

    Readable by a group is a fault only where the daemon is not in it: a secret
    that Kubernetes mounts belongs to the group ``fsGroup``, and so does the process.

    Args:
        files: configuration keys and their files.
        groups: those that the daemon is, or will be, in.
    """
    for key, path in files:
        if path is None:
            continue
        try:
            found = path.stat()
        except OSError:  # whoever reads it says so
            continue
        mode = stat.S_IMODE(found.st_mode)
        foreign_group = mode & stat.S_IRGRP and found.st_gid not in groups
        if mode & stat.S_IROTH or foreign_group:
            yield (
                f"{key}: {path} can be read by others than this user (mode {mode:04o}); "
                f"chmod 600 {path} (of a secret in Kubernetes: defaultMode: 0440, and fsGroup)"
            )
