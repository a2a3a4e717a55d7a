"""Certificates, and how long they are good for. Pure."""

from wakizashi.doctor.finding import Finding, fault, note, ok
from wakizashi.tls import Certificate

_DAY = 86_400


def judge(whose: str, certificate: Certificate, now: float) -> Finding:
    """Whether it is valid at Unix time ``now``, and for long."""
    trouble = certificate.trouble(now)
    if trouble is None:
        days = (certificate.not_after - now) / _DAY
        return ok("tls", f"{whose}: certificate valid for {days:.0f} days")
    text, _, remedy = trouble.partition("; ")
    usable = certificate.not_before <= now < certificate.not_after
    return (note if usable else fault)("tls", f"{whose}: the certificate {text}", remedy)
