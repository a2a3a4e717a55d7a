"""The routes. Starlette is imported here, and this by who has the extra ``dashboard``."""

import asyncio
import gzip
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from wakizashi.dashboard import parameters
from wakizashi.dashboard.answers import Answers, Document
from wakizashi.dashboard.flights import Flights
from wakizashi.dashboard.guarding import Application, Headers, permitted, takes_gzip
from wakizashi.dashboard.parameters import Items, ParameterError
from wakizashi.dashboard.static import Static
from wakizashi.errors import WakizashiError
from wakizashi.logs import one_line
from wakizashi.telemetry import Throttle

SMALL = 1_000
"""Bytes that are not worth packing."""
JSON = "application/json"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Body:
    content: bytes
    packed: bytes | None


Endpoint = Callable[[Request], Awaitable[Response]]
Question = Callable[[Items], Callable[[], Document]]
"""From parameters to what is to be worked out on a thread. Raises ParameterError."""


def application(
    answers: Answers, static: Static, listen: str, bound: str | None = None
) -> Application:
    """The ASGI application.

    Args:
        answers: what is answered.
        static: the page.
        listen: what was asked to be listened on.
        bound: the address that it is, where it is a name of one.
    """
    may_ask = partial(permitted, listen=listen, bound=bound or listen)
    routes = Routes(answers, static)
    handlers = {HTTPException: _refused, Exception: _unexpected}
    made = Starlette(
        routes=[
            Route(path, _guarded(endpoint, may_ask), methods=["GET"])
            for path, endpoint in routes.table.items()
        ],
        exception_handlers=handlers,
    )
    # It would send who asks for /api/ to the host that the request names, and out of a proxy's path.
    made.router.redirect_slashes = False
    return Headers(made)


class Routes:
    """The endpoints by path."""

    def __init__(self, answers: Answers, static: Static) -> None:
        self._answers, self._static = answers, static
        self._flights: Flights[_Body] = Flights()
        self.table: Mapping[str, Endpoint] = {
            "/": partial(self._file, name="index.html"),
            "/static/{name:path}": self._file,
            "/healthz": _healthz,
            "/api/v1/about": self._asking(self._about),
            "/api/v1/river": self._asking(self._river),
            "/api/v1/span": self._asking(self._span),
            "/api/v1/talkers": self._asking(self._talkers),
            "/api/v1/fleet": self._asking(self._fleet),
            "/api/v1/export.csv": self._export,
        }

    def _about(self, items: Items) -> Callable[[], Document]:
        parameters.nothing(items)
        return self._answers.about

    def _river(self, items: Items) -> Callable[[], Document]:
        return partial(self._answers.river, parameters.river(items, self._answers.now()))

    def _span(self, items: Items) -> Callable[[], Document]:
        return partial(self._answers.span, parameters.span(items, self._answers.now()))

    def _talkers(self, items: Items) -> Callable[[], Document]:
        return partial(self._answers.talkers, parameters.talkers(items, self._answers.now()))

    def _fleet(self, items: Items) -> Callable[[], Document]:
        return partial(self._answers.fleet, parameters.selection(items, self._answers.now()))

    def _asking(self, question: Question) -> Endpoint:
        async def endpoint(request: Request) -> Response:
            items = request.query_params.multi_items()
            ask = question(items)
            key = (request.url.path, *sorted(items))
            body = await self._flights.answer(key, lambda: _body(ask()))
            return _response(request, body)

        return endpoint

    async def _export(self, request: Request) -> Response:
        asked = parameters.selection(request.query_params.multi_items(), self._answers.now())
        lines = await self._flights.turn(lambda: self._answers.export(asked))
        name = f"wakizashi-{asked.since_ms}-{asked.until_ms}.csv"
        headers = {
            "Cache-Control": "no-store",
            "Content-Disposition": f'attachment; filename="{name}"',
        }
        return StreamingResponse(
            _chunks(lines), media_type="text/csv; charset=utf-8", headers=headers
        )

    async def _file(self, request: Request, name: str = "") -> Response:
        file = self._static.get(name or request.path_params["name"])
        if file is None:
            raise HTTPException(404, f"{request.url.path}: there is no such file")
        headers = {"Cache-Control": "no-cache", "ETag": file.etag, "Vary": "Accept-Encoding"}
        if file.etag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        content = file.content
        if file.packed is not None and takes_gzip(request.headers.get("accept-encoding", "")):
            content = file.packed
            headers["Content-Encoding"] = "gzip"
        return Response(content, headers={**headers, "Content-Type": file.kind})


async def _healthz(request: Request) -> Response:
    return Response("ok\n", media_type="text/plain", headers={"Cache-Control": "no-store"})


async def _chunks(lines: Iterator[str]) -> AsyncIterator[bytes]:
    for some in lines:
        yield some.encode()


def _body(document: Document) -> _Body:
    content = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
    # Level 1 packs a river to a tenth; what more would save costs a slow link less than it costs here.
    return _Body(content, gzip.compress(content, 1) if len(content) > SMALL else None)


def _response(request: Request, body: _Body) -> Response:
    headers = {"Cache-Control": "no-store", "Vary": "Accept-Encoding"}
    if body.packed is not None and takes_gzip(request.headers.get("accept-encoding", "")):
        headers["Content-Encoding"] = "gzip"
        return Response(body.packed, media_type=JSON, headers=headers)
    return Response(body.content, media_type=JSON, headers=headers)


# -- errors ----------------------------------------------------------------------------------


def _guarded(endpoint: Endpoint, may_ask: Callable[[str], bool]) -> Endpoint:
    """Errors as answers; and requests for another host than this one are refused."""
    throttle = Throttle(_log)

    async def guarded(request: Request) -> Response:
        host = request.headers.get("host", "")
        if not may_ask(host):
            return _error(
                400,
                f"Host: {host[:300]!r} is not this machine; open http://localhost with the port, or "
                "have the dashboard --listen on an address of its own",
            )
        try:
            return await endpoint(request)
        except ParameterError as error:
            return _error(400, str(error))
        except WakizashiError as error:
            throttle.warning(str(error), str(error))
            return _error(503, str(error))
        except HTTPException:
            raise
        except asyncio.CancelledError:  # only at the end of the process
            return _error(503, "the dashboard has been stopped; start it again")
        except Exception as error:
            _log.debug("unexpected", exc_info=True)
            told = (
                f"unexpected {type(error).__name__}: {error}; this is a defect of wakizashi: run "
                "the dashboard again with --set logLev=0 and report what it says"
            )
            throttle.error(told, told)
            return _error(500, told)

    return guarded


def _error(status: int, message: str, headers: Mapping[str, str] | None = None) -> Response:
    body = json.dumps({"error": {"message": one_line(message)}})
    return Response(
        body, status, media_type=JSON, headers={"Cache-Control": "no-store", **(headers or {})}
    )


async def _refused(request: Request, error: Any) -> Response:
    told = error.detail
    if error.status_code == 404 and told == "Not Found":
        told = f"{request.url.path}: there is nothing; the page is at /"
    elif error.status_code == 405:
        told = f"{request.method}: nothing is changed here; use GET"
    return _error(error.status_code, told, error.headers)


async def _unexpected(request: Request, error: Exception) -> Response:
    return _error(500, f"unexpected {type(error).__name__}; this is a defect of wakizashi")
