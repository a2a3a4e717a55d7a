"""Any configuration file, variables and flags, of probe and center.

Held: it loads, and all in it is of a kind and size that can be used; or there is a
:class:`ConfigError` whose lines are short and printable. And neither takes long.
"""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel

from tests.fuzz.choices import Choices
from wakizashi import config as loader
from wakizashi.center.config import CenterConfig, load_center
from wakizashi.config import variables
from wakizashi.errors import EXIT_CONFIG, ConfigError
from wakizashi.probe.config import ProbeConfig
from wakizashi.sections import Section

_MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
_MODELS: tuple[type[Section], ...] = (ProbeConfig, CenterConfig)
_PATHS = [sorted(variables(model).values()) for model in _MODELS]
_VALUES = (
    *("1", "0", "-1", "x", "''", "~", "true", "1.5", ".nan", ".inf", "-.inf", "1e400", "[a, b]"),
    *("{a: b}", "[]", "{}", "10.0.0.1:10080", "'[::1]:1'", "host:99999", "1GiB", "99999TiB"),
    *("0x" + "f" * 5_000, "9" * 400, "9" * 5_000, "'" + "9" * 5_000 + "KiB'", "1:2:3:4"),
    *(r'"\uD800"', r'"\0"', "!!binary aGVsbG8=", "!!set {a, b}", "!!omap [a: 1]", "2026-01-01"),
    *("2026-13-45", "!!float x", "!!int ''", "!!str {a: b}", "!!python/name:os.system", "<<"),
    *("*a", "&a [*a]", "&a {b: *a}", "!!timestamp 1", "'(a+)+$'", "'['", "'" + "(" * 500 + "'"),
    *("http://u:p@h:1/?x#y", "'http://[::1'", "'redis://:p@h/x'", "mongodb://h,h2/?a=b"),
    *("'" + "x" * 3_000 + "'", "|\n  a\n  b", "/dev/null", "/", "٣", "1_000", "é"),
)
_BOMB = "a: &a0 [x]\n" + "".join(
    f"b{n}: &a{n + 1} [{', '.join([f'*a{n}'] * 9)}]\n" for n in range(30)
)
_MERGE_BOMB = "m0: &m0 {a: 1}\n" + "".join(
    f"m{n + 1}: &m{n + 1}\n  <<: [{', '.join([f'*m{n}'] * 9)}]\n" for n in range(30)
)
_LONG = "[" * 400, "{a: " * 400, "- " * 400, "a:\n" + " a:\n" * 50, "? " * 400
_PIECES = (
    _BOMB,
    _MERGE_BOMB,
    *_LONG,
    "\ufeff",
    "---\n",
    "...\n",
    "%YAML 1.1\n",
    "1: x\n",
    "\r",
    "list: x\n",
    "[: x\n",
)


def fuzz(data: bytes) -> None:
    choices = Choices(data)
    which = choices.number(2)
    paths = _PATHS[which]
    environment = {
        name: _value(choices)
        for name, keys in variables(_MODELS[which]).items()
        if choices.chance(60) and keys
    }
    flags = [_flag(choices, paths) for _ in range(choices.number(4))]
    text = choices.rest() if choices.chance(3) else _text(choices, paths)
    with tempfile.NamedTemporaryFile(dir=_MEMORY, suffix=".yaml") as file:
        file.write(text)
        file.flush()
        path = Path(file.name)
        try:
            config: Section
            if which:
                config = load_center(path, flags, environment)
            else:
                config = loader.load(ProbeConfig, path, overrides=flags, environment=environment)
        except ConfigError as error:
            _check_message(error)
        else:
            _check_values(config)


def _value(choices: Choices) -> str:
    if choices.chance(6):
        return choices.block(30).decode(errors="surrogateescape")
    return choices.pick(_VALUES)


def _flag(choices: Choices, paths: list[tuple[str, ...]]) -> str:
    if choices.chance(6):
        return choices.block(30).decode(errors="surrogateescape")
    keys = choices.pick(paths)
    keys = keys[: 1 + choices.number(len(keys))] + choices.pick(((), (), ("x",), ("", "")))
    return f"{'.'.join(keys)}={_value(choices)}"


def _text(choices: Choices, paths: list[tuple[str, ...]]) -> bytes:
    lines = []
    for _ in range(choices.number(6)):
        kind = choices.number(5)
        if kind == 4:
            lines.append(choices.pick(_PIECES))
            continue
        keys = choices.pick(paths)
        indent = ""
        for key in keys[:-1]:
            lines.append(f"{indent}{key}:{' &a' if choices.chance(5) else ''}\n")
            indent += "  "
        lines.append(f"{indent}{keys[-1]}: {_value(choices)}\n")
    text = "".join(lines).encode(errors="surrogatepass")
    return choices.altered(text) if choices.chance(4) else text


def _check_message(error: ConfigError) -> None:
    assert error.exit_code == EXIT_CONFIG
    lines = str(error).splitlines()
    assert lines
    for line in lines:
        assert len(line) < 2_000, f"a line of {len(line)} characters"
        assert ": " in line


def _check_values(value: object) -> None:
    """Paths that the system can be asked for, numbers that clocks and sockets can be given."""
    if isinstance(value, BaseModel):
        for name in type(value).model_fields:
            _check_values(getattr(value, name))
    elif isinstance(value, dict):
        for item in value.items():
            _check_values(item)
    elif isinstance(value, list | tuple):
        for item in value:
            _check_values(item)
    elif isinstance(value, Path | str):
        assert b"\0" not in os.fsencode(value)
        str(value).encode()
    elif isinstance(value, int | float):
        assert -(2**63) <= value < 2**63


def seeds() -> Iterator[bytes]:
    """Configurations as they should be, and each key with values that it should not have."""
    yield b""
    root = Path(__file__).parents[2] / "config"
    odd = [_VALUES.index(value) for value in ("9" * 400, ".nan", r'"\0"', "{a: b}")]
    for which, name in enumerate(("probe-config.yaml", "center-config.yaml")):
        head = bytes([which]) + bytes(len(variables(_MODELS[which]))) + b"\0"
        yield head + b"\2" + (root / name).read_bytes()
        for number, keys in enumerate(_PATHS[which]):
            for value in (number % len(_VALUES), *odd):
                # A text of one line, that of this key; its sections bear no anchors.
                yield head + bytes([0, 1, 0, number]) + bytes(len(keys) - 1) + bytes([0, value])
        for number in range(len(_VALUES)):
            yield head + bytes([0, 1, 0, 0, 0, number])
        for number in range(len(_PIECES)):
            yield head + bytes([0, 1, 4, number])
