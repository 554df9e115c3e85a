"""The middleware around a real Starlette application, some of it behind a real server on a free port."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from app.core.memory_cleaner import THREAD_PREFIX
from app.core.memory_config import MemorySettings
from app.core.memory_middleware import MemoryMonitoringMiddleware
from app.core.memory_monitor import MemoryMonitor, Usage


@dataclass
class Cleaner:
    """A cleanup that takes as long as a test wants it to."""

    seconds: float = 0.0
    runs: int = 0
    active: int = 0
    most: int = 0

    def __call__(self, generation: int) -> int:
        self.active += 1
        self.most = max(self.most, self.active)
        time.sleep(self.seconds)
        self.active -= 1
        self.runs += 1
        return 1


@pytest.fixture
def cleaner() -> Cleaner:
    return Cleaner()


@pytest.fixture
def monitor(cleaner: Cleaner) -> Iterator[MemoryMonitor]:
    defaults = {name: setting.default for name, setting in MemorySettings.model_fields.items()}
    settings = MemorySettings(_env_file=None, **defaults)
    monitor = MemoryMonitor(settings, usage=lambda: Usage(100, 90, 1000), clean=cleaner)
    yield monitor
    monitor.close()


class Stage:
    """An application, what its routes tell a test, and what they wait for."""

    def __init__(self, monitor: MemoryMonitor, **options: Any) -> None:
        self.monitor = monitor
        self.seen: list[int] = []  # in flight, as a route sees it
        self.entered = threading.Event()
        endpoints = (self.ok, self.fail, self.stream, self.endless)
        self.app = Starlette(
            routes=[
                *(Route(f"/{endpoint.__name__}", endpoint) for endpoint in endpoints),
                Route("/health", self.ok),
                WebSocketRoute("/talk", self.talk),
            ]
        )
        self.app.add_middleware(MemoryMonitoringMiddleware, monitor=monitor, **options)

    def look(self) -> None:
        self.seen.append(self.monitor.snapshot().in_flight)

    async def ok(self, request: Request) -> Response:
        self.look()
        return PlainTextResponse("ok", background=BackgroundTask(self.look))

    async def fail(self, request: Request) -> Response:
        raise RuntimeError("a bug")

    async def stream(self, request: Request) -> Response:
        async def chunks() -> AsyncIterator[bytes]:
            for _ in range(3):
                self.look()
                yield b"chunk"
                await asyncio.sleep(0)

        return StreamingResponse(chunks())

    async def endless(self, request: Request) -> Response:
        async def chunks() -> AsyncIterator[bytes]:
            while True:
                yield b"x" * 1000
                self.entered.set()
                await asyncio.sleep(0.001)

        return StreamingResponse(chunks())

    async def talk(self, websocket: WebSocket) -> None:
        await websocket.accept()
        with contextlib.suppress(WebSocketDisconnect):
            while True:
                await websocket.receive_text()
                self.look()


def client_of(app: ASGIApp, **options: Any) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False, **options)
    return httpx.AsyncClient(transport=transport, base_url="http://test")


def counted(monitor: MemoryMonitor) -> tuple[int, int]:
    counters = monitor.snapshot()
    return counters.requests, counters.in_flight


@pytest.mark.parametrize("path", ["/ok", "/stream", "/fail", "/nowhere"])
def test_each_request_is_counted_however_it_ends(monitor: MemoryMonitor, path: str) -> None:
    async def run() -> None:
        async with client_of(Stage(monitor).app) as client:
            for _ in range(3):
                await client.get(path)

    asyncio.run(run())
    assert counted(monitor) == (3, 0)


def test_a_stream_counts_until_its_last_chunk_and_a_background_task_too(monitor: MemoryMonitor) -> None:
    stage = Stage(monitor)

    async def run() -> None:
        async with client_of(stage.app) as client:
            assert (await client.get("/stream")).text == "chunk" * 3
            await client.get("/ok")

    asyncio.run(run())
    assert stage.seen == [1] * 5
    assert counted(monitor) == (2, 0)


def test_a_cancelled_request_has_ended(monitor: MemoryMonitor) -> None:
    async def run() -> None:
        entered = asyncio.Event()

        async def forever(scope: Scope, receive: Receive, send: Send) -> None:
            entered.set()
            await asyncio.Event().wait()

        async with client_of(MemoryMonitoringMiddleware(forever, monitor)) as client:
            task = asyncio.create_task(client.get("/"))
            await entered.wait()
            assert counted(monitor) == (0, 1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(run())
    assert counted(monitor) == (1, 0)


@pytest.mark.parametrize(("root_path", "path"), [("", "/health"), ("/api", "/api/health"), ("/api", "/health")])
def test_what_is_to_be_ignored_is_not_counted(monitor: MemoryMonitor, root_path: str, path: str) -> None:
    async def run() -> None:
        app = Stage(monitor, ignore=["/health"]).app
        async with client_of(app, root_path=root_path) as client:
            assert (await client.get(path)).text == "ok"
            await client.get("/healthy")

    asyncio.run(run())
    assert counted(monitor) == (1, 0)


def test_a_slow_cleanup_holds_neither_the_loop_nor_the_next_request(monitor: MemoryMonitor, cleaner: Cleaner) -> None:
    cleaner.seconds = 0.3

    async def run() -> list[float]:
        times = []
        async with client_of(Stage(monitor).app) as client:
            await client.get("/ok")  # imports and the like
            for _ in range(40):
                began = time.perf_counter()
                await asyncio.gather(*(client.get("/ok") for _ in range(4)))
                times.append(time.perf_counter() - began)
                await asyncio.sleep(0.005)
        return times

    times = sorted(asyncio.run(run()))
    assert times[-3] < 0.05
    assert times[-1] < 0.2, "a busy machine may be late at times, but not by a cleanup"
    monitor.close()
    assert cleaner.most == 1
    assert 1 <= cleaner.runs < 10, "requests that end meanwhile share the next one"


def drive(app: ASGIApp, scope: dict[str, Any], messages: list[Message]) -> list[Message]:
    """Give an application these messages by hand, and return what it sends."""
    sent: list[Message] = []
    waiting = list(messages)

    async def receive() -> Message:
        return waiting.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    asyncio.run(_call(app, scope, receive, send))
    return sent


async def _call(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    await app(scope, receive, send)


def test_a_websocket_counts_until_it_is_closed(monitor: MemoryMonitor) -> None:
    stage = Stage(monitor)
    scope = {"type": "websocket", "path": "/talk", "raw_path": b"/talk", "query_string": b"", "headers": []}
    text: Message = {"type": "websocket.receive", "text": "hello"}
    closed: Message = {"type": "websocket.disconnect", "code": 1001}
    sent = drive(stage.app, scope, [{"type": "websocket.connect"}, text, text, closed])
    assert sent[0]["type"] == "websocket.accept"
    assert stage.seen == [1, 1]
    assert counted(monitor) == (1, 0)


@contextlib.contextmanager
def serving(app: ASGIApp, **options: Any) -> Iterator[int]:
    """Serve on a free port; yields the port."""
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False, ws="none", **options))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join(10)
            assert not thread.is_alive()


def test_a_client_that_hangs_up_has_ended_once(monitor: MemoryMonitor, wait_for: Callable[..., None]) -> None:
    stage = Stage(monitor)
    with serving(stage.app, timeout_graceful_shutdown=1) as port:
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(b"GET /endless HTTP/1.1\r\nHost: x\r\n\r\n")
            assert stage.entered.wait(5)
            assert client.recv(100).startswith(b"HTTP/1.1 200")
            assert counted(monitor) == (0, 1)
        wait_for(lambda: counted(monitor) == (1, 0))
        assert httpx.get(f"http://127.0.0.1:{port}/ok").text == "ok"
        wait_for(lambda: counted(monitor) == (2, 0))
    assert counted(monitor) == (2, 0)


class TestAlone:
    """In somebody else's application, with nothing but ``add_middleware``."""

    @pytest.fixture(autouse=True)
    def environment(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Any, caplog: pytest.LogCaptureFixture) -> None:
        monkeypatch.chdir(tmp_path)
        for name in MemorySettings.model_fields:
            monkeypatch.delenv(name.upper(), raising=False)
        monkeypatch.setenv("MEMORY_CLEANUP_INTERVAL", "3")
        caplog.set_level(logging.INFO, "app.memory")

    @pytest.fixture
    def other_app(self) -> Iterator[Starlette]:
        async def hello(request: Request) -> Response:
            return PlainTextResponse("hello")

        app = Starlette(routes=[Route("/", hello)])
        app.add_middleware(MemoryMonitoringMiddleware)
        yield app
        middleware = app.middleware_stack
        while middleware is not None and not isinstance(middleware, MemoryMonitoringMiddleware):
            middleware = getattr(middleware, "app", None)
        if middleware is not None and middleware._own is not None:
            middleware._own.close()

    def test_it_cleans_up_behind_a_server_and_ends_with_it(
        self, other_app: Starlette, caplog: pytest.LogCaptureFixture, wait_for: Callable[..., None]
    ) -> None:
        for _ in range(2):  # the same application may be started again
            caplog.clear()
            with serving(other_app, lifespan="on") as port, httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
                for _ in range(3):
                    assert client.get("/").text == "hello"
                wait_for(lambda: "Periodic" in caplog.text)
            assert "🧹 Periodic cleanup after 3 requests: " in caplog.text
            assert not [thread for thread in threading.enumerate() if thread.name.startswith(THREAD_PREFIX)]

    def test_it_needs_no_lifespan(
        self, other_app: Starlette, caplog: pytest.LogCaptureFixture, wait_for: Callable[..., None]
    ) -> None:
        async def run() -> None:
            async with client_of(other_app) as client:
                for _ in range(3):
                    assert (await client.get("/")).text == "hello"

        asyncio.run(run())
        wait_for(lambda: "Periodic" in caplog.text)

    def test_nothing_is_made_before_the_first_call(
        self, monkeypatch: pytest.MonkeyPatch, wait_for: Callable[..., None]
    ) -> None:
        monkeypatch.setenv("MEMORY_CLEANUP_INTERVAL", "nonsense")
        app = Starlette()
        app.add_middleware(MemoryMonitoringMiddleware)
        app.middleware_stack = app.build_middleware_stack()

    def test_a_wrong_setting_stops_the_start_and_is_named(
        self, other_app: Starlette, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("MEMORY_CLEANUP_INTERVAL", "nonsense")
        sent = drive(other_app, {"type": "lifespan"}, [{"type": "lifespan.startup"}])
        assert [message["type"] for message in sent] == ["lifespan.startup.failed"]
        assert "memory_cleanup_interval" in sent[0]["message"].lower()

    def test_it_has_closed_before_the_server_is_told(self, other_app: Starlette) -> None:
        threads: list[int] = []
        waiting: list[Message] = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]

        async def run() -> None:
            async def receive() -> Message:
                if len(waiting) == 1:
                    async with client_of(other_app) as client:
                        for _ in range(3):
                            await client.get("/")
                return waiting.pop(0)

            async def send(message: Message) -> None:
                threads.append(sum(thread.name.startswith(THREAD_PREFIX) for thread in threading.enumerate()))

            await other_app({"type": "lifespan"}, receive, send)

        asyncio.run(run())
        assert threads == [0, 0]


def test_a_monitor_that_was_given_is_left_to_its_owner(monitor: MemoryMonitor) -> None:
    sent = drive(
        Stage(monitor).app, {"type": "lifespan"}, [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]
    )
    assert sent[-1]["type"] == "lifespan.shutdown.complete"
    assert monitor.request_cleanup("manual").result(5).objects == 1
