"""The configuration of a center. Every key, its default, and what it means."""

import importlib.util
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import Field, ValidationInfo, create_model, field_validator, model_validator

from wakizashi import exposure
from wakizashi import tls as pem
from wakizashi.center.backend import backend_module, backend_names
from wakizashi.center.tokens import load_tokens
from wakizashi.config import file_secrets, load
from wakizashi.model import MAX_WINDOW_RECORDS
from wakizashi.reload import Takes
from wakizashi.renewal import Named, expiring
from wakizashi.secret_files import exposed
from wakizashi.sections import (
    SERVES,
    DaemonSection,
    LogFormat,
    LogLevel,
    PasswordSection,
    Port,
    Section,
    Size,
    User,
    serves,
)

_IDENTIFIER = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,62}")


class _Common(Section):
    """``backendConfig``: where to store. Each backend's own section is added from its module."""

    type: str = "sqlite"
    timeout: Annotated[float, Field(gt=0, le=3_600)] = 5
    database: str = "wakizashi"
    table: str = "traffic"

    @field_validator("type")
    @classmethod
    def _type(cls, value: str) -> str:
        names = backend_names()
        if value in names:
            return value
        raise ValueError(f"is no backend; use {' or '.join(names)}")

    @field_validator("database", "table")
    @classmethod
    def _name(cls, value: str) -> str:
        if not _IDENTIFIER.fullmatch(value):
            raise ValueError(
                "is not a letter followed by letters, digits, '_' or '-' (63 at most); "
                "try wakizashi or traffic"
            )
        return value


def _sections() -> dict[str, Any]:
    modules = [backend_module(name) for name in backend_names()]
    return {
        module.CONFIG_KEY: (module.Config, Field(default_factory=module.Config))
        for module in modules
    }


if TYPE_CHECKING:
    BackendConfig = _Common
else:  # so that a new backend is one new file
    BackendConfig = create_model("BackendConfig", __base__=_Common, **_sections())


class Limits(Section):
    """``limits``: how much is taken in at a time; what is beyond is to be delivered again."""

    bytesInFlight: Annotated[Size, Takes.AT_ONCE] = 8 * 2**20
    calls: Annotated[int, Field(ge=1, le=1_000_000), Takes.AT_ONCE] = 4_096
    windowsPerProbe: Annotated[int, Field(ge=1, le=1_000_000), Takes.AT_ONCE] = 32
    recordsPerWindow: Annotated[int, Field(ge=1, le=MAX_WINDOW_RECORDS), Takes.AT_ONCE] = (
        MAX_WINDOW_RECORDS
    )


class Tls(Section):
    """``tls``: what the center shows its probes, and whose certificates it takes from them."""

    cert: Path
    key: Path
    clientCA: Path | None = None

    @model_validator(mode="after")
    def _usable(self, info: ValidationInfo) -> Self:
        if serves(info):
            pem.check(self.load_pair, self.load_authorities)
        return self

    def load_pair(self) -> pem.Pair:
        """What the center shows.

        Raises:
            ValueError: it can't be used.
        """
        return pem.load_pair(self.cert, self.key, pem.Role.SERVER)

    def load_authorities(self) -> pem.Authorities | None:
        """Those that a probe's certificate is checked against; None if it needs none.

        Raises:
            ValueError: they can't be used.
        """
        return pem.load_authorities(self.clientCA, "clientCA") if self.clientCA else None

    def certificates(self, pair: pem.Pair, authorities: pem.Authorities | None) -> Named:
        """Those whose end is of interest."""
        known = authorities.certificates if authorities else ()
        return [
            (f"tls.cert: {self.cert}", pair.certificate),
            *((f"tls.clientCA: {self.clientCA}", each) for each in known),
        ]


class CenterConfig(DaemonSection):
    """``center-config.yaml``; the keys are documented in the README."""

    logLev: Annotated[LogLevel, Takes.AT_ONCE] = 1
    logFormat: Annotated[LogFormat, Takes.RESTART] = "text"
    user: Annotated[User, Takes.RESTART] = ""
    host: Annotated[str, Takes.RESTART] = "0.0.0.0"
    port: Annotated[Port, Takes.RESTART] = 10080
    healthPort: Annotated[Port, Takes.RESTART] = 10081
    recoverDir: Annotated[str, Takes.RESTART] = "./recovery"
    recoverInterval: Annotated[int, Field(ge=1, le=86_400), Takes.AT_ONCE] = 30
    recoverLimit: Annotated[Size, Takes.AT_ONCE] = 2**30
    limits: Limits = Field(default_factory=Limits)
    tls: Annotated[Tls | None, Takes.RESTART] = None
    tokensFile: Annotated[Path | None, Takes.RESTART] = None
    reflection: Annotated[bool, Takes.RESTART] = False
    backendConfig: Annotated[BackendConfig, Takes.RESTART] = Field(default_factory=BackendConfig)

    def owned_directories(self) -> Mapping[str, Path]:
        """``recoverDir``, unless it is off."""
        return {"recoverDir": Path(self.recoverDir)} if self.recoverDir else {}

    def written(self) -> Mapping[str, Mapping[Path, int]]:
        """That of a backend which is a file."""
        key = backend_module(self.backendConfig.type).CONFIG_KEY
        section: Section = getattr(self.backendConfig, key)
        return {f"backendConfig.{key}.{name}": files for name, files in section.written().items()}

    @field_validator("tokensFile")
    @classmethod
    def _tokens(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        if value is not None and serves(info):
            load_tokens(value)
        return value

    @field_validator("reflection")
    @classmethod
    def _reflection(cls, value: bool, info: ValidationInfo) -> bool:
        if value and serves(info) and importlib.util.find_spec("grpc_reflection") is None:
            raise ValueError(
                "needs the package grpcio-reflection; pip install 'wakizashi[reflection]'"
            )
        return value

    def warnings(self, path: Path | None = None) -> Iterator[str]:
        """What is no fault, but exposes or soon stops something; a line each.

        Args:
            path: the file that this was read from.
        """
        yield from exposure.of_center(
            self.host,
            tls=self.tls is not None,
            tokens=self.tokensFile is not None,
            client_ca=self.tls is not None and self.tls.clientCA is not None,
        )
        files = [("tls.key", self.tls.key if self.tls else None), ("tokensFile", self.tokensFile)]
        files += self._password_files()
        if path is not None and (secrets := file_secrets(type(self), path)):
            files.append((f"{secrets[0]} in -c", path))
        yield from exposed(files, self.groups())
        if self.tls is not None:
            try:
                loaded = self.tls.load_pair(), self.tls.load_authorities()
            except ValueError:  # another has come since they were checked; who uses it tells
                return
            yield from expiring(self.tls.certificates(*loaded), time.time())

    def _password_files(self) -> list[tuple[str, Path | None]]:
        sections = {key: getattr(self.backendConfig, key) for key in _sections()}
        return [
            (f"backendConfig.{key}.passwordFile", section.passwordFile)
            for key, section in sections.items()
            if isinstance(section, PasswordSection)
        ]


class _Standalone(CenterConfig):
    """The defaults without a file: nobody but this machine is served."""

    host: Annotated[str, Takes.RESTART] = "127.0.0.1"


def load_center(
    path: Path | None,
    overrides: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    *,
    serves: bool = True,
) -> CenterConfig:
    """Load a center's configuration; without a file it listens on loopback alone.

    Args:
        path: the file.
        overrides: ``KEY=VALUE`` flags.
        environment: ``os.environ`` if None.
        serves: false for who only reads the backend: the files of the port are not looked at, which
            may well be readable by the center's user alone.

    Raises:
        ConfigError: every fault, a line each.
    """
    model = _Standalone if path is None else CenterConfig
    return load(model, path, overrides=overrides, environment=environment, context={SERVES: serves})
