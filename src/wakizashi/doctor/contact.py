"""The way to a center, step by step: name, TCP, TLS, service, token, clock.

Each of the center's addresses is tried at the same time as the others, as the probe would
connect to it. A ``Transmit`` call without a window ends at once: it stores nothing, and
shows that the center takes this probe's calls, and what time it is there (:mod:`wakizashi.wire`).
"""

import socket
import ssl
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import grpc
from grpc_health.v1 import health_pb2

from wakizashi import exposure, wire
from wakizashi.doctor import certificates
from wakizashi.doctor.clock import Skew, look_skew, measured
from wakizashi.doctor.finding import Finding, fault, note, ok
from wakizashi.doctor.offloads import listed
from wakizashi.probe.addresses import Address, Center
from wakizashi.probe.channel import Credentials
from wakizashi.probe.config import ProbeConfig, split_address
from wakizashi.probe.refusals import explain
from wakizashi.probe.transmit import METHOD
from wakizashi.tls import Certificate

STEP_SECONDS = 2.5
"""For each step. Over a link on which one takes longer a delivery would not get on either."""
CALLS = 3
"""The quickest tells the time best; the first may still wait for the connection."""
MOST_ADDRESSES = 16

_SERVICE = METHOD.split("/")[1]
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


def look(config: ProbeConfig) -> Iterator[Finding]:
    """All of it, as far as it gets."""
    credentials = Credentials.of(config)
    center = Center(config.centerAddr)
    began = time.monotonic()
    addresses = sorted(center.resolve(), key=lambda address: address.target)
    yield ok(
        "name",
        f"{config.centerAddr}: {listed([shown(a) for a in addresses])}, "
        f"after {time.monotonic() - began:.3f} s",
    )
    addresses = addresses[:MOST_ADDRESSES]
    with ThreadPoolExecutor(len(addresses)) as pool:
        contacts = list(pool.map(lambda a: contact(config, credentials, center, a), addresses))
    yield from judge(config, credentials, contacts)


def shown(address: Address) -> str:
    """``192.0.2.1:10080``, without gRPC's prefix."""
    return address.target.partition(":")[2]


# -- asking ----------------------------------------------------------------------------------


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
    context = ssl.create_default_context(cadata=tls.load_authorities().pem.decode("ascii"))
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
    asked = health_pb2.HealthCheckRequest(service=_SERVICE)
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


# -- judging ---------------------------------------------------------------------------------


def judge(
    config: ProbeConfig,
    credentials: Credentials,
    contacts: Sequence[Contact],
    now: float | None = None,
) -> Iterator[Finding]:
    """What the contacts mean. Of several addresses one that works is enough for the probe."""
    now = time.time() if now is None else now
    yield from _judge_connections(config, contacts)
    reached = [c for c in contacts if not c.no_connection]
    if config.tls is None:
        yield from _judge_plaintext(config, reached)
    else:
        yield from _judge_tls(config, credentials, reached, now)
    secure = [c for c in reached if not c.no_tls]
    yield from _judge_service(secure)
    yield from _judge_token(config, secure)
    yield from _judge_skew(config, secure)


def _some(check: str, bad: int, good: int, text: str, remedy: str) -> Finding:
    """A fault where no address works, a note where another one does."""
    judge_it = note if good and bad else fault
    return judge_it(check, text, remedy)


def _judge_connections(config: ProbeConfig, contacts: Sequence[Contact]) -> Iterator[Finding]:
    good = [c for c in contacts if not c.no_connection]
    for each in contacts:
        if each.no_connection:
            refused = "refused" in each.no_connection.lower()
            remedy = (
                "start the center there, or mend the port in centerAddr"
                if refused
                else "let TCP to it through: routes, firewalls, network policies"
            )
            yield _some("connection", 1, len(good), f"{each.target}: {each.no_connection}", remedy)
    if good:
        slowest = max(c.seconds for c in good)
        yield ok("connection", f"{listed([c.target for c in good])}: {slowest:.3f} s at most")


def _judge_plaintext(config: ProbeConfig, reached: Sequence[Contact]) -> Iterator[Finding]:
    foreign = [c.target for c in reached if c.speaks_tls]
    if foreign:
        yield _some(
            "tls",
            len(foreign),
            len(reached) - len(foreign),
            f"{listed(foreign)} speaks TLS, and the probe does not",
            "set tls.ca to the authority of its certificate",
        )
    elif reached:
        token = config.tokenFile is not None
        exposed = list(
            exposure.of_probe(config.centerAddr, center_host(config), tls=False, token=token)
        )
        for text, _, remedy in (warning.partition("; ") for warning in exposed):
            yield note("tls", text, remedy)
        if not exposed:
            yield ok("tls", "plaintext, within this host")


def center_host(config: ProbeConfig) -> str:
    """The host in ``centerAddr``."""
    host, _ = split_address(config.centerAddr)
    return host


def _judge_tls(
    config: ProbeConfig, credentials: Credentials, reached: Sequence[Contact], now: float
) -> Iterator[Finding]:
    good = [c for c in reached if not c.no_tls]
    for each in reached:
        if each.no_tls:
            yield _some(
                "tls",
                1,
                len(good),
                f"{each.target}: {each.no_tls}",
                _tls_remedy(config, each.no_tls),
            )
        elif each.certificate is not None:
            yield certificates.judge(
                f"{each.target} as {config.server_name()}", each.certificate, now
            )
    own = credentials.certificate
    if own is not None:
        yield certificates.judge("tls.cert", own, now)


def _tls_remedy(config: ProbeConfig, reason: str) -> str:
    if reason == "speaks no TLS":
        return "set tls at the center, or remove it from the probe's configuration"
    if "mismatch" in reason.lower() or "not valid for" in reason:
        return f"set tls.serverName to a name in it ({config.server_name()} is wanted), or issue another"
    if "expired" in reason or "not yet valid" in reason:
        return "renew the center's certificate, or set this host's clock right"
    return "set tls.ca to the authority that issued the center's certificate"


def _judge_service(secure: Sequence[Contact]) -> Iterator[Finding]:
    good = [c for c in secure if c.serving == "SERVING"]
    for each in secure:
        if isinstance(each.serving, Refused):
            text, _, remedy = each.serving.message.partition("; ")
            if each.speaks_tls:
                text, remedy = f"{each.target}: no call gets through", "see tls above"
            remedy = remedy or "is that a center, and of this release? see its log"
            yield _some("service", 1, len(good), text, remedy)
        elif each.serving is not None and each.serving != "SERVING":
            yield _some(
                "service",
                1,
                len(good),
                f"{each.target}: {_SERVICE} is {each.serving}",
                "the center is stopping; wait for the one that follows",
            )
    if good:
        yield ok("service", f"{_SERVICE} is SERVING at {listed([c.target for c in good])}")


def _judge_token(config: ProbeConfig, secure: Sequence[Contact]) -> Iterator[Finding]:
    good = [c for c in secure if c.called and c.refused is None]
    for each in secure:
        if each.refused is not None:
            text, _, remedy = each.refused.message.partition("; ")
            yield _some("token", 1, len(good), text, remedy or "see the center's log")
    if good:
        shown = "without asking who it is"
        if config.tokenFile is not None:
            shown = "with its token"
        elif config.tls is not None and config.tls.cert is not None:
            shown = "with its certificate"
        where = listed([c.target for c in good])
        yield ok("token", f"{where} takes windows of {config.probe_name()}, {shown}")


def _judge_skew(config: ProbeConfig, secure: Sequence[Contact]) -> Iterator[Finding]:
    told = [c for c in secure if c.skew is not None]
    if told:
        worst = max(told, key=lambda c: abs(c.skew.seconds) - c.skew.error if c.skew else 0.0)
        if worst.skew is not None:
            yield look_skew(worst.skew, config.capInterval, worst.target)
    elif any(c.called for c in secure):
        yield note("skew", "the center does not tell its time", "update the center")
