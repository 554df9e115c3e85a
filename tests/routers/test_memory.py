"""Memory over HTTP: what is told, what is counted, and that work is turned away before memory runs out."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from app.core.memory_config import Thresholds
from app.core.memory_usage import Usage


def scrape(server: Any) -> dict[str, float]:
    """Samples by name and labels, as Prometheus reads them."""
    answer = server.client.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=")
    families = text_string_to_metric_families(answer.text)
    return {
        sample.name + "".join(f",{key}={value}" for key, value in sorted(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }


def pretend(server: Any, usage_mb: float) -> None:
    """Let the monitor and the budget see another usage; the limit is 1,000 MB, critical above 875."""
    service = server.app.state.service
    service.monitor._usage = service._budget._usage = service._guard._usage = lambda: Usage(usage_mb, usage_mb, 1000)


def shrink(server: Any) -> Any:
    """Pretend a limit of 1,000 MB, of which 100 are in use: the tests' own process may be larger than that."""
    service = server.app.state.service
    pretend(server, 100)
    service.monitor.thresholds = Thresholds(750, 875)
    service._budget._critical_mb, service._budget._floor_mb = 875, 100
    return server


@pytest.fixture
def server(serve: Callable[..., Any]) -> Any:
    return shrink(serve())


def test_memory_tells_the_limit_the_thresholds_and_the_counters(server: Any) -> None:
    server.analyze()
    body = server.client.get("/memory").json()
    assert {"rss_mb", "vms_mb", "percent", "available_mb", "total_mb", "source", "gpu"} < set(body)
    assert body["status"] == "ok"
    assert body["thresholds"] == {"warning_mb": 750, "critical_mb": 875}
    assert body["counters"]["requests"] == 1, "asking for the memory is no request that counts"
    assert 10 < body["rss_mb"] < body["total_mb"]
    assert body["models"] == ["fake"]


def test_a_cleanup_says_what_it_did(server: Any) -> None:
    class Cycle:
        pass

    gc.disable()  # else the interpreter may be first
    try:
        for _ in range(500):
            cycle = Cycle()
            cycle.me = cycle  # type: ignore[attr-defined]
        del cycle
        answer = server.client.post("/memory/cleanup")
    finally:
        gc.enable()
    assert answer.status_code == 200
    body = answer.json()
    assert body["objects"] >= 500
    assert body["freed_mb"] >= 0
    assert body["rss_mb"] > 10
    assert server.client.get("/memory").json()["counters"]["cleanups"]["manual"] == 1


def test_a_cleanup_needs_the_key_where_one_is_set(serve: Callable[..., Any]) -> None:
    server = serve(api_key="secret")
    refused = server.client.post("/memory/cleanup")
    assert refused.status_code == 401
    assert refused.json()["type"].endswith(":unauthorized")
    assert server.client.post("/memory/cleanup", headers={"X-API-Key": "secret"}).status_code == 200
    assert server.client.get("/memory").status_code == 200
    assert server.client.get("/metrics").status_code == 200


def test_metrics_have_what_the_issue_names(server: Any) -> None:
    server.analyze()
    server.client.post("/memory/cleanup")
    samples = scrape(server)
    assert samples["elocute_memory_rss_bytes"] > 1e7
    assert samples["elocute_memory_limit_bytes"] > samples["elocute_memory_rss_bytes"]
    assert samples["elocute_memory_status,status=ok"] == 1
    assert samples["elocute_memory_cleanups_total,kind=manual"] == 1
    assert samples["elocute_memory_objects_collected_total"] >= 0
    assert samples["elocute_memory_freed_bytes_total"] >= 0
    assert samples["elocute_requests_in_flight"] == 0
    assert samples["elocute_requests_queued"] == 0
    assert samples["elocute_stage_seconds_count,stage=acoustic"] == 1
    assert samples["elocute_stage_seconds_sum,stage=acoustic"] == pytest.approx(0.061)
    assert samples["elocute_model_loads_total,model=fake"] == 1
    assert samples["elocute_answers_total,path=/analyze,status=200"] == 1


def test_requests_are_counted_while_they_run_and_wait(
    serve: Callable[..., Any], handler: Any, wait_for: Callable[..., None]
) -> None:
    ok, release = handler.behave, threading.Event()
    handler.behave = lambda request, event: (release.wait(10), ok(request, event))[1]
    server = serve(max_queued_requests=1)
    threads = [threading.Thread(target=server.analyze) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        wait_for(lambda: server.app.state.service.executor.taken == 2 and handler.requests)
        samples = scrape(server)
        assert samples["elocute_requests_in_flight"] == 1
        assert samples["elocute_requests_queued"] == 1
        refused = server.analyze()
        assert refused.status_code == 503
        assert scrape(server)["elocute_rejected_total,reason=service-busy"] == 1
    finally:
        release.set()
        for thread in threads:
            thread.join(5)


def test_at_critical_memory_new_work_is_turned_away_and_what_runs_finishes(
    server: Any, handler: Any, wait_for: Callable[..., None]
) -> None:
    ok, release = handler.behave, threading.Event()
    handler.behave = lambda request, event: (release.wait(10), ok(request, event))[1]
    answers: list[int] = []
    running = threading.Thread(target=lambda: answers.append(server.analyze().status_code))
    running.start()
    wait_for(lambda: handler.requests)
    pretend(server, 900)
    assert server.client.get("/memory").json()["status"] == "critical"
    ready = server.client.get("/ready")
    assert (ready.status_code, ready.json()) == (503, {"status": "memory_critical"})
    assert server.client.get("/health").status_code == 200
    refused = server.analyze()
    assert refused.status_code == 503
    assert refused.json()["type"].endswith(":memory-critical")
    assert int(refused.headers["retry-after"]) >= 1
    release.set()
    running.join(5)
    assert answers == [200]
    assert handler.dropped >= 1, "caches go first"
    counters = server.client.get("/memory").json()["counters"]
    assert counters["cleanups"]["emergency"] >= 1
    assert counters["criticals"] == 1
    assert scrape(server)["elocute_rejected_total,reason=memory-critical"] == 1


def test_it_recovers_by_itself(server: Any, wait_for: Callable[..., None]) -> None:
    pretend(server, 900)
    wait_for(lambda: server.client.get("/ready").status_code == 503)  # nobody asked: it is looked at every second
    pretend(server, 300)
    wait_for(lambda: server.client.get("/ready").status_code == 200)
    assert server.analyze().status_code == 200


def test_a_cleanup_that_helps_lets_the_request_through(server: Any) -> None:
    service = server.app.state.service
    pretend(server, 900)
    service.monitor.check()

    def clean(generation: int) -> int:
        pretend(server, 300)
        return 1

    service.monitor._clean = clean
    assert server.analyze().status_code == 200
    assert server.client.get("/ready").status_code == 200


def test_an_upload_that_does_not_fit_beside_the_others_is_turned_away_before_it_is_read(server: Any) -> None:
    pretend(server, 100)
    with server.app.state.service._budget.promise(0):  # something is in flight; the least was 100 MB
        pretend(server, 870)
        refused = server.analyze(files={"audio": ("a.wav", bytes(10 << 20))})
    assert refused.status_code == 503
    assert refused.json()["type"].endswith(":memory-critical")
    assert server.handler.requests == []


def test_a_body_of_unknown_length_is_turned_away_when_it_outgrows_the_memory(server: Any) -> None:
    pretend(server, 780)  # with the reserve for an analysis, 86 MB, 9 are left

    def body() -> Any:
        yield b'--x\r\nContent-Disposition: form-data; name="audio"; filename="a"\r\n\r\n'
        for _ in range(100):
            yield bytes(1 << 17)

    refused = server.analyze(content=body(), headers={"content-type": "multipart/form-data; boundary=x"})
    assert refused.status_code == 503
    assert refused.json()["type"].endswith(":memory-critical")
    assert server.app.state.service._budget.promised_mb == 0


def test_nobody_is_told_ready_where_nothing_fits(server: Any) -> None:
    pretend(server, 850)  # below critical, yet no room for any analysis
    ready = server.client.get("/ready")
    assert (ready.status_code, ready.json()) == (503, {"status": "memory_critical"})
    assert server.analyze().status_code == 503
    assert server.client.get("/memory").json()["counters"]["cleanups"]["emergency"] == 1


def test_without_a_server_that_ends_it_a_service_is_not_recycled(
    serve: Callable[..., Any], wait_for: Callable[..., None], monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    monkeypatch.setattr("app.core.memory_guard.RECYCLE_SECONDS", 0.0)
    server = shrink(serve(memory_recycle=True))
    service = server.app.state.service
    service.on_recycle = None  # as under another server than ours
    service._guard._fresh_rss_mb = 100
    pretend(server, 900)
    wait_for(lambda: "MEMORY_RECYCLE has no effect" in caplog.text)
    for _ in range(3):  # asked again, it says no more, and never that the process ends
        service._recycle()
    assert caplog.text.count("MEMORY_RECYCLE has no effect") == 1
    assert "this process ends" not in caplog.text
    pretend(server, 300)
    wait_for(lambda: server.client.get("/ready").status_code == 200)
