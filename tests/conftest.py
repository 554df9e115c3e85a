"""A real server around a pretended pipeline: it listens on a free port of this machine and is gone after the test."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi import FastAPI

from app.core import results
from app.core.clip import Clip
from app.core.results import AnalysisRequest, AnalysisResult, SpeechRequest
from app.core.settings import Settings
from app.main import create_app
from app.routers.handlers.audio_processing_handler import AudioProcessingHandler
from app.server import Server, listen

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # before the voice of the tests imports onnxruntime


def make_result(request: AnalysisRequest) -> AnalysisResult:
    """A small result with a word, a phoneme and a pause, its numbers longer than an answer shows them."""
    heard = [results.HeardPhoneme("IH", 0.612345), results.HeardPhoneme("EH", 0.2)]
    phoneme = results.Phoneme("EH", 1, "ɛ", 0.51234, 0.66, 50.04, heard)
    word = results.Word("bear", 0.4, 0.8, "mispronunciation", results.WordScores(56.0, 100.0, 64.0), [phoneme])
    return AnalysisResult(
        request_id=request.request_id,
        mode="scripted" if request.text else "unscripted",
        language="en-us",
        text=request.text,
        audio=results.AudioInfo(2.5800004, 16000, 1, "WAV", 1.93, 23.14, 0.0),
        scores=results.SentenceScores(77.26, 80.0, 87.5, 93.75, 85.0),
        words=[word] if request.text else [],
        phonemes=[results.DecodedPhoneme("W", "w", 0.31, 0.38, 0.97)],
        fluency=results.FluencyInfo(124.0, 4.1, 0.75, [results.Pause(0.71, 1.02)]),
        pitch=results.PitchInfo(212.04, 7.4, [results.PitchPoint(0.3, 208.13)]),
        models=results.ModelNames("fake"),
        timings_ms=results.Timings(3.1, 61.0, 4.2, 0.0, 70.4),
    )


def make_clip(seconds: float = 0.5) -> Clip:
    """A clip of a rising line."""
    clip = Clip(24_000, "fake")
    clip.append(np.linspace(-1, 1, int(seconds * 24_000), dtype=np.float32))
    clip.finish()
    return clip


@dataclass
class FakeHandler:
    """Stands in for the pipeline; ``behave`` is what an analysis does."""

    behave: Callable[[AnalysisRequest, threading.Event], AnalysisResult] = lambda request, _: make_result(request)
    on_load: Callable[[], None] = lambda: None
    speak: Callable[[SpeechRequest, threading.Event], Clip] = lambda *_: make_clip()
    requests: list[AnalysisRequest] = field(default_factory=list)
    speeches: list[SpeechRequest] = field(default_factory=list)
    audio: list[bytes] = field(default_factory=list)
    closed: bool = False
    dropped: int = 0
    released: int = 0
    model_loads: dict[str, int] = field(default_factory=lambda: {"fake": 1})

    def load(self) -> None:
        self.on_load()

    def drop_caches(self) -> None:
        self.dropped += 1

    def release_unused(self) -> None:
        self.released += 1

    def close(self) -> None:
        self.closed = True

    def analyze(self, request: AnalysisRequest, cancelled: threading.Event) -> AnalysisResult:
        self.requests.append(request)
        assert not isinstance(request.audio, bytes | memoryview)
        self.audio.append(request.audio.read())
        return self.behave(request, cancelled)

    def synthesize(self, request: SpeechRequest, cancelled: threading.Event) -> Clip:
        self.speeches.append(request)
        return self.speak(request, cancelled)


@dataclass
class Running:
    """A server in a thread."""

    app: FastAPI
    server: Server
    thread: threading.Thread
    handler: FakeHandler
    port: int
    client: httpx.Client

    def analyze(self, **kwargs: Any) -> httpx.Response:
        """Post an analysis, of three bytes where nothing else is said."""
        if not kwargs:
            kwargs = {"files": {"audio": ("a.wav", b"abc")}}
        return self.client.post("/analyze", **kwargs)

    def stop(self) -> None:
        self.client.close()
        self.server.should_exit = True
        self.thread.join(10)
        assert not self.thread.is_alive()


def wait_until(holds: Callable[[], object], seconds: float = 5.0) -> None:
    """Wait until something holds, or fail."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it never came to hold"
        time.sleep(0.005)


def start_server(handler: FakeHandler, *, wait: bool = True, **chosen: Any) -> Running:
    """Serve with the default settings but the given ones, whatever the environment says."""
    defaults = {name: setting.default for name, setting in Settings.model_fields.items()}
    settings = Settings(_env_file=None, **defaults | chosen)
    app = create_app(settings, lambda *_: handler)
    listener = listen("127.0.0.1", 0)
    port = listener.getsockname()[1]
    server = Server(app, settings)
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
    thread.start()
    wait_until(lambda: server.started)
    if wait:
        wait_until(lambda: app.state.service.state == "ready")
    client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10)
    return Running(app, server, thread, handler, port, client)


@pytest.fixture
def wait_for() -> Callable[..., None]:
    return wait_until


@pytest.fixture
def handler() -> FakeHandler:
    return FakeHandler()


@pytest.fixture
def serve(handler: FakeHandler) -> Iterator[Callable[..., Running]]:
    """Start servers with the given settings, ready unless told not to wait for that."""
    with ExitStack() as stack:

        def start(**arguments: Any) -> Running:
            running = start_server(handler, **arguments)
            stack.callback(running.stop)
            return running

        yield start


@pytest.fixture(scope="module")
def shared() -> Iterator[Running]:
    """One server with the default settings, for tests that change nothing in it."""
    running = start_server(FakeHandler())
    yield running
    running.stop()


@pytest.fixture(scope="session")
def pipeline() -> AudioProcessingHandler:
    """The real pipeline, its models loaded once for all tests."""
    handler = AudioProcessingHandler(Settings(_env_file=None))
    handler.load()
    return handler
