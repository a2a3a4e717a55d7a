"""What addresses are called: by a file of names, else by reverse DNS, else they are their own name.

A line of the file is ``ADDRESS NAME…`` as in ``/etc/hosts``, of which the first name counts, or
``NETWORK/LENGTH NAME`` for all addresses in it; ``#`` begins a comment. An address's own line is
before networks, of these the longest prefix wins, and of two lines for the same the first. The file
is read again when it changes; what then is wrong with it is logged, and the names stay as they are.
"""

import logging
import os
import stat
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path

from wakizashi.config_faults import printable
from wakizashi.errors import ConfigError
from wakizashi.names import Names
from wakizashi.renewal import FileWatch
from wakizashi.telemetry import Throttle

MOST_NAMES = 65_536
"""That reverse DNS gave, kept: a month has more addresses than a screen."""
MOST_BYTES = 16 * 2**20
"""Of a names file."""
MOST_FAULTS = 20
LOOK_SECONDS = 1.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Table:
    """Names of a file."""

    exact: dict[str, str]
    networks: tuple[tuple[int, int, dict[int, str]], ...]
    """Version, prefix length, and names by the prefix; the longest first."""

    def name(self, address: str) -> str:
        """The name of an address; nothing if it has none."""
        if found := self.exact.get(address):
            return found
        if not self.networks:
            return ""
        try:
            packed = ip_address(address)
        except ValueError:
            return ""
        for version, length, names in self.networks:
            if version == packed.version:
                name = names.get(int(packed) >> (packed.max_prefixlen - length))
                if name:
                    return name
        return ""


NOTHING = Table({}, ())


def parse(text: str, source: str) -> Table:
    """The table that a file's text is.

    Raises:
        ConfigError: what is wrong, a line each.
    """
    exact: dict[str, str] = {}
    networks: dict[tuple[int, int], dict[int, str]] = {}
    faults = []
    # Not splitlines(), which ends lines at more than line ends.
    for number, line in enumerate(text.split("\n"), 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        try:
            if "/" in words[0]:
                network, name = _network(words[0]), _name(words)
                prefixes = networks.setdefault((network.version, network.prefixlen), {})
                shift = network.max_prefixlen - network.prefixlen
                prefixes.setdefault(int(network.network_address) >> shift, name)
            else:
                exact.setdefault(_address(words[0]), _name(words))
        except ValueError as error:
            faults.append(f"{source}:{number}: {printable(words[0][:80])!s} {error}")
    if faults:
        more = len(faults) - MOST_FAULTS
        rest = [f"{source}: and {more} more lines"] if more > 0 else []
        raise ConfigError("\n".join([*faults[:MOST_FAULTS], *rest]))
    order = sorted(networks, key=lambda key: -key[1])
    return Table(exact, tuple((*key, networks[key]) for key in order))


def _address(word: str) -> str:
    try:
        return str(ip_address(word.partition("%")[0]))
    except ValueError:
        raise ValueError(
            "is no address; write ADDRESS NAME or NETWORK/LENGTH NAME, as 10.0.0.1 web-1"
        ) from None


def _network(word: str) -> IPv4Network | IPv6Network:
    try:
        return ip_network(word)
    except ValueError:
        pass
    try:
        meant = ip_network(word, strict=False)
    except ValueError:
        raise ValueError("is no network; write it as 10.0.0.0/8 or 2001:db8::/32") from None
    raise ValueError(f"has bits set behind the prefix; write {meant}") from None


def _name(words: list[str]) -> str:
    if len(words) < 2:
        raise ValueError("has no name behind it; write one, or take the line out")
    if not words[1].isprintable() or len(words[1]) > 253:
        raise ValueError("has a name that is not printable, or longer than 253; write another")
    return words[1]


def named(text: str | None) -> Path | None:
    """What ``--names`` says.

    Raises:
        ConfigError: it is empty, as a variable of a shell may be; a path of that is a directory.
    """
    if text == "":
        raise ConfigError("--names: is empty; name a file of names, or leave it out")
    return None if text is None else Path(text)


def read(path: Path) -> Table:
    """The table of a file. Raises as :func:`parse`; also where it can't be read."""
    try:
        _check(path, path.stat())  # first: to open a device may do something
        with open(path, "rb", opener=_without_waiting) as file:
            _check(path, os.fstat(file.fileno()))
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise ConfigError(
            f"--names: {path}: {error.strerror}; name a file that this user can read"
        ) from error
    if len(content) > MOST_BYTES:
        raise ConfigError(f"--names: {path}: is larger than {MOST_BYTES} bytes; name a smaller one")
    try:
        return parse(content.decode("utf-8-sig"), str(path))  # some editors begin with a mark
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise ConfigError(f"{path}:{line}: is not UTF-8; save the file as UTF-8") from None


def _check(path: Path, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        kind = "a directory" if stat.S_ISDIR(found.st_mode) else "no regular file"
        raise ConfigError(f"--names: {path}: is {kind}; name a file of names")


def _without_waiting(path: str, flags: int) -> int:
    """A pipe that has come instead of a file would be waited for, for ever."""
    return os.open(path, flags | os.O_NONBLOCK)


class Labels:
    """Names of addresses, now. Threads may share it.

    Args:
        path: the file of names, if there is one.
        resolver: reverse DNS, if it is to be asked.
        clock: monotonic seconds.

    Raises:
        ConfigError: the file is not good.
    """

    def __init__(
        self,
        path: Path | None = None,
        resolver: Names | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path, self._resolver, self._clock = path, resolver, clock
        self._lock = threading.Lock()
        self._watch = FileWatch(path, clock=clock)
        self._watch.changed()
        self._table = read(path) if path else NOTHING
        self._next = clock() + LOOK_SECONDS
        self._throttle = Throttle(_log)

    @property
    def sources(self) -> dict[str, bool]:
        """Where names come from."""
        return {"dns": self._resolver is not None, "file": self._path is not None}

    def refresh(self) -> None:
        """Read the file again if it has changed; called before each answer."""
        if self._path is None:
            return
        with self._lock:
            if self._clock() < self._next:
                return
            self._next = self._clock() + LOOK_SECONDS
            if not self._watch.changed():
                return
            try:
                self._table = read(self._path)
            except ConfigError as error:
                self._watch.unusable()
                first = str(error).partition("\n")[0]
                self._throttle.warning("names", f"{first}; the names stay as they were")

    def known(self, address: str) -> str:
        """Its name if it has one that is known already; nobody is asked."""
        return self._table.name(address) or (self._resolver.peek(address) if self._resolver else "")

    def name(self, address: str) -> str:
        """The same, and the resolver is asked for the next time."""
        return self._table.name(address) or (self._resolver.get(address) if self._resolver else "")

    def label(self, address: str) -> str:
        """As :meth:`name`, else the address."""
        return self.name(address) or address
