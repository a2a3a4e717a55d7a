"""From a YAML file, the environment and flags to a validated model, all faults at once.

Precedence: defaults < file < environment < flags. A fault is told as
``FILE:LINE: KEY: VALUE what is wrong; remedy``.

The environment variable of a key is ``WAKIZASHI_`` and the key in upper snake
case, levels joined by two underscores: ``WAKIZASHI_CAP_INTERVAL``,
``WAKIZASHI_BACKEND_CONFIG__INFLUX_CONFIG__PASSWORD``. Its value is read as YAML,
but that of a secret is taken as it is: a password may well hold `` #`` or be a number.
"""

import difflib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from wakizashi import yaml_text
from wakizashi.account import account
from wakizashi.config_secrets import (
    named_secret,
    secret_keys,
    section_of,
    takes_secret,
    without_quoted,
)
from wakizashi.errors import ConfigError
from wakizashi.logs import FORMATS
from wakizashi.secret_files import read_bytes

ENVIRONMENT_PREFIX = "WAKIZASHI_"

MOST_BYTES = 2**16
"""Of a file. YAML is read at about 100 kB a second."""
_SHOWN = 200
"""Characters of a value in a message."""

_UNITS = {"": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
_UNITS |= {"kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}

# Kubernetes sets WAKIZASHI_PORT=tcp://10.0.0.1:10080 in every pod of a namespace
# that has a Service named "wakizashi". That is not ours.
_SERVICE_LINK = re.compile(r"(tcp|udp|sctp)://.*")


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


Model = TypeVar("Model", bound=Section)


@dataclass(frozen=True, slots=True)
class _Source:
    """Where a value came from, for messages: ``probe-config.yaml:3`` or an environment variable."""

    text: str


_Keys = tuple[str, ...]


def load(
    model: type[Model],
    path: Path | None,
    *,
    overrides: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    defaults: Mapping[str, Any] | None = None,
    context: Mapping[str, Any] | None = None,
) -> Model:
    """Load and validate a configuration.

    Args:
        model: what to validate into.
        path: the YAML file; None for defaults alone.
        overrides: ``KEY=VALUE`` flags, levels joined by dots, values as YAML.
        environment: ``os.environ`` if None.
        defaults: values for top-level keys that nothing else sets, over the model's own.
        context: for the model's validators.

    Raises:
        ConfigError: with every fault found, a line each.
    """
    faults: list[str] = []
    sources: dict[_Keys, _Source] = {}
    data: dict[str, Any] = _read(path, sources, faults) if path is not None else {}
    for keys, text, source in _from_environment(
        model, os.environ if environment is None else environment
    ):
        _put(model, data, keys, text, source, sources, faults)
    for override in overrides:
        key, separator, text = override.partition("=")
        if not separator:
            shown = override if len(override) <= _SHOWN else f"{override[:_SHOWN]}…"
            shown = "…" if named_secret((shown,)) else shown
            faults.append(f"--set {shown}: has no '='; write --set KEY=VALUE")
            continue
        _put(model, data, tuple(key.split(".")), text, _Source("--set"), sources, faults)
    data = {**(defaults or {}), **data}
    config: Model | None = None
    try:
        config = model.model_validate(data, context=context)
    except ValidationError as error:
        faults.extend(_faults(error, model, data, sources, str(path or "defaults")))
    if faults or config is None:
        raise ConfigError("\n".join(map(_printable, faults)))
    return config


def _read(path: Path, sources: dict[_Keys, _Source], faults: list[str]) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ConfigError(
            f"{path}: {reason}; name a file that this user can read with -c"
        ) from error
    if len(content) > MOST_BYTES:
        raise ConfigError(f"{path}: has more than {MOST_BYTES} bytes; is it a configuration?")
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not UTF-8 text (byte {error.start})") from error
    try:
        data = yaml_text.parse(text, lambda root: _mark(root, (), path, sources, faults))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f":{mark.line + 1}" if mark else ""
        raise ConfigError(
            f"{path}{where}: is not YAML: {without_quoted(str(error.problem or error.context))}"
        ) from error
    except yaml_text.NO_YAML as error:
        reason = " ".join(str(error).split())  # of a forbidden character it has two lines
        raise ConfigError(f"{path}: is not YAML: {without_quoted(reason)}") from error
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: holds no 'key: value' lines at its top level")
    return data


def refuse_listed_secrets(model: type[BaseModel], flags: Sequence[str]) -> None:
    """For command lines: no ``KEY=VALUE`` flag may hold a secret.

    Raises:
        ConfigError: one does; whoever lists the processes of this host sees it.
    """
    names = {".".join(keys): name for name, keys in variables(model).items()}
    faults = []
    for flag in flags:
        key, _, text = flag.partition("=")
        try:
            value = yaml_text.parse(text)
        except yaml_text.NO_YAML:
            value = text
        *above, last = key.split(".")
        for secret in secret_keys(model, {last: value}, tuple(above)):
            instead = f" or in the environment as {names[secret]}" if secret in names else ""
            faults.append(
                f"--set {secret}: a secret here is shown in every list of processes; "
                f"set it in the file{instead}, a password also as passwordFile"
            )
    if faults:
        raise ConfigError("\n".join(map(_printable, faults)))


def file_secrets(model: type[BaseModel], path: Path) -> list[str]:
    """The keys of secrets that stand in a configuration file itself.

    Raises:
        ConfigError: it can't be read.
    """
    return secret_keys(model, _read(path, {}, []))


def _mark(
    node: Any,
    prefix: _Keys,
    path: Path,
    sources: dict[_Keys, _Source],
    faults: list[str],
) -> None:
    """Remember the line of every key, and report keys that stand twice."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            keys = (*prefix, str(key.value) if isinstance(key, yaml.ScalarNode) else "?")
            line = key.start_mark.line + 1
            if keys in sources:
                first = sources[keys].text.rpartition(":")[2]
                faults.append(
                    f"{path}:{line}: {_label(keys)}: stands already on line {first}; keep one"
                )
            sources[keys] = _Source(f"{path}:{line}")
            _mark(value, keys, path, sources, faults)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            keys = (*prefix, str(index))
            sources[keys] = _Source(f"{path}:{value.start_mark.line + 1}")
            _mark(value, keys, path, sources, faults)


def _from_environment(
    model: type[BaseModel], environment: Mapping[str, str]
) -> Iterator[tuple[_Keys, str, _Source]]:
    for name, keys in sorted(variables(model).items()):
        text = environment.get(name)
        if text is not None and not _SERVICE_LINK.fullmatch(text):
            yield keys, text, _Source(name)


def variables(model: type[BaseModel], prefix: _Keys = ()) -> dict[str, _Keys]:
    """The environment variable of every key of ``model``, with the key's path."""
    found: dict[str, _Keys] = {}
    for key, field in model.model_fields.items():
        keys = (*prefix, key)
        section = section_of(field.annotation)
        if section is not None:
            found |= variables(section, keys)
        else:
            snake = (re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", part).upper() for part in keys)
            found[ENVIRONMENT_PREFIX + "__".join(snake)] = keys
    return found


def _put(
    model: type[BaseModel],
    data: dict[str, Any],
    keys: _Keys,
    text: str,
    source: _Source,
    sources: dict[_Keys, _Source],
    faults: list[str],
) -> None:
    try:
        value = text if takes_secret(model, keys) else yaml_text.parse(text)
    except yaml_text.NO_YAML:
        value = text
    target = data
    for key in keys[:-1]:
        inner = target.get(key)
        if not isinstance(inner, dict | None):
            label, last = _label((key,)), _label(keys[-1:])
            faults.append(f"{source.text}: {label} is no section; it has no {last!r}")
            return
        # A copy: with an alias (*NAME) another key may have the same one.
        target[key] = target = {} if inner is None else dict(inner)
    target[keys[-1]] = value
    for known in [path for path in sources if path[: len(keys)] == keys]:
        del sources[known]
    sources[keys] = source


def _faults(
    error: ValidationError,
    model: type[BaseModel],
    data: dict[str, Any],
    sources: dict[_Keys, _Source],
    default: str,
) -> Iterator[str]:
    for fault in error.errors():
        place = [str(part) for part in fault["loc"]]
        keys = tuple(part for part in place if not _internal(part))
        if fault["type"] == "extra_forbidden":  # the user's own word, whatever it looks like
            keys = (*(part for part in place[:-1] if not _internal(part)), place[-1])
        where = default
        for length in range(len(keys), 0, -1):
            if keys[:length] in sources:
                where = sources[keys[:length]].text
                break
        else:
            # A section that a flag or a variable made has no source; its keys have.
            below = [path for path in sources if keys and path[: len(keys)] == keys]
            if below:
                where = sources[below[0]].text
        label = _label(keys)
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


def _label(keys: _Keys) -> str:
    """A key as messages have it; whatever a file or a flag has for one."""
    parts = (key if len(key) <= _SHOWN // 4 else f"{key[: _SHOWN // 4]}…" for key in keys[:8])
    return ".".join(parts) + ("…" if len(keys) > 8 else "")


def _printable(fault: str) -> str:
    """On one line, not too long a one, and for any terminal."""
    if len(fault) > 5 * _SHOWN:
        fault = f"{fault[: 2 * _SHOWN]} … {fault[-2 * _SHOWN :]}"  # the remedy is at its end
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in fault)


def _shown(value: object) -> str:
    """A value as messages have it: a URL without the user and password in it."""
    text = re.sub(r"(?<=//).*@|(?<=password=)[^&\s']*", "…", repr(value))
    return (text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…") + " "


def _suggestion(keys: _Keys, model: type[BaseModel]) -> str:
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
