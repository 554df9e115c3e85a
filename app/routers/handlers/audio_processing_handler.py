"""The pipeline, stage by stage: recording -> posteriors -> alignment -> scores. Knows nothing of HTTP.

Each stage takes what the last one made and lets go of it: the upload is closed when it is decoded, the samples die
when they have been heard, the posteriors when they are scored.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from io import SEEK_END, BytesIO
from threading import Event
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from app.core.acoustic_engine import FramePosteriors, load_engine
from app.core.alignment import align, alignment_mb
from app.core.audio import SAMPLE_RATE, Recording, decode_recording
from app.core.audio_quality import signal_to_noise_db
from app.core.errors import AnalysisTimeout, InvalidInput
from app.core.fluency import Fluency, measure_fluency
from app.core.lexicon import Lexicon, LexiconWord
from app.core.memory_budget import MemoryBudget, analysis_mb, decoding_mb
from app.core.memory_utils import MemoryTracker
from app.core.model_cache import ModelCache
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
PHONEME_MODEL = "phoneme"
"""Name in the model cache of all that an analysis needs."""
CONTOUR_STEP_SECONDS = 0.03


@dataclass(frozen=True, slots=True)
class _Models:
    """What is loaded once and kept."""

    lexicon: Lexicon
    extractor: PhonemeExtractor
    pitch: PitchTracker
    scorer: PronunciationScorer


@dataclass(frozen=True, slots=True)
class _Heard:
    """What is left of a recording once the models have heard it: everything but its samples."""

    phonemes: list[HeardSegment]
    pitch: PitchContour
    duration: float
    source_sample_rate: int
    source_channels: int
    format: str
    clipping_ratio: float
    snr_db: float | None


class AudioProcessingHandler:
    """Owns the models and runs one analysis after another; safe to call from several threads.

    Args:
        settings: which model to load, whether to keep it, and the limits on a recording.
        budget: promises the memory of each analysis before it begins; unlimited where left out.
    """

    def __init__(self, settings: Settings, budget: MemoryBudget | None = None) -> None:
        self._settings = settings
        self._budget = budget or MemoryBudget.unlimited()
        self._cache = ModelCache(keep=settings.enable_model_cache)

    @property
    def model_loads(self) -> dict[str, int]:
        """How often each model was loaded, by name."""
        return self._cache.loads

    def load(self) -> None:
        """Load the models and warm up; takes a second. Without the model cache they are only tried.

        Raises:
            ModelError: a model cannot be loaded.
        """
        with self._cache.lease(PHONEME_MODEL, self._load) as models:
            models.extractor.warm_up()
            models.pitch.track(np.random.default_rng(0).normal(0, 0.1, SAMPLE_RATE).astype(np.float32))

    def drop_caches(self) -> None:
        """Let go of what can be made again."""
        if PHONEME_MODEL in self._cache.loaded:
            with self._cache.lease(PHONEME_MODEL, self._load) as models:
                models.lexicon.clear_cache()

    def close(self) -> None:
        """Let go of the models."""
        self._cache.clear()

    def analyze(self, request: AnalysisRequest, cancelled: Event) -> AnalysisResult:
        """Analyse one recording.

        Args:
            request: a binary file in it is closed as soon as it is decoded.
            cancelled: looked at between stages; once set, the analysis stops.

        Raises:
            ElocuteError: what is wrong with the request; ``MemoryCritical`` where the memory for it cannot be had now,
                ``AnalysisTimeout`` after ``cancelled``.
        """
        with MemoryTracker("Audio Analysis Pipeline"), self._cache.lease(PHONEME_MODEL, self._load) as models:
            clock = _StageClock(cancelled)
            words = models.lexicon.words(request.text, request.pronunciations) if request.text is not None else []
            if request.text is None and request.pronunciations is not None:
                raise InvalidInput("Pronunciations need a text that they belong to.", field="pronunciations")
            with MemoryTracker("Audio Processing"):
                recording = self._decode(request.audio)
            clock.done("decode")
            readings = [[reading.phonemes for reading in word.pronunciations] for word in words]
            needed = models.extractor.memory_factor * analysis_mb(recording.duration)
            needed += alignment_mb(_frames(recording.duration), readings)
            with self._budget.promise(needed, field="audio"):
                posteriors = models.extractor.extract(recording.waveform, cancelled)
                clock.done("acoustic")
                heard = _hear(recording, posteriors, models.pitch)
                del recording
                word_scores, scores, fluency = _score_text(words, posteriors, heard, models.scorer, cancelled)
                del posteriors
            clock.done("scoring")
            name = models.extractor.name
        return AnalysisResult(
            request_id=request.request_id,
            mode="unscripted" if request.text is None else "scripted",
            language=LANGUAGE,
            text=request.text,
            audio=AudioInfo(
                duration=heard.duration,
                sample_rate=heard.source_sample_rate,
                channels=heard.source_channels,
                format=heard.format,
                speech_duration=fluency.speech_duration,
                snr_db=heard.snr_db,
                clipping_ratio=heard.clipping_ratio,
            ),
            scores=scores,
            words=word_scores,
            phonemes=[_decoded(h, heard.duration) for h in heard.phonemes],
            fluency=FluencyInfo(
                fluency.words_per_minute,
                fluency.articulation_rate,
                fluency.phonation_ratio,
                [Pause(start, end) for start, end in fluency.pauses],
            ),
            pitch=PitchInfo(heard.pitch.median_hz, heard.pitch.range_semitones, _contour(heard.pitch)),
            models=ModelNames(phoneme=name),
            timings_ms=clock.timings(),
        )

    def _decode(self, audio: bytes | memoryview | BinaryIO) -> Recording:
        """Decode an upload and close it, whatever comes of it."""
        longest = self._settings.max_audio_seconds
        with BytesIO(audio) if isinstance(audio, bytes | memoryview) else audio as file:
            size = file.seek(0, SEEK_END)
            with self._budget.promise(decoding_mb(size, longest), field="audio"):
                return decode_recording(file, max_seconds=longest)

    def _load(self) -> _Models:
        settings = self._settings
        return _Models(
            Lexicon(),
            PhonemeExtractor(load_engine(settings.phoneme_model, quantized=settings.use_quantization)),
            PitchTracker(),
            RuleScorer(load_rules()),
        )


def _frames(seconds: float) -> int:
    """Frames of 20 ms, the shortest that a model has here, and one more for what is left."""
    return math.ceil(50 * seconds) + 1


def _hear(recording: Recording, posteriors: FramePosteriors, tracker: PitchTracker) -> _Heard:
    """Everything that needs the samples themselves."""
    phonemes = free_decode(posteriors)
    return _Heard(
        phonemes=phonemes,
        pitch=_pitch_of_speech(tracker, recording.waveform, phonemes),
        duration=recording.duration,
        source_sample_rate=recording.source_sample_rate,
        source_channels=recording.source_channels,
        format=recording.format,
        clipping_ratio=recording.clipping_ratio,
        snr_db=signal_to_noise_db(recording.waveform, [(h.start, h.end) for h in phonemes]),
    )


def _score_text(
    words: list[LexiconWord],
    posteriors: FramePosteriors,
    heard: _Heard,
    scorer: PronunciationScorer,
    cancelled: Event,
) -> tuple[list[Word], SentenceScores, Fluency]:
    """Align and score; without words, the fluency alone."""
    sounds = [(h.phoneme, h.start, h.end) for h in heard.phonemes]
    pitch_range = heard.pitch.range_semitones
    if not words:
        fluency = measure_fluency(sounds, None, heard.duration)
        score = scorer.fluency_without_text(fluency, pitch_range)
        return [], SentenceScores(None, None, score, None, None), fluency
    candidates = [[[CLASS_IDS[p] for p in c.phonemes] for c in word.pronunciations] for word in words]
    alignment = align(posteriors.log_probs, candidates, cancelled=cancelled)
    fluency = measure_fluency(sounds, sum(word is not None for word in alignment.words), heard.duration)
    spoken = SpokenText(words, alignment, posteriors, heard.phonemes, fluency, pitch_range)
    return (*scorer.score(spoken), fluency)


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


def _decoded(heard: HeardSegment, duration: float) -> DecodedPhoneme:
    return DecodedPhoneme(heard.phoneme, ipa(heard.phoneme), heard.start, min(heard.end, duration), heard.probability)


def _contour(pitch: PitchContour) -> list[PitchPoint]:
    """The contour, thinned to what a graph shows."""
    points: list[PitchPoint] = []
    for at, hz in zip(pitch.times.tolist(), pitch.hz.tolist(), strict=True):
        if not points or at - points[-1].time >= CONTOUR_STEP_SECONDS - 1e-6:
            points.append(PitchPoint(at, hz))
    return points
