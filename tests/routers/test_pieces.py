"""How an answer goes out, piece by piece."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Iterator

import pytest
from starlette.types import Message

from app.routers import pieces
from app.routers.pieces import PiecesResponse


class Source:
    """What the pieces are made from."""

    def pieces(self) -> Iterator[memoryview]:
        for _ in range(100):
            yield memoryview(bytes(1000))


async def receive() -> Message:
    await asyncio.Event().wait()
    raise AssertionError


def test_who_does_not_take_an_answer_holds_it_for_a_while_only(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(pieces, "_PATIENCE_SECONDS", 0.02)
    monkeypatch.setattr(pieces, "_SLOWEST_BYTES", 1e9)
    source = Source()
    gone = weakref.ref(source)
    response = PiecesResponse(source.pieces(), 100_000, {})
    del source
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)
        if len(sent) > 3:
            await asyncio.Event().wait()  # the client reads no more

    asyncio.run(response({"type": "http"}, receive, send))
    assert [message.get("more_body", True) for message in sent] == [True] * 4
    assert "not taken" in caplog.text
    del response
    gc.collect()
    assert gone() is None


def test_pieces_in_the_servers_buffer_keep_nothing_else() -> None:
    content = bytearray(3000)
    response = PiecesResponse(iter([memoryview(content)[:1000], memoryview(content)[1000:]]), 3000, {})
    buffer: list[bytes] = []

    async def send(message: Message) -> None:
        buffer.append(message.get("body", b""))

    asyncio.run(response({"type": "http"}, receive, send))
    del response
    content.clear()  # raises BufferError where a view is left
    assert sum(map(len, buffer)) == 3000


def test_others_have_their_turn_between_the_pieces() -> None:
    turns = 0

    async def send(message: Message) -> None:
        pass

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async def both() -> None:
        other = asyncio.create_task(count())
        await PiecesResponse(Source().pieces(), 100_000, {})({"type": "http"}, receive, send)
        other.cancel()

    asyncio.run(both())
    assert turns >= 100
