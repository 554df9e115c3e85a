"""The pipeline lets go of what it no longer needs, and of everything when it is told to stop."""

from __future__ import annotations

import io
import logging
import re
from threading import Event

import pytest

from app.core.errors import AnalysisTimeout, ElocuteError, InvalidInput, ModelError, TextWithoutWords, UnsupportedAudio
from app.core.results import AnalysisRequest
from app.core.settings import Settings
from app.routers.handlers.audio_processing_handler import AudioProcessingHandler
from tests.voice import encode, say

TEXT = "We call it a bear."


@pytest.mark.parametrize(("audio", "error"), [(encode(say(TEXT)), None), (b"no sound" * 50, UnsupportedAudio)])
def test_the_upload_is_closed_when_it_is_decoded(
    pipeline: AudioProcessingHandler, audio: bytes, error: type[ElocuteError] | None
) -> None:
    file = io.BytesIO(audio)
    request = AnalysisRequest(file, TEXT, None, "id")
    if error is None:
        assert pipeline.analyze(request, Event()).request_id == "id"
    else:
        with pytest.raises(error):
            pipeline.analyze(request, Event())
    assert file.closed


def test_it_stops_between_stages(pipeline: AudioProcessingHandler) -> None:
    cancelled = Event()
    cancelled.set()
    with pytest.raises(AnalysisTimeout):
        pipeline.analyze(AnalysisRequest(encode(say(TEXT)), TEXT, None, "id"), cancelled)


def test_a_wrong_text_is_told_of_before_anything_is_decoded(pipeline: AudioProcessingHandler) -> None:
    with pytest.raises(TextWithoutWords):
        pipeline.analyze(AnalysisRequest(b"no sound", "...", None, "id"), Event())
    with pytest.raises(InvalidInput) as raised:
        pipeline.analyze(AnalysisRequest(b"no sound", None, [["K"]], "id"), Event())
    assert raised.value.field == "pronunciations"


def test_the_same_recording_scores_the_same_every_time(pipeline: AudioProcessingHandler) -> None:
    request = AnalysisRequest(encode(say(TEXT)), TEXT, None, "id")
    first, second = (pipeline.analyze(request, Event()) for _ in range(2))
    assert first.scores == second.scores
    assert first.words == second.words


def test_without_the_model_cache_every_analysis_loads_anew_and_keeps_nothing() -> None:
    handler = AudioProcessingHandler(Settings(_env_file=None, enable_model_cache=False))
    handler.load()
    request = AnalysisRequest(encode(say(TEXT)), TEXT, None, "id")
    first, second = (handler.analyze(request, Event()) for _ in range(2))
    assert first.scores == second.scores
    assert handler.model_loads == {"phoneme": 3}
    assert handler._cache.loaded == []


def test_with_it_models_are_loaded_once(pipeline: AudioProcessingHandler) -> None:
    request = AnalysisRequest(encode(say(TEXT)), TEXT, None, "id")
    for _ in range(2):
        pipeline.analyze(request, Event())
    assert pipeline.model_loads == {"phoneme": 1}


def test_a_model_that_is_not_there_is_named() -> None:
    handler = AudioProcessingHandler(Settings(_env_file=None, phoneme_model="./no-such-model"))
    with pytest.raises(ModelError, match="no-such-model"):
        handler.load()


def test_its_stages_are_logged_where_that_is_asked_for(
    pipeline: AudioProcessingHandler, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="app.memory.stages")
    pipeline.analyze(AnalysisRequest(encode(say(TEXT)), TEXT, None, "id"), Event())
    lines = [record.getMessage() for record in caplog.records if record.name == "app.memory.stages"]
    figures = r" RSS: \d+\.\dMB, Percent: \d+\.\d%, Available: \d+\.\dMB"
    assert [bool(re.fullmatch(r"\[Audio (Processing|Analysis Pipeline)\]" + figures, line)) for line in lines] == [
        True
    ] * 2
    assert [line[: line.index("]") + 1] for line in lines] == ["[Audio Processing]", "[Audio Analysis Pipeline]"]
