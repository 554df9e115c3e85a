"""The outermost layer: a request id, one log line, and an answer even where everything below fails."""

from __future__ import annotations

import logging
import re
import time
import uuid

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.routers import problems

HEADER = "X-Request-ID"

_SANE = re.compile(r"[A-Za-z0-9._-]{1,128}")
_SECRET = re.compile(r"^(/audio/).+")  # the name of a clip is all that it takes to hear it
_log = logging.getLogger("app.access")


class RequestIdMiddleware:
    """Names each request, answers with the name, and logs method, path, status and milliseconds.

    The name is the request's own ``X-Request-ID`` where that is sane, and is found in ``scope["state"]["request_id"]``.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = Headers(scope=scope).get(HEADER, "")
        request_id = given if _SANE.fullmatch(given) else uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id
        started = time.perf_counter()
        status = 0

        async def send_named(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)[HEADER] = request_id
            await send(message)

        try:
            await self.app(scope, receive, send_named)
        except Exception as error:
            if status:  # too late for another answer: the server cuts the connection
                raise
            await problems.respond(error, scope)(scope, receive, send_named)
        finally:
            elapsed = (time.perf_counter() - started) * 1000
            # The path as it was sent, still percent-encoded: a line break in it must not forge a log line.
            path = _SECRET.sub(r"\1…", scope.get("raw_path", b"").decode("latin-1"))
            _log.info("%s %s %d %.1f ms %s", scope["method"], path, status, elapsed, request_id)
