"""What others may read or write that they should not: told at the start, and by ``--check``."""

import ipaddress
from collections.abc import Iterator


def is_loopback(host: str) -> bool:
    """Whether an address or name means this machine alone."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


def of_probe(center: str, host: str, *, tls: bool, token: bool) -> Iterator[str]:
    """What is exposed of a probe, a warning each.

    Args:
        center: ``centerAddr``.
        host: the host in it.
        tls: whether it is spoken.
        token: whether one goes with each delivery.
    """
    if not tls and not is_loopback(host):
        what = "the token and all windows" if token else "all windows"
        yield (
            f"centerAddr: {center} is another machine and tls is not set: whoever is on the way "
            f"can read {what}; set tls"
        )


def of_center(host: str, *, tls: bool, tokens: bool, client_ca: bool) -> Iterator[str]:
    """What is exposed of a center, a warning each.

    Args:
        host: what it listens on.
        tls: whether it is spoken.
        tokens: whether there is a ``tokensFile``.
        client_ca: whether probes need a certificate.
    """
    if is_loopback(host):
        return
    if not tls:
        what = "tokens and all windows" if tokens else "all windows"
        yield (
            f"host: {host} can be reached by other machines and tls is not set: whoever is on "
            f"the way can read {what}; set tls.cert and tls.key"
        )
    if not tokens and not client_ca:
        yield (
            f"host: {host} can be reached by other machines and neither tokensFile nor "
            "tls.clientCA is set: whoever reaches the port can write under any probe's name; "
            "set one of them"
        )


def of_dashboard(host: str, bound: str) -> Iterator[str]:
    """What is exposed of a dashboard, a warning each.

    Args:
        host: what it was told to listen on.
        bound: the address that it is.
    """
    if not is_loopback(bound):
        yield (
            f"--listen: {host} can be reached by other machines, in plaintext and without a "
            "password: whoever reaches the port sees who talks to whom; listen on 127.0.0.1 and "
            "put a proxy with TLS and a password before it"
        )
