"""A crowd of requests for one path does not hold up those for others."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

from starlette.types import ASGIApp, Receive, Scope, Send


class PacingMiddleware:
    """Lets one request for the given paths begin in each round of the event loop.

    Two hundred requests that arrive at once are all turned away or queued within milliseconds each; done in one go,
    a health check behind them would wait for the sum. Here it waits for one.
    """

    def __init__(self, app: ASGIApp, paths: Collection[str]) -> None:
        """Wrap ``app``.

        Args:
            app: the next layer.
            paths: whose requests begin one by one; all others begin at once.
        """
        self.app = app
        self._paths = frozenset(paths)
        self._turn = asyncio.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "http" and scope["path"] in self._paths:
            if self._loop is not (
                loop := asyncio.get_running_loop()
            ):  # a lock belongs to one loop, once it was waited for
                self._loop, self._turn = loop, asyncio.Lock()
            async with self._turn:
                await asyncio.sleep(0)
        await self.app(scope, receive, send)
