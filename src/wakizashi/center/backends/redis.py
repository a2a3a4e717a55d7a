"""Redis, one server or a Redis Cluster.

What is stored, and under which keys, is told in :mod:`wakizashi.center.redis.hashes`.
A call's windows go out in one pipeline (one for each node of a cluster), each
window in a transaction of its own; who has windows in which hour goes before,
so that a reader finds whatever is there. Every reply is looked at: in a transaction
one command may fail while the others succeed.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import Field, field_validator, model_validator

from wakizashi.center.backend import (
    SUMS,
    Backend,
    Buckets,
    Remark,
    Row,
    Where,
    bucket_rows,
    check_reading,
)
from wakizashi.center.redis.hashes import (
    Command,
    Keys,
    encode_periods,
    encode_probes,
    encode_window,
    period,
)
from wakizashi.center.redis.nodes import Nodes, Request
from wakizashi.center.redis.reading import Reader
from wakizashi.center.redis.url import DEFAULT_PORT, Address, Place
from wakizashi.center.selection import Selection
from wakizashi.errors import ConfigError, Permanent, Retryable
from wakizashi.model import LedgerRecord, LedgerSum, StoredWindow
from wakizashi.sections import PasswordSection

if TYPE_CHECKING:
    from wakizashi.center.config import BackendConfig

CONFIG_KEY = "redisConfig"

_FULL = 0.9
"""The part of maxmemory beyond which it is soon reached."""


class Config(PasswordSection):
    """``backendConfig.redisConfig``."""

    url: str = f"redis://127.0.0.1:{DEFAULT_PORT}/0"
    user: str = ""
    # A week: probes whose center was away over a long weekend still deliver in time.
    ttl: Annotated[int, Field(ge=60, le=3_155_760_000)] = 604_800

    @property
    def has_secret(self) -> bool:
        """Whether there is a password, or a file for one."""
        return self.password is not None or self.passwordFile is not None

    @field_validator("url")
    @classmethod
    def _url(cls, value: str) -> str:
        Place.parse(value)
        return value

    @model_validator(mode="after")
    def _one_user(self) -> Self:
        place = Place.parse(self.url)
        if (self.user or self.has_secret) and (place.user or place.password):
            raise ValueError(
                "url holds a user or password, and so do the keys user, password, passwordFile; "
                "keep one of them"
            )
        return self


def create(config: "BackendConfig", *, read_only: bool) -> Backend:
    """Make the backend; see :func:`wakizashi.center.backend.open_backend`."""
    section: Config = getattr(config, CONFIG_KEY)
    keys = Keys(config.database, config.table)
    try:
        return Redis(section, keys, config.timeout, read_only=read_only)
    except ImportError as error:
        raise ConfigError(
            "backendConfig.type: redis needs the package redis; pip install 'wakizashi[redis]'"
        ) from error


# -- the backend -----------------------------------------------------------------------------


class Redis(Backend):
    """A Redis server or cluster; connected with the first use.

    Args:
        clock: seconds of Unix time.
    """

    def __init__(
        self,
        config: Config,
        keys: Keys,
        timeout_seconds: float,
        *,
        read_only: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._config, self._keys = config, keys
        self._read_only, self._clock = read_only, clock
        self._ttl_ms = 1_000 * config.ttl
        self._place = Place.parse(config.url)
        secured = config.user or config.has_secret or self._place.user or self._place.password
        self._nodes = Nodes(self._place, self._credentials if secured else None, timeout_seconds)
        self._reader = Reader(self._nodes, keys, self._place.shown)

    @property
    def describe(self) -> str:
        """``Redis at URL``."""
        return f"Redis at {self._place.shown}"

    def _credentials(self) -> tuple[str, ...]:
        """User and password of a new connection; the file may have been changed."""
        user = self._place.user or self._config.user
        try:
            password = self._place.password or self._config.secret()
        except ValueError as error:
            raise Retryable(f"backendConfig.redisConfig.{error}; make it readable") from error
        return (user, password) if user else (password,)

    # -- writing -----------------------------------------------------------------------------

    def write(self, windows: Sequence[StoredWindow]) -> None:
        """Send everything in two round trips to a node, a transaction for each window."""
        now_ms = int(1_000 * self._clock())
        requests: list[Request] = []
        probes: dict[int, set[str]] = {}
        for window in windows:
            commands = encode_window(self._keys, window, self._ttl_ms)
            if commands:
                if window.start_ms + self._ttl_ms <= now_ms:
                    raise Permanent(
                        f"backendConfig.redisConfig.ttl: {self._config.ttl}: a window of "
                        f"{window.probe!r} is older than that and would not be kept; raise it"
                    )
                requests.append((self._keys.window(window.probe, window.start_ms), commands))
                probes.setdefault(period(window.start_ms), set()).add(window.probe)
        if not requests:
            return
        keys, ttl_ms = self._keys, self._ttl_ms
        directory: list[Request] = [
            (keys.periods, encode_periods(keys, sorted(probes), ttl_ms, now_ms))
        ]
        for hour, names in probes.items():
            directory.append((keys.probes(hour), encode_probes(keys, hour, sorted(names), ttl_ms)))
        try:
            self._nodes.run(directory, atomic=True)
        except Permanent as error:  # no fault of a window: all would be quarantined
            raise Retryable(str(error)) from error
        self._nodes.run(requests, atomic=True)

    def check(self) -> None:
        """Try to read and to write nothing; tell what makes an ack less than it should be."""
        self._try(write=not self._read_only)
        for address in [] if self._read_only else self._nodes.addresses:
            for fault, remedy, _ in self._faults(_info(self._ask(address, "INFO")), address):
                raise Retryable(f"{self._where(address)} {fault}; {remedy}")

    def diagnose(self) -> Iterator[Remark]:
        """Try to write nothing; what each node says of its memory and of what it keeps."""
        self._try(write=True)
        for address in self._nodes.addresses:
            info = _info(self._ask(address, "INFO"))
            where = self._where(address)
            version = info.get("redis_version", "not told")
            used, most = (int(info.get(key, "0")) for key in ("used_memory", "maxmemory"))
            text = f"{where} version {version}, {used} bytes used of {most or 'all there is'}"
            if most and used > _FULL * most:
                yield Remark(
                    f"{text}: full, or nearly so",
                    "raise maxmemory, or lower ttl",
                    fault=used >= most,
                )
            else:
                yield Remark(text)
            for fault, remedy, vanishing in self._faults(info, address):
                yield Remark(f"{where} {fault}", remedy, fault=vanishing)

    def _try(self, *, write: bool) -> None:
        key = self._keys.periods
        nothing: Command = ("ZREMRANGEBYSCORE", key, "+inf", "-inf")
        self._nodes.run([(key, [nothing if write else ("EXISTS", key)])])

    def _where(self, address: Address) -> str:
        where = f" node {address[0]}:{address[1]}:" if self._place.cluster else ""
        return f"backendConfig.redisConfig.url: {self._place.shown}:{where}"

    def _faults(self, info: dict[str, str], address: Address) -> Iterator[tuple[str, str, bool]]:
        """Why a node may lose what it acknowledged, with the remedy; whether it does so in any case."""
        policy = info.get("maxmemory_policy", "noeviction")
        _, appendfsync = self._ask(address, "CONFIG", "GET", "appendfsync") or (b"", b"always")
        if info.get("aof_enabled") == "0":
            yield (
                "appendonly is off: when Redis crashes, what it acknowledged is lost",
                "set appendonly yes and appendfsync always",
                False,
            )
        elif appendfsync != b"always":
            yield (
                f"appendfsync is {appendfsync.decode()}: when the machine crashes, what Redis "
                "acknowledged in the last seconds is lost",
                "set appendfsync always",
                False,
            )
        if info.get("maxmemory", "0") != "0" and policy != "noeviction":
            yield (
                f"maxmemory-policy is {policy}: windows vanish when memory is full",
                "set maxmemory-policy noeviction",
                True,
            )

    def _ask(self, address: Address, *command: str) -> Any:
        """A server's word on itself; None where it is forbidden, as managed services do."""
        try:
            return self._nodes.call(address, lambda client: client.execute_command(*command))
        except Retryable:
            return None

    # -- reading -----------------------------------------------------------------------------

    def traffic(
        self,
        since_ms: int,
        until_ms: int,
        by: Sequence[str] = (),
        *,
        step_ms: int = 0,
        where: Where = (),
        sums: Sequence[str] = SUMS,
    ) -> Iterator[Row]:
        """See :meth:`wakizashi.center.backend.Backend.traffic`."""
        check_reading(by, step_ms, where, sums)
        selection, names = Selection.of(where), tuple(dict.fromkeys(by))
        if names or step_ms:
            # One bucket, where none are asked for.
            step = step_ms or until_ms + 1
            found = self._reader.buckets(since_ms, until_ms, names, step, selection, sums)
            yield from bucket_rows(found, names, sums, timestamps=bool(step_ms))
        else:
            yield from self._reader.traffic(since_ms, until_ms, selection)

    def by_bucket(
        self,
        since_ms: int,
        until_ms: int,
        by: Sequence[str],
        step_ms: int,
        *,
        where: Where = (),
        sums: Sequence[str] = SUMS,
    ) -> Buckets:
        """Always: Redis counts with floats."""
        check_reading(by, step_ms, where, sums)
        selection, names = Selection.of(where), tuple(dict.fromkeys(by))
        return self._reader.buckets(since_ms, until_ms, names, step_ms, selection, sums)

    def ledgers(self, since_ms: int, until_ms: int) -> Iterator[LedgerRecord]:
        """See :meth:`wakizashi.center.backend.Backend.ledgers`."""
        yield from self._reader.ledgers(since_ms, until_ms)

    def ledger_sums(self, since_ms: int, until_ms: int) -> Iterator[LedgerSum]:
        """See :meth:`wakizashi.center.backend.Backend.ledger_sums`."""
        yield from self._reader.ledger_sums(since_ms, until_ms)

    def close(self) -> None:
        """Close the connections."""
        self._nodes.close()


def _info(answer: bytes | None) -> dict[str, str]:
    lines = (answer or b"").decode("utf-8", "replace").splitlines()
    return dict(line.split(":", 1) for line in lines if ":" in line)
