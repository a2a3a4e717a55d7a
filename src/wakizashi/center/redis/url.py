"""Where Redis is: ``backendConfig.redisConfig.url``, taken apart. Pure."""

from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote, urlsplit

DEFAULT_PORT = 6379

_SCHEMES = ("redis", "rediss", "redis+cluster", "rediss+cluster", "unix")
_SSL_OPTIONS = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")

Address = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Place:
    """A ``redisConfig.url``, taken apart."""

    shown: str
    """The URL without user and password."""
    addresses: tuple[Address, ...]
    """At least one; more than one only of a cluster, of which any may answer."""
    cluster: bool
    tls: bool
    socket: str
    db: int
    user: str
    password: str = field(repr=False)
    options: tuple[tuple[str, str], ...]

    @classmethod
    def parse(cls, url: str) -> "Place":
        """Take a URL apart.

        Raises:
            ValueError: why it can't be used, with a remedy; nothing of the URL is in it.
        """
        if "://" not in url:
            raise ValueError(f"has no scheme; try redis://HOST:{DEFAULT_PORT}")
        try:
            parts = urlsplit(url)
            options = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=True))
        except ValueError:
            if "?" not in url:
                raise ValueError(f"is no URL; try redis://HOST:{DEFAULT_PORT}") from None
            options, parts = {"": ""}, urlsplit(url.partition("?")[0])
        if parts.scheme not in _SCHEMES:
            raise ValueError(f"has another scheme than {', '.join(_SCHEMES)}; use one of them")
        tls, cluster = parts.scheme.startswith("rediss"), parts.scheme.endswith("+cluster")
        unix = parts.scheme == "unix"
        if not unix and "@" in url.partition("://")[2].removeprefix(parts.netloc):
            raise ValueError(
                "has '/', '?' or '#' before its '@'; write %2F, %3F, %23, "
                "or use the keys user and password"
            )
        userinfo, _, hosts = parts.netloc.rpartition("@")
        user, _, password = userinfo.partition(":")
        db = options.pop("db", "0") if unix else parts.path.strip("/") or "0"
        if not db.isdecimal() or (cluster and int(db)):
            raise ValueError(
                "has a path that is not the number of a database; "
                + ("a cluster has none but 0: leave it out" if cluster else "try /0")
            )
        unknown = [name for name in options if not tls or name not in _SSL_OPTIONS]
        if unknown or parts.fragment:
            raise ValueError(
                f"has more behind it than rediss://'s options {', '.join(_SSL_OPTIONS)}; "
                "leave the rest out (the password has keys of its own)"
            )
        if unix and not (parts.path.startswith("/") and not hosts):
            raise ValueError("names no socket; try unix:///run/redis/redis-server.sock")
        return cls(
            shown=f"{parts.scheme}://{hosts}{parts.path}",
            addresses=(("", 0),) if unix else _addresses(hosts, cluster=cluster),
            cluster=cluster,
            tls=tls,
            socket=unquote(parts.path) if unix else "",
            db=int(db),
            user=unquote(user),
            password=unquote(password),
            options=tuple(options.items()),
        )


def _addresses(hosts: str, *, cluster: bool) -> tuple[Address, ...]:
    found = []
    for host in hosts.split(","):
        try:
            part = urlsplit(f"//{host}")
            name, port = part.hostname, DEFAULT_PORT if part.port is None else part.port
        except ValueError:
            name, port = None, 0
        if not name or not port:
            raise ValueError(
                f"has no host, or no port after its ':'; try redis://HOST:{DEFAULT_PORT}"
            )
        found.append((name, port))
    if len(found) > 1 and not cluster:
        raise ValueError("names several hosts; if they are a cluster write redis+cluster://")
    return tuple(found)
