"""What is wrong with a configuration, a line each: where, the key, the value, and the remedy."""

import difflib
import re
from collections.abc import Iterator, Mapping

from pydantic import BaseModel, ValidationError

from wakizashi.config_secrets import named_secret, section_of, takes_secret
from wakizashi.sections import Section

SHOWN = 200
"""Characters of a value in a message."""

Keys = tuple[str, ...]
"""The levels of a key."""


def explain(
    error: ValidationError, model: type[BaseModel], sources: Mapping[Keys, str], default: str
) -> Iterator[str]:
    """What pydantic found, as people want to hear it; of a secret the value is not told.

    Args:
        error: all that is wrong.
        model: what was to be made.
        sources: where values came from: ``probe-config.yaml:3``, a variable's name, ``--set``.
        default: for what came from nowhere.
    """
    for fault in error.errors():
        place = [str(part) for part in fault["loc"]]
        keys = tuple(part for part in place if not _internal(part))
        if fault["type"] == "extra_forbidden":  # the user's own word, whatever it looks like
            keys = (*(part for part in place[:-1] if not _internal(part)), place[-1])
        where = default
        for length in range(len(keys), 0, -1):
            if keys[:length] in sources:
                where = sources[keys[:length]]
                break
        else:
            # A section that a flag or a variable made has no source; its keys have.
            below = [path for path in sources if keys and path[: len(keys)] == keys]
            if below:
                where = sources[below[0]]
        label = key_text(keys)
        value = fault.get("input")
        hidden = named_secret(keys) or takes_secret(model, keys)
        shown = "" if isinstance(value, dict | list | Section) or hidden else _shown(value)
        kind, context = fault["type"], fault.get("ctx", {})
        if kind == "extra_forbidden":
            text = f"unknown key{_suggestion(keys, model)}"
        elif kind == "missing":
            text = "is missing; add it"
        elif kind == "value_error":
            text = f"{shown}{context['error']}"
        else:
            text = f"{shown}{_PLAIN.get(kind, fault['msg']).format(**context)}"
        yield f"{where}: {label}: {text}" if label else f"{where}: {text}"


_PLAIN = {
    "int_parsing": "is not a whole number",
    "int_type": "is not a whole number",
    "int_from_float": "is not a whole number",
    "float_parsing": "is not a number",
    "float_type": "is not a number",
    "bool_parsing": "is not true or false",
    "bool_type": "is not true or false",
    "string_type": "is not text; put it in quotes",
    "list_type": "is not a list; write [a, b]",
    "tuple_type": "is not a list; write [a, b]",
    "dict_type": "is not a section; write its keys below it, indented",
    "model_type": "is not a section; write its keys below it, indented",
    "model_attributes_type": "is not a section; write its keys below it, indented",
    "greater_than": "is not greater than {gt}",
    "greater_than_equal": "is less than {ge}, the least allowed",
    "less_than_equal": "is more than {le}, the most allowed",
    "too_short": "is empty; name at least {min_length}",
    "path_type": "is not a path",
}


def _internal(part: str) -> bool:
    """Pydantic names the branches of a union and of validators in its locations."""
    return "[" in part or part in {"str", "int", "bool", "float", "dict", "list"}


def key_text(keys: Keys) -> str:
    """A key as messages have it; whatever a file or a flag has for one."""
    parts = (key if len(key) <= SHOWN // 4 else f"{key[: SHOWN // 4]}…" for key in keys[:8])
    return ".".join(parts) + ("…" if len(keys) > 8 else "")


def printable(fault: str) -> str:
    """On one line, not too long a one, and for any terminal."""
    if len(fault) > 5 * SHOWN:
        fault = f"{fault[: 2 * SHOWN]} … {fault[-2 * SHOWN :]}"  # the remedy is at its end
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in fault)


def _shown(value: object) -> str:
    """A value as messages have it: a URL without the user and password in it."""
    text = re.sub(r"(?<=//).*@|(?<=password=)[^&\s']*", "…", repr(value))
    return (text if len(text) <= SHOWN else f"{text[:SHOWN]}…") + " "


def _suggestion(keys: Keys, model: type[BaseModel]) -> str:
    section: type[BaseModel] | None = model
    for key in keys[:-1]:
        field = section.model_fields.get(key) if section else None
        section = section_of(field.annotation) if field else None
    known = list(section.model_fields) if section else []
    folded = {name.lower(): name for name in known}
    close = difflib.get_close_matches(keys[-1].lower(), folded, n=1, cutoff=0.6)
    if close:
        return f"; did you mean {folded[close[0]]}?"
    return f"; known are {', '.join(known)}" if known else ""
