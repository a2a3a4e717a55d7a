"""Certificates and keys in PEM files: read, and checked.

They are checked with the standard library alone. A pair of certificate and key
makes a handshake with itself, in memory: whatever a peer would find wrong with
it comes out, and what the certificate says of itself too. What is read is what
is checked is what is used: a file that changes in between makes no difference.
"""

import os
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum, auto
from pathlib import Path
from typing import Any

from wakizashi.secret_files import read_bytes

WARN_DAYS = 14
"""A certificate that ends within these is told of."""

DAY = 86_400
"""Seconds."""

_NO_CHECK_TIME = 0x200000
"""X509_V_FLAG_NO_CHECK_TIME of OpenSSL: of a certificate that has expired we want to know when."""

_KEYS = tuple(
    map(
        bytes.fromhex,
        (
            "300d 0609 2a864886f70d010101 0500",  # RSA
            "3013 0607 2a8648ce3d0201 0608 2a8648ce3d030107",  # ECDSA P-256
            "3010 0607 2a8648ce3d0201 0605 2b81040022",  # ECDSA P-384
        ),
    )
)
"""AlgorithmIdentifiers (RFC 5280, 4.1.2.7) of the public keys that gRPC's TLS library signs with.

Of others, such as Ed25519, P-521 and RSA-PSS, it knows nothing or makes no use by itself."""

_SYSTEM_ROOTS = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Alpine
    "/etc/pki/tls/certs/ca-bundle.crt",  # Fedora
    "/etc/ssl/ca-bundle.pem",  # openSUSE
    "/etc/ssl/cert.pem",
)


class Role(Enum):
    """On which side of a connection a certificate is shown."""

    SERVER = auto()
    CLIENT = auto()


@dataclass(frozen=True, slots=True)
class Certificate:
    """What a certificate says of itself; times are seconds since 1970."""

    subject: str
    issuer: str
    not_before: float
    not_after: float

    def trouble(self, now: float) -> str | None:
        """What is wrong with its time, or soon will be; None if nothing is."""
        if now < self.not_before:
            return f"is not valid before {_date(self.not_before)}; is this host's clock right?"
        if now >= self.not_after:
            return f"expired on {_date(self.not_after)}; put a new one in its place"
        days = (self.not_after - now) / DAY
        if days < WARN_DAYS:
            return f"expires in {days:.0f} days, on {_date(self.not_after)}; renew it"
        return None

    def __str__(self) -> str:
        return f"{self.subject}, issued by {self.issuer}, valid until {_date(self.not_after)}"


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate, with those between it and its authority, and its key; PEM."""

    chain: bytes
    key: bytes = field(repr=False)
    certificate: Certificate


@dataclass(frozen=True, slots=True)
class Authorities:
    """Certificates that others are checked against; PEM."""

    pem: bytes
    certificates: tuple[Certificate, ...]

    @property
    def text(self) -> str:
        """For the ``ssl`` module, which wants ASCII; comments between certificates may have more."""
        return self.pem.decode("ascii", "ignore")


def load_pair(cert: Path, key: Path, role: Role) -> Pair:
    """Read a certificate and its key.

    Raises:
        ValueError: why they can't be used; names key and file.
    """
    chain, secret = _read(cert, "cert"), _read(key, "key")
    with _as_file(chain) as chain_file, _as_file(secret) as key_file:
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        for context in (server, client):
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        try:
            for context in (server, client):
                context.load_cert_chain(chain_file, key_file, password=_refuse_password)
        except _Encrypted:
            raise ValueError(
                f"key: {key} is encrypted; keep it without a password, readable by this user alone"
            ) from None
        except ssl.SSLError as error:
            raise ValueError(_pair_fault(cert, key, chain, secret, error)) from error
        judge = server if role is Role.CLIENT else client
        judge.load_verify_locations(chain_file)
    judge.verify_mode = ssl.CERT_REQUIRED
    # The certificate itself is trusted, whoever issued it: the peer knows whom it trusts.
    judge.verify_flags = ssl.VerifyFlags(
        judge.verify_flags | ssl.VERIFY_X509_PARTIAL_CHAIN | _NO_CHECK_TIME
    )
    try:
        seen, whole = _handshake(server, client, role)
    except ssl.SSLError as error:
        reason = getattr(error, "verify_message", "") or error.reason
        peers = "probes" if role is Role.SERVER else "centers"
        raise ValueError(
            f"cert: {cert} is no certificate that {peers} take: {reason}; "
            f"issue one for {'servers' if role is Role.SERVER else 'clients'}"
        ) from error
    if not any(algorithm in whole for algorithm in _KEYS):
        raise ValueError(
            f"cert: {cert} has a key of a kind that gRPC does not take; "
            "issue one with a key of the kind ECDSA P-256 or P-384, or RSA"
        )
    return Pair(chain, secret, _certificate(seen))


def load_authorities(path: Path, key: str) -> Authorities:
    """Read certificates of authorities; ``key`` is the configuration key, for messages.

    Raises:
        ValueError: why they can't be used; names key and file.
    """
    pem = _read(path, key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(cadata=Authorities(pem, ()).text)
    except (ssl.SSLError, ValueError) as error:
        raise ValueError(
            f"{key}: {path} holds no certificate in PEM (-----BEGIN CERTIFICATE-----), "
            "or a damaged one; put the authority's certificate there"
        ) from error
    return Authorities(pem, tuple(map(_certificate, context.get_ca_certs())))


def check(*loads: Callable[[], object]) -> None:
    """Call each, and tell all that is wrong at once.

    Raises:
        ValueError: the faults of those that failed.
    """
    faults = []
    for load in loads:
        try:
            load()
        except ValueError as error:
            faults.append(str(error))
    if faults:
        raise ValueError("; ".join(faults))


def system_roots(paths: tuple[str, ...] = _SYSTEM_ROOTS) -> Path:
    """Where this host keeps the certificates of the authorities it trusts.

    Raises:
        ValueError: there are none.
    """
    places = (os.environ.get("SSL_CERT_FILE"), ssl.get_default_verify_paths().cafile, *paths)
    for place in places:
        if place and os.path.isfile(place):
            return Path(place)
    raise ValueError(
        "ca: is not set, and this host has no certificates of authorities; "
        "set tls.ca, or install the package ca-certificates"
    )


def _read(path: Path, key: str) -> bytes:
    try:
        return read_bytes(path)
    except ValueError as error:
        raise ValueError(f"{key}: {path} {error}") from error


class _Encrypted(Exception):
    """A key wants a password; nobody is there to be asked."""


def _refuse_password() -> str:
    raise _Encrypted


@contextmanager
def _as_file(content: bytes) -> Iterator[str]:
    """A file in memory: OpenSSL takes no key from memory, and the one on disk may have changed."""
    descriptor = os.memfd_create("pem")
    try:
        os.write(descriptor, content)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


def _pair_fault(cert: Path, key: Path, chain: bytes, secret: bytes, error: ssl.SSLError) -> str:
    if b"-----BEGIN CERTIFICATE-----" not in chain:
        return f"cert: {cert} holds no certificate in PEM (-----BEGIN CERTIFICATE-----)"
    if b"PRIVATE KEY-----" not in secret:
        return f"key: {key} holds no private key in PEM (-----BEGIN PRIVATE KEY-----)"
    if error.reason == "KEY_VALUES_MISMATCH":
        return f"key: {key} is not the key of the certificate in {cert}; put the two that belong together"
    return f"cert, key: {cert} and {key} can't be used: {error.reason or 'damaged'}"


def _handshake(
    server: ssl.SSLContext, client: ssl.SSLContext, role: Role
) -> tuple[dict[str, Any], bytes]:
    """The certificate that ``role`` shows: what it says, and its DER."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = {
        Role.CLIENT: client.wrap_bio(to_client, to_server),
        Role.SERVER: server.wrap_bio(to_server, to_client, server_side=True),
    }
    open_sides = list(sides.values())
    while open_sides:
        for side in list(open_sides):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
            open_sides.remove(side)
    other = sides[Role.SERVER if role is Role.CLIENT else Role.CLIENT]
    return dict(other.getpeercert() or {}), other.getpeercert(binary_form=True) or b""


def _certificate(seen: Any) -> Certificate:
    return Certificate(
        subject=_name(seen["subject"]),
        issuer=_name(seen["issuer"]),
        not_before=ssl.cert_time_to_seconds(seen["notBefore"]),
        not_after=ssl.cert_time_to_seconds(seen["notAfter"]),
    )


def _name(parts: Any) -> str:
    texts = {key: value for part in parts for key, value in part}
    return f"CN={texts['commonName']}" if "commonName" in texts else repr(texts)


def _date(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(seconds))
