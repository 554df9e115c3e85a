"""Speech within the pipeline: what is spoken back, what is kept, and what becomes of it where that fails."""

from __future__ import annotations

import errno
from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path
from threading import Event

import numpy as np
import pytest
import soundfile

from app.core.errors import InvalidInput, InvalidPronunciations, ModelError
from app.core.memory_budget import MemoryBudget
from app.core.memory_usage import Usage
from app.core.memory_utils import STAGE_LOGGER
from app.core.results import AnalysisRequest, AnalysisResult, ReferenceKind, SpeechRequest
from app.core.settings import Settings
from app.core.temp_audio_cache import TempAudioCache
from app.core.voice import Phrase
from app.routers.handlers import audio_processing_handler
from app.routers.handlers.audio_processing_handler import AudioProcessingHandler
from tests.voice import encode, say

TEXT = "Please turn right at the next corner."


@pytest.fixture
def clips(tmp_path: Path) -> Iterator[TempAudioCache]:
    cache = TempAudioCache(tmp_path / "clips", max_age_seconds=60, max_bytes=2**22, max_files=10)
    cache.open()
    yield cache
    cache.close()


@pytest.fixture
def caching(clips: TempAudioCache) -> Iterator[AudioProcessingHandler]:
    handler = AudioProcessingHandler(Settings(_env_file=None), clips=clips)
    handler.load()
    yield handler
    handler.close()


def analyze(handler: AudioProcessingHandler, kind: ReferenceKind, text: str | None = TEXT) -> AnalysisResult:
    return handler.analyze(AnalysisRequest(BytesIO(encode(say(TEXT))), text, None, "id", kind), Event())


def test_without_asking_nothing_is_spoken_and_nothing_loaded(caching: AudioProcessingHandler) -> None:
    result = analyze(caching, "none")
    assert result.reference_audio is None
    assert result.models.tts is None
    assert "tts" not in caching.model_loads


def test_inline_has_the_clip(pipeline: AudioProcessingHandler) -> None:
    result = analyze(pipeline, "inline")
    assert result.reference_audio is not None
    assert result.reference_audio.clip is not None
    wave, rate = soundfile.read(BytesIO(b"".join(result.reference_audio.clip.pieces())))
    assert rate == result.reference_audio.sample_rate == 24_000
    assert 1.5 < len(wave) / rate < 4
    assert result.models.tts == "hibari-heart"
    assert result.timings_ms.tts > 0
    assert result.warnings == []


def test_a_url_leads_to_the_clip_and_the_upload_is_kept_too(
    caching: AudioProcessingHandler, clips: TempAudioCache
) -> None:
    result = analyze(caching, "url")
    assert result.reference_audio is not None
    assert result.reference_audio.clip is None
    kept = clips.read(result.reference_audio.clip_id or "")
    assert kept is not None
    with kept[1] as file:
        assert soundfile.info(BytesIO(file.read())).duration == pytest.approx(result.reference_audio.seconds)
    upload = clips.read(result.audio.clip_id or "")
    assert upload is not None
    with upload[1] as file:
        assert file.read() == encode(say(TEXT))
    assert upload[0].media_type == "audio/wav"


def test_an_upload_larger_than_the_cache_drives_nothing_out(tmp_path: Path) -> None:
    cache = TempAudioCache(tmp_path / "clips", max_age_seconds=60, max_bytes=200_000, max_files=10)
    cache.open()
    kept = cache.put(bytes(100_000), "audio/wav")
    handler = AudioProcessingHandler(Settings(_env_file=None), clips=cache)
    long = encode(np.random.default_rng(0).normal(0, 0.1, 10 * 16_000).astype(np.float32))
    result = handler.analyze(AnalysisRequest(BytesIO(long), None, None, "id"), Event())
    assert result.audio.clip_id is None
    assert result.warnings == ["The recording could not be kept in the temporary cache."]
    assert cache.find(kept)
    handler.close()
    cache.close()


def fail_to_write(*_: object, **__: object) -> str:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_costs_the_clip_and_not_the_analysis(
    caching: AudioProcessingHandler, clips: TempAudioCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clips, "put", fail_to_write)
    result = analyze(caching, "url")
    assert result.reference_audio is None
    assert result.audio.clip_id is None
    assert [warning.split(" could")[0] for warning in result.warnings] == [
        "The recording",
        "There is no reference_audio: the clip",
    ]
    assert result.scores.pronunciation is not None
    assert "device" not in str(result.warnings)


def test_a_voice_that_cannot_be_loaded_costs_the_clip_and_not_the_analysis(
    caching: AudioProcessingHandler, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise ModelError("/a/secret/path is broken")

    monkeypatch.setattr(caching._speech.synthesizer, "_make", fail)
    result = analyze(caching, "inline")
    assert result.reference_audio is None
    assert result.warnings == ["There is no reference_audio: the voice failed."]
    with pytest.raises(ModelError):
        caching.synthesize(SpeechRequest("hello"), Event())


def test_a_voice_that_is_nowhere_keeps_the_service_from_starting() -> None:
    with pytest.raises(ModelError, match="TTS_MODEL '/no/such/voice'"):
        AudioProcessingHandler(Settings(_env_file=None, tts_model="/no/such/voice")).load()


def test_want_of_memory_costs_the_clip_and_not_the_analysis() -> None:
    used = 0.0
    budget = MemoryBudget(400.0, lambda: Usage(used, used, 1000.0), lambda: 1)
    handler = AudioProcessingHandler(Settings(_env_file=None), budget)
    handler.load()
    needed = handler._speech.synthesizer.memory_mb

    def grow(phrases: Sequence[Phrase], speed: float = 1.0) -> float:
        nonlocal used
        used = 399.0
        return needed(phrases, speed)

    handler._speech.synthesizer.memory_mb = grow  # type: ignore[method-assign]
    result = analyze(handler, "inline")
    assert result.reference_audio is None
    assert "short of memory" in result.warnings[0]
    handler.close()


def test_a_text_too_long_to_say_is_refused_before_anything_is_decoded(pipeline: AudioProcessingHandler) -> None:
    broken = AnalysisRequest(BytesIO(b"no audio"), "hello there " * 300, None, "id", "inline")
    with pytest.raises(InvalidInput, match="s to say") as refused:
        pipeline.analyze(broken, Event())
    assert refused.value.field == "text"


def test_the_clip_follows_the_pronunciations(pipeline: AudioProcessingHandler) -> None:
    def spoken(pronunciations: list[list[str] | None] | None) -> bytes:
        request = AnalysisRequest(BytesIO(encode(say(TEXT))), TEXT, pronunciations, "id", "inline")
        reference = pipeline.analyze(request, Event()).reference_audio
        assert reference is not None
        assert reference.clip is not None
        return b"".join(reference.clip.pieces())

    light: list[list[str] | None] = [None, None, ["L", "AY1", "T"], None, None, None, None]
    assert spoken(None) == spoken(None)
    assert spoken(light) != spoken(None)


@pytest.mark.parametrize(
    ("request_", "error", "field"),
    [
        (SpeechRequest(phonemes=["S", "QQ"]), InvalidInput, "phonemes"),
        (SpeechRequest(phonemes=["S"] * 301), InvalidInput, "phonemes"),
        (SpeechRequest("?!"), InvalidInput, "text"),
        (SpeechRequest("hello there " * 300), InvalidInput, "text"),
        (SpeechRequest("hello there " * 130, speed=0.5), InvalidInput, "text"),
        (SpeechRequest("hello", [None, None]), InvalidPronunciations, "pronunciations"),
    ],
)
def test_what_cannot_be_said_is_refused(
    pipeline: AudioProcessingHandler, request_: SpeechRequest, error: type[InvalidInput], field: str
) -> None:
    with pytest.raises(error) as refused:
        pipeline.synthesize(request_, Event())
    assert refused.value.field == field


def test_speed_and_phonemes(pipeline: AudioProcessingHandler) -> None:
    slow = pipeline.synthesize(SpeechRequest("Good morning.", speed=0.5), Event()).seconds
    fast = pipeline.synthesize(SpeechRequest("Good morning.", speed=2.0), Event()).seconds
    assert 3 < slow / fast < 5
    assert pipeline.synthesize(SpeechRequest(phonemes=["S", "IH1", "NG", "K"]), Event()).seconds > 0.4


def test_the_voice_is_dropped_when_memory_is_short_and_loaded_again_when_needed() -> None:
    handler = AudioProcessingHandler(Settings(_env_file=None, tts_unload_seconds=0))
    handler.synthesize(SpeechRequest("hello"), Event())
    assert handler.model_loads["tts"] == 1
    handler.drop_caches()
    handler.synthesize(SpeechRequest("hello"), Event())
    assert handler.model_loads["tts"] == 2
    handler.release_unused()
    handler.synthesize(SpeechRequest("hello"), Event())
    assert handler.model_loads["tts"] == 3
    handler.close()


def test_an_unused_voice_gives_its_memory_back_though_no_request_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    cleanups: list[bool] = []
    handler = AudioProcessingHandler(Settings(_env_file=None, tts_unload_seconds=0))
    monkeypatch.setattr(
        audio_processing_handler, "force_cleanup", lambda: cleanups.append("tts" in handler._cache.loaded)
    )
    handler.release_unused()
    assert cleanups == []
    handler.synthesize(SpeechRequest("hello"), Event())
    handler.release_unused()
    handler.release_unused()
    assert cleanups == [False]
    handler.close()


def test_the_stage_is_tracked(pipeline: AudioProcessingHandler, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", STAGE_LOGGER)
    pipeline.synthesize(SpeechRequest("hello"), Event())
    assert any(line.startswith("[TTS Audio Generation] RSS: ") for line in caplog.messages)
