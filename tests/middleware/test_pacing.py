"""A crowd for one path leaves the others their turn."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import httpx
import pytest

from app.middleware.pacing import PacingMiddleware


class Application:
    """Takes 5 ms of the event loop for each request, and notes the order in which they were served."""

    def __init__(self) -> None:
        self.served: list[str] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] != "/health":
            time.sleep(0.005)  # noqa: ASYNC251 - it holds the loop, which is the point
        self.served.append(scope["path"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})


async def crowd(application: Any) -> None:
    transport = httpx.ASGITransport(application)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        requests = [asyncio.create_task(client.post("/slow")) for _ in range(40)]
        requests.append(asyncio.create_task(client.get("/health")))
        await asyncio.gather(*requests)


@pytest.mark.parametrize(("paced", "before"), [(True, range(10)), (False, range(40, 41))])
def test_a_health_check_behind_a_crowd_is_served_among_the_first(paced: bool, before: range) -> None:
    application = Application()
    asyncio.run(crowd(PacingMiddleware(application, ("/slow",)) if paced else application))
    assert len(application.served) == 41
    assert application.served.index("/health") in before


def test_it_serves_in_one_loop_after_another() -> None:
    application = PacingMiddleware(Application(), ("/slow",))
    for _ in range(2):
        asyncio.run(crowd(application))


def test_other_scopes_pass_through() -> None:
    seen: list[str] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["type"])

    asyncio.run(PacingMiddleware(application, ("/slow",))({"type": "lifespan"}, None, None))  # type: ignore[arg-type]
    assert seen == ["lifespan"]
