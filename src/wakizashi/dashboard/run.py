"""``wakizashi dashboard`` as a process: listens, says where, and ends at a signal within a second."""

import asyncio
import logging
import re
import socket
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from wakizashi.center.backend import open_backend
from wakizashi.center.config import load_center
from wakizashi.dashboard.answers import Answers
from wakizashi.dashboard.names import MOST_NAMES, Labels
from wakizashi.dashboard.static import Static
from wakizashi.errors import EXIT_USAGE, WakizashiError
from wakizashi.exposure import of_dashboard
from wakizashi.garbage import collect_less
from wakizashi.lifecycle import StopSignal
from wakizashi.logs import setup_logging
from wakizashi.names import Names

if TYPE_CHECKING:
    import uvicorn

    from wakizashi.dashboard.guarding import Application

BACKLOG = 128
STOP_SECONDS = 0.5
"""For what is being answered at the end; pages ask again and again, so it is not waited for longer."""
POLL_SECONDS = 0.02

_log = logging.getLogger(__name__)


class ListenError(WakizashiError):
    """Nobody can listen there; says why, and where else."""


class ListenTextError(ListenError):
    """That is no place to listen."""

    exit_code = EXIT_USAGE


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says."""

    config: Path | None = None
    listen: str = "127.0.0.1:8080"
    names: Path | None = None
    dns: bool = True
    overrides: Sequence[str] = ()


def run(options: Options, tell: Callable[[str], None] = click.echo) -> None:
    """Serve until SIGTERM or SIGINT.

    Args:
        options: what the command line says.
        tell: is told the address, once it answers.

    Raises:
        WakizashiError: bad options or configuration, no extra ``dashboard``, nobody can listen there.
    """
    host, port = split_listen(options.listen)
    config = load_center(options.config, options.overrides, serves=False)
    setup_logging(config.logLev, "wakizashi", config.logFormat)
    _installed()
    labels = Labels(options.names, Names(most=MOST_NAMES) if options.dns else None)
    backend = open_backend(config.backendConfig, read_only=True)
    try:
        answers = Answers(backend, labels, table=config.backendConfig.table)
        with StopSignal() as stop, listening(host, port) as listener:
            from wakizashi.dashboard.app import application

            bound, port = listener.getsockname()[:2]
            for warning in of_dashboard(host, bound):
                _log.warning("%s", warning)
            address = url(host, port)
            served = application(answers, Static(), host, bound)
            collect_less()
            _serve(
                served,
                listener,
                stop,
                lambda: tell(f"dashboard: {address} shows {backend.describe}; Ctrl-C ends it"),
            )
    finally:
        backend.close()


def split_listen(text: str) -> tuple[str, int]:
    """Host and port of ``HOST:PORT`` or ``[V6]:PORT``; port 0 takes a free one.

    Raises:
        ListenTextError: it is neither.
    """
    match = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+(?:%\w+)?)\]|([^\s:/\[\]]+)):([0-9]{1,5})", text)
    if not match or int(match[3]) > 65_535:
        raise ListenTextError(
            f"--listen: {text!r} is not HOST:PORT or [V6]:PORT; write 127.0.0.1:8080 or [::1]:8080"
        )
    return match[1] or match[2], int(match[3])


def url(host: str, port: int) -> str:
    """Where a browser finds it."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Raises:
        ListenError: the port is taken, the address not of this host, or it is not allowed.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(BACKLOG)
        except OSError:
            listener.close()
            raise
    except (OSError, UnicodeError) as error:
        # UnicodeError: nothing that a resolver could be asked for.
        told = error.strerror or error if isinstance(error, OSError) else "there is no such name"
        raise ListenError(
            f"--listen: can't listen on {url(host, port).removeprefix('http://')}: {told}; "
            "choose another address or port (0 takes a free one), or stop what uses it"
        ) from error
    return listener


def _installed() -> None:
    try:
        import starlette  # noqa: F401 - only whether they are there
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise WakizashiError(
            f"the dashboard needs {error.name}, which is not installed; "
            "run pip install 'wakizashi[dashboard]'"
        ) from error


def _serve(
    served: "Application", listener: socket.socket, stop: StopSignal, up: Callable[[], None]
) -> None:
    # On a thread: on the main one uvicorn takes the signals, and ends the process by them.
    server = _server(served)
    failed: list[BaseException] = []

    def work() -> None:
        try:
            asyncio.run(server.serve(sockets=[listener]))
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=work, name="http", daemon=True)
    thread.start()
    while thread.is_alive() and not server.started:
        if stop.wait(POLL_SECONDS):
            break
    if server.started:
        up()
    while thread.is_alive() and not stop.wait(1.0):
        pass
    server.should_exit = True
    thread.join(STOP_SECONDS)
    # What is still being answered is cut off; uvicorn would call each of these a defect.
    logging.getLogger("uvicorn").setLevel(logging.CRITICAL)
    server.force_exit = True
    thread.join(STOP_SECONDS / 2)
    if failed:
        raise failed[0]


def _server(served: "Application") -> "uvicorn.Server":
    import uvicorn

    return uvicorn.Server(
        uvicorn.Config(
            served,
            loop="asyncio",
            http="h11",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
        )
    )
