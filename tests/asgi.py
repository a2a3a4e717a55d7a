"""Requests to an ASGI application, without a port."""

import asyncio
import gzip
import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from wakizashi.dashboard.guarding import Application, Message


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        packed = self.headers.get("content-encoding") == "gzip"
        return (gzip.decompress(self.body) if packed else self.body).decode()

    @property
    def json(self) -> Any:
        return json.loads(self.text)

    @property
    def fault(self) -> str:
        """The message of an error."""
        document = self.json
        assert list(document) == ["error"] and list(document["error"]) == ["message"]
        message: str = document["error"]["message"]
        assert "\n" not in message and "Traceback" not in message
        return message


async def request(
    application: Application, url: str, *, method: str = "GET", **headers: str
) -> Answer:
    """One request; underscores of headers are hyphens."""
    parts = urlsplit(url)
    sent = {"host": "127.0.0.1:8080"} | {k.replace("_", "-"): v for k, v in headers.items()}
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": parts.path,
        "raw_path": parts.path.encode(),
        "query_string": parts.query.encode(),
        "root_path": "",
        "headers": [(k.encode(), v.encode("latin-1")) for k, v in sent.items()],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 8080),
    }
    messages: list[Message] = []
    given = False

    async def receive() -> Message:
        nonlocal given
        if not given:
            given = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await asyncio.Event().wait()  # nobody goes away
        raise AssertionError

    async def send(message: Message) -> None:
        messages.append(message)

    await application(scope, receive, send)
    start, *rest = messages
    return Answer(
        start["status"],
        {k.decode(): v.decode() for k, v in start["headers"]},
        b"".join(each.get("body", b"") for each in rest),
    )
