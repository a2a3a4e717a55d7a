"""Connections to the center: one address at a time, with what the probe shows and checks.

The probe resolves the center's name itself, connects to one address at a time,
and tells capture of an address before it connects to it; so its own packets are
never counted as traffic (``docs/decisions/0001``). Hence a certificate is checked
against the name in ``centerAddr``, or ``tls.serverName``: gRPC sees an address.
"""

import logging
import random
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import grpc

from wakizashi.errors import ConfigError
from wakizashi.probe.addresses import Address, Center
from wakizashi.probe.capture import Endpoint
from wakizashi.probe.config import ProbeConfig, Tls
from wakizashi.renewal import ExpiryTeller, FileWatch, Named
from wakizashi.secret_files import read_token
from wakizashi.telemetry import Throttle
from wakizashi.tls import Authorities, Certificate, Pair

_log = logging.getLogger(__name__)

CHANNEL_OPTIONS = (
    ("grpc.enable_http_proxy", 0),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_retries", 0),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
)


@dataclass(frozen=True, slots=True)
class _Loaded:
    """The content of the files."""

    authorities: Authorities | None
    pair: Pair | None
    token: str | None = field(repr=False)


class Credentials:
    """What the probe shows the center, and what it checks of it; one thread renews it.

    The files are read at the start, and again when they change. Until all of what
    is new is good, what was good goes on: of a pair one file changes first.

    Args:
        tls: None for plaintext.
        token_file: holds the token that goes with each call.
        server_name: what the center's certificate must name.

    Raises:
        ConfigError: the files can't be used.
    """

    def __init__(
        self, tls: Tls | None = None, token_file: Path | None = None, server_name: str = ""
    ) -> None:
        self._tls, self._token_file = tls, token_file
        self.server_name = server_name
        self._throttle = Throttle(_log)
        files = (tls.ca, tls.cert, tls.key) if tls else ()
        self._watch = FileWatch(*files, token_file)
        self._watch.changed()
        try:
            self._loaded = self._load()
        except ValueError as error:
            raise ConfigError(str(error)) from error
        self._expiry = ExpiryTeller(self._certificates(), _log.warning)

    @classmethod
    def of(cls, config: ProbeConfig) -> "Credentials":
        """Those that a configuration names."""
        return cls(config.tls, config.tokenFile, config.server_name())

    def are_of(self, config: ProbeConfig) -> bool:
        """Whether a configuration names these."""
        known = (self._tls, self._token_file, self.server_name)
        return known == (config.tls, config.tokenFile, config.server_name())

    def _load(self) -> _Loaded:
        try:
            authorities = self._tls.load_authorities() if self._tls else None
            pair = self._tls.load_pair() if self._tls else None
        except ValueError as error:
            raise ValueError(f"tls.{error}") from error
        try:
            token = read_token(self._token_file) if self._token_file else None
        except ValueError as error:
            raise ValueError(f"tokenFile: {self._token_file} {error}") from error
        return _Loaded(authorities, pair, token)

    def renew(self) -> bool:
        """Read the files again if they changed; whether there is anything new to be used."""
        self._expiry.look(self._certificates())
        if not self._watch.changed():
            return False
        try:
            loaded = self._load()
        except ValueError as error:
            self._watch.unusable()
            self._throttle.warning("files", f"{error}; until then what was read before goes on")
            return False
        self._throttle.clear("files")
        new, self._loaded = loaded != self._loaded, loaded
        if new:
            shown = f": {loaded.pair.certificate}" if loaded.pair else ""
            _log.info("new files for the connection to the center%s", shown)
        return new

    def _certificates(self) -> Named:
        authorities = self._loaded.authorities
        if self._tls is None or authorities is None:
            return ()
        return self._tls.certificates(authorities, self._loaded.pair)

    @property
    def certificate(self) -> Certificate | None:
        """What the probe shows of itself; None for nothing. Any thread may ask."""
        pair = self._loaded.pair
        return pair.certificate if pair else None

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What goes with each call. Not gRPC's call credentials: those refuse plaintext."""
        token = self._loaded.token
        return (("authorization", f"Bearer {token}"),) if token is not None else ()

    @property
    def encrypted(self) -> bool:
        """Whether connections are TLS."""
        return self._tls is not None

    def channel(self, target: str, center: Center) -> grpc.Channel:
        """A channel to one address of a center; it connects when it is used."""
        # The core wants the certificate to name whom the call is for, too.
        authority = center.name
        if self._tls is not None and (name := self._tls.serverName):
            authority = f"[{name}]:{center.port}" if ":" in name else f"{name}:{center.port}"
        options = (*CHANNEL_OPTIONS, ("grpc.default_authority", authority))
        if self._loaded.authorities is None:
            return grpc.insecure_channel(target, options=options)
        pair = self._loaded.pair
        shown = (pair.key, pair.chain) if pair else (None, None)
        return grpc.secure_channel(
            target,
            grpc.ssl_channel_credentials(self._loaded.authorities.pem, *shown),
            options=(*options, ("grpc.ssl_target_name_override", self.server_name)),
        )


@dataclass(frozen=True, slots=True)
class Way:
    """Where a channel leads, and how."""

    address: str
    """``centerAddr``."""
    credentials: Credentials
    """What is shown and checked."""
    lifetime_seconds: float
    """After which the channel is made anew."""


class Channels:
    """The channel in use, and new ones; belongs to one thread, but for ``wanted``.

    Args:
        center: where ``way`` leads.
        announce: hears of what counts as own traffic before anything is sent there.
    """

    def __init__(
        self,
        center: Center,
        way: Way,
        *,
        announce: Callable[[frozenset[Endpoint]], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._center, self._way = center, way
        self.wanted = way
        """What the channels after the next :meth:`take_over` are; another thread may set it."""
        self._announce = announce
        self._clock = clock
        self._channel: grpc.Channel | None = None
        self._address = Address(b"", 0, "")
        self._until = 0.0

    @property
    def credentials(self) -> Credentials:
        """What is shown and checked now."""
        return self._way.credentials

    def take_over(self) -> bool:
        """Go the way that is wanted, over a new channel if it is another; whether the center moved.

        What the one before sent and is still to send stays own traffic for a while.
        """
        wanted = self.wanted
        if wanted == self._way:
            return False
        self.close()
        moved = wanted.address != self._way.address
        self._way = wanted
        if moved:
            self._center.move(wanted.address)
        return moved

    @property
    def idle(self) -> bool:
        """Whether there is no channel."""
        return self._channel is None

    def open(self) -> Iterator[tuple[grpc.Channel, str]]:
        """The channel in use, or new ones: one after another to each of the center's addresses.

        Raises:
            Retryable: the center's name has no address.
        """
        if self.credentials.renew():
            self.close()
        if self._channel is not None and self._clock() < self._until:
            yield self._channel, self._address.target
            if self._channel is not None:
                return
        self.close()
        addresses = self._center.resolve()
        self._announce(self._center.endpoints())
        for address in addresses:
            self._channel = self.credentials.channel(address.target, self._center)
            self._address = address
            self._until = self._clock() + self._way.lifetime_seconds * random.uniform(0.8, 1.0)
            yield self._channel, address.target

    def close(self) -> None:
        """Close the channel in use; the next is a new one."""
        if self._channel is not None:
            self._channel.close()
            self._channel = None
            # Its last packets pass now, whatever addresses the name has by now.
            self._center.saw(self._address)


def connected(channel: grpc.Channel, timeout: float) -> bool:
    """Whether a channel gets a connection at the first attempt."""
    settled = threading.Event()
    states: list[grpc.ChannelConnectivity] = []

    def hear(state: grpc.ChannelConnectivity) -> None:
        states.append(state)
        if state in (
            grpc.ChannelConnectivity.READY,
            grpc.ChannelConnectivity.TRANSIENT_FAILURE,
        ):
            settled.set()

    channel.subscribe(hear, try_to_connect=True)
    try:
        settled.wait(timeout)
        return grpc.ChannelConnectivity.READY in states
    finally:
        channel.unsubscribe(hear)
