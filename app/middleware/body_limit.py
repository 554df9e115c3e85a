"""No request body larger than it may be, and no flood after the answer."""

from __future__ import annotations

import asyncio
import contextlib

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.routers import problems

_LINGER_SECONDS = 5.0


class BodyLimitMiddleware:
    """Refuses a body by its ``Content-Length`` before reading it, and by counting where it has none.

    An answer that comes before the body is read to its end also ends the connection: a client that is still sending
    reads the answer first, as what it sends is thrown away for a while (a lingering close).
    """

    def __init__(self, app: ASGIApp, max_body: int, max_json: int) -> None:
        """Wrap ``app``.

        Args:
            app: the next layer.
            max_body: bytes of any body but JSON.
            max_json: bytes of an ``application/json`` body, where recordings are base64.
        """
        self.app = app
        self.max_body = max_body
        self.max_json = max_json

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        is_json = headers.get("content-type", "").lower().startswith("application/json")
        body = _Body(receive, send, self.max_json if is_json else self.max_body, headers)
        if body.announced > body.limit:
            await problems.respond(body.too_large(), scope)(scope, body.receive, body.send)
        else:
            await self.app(scope, body.receive, body.send)


class _Body:
    """Counts one request's body, and sees to what is left of it once the answer is there."""

    def __init__(self, receive: Receive, send: Send, limit: int, headers: Headers) -> None:
        chunked = "transfer-encoding" in headers  # overrides Content-Length: RFC 9112, section 6.3
        length = "" if chunked else headers.get("content-length", "")
        self.limit = limit
        self.announced = int(length) if length.isascii() and length.isdigit() else 0
        self._receive = receive
        self._send = send
        self._read = 0
        self._ended = self.announced == 0 and not chunked
        self._waits = "expect" in headers  # the client sends nothing before it is told to

    def too_large(self) -> HTTPException:
        return HTTPException(413, f"The request is larger than the {self.limit} bytes that it may have.")

    async def receive(self) -> Message:
        message = await self._receive()
        self._count(message)
        # An HTTPException, as FastAPI passes nothing else on from where it reads a body.
        if self._read > self.limit:
            raise self.too_large()
        return message

    async def send(self, message: Message) -> None:
        if self._ended:
            await self._send(message)
        elif message["type"] == "http.response.start":
            MutableHeaders(scope=message)["Connection"] = "close"
            await self._send(message)
        elif message.get("more_body", False) or self._waits:
            await self._send(message)
        else:
            await self._send({**message, "more_body": True})
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LINGER_SECONDS):
                    await self._throw_away()
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _throw_away(self) -> None:
        most = self._read + 4 * self.limit
        while not self._ended and self._read <= most:
            self._count(await self._receive())

    def _count(self, message: Message) -> None:
        if message["type"] == "http.request":
            self._read += len(message.get("body", b""))
            self._ended = self._ended or not message.get("more_body", False)
        else:
            self._ended = True
