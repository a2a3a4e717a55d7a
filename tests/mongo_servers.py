"""A MongoDB for tests: a pytest plugin, loaded by ``tests/conftest.py``.

``$MONGODB_URI`` if it is set, else mongod, else FerretDB 1, which
``build-ferretdb.sh`` builds.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.errors import PyMongoError

from tests.center_servers import free_port, until

SCRIPT = Path(__file__).with_name("build-ferretdb.sh")
USER, PASSWORD = "admin", "secret"


def _ferretdb() -> str | None:
    version = re.search(r"^version=(\S+)$", SCRIPT.read_text(), re.MULTILINE)
    assert version
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return shutil.which(str(cache / "wakizashi" / f"ferretdb-{version[1]}"))


class MongoServer:
    """A server of its own in a folder, on one port for its whole life."""

    def __init__(self, folder: Path, *, auth: bool = False) -> None:
        self.folder, self.auth = folder, auth
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None
        self.mongod = shutil.which("mongod")
        if self.mongod is None and _ferretdb() is None:
            text = "there is no mongod and no FerretDB; `make test` builds one where go is"
            if os.environ.get("CI"):
                pytest.fail(text)
            pytest.skip(text)

    @property
    def uri(self) -> str:
        return f"mongodb://127.0.0.1:{self.port}"

    def client(self, **more: Any) -> "MongoClient[dict[str, Any]]":
        return MongoClient(self.uri, timeoutMS=10_000, **more)

    def _command(self) -> list[str]:
        data = self.folder / "data"
        data.mkdir(exist_ok=True)
        if self.mongod is not None:
            place = [f"--dbpath={data}", f"--port={self.port}", "--bind_ip=127.0.0.1"]
            return [self.mongod, *place, "--nounixsocket", *["--auth"] * self.auth]
        program = _ferretdb()
        assert program
        command = [program, "--handler=sqlite", f"--listen-addr=127.0.0.1:{self.port}"]
        # It commits for each document; whether a power cut harms it is not what is tested here.
        command += [f"--sqlite-url=file:{data}/?_pragma=synchronous(off)"]
        command += [f"--state-dir={self.folder}", "--debug-addr=-", "--telemetry=disable"]
        if self.auth:
            command += ["--test-enable-new-auth", "--setup-database=admin"]
            command += [f"--setup-username={USER}", f"--setup-password={PASSWORD}"]
        return [*command, "--log-level=error"]

    def start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(self._command(), stdout=log, stderr=log)
        until(self._answers, "the server answers", 60)
        if self.auth and self.mongod is not None:
            with self.client() as client:  # the localhost exception
                client.admin.command("createUser", USER, pwd=PASSWORD, roles=["root"])

    def _answers(self) -> bool:
        try:
            with self.client(serverSelectionTimeoutMS=500) as client:
                client.admin.command("ping")
        except PyMongoError:
            return False
        return True

    def stop(self, *, kill: bool = False) -> None:
        if self.process is not None:
            (self.process.kill if kill else self.process.terminate)()
            self.process.wait(30)
            self.process = None


@pytest.fixture
def own_mongo(tmp_path: Path) -> Iterator[MongoServer]:
    """A server of the test's own, to stop and start; it runs."""
    server = MongoServer(tmp_path)
    try:
        server.start()
        yield server
    finally:
        server.stop(kill=True)


@pytest.fixture(scope="session")
def mongo_with_users(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MongoServer]:
    """A server with authentication; the user is admin, the password secret."""
    server = MongoServer(tmp_path_factory.mktemp("mongo-auth"), auth=True)
    try:
        server.start()
        yield server
    finally:
        server.stop(kill=True)


@pytest.fixture(scope="session")
def mongo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URI of a server without authentication, or of ``$MONGODB_URI``."""
    given = os.environ.get("MONGODB_URI")
    if given:
        yield given
        return
    server = MongoServer(tmp_path_factory.mktemp("mongo"))
    try:
        server.start()
        yield server.uri
    finally:
        server.stop(kill=True)
