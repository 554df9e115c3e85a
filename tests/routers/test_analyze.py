from __future__ import annotations

import base64
import concurrent.futures
import contextlib
import gc
import json
import os
import socket
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.core import errors

AUDIO = {"audio": ("a.wav", b"abc")}
ENCODED = base64.b64encode(b"abc").decode()


def problem(response: httpx.Response, status: int, name: str, field: str | None = None) -> dict[str, Any]:
    """Check that a response is the problem it should be, and return it."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = response.json()
    assert body["type"].endswith(f":{name}")
    assert body["status"] == status
    assert body["request_id"] == response.headers["x-request-id"]
    assert body["title"]
    assert body["detail"]
    assert body.get("field") == field
    return body


def test_a_scripted_analysis_by_multipart(serve: Any, handler: Any) -> None:
    server = serve()
    response = server.client.post(
        "/analyze",
        files=AUDIO,
        data={"text": "we call it bär", "pronunciations": '[["W","IY0"],null,null,null]', "reference_audio": "none"},
        headers={"X-Request-ID": "mine-1"},
    )
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    body = response.json()
    assert body["request_id"] == response.headers["x-request-id"] == "mine-1"
    assert body["mode"] == "scripted"
    assert body["words"][0]["phonemes"][0]["heard"][0] == {"phoneme": "IH", "probability": 0.612}
    assert body["reference_audio"] is None
    assert handler.audio == [b"abc"]
    assert handler.requests[0].text == "we call it bär"
    assert handler.requests[0].pronunciations == [["W", "IY0"], None, None, None]


def test_an_unscripted_analysis_by_json(serve: Any, handler: Any) -> None:
    audio = os.urandom(3 << 20)  # more than is decoded in one step
    wrapped = base64.encodebytes(audio).decode()
    response = serve().analyze(json={"audio_base64": wrapped, "text": None})
    assert response.json()["mode"] == "unscripted"
    assert handler.audio == [audio]
    assert handler.requests[0].text is None


def test_json_takes_the_same_fields(serve: Any, handler: Any) -> None:
    body = {"audio_base64": ENCODED, "text": "hi", "pronunciations": [["HH", "AY1"]], "reference_audio": "none"}
    assert serve().analyze(json=body).status_code == 200
    assert handler.requests[0].pronunciations == [["HH", "AY1"]]


BOUNDARY = {"Content-Type": "multipart/form-data; boundary=b"}
TRUNCATED = b'--b\r\nContent-Disposition: form-data; name="audio"; filename="a"\r\n\r\nabc'
JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        ({"content": b"abc", "headers": {"Content-Type": "audio/wav"}}, None),
        ({"content": b"abc"}, None),
        ({"data": {"text": "hi"}}, None),  # urlencoded
        ({"content": b"", "headers": BOUNDARY}, None),
        ({"content": b"nothing of the kind", "headers": BOUNDARY}, None),
        ({"content": TRUNCATED, "headers": BOUNDARY}, None),
        ({"content": TRUNCATED, "headers": {"Content-Type": "multipart/form-data"}}, None),
        ({"content": b"{", "headers": JSON}, None),
        ({"content": b"", "headers": JSON}, None),
        ({"content": b"\xff\xfe{}", "headers": JSON}, None),
        ({"content": b"[" * 100_000, "headers": JSON}, None),
        ({"content": b"[1]", "headers": JSON}, None),
        ({"content": rb'{"audio_base64": "YWJj", "text": "\ud800"}', "headers": JSON}, None),
        ({"content": b'{"audio_base64": "YWJj", "text": "a", "text": "b"}', "headers": JSON}, "text"),
        ({"json": {"audio_base64": "YWJ"}}, "audio_base64"),
        ({"json": {"audio_base64": "Y=Jj"}}, "audio_base64"),
        ({"json": {"audio_base64": "Ä!!?"}}, "audio_base64"),
        ({"files": [("audio", ("a", b"abc")), ("text", (None, "a")), ("text", (None, "b"))]}, "text"),
        ({"files": [("audio", ("a", b"abc")), ("audio", ("b", b"abc"))]}, "audio"),
        ({"files": [("audio", ("a", b"abc"))] * 17}, None),
    ],
)
def test_400_for_what_cannot_be_read(shared: Any, request_: dict[str, Any], field: str | None) -> None:
    problem(shared.analyze(**request_), 400, "malformed-request", field)


def test_a_value_that_looks_like_a_name_is_no_second_text(shared: Any) -> None:
    assert shared.analyze(json={"audio_base64": ENCODED, "text": "text"}).status_code == 200


@pytest.mark.parametrize(
    ("request_", "name", "field"),
    [
        ({"files": {"text": (None, "hi")}}, "invalid-input", "audio"),
        ({"files": {"audio": (None, "hi")}}, "invalid-input", "audio"),
        ({"files": {"audio": ("a.wav", b"")}}, "invalid-input", "audio"),
        ({"files": {**AUDIO, "text": ("t.txt", b"hi")}}, "invalid-input", "text"),
        ({"files": AUDIO, "data": {"text": "  "}}, "invalid-input", "text"),
        ({"files": AUDIO, "data": {"text": "a" * 10_001}}, "invalid-input", "text"),
        ({"files": AUDIO, "data": {"reference_audio": "aloud"}}, "invalid-input", "reference_audio"),
        ({"files": AUDIO, "data": {"reference_audio": "inline"}}, "invalid-input", "reference_audio"),
        ({"files": AUDIO, "data": {"pronunciations": "[null]"}}, "invalid-pronunciations", "pronunciations"),
        ({"files": AUDIO, "data": {"text": "a", "pronunciations": "["}}, "invalid-pronunciations", "pronunciations"),
        ({"files": AUDIO, "data": {"text": "a", "pronunciations": "{}"}}, "invalid-pronunciations", "pronunciations"),
        ({"files": AUDIO, "data": {"text": "a", "pronunciations": "[[]]"}}, "invalid-pronunciations", "pronunciations"),
        (
            {"files": AUDIO, "data": {"text": "a", "pronunciations": "[[1]]"}},
            "invalid-pronunciations",
            "pronunciations",
        ),
        ({"json": {}}, "invalid-input", "audio_base64"),
        ({"json": {"audio_base64": 1}}, "invalid-input", "audio_base64"),
        ({"json": {"audio_base64": ""}}, "invalid-input", "audio_base64"),
        ({"json": {"audio_base64": ENCODED, "text": 1}}, "invalid-input", "text"),
        ({"json": {"audio_base64": ENCODED, "text": ""}}, "invalid-input", "text"),
        ({"json": {"audio_base64": ENCODED, "reference_audio": []}}, "invalid-input", "reference_audio"),
        (
            {"json": {"audio_base64": ENCODED, "text": "a", "pronunciations": "[null]"}},
            "invalid-pronunciations",
            "pronunciations",
        ),
    ],
)
def test_422_names_the_field_to_blame(shared: Any, request_: dict[str, Any], name: str, field: str) -> None:
    problem(shared.analyze(**request_), 422, name, field)


def test_a_link_without_the_cache_names_the_setting(shared: Any) -> None:
    response = shared.analyze(files=AUDIO, data={"reference_audio": "url"})
    assert "ENABLE_AUDIO_CACHE" in problem(response, 422, "invalid-input", "reference_audio")["detail"]


def raising(error: Exception) -> Any:
    def behave(*_: object) -> None:
        raise error

    return behave


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.UnsupportedAudio("No audio.", field="audio"), 415),
        (errors.SilentAudio("Silence.", field="audio"), 422),
        (errors.TextWithoutWords("No word.", field="text"), 422),
        (errors.TooLarge("Too long.", field="audio"), 413),
    ],
)
def test_what_the_pipeline_raises_reaches_the_caller(
    serve: Any, handler: Any, error: errors.ElocuteError, status: int
) -> None:
    handler.behave = raising(error)
    assert problem(serve().analyze(), status, error.name, error.field)["detail"] == error.detail


@pytest.mark.parametrize("error", [RuntimeError("secret path"), errors.ModelError("secret path")])
def test_an_unexpected_error_is_logged_and_not_told(
    serve: Any, handler: Any, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    handler.behave = raising(error)
    response = serve().analyze()
    body = problem(response, 500, "internal-error")
    assert "secret" not in response.text
    [record] = [record for record in caplog.records if record.levelname == "ERROR"]
    assert body["request_id"] in record.getMessage()
    assert record.exc_info
    assert record.exc_info[1] is error


def test_an_api_key_is_asked_for_where_one_is_configured(serve: Any, handler: Any) -> None:
    server = serve(api_key="s3cr3t")
    wrong: list[Any] = [
        {},
        {"X-API-Key": "wrong"},
        {"X-API-Key": b"\xff\xfe"},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "Basic s3cr3t"},
    ]
    for headers in wrong:
        response = server.analyze(files=AUDIO, headers=headers)
        problem(response, 401, "unauthorized")
        assert response.headers["www-authenticate"] == "Bearer"
    assert not handler.requests
    right: list[dict[str, str]] = [{"X-API-Key": "s3cr3t"}, {"Authorization": "Bearer s3cr3t"}]
    for headers in right:
        assert server.analyze(files=AUDIO, headers=headers).status_code == 200
    assert server.client.get("/health").status_code == 200


class TestSize:
    def test_a_recording_of_exactly_the_limit_passes(self, serve: Any, handler: Any) -> None:
        server = serve(max_upload_mb=1)
        audio = bytes(1 << 20)
        assert server.analyze(files={"audio": ("a", audio)}).status_code == 200
        assert server.analyze(json={"audio_base64": base64.b64encode(audio).decode()}).status_code == 200
        assert [len(one) for one in handler.audio] == [1 << 20, 1 << 20]

    def test_one_byte_more_does_not(self, serve: Any) -> None:
        server = serve(max_upload_mb=1)
        audio = bytes((1 << 20) + 1)
        problem(server.analyze(files={"audio": ("a", audio)}), 413, "too-large", "audio")
        encoded = base64.b64encode(audio).decode()
        problem(server.analyze(json={"audio_base64": encoded}), 413, "too-large", "audio_base64")

    def test_content_length_is_refused_before_the_body_is_sent(self, serve: Any) -> None:
        server = serve()
        with socket.create_connection(("127.0.0.1", server.port), 5) as connection:
            connection.sendall(b"POST /analyze HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\n")
            assert connection.recv(20).startswith(b"HTTP/1.1 413 ")

    @pytest.mark.parametrize("chunked", [False, True])
    def test_a_client_that_sends_it_all_reads_the_answer(self, serve: Any, chunked: bool) -> None:
        parts = [TRUNCATED, *[bytes(1 << 16)] * 64]  # 4 MB, where 1.25 MB pass
        content = iter(parts) if chunked else b"".join(parts)
        response = serve(max_upload_mb=1).analyze(content=content, headers=BOUNDARY)
        problem(response, 413, "too-large")

    def test_an_endless_body_is_cut_off(self, serve: Any) -> None:
        server = serve(max_upload_mb=1)
        sent = 0
        with socket.create_connection(("127.0.0.1", server.port), 10) as connection:
            connection.sendall(
                b"POST /analyze HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n"
                b"Content-Type: application/json\r\n\r\n"
            )
            with contextlib.suppress(ConnectionError):
                while sent < 50 << 20:
                    connection.sendall(b"10000\r\n" + bytes(1 << 16) + b"\r\n")
                    sent += 1 << 16
        assert sent < 50 << 20, "the server went on reading"


class TestAdmission:
    def test_health_answers_at_once_while_analyses_run(self, serve: Any, handler: Any) -> None:
        release = threading.Event()
        handler.behave = lambda request, _: (release.wait(10), raising(errors.SilentAudio("x"))())[1]
        server = serve()
        with concurrent.futures.ThreadPoolExecutor(3) as pool:
            analyses = [pool.submit(server.analyze) for _ in range(3)]
            try:
                times = []
                for _ in range(10):
                    started = time.perf_counter()
                    assert server.client.get("/health").json() == {"status": "ok"}
                    times.append(time.perf_counter() - started)
                assert sorted(times)[5] < 0.05
                assert not any(analysis.done() for analysis in analyses)
            finally:
                release.set()

    def test_503_when_the_queue_is_full_and_200_for_the_rest(self, serve: Any, handler: Any, wait_for: Any) -> None:
        ok, release = handler.behave, threading.Event()
        handler.behave = lambda request, event: (release.wait(10), ok(request, event))[1]
        server = serve(max_queued_requests=2)
        with concurrent.futures.ThreadPoolExecutor(3) as pool:
            accepted = [pool.submit(server.analyze) for _ in range(3)]
            try:
                wait_for(lambda: server.app.state.service.executor.taken == 3)
                response = server.analyze()
                problem(response, 503, "service-busy")
                assert int(response.headers["retry-after"]) >= 1
                assert len(handler.requests) == 1  # one thread, one at a time
            finally:
                release.set()
            assert [future.result().status_code for future in accepted] == [200, 200, 200]
        assert server.analyze().status_code == 200

    def test_504_past_the_time_limit_and_the_thread_is_told(self, serve: Any, handler: Any, wait_for: Any) -> None:
        ok, told = handler.behave, threading.Event()

        def slow(request: Any, cancelled: threading.Event) -> Any:
            assert cancelled.wait(10)
            told.set()
            return ok(request, cancelled)

        handler.behave = slow
        server = serve(request_timeout_seconds=0.1)
        problem(server.analyze(), 504, "analysis-timeout")
        assert told.wait(5)
        handler.behave = ok
        wait_for(lambda: server.app.state.service.idle)
        assert server.analyze().status_code == 200

    def test_a_job_that_does_not_listen_keeps_its_place(self, serve: Any, handler: Any, wait_for: Any) -> None:
        ok, release = handler.behave, threading.Event()
        handler.behave = lambda request, event: (release.wait(10), ok(request, event))[1]
        server = serve(request_timeout_seconds=0.1, max_queued_requests=0)
        try:
            problem(server.analyze(), 504, "analysis-timeout")
            problem(server.analyze(), 503, "service-busy")
        finally:
            release.set()
        wait_for(lambda: server.app.state.service.idle)
        assert server.analyze().status_code == 200

    def test_a_body_that_does_not_arrive_in_time(self, serve: Any, wait_for: Any) -> None:
        server = serve(request_timeout_seconds=0.1)
        with socket.create_connection(("127.0.0.1", server.port), 10) as connection:
            connection.sendall(
                b"POST /analyze HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\nContent-Type: application/json\r\n\r\n{"
            )
            assert connection.recv(20).startswith(b"HTTP/1.1 408 ")
        wait_for(lambda: server.app.state.service.idle)


class TestDisconnect:
    def post(self, port: int, content: bytes, length: int) -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", port), 5)
        head = (
            f"POST /analyze HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
        )
        connection.sendall(head.encode() + content)
        return connection

    def test_a_running_analysis_is_told_and_a_waiting_one_dropped(
        self, serve: Any, handler: Any, wait_for: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        told = threading.Event()

        def slow(request: Any, cancelled: threading.Event) -> Any:
            if cancelled.wait(10):
                told.set()
            raise errors.SilentAudio("stopped")

        handler.behave = slow
        server = serve()
        body = json.dumps({"audio_base64": ENCODED}).encode()
        running = self.post(server.port, body, len(body))
        wait_for(lambda: handler.requests)
        waiting = self.post(server.port, body, len(body))
        wait_for(lambda: server.app.state.service.executor.taken == 2)
        waiting.close()
        wait_for(lambda: server.app.state.service.executor.taken == 1)
        assert not told.is_set()
        running.close()
        assert told.wait(5)
        wait_for(lambda: server.app.state.service.idle)
        assert len(handler.requests) == 1
        assert not [record for record in caplog.records if record.levelname == "ERROR"]

    def test_half_an_upload_leaves_nothing(
        self, serve: Any, handler: Any, wait_for: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        server = serve()
        connection = self.post(server.port, b'{"audio', 1000)
        wait_for(lambda: server.app.state.service.executor.taken == 1)
        connection.close()
        wait_for(lambda: server.app.state.service.idle)
        assert not handler.requests
        assert not [record for record in caplog.records if record.levelname == "ERROR"]


def test_nothing_is_left_behind_on_any_path(
    serve: Any, handler: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wait_for: Any
) -> None:
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    opened: list[object] = []
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda *args, **kwargs: opened.append(args))
    server = serve(max_upload_mb=3)
    big = {"audio": ("a.wav", bytes(2 << 20))}  # beyond what Starlette keeps in memory by itself
    ok = handler.behave

    def every_path() -> None:
        handler.behave = ok
        assert server.analyze(files=big).status_code == 200
        assert server.analyze(files=big, data={"text": " "}).status_code == 422
        assert server.analyze(files={"audio": ("a", bytes(4 << 20))}).status_code == 413
        assert server.analyze(files=[("audio", ("a", bytes(1 << 20)))] * 2).status_code == 400
        assert server.analyze(content=TRUNCATED, headers=BOUNDARY).status_code == 400
        for error, status in ((errors.UnsupportedAudio("x"), 415), (RuntimeError("x"), 500)):
            handler.behave = raising(error)
            assert server.analyze(files=big).status_code == status

    every_path()
    descriptors = set(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").is_dir() else set()  # noqa: PTH208
    for _ in range(3):
        every_path()
    gc.collect()
    wait_for(lambda: len(os.listdir("/proc/self/fd")) <= len(descriptors) + 1)  # noqa: PTH208
    assert not opened
    assert not list(folder.iterdir())
    # a job's end is noticed after the answer that it failed
    wait_for(lambda: all(getattr(request.audio, "closed", True) for request in handler.requests))
