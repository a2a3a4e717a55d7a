"""What is asked for, from the parameters of a request. Pure.

A parameter that there is not is refused: a misspelt filter would show what was not asked for.
"""

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address

from wakizashi.errors import WakizashiError
from wakizashi.model import MAX_TIME_MS
from wakizashi.query import QueryError, span_seconds

SELECTING = ("last", "since", "until", "probe", "host", "src", "dst", "service")
"""Which records; the same for each route."""
RIVER = ("by", "top", "points")
TALKERS = ("rows", "sort", "order", "find")
SPAN = ("links", "peers", *TALKERS)

BY = {"pairs": ("srcIP", "dstIP"), "services": ("probeIP",), "probes": ("probe",)}
"""What a river can be made of, and the fields that it is grouped by."""
SORTS = ("bytes", "packets", "src", "dst")
ORDERS = ("desc", "asc")

MOST_SPAN_MS = 3_653 * 86_400_000
"""Ten years."""
DEFAULT_LAST = "15m"
MOST_VALUES = 50
"""Of one filter."""
MOST_TEXT = 300
"""Characters of a value; a probe's name has 253 at most."""

Items = Sequence[tuple[str, str]]
"""Names and values in the order of the URL."""


class ParameterError(WakizashiError):
    """A request that makes no sense: which parameter, its value, and what would."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Records of windows that start in ``[since_ms, until_ms)``; an empty filter is none."""

    since_ms: int
    until_ms: int
    probes: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    """Either side."""
    sources: tuple[str, ...] = ()
    destinations: tuple[str, ...] = ()
    services: tuple[str, ...] = ()
    """Names or addresses."""
    rolling: bool = False
    """Whether ``last`` was asked for: then it may begin with a whole bucket."""


@dataclass(frozen=True, slots=True)
class River:
    """The question of ``/api/v1/river``."""

    selection: Selection
    by: str = "pairs"
    top: int = 10
    points: int = 120


@dataclass(frozen=True, slots=True)
class Talkers:
    """Which rows of the table, and in which order."""

    rows: int = 100
    sort: str = "bytes"
    order: str = "desc"
    find: str = ""


@dataclass(frozen=True, slots=True)
class Span:
    """The question of ``/api/v1/span``; of ``/api/v1/talkers`` the last part is of use."""

    selection: Selection
    links: int = 40
    peers: int = 300
    talkers: Talkers = Talkers()


def selection(items: Items, now_ms: int, known: Iterable[str] = ()) -> Selection:
    """The records that are asked for; ``known`` is what the route takes beside :data:`SELECTING`.

    Raises:
        ParameterError: one is unknown, or its value makes no sense.
    """
    given = _Given(items, (*SELECTING, *known))
    since, until = _span(given, now_ms)
    return Selection(
        since,
        until,
        given.texts("probe"),
        given.addresses("host"),
        given.addresses("src"),
        given.addresses("dst"),
        tuple(map(_as_address, given.texts("service"))),
        rolling=not any(name in ("since", "until") for name, _ in items),
    )


def river(items: Items, now_ms: int) -> River:
    """The question of ``/api/v1/river``. Raises as :func:`selection`."""
    given = _Given(items, (*SELECTING, *RIVER))
    return River(
        selection(items, now_ms, RIVER),
        given.choice("by", tuple(BY)),
        given.number("top", 10, 1, 50),
        given.number("points", 120, 2, 500),
    )


def span(items: Items, now_ms: int) -> Span:
    """The question of ``/api/v1/span``. Raises as :func:`selection`."""
    given = _Given(items, (*SELECTING, *SPAN))
    return Span(
        selection(items, now_ms, SPAN),
        given.number("links", 40, 1, 200),
        given.number("peers", 300, 1, 1_000),
        _talkers(given),
    )


def talkers(items: Items, now_ms: int) -> Span:
    """The question of ``/api/v1/talkers``. Raises as :func:`selection`."""
    given = _Given(items, (*SELECTING, *TALKERS))
    return Span(selection(items, now_ms, TALKERS), talkers=_talkers(given))


def nothing(items: Items) -> None:
    """For routes that take none. Raises as :func:`selection`."""
    _Given(items, ())


def _talkers(given: "_Given") -> Talkers:
    return Talkers(
        given.number("rows", 100, 1, 1_000),
        given.choice("sort", SORTS),
        given.choice("order", ORDERS),
        given.one("find") or "",
    )


def _span(given: "_Given", now_ms: int) -> tuple[int, int]:
    since, until = given.one("since"), given.one("until")
    if since is None and until is None:
        last = given.one("last") or DEFAULT_LAST
        try:
            length = span_seconds(last) * 1_000
        except QueryError:
            raise _fault("last", last, "is no span of time; write 90s, 10m, 1h30m or 7d") from None
        if not 0 < length <= MOST_SPAN_MS:
            raise _fault("last", last, "is not from 1s to ten years (3653d)")
        end = now_ms + 1
        return max(0, end - length), end
    if given.one("last") is not None:
        raise ParameterError("last: excludes since and until; leave out one of them")
    if since is None or until is None:
        lacking = "since" if since is None else "until"
        raise ParameterError(f"{lacking}: is missing; since and until go together, in ms")
    start = given.number("since", 0, 0, MAX_TIME_MS)
    end = given.number("until", 0, 0, MAX_TIME_MS)
    if end <= start:
        raise _fault("until", until, f"is not after since ({start}); swap them, or ask for more")
    if end - start > MOST_SPAN_MS:
        raise _fault("until", until, f"is more than ten years after since ({start}); ask for less")
    return start, end


def _as_address(text: str) -> str:
    """An address as it is stored; anything else as it is."""
    try:
        return str(ip_address(text))
    except ValueError:
        return text


def _fault(name: str, value: str, told: str) -> ParameterError:
    return ParameterError(f"{name}: {value[:MOST_TEXT]!r} {told}")


class _Given:
    def __init__(self, items: Items, known: Sequence[str]) -> None:
        self._values: dict[str, list[str]] = {}
        for name, value in items:
            if name not in known:
                raise ParameterError(_unknown(name[:MOST_TEXT], known))
            if len(value) > MOST_TEXT:
                raise _fault(name, value, f"is longer than {MOST_TEXT} characters; shorten it")
            self._values.setdefault(name, []).append(value)

    def one(self, name: str) -> str | None:
        values = self._values.get(name, [])
        if len(values) > 1:
            raise ParameterError(f"{name}: is given {len(values)} times; give it once")
        return values[0] if values else None

    def number(self, name: str, default: int, least: int, most: int) -> int:
        text = self.one(name)
        if text is None:
            return default
        # Not int(), which takes '1_0' and digits of other scripts.
        if not (text.isascii() and text.isdecimal() and least <= int(text) <= most):
            raise _fault(name, text, f"is no whole number from {least} to {most}")
        return int(text)

    def choice(self, name: str, choices: Sequence[str]) -> str:
        text = self.one(name)
        if text is None:
            return choices[0]
        if text not in choices:
            raise _fault(name, text, f"is not known; use {', '.join(choices)}")
        return text

    def texts(self, name: str) -> tuple[str, ...]:
        values = tuple(dict.fromkeys(self._values.get(name, ())))
        if len(values) > MOST_VALUES:
            raise ParameterError(f"{name}: {len(values)} values; give {MOST_VALUES} at most")
        if "" in values:
            raise _fault(name, "", "is empty; name one, or leave the parameter out")
        return values

    def addresses(self, name: str) -> tuple[str, ...]:
        found = []
        for text in self.texts(name):
            try:
                found.append(str(ip_address(text)))
            except ValueError:
                raise _fault(name, text, "is no address; write 10.0.0.1 or 2001:db8::1") from None
        return tuple(dict.fromkeys(found))


def _unknown(name: str, known: Sequence[str]) -> str:
    if not known:
        return f"{name!r}: there is no such parameter; this takes none"
    near = difflib.get_close_matches(name, known, 1)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
    return f"{name!r}: there is no such parameter; {hint}"
