"""Serves the application in one process: drains before it stops, and stops where it cannot start."""

from __future__ import annotations

import signal
import socket
import sys
import threading
import time
from functools import partial
from types import FrameType

import uvicorn
from fastapi import FastAPI

from app.core.inference_executor import THREAD_PREFIX
from app.core.lifecycle import Service
from app.core.settings import Settings

_CLOSE_SECONDS = 5  # for connections that are still open when the last analysis is through


def listen(host: str, port: int) -> socket.socket:
    """Take the port before anything slow begins.

    Raises:
        OSError: the port is in use, or the address is none of this machine.
    """
    wildcard = host == "::"
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    dual = wildcard and socket.has_dualstack_ipv6()
    plain = socket.create_server((host, port), family=family, backlog=2048, dualstack_ipv6=dual)
    # asyncio sets TCP_NODELAY only on sockets that name their protocol; without it an answer waits 40 ms for an ACK
    return socket.socket(plain.family, plain.type, socket.IPPROTO_TCP, fileno=plain.detach())


class Server(uvicorn.Server):
    """Uvicorn that goes on serving while it drains.

    The first SIGTERM or SIGINT lets /ready and new analyses be answered 503 while those in flight finish, for as long
    as one may take at most; the second stops at once.
    """

    def __init__(self, app: FastAPI, settings: Settings) -> None:
        config = uvicorn.Config(
            app,
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=_CLOSE_SECONDS,
        )
        super().__init__(config)
        self._app = app
        self._settings = settings
        self._deadline: float | None = None

    @property
    def service(self) -> Service | None:
        """What the lifespan made, None before it began."""
        return getattr(self._app.state, "service", None)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """Begin to drain, or stop at once where that has begun already; called within a signal handler."""
        if self.service is not None and self.service.recycling:
            self.service.recycling = False  # asked to stop meanwhile: there is nothing to start anew
            return
        if self._deadline is not None or self.service is None:
            self.should_exit = True
            self.force_exit = self._deadline is not None and sig == signal.SIGINT
            return
        self._begin_to_drain(self.service)

    def _begin_to_drain(self, service: Service) -> None:
        service.drain()
        self._deadline = time.monotonic() + self._settings.request_timeout_seconds

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to serve, and say where."""
        await super().startup(sockets)
        if self.service is not None:
            self.service.on_recycle = partial(self._begin_to_drain, self.service)
        if sockets and not self.should_exit:
            sys.stdout.write(f"Elocute is at {_url(sockets[0])} (docs at /docs)\n")
            sys.stdout.flush()

    async def on_tick(self, counter: int) -> bool:
        """Whether to leave the main loop; asked every 0.1 s."""
        service = self.service
        if service is not None:
            if service.failure is not None:
                return True
            if self._deadline is not None and (service.idle or time.monotonic() > self._deadline):
                return True
        return await super().on_tick(counter)


def threads_are_stuck() -> bool:
    """Whether a job still has a thread, which would keep the interpreter from ending."""
    return any(thread.name.startswith(THREAD_PREFIX) for thread in threading.enumerate())


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - no bind: where to look from here
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
