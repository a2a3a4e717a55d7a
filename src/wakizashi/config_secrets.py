"""Which keys of a configuration hold secrets, and how messages keep them to themselves."""

import re
import types
from collections.abc import Mapping
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, SecretStr

_URL_PASSWORD = re.compile(r"//[^/?#\s]*:[^/?#\s]*@")


def section_of(annotation: Any) -> type[BaseModel] | None:
    """The section class in an annotation such as ``S`` or ``S | None``."""
    options = (
        get_args(annotation)
        if get_origin(annotation) in (Union, types.UnionType)
        else (annotation,)
    )
    for option in options:
        if isinstance(option, type) and issubclass(option, BaseModel):
            return option
    return None


def takes_secret(model: type[BaseModel], keys: tuple[str, ...]) -> bool:
    """Whether the key's value is a SecretStr."""
    if not keys:
        return False
    section: type[BaseModel] | None = model
    for key in keys[:-1]:
        field = section.model_fields.get(key) if section else None
        section = section_of(field.annotation) if field else None
    field = section.model_fields.get(keys[-1]) if section else None
    return field is not None and SecretStr in (field.annotation, *get_args(field.annotation))


def named_secret(keys: tuple[str, ...]) -> bool:
    """Whether a key's name says so, also where there is no such key."""
    return bool(keys) and re.search(r"password|token|secret", keys[-1], re.IGNORECASE) is not None


def secret_keys(
    model: type[BaseModel], values: Mapping[str, Any], above: tuple[str, ...] = ()
) -> list[str]:
    """The keys whose values, as a file or a flag has them, are secrets or URLs with a password."""
    found = []
    for key, value in values.items():
        keys = (*above, str(key))
        if isinstance(value, Mapping):
            found += secret_keys(model, value, keys)
        elif isinstance(value, str) and "://" in value and not named_secret(keys):
            found += [".".join(keys)] if _URL_PASSWORD.search(value) else []
        elif takes_secret(model, keys):
            found.append(".".join(keys))
    return found


def without_quoted(problem: str) -> str:
    """What YAML says of a text without what it quotes of it.

    Of ``password: *hunter2`` it says that there is no alias 'hunter2'.
    """
    return re.sub(r"(['\"])(?!<)[^'\"]{2,}\1", r"\1…\1", problem)
