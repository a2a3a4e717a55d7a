"""The InfluxDB 1.x backend.

Measurement ``TABLE``: tags probe, probeIP, srcIP, dstIP and the probe's own,
integer fields size and packets. Measurement ``TABLE_ledger``: tags device,
probe and the probe's own, integer fields number, duration and the tallies.
Times are window starts, precision ms, so a window written again writes the
same points over themselves.
"""

import threading
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import urlsplit

from pydantic import field_validator

from wakizashi.center.backend import TALLIES, Backend, Row
from wakizashi.config import PasswordSection
from wakizashi.errors import Permanent, Retryable
from wakizashi.model import Ledger, LedgerRecord, StoredWindow, Tags, Tally

_ESCAPES = str.maketrans({",": r"\,", "=": r"\=", " ": r"\ "})
_LIMITS = ("max-series-per-database", "max-values-per-tag")


class InfluxConfig(PasswordSection):
    """``influxConfig``."""

    host: str = "http://127.0.0.1:8086"
    user: str = ""

    @field_validator("host")
    @classmethod
    def _host(cls, value: str) -> str:
        bare = value.removeprefix("//")
        if "://" not in value:
            example = bare if ":" in bare else f"{bare}:8086"
            raise ValueError(f"has no scheme; try http://{example}")
        parts = urlsplit(value)
        try:
            port = parts.port
        except ValueError:
            port = 0
        if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
            raise ValueError("is no URL of InfluxDB; write http://influx.example:8086")
        if parts.username or parts.password:
            raise ValueError("holds a user; use the keys user and password")
        return value


class InfluxBackend(Backend):
    """Speaks through the ``influxdb`` package; lines are encoded here."""

    section = "influxConfig"
    Config = InfluxConfig

    def __init__(self, config: Any, *, read_only: bool = False) -> None:
        self._config: InfluxConfig = config.influxConfig
        self._database: str = config.database
        self._table: str = config.table
        self._timeout: float = config.timeout
        self._client: Any = None
        self._lock = threading.Lock()

    @property
    def description(self) -> str:
        """URL and database."""
        return f"InfluxDB at {self._config.host}, database {self._database}"

    def _connect(self) -> Any:
        # The package's defaults are traps: no timeout, three tries, no verification, root/root.
        with self._lock:
            if self._client is None:
                from influxdb import InfluxDBClient

                url = urlsplit(self._config.host)
                self._client = InfluxDBClient(
                    host=f"[{url.hostname}]"
                    if ":" in (url.hostname or "")
                    else url.hostname,
                    port=url.port or (443 if url.scheme == "https" else 80),
                    username=self._config.user,
                    password=self._config.secret(),
                    database=self._database,
                    ssl=url.scheme == "https",
                    verify_ssl=True,
                    timeout=self._timeout,
                    retries=1,
                    path=url.path.strip("/"),
                    headers={"Accept": "application/json"},
                )
            return self._client

    def _request(self, path: str, method: str, expected: int, **options: Any) -> Any:
        """One request; foreign failures become ours.

        Raises:
            Permanent: 400 and 413, but for limits of the server.
            Retryable: everything else that is not the expected answer.
        """
        from influxdb.exceptions import InfluxDBClientError, InfluxDBServerError
        from requests.exceptions import ConnectionError as Unreachable
        from requests.exceptions import RequestException, Timeout

        try:
            client = self._connect()
            return client.request(
                path, method, expected_response_code=expected, **options
            )
        except InfluxDBClientError as error:
            code, text = error.code, _text(error)
            if code in (401, 403):
                self.close()  # the password file may have changed
                raise Retryable(
                    f"backendConfig.influxConfig.user: {self._config.host} refuses user "
                    f"{self._config.user!r} ({code}: {text}); mend user and password"
                ) from error
            if code in (400, 413) and not any(limit in text for limit in _LIMITS):
                raise Permanent(
                    f"InfluxDB refused the data ({code}: {text})"
                ) from error
            raise Retryable(f"{self._where()} answered {code}: {text}") from error
        except InfluxDBServerError as error:
            raise Retryable(
                f"{self._where()} answered with an error: {_text(error)}"
            ) from error
        except Timeout as error:
            raise Retryable(
                f"{self._where()} did not answer within {self._timeout} s (backendConfig.timeout)"
            ) from error
        except Unreachable as error:
            raise Retryable(
                f"{self._where()} can't be reached; is InfluxDB running there?"
            ) from error
        except (RequestException, OSError, ValueError) as error:
            raise Retryable(f"{self._where()}: {error}") from error

    def _where(self) -> str:
        return f"backendConfig.influxConfig.host: {self._config.host}"

    def _query(self, statement: str, method: str = "GET") -> list[dict[str, Any]]:
        params = {"q": statement, "db": self._database, "epoch": "ms"}
        answer = self._request("query", method, 200, params=params).json()
        series = []
        for result in answer.get("results", []):
            if "error" in result:
                raise Retryable(f"{self._where()}: {result['error']}")
            series.extend(result.get("series", []))
        return series

    def check(self) -> None:
        """Ask for the databases, with the user's rights; create ours if it is missing."""
        self._create()

    def _create(self) -> None:
        try:
            self._query(f'CREATE DATABASE "{self._database}"', "POST")
        except Permanent as error:
            raise Retryable(str(error)) from error

    def write(self, windows: Sequence[StoredWindow]) -> None:
        """One request; a missing database is created first."""
        body = "\n".join(
            line for window in windows for line in lines(self._table, window)
        )
        if not body:
            return
        try:
            self._write(body)
        except Retryable as error:
            if "database not found" not in str(error):
                raise
            self._create()
            self._write(body)

    def _write(self, body: str) -> None:
        params = {"db": self._database, "precision": "ms"}
        self._request("write", "POST", 204, params=params, data=body.encode())

    def traffic(self, since_ms: int, until_ms: int, by: Sequence[str]) -> Iterator[Row]:
        """See :meth:`Backend.traffic`."""
        where = f"time >= {since_ms}ms AND time < {until_ms}ms"
        if by:
            names = ", ".join(f'"{name}"' for name in by)
            statement = (
                f'SELECT sum("size") AS "size", sum("packets") AS "packets" '
                f'FROM "{self._table}" WHERE {where} GROUP BY {names}'
            )
            for series in self._query(statement):
                for _, size, packets in series["values"]:
                    yield {name: series["tags"][name] for name in by} | {
                        "size": size,
                        "packets": packets,
                    }
            return
        fields = ("probe", "probeIP", "srcIP", "dstIP", "size", "packets")
        columns = ", ".join(f'"{name}"' for name in fields)
        for series in self._query(
            f'SELECT {columns} FROM "{self._table}" WHERE {where}'
        ):
            for row in series["values"]:
                yield dict(zip(("timestamp", *fields), row, strict=True))

    def ledgers(self, since_ms: int, until_ms: int) -> Iterator[LedgerRecord]:
        """See :meth:`Backend.ledgers`."""
        statement = (
            f'SELECT * FROM "{self._table}_ledger" '
            f"WHERE time >= {since_ms}ms AND time < {until_ms}ms"
        )
        for series in self._query(statement):
            for values in series["values"]:
                row = dict(zip(series["columns"], values, strict=True))
                tallies = {
                    t: Tally(row[f"{t}_packets"], row[f"{t}_bytes"]) for t in TALLIES
                }
                yield LedgerRecord(
                    timestamp=row["time"],
                    probe=row["probe"],
                    device=row["device"],
                    number=row["number"],
                    duration=row["duration"],
                    ledger=Ledger(**tallies),
                )

    def close(self) -> None:
        """Close the connections."""
        with self._lock:
            if self._client is not None:
                self._client.close()
                self._client = None


def lines(table: str, window: StoredWindow) -> Iterator[str]:
    """A window in line protocol, tags sorted by key."""
    for record in window.records:
        tags = _tags(
            window.tags,
            dstIP=record.dstIP,
            probe=record.probe,
            probeIP=record.probeIP,
            srcIP=record.srcIP,
        )
        fields = f"size={record.size}i,packets={record.packets}i"
        yield f"{table},{tags} {fields} {record.timestamp}"
    for entry in window.ledgers:
        tags = _tags(window.tags, device=entry.device, probe=entry.probe)
        fields = ",".join(
            f"{tally}_{unit}={getattr(getattr(entry.ledger, tally), unit)}i"
            for tally in TALLIES
            for unit in ("packets", "bytes")
        )
        yield (
            f"{table}_ledger,{tags} number={entry.number}i,duration={entry.duration}i,{fields} "
            f"{entry.timestamp}"
        )


def _tags(constant: Tags, **own: str) -> str:
    both = sorted((*constant, *own.items()))
    return ",".join(
        f"{key.translate(_ESCAPES)}={value.translate(_ESCAPES)}" for key, value in both
    )


def _text(error: Any) -> str:
    content = getattr(error, "content", None) or str(error)
    text = (
        content.decode(errors="replace") if isinstance(content, bytes) else str(content)
    )
    return " ".join(text.split())[:300]
