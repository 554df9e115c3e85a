from __future__ import annotations

import threading
from typing import Any

import pytest

from app.core.errors import ModelError


def test_health_and_ready(shared: Any) -> None:
    health = shared.client.get("/health")
    assert (health.status_code, health.json()) == (200, {"status": "ok"})
    ready = shared.client.get("/ready")
    assert (ready.status_code, ready.json()) == (200, {"status": "ready"})


def test_it_serves_while_it_starts(serve: Any, handler: Any, wait_for: Any) -> None:
    loaded = threading.Event()
    handler.on_load = lambda: loaded.wait(10)
    server = serve(wait=False)
    try:
        assert server.client.get("/health").status_code == 200
        ready = server.client.get("/ready")
        assert (ready.status_code, ready.json()) == (503, {"status": "starting"})
        refused = server.analyze()
        assert refused.status_code == 503
        assert refused.json()["type"].endswith(":not-ready")
        assert int(refused.headers["retry-after"]) >= 1
    finally:
        loaded.set()
    wait_for(lambda: server.client.get("/ready").status_code == 200)
    assert server.analyze().status_code == 200


def test_draining_refuses_new_ones_and_finishes_what_runs(serve: Any, handler: Any, wait_for: Any) -> None:
    ok, release = handler.behave, threading.Event()
    handler.behave = lambda request, event: (release.wait(10), ok(request, event))[1]
    server = serve()
    answers: list[int] = []
    thread = threading.Thread(target=lambda: answers.append(server.analyze().status_code))
    thread.start()
    wait_for(lambda: handler.requests)
    server.server.handle_exit(15, None)  # what SIGTERM calls
    ready = server.client.get("/ready")
    assert (ready.status_code, ready.json()) == (503, {"status": "draining"})
    assert server.client.get("/health").status_code == 200
    refused = server.client.post("/analyze", files={"audio": ("a", b"abc")})
    assert refused.status_code == 503
    assert "retry-after" in refused.headers
    release.set()
    thread.join(5)
    assert answers == [200]
    server.thread.join(5)
    assert not server.thread.is_alive()
    assert handler.closed


def test_a_job_that_outlasts_the_drain_is_told_to_stop(serve: Any, handler: Any, wait_for: Any) -> None:
    told = threading.Event()

    def slow(_: object, cancelled: threading.Event) -> None:
        if cancelled.wait(10):
            told.set()

    handler.behave = slow
    server = serve(request_timeout_seconds=0.5)
    thread = threading.Thread(target=server.analyze)
    thread.start()
    wait_for(lambda: handler.requests)
    server.server.handle_exit(15, None)
    server.thread.join(5)
    thread.join(5)
    assert not server.thread.is_alive()
    assert told.is_set()


@pytest.mark.parametrize("error", [ModelError("no such model"), MemoryError(), RuntimeError("a\nb")])
def test_where_the_models_cannot_be_loaded_the_server_ends(
    serve: Any, handler: Any, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    def fail() -> None:
        raise error

    handler.on_load = fail
    server = serve(wait=False)
    server.thread.join(5)
    assert not server.thread.is_alive()
    assert server.app.state.service.failure is error
    assert any(record.exc_info and record.exc_info[1] is error for record in caplog.records)
