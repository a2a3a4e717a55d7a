"""A mirror of this host's own Python index and Debian archive, that writes down what it is asked for."""

import shutil
import subprocess
import sys
import threading
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self
from urllib.error import HTTPError

SECRET = "x9fQ7not-for-the-image"
"""Part of the address of each mirror, as a password would be."""


def real_mirrors() -> tuple[str, str]:
    """Where pip and apt of this host get their packages."""
    pip = (sys.executable, "-m", "pip", "config", "get", "global.index-url")
    default = "from pip._internal.models.index import PyPI; print(PyPI.simple_url)"
    asked = subprocess.run(pip, check=False, capture_output=True, text=True)
    index = asked.stdout.strip() or output(sys.executable, "-c", default)
    sites = output("apt-get", "indextargets", "--format", "$(SITE)", "Created-By: Packages")
    return index.rstrip("/"), next(site for site in sites.split() if site.endswith("/debian"))


def output(*command: str) -> str:
    """What a command prints."""
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


class Mirrors:
    """An HTTP server on loopback: ``/pypi/simple`` and ``/debian`` under :attr:`url`."""

    def __init__(self, index: str, archive: str) -> None:
        self.asked: list[str] = []
        targets = {f"/{SECRET}/pypi/simple": index, f"/{SECRET}/debian": archive}
        asked = self.asked

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked.append(self.path.removeprefix(f"/{SECRET}"))
                for prefix, target in targets.items():
                    if self.path.startswith(prefix + "/"):
                        self._pass_on(target + self.path.removeprefix(prefix))
                        return
                self.send_error(404)

            def _pass_on(self, url: str) -> None:
                accepted = {"Accept": self.headers.get("Accept", "*/*")}
                request = urllib.request.Request(url, headers=accepted)
                try:
                    answer = urllib.request.urlopen(request, timeout=60)
                except HTTPError as error:
                    self.send_error(error.code)
                    return
                with answer:
                    self.send_response(answer.status)
                    for name in ("Content-Type", "Content-Length"):
                        if name in answer.headers:
                            self.send_header(name, answer.headers[name])
                    self.end_headers()
                    shutil.copyfileobj(answer, self.wfile)

            def log_message(self, *arguments: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/{SECRET}"

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
