"""The pipeline, stage by stage: recording -> posteriors -> alignment -> scores. Knows nothing of HTTP.

Each stage takes what the last one made and lets go of it: the upload is closed when it is decoded.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from io import BytesIO
from threading import Event
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from app.core.acoustic_engine import FramePosteriors, load_engine
from app.core.alignment import align
from app.core.audio import SAMPLE_RATE, Recording, decode_recording
from app.core.audio_quality import signal_to_noise_db
from app.core.errors import AnalysisTimeout, ElocuteError, InvalidInput
from app.core.fluency import Fluency, measure_fluency
from app.core.lexicon import Lexicon, LexiconWord
from app.core.phoneme_extractor import HeardSegment, PhonemeExtractor, free_decode
from app.core.phonemes import CLASS_IDS, ipa
from app.core.pitch import PitchContour, PitchTracker
from app.core.pronunciation_scorer import PronunciationScorer, RuleScorer, SpokenText
from app.core.results import (
    AnalysisRequest,
    AnalysisResult,
    AudioInfo,
    DecodedPhoneme,
    FluencyInfo,
    ModelNames,
    Pause,
    PitchInfo,
    PitchPoint,
    SentenceScores,
    Timings,
    Word,
)
from app.core.score_rules import load_rules
from app.core.settings import Settings

LANGUAGE = "en-us"
CONTOUR_STEP_SECONDS = 0.03


@dataclass(frozen=True, slots=True)
class _Models:
    """What is loaded once and kept."""

    lexicon: Lexicon
    extractor: PhonemeExtractor
    pitch: PitchTracker
    scorer: PronunciationScorer


class AudioProcessingHandler:
    """Owns the models and runs one analysis after another; safe to call from several threads once loaded.

    Args:
        settings: which model to load, and the limits on a recording.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._models: _Models | None = None

    def load(self) -> None:
        """Load the models and warm up; takes seconds.

        Raises:
            ModelError: a model cannot be loaded.
        """
        settings = self._settings
        models = _Models(
            Lexicon(),
            PhonemeExtractor(load_engine(settings.phoneme_model, quantized=settings.use_quantization)),
            PitchTracker(),
            RuleScorer(load_rules()),
        )
        models.extractor.warm_up()
        models.pitch.track(np.random.default_rng(0).normal(0, 0.1, SAMPLE_RATE).astype(np.float32))
        self._models = models

    def close(self) -> None:
        """Let go of the models."""
        self._models = None

    def analyze(self, request: AnalysisRequest, cancelled: Event) -> AnalysisResult:
        """Analyse one recording.

        Args:
            request: a binary file in it is closed as soon as it is decoded.
            cancelled: looked at between stages; once set, the analysis stops.

        Raises:
            ElocuteError: what is wrong with the request, or ``AnalysisTimeout`` after ``cancelled``.
        """
        clock = _StageClock(cancelled)
        models = self._models
        if models is None:
            raise ElocuteError("The models are not loaded.")
        words = models.lexicon.words(request.text, request.pronunciations) if request.text is not None else []
        if request.text is None and request.pronunciations is not None:
            raise InvalidInput("Pronunciations need a text that they belong to.", field="pronunciations")
        recording = _decode(request.audio, self._settings.max_audio_seconds)
        clock.done("decode")
        posteriors = models.extractor.extract(recording.waveform, cancelled)
        clock.done("acoustic")
        heard = free_decode(posteriors)
        pitch = _pitch_of_speech(models.pitch, recording.waveform, heard)
        snr = signal_to_noise_db(recording.waveform, [(h.start, h.end) for h in heard])
        word_scores, scores, fluency = _score_text(
            words, _Heard(posteriors, heard, pitch, recording.duration), models.scorer
        )
        clock.done("scoring")
        return AnalysisResult(
            request_id=request.request_id,
            mode="unscripted" if request.text is None else "scripted",
            language=LANGUAGE,
            text=request.text,
            audio=AudioInfo(
                duration=recording.duration,
                sample_rate=recording.source_sample_rate,
                channels=recording.source_channels,
                format=recording.format,
                speech_duration=fluency.speech_duration,
                snr_db=snr,
                clipping_ratio=recording.clipping_ratio,
            ),
            scores=scores,
            words=word_scores,
            phonemes=[_decoded(h, recording.duration) for h in heard],
            fluency=FluencyInfo(
                fluency.words_per_minute,
                fluency.articulation_rate,
                fluency.phonation_ratio,
                [Pause(start, end) for start, end in fluency.pauses],
            ),
            pitch=PitchInfo(pitch.median_hz, pitch.range_semitones, _contour(pitch)),
            models=ModelNames(phoneme=models.extractor.name),
            timings_ms=clock.timings(),
        )


def _score_text(
    words: list[LexiconWord], heard: _Heard, scorer: PronunciationScorer
) -> tuple[list[Word], SentenceScores, Fluency]:
    """Align and score; without words, the fluency alone."""
    sounds = [(h.phoneme, h.start, h.end) for h in heard.phonemes]
    pitch_range = heard.pitch.range_semitones
    if not words:
        fluency = measure_fluency(sounds, None, heard.duration)
        score = scorer.fluency_without_text(fluency, pitch_range)
        return [], SentenceScores(None, None, score, None, None), fluency
    candidates = [[[CLASS_IDS[p] for p in c.phonemes] for c in word.pronunciations] for word in words]
    alignment = align(heard.posteriors.log_probs, candidates)
    fluency = measure_fluency(sounds, sum(word is not None for word in alignment.words), heard.duration)
    spoken = SpokenText(words, alignment, heard.posteriors, heard.phonemes, fluency, pitch_range)
    return (*scorer.score(spoken), fluency)


@dataclass(frozen=True, slots=True)
class _Heard:
    """What the models made of a recording of ``duration`` seconds."""

    posteriors: FramePosteriors
    phonemes: list[HeardSegment]
    pitch: PitchContour
    duration: float


class _StageClock:
    """Measures stages, and stops the analysis between them when nobody waits for it any more."""

    def __init__(self, cancelled: Event, now: Callable[[], float] = time.perf_counter) -> None:
        self._cancelled, self._now = cancelled, now
        self._start = self._last = now()
        self._stages: dict[str, float] = {}

    def done(self, stage: str) -> None:
        now = self._now()
        self._stages[stage] = 1000 * (now - self._last)
        self._last = now
        if self._cancelled.is_set():
            raise AnalysisTimeout("The analysis was stopped.")

    def timings(self) -> Timings:
        return Timings(**self._stages, tts=0.0, total=1000 * (self._last - self._start))


def _pitch_of_speech(tracker: PitchTracker, waveform: NDArray[np.float32], heard: list[HeardSegment]) -> PitchContour:
    """The pitch from the first to the last sound; tracking it costs as much as the acoustic model does."""
    if not heard:
        return PitchContour(np.zeros(0, np.float32), np.zeros(0, np.float32))
    contour = tracker.track(waveform[int(heard[0].start * SAMPLE_RATE) : int(heard[-1].end * SAMPLE_RATE)])
    return replace(contour, times=contour.times + np.float32(heard[0].start))


def _decode(audio: bytes | memoryview | BinaryIO, max_seconds: float) -> Recording:
    """Decode an upload and close it, whatever comes of it."""
    file = BytesIO(audio) if isinstance(audio, (bytes, memoryview)) else audio
    with file:
        return decode_recording(file, max_seconds=max_seconds)


def _decoded(heard: HeardSegment, duration: float) -> DecodedPhoneme:
    return DecodedPhoneme(heard.phoneme, ipa(heard.phoneme), heard.start, min(heard.end, duration), heard.probability)


def _contour(pitch: PitchContour) -> list[PitchPoint]:
    """The contour, thinned to what a graph shows."""
    points: list[PitchPoint] = []
    for at, hz in zip(pitch.times.tolist(), pitch.hz.tolist(), strict=True):
        if not points or at - points[-1].time >= CONTOUR_STEP_SECONDS - 1e-6:
            points.append(PitchPoint(at, hz))
    return points
