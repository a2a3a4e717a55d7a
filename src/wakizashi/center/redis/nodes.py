"""The servers that a Redis backend talks to: commands out, replies back.

One server, or the nodes of a cluster. Of the ``redis`` package only connections,
pipelines and the number of a slot are used: its cluster client can't pipeline
transactions, and hides why it could not connect. It never tries again by
itself, for that is the store's business, and its exceptions end here.
"""

import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from wakizashi.center.redis.hashes import Command
from wakizashi.center.redis.url import Address, Place
from wakizashi.errors import Permanent, Retryable, WakizashiError

Request = tuple[str, list[Command]]
"""A key, and commands whose keys share its slot."""

_SLOTS = 16_384
_ON_THEIR_WAY = "slots are on their way to other nodes; it goes on when they are there"
_REMEDIES = (
    ("OOM", "raise maxmemory, or shorten backendConfig.redisConfig.ttl"),
    ("READONLY", "it is a replica: name the primary"),
    ("LOADING", "it takes windows once it has loaded its data"),
    ("MISCONF", "make room on Redis's disk, or mend it"),
    (
        "NOPERM",
        "grant the user the commands in docs/backends-redis.md, for the keys that begin with "
        "backendConfig.database",
    ),
    ("CLUSTERDOWN", "the cluster lacks nodes: start them, or redis-cli --cluster fix"),
    ("MASTERDOWN", "the cluster lacks nodes: start them"),
    ("MOVED", _ON_THEIR_WAY),
    ("ASK", _ON_THEIR_WAY),
    ("TRYAGAIN", _ON_THEIR_WAY),
    ("NOREPLICAS", "start its replicas, or lower min-replicas-to-write"),
    ("max number of clients", "raise maxclients"),
    ("This instance has cluster support disabled", "it is no cluster: write redis://"),
)
"""By the beginning of the reply."""
_CODES = {
    "AskError": "ASK",
    "BusyLoadingError": "LOADING",
    "ClusterDownError": "CLUSTERDOWN",
    "MasterDownError": "MASTERDOWN",
    "MovedError": "MOVED",
    "NoPermissionError": "NOPERM",
    "OutOfMemoryError": "OOM",
    "ReadOnlyError": "READONLY",
    "TryAgainError": "TRYAGAIN",
}
"""What the package cuts off the replies that it has a class for, which depends on its version."""


class Nodes:
    """Connected with the first use; may be used on several threads.

    Args:
        place: where they are.
        credentials: user and password, or the password alone, for each new connection;
            None for none.

    Raises:
        ImportError: the package ``redis`` is not installed.
    """

    def __init__(
        self,
        place: Place,
        credentials: Callable[[], tuple[str, ...]] | None,
        timeout_seconds: float,
    ) -> None:
        import redis
        from redis.backoff import NoBackoff
        from redis.crc import key_slot
        from redis.credentials import CredentialProvider
        from redis.retry import Retry

        self._place, self._timeout = place, timeout_seconds
        self._at = f"backendConfig.redisConfig.url: {place.shown}"
        self._redis, self._slot = redis, key_slot
        self._lock = threading.Lock()
        self._clients: dict[Address, Any] = {}
        self._owners: list[Address | None] = []
        """The node of each slot of a cluster; empty: to be asked for."""
        self._options: dict[str, Any] = {
            "db": place.db,
            "protocol": 2,
            "retry": Retry(NoBackoff(), 0),
            "socket_timeout": timeout_seconds,
            "socket_connect_timeout": timeout_seconds,
            **dict(place.options),
        }
        if place.tls:
            self._options["ssl"] = True
        if place.socket:
            self._options["unix_socket_path"] = place.socket
        if credentials is not None:
            provide = credentials

            class Provider(CredentialProvider):
                def get_credentials(self) -> Any:
                    return provide()

            self._options["credential_provider"] = Provider()

    def close(self) -> None:
        """Close the connections."""
        with self._lock:
            for client in self._clients.values():
                client.close()
            self._clients.clear()

    # -- which node --------------------------------------------------------------------------

    @property
    def addresses(self) -> list[Address]:
        """Every node that is written to."""
        if not self._place.cluster:
            return list(self._place.addresses)
        return sorted({owner for owner in self._slot_owners() if owner is not None})

    def _slot_owners(self) -> list[Address | None]:
        owners = self._owners
        if owners:
            return owners
        troubles: list[Retryable] = []
        for address in dict.fromkeys([*self._place.addresses, *self._clients]):
            try:
                answer = self.call(address, lambda node: node.execute_command("CLUSTER", "SLOTS"))
            except Retryable as error:
                troubles.append(error)
                continue
            owners = [None] * _SLOTS
            for first, last, (host, port, *_), *_ in answer:
                # A node that knows no name of its own is the one that answers.
                owner = (host.decode() if host else address[0], int(port))
                owners[first : last + 1] = [owner] * (last + 1 - first)
            self._owners = owners
            return owners
        raise troubles[0]  # a place has an address, so there is one

    def _node_of(self, key: str) -> Address:
        if not self._place.cluster:
            return self._place.addresses[0]
        owner = self._slot_owners()[self._slot(key.encode())]
        if owner is None:
            self._owners = []
            raise Retryable(
                f"{self._at}: no node of the cluster has the slot of {key}; "
                "mend it with redis-cli --cluster fix"
            )
        return owner

    # -- commands ----------------------------------------------------------------------------

    def run(self, requests: Sequence[Request], *, atomic: bool = False) -> list[list[Any]]:
        """Send requests in a round trip to each node; the replies to each, none an error.

        Args:
            requests: any number of them.
            atomic: each is a transaction; then the replies are not of interest.

        Raises:
            Retryable: at least one of them did not work now.
            Permanent: a key has another type, and nothing else is wrong.
        """
        replies, faults, moved = self._send(requests, atomic)
        if moved and self._place.cluster:
            self._owners = []  # ask where to, and send everything again
            replies, faults, _ = self._send(requests, atomic)
        for kind in (Retryable, WakizashiError):
            for fault in faults:
                if isinstance(fault, kind):
                    raise fault
        return replies

    def _send(
        self, requests: Sequence[Request], atomic: bool
    ) -> tuple[list[list[Any]], list[WakizashiError], bool]:
        """The replies to each request, what is wrong with them, and whether slots moved."""
        by_node: dict[Address, list[int]] = {}
        for number, (key, _) in enumerate(requests):
            by_node.setdefault(self._node_of(key), []).append(number)
        replies: list[list[Any]] = [[] for _ in requests]
        faults: list[WakizashiError] = []
        moved = False
        for address, numbers in by_node.items():
            batch = [requests[number][1] for number in numbers]
            if atomic:
                batch = [[("MULTI",), *commands, ("EXEC",)] for commands in batch]
            flat = [command for commands in batch for command in commands]
            answers = iter(self.call(address, partial(self._ask, flat)))
            for number, commands in zip(numbers, batch, strict=True):
                replies[number] = [next(answers) for _ in commands]
                error = _first_error(replies[number], within=atomic)
                if error is not None:
                    moved = moved or _text(error).startswith("MOVED")
                    faults.append(self._trouble(error, address, requests[number][0]))
        return replies, faults, moved

    def call(self, address: Address, ask: Callable[[Any], Any]) -> Any:
        """What ``ask`` returns for the client of a node. Raises Retryable."""
        with self._lock:
            client = self._clients.get(address)
            if client is None:
                host, port = address
                client = self._redis.Redis(host=host, port=port, **self._options)
                # Replies stay as they are: those to a transaction's commands are all "QUEUED".
                client.response_callbacks.clear()
                self._clients[address] = client
        try:
            return ask(client)
        except (self._redis.RedisError, OSError) as error:
            self._owners = []  # a cluster may have another primary now
            raise self._trouble(error, address) from error

    def _ask(self, commands: Sequence[Command], client: Any) -> list[Any]:
        """Sends commands in one go; the replies, failed ones as exceptions.

        A pipeline of the package does the same and more for each command: to read 20,000
        windows takes a fifth longer with it.
        """
        pool, refused = client.connection_pool, self._redis.ResponseError

        def reply() -> Any:
            try:
                return connection.read_response()
            except refused as error:
                return error

        connection = pool.get_connection()
        try:
            connection.send_packed_command(connection.pack_commands(commands))
            return [reply() for _ in commands]
        finally:
            # Cut off in the middle, the package has closed it: no rest is taken for later replies.
            pool.release(connection)

    # -- troubles ----------------------------------------------------------------------------

    def _trouble(self, error: Exception, address: Address, key: str = "") -> WakizashiError:
        place, text = self._place, _text(error)
        at = self._at
        if place.cluster:
            at += f": node {address[0]}:{address[1]}"
        if text.startswith("WRONGTYPE"):
            return Permanent(
                f"{at}: {key}, or a key that goes with it, has another type than the center "
                "gives it; remove it, or choose another backendConfig.table"
            )
        if isinstance(error, self._redis.AuthenticationError):
            return Retryable(f"{at}: refuses the user ({text}); mend user and password")
        if isinstance(error, self._redis.TimeoutError):
            return Retryable(
                f"{at}: no answer within {self._timeout:g} s; is it too busy? "
                "mend it, or raise backendConfig.timeout"
            )
        if text.startswith(("MOVED", "ASK")) and not place.cluster:
            return Retryable(f"{at}: is a node of a Redis Cluster; write redis+cluster://")
        for sign, remedy in _REMEDIES:
            if text.startswith(sign):
                return Retryable(f"{at}: {text}; {remedy}")
        if isinstance(error, self._redis.ConnectionError | OSError):
            return Retryable(f"{at}: can't connect: {text}; start Redis there, or mend the address")
        return Retryable(f"{at}: answers {text}; is this a Redis of version 4.0 or later?")


def _text(error: Exception) -> str:
    """What the server replied, or what the package says; on one line."""
    name = type(error).__name__
    text = " ".join(str(error).split())[:300] or name
    code = _CODES.get(name, "")
    return text if text.startswith(code) else f"{code} {text}"


def _first_error(replies: Sequence[Any], *, within: bool) -> Exception | None:
    """The first failed reply, also within the reply to an EXEC."""
    for reply in replies:
        if isinstance(reply, Exception):
            return reply
        if within and isinstance(reply, list):
            error = _first_error(reply, within=True)
            if error is not None:
                return error
    return None
