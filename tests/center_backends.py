"""The backends that tests of the center read and write, each at a place of its own.

``place`` and ``backend`` are in ``tests/contract/conftest.py``.
"""

import json
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.center_servers import InfluxServer
from tests.center_windows import START
from tests.redis_servers import RedisServer
from wakizashi.center.backend import Backend, open_backend
from wakizashi.center.config import load_center
from wakizashi.model import LedgerRecord, StoredWindow

END = START + 10**9
Settings = list[str]


def _sqlite(request: pytest.FixtureRequest) -> Settings:
    folder: Path = request.getfixturevalue("tmp_path")
    return [f"sqliteConfig.path={folder / 'w.db'}"]


def _influxdb(request: pytest.FixtureRequest) -> Settings:
    server: InfluxServer = request.getfixturevalue("influxd")
    return [f"influxConfig.host={server.url}", f"database=w{uuid.uuid4().hex}"]


FOREVER = "redisConfig.ttl=3155760000"  # the windows of these tests are years old


def _redis(request: pytest.FixtureRequest) -> Settings:
    server: RedisServer = request.getfixturevalue("redis_server")
    return [f"redisConfig.url={server.url}", FOREVER, f"database=w{uuid.uuid4().hex}"]


def _redis_cluster(request: pytest.FixtureRequest) -> Settings:
    nodes: list[RedisServer] = request.getfixturevalue("redis_cluster")
    url = f"redis+cluster://127.0.0.1:{nodes[1].port}"
    return [f"redisConfig.url={url}", FOREVER, f"database=w{uuid.uuid4().hex}"]


def _mongodb(request: pytest.FixtureRequest) -> Settings:
    uri: str = request.getfixturevalue("mongo")
    # START is long ago: with the default ttl the server would delete what is stored.
    return [f"mongoConfig.mongoURI={uri}", "mongoConfig.ttl=0", f"database=w{uuid.uuid4().hex}"]


SETTINGS: dict[str, Callable[[pytest.FixtureRequest], Settings]] = {
    "sqlite": _sqlite,
    "influxdb": _influxdb,
    "redis": _redis,
    "redis+cluster": _redis_cluster,
    "mongodb": _mongodb,
}
"""By type; behind a ``+`` is another way to run the same one."""


@contextmanager
def opened(name: str, settings: Settings, *, read_only: bool = False) -> Iterator[Backend]:
    overrides = [f"backendConfig.{setting}" for setting in (f"type={name}", *settings)]
    backend = open_backend(load_center(None, overrides, {}).backendConfig, read_only=read_only)
    try:
        yield backend
    finally:
        backend.close()


def rows(backend: Backend) -> list[str]:
    return sorted(json.dumps(row, sort_keys=True) for row in backend.traffic(0, END))


def ledgers(backend: Backend) -> list[LedgerRecord]:
    found = backend.ledgers(0, END)
    return sorted(found, key=lambda record: (record.timestamp, record.probe, record.device))


def expected(*windows: StoredWindow) -> list[str]:
    records = [record for stored in windows for record in stored.records]
    return sorted(json.dumps(record._asdict(), sort_keys=True) for record in records)
