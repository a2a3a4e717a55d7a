"""Redis servers for tests: a pytest plugin, loaded by ``tests/conftest.py``."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.center_servers import free_port, until


def program(name: str, package: str) -> str:
    """Where a program is; without it the test is skipped, or fails in CI."""
    found = shutil.which(name)
    if found is None:
        if os.environ.get("CI"):
            pytest.fail(f"{name} is missing; apt-get install {package}")
        pytest.skip(f"{name} is missing; apt-get install {package}")
    return found


class RedisServer:
    """A redis-server in a folder of its own; the same port for its whole life."""

    def __init__(self, folder: Path, *options: str, password: str | None = None) -> None:
        self.folder = folder
        self.port = free_port()
        self.options = options
        self.client: Any = redis.Redis(
            port=self.port, password=password, protocol=2, retry=Retry(NoBackoff(), 0)
        )
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        flags = ("--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(self.folder))
        durable = ("--appendonly", "yes", "--appendfsync", "always", "--save", "")
        command = [program("redis-server", "redis-server"), *flags, *durable, *self.options]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        until(self.answers, "redis-server answers", 60)

    def answers(self) -> bool:
        """Whether it is up and has loaded its data."""
        with suppress(redis.RedisError):
            return bool(self.client.ping())
        return False

    def stop(self, *, kill: bool = False) -> None:
        """End it, in order or at once."""
        if self.process is not None:
            (self.process.kill if kill else self.process.terminate)()
            self.process.wait(30)
            self.process = None

    def end(self) -> None:
        """Stop it and let go of the connections."""
        self.client.close()
        self.stop()


@pytest.fixture
def start_redis(tmp_path: Path) -> Iterator[Callable[..., RedisServer]]:
    """Starts servers of one's own: ``start_redis("--maxmemory", "2mb")``."""
    started: list[RedisServer] = []

    def start(*options: str, password: str | None = None) -> RedisServer:
        folder = tmp_path / f"redis-{len(started)}"
        folder.mkdir()
        server = RedisServer(folder, *options, password=password)
        started.append(server)
        server.start()
        return server

    try:
        yield start
    finally:
        for server in started:
            server.end()


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A server that all tests share, each with a database name of its own."""
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    try:
        server.start()
        yield server
    finally:
        server.end()


@pytest.fixture(scope="session")
def redis_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[RedisServer]]:
    """A cluster of three primaries, shared as well."""
    cli = program("redis-cli", "redis-tools")
    nodes: list[RedisServer] = []
    try:
        for number in range(3):
            folder = tmp_path_factory.mktemp(f"redis-cluster-{number}")
            bus = ("--cluster-enabled", "yes", "--cluster-port", str(free_port()))
            nodes.append(RedisServer(folder, *bus))
            nodes[-1].start()
        addresses = [f"127.0.0.1:{node.port}" for node in nodes]
        create = [cli, "--cluster", "create", *addresses, "--cluster-yes"]
        done = subprocess.run(create, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout
        until(
            lambda: all(_cluster_is_up(node) for node in nodes), "every node knows the cluster", 60
        )
        yield nodes
    finally:
        for node in nodes:
            node.end()


def _cluster_is_up(node: RedisServer) -> bool:
    info = node.client.execute_command("CLUSTER", "INFO")
    return b"cluster_state:ok" in info and b"cluster_known_nodes:3" in info
