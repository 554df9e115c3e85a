"""Takes a request through admission, onto an inference thread and back, whatever it asks for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from threading import Event
from typing import Any, TypeVar

from fastapi import HTTPException, Request
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive

from app.core.inference_executor import Place
from app.core.lifecycle import Service
from app.core.memory_budget import Promise, upload_mb
from app.routers import problems

T = TypeVar("T")

_METER_STEP = 1 << 20  # bytes of a body of unknown length that are promised ahead


@dataclass(frozen=True, slots=True)
class Job:
    """A request that has a place in the queue.

    Attributes:
        request: whose body is counted, and its memory promised, while it is read.
        place: that it holds; what to close when no thread uses the request any more belongs into its ``cleanup``.
    """

    request: Request
    place: Place
    _service: Service
    _promise: Promise

    async def read(self, body: Coroutine[Any, Any, T]) -> T:
        """Await the reading of the body.

        Raises:
            HTTPException: 408, it has not arrived in time.
        """
        seconds = self._service.settings.request_timeout_seconds
        try:
            async with asyncio.timeout(seconds):
                content = await body
        except TimeoutError:
            raise HTTPException(408, f"The request did not arrive within {seconds:g} s.") from None
        self._promise.use()  # what was read is there now
        return content

    async def run(self, work: Callable[[Event], T]) -> T:
        """Run something on an inference thread; it is told by its argument when nobody waits any more.

        Raises:
            AnalysisTimeout: the time is over.
            ClientDisconnect: the client has left.
        """
        cancelled = Event()
        timeout = self._service.settings.request_timeout_seconds
        running = self._service.executor.run(work, cancelled, timeout=timeout, cancelled=cancelled, place=self.place)
        return await _unless_disconnected(self.request, running)


@asynccontextmanager
async def admitted(request: Request, service: Service) -> AsyncIterator[Job]:
    """Take a place in the queue, and the memory for the body, for the length of an ``async with`` block.

    Raises:
        ServiceBusy: no place is left, or not enough memory.
        TooLarge: the body alone is more than the memory that can be had.
    """
    is_json = request.headers.get("content-type", "").lower().startswith("application/json")
    announced = _announced_bytes(request)
    async with service.admit(upload_mb(announced, is_json=is_json)) as (place, promise):
        metered = Request(request.scope, _metered(request.receive, announced, promise, is_json=is_json))
        yield Job(metered, place, service, promise)


async def counted(service: Service, path: str, answer: Awaitable[T]) -> T:
    """Await an answer, and count it and its status in the metrics."""
    try:
        content = await answer
    except Exception as error:
        service.metrics.count(path, problems.respond_status(error), error)
        raise
    service.metrics.count(path, 200)
    return content


def _announced_bytes(request: Request) -> int:
    """The length that the body is said to have, 0 where none is."""
    length = request.headers.get("content-length", "")
    return int(length) if length.isascii() and length.isdigit() and "transfer-encoding" not in request.headers else 0


def _metered(receive: Receive, announced: int, promise: Promise, *, is_json: bool) -> Receive:
    """Receive a body whose memory is promised as it comes, as far as it was not when it was announced."""
    read, promised = 0, announced

    async def receive_metered() -> Message:
        nonlocal read, promised
        message = await receive()
        read += len(message.get("body", b""))
        if read > promised:
            beyond = read + _METER_STEP - promised
            promise.extend(upload_mb(beyond, is_json=is_json) - upload_mb(0, is_json=is_json))
            promised += beyond
        return message

    return receive_metered


async def _unless_disconnected(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Wait for ``work``, and cancel it when the client is gone.

    Raises:
        ClientDisconnect: nobody waits for the answer any more.
    """
    task = asyncio.create_task(work)
    watch = asyncio.create_task(_disconnected(request))
    try:
        await asyncio.wait((task, watch), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientDisconnect
        return task.result()
    finally:
        watch.cancel()
        task.cancel()
        await asyncio.gather(task, watch, return_exceptions=True)


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
