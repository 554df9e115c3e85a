"""Answers that are sent piece by piece."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

_PATIENCE_SECONDS = 30.0
_SLOWEST_BYTES = 32 * 1024  # a second: slower than a clip plays

_log = logging.getLogger(__name__)


class PiecesResponse(Response):
    """An answer of known length, sent in pieces that are made as they go, so that it is never there twice.

    While it is sent it holds what the pieces are made from, and no place in the queue: a client that takes it more
    slowly than it could be played has its connection ended.

    Args:
        pieces: of the content.
        length: of all of them in bytes.
        headers: with the content's type.
        status_code: 200, or 206 for a part.
        held: what the pieces are read from; entered when the answer is sent, and left whatever comes of it.
    """

    def __init__(
        self,
        pieces: Iterator[bytes | memoryview],
        length: int,
        headers: Mapping[str, str],
        *,
        status_code: int = 200,
        held: AbstractContextManager[Any] | None = None,
    ) -> None:
        self.status_code = status_code
        self.background = None
        self._pieces = pieces
        self._held = held or nullcontext()
        self._seconds = _PATIENCE_SECONDS + length / _SLOWEST_BYTES
        self.init_headers({**headers, "Content-Length": str(length)})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        """Send it; what ``send`` raises as the client is gone ends it, too."""
        try:
            with self._held:
                async with asyncio.timeout(self._seconds):
                    await self._send(send)
        except TimeoutError:
            _log.warning("an answer was not taken within %.0f s", self._seconds)  # the server ends the connection

    async def _send(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        for piece in self._pieces:
            # a copy, as what waits in the server's buffer would keep all that a view is of
            await send({"type": "http.response.body", "body": bytes(piece), "more_body": True})
            await asyncio.sleep(0)  # a fast client is no reason to keep others waiting
        await send({"type": "http.response.body", "body": b"", "more_body": False})
