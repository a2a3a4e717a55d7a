"""What a failed call means, for a person: gRPC's words turned into a cause and a remedy.

gRPC tells of the center's certificate what is wrong with it. Of the probe's own
it tells nothing: a center that refuses it closes the connection, without a word
(its TLS library drops the alert that the protocol has for that).
"""

import re
import time
from typing import Any

import grpc

from wakizashi.probe.channel import Credentials

_VERIFY = re.compile(r"CERTIFICATE_VERIFY_FAILED: ([a-z' ]+)")
_CLOSED = ("Socket closed", "Connection reset", "Broken pipe")
_NO_CONNECTION = "failed to connect"

_REMEDIES = {
    "certificate has expired": "renew it at the center, or set this host's clock",
    "certificate is not yet valid": "set this host's clock",
    "unable to get local issuer certificate": "set tls.ca to the authority that issued it",
    "self signed certificate": "set tls.ca to it, if this is the center",
}


def explain(error: Any, target: str, credentials: Credentials) -> tuple[str, bool]:
    """One line on a failed call, and whether the probe or the center was refused as who it is.

    Then it is of no use to try again at once: an operator has to do something.
    """
    code, details = error.code(), " ".join(str(error.details()).split())
    if "Connection refused" in details:
        return f"{target}: connection refused; is the center running there?", False
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return f"{target}: no answer in time", False
    if code is grpc.StatusCode.UNAUTHENTICATED:
        return f"{target}: the center refuses this probe: {details[:300]}", True
    if code is grpc.StatusCode.UNAVAILABLE and _NO_CONNECTION in details:
        trouble = _encrypted(details, credentials) if credentials.encrypted else _plain(details)
        if trouble is not None:
            return f"{target}: {trouble}", True
    return f"{target}: {code.name}: {details[:300]}", False


def _encrypted(details: str, credentials: Credentials) -> str | None:
    if "Hostname Verification" in details:
        return (
            f"the center's certificate does not name {credentials.server_name}; set "
            "tls.serverName to a name that it has, or give the center one with that name"
        )
    if verify := _VERIFY.search(details):
        reason = verify[1].strip()
        remedy = _REMEDIES.get(reason, "give the center another, or mend tls.ca")
        return f"the center's certificate is refused: {reason}; {remedy}"
    if "WRONG_VERSION_NUMBER" in details:
        return "no TLS is spoken there; set tls at the center, or remove it here"
    if any(closed in details for closed in _CLOSED):
        own = credentials.certificate
        if own is None:
            return (
                "the connection was closed in the TLS handshake; if the center wants a "
                "certificate, set tls.cert and tls.key"
            )
        trouble = own.trouble(time.time())
        return (
            "the connection was closed in the TLS handshake; it seems that the center refuses "
            f"this probe's certificate, {own}{f': it {trouble}' if trouble else ''}; "
            "the center's log says why, and its tls.clientCA must have issued it"
        )
    return None


def _plain(details: str) -> str | None:
    if any(closed in details for closed in _CLOSED):
        return "the connection was closed at once; if the center speaks TLS, set tls"
    return None
