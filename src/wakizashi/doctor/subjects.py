"""Whom the doctor looks at: the configurations, told apart by their keys, loaded as daemons do."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from wakizashi import config as loader
from wakizashi import yaml_text
from wakizashi.center.config import CenterConfig, load_center
from wakizashi.errors import EXIT_USAGE, ConfigError, WakizashiError
from wakizashi.probe.config import ProbeConfig

PROBE, CENTER = "probe", "center"
VARIABLES = {
    PROBE: frozenset(loader.variables(ProbeConfig)),
    CENTER: frozenset(loader.variables(CenterConfig)),
}
_OWN = {
    PROBE: frozenset(ProbeConfig.model_fields) - frozenset(CenterConfig.model_fields),
    CENTER: frozenset(CenterConfig.model_fields) - frozenset(ProbeConfig.model_fields),
}


class Ambiguous(WakizashiError):
    """Nothing tells whose a configuration is."""

    exit_code = EXIT_USAGE


@dataclass(frozen=True, slots=True)
class Subject:
    """A daemon to be."""

    path: Path | None
    config: ProbeConfig | CenterConfig

    @property
    def kind(self) -> str:
        """``probe`` or ``center``."""
        return PROBE if isinstance(self.config, ProbeConfig) else CENTER


def subjects(
    paths: Sequence[Path],
    overrides: Sequence[str],
    environment: Mapping[str, str],
    *,
    told: Sequence[str] = (),
) -> list[Subject]:
    """Load every configuration; the defaults where there is none.

    Args:
        paths: their files.
        overrides: ``KEY=VALUE``, as the daemons take them.
        environment: the variables.
        told: ``probe`` or ``center``: what a file is whose keys don't tell, or whose
            defaults to look at where there is no file.

    Raises:
        ConfigError: faults of all of them, a line each.
        Ambiguous: nothing tells whose a configuration is.
    """
    wanted: list[tuple[str, Path | None]] = [
        (kind_of(path, overrides, environment, told), path) for path in paths
    ]
    if not paths:
        evidence = _majority(_top_keys(overrides, environment))
        wanted = [(kind, None) for kind in dict.fromkeys(told) or (evidence or PROBE,)]
    found, faults = [], []
    kinds = {kind for kind, _ in wanted}
    for kind, path in wanted:
        # Where both are looked at, --set of a key that only one has is for that one.
        theirs = _OWN[CENTER if kind == PROBE else PROBE] if len(kinds) > 1 else frozenset()
        ours = [text for text in overrides if _top(text) not in theirs]
        try:
            found.append(Subject(path, _load(kind, path, ours, environment)))
        except ConfigError as error:
            faults.append(str(error))
    if faults:
        raise ConfigError("\n".join(faults))
    return found


def kind_of(
    path: Path, overrides: Sequence[str], environment: Mapping[str, str], told: Sequence[str]
) -> str:
    """Whose configuration a file is: by its keys, else by what was told, else by all other keys."""
    found = _majority(_file_keys(path))
    if found is None and len(set(told)) == 1:
        found = told[0]
    found = found or _majority(_top_keys(overrides, environment))
    if found is None:
        raise Ambiguous(
            f"{path}: its keys do not tell whether it is a probe's or a center's; "
            "add --probe or --center"
        )
    return found


def _majority(keys: Sequence[str]) -> str | None:
    probe, center = (sum(key in _OWN[kind] for key in keys) for kind in (PROBE, CENTER))
    if probe == center:
        return None
    return PROBE if probe > center else CENTER


def _file_keys(path: Path) -> list[str]:
    """Keys of the top level; none where the file can't be read, which its loader tells better."""
    try:
        with path.open("rb") as file:
            data = yaml_text.parse(file.read(loader.MOST_BYTES).decode())
    except (OSError, ValueError, *yaml_text.NO_YAML):
        return []
    return [str(key) for key in data] if isinstance(data, dict) else []


def _top_keys(overrides: Sequence[str], environment: Mapping[str, str]) -> list[str]:
    keys = [_top(override) for override in overrides]
    for model in (ProbeConfig, CenterConfig):
        names = loader.variables(model)
        keys += [path[0] for name, path in names.items() if name in environment]
    return keys


def _top(override: str) -> str:
    return re.split(r"[.=]", override)[0]


def _load(
    kind: str, path: Path | None, overrides: Sequence[str], environment: Mapping[str, str]
) -> ProbeConfig | CenterConfig:
    if kind == CENTER:
        return load_center(path, overrides, environment)
    return loader.load(ProbeConfig, path, overrides=overrides, environment=environment)
