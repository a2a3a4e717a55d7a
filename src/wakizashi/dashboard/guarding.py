"""Who may ask, and what a browser may do with the answer.

There is no password: on loopback whoever has an account on the machine may look, and nobody else.
A web page from elsewhere could make the browser ask for it, under a name of its own that it has
resolved to 127.0.0.1; so there the ``Host`` of a request must be this machine. What is answered
may load nothing from elsewhere, and nobody else may frame it or embed it.
"""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from wakizashi.exposure import is_loopback

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
        "object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
"""That go with every answer."""

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]


def host_of(header: str) -> str:
    """The host in a ``Host`` header, without its port."""
    if header.startswith("["):
        return header[1:].partition("]")[0]
    return header.partition(":")[0].lower().rstrip(".")


def permitted(header: str, listen: str, bound: str) -> bool:
    """Whether a request for that ``Host`` may be answered.

    Args:
        header: the host, and perhaps a port.
        listen: what was asked to be listened on: an address, or a name of one.
        bound: the address that it is.
    """
    host = host_of(header)
    return not is_loopback(bound) or is_loopback(host) or host == listen.lower()


class Headers:
    """Adds :data:`HEADERS` to what an application answers."""

    def __init__(self, application: Application) -> None:
        self._application = application
        self._headers = [(k.lower().encode(), v.encode()) for k, v in HEADERS.items()]

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """As ASGI has it."""

        async def adding(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *self._headers]
            await send(message)

        await self._application(scope, receive, adding)


def takes_gzip(header: str) -> bool:
    """Whether ``Accept-Encoding`` has it, and not with a weight of nothing."""
    for part in header.lower().split(","):
        name, *more = (word.strip().replace(" ", "") for word in part.split(";"))
        if name == "gzip":
            return not any(word.rstrip("0") in ("q=0.", "q=") for word in more)
    return False
