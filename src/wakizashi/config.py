"""From a YAML file, the environment and flags to a validated model, all faults at once.

Precedence: defaults < file < environment < flags. A fault is told as
``FILE:LINE: KEY: VALUE what is wrong; remedy``.

The environment variable of a key is ``WAKIZASHI_`` and the key in upper snake
case, levels joined by two underscores: ``WAKIZASHI_CAP_INTERVAL``,
``WAKIZASHI_BACKEND_CONFIG__INFLUX_CONFIG__PASSWORD``. Its value is read as YAML,
but that of a secret is taken as it is: a password may well hold `` #`` or be a number.
"""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from wakizashi import yaml_text
from wakizashi.config_faults import SHOWN, Keys, explain, key_text, printable
from wakizashi.config_secrets import (
    named_secret,
    secret_keys,
    section_of,
    takes_secret,
    without_quoted,
)
from wakizashi.errors import ConfigError
from wakizashi.sections import Section

ENVIRONMENT_PREFIX = "WAKIZASHI_"

MOST_BYTES = 2**16
"""Of a file. YAML is read at about 100 kB a second."""

# Kubernetes sets WAKIZASHI_PORT=tcp://10.0.0.1:10080 in every pod of a namespace
# that has a Service named "wakizashi". That is not ours.
_SERVICE_LINK = re.compile(r"(tcp|udp|sctp)://.*")

Model = TypeVar("Model", bound=Section)


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
    sources: dict[Keys, str] = {}
    data: dict[str, Any] = _read(path, sources, faults) if path is not None else {}
    for keys, text, source in _from_environment(
        model, os.environ if environment is None else environment
    ):
        _put(model, data, keys, text, source, sources, faults)
    for override in overrides:
        key, separator, text = override.partition("=")
        if not separator:
            shown = override if len(override) <= SHOWN else f"{override[:SHOWN]}…"
            shown = "…" if named_secret((shown,)) else shown
            faults.append(f"--set {shown}: has no '='; write --set KEY=VALUE")
            continue
        _put(model, data, tuple(key.split(".")), text, "--set", sources, faults)
    data = {**(defaults or {}), **data}
    config: Model | None = None
    try:
        config = model.model_validate(data, context=context)
    except ValidationError as error:
        faults.extend(explain(error, model, sources, str(path or "defaults")))
    if faults or config is None:
        raise ConfigError("\n".join(map(printable, faults)))
    return config


def _read(path: Path, sources: dict[Keys, str], faults: list[str]) -> dict[str, Any]:
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
        raise ConfigError("\n".join(map(printable, faults)))


def file_secrets(model: type[BaseModel], path: Path) -> list[str]:
    """The keys of secrets that stand in a configuration file itself.

    Raises:
        ConfigError: it can't be read.
    """
    return secret_keys(model, _read(path, {}, []))


def _mark(
    node: Any,
    prefix: Keys,
    path: Path,
    sources: dict[Keys, str],
    faults: list[str],
) -> None:
    """Remember the line of every key, and report keys that stand twice."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            keys = (*prefix, str(key.value) if isinstance(key, yaml.ScalarNode) else "?")
            line = key.start_mark.line + 1
            if keys in sources:
                first = sources[keys].rpartition(":")[2]
                faults.append(
                    f"{path}:{line}: {key_text(keys)}: stands already on line {first}; keep one"
                )
            sources[keys] = f"{path}:{line}"
            _mark(value, keys, path, sources, faults)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            keys = (*prefix, str(index))
            sources[keys] = f"{path}:{value.start_mark.line + 1}"
            _mark(value, keys, path, sources, faults)


def _from_environment(
    model: type[BaseModel], environment: Mapping[str, str]
) -> Iterator[tuple[Keys, str, str]]:
    for name, keys in sorted(variables(model).items()):
        text = environment.get(name)
        if text is not None and not _SERVICE_LINK.fullmatch(text):
            yield keys, text, name


def variables(model: type[BaseModel], prefix: Keys = ()) -> dict[str, Keys]:
    """The environment variable of every key of ``model``, with the key's path."""
    found: dict[str, Keys] = {}
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
    keys: Keys,
    text: str,
    source: str,
    sources: dict[Keys, str],
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
            label, last = key_text((key,)), key_text(keys[-1:])
            faults.append(f"{source}: {label} is no section; it has no {last!r}")
            return
        # A copy: with an alias (*NAME) another key may have the same one.
        target[key] = target = {} if inner is None else dict(inner)
    target[keys[-1]] = value
    for known in [path for path in sources if path[: len(keys)] == keys]:
        del sources[known]
    sources[keys] = source
