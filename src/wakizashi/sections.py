"""What a section of a configuration is made of: types of values, and keys that daemons share.

Every type takes what a person writes and says in one line what is wrong with it.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationInfo,
    field_validator,
    model_validator,
)

from wakizashi.account import account
from wakizashi.logs import FORMATS
from wakizashi.secret_files import read_bytes

_UNITS = {"": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
_UNITS |= {"kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}

# What YAML can write as "\0" and "\uD800"; the latter stands for bytes of variables and flags too.
_UNUSABLE = re.compile(r"[\x00\ud800-\udfff]")


def _size(value: object) -> object:
    if isinstance(value, str):
        match = re.fullmatch(r"(\d+)\s*([A-Za-z]*)", value.strip())
        if not match or match[2] not in _UNITS:
            raise ValueError("is not a size; try 512MiB or 1GiB")
        return int(match[1]) * _UNITS[match[2]]
    return value


def _level(value: object) -> object:
    if value not in range(5) or isinstance(value, bool):
        raise ValueError("is not a level; use 0 debug, 1 info, 2 warning, 3 error or 4 fatal")
    return value


def _format(value: object) -> object:
    if value not in FORMATS:
        raise ValueError(f"is not a format of logs; use {' or '.join(FORMATS)}")
    return value


SERVES = "serves"
"""Of the validators' context: whether a daemon is to run, and not something that only reads."""


def serves(info: ValidationInfo) -> bool:
    """Whether what a daemon alone needs is looked at: files, users, packages."""
    return bool((info.context or {}).get(SERVES, True))


def _user(value: object, info: ValidationInfo) -> object:
    # In YAML 65534 is a number; a user's name is no such thing as true.
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if isinstance(text, str) and text and serves(info):
        account(text)
    return text


Size = Annotated[int, BeforeValidator(_size), Field(ge=1, le=2**62)]
"""A number of bytes; in YAML a number, or one with KiB, MiB, GiB, TiB, kB, MB, GB, TB."""

LogLevel = Annotated[int, BeforeValidator(_level)]
"""0 debug, 1 info, 2 warning, 3 error, 4 fatal."""

LogFormat = Annotated[str, BeforeValidator(_format)]
"""One of :data:`wakizashi.logs.FORMATS`."""

Port = Annotated[int, Field(ge=1, le=65535)]
"""A TCP port."""


User = Annotated[str, BeforeValidator(_user)]
"""A user of this host, by name or number; empty: whoever starts it."""


class Section(BaseModel):
    """Base of every part of a configuration: unknown keys are faults, values never change.

    A file may leave a key's value empty (``key:``): then the default holds.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    def written(self) -> Mapping[str, Mapping[Path, int]]:
        """Files of this section that the daemon writes, by key.

        Each with what lies, or will lie, beside it, and whether it is read (``os.R_OK``),
        written (``os.W_OK``), or both.
        """
        return {}

    @model_validator(mode="before")
    @classmethod
    def _empty_means_default(cls, data: object) -> object:
        if isinstance(data, dict):
            return {key: value for key, value in data.items() if value is not None}
        return data

    @field_validator("*", mode="before")
    @classmethod
    def _characters(cls, value: object) -> object:
        texts = [*value, *value.values()] if isinstance(value, dict) else value
        for text in texts if isinstance(texts, list) else (texts,):
            if isinstance(text, str) and _UNUSABLE.search(text):
                raise ValueError("has a zero byte, or is not UTF-8; no name and no path can be so")
        return value


class DaemonSection(Section):
    """The whole configuration of a daemon, which may become another user when it starts."""

    user: User = ""

    def owned_directories(self) -> Mapping[str, Path]:
        """Directories that are this daemon's alone, with all in them, by key."""
        return {}

    def groups(self) -> frozenset[int]:
        """Those that the daemon will be in: ``user`` has one, and no other."""
        if self.user and (wanted := account(self.user)).uid != os.geteuid():
            return frozenset({wanted.gid})
        return frozenset({os.getegid(), *os.getgroups()})


def paths(section: BaseModel, prefix: str = "") -> dict[str, Path]:
    """All that is configured as a path and not written, by key, as ``passwordFile`` of a section."""
    found = {}
    written = section.written() if isinstance(section, Section) else {}
    for key in type(section).model_fields:
        value = getattr(section, key)
        if isinstance(value, Path) and key not in written:
            found[prefix + key] = value
        elif isinstance(value, BaseModel):
            found |= paths(value, f"{prefix}{key}.")
    return found


class PasswordSection(Section):
    """A section with a secret: ``password`` itself, or ``passwordFile`` that holds it."""

    password: SecretStr | None = None
    passwordFile: Path | None = None

    @model_validator(mode="after")
    def _one_password(self) -> Self:
        if self.password is not None and self.passwordFile is not None:
            raise ValueError("password and passwordFile exclude each other; keep one of them")
        if self.passwordFile is not None:
            self.secret()
        return self

    def secret(self) -> str:
        """The password, read from its file each time, so that it can be changed there.

        Raises:
            ValueError: the file can't be read.
        """
        if self.passwordFile is not None:
            try:
                return read_bytes(self.passwordFile).decode().rstrip("\r\n")
            except UnicodeDecodeError as error:
                raise ValueError(f"passwordFile: {self.passwordFile} is not UTF-8 text") from error
            except ValueError as error:
                raise ValueError(f"passwordFile: {self.passwordFile} {error}") from error
        return self.password.get_secret_value() if self.password is not None else ""
