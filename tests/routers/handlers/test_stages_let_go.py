"""Every stage's buffers die as soon as the next has what it needs, and on every error, without the collector's help."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable, Iterator
from io import BytesIO
from threading import Event
from typing import Any

import httpx
import pytest

from app.core.errors import ElocuteError
from app.core.memory_budget import MemoryBudget
from app.core.results import AnalysisRequest
from app.core.settings import Settings
from app.main import create_app
from app.routers.handlers import audio_processing_handler, hearing
from app.routers.handlers.audio_processing_handler import AudioProcessingHandler
from app.server import Server, listen
from tests.voice import encode, say

TEXT = "Please turn right at the next corner."


class Watch:
    """Weak references to what the stages make, by name, and which of them are alive when a stage begins."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.made: dict[str, weakref.ref[Any]] = {}
        self.alive_at: dict[str, set[str]] = {}
        self.fail_at: str | None = None
        self._patch = monkeypatch
        self._wrap("decode_recording", self._before, lambda made: self.see("samples", made.waveform))
        self._wrap("free_decode", self._before)
        self._wrap("align", self._before)
        self._wrap("AnalysisResult", self._before)

    def see(self, name: str, thing: object) -> None:
        self.made[name] = weakref.ref(thing)

    @property
    def alive(self) -> set[str]:
        """What holds memory; an upload does so until it is closed."""
        things = {name: ref() for name, ref in self.made.items()}
        return {name for name, thing in things.items() if thing is not None and not getattr(thing, "closed", False)}

    def _before(self, stage: str, arguments: tuple[Any, ...]) -> None:
        if stage == "decode_recording":
            self.see("upload", arguments[0])
        if stage == "free_decode":
            self.see("log_probs", arguments[0].log_probs)
            self.see("frames", arguments[0].frames)
        self.alive_at[stage] = self.alive
        if stage == self.fail_at:
            raise RuntimeError("a stage fails")

    def _wrap(self, name: str, before: Callable[..., None], after: Callable[[Any], None] | None = None) -> None:
        module = audio_processing_handler if hasattr(audio_processing_handler, name) else hearing
        original = getattr(module, name)

        def wrapper(*args: Any, **kwargs: Any) -> Any:
            before(name, args)
            made = original(*args, **kwargs)
            if after is not None:
                after(made)
            return made

        self._patch.setattr(module, name, wrapper)


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Iterator[Watch]:
    gc.collect()
    gc.disable()  # what dies has to die by itself
    yield Watch(monkeypatch)
    gc.enable()


def request(audio: bytes) -> AnalysisRequest:
    return AnalysisRequest(BytesIO(audio), TEXT, None, "id")


def test_each_stage_finds_only_what_it_needs(pipeline: AudioProcessingHandler, watch: Watch) -> None:
    pipeline.analyze(request(encode(say(TEXT))), Event())
    assert watch.alive_at["decode_recording"] == {"upload"}
    assert watch.alive_at["free_decode"] == {"samples", "log_probs", "frames"}, "the upload is closed"
    assert watch.alive_at["align"] == {"log_probs", "frames"}, "the samples are gone"
    assert watch.alive_at["AnalysisResult"] == set(), "the posteriors are gone"
    assert watch.alive == set()


@pytest.mark.parametrize("stage", ["decode_recording", "free_decode", "align", "AnalysisResult"])
def test_a_stage_that_fails_keeps_nothing(pipeline: AudioProcessingHandler, watch: Watch, stage: str) -> None:
    watch.fail_at = stage
    with pytest.raises(RuntimeError, match="a stage fails"):
        pipeline.analyze(request(encode(say(TEXT))), Event())
    assert watch.alive == set()


def test_an_analysis_that_is_stopped_keeps_nothing(pipeline: AudioProcessingHandler, watch: Watch) -> None:
    stop = Event()
    stop.set()
    with pytest.raises(ElocuteError):
        pipeline.analyze(request(encode(say(TEXT))), stop)
    assert watch.made
    assert watch.alive == set()


@pytest.fixture
def client(pipeline: AudioProcessingHandler) -> Iterator[httpx.Client]:
    """A client of the real pipeline behind real HTTP; no cleanup ever runs."""
    settings = Settings(_env_file=None, aggressive_memory_cleanup=False, memory_cleanup_interval=10**6)
    app = create_app(settings, lambda *_: _Kept(pipeline))
    listener = listen("127.0.0.1", 0)
    server = Server(app, settings)
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
    thread.start()
    with httpx.Client(base_url=f"http://127.0.0.1:{listener.getsockname()[1]}", timeout=30) as client:
        while not server.started or client.get("/ready").status_code != 200:
            Event().wait(0.01)
        yield client
    server.should_exit = True
    thread.join(15)
    assert not thread.is_alive()


class _Kept:
    """The session's pipeline, which a service must not load again or close."""

    def __init__(self, pipeline: AudioProcessingHandler) -> None:
        self.analyze = pipeline.analyze
        self.synthesize = pipeline.synthesize
        self.model_loads: dict[str, int] = {}

    def load(self) -> None:
        """It is loaded."""

    def drop_caches(self) -> None:
        """Others use them."""

    def release_unused(self) -> None:
        """Others use them."""

    def close(self) -> None:
        """Others use it."""


@pytest.mark.parametrize("stage", [None, "decode_recording", "free_decode", "align"])
def test_over_http_nothing_outlives_the_answer(
    client: httpx.Client, watch: Watch, wait_for: Callable[..., None], stage: str | None
) -> None:
    watch.fail_at = stage
    answer = client.post("/analyze", files={"audio": ("a.wav", encode(say(TEXT)))}, data={"text": TEXT})
    assert answer.status_code == (500 if stage else 200)
    assert watch.made
    wait_for(lambda: watch.alive == set())


def test_what_is_refused_for_want_of_memory_keeps_nothing(watch: Watch, pipeline: AudioProcessingHandler) -> None:
    from app.core.errors import TooLarge
    from app.core.memory_usage import Usage

    budget = MemoryBudget(100, lambda: Usage(70, 70, 120), lambda: 1)  # enough to decode, not to analyse
    budget.started()
    budget._floor_mb = 95
    handler = AudioProcessingHandler(Settings(_env_file=None, max_audio_seconds=10), budget)
    handler._cache = pipeline._cache
    with pytest.raises(TooLarge) as refused:
        handler.analyze(request(encode(say(TEXT))), Event())
    assert refused.value.field == "audio"
    del refused
    assert watch.made
    assert watch.alive == set()
