from __future__ import annotations

import asyncio
import inspect
import json
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from starlette.types import Message

from app.core import errors
from app.middleware.body_limit import BodyLimitMiddleware
from app.middleware.request_id import RequestIdMiddleware
from app.routers import problems


@pytest.mark.parametrize(
    ("method", "path", "status", "name"),
    [("GET", "/nowhere", 404, "not-found"), ("GET", "/analyze", 405, "method-not-allowed")],
)
def test_what_no_route_takes(shared: Any, method: str, path: str, status: int, name: str) -> None:
    response = shared.client.request(method, path)
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["type"].endswith(f":{name}")
    assert response.json()["request_id"] == response.headers["x-request-id"]
    if status == 405:
        assert response.headers["allow"] == "POST"
        assert "POST" in response.json()["detail"]


def test_every_error_of_ours_has_a_status_of_its_own_kind() -> None:
    kinds = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, errors.ElocuteError)]
    failures = {kind for kind in kinds if problems.status_of(kind) == 500}
    assert failures == {errors.ElocuteError, errors.ModelError}
    assert problems.status_of(errors.SilentAudio) == problems.status_of(errors.InvalidInput) == 422
    assert problems.status_of(errors.NotReady) == 503


def app_with_everything() -> FastAPI:
    app = FastAPI()
    problems.install(app)
    app.add_middleware(BodyLimitMiddleware, max_body=100, max_json=200)
    app.add_middleware(RequestIdMiddleware)

    @app.get("/typed")
    async def typed(number: int) -> int:
        return number

    @app.post("/json")
    async def body(value: dict[str, str]) -> dict[str, str]:
        return value

    return app


def ask(app: Any, method: str, path: str, **kwargs: Any) -> httpx.Response:
    async def main() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://here") as client:
            return await client.request(method, path, **kwargs)

    return asyncio.run(main())


def test_what_fastapi_finds_invalid_is_a_problem_too() -> None:
    response = ask(app_with_everything(), "GET", "/typed", params={"number": "x"})
    assert response.status_code == 422
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["field"] == "number"
    assert "detail" not in response.json()["detail"]


def test_a_body_that_fastapi_reads_is_counted_too() -> None:
    async def chunks() -> Any:
        yield b'{"a": "'
        yield b"b" * 300

    response = ask(
        app_with_everything(), "POST", "/json", content=chunks(), headers={"content-type": "application/json"}
    )
    assert response.status_code == 413
    assert response.json()["type"].endswith(":too-large")
    assert ask(app_with_everything(), "POST", "/json", json={"a": "b" * 150}).status_code == 200


@pytest.mark.parametrize(("announced", "sent", "status"), [(1000, 150, 200), (10, 300, 413), (0, 300, 413)])
def test_a_chunked_body_has_no_announced_length(announced: int, sent: int, status: int) -> None:
    async def chunks() -> Any:
        yield b'{"a": "%b"}' % (b"b" * sent)

    headers = {
        "content-type": "application/json",
        "content-length": str(announced),  # a server may pass on both; the coding is what frames the body
        "transfer-encoding": "chunked",
    }
    assert ask(app_with_everything(), "POST", "/json", content=chunks(), headers=headers).status_code == status


@pytest.mark.parametrize("given", ["a", "A.b_c-9", "x" * 128])
def test_a_sane_request_id_is_kept(shared: Any, given: str) -> None:
    assert shared.client.get("/health", headers={"X-Request-ID": given}).headers["x-request-id"] == given


@pytest.mark.parametrize("given", ["", "x" * 129, "a b", "a;b", "ä".encode(), "a\u0660".encode()])
def test_any_other_is_replaced(shared: Any, given: str | bytes) -> None:
    answered = shared.client.get("/health", headers={"X-Request-ID": given}).headers["x-request-id"]
    assert len(answered) == 32
    assert set(answered) <= set("0123456789abcdef")


def test_each_request_has_its_line(serve: Any, caplog: pytest.LogCaptureFixture, wait_for: Any) -> None:
    caplog.set_level("INFO", "app.access")
    serve().client.get("/a%0Ab?key=s3cr3t", headers={"X-Request-ID": "mine"})
    wait_for(lambda: caplog.records)
    [line] = [record.getMessage() for record in caplog.records if record.name == "app.access"]
    assert line.startswith("GET /a%0Ab 404 ")
    assert line.endswith(" ms mine")


def test_a_failure_after_the_answer_began_is_the_server_s_to_cut_off() -> None:
    async def broken(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise RuntimeError

    async def main() -> list[Message]:
        sent: list[Message] = []

        async def send(message: Message) -> None:
            sent.append(message)

        scope = {"type": "http", "method": "GET", "raw_path": b"/", "headers": []}
        with pytest.raises(RuntimeError):
            await RequestIdMiddleware(broken)(scope, _nothing, send)
        return sent

    assert [message["type"] for message in asyncio.run(main())] == ["http.response.start"]


async def _nothing() -> Message:
    raise AssertionError


def test_a_failure_outside_any_route_is_answered() -> None:
    async def broken(scope: Any, receive: Any, send: Any) -> None:
        raise RuntimeError("secret")

    response = ask(RequestIdMiddleware(broken), "GET", "/")
    assert response.status_code == 500
    assert "secret" not in response.text
    assert json.loads(response.text)["request_id"] == response.headers["x-request-id"]
