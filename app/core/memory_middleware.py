"""Cleans up memory behind the requests of any Starlette application.

``other_app.add_middleware(MemoryMonitoringMiddleware)`` is all it takes; the settings then come from the environment
(:mod:`app.core.memory_config`). Pure ASGI, so that streaming responses and websockets pass through untouched.
"""

from __future__ import annotations

from collections.abc import Collection

from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.core.memory_config import MemorySettings
from app.core.memory_monitor import MemoryMonitor

_LAST_MESSAGES = ("lifespan.startup.failed", "lifespan.shutdown.complete", "lifespan.shutdown.failed")


class MemoryMonitoringMiddleware:
    """Tells a memory monitor when a request or websocket begins and when the application is done with it.

    That is when its last chunk is sent, its websocket closed, its background tasks through, or when it raised or was
    cancelled, as after a client that hung up. Only then is a cleanup asked for, and nobody waits for it: it runs on the
    monitor's thread. On the event loop there is just the reading of the usage, a fraction of a millisecond at most
    every 50 ms.
    """

    def __init__(self, app: ASGIApp, monitor: MemoryMonitor | None = None, ignore: Collection[str] = ()) -> None:
        """Wrap an application.

        Args:
            app: what answers.
            monitor: to tell; its owner closes it. Where left out, one is made with the environment's settings at the
                first call and closed at the end of the lifespan, if the server has one.
            ignore: paths that are not counted, such as health checks, as the application's routes write them.
        """
        self.app = app
        self._given = monitor
        self._own: MemoryMonitor | None = None
        self._ignore = frozenset(ignore)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, websocket or lifespan.

        Raises:
            ValueError: no monitor was given, and a setting of the environment is wrong.
        """
        if scope["type"] == "lifespan" and self._given is None:
            await self._live(scope, receive, send)
        elif scope["type"] not in ("http", "websocket") or self._ignored(scope):
            await self.app(scope, receive, send)
        else:
            monitor = self._monitor()
            monitor.request_started()
            try:
                await self.app(scope, receive, send)
            finally:
                monitor.request_ended()

    def _ignored(self, scope: Scope) -> bool:
        path: str = scope["path"]
        return path in self._ignore or path.removeprefix(scope.get("root_path", "")) in self._ignore

    def _monitor(self) -> MemoryMonitor:
        if self._given is not None:
            return self._given
        if self._own is None:
            self._own = MemoryMonitor(MemorySettings())
        return self._own

    async def _live(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            self._monitor()
        except ValueError as error:  # better no start than a service that fails at every request
            await receive()
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            return

        async def send_when_closed(message: Message) -> None:
            if message["type"] in _LAST_MESSAGES:  # after it the server may stop the loop under us
                await self._close()
            await send(message)

        try:
            await self.app(scope, receive, send_when_closed)
        finally:
            await self._close()

    async def _close(self) -> None:
        monitor, self._own = self._own, None
        if monitor is not None:
            await run_in_threadpool(monitor.close)  # it may wait for a cleanup that runs
