"""InfluxDB 1.x.

Measurement ``TABLE``: tags ``probe, probeIP, srcIP, dstIP`` and the probe's
constant ones, integer fields ``size, packets``. Measurement ``TABLE_ledger``:
tags ``probe, device`` and the constant ones, integer fields ``number, duration``
(ms), ``windows`` and packets and bytes of each tally. The time is the window's start, so
that a point written again lands on itself.

The ``influxdb`` package is archived: its defaults (no timeout, three tries,
root as user, no certificate check) are all set here, and its point encoder is
slow, so the lines are made here. Answers are judged before it sees them, since
it drops their headers and follows redirects; what it raises besides (also plain
ValueErrors, for a host or an answer that makes no sense) does not leave this
module.
"""

import contextlib
import gzip
import ipaddress
import json
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

from pydantic import field_validator

from wakizashi.center.backend import SUMS, Backend, Remark, Row, Series, Where, check_reading
from wakizashi.center.influx import reading
from wakizashi.center.influx.answers import NoDatabase, Place, TooLarge, failure
from wakizashi.center.influx.diagnosis import look
from wakizashi.center.influx.lines import encode_lines
from wakizashi.center.influx.series import ask
from wakizashi.center.isolate import halves, points
from wakizashi.center.missing import missing
from wakizashi.center.selection import Selection
from wakizashi.errors import Retryable, WakizashiError
from wakizashi.model import LedgerRecord, LedgerSum, StoredWindow
from wakizashi.sections import PasswordSection

if TYPE_CHECKING:
    from wakizashi.center.config import BackendConfig

CONFIG_KEY = "influxConfig"
DEFAULT_PORT = 8086

_CHUNK_ROWS = 10_000
_READ_BYTES = 2**20
"""An answer is read in parts of this size: requests copies a line anew for each part of it."""
_FORM = {"Accept": "application/json", "Content-Type": "application/x-www-form-urlencoded"}
_CONNECTIONS = 32
"""Most that are kept for the next request; with more at once ``urllib3`` warns of each."""
_GZIP_LEVEL = 1
_ONE_PACKET = 1_400
"""Below this many bytes nothing is compressed: they are one packet anyway."""


class Config(PasswordSection):
    """``backendConfig.influxConfig``."""

    host: str = f"http://127.0.0.1:{DEFAULT_PORT}"
    user: str = ""

    @field_validator("host")
    @classmethod
    def _host(cls, value: str) -> str:
        if "://" not in value:
            port = "" if ":" in value else f":{DEFAULT_PORT}"
            raise ValueError(f"has no scheme; try http://{value or 'influx'}{port}")
        try:
            url = urlsplit(value)
            port_number = url.port
        except ValueError:
            raise ValueError(f"is no URL; try http://influx:{DEFAULT_PORT}") from None
        if url.scheme not in ("http", "https") or not url.hostname or port_number == 0:
            raise ValueError(f"is not http or https; try http://influx:{DEFAULT_PORT}")
        if url.query or url.fragment:
            raise ValueError(
                f"has more than scheme, host, port and path; leave out {value!r}'s rest"
            )
        if url.username is not None:
            raise ValueError("holds a user; use the keys user and password")
        return value


def create(config: "BackendConfig", *, read_only: bool) -> Backend:
    """Make the backend; see :func:`wakizashi.center.backend.open_backend`."""
    section: Config = getattr(config, CONFIG_KEY)
    return Influx(section, config.database, config.table, config.timeout, read_only=read_only)


# -- the backend -----------------------------------------------------------------------------


class Influx(Backend):
    """An InfluxDB 1.x database; made with the first write if it is missing."""

    def __init__(
        self,
        config: Config,
        database: str,
        table: str,
        timeout_seconds: float,
        *,
        read_only: bool = False,
        compress: bool | None = None,
    ) -> None:
        from influxdb import InfluxDBClient, exceptions
        from requests import Session
        from requests import exceptions as http

        url = urlsplit(config.host)
        self._config = config
        self._place = Place(config.host, config.user, database, "READ" if read_only else "ALL")
        self._database = database
        self._table = table
        self._timeout = timeout_seconds
        # Where no network is between, bytes cost less than packing them: docs/backends.md.
        self.compresses = not _is_loopback(url.hostname or "") if compress is None else compress
        self._http_error = http.RequestException
        self._http_timeout = http.Timeout
        self._client_error = exceptions.InfluxDBClientError
        session = Session()
        session.hooks["response"].append(self._judge)
        self._client = InfluxDBClient(
            host=f"[{url.hostname}]" if ":" in (url.hostname or "") else url.hostname,
            port=url.port or DEFAULT_PORT,
            username=config.user.encode(),  # text would be sent as Latin-1, or not at all
            password=self._password(),
            database=database,
            ssl=url.scheme == "https",
            verify_ssl=True,
            timeout=timeout_seconds,
            retries=1,
            path=url.path.rstrip("/"),
            headers={"Accept": "application/json"},
            session=session,
            pool_size=_CONNECTIONS,
        )

    @property
    def describe(self) -> str:
        """``InfluxDB at URL``."""
        return f"InfluxDB at {self._config.host}"

    def _password(self) -> bytes:
        try:
            return self._config.secret().encode()
        except ValueError as error:
            raise Retryable(f"backendConfig.influxConfig.{error}; make it readable") from error

    # -- HTTP --------------------------------------------------------------------------------

    def _request(
        self, url: str, params: dict[str, Any], *, expected: int = 200, **more: Any
    ) -> Any:
        if self._config.passwordFile is not None:  # it may have been changed
            self._client.switch_user(self._config.user.encode(), self._password())
        try:
            return self._client.request(
                url, "POST", params=params, expected_response_code=expected, **more
            )
        except self._client_error as error:  # a success, but not the one of this request
            raise self._no_influx() from error
        except self._http_timeout as error:
            raise Retryable(
                f"{self._place.key}: no answer within {self._timeout:g} s; is it too busy? "
                "mend it, or raise backendConfig.timeout"
            ) from error
        except (self._http_error, OSError, ValueError) as error:
            raise Retryable(
                f"{self._place.key}: {_reason(error)}; start InfluxDB there, or mend the address"
            ) from error

    def _judge(self, response: Any, **_: Any) -> None:
        """Called by ``requests`` with each answer, before a redirect is followed."""
        if response.status_code not in (200, 204):
            raise failure(response.status_code, response.headers, response.content, self._place)

    # -- writing -----------------------------------------------------------------------------

    def write(self, windows: Sequence[StoredWindow]) -> None:
        """Send everything in one request, or in as many as the server's limit of bytes asks for."""
        self.prepare(windows)()

    def prepare(self, windows: Sequence[StoredWindow]) -> Callable[[], None]:
        """Make the lines, packed where that pays."""
        data = encode_lines(windows, self._table).encode()
        packed = self.compresses and len(data) > _ONE_PACKET
        if packed:
            data = gzip.compress(data, _GZIP_LEVEL)
        return partial(self._send, windows, data, packed)

    def _send(self, windows: Sequence[StoredWindow], data: bytes, packed: bool) -> None:
        if not data:
            return
        headers = {"Content-Encoding": "gzip"} if packed else None
        params = {"db": self._database, "precision": "ms"}
        try:
            try:
                self._request("write", params, data=data, headers=headers, expected=204)
            except NoDatabase:
                self._run(f'CREATE DATABASE "{self._database}"')
                self._request("write", params, data=data, headers=headers, expected=204)
        except TooLarge:
            if sum(points(window) for window in windows) <= 1:
                raise
            for half in halves(windows):
                self.write(half)

    def check(self) -> None:
        """Ask for the databases, which needs a user that is let in."""
        self._run("SHOW DATABASES")

    def diagnose(self) -> Iterator[Remark]:
        """See :mod:`wakizashi.center.influx.diagnosis`."""
        return look(
            self.describe, self._database, self._config.user, self._answer, self._write_nothing
        )

    def _write_nothing(self) -> None:
        """What needs the right to write and a database that is there: a comment."""
        params = {"db": self._database, "precision": "ms"}
        self._request("write", params, data=b"# nothing\n", expected=204)

    def _answer(self, statement: str) -> tuple[str, Any]:
        """The server's version, empty if it does not say, and its answer."""
        response = self._request("query", {"q": statement})
        try:
            document = response.json()
            self._raise(document)
        except ValueError as error:
            raise self._no_influx() from error
        return response.headers.get("X-Influxdb-Version", ""), document

    def _run(self, statement: str) -> None:
        self._answer(statement)

    def _raise(self, document: Any) -> None:
        if not isinstance(document, dict):
            raise self._no_influx()
        for part in (document, *(document.get("results") or ())):
            if "error" in part:
                text = str(part["error"])
                if "database not found" in text:
                    raise missing(
                        f"backendConfig.database: {self._database!r} is not at {self._config.host}"
                    )
                more = (
                    "; ask for a shorter span, or raise that limit in its [coordinator] section"
                    if "max-select-" in text
                    else ""
                )
                raise Retryable(f"{self._place.key}: {text}{more}")

    def _no_influx(self) -> Retryable:
        return Retryable(f"{self._place.key} does not answer as an InfluxDB 1.x; mend the address")

    # -- reading -----------------------------------------------------------------------------

    def _select(self, query: str) -> Iterator[dict[str, Any]]:
        """Series after series of a streamed answer."""
        params = {
            "db": self._database,
            "epoch": "ms",
            "chunked": "true",
            "chunk_size": _CHUNK_ROWS,
        }
        # In the body: proxies take addresses of some thousand characters only.
        response = self._request(
            "query", params, data=urlencode({"q": query}), headers=_FORM, stream=True
        )
        try:
            for line in response.iter_lines(_READ_BYTES):
                if line:
                    document = json.loads(line)
                    self._raise(document)
                    for result in document.get("results") or ():
                        yield from result.get("series", ())
        except ValueError as error:
            raise self._no_influx() from error
        except (self._http_error, OSError) as error:
            raise Retryable(
                f"{self._place.key}: the answer broke off: {_reason(error)}; ask again"
            ) from error
        finally:
            response.close()

    def _measured(self, measurement: str, query: str) -> Iterator[dict[str, Any]]:
        """The series of a measurement: what :mod:`wakizashi.center.influx.reading` reads with."""
        for series in self._select(query):
            if series.get("name") != measurement:  # VictoriaMetrics names databases, always
                raise WakizashiError(
                    f"{self._place.key} takes points as InfluxDB does but does not answer its "
                    f"queries; ask it for {self._table}_size in PromQL, see docs/backends.md"
                )
            yield series

    def _look(self) -> None:
        """Whether an empty answer is one; else it says why."""
        if not list(self._select(reading.measurements(self._table))):
            raise missing(
                f"backendConfig.table: the database {self._database!r} at {self._config.host} has "
                f"no measurement {self._table!r}"
            )

    def series(self) -> Series | None:
        """See :mod:`wakizashi.center.influx.series`."""
        return ask(self._select, self._database, self._table)

    def traffic(
        self,
        since_ms: int,
        until_ms: int,
        by: Sequence[str] = (),
        *,
        step_ms: int = 0,
        where: Where = (),
        sums: Sequence[str] = SUMS,
    ) -> Iterator[Row]:
        """See :meth:`wakizashi.center.backend.Backend.traffic`."""
        check_reading(by, step_ms, where, sums)
        selection, names = Selection.of(where), tuple(dict.fromkeys(by))
        rows: Iterator[Row] = iter(())
        if not selection.nothing:
            rows = reading.traffic(
                self._measured, self._table, since_ms, until_ms, names, step_ms, selection, sums
            )
        yield from reading.some(rows, self._look)

    def ledgers(self, since_ms: int, until_ms: int) -> Iterator[LedgerRecord]:
        """See :meth:`wakizashi.center.backend.Backend.ledgers`."""
        table = f"{self._table}_ledger"
        yield from reading.some(
            reading.ledgers(self._measured, table, since_ms, until_ms), self._look
        )

    def ledger_sums(self, since_ms: int, until_ms: int) -> Iterator[LedgerSum]:
        """See :meth:`wakizashi.center.backend.Backend.ledger_sums`."""
        table = f"{self._table}_ledger"
        yield from reading.some(
            reading.ledger_sums(self._measured, table, since_ms, until_ms), self._look
        )

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


def _is_loopback(host: str) -> bool:
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


def _reason(error: BaseException) -> str:
    """The innermost cause, for the outer ones wrap it in class names."""
    text = str(error)
    for known in ("Connection refused", "Name or service not known", "No route to host"):
        if known in text:
            return f"can't connect: {known.lower()}"
    return " ".join(text.split())[:200] or type(error).__name__
