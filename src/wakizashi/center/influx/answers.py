"""What an answer of InfluxDB 1.x other than success means: its kind and its message. Pure.

==================================================  ==================================
answer                                              meaning
==================================================  ==================================
400 ``unable to parse``, ``partial write``          Permanent: some points are at fault
413                                                 :class:`TooLarge`: to be halved
404 ``database not found``                          :class:`NoDatabase`: to be made
``max-values-per-tag``, ``max-series-per-database``  Retryable: limits can be raised
``pending deletion``                                Retryable: the shard is soon gone
anything else                                       Retryable
==================================================  ==================================

Of several faults in one write InfluxDB tells one, which one differs from time to
time; the good points are stored. That is enough: what is Permanent is written
again in halves, until each point was stored or refused by itself.

Only InfluxDB's own JSON condemns points. A 400 of anything between (a proxy that
expects TLS, say) speaks of the way, not of the data.

https://docs.influxdata.com/influxdb/v1/tools/api/#status-codes-and-responses-2
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

from wakizashi.errors import Permanent, Retryable, WakizashiError

_LIMITS = ("max-series-per-database", "max-values-per-tag")
_AT_FAULT = ("unable to parse", "partial write")


class TooLarge(Permanent):
    """The request has too many bytes; fewer points at a time may do."""


class NoDatabase(Retryable):
    """There is no such database."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where the answers come from, as far as messages name it."""

    host: str
    user: str
    database: str
    right: str = "ALL"
    """What the user needs there; READ for what only reads."""

    @property
    def key(self) -> str:
        """The configuration key of the address, and the address."""
        return f"backendConfig.influxConfig.host: {self.host}"


def failure(status: int, headers: Mapping[str, str], body: bytes, place: Place) -> WakizashiError:
    """The error for an answer that is no success.

    Args:
        status: the HTTP status.
        headers: the header, whose keys are found in any case.
        body: the body, decoded.
        place: for the message.
    """
    said = _said(body)
    text = _shown(
        said if said is not None else re.sub(rb"<[^>]*>", b" ", body).decode("utf-8", "replace")
    )
    if status in (401, 403):
        return Retryable(
            f"backendConfig.influxConfig.user: {place.user!r}: {place.host} refuses it "
            f"({status}: {text}); mend user and password, or grant it {place.right} on {place.database}"
        )
    if status == 413:
        return TooLarge(f"{place.key}: the write is too large (413: {text})")
    if 300 <= status < 400:
        # Followed, a POST becomes a GET, whose success would be taken for a write's.
        to = headers.get("Location", "somewhere else")
        return Retryable(f"{place.key}: redirects to {_shown(to)}; name the address itself")
    delay = retry_after_seconds(headers.get("Retry-After", ""), headers.get("Date", ""))
    if said is not None and status == 404 and "database not found" in said:
        return NoDatabase(f"{place.key}: {text}")
    if said is not None and status == 400:
        if any(limit in said for limit in _LIMITS):
            return Retryable(
                f"{place.key}: {text}; raise that limit in InfluxDB's [data] section, "
                "or shorten the retention of the database"
            )
        if any(fault in said for fault in _AT_FAULT) and "pending deletion" not in said:
            return Permanent(f"{place.key}: {text}")
    if "no space left on device" in text:  # it goes on saying so when there is room again
        remedy = "make room on its disk, and restart it twice, see docs/backends.md"
    else:
        known = status >= 500 or status == 429
        remedy = "look at its log" if known else "is this an InfluxDB 1.x?"
    return Retryable(f"{place.key}: answers {status}: {text}; {remedy}", delay_seconds=delay)


def retry_after_seconds(value: str, now: str = "") -> float:
    """The pause that a ``Retry-After`` header asks for (RFC 9110, 10.2.3); 0 if it makes no sense.

    Args:
        value: seconds, or a date.
        now: the answer's ``Date``, so that the server's clock alone counts.
    """
    if re.fullmatch(r"\d{1,9}", value):
        return float(value)
    try:
        until, since = parsedate_to_datetime(value), parsedate_to_datetime(now)
        return max(0.0, (until - since).total_seconds())
    except (TypeError, ValueError):  # none, no dates, or one without a zone
        return 0.0


def _said(body: bytes) -> str | None:
    """The message of an answer that is InfluxDB's own; None for anybody else's."""
    try:
        document = json.loads(body)
    except ValueError:
        return None
    if isinstance(document, dict) and "error" in document:
        return str(document["error"])
    return None


def _shown(text: str) -> str:
    return " ".join(text.split())[:300] or "an empty answer"
