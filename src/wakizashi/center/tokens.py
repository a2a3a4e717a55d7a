"""``tokensFile``: which token may write under which probe names.

A YAML list. Several entries may hold the same token, and several tokens may
permit the same name, so that a new one is permitted before the old one goes::

    - { probe: vm-1, token: 2f1c… }
    - { probe: "prod/.*", token: 9be0… }

A pattern is a name, or a regular expression for the whole name. Of a token only
the SHA-256 is kept. What comes is looked up by its own: that takes as long
whatever it has in common with a token.
"""

import asyncio
import hashlib
import logging
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from wakizashi import yaml_text
from wakizashi.errors import ConfigError
from wakizashi.pattern import Pattern
from wakizashi.renewal import FileWatch
from wakizashi.secret_files import read_bytes, token_fault
from wakizashi.telemetry import Throttle

_log = logging.getLogger(__name__)

Grants = Mapping[bytes, tuple[Pattern, ...]]
"""By the token's digest: what it permits."""


def digest(token: str) -> bytes:
    """What is kept of a token."""
    return hashlib.sha256(token.encode("utf-8", "replace")).digest()


def load_tokens(path: Path) -> Grants:
    """Read and check a ``tokensFile``.

    Raises:
        ValueError: all that is wrong with it; no token is in it.
    """
    try:
        text = read_bytes(path).decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"is not UTF-8 text (byte {error.start})") from error
    nodes: list[yaml.Node] = []

    def look(root: yaml.Node) -> None:
        if isinstance(root, yaml.SequenceNode):
            nodes.extend(root.value)

    try:
        entries = yaml_text.parse(text, look)
    except yaml_text.NO_YAML as error:
        # What PyYAML says of it may have a token in it.
        mark = error.problem_mark if isinstance(error, yaml.MarkedYAMLError) else None
        where = f"line {mark.line + 1}: " if mark else ""
        raise ValueError(
            f"{where}is not YAML, or has more than {yaml_text.MOST_VALUES} values; "
            "put tokens and patterns in quotes"
        ) from None
    if not isinstance(entries, list) or not entries:
        raise ValueError("is not a list; write lines as - {probe: vm-1, token: …}")
    grants: dict[bytes, tuple[Pattern, ...]] = {}
    faults = []
    for node, entry in zip(nodes, entries, strict=True):
        found = list(_twice(node)) + list(_faults(entry))
        faults += [f"line {node.start_mark.line + 1}: {fault}" for fault in found]
        if not found:
            key = digest(entry["token"])
            grants[key] = (*grants.get(key, ()), Pattern(entry["probe"]))
    if faults:
        raise ValueError("; ".join(faults))
    return grants


def _twice(node: yaml.Node) -> Iterator[str]:
    if isinstance(node, yaml.MappingNode):
        keys = [key.value for key, _ in node.value]
        if len(keys) > len(set(map(str, keys))):
            yield "has a key twice; write - {probe: vm-1, token: …}"


def _faults(entry: Any) -> Iterator[str]:
    if not isinstance(entry, dict) or set(entry) != {"probe", "token"}:
        yield "has other keys than probe and token; write - {probe: vm-1, token: …}"
        return
    probe, token = entry["probe"], entry["token"]
    if not isinstance(probe, str) or not probe:
        yield "probe is not text; put it in quotes"
    else:
        try:
            Pattern(probe)
        except (re.error, OverflowError, RecursionError) as error:
            yield (
                f"probe: {probe!r} is no name and no regular expression: {error}; write a name "
                "as vm-1, or an expression for the whole name as vm-.*"
            )
    if not isinstance(token, str):
        yield "token is not text; put it in quotes"
    elif fault := token_fault(token):
        yield f"token {fault}"


class TokensFile:
    """The tokens of now: read again when the file changes; belongs to one event loop.

    Raises:
        ConfigError: the file can't be used.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._throttle = Throttle(_log)
        self._watch = FileWatch(path)
        self._watch.changed()
        self._reading = asyncio.Lock()
        try:
            self._grants = load_tokens(path)
        except ValueError as error:
            raise ConfigError(f"tokensFile: {path} {error}") from error

    async def permitted(self, key: bytes) -> tuple[Pattern, ...]:
        """What the token with this digest permits now; nothing if there is none such."""
        async with self._reading:
            if self._watch.changed():
                await self._read()
        return self._grants.get(key, ())

    async def _read(self) -> None:
        try:
            # Some thousand entries take a second, in which others want their acks.
            self._grants = await asyncio.to_thread(load_tokens, self._path)
        except ValueError as error:
            self._watch.unusable()
            self._throttle.warning(
                "file",
                f"tokensFile: {self._path} {error}; until then the tokens read before hold",
            )
            return
        self._throttle.clear("file")
        _log.info("tokensFile: %s: %d tokens are permitted now", self._path, len(self._grants))
