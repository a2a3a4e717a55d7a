"""The way to a center, step by step: name, TCP, TLS, service, token, clock.

Each of the center's addresses is tried at the same time as the others, as the probe would
connect to it. A ``Transmit`` call without a window ends at once: it stores nothing, and
shows that the center takes this probe's calls, and what time it is there (:mod:`wakizashi.wire`).
"""

import socket
import ssl
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import grpc
from grpc_health.v1 import health_pb2

from wakizashi import wire
from wakizashi.doctor.clock import Skew, measured
from wakizashi.probe.addresses import Address, Center
from wakizashi.probe.channel import Credentials
from wakizashi.probe.config import ProbeConfig
from wakizashi.probe.refusals import explain
from wakizashi.probe.transmit import METHOD
from wakizashi.tls import Certificate

STEP_SECONDS = 2.5
"""For each step. Over a link on which one takes longer a delivery would not get on either."""
CALLS = 3
"""The quickest tells the time best; the first may still wait for the connection."""

SERVICE = METHOD.split("/")[1]
_NO_TLS = frozenset({"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST"})


@dataclass(frozen=True, slots=True)
class Refused:
    """How a call failed."""

    code: str
    """Of :class:`grpc.StatusCode`."""
    message: str
    """As a probe tells it: what, and behind a semicolon the remedy."""


@dataclass(frozen=True, slots=True)
class Contact:
    """How far one address lets us come; what is None was not reached, or not asked."""

    target: str
    no_connection: str = ""
    seconds: float = 0.0
    """For the TCP handshake."""
    no_tls: str = ""
    certificate: Certificate | None = None
    speaks_tls: bool = False
    """Though plaintext is configured."""
    serving: str | Refused | None = None
    """The word of the health service."""
    refused: Refused | None = None
    """The answer to the call without a window, unless it was taken."""
    called: bool = False
    skew: Skew | None = None


def shown(address: Address) -> str:
    """``192.0.2.1:10080``, without gRPC's prefix."""
    return address.target.partition(":")[2]


def contact(
    config: ProbeConfig, credentials: Credentials, center: Center, address: Address
) -> Contact:
    """Try one address."""
    found = Contact(shown(address))
    host = shown(address).rpartition(":")[0].strip("[]").replace("%25", "%")
    began = time.monotonic()
    try:
        connection = socket.create_connection((host, center.port), timeout=STEP_SECONDS)
    except OSError as error:
        return replace(found, no_connection=_reason(error))
    found = replace(found, seconds=time.monotonic() - began)
    with connection:
        if config.tls is not None:
            found = _handshake(config, found, connection)
            if found.no_tls:
                return found
    channel = credentials.channel(address.target, center)
    try:
        found = _call(config, credentials, found, channel)
    finally:
        channel.close()
    if config.tls is None and isinstance(found.serving, Refused):
        found = replace(found, speaks_tls=_speaks_tls(host, center.port))
    return found


def _handshake(config: ProbeConfig, found: Contact, connection: socket.socket) -> Contact:
    """One of our own: gRPC does not tell what was wrong, nor when a certificate ends."""
    tls = config.tls
    assert tls is not None  # noqa: S101 - for the type checker; the caller asked
    # Not create_default_context: it asks more of certificates than gRPC does.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=tls.load_authorities().text)
    context.set_alpn_protocols(["h2"])
    if tls.cert is not None:
        context.load_cert_chain(tls.cert, tls.key)
    try:
        with context.wrap_socket(connection, server_hostname=config.server_name()) as secure:
            seen: Any = secure.getpeercert()
    except ssl.SSLCertVerificationError as error:
        return replace(found, no_tls=error.verify_message)
    except ssl.SSLError as error:
        plain = error.reason in _NO_TLS
        return replace(found, no_tls="speaks no TLS" if plain else error.reason or str(error))
    except OSError as error:  # it ended the connection, or does not answer
        return replace(found, no_tls=_reason(error))
    begins, ends = (ssl.cert_time_to_seconds(seen[key]) for key in ("notBefore", "notAfter"))
    return replace(found, certificate=Certificate(config.server_name(), "", begins, ends))


def _speaks_tls(host: str, port: int) -> bool:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # nothing is sent, and nothing believed
    try:
        with socket.create_connection((host, port), timeout=STEP_SECONDS) as connection:
            context.wrap_socket(connection).close()
    except OSError:
        return False
    return True


def _call(
    config: ProbeConfig, credentials: Credentials, found: Contact, channel: grpc.Channel
) -> Contact:
    check: Any = channel.unary_unary(
        "/grpc.health.v1.Health/Check",
        request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
        response_deserializer=health_pb2.HealthCheckResponse.FromString,
    )
    asked = health_pb2.HealthCheckRequest(service=SERVICE)
    try:
        answer = check(asked, timeout=STEP_SECONDS, metadata=credentials.metadata)
    except grpc.RpcError as error:
        refused = _refused(error, found, credentials)
        found = replace(found, serving=refused)
        if refused.code in ("UNAVAILABLE", "DEADLINE_EXCEEDED"):
            return found
    else:
        found = replace(
            found, serving=health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
        )
    transmit: Any = channel.stream_stream(
        METHOD, request_serializer=None, response_deserializer=None
    )
    metadata = (*credentials.metadata, (wire.PROBE_METADATA, config.probe_name().encode()))
    for _ in range(CALLS):
        sent = time.time()
        call = transmit(iter(()), timeout=STEP_SECONDS, metadata=metadata)
        try:
            for _ack in call:
                pass
        except grpc.RpcError as error:
            return replace(found, refused=_refused(error, found, credentials))
        skew = _skew(call.trailing_metadata() or (), sent, time.time())
        found = replace(
            found,
            called=True,
            skew=min((s for s in (found.skew, skew) if s), key=lambda s: s.error, default=None),
        )
    return found


def _skew(metadata: Sequence[tuple[str, Any]], sent: float, answered: float) -> Skew | None:
    for key, value in metadata:
        if key == wire.TIME_METADATA and str(value).isdigit() and answered >= sent:
            return measured(sent, answered, int(value) / 1000)
    return None


def _refused(error: Any, found: Contact, credentials: Credentials) -> Refused:
    message, _ = explain(error, found.target, credentials)
    return Refused(error.code().name, message)


def _reason(error: OSError) -> str:
    return "no answer" if isinstance(error, TimeoutError) else error.strerror or str(error)
