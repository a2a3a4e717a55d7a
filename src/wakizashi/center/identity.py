"""Who may write under which probe name: by token, else by certificate, else anyone.

A token says it if there is a ``tokensFile``. Without one, but with
``tls.clientCA``, the names in the client's certificate do. The question is
asked for each window, before any room is taken for it; a window that is refused
stays with its probe, for an operator can mend it.
"""

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any

from wakizashi.center.tokens import TokensFile, digest

_log = logging.getLogger(__name__)

_SHOWN = 8
"""Names or patterns in a message."""


class Unauthenticated(Exception):
    """Nobody that the center knows; ``str()`` says why, for a person, without the token."""


class Caller(ABC):
    """Who made a call."""

    @abstractmethod
    async def fault(self, probe: str) -> str | None:
        """Why it may not write under the name ``probe``; None if it may."""


class Identity(ABC):
    """Tells who calls."""

    @abstractmethod
    async def caller(self, context: Any) -> Caller:
        """Who makes the call of a ``grpc.aio.ServicerContext``.

        Raises:
            Unauthenticated: nobody that is known.
        """


class Anyone(Identity, Caller):
    """Whoever reaches the port, under any name."""

    async def caller(self, context: Any) -> Caller:
        """It is all the same."""
        return self

    async def fault(self, probe: str) -> str | None:
        """None."""
        return None


class ByToken(Identity):
    """The bearer token of a call says what it may."""

    def __init__(self, tokens: TokensFile) -> None:
        self._tokens = tokens

    async def caller(self, context: Any) -> Caller:
        """Who has the token in the call's metadata."""
        values = [value for key, value in context.invocation_metadata() if key == "authorization"]
        if not values:
            raise Unauthenticated(
                "the call came without a token; set tokenFile of the probe, "
                "to a file with a token of the center's tokensFile"
            )
        scheme, _, token = str(values[0]).partition(" ")
        if len(values) > 1 or scheme.lower() != "bearer":
            raise Unauthenticated("the call's authorization is not 'Bearer TOKEN'")
        caller = _TokenHolder(self._tokens, digest(token))
        if not await caller.patterns():
            raise Unauthenticated(
                "the call came with a token that the center does not know; "
                "put it into the center's tokensFile, or a known one into tokenFile of the probe"
            )
        return caller


class _TokenHolder(Caller):
    def __init__(self, tokens: TokensFile, key: bytes) -> None:
        self._tokens, self._key = tokens, key

    async def patterns(self) -> tuple[str, ...]:
        """What the token permits now; it may have been withdrawn since the call began."""
        return tuple(pattern.text for pattern in await self._tokens.permitted(self._key))

    async def fault(self, probe: str) -> str | None:
        """Why the token does not permit the name."""
        patterns = await self._tokens.permitted(self._key)
        if any(pattern.matches(probe) for pattern in patterns):
            return None
        return (
            f"the token that came permits no window of {probe!r}, only of "
            f"{_some(pattern.text for pattern in patterns)}; permit it in the center's tokensFile, "
            "or mend name or tokenFile of the probe"
        )


class ByCertificate(Identity):
    """The client's certificate, which the handshake verified, says what it may."""

    async def caller(self, context: Any) -> Caller:
        """Who showed the certificate."""
        found = context.auth_context()
        return CertificateHolder(
            exact=_texts(found, "x509_common_name", "peer_uri"), dns=_texts(found, "peer_dns")
        )


class CertificateHolder(Caller):
    """Whom a certificate names.

    Args:
        exact: common name and URIs.
        dns: DNS names; ``*`` may stand for the whole left-most label.
    """

    def __init__(self, *, exact: Iterable[str], dns: Iterable[str]) -> None:
        self._exact, self._dns = tuple(exact), tuple(dns)

    async def fault(self, probe: str) -> str | None:
        """Why the certificate does not permit the name."""
        if probe in self._exact or any(dns_matches(name, probe) for name in self._dns):
            return None
        names = _some(dict.fromkeys((*self._exact, *self._dns)))
        return (
            f"the certificate that came permits no window of {probe!r}, only of {names}; "
            "issue one with that name (CN, or subjectAltName), or mend name of the probe"
        )


def dns_matches(pattern: str, name: str) -> bool:
    """Whether a certificate's DNS name means ``name``: ``*.x`` one label in front of ``.x``."""
    label, dot, rest = pattern.partition(".")
    if label != "*" or not dot:
        return pattern == name
    own, dot, parent = name.partition(".")
    return bool(own and dot) and parent == rest


def _texts(found: Any, *keys: str) -> list[str]:
    return [value.decode("utf-8", "replace") for key in keys for value in found.get(key, ())]


def _some(names: Iterable[str]) -> str:
    known = list(names)
    more = f" and {len(known) - _SHOWN} more" if len(known) > _SHOWN else ""
    return (", ".join(map(repr, known[:_SHOWN])) or "nobody") + more
