"""The way to a center: what the contacts with its addresses mean. All but :func:`look` is pure."""

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from wakizashi import exposure
from wakizashi.doctor import certificates
from wakizashi.doctor.clock import look_skew
from wakizashi.doctor.contact import SERVICE, Contact, Refused, contact, shown
from wakizashi.doctor.finding import Finding, fault, note, ok
from wakizashi.doctor.offloads import listed
from wakizashi.probe.addresses import Center
from wakizashi.probe.channel import Credentials
from wakizashi.probe.config import ProbeConfig, split_address

MOST_ADDRESSES = 16


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
                f"{each.target}: {SERVICE} is {each.serving}",
                "the center is stopping; wait for the one that follows",
            )
    if good:
        yield ok("service", f"{SERVICE} is SERVING at {listed([c.target for c in good])}")


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
