"""The configuration of a probe. Every key, its default, and what it means."""

import os
import re
import socket
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, field_validator, model_validator

from wakizashi import exposure, wire
from wakizashi import tls as pem
from wakizashi.pattern import Pattern
from wakizashi.probe.capture import engine_names
from wakizashi.reload import Takes
from wakizashi.renewal import Named, expiring
from wakizashi.secret_files import exposed, read_token
from wakizashi.sections import DaemonSection, LogFormat, LogLevel, Port, Section, Size, User

MAX_FLOWS = 1_000_000


class Tls(Section):
    """``tls``: whom the probe takes for its center, and what it shows it."""

    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    serverName: str = ""

    @field_validator("serverName")
    @classmethod
    def _server_name(cls, value: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9._-]*|[0-9A-Fa-f:.]+", value):
            raise ValueError("is no name of a host and no IP address; write center.example")
        return value

    @model_validator(mode="after")
    def _usable(self) -> Self:
        if (self.cert is None) != (self.key is None):
            raise ValueError("cert and key come together; set both, or neither")
        pem.check(self.load_authorities, self.load_pair)
        return self

    def load_authorities(self) -> pem.Authorities:
        """Those that the center's certificate is checked against.

        Raises:
            ValueError: they can't be used.
        """
        return pem.load_authorities(self.ca or pem.system_roots(), "ca")

    def load_pair(self) -> pem.Pair | None:
        """What the probe shows; None for nothing.

        Raises:
            ValueError: it can't be used.
        """
        if self.cert is None or self.key is None:
            return None
        return pem.load_pair(self.cert, self.key, pem.Role.CLIENT)

    def certificates(self, authorities: pem.Authorities, pair: pem.Pair | None) -> Named:
        """Those whose end is of interest: of the system's authorities there are always some."""
        own = [(f"tls.cert: {self.cert}", pair.certificate)] if pair else []
        return own + [(f"tls.ca: {self.ca}", each) for each in authorities.certificates if self.ca]


class ProbeConfig(DaemonSection):
    """``probe-config.yaml``; the keys are documented in the README."""

    centerAddr: Annotated[str, Takes.CONNECTION] = "127.0.0.1:10080"
    logLev: Annotated[LogLevel, Takes.AT_ONCE] = 1
    logFormat: Annotated[LogFormat, Takes.RESTART] = "text"
    user: Annotated[User, Takes.RESTART] = ""
    dumpDir: Annotated[Path, Takes.RESTART] = Path("./dump")
    networkDevs: Annotated[tuple[str, ...], Takes.AT_ONCE] = ()
    autoClear: Annotated[bool, Takes.AT_ONCE] = True
    capInterval: Annotated[int, Field(le=86_400), Takes.AT_ONCE] = 30
    uploadRetry: Annotated[int, Field(ge=0, le=1_000), Takes.DELIVERY] = 5
    name: Annotated[str, Takes.RESTART] = ""
    capture: Annotated[str, Takes.RESTART] = "auto"
    maxFlows: Annotated[int, Field(ge=1, le=MAX_FLOWS), Takes.WINDOW] = 65_536
    tags: Annotated[dict[str, str], Takes.WINDOW] = Field(default_factory=dict)
    healthPort: Annotated[Port | None, Takes.RESTART] = None
    ringSize: Annotated[Size, Field(ge=2**16, le=2**31), Takes.DEVICE] = 32 * 2**20
    dumpLimit: Annotated[Size, Takes.AT_ONCE] = 2**30
    channelLifetime: Annotated[int, Field(ge=1, le=31_536_000), Takes.CONNECTION] = 300
    tls: Annotated[Tls | None, Takes.CONNECTION] = None
    tokenFile: Annotated[Path | None, Takes.CONNECTION] = None

    @field_validator("centerAddr")
    @classmethod
    def _center(cls, value: str) -> str:
        split_address(value)
        return value

    @field_validator("networkDevs")
    @classmethod
    def _devices(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for text in value:
            try:
                Pattern(text)
            except re.error as error:
                raise ValueError(
                    f"is no device name and no regular expression: {error}; write a name as "
                    "eth0, or an expression for the whole name as eth.*"
                ) from error
        return value

    @field_validator("capInterval")
    @classmethod
    def _interval(cls, value: int) -> int:
        return max(1, value)

    @field_validator("name")
    @classmethod
    def _name(cls, value: str) -> str:
        fault = wire.name_fault(value) if value else None
        if fault:
            raise ValueError(fault)
        return value

    @field_validator("capture")
    @classmethod
    def _capture(cls, value: str) -> str:
        known = ["auto", *engine_names()]
        if value not in known:
            raise ValueError(f"is no capture engine; use {', '.join(known)}")
        return value

    @field_validator("tags")
    @classmethod
    def _tags(cls, value: dict[str, str]) -> dict[str, str]:
        if len(value) > wire.MAX_TAGS:
            raise ValueError(f"are more than {wire.MAX_TAGS}")
        for key, text in value.items():
            if fault := wire.tag_key_fault(key):
                raise ValueError(f"key {key!r} {fault}")
            if fault := wire.name_fault(text):
                raise ValueError(f"{key}: {text!r} {fault}")
        return value

    @field_validator("tokenFile")
    @classmethod
    def _token(cls, value: Path | None) -> Path | None:
        if value is not None:
            read_token(value)
        return value

    def owned_directories(self) -> Mapping[str, Path]:
        """``dumpDir``."""
        return {"dumpDir": self.dumpDir}

    def probe_name(self, environment: Mapping[str, str] = os.environ) -> str:
        """Who counts: ``name``, else ``$POD_NAMESPACE/$POD_NAME``, else the host's name."""
        if self.name:
            return self.name
        pod = environment.get("POD_NAME")
        if pod:
            return f"{environment.get('POD_NAMESPACE', 'default')}/{pod}"
        return socket.gethostname()

    def warnings(self) -> Iterator[str]:
        """What is no fault, but exposes or soon stops something; a line each."""
        host, _ = split_address(self.centerAddr)
        yield from exposure.of_probe(
            self.centerAddr, host, tls=self.tls is not None, token=self.tokenFile is not None
        )
        key = self.tls.key if self.tls else None
        yield from exposed([("tls.key", key), ("tokenFile", self.tokenFile)], self.groups())
        if self.tls is not None:
            try:
                loaded = self.tls.load_authorities(), self.tls.load_pair()
            except ValueError:  # another has come since they were checked; who uses it tells
                return
            yield from expiring(self.tls.certificates(*loaded), time.time())

    def server_name(self) -> str:
        """What the center's certificate must name."""
        return (self.tls and self.tls.serverName) or split_address(self.centerAddr)[0]


def split_address(text: str) -> tuple[str, int]:
    """Host and port of ``host:port`` or ``[v6]:port``.

    Raises:
        ValueError: it is neither.
    """
    match = re.fullmatch(r"(?:\[([0-9A-Fa-f:.%]+)\]|([^\s:/\[\]]+)):(\d{1,5})", text)
    if not match or not 1 <= int(match[3]) <= 65535:
        raise ValueError("is not host:port or [v6]:port; write center.example:10080")
    return match[1] or match[2], int(match[3])
