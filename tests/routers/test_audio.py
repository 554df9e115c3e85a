"""``GET /audio/{id}`` behind a real server: what a player and a cache rely on, and what an attacker may not."""

from __future__ import annotations

import asyncio
import os
import random
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import unquote

import httpx
import pytest
import uvicorn
from fastapi import FastAPI
from starlette.types import Message

from app.core.temp_audio_cache import TempAudioCache
from app.middleware.request_id import RequestIdMiddleware
from app.routers import audio, problems

NOW = 1_700_000_000.5
CLIP = random.Random(4).randbytes(200_000)


@dataclass
class Served:
    """An application with nothing but the route, and its cache."""

    cache: TempAudioCache
    app: FastAPI
    time: list[float]
    client: Callable[..., httpx.Response]


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    time = [NOW]
    cache = TempAudioCache(
        tmp_path / "cache", max_age_seconds=3600, max_bytes=1 << 20, max_files=10, clock=lambda: time[0]
    )
    cache.open()
    app = FastAPI()
    problems.install(app)
    app.include_router(audio.router)
    app.add_middleware(RequestIdMiddleware)
    app.state.service = SimpleNamespace(audio_cache=cache)

    def ask(path: str, method: str = "GET", **headers: str) -> httpx.Response:
        async def main() -> httpx.Response:
            transport = httpx.ASGITransport(app=app)
            async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
                sent = {name.replace("_", "-"): value for name, value in headers.items()}
                return await client.request(method, path, headers=sent)

        return asyncio.run(main())

    yield Served(cache, app, time, ask)
    cache.close()


@pytest.fixture
def path(served: Served) -> str:
    return f"/audio/{served.cache.put(CLIP, 'audio/wav')}"


def open_files(folder: Path) -> list[str]:
    """What this process has open in a folder."""
    descriptors = [path for path in Path("/proc/self/fd").iterdir() if path.is_symlink()]
    return [
        target for target in (str(path.readlink()) for path in descriptors) if target.startswith(f"{folder}/cache/")
    ]


def test_the_whole_clip_with_all_that_a_player_wants_to_know(served: Served, path: str) -> None:
    answer = served.client(path)
    assert (answer.status_code, answer.content) == (200, CLIP)
    id_ = path.removeprefix("/audio/")
    expected = {
        "content-type": "audio/wav",
        "content-length": "200000",
        "accept-ranges": "bytes",
        "cache-control": "private, max-age=3600",
        "x-content-type-options": "nosniff",
        "content-disposition": f'inline; filename="{id_}.wav"',
        "etag": f'"{id_}"',
    }
    assert {name: answer.headers[name] for name in expected} == expected
    assert parsedate_to_datetime(answer.headers["last-modified"]).timestamp() == int(NOW)


def test_seconds_left(served: Served, path: str) -> None:
    served.time[0] += 3000.2
    assert served.client(path).headers["cache-control"] == "private, max-age=599"


def test_another_kind_of_file(served: Served) -> None:
    for given, shown, ending in (
        ("audio/webm; codecs=opus", "audio/webm", "webm"),
        ("text/html", "application/octet-stream", "bin"),
    ):
        answer = served.client(f"/audio/{served.cache.put(b'<script>', given)}")
        assert answer.headers["content-type"] == shown
        assert answer.headers["content-disposition"].endswith(f'.{ending}"')


def test_an_empty_file(served: Served) -> None:
    answer = served.client(f"/audio/{served.cache.put(b'', 'audio/wav')}")
    assert (answer.status_code, answer.content, answer.headers["content-length"]) == (200, b"", "0")


@pytest.mark.parametrize(
    ("wanted", "first", "end"),
    [("0-99", 0, 100), ("150000-", 150_000, 200_000), ("-7", 199_993, 200_000), ("1-", 1, 200_000)],
)
def test_a_part(served: Served, path: str, wanted: str, first: int, end: int) -> None:
    answer = served.client(path, range=f"bytes={wanted}")
    assert (answer.status_code, answer.content) == (206, CLIP[first:end])
    assert answer.headers["content-range"] == f"bytes {first}-{end - 1}/200000"
    assert answer.headers["content-length"] == str(end - first)
    assert answer.headers["content-type"] == "audio/wav"
    assert answer.headers["etag"]


@pytest.mark.parametrize("wanted", ["bytes=0-1,3-4", "bytes=nonsense", "lines=1-2"])
def test_ranges_that_are_ignored(served: Served, path: str, wanted: str) -> None:
    answer = served.client(path, range=wanted)
    assert (answer.status_code, answer.content) == (200, CLIP)
    assert "content-range" not in answer.headers


def test_a_range_behind_the_end(served: Served, path: str, tmp_path: Path) -> None:
    answer = served.client(path, range="bytes=200000-")
    assert answer.status_code == 416
    assert answer.headers["content-range"] == "bytes */200000"
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["status"] == 416
    assert "200000" in answer.json()["detail"]
    assert open_files(tmp_path) == []


def test_what_is_known_is_not_sent_again(served: Served, path: str, tmp_path: Path) -> None:
    tag = served.client(path).headers["etag"]
    for tags in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        answer = served.client(path, if_none_match=tags)
        assert (answer.status_code, answer.content) == (304, b"")
        assert answer.headers["etag"] == tag
        assert answer.headers["cache-control"] == "private, max-age=3600"
        assert "content-length" not in answer.headers
        assert "content-type" not in answer.headers
    assert served.client(path, if_none_match='"other"').status_code == 200
    assert served.client(path, if_none_match=tag, range="bytes=0-1").status_code == 304
    assert open_files(tmp_path) == []


def test_what_has_not_changed_since(served: Served, path: str) -> None:
    modified = served.client(path).headers["last-modified"]
    assert served.client(path, if_modified_since=modified).status_code == 304
    assert served.client(path, if_modified_since="Tue, 14 Nov 2023 22:13:19 GMT").status_code == 200
    assert served.client(path, if_modified_since="Tue, 14 Nov 2023 22:13:21 GMT").status_code == 304
    assert served.client(path, if_modified_since="Tue, 14 Nov 2023 22:13:21").status_code == 200  # no time zone
    assert served.client(path, if_modified_since="yesterday").status_code == 200
    assert served.client(path, if_modified_since=modified, if_none_match='"other"').status_code == 200


def test_a_part_only_of_the_same_file(served: Served, path: str) -> None:
    whole = served.client(path)
    for same in (whole.headers["etag"], whole.headers["last-modified"]):
        assert served.client(path, range="bytes=0-1", if_range=same).status_code == 206
    for other in ('"other"', f"W/{whole.headers['etag']}", "Tue, 14 Nov 2023 22:13:21 GMT", ""):
        assert served.client(path, range="bytes=0-1", if_range=other).status_code == 200
    assert served.client(path, range="bytes=999999-", if_range='"other"').status_code == 200


def test_head(served: Served, path: str, tmp_path: Path) -> None:
    whole, head = served.client(path), served.client(path, "HEAD", range="bytes=0-1")
    assert (head.status_code, head.content) == (200, b"")
    differing = {name for name in whole.headers if head.headers.get(name) != whole.headers[name]}
    assert differing == {"x-request-id"}
    assert served.client(path, "HEAD", if_none_match=whole.headers["etag"]).status_code == 304
    assert served.client("/audio/nothing", "HEAD").status_code == 404
    assert open_files(tmp_path) == []


@pytest.mark.parametrize(
    "name",
    [
        "nothing", "a" * 32, "A" * 32, "..", "...", "%2e%2e%2f", "%2e%2e", "..%2fcache", "%2fetc%2fpasswd", "%00", "*",
        "a%00.wav", "%0d%0aX: y", "%ff", "%F0%9F%94%8A", "x" * 5000, "", "a/b", "..;/x", "{file}", "./{file}",
        "%2e/{file}", "{id}.wav", "{id}%00", "{id}%20", "{id}/", "{id}%2f", "x/../{id}", "%2f{id}", ".hidden",
    ],
)  # fmt: skip
def test_names_that_are_none(served: Served, path: str, tmp_path: Path, name: str) -> None:
    file = next((tmp_path / "cache").iterdir()).name
    answer = raw_request(served.app, "/audio/" + name.replace("{file}", file).replace("{id}", path[len("/audio/") :]))
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["request_id"] == answer.headers["x-request-id"]


def raw_request(app: Any, target: str) -> httpx.Response:
    """Ask for a path as it is, as a server hands it over; httpx would resolve dots."""
    messages: list[Message] = []

    async def send(message: Message) -> None:
        messages.append(message)

    asyncio.run(call(app, target, send))
    return httpx.Response(
        messages[0]["status"], headers=messages[0]["headers"], content=b"".join(m["body"] for m in messages[1:])
    )


def test_expired_and_off(served: Served, path: str) -> None:
    served.time[0] += 3600
    gone = served.client(path)
    assert gone.status_code == 404
    assert gone.json()["type"].endswith(":not-found")
    assert gone.headers["cache-control"] == "no-store"
    served.app.state.service = SimpleNamespace(audio_cache=None)
    assert served.client(path).json()["detail"] == gone.json()["detail"]


def test_no_other_method(served: Served, path: str) -> None:
    assert served.client(path, "DELETE").status_code == 405


def test_a_clip_that_is_pruned_meanwhile_is_sent_to_its_end(served: Served, path: str, tmp_path: Path) -> None:
    received: list[bytes] = []

    async def send(message: Message) -> None:
        if not received:
            served.cache.clear()
        received.append(message.get("body", b""))

    asyncio.run(call(served.app, path, send))
    assert list((tmp_path / "cache").iterdir()) == []
    assert b"".join(received) == CLIP
    assert max(map(len, received)) <= 1 << 16
    assert open_files(tmp_path) == []


def test_a_file_cut_short_meanwhile_ends_the_connection(served: Served, path: str, tmp_path: Path) -> None:
    received: list[Message] = []

    async def send(message: Message) -> None:
        os.truncate(next((tmp_path / "cache").iterdir()), 70_000)
        received.append(message)

    with pytest.raises(OSError, match="cut short"):
        asyncio.run(call(served.app, path, send))
    assert received[-1]["more_body"]
    assert open_files(tmp_path) == []


async def call(app: Any, path: str, send: Any) -> None:
    scope = {
        "type": "http", "method": "GET", "path": unquote(path), "raw_path": path.encode(), "query_string": b"",
        "headers": [], "http_version": "1.1", "scheme": "http", "root_path": "", "server": ("test", 80),
        "client": ("test", 1),
    }  # fmt: skip

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    await app(scope, receive, send)


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="the system does not tell what is open")
@pytest.mark.parametrize("error", [OSError("the client is gone"), asyncio.CancelledError()], ids=["gone", "cancelled"])
def test_the_file_is_closed_when_the_client_leaves(
    served: Served, path: str, tmp_path: Path, error: BaseException
) -> None:
    seen: list[list[str]] = []

    async def send(message: Message) -> None:
        if message.get("body"):
            seen.append(open_files(tmp_path))
            raise error

    async def main() -> None:
        with pytest.raises(type(error)):
            await call(served.app, path, send)
        assert open_files(tmp_path) == []

    asyncio.run(main())
    assert [len(files) for files in seen] == [1]


def test_over_a_socket(served: Served, path: str) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(served.app, log_config=None, lifespan="off"))
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{listener.getsockname()[1]}") as client:
            assert client.get(path).content == CLIP
            head = client.head(path)
            assert (head.headers["content-length"], head.content) == ("200000", b"")
            part = client.get(path, headers={"Range": "bytes=5-9"})
            assert (part.status_code, part.content) == (206, CLIP[5:10])
            known = client.get(path, headers={"If-None-Match": part.headers["etag"]})
            assert (known.status_code, known.content) == (304, b"")
            assert client.get("/audio/%2e%2e%2f%2e%2e%2fetc").status_code == 404
            with client.stream("GET", path) as answer:  # and leaves without reading it
                assert answer.status_code == 200
            assert client.get(path).content == CLIP
    finally:
        server.should_exit = True
        thread.join(10)
        listener.close()
    assert not thread.is_alive()


def test_it_is_described(served: Served) -> None:
    described = served.app.openapi()["paths"]["/audio/{id}"]
    assert set(described) == {"get"}
    assert {"200", "206", "304", "404", "416"} <= set(described["get"]["responses"])
    assert "security" not in described["get"]
