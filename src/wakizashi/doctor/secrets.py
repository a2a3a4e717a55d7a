"""Files with secrets in them, and who may read them."""

from collections.abc import Iterator
from pathlib import Path

from wakizashi.config import file_secrets
from wakizashi.doctor.finding import Finding, note, ok
from wakizashi.secret_files import exposed
from wakizashi.sections import DaemonSection, Section

_KEYS = frozenset({"passwordFile", "tokenFile", "tokensFile", "key"})


def look(config: DaemonSection, path: Path | None) -> Iterator[Finding]:
    """Whether others may read what a configuration keeps secret.

    Args:
        config: the configuration.
        path: its file, which may hold passwords.
    """
    files = list(secret_files(config))
    if path is not None and (held := file_secrets(type(config), path)):
        files.append((f"{held[0]} in -c", path))
    troubles = [message.partition("; ") for message in exposed(files, config.groups())]
    for text, _, remedy in troubles:
        yield note("secrets", text, remedy)
    if not troubles:
        shown = ", ".join(f"{key} {file}" for key, file in files)
        yield ok("secrets", f"{shown}: for this user alone" if shown else "no file holds any")


def secret_files(section: Section, prefix: str = "") -> Iterator[tuple[str, Path]]:
    """The keys that name files with secrets, and the files."""
    for key in type(section).model_fields:
        value = getattr(section, key)
        if isinstance(value, Section):
            yield from secret_files(value, f"{prefix}{key}.")
        elif key in _KEYS and isinstance(value, Path):
            yield f"{prefix}{key}", value
