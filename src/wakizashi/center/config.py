"""The configuration of a center. Every key, its default, and what it means."""

import re
from pathlib import Path
from typing import Annotated, Any, cast

from pydantic import Field, create_model, field_validator

from wakizashi import config as loader
from wakizashi.center.backend import backend_names, load_backend
from wakizashi.config import LogLevel, Port, Section, Size

LATER = ("redis", "mongodb")
"""Backends of the original that this release does not have; their sections may stand in a file."""


class BackendBase(Section):
    """``backendConfig`` without the sections of the backends, which :data:`BackendConfig` adds."""

    type: str = "sqlite"
    timeout: Annotated[float, Field(gt=0, le=3600)] = 5.0
    database: str = "wakizashi"
    table: str = "traffic"
    redisConfig: dict[str, Any] | None = None
    mongoConfig: dict[str, Any] | None = None

    @field_validator("type")
    @classmethod
    def _type(cls, value: str) -> str:
        names = ", ".join(backend_names())
        if value in LATER:
            raise ValueError(f"is not in this release; use {names}")
        if value not in backend_names():
            raise ValueError(f"is no backend; use {names}")
        return value

    @field_validator("database", "table")
    @classmethod
    def _identifier(cls, value: str) -> str:
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]{0,62}", value):
            raise ValueError("is not a letter followed by letters, digits, '_' or '-'")
        return value


def _with_sections() -> type[BackendBase]:
    """Add a section for each backend, found by listing the folder: ``influxConfig`` and so on."""
    sections: dict[str, Any] = {}
    for name in backend_names():
        backend = load_backend(name)
        sections[backend.section] = (
            backend.Config,
            Field(default_factory=backend.Config),
        )
    return cast(
        type[BackendBase],
        create_model("BackendConfig", __base__=BackendBase, **sections),
    )


BackendConfig = _with_sections()


class CenterConfig(Section):
    """``center-config.yaml``; the keys are documented in the README."""

    logLev: LogLevel = 1
    host: str = "0.0.0.0"
    port: Port = 10080
    healthPort: Port = 10081
    recoverDir: str = "./recovery"
    recoverInterval: Annotated[int, Field(ge=1, le=86_400)] = 30
    recoverLimit: Size = 2**30
    backendConfig: BackendConfig = Field(default_factory=BackendConfig)  # type: ignore[valid-type]  # made at import


def load_center(path: Path | None, overrides: tuple[str, ...] = ()) -> CenterConfig:
    """Load the configuration; without a file the center listens on loopback alone.

    Raises:
        ConfigError: with every fault, a line each.
    """
    defaults = {} if path is not None else {"host": "127.0.0.1"}
    return loader.load(CenterConfig, path, overrides=overrides, defaults=defaults)
