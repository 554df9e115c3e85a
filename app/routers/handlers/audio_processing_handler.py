"""The pipeline, stage by stage: recording -> posteriors -> alignment -> scores. Knows nothing of HTTP.

Each stage takes what the last one made and lets go of it: the upload is closed when it is decoded, the samples die
when they have been heard, the posteriors when they are scored.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from io import SEEK_END, BytesIO
from threading import Event
from typing import BinaryIO

import numpy as np

from app.core.acoustic_engine import AcousticEngine, FramePosteriors, load_engine
from app.core.alignment import align, alignment_mb
from app.core.audio import SAMPLE_RATE, Recording, decode_recording
from app.core.clip import Clip
from app.core.errors import AnalysisTimeout, InvalidInput
from app.core.fluency import Fluency, measure_fluency
from app.core.head_scorer import HeadScorer
from app.core.hub import resolve
from app.core.lexicon import Lexicon, LexiconWord
from app.core.memory_budget import MemoryBudget, analysis_mb, decoding_mb
from app.core.memory_utils import MemoryTracker, force_cleanup
from app.core.model_cache import ModelCache
from app.core.phoneme_extractor import PhonemeExtractor
from app.core.phonemes import CLASS_IDS
from app.core.pitch import PitchTracker
from app.core.pronunciation_scorer import PronunciationScorer, SpokenText
from app.core.results import (
    AnalysisRequest,
    AnalysisResult,
    AudioInfo,
    FluencyInfo,
    ModelNames,
    Pause,
    ReferenceAudio,
    SentenceScores,
    SpeechRequest,
    Timings,
    Word,
)
from app.core.rule_scorer import RuleScorer
from app.core.score_rules import load_rules
from app.core.settings import Settings
from app.core.temp_audio_cache import TempAudioCache
from app.core.voice import Phrase
from app.routers.handlers.hearing import Heard, hear
from app.routers.handlers.speech_handler import SpeechHandler

LANGUAGE = "en-us"
PHONEME_MODEL = "phoneme"
"""Name in the model cache of all that an analysis needs."""


@dataclass(frozen=True, slots=True)
class _Models:
    """What is loaded once and kept."""

    extractor: PhonemeExtractor
    pitch: PitchTracker
    scorer: PronunciationScorer


class AudioProcessingHandler:
    """Owns the models and runs one analysis after another; safe to call from several threads.

    Args:
        settings: which model to load, whether to keep it, and the limits on a recording.
        budget: promises the memory of each analysis before it begins; unlimited where left out.
        clips: the temporary cache, None where it is off.
    """

    def __init__(
        self, settings: Settings, budget: MemoryBudget | None = None, clips: TempAudioCache | None = None
    ) -> None:
        self._settings = settings
        self._budget = budget or MemoryBudget.unlimited()
        self._cache = ModelCache(keep=settings.enable_model_cache)
        self._lexicon = Lexicon()
        self._speech = SpeechHandler(settings, self._budget, self._cache, clips)

    @property
    def model_loads(self) -> dict[str, int]:
        """How often each model was loaded, by name."""
        return self._cache.loads

    def load(self) -> None:
        """Load the models and warm up; takes a second. Without the model cache they are only tried.

        The voice is loaded when it is needed; that it is there is seen to now, as a download takes its time.

        Raises:
            ModelError: a model cannot be loaded, or the voice is nowhere to be found.
        """
        if self._settings.tts_model is not None:
            resolve(self._settings.tts_model, "TTS_MODEL")
        with self._cache.lease(PHONEME_MODEL, self._load) as models:
            models.extractor.warm_up()
            models.pitch.track(np.random.default_rng(0).normal(0, 0.1, SAMPLE_RATE).astype(np.float32))

    def drop_caches(self) -> None:
        """Let go of what can be made again: the voice first of all, unless it speaks."""
        self._speech.synthesizer.unload()
        self._lexicon.clear_cache()

    def release_unused(self) -> None:
        """Let go of what nobody has needed for a while."""
        if self._speech.synthesizer.unload_unused():
            force_cleanup()  # where no request comes, nobody else gives the memory back

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
            words, phrases = self._plan(request)
            with MemoryTracker("Audio Processing"):
                recording, clip_id, warnings = self._decode(request.audio)
            clock.done("decode")
            readings = [[reading.phonemes for reading in word.pronunciations] for word in words]
            needed = models.extractor.memory_factor * analysis_mb(recording.duration)
            needed += alignment_mb(_frames(recording.duration), readings)
            with self._budget.promise(needed, field="audio"):
                posteriors = models.extractor.extract(recording.waveform, cancelled)
                clock.done("acoustic")
                heard = hear(recording, posteriors, models.pitch)
                del recording
                word_scores, scores, fluency = _score_text(words, posteriors, heard, models.scorer, cancelled)
                del posteriors
            clock.done("scoring")
            reference: ReferenceAudio | None = None
            if phrases:
                reference, lost = self._speech.reference(phrases, request.reference_audio, cancelled)
                warnings += lost
                clock.done("tts")
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
                clip_id=clip_id,
            ),
            scores=scores,
            words=word_scores,
            phonemes=heard.decoded(),
            fluency=FluencyInfo(
                fluency.words_per_minute,
                fluency.articulation_rate,
                fluency.phonation_ratio,
                [Pause(start, end) for start, end in fluency.pauses],
            ),
            pitch=heard.melody(),
            models=ModelNames(phoneme=name, tts=reference.voice if reference else None),
            timings_ms=clock.timings(),
            reference_audio=reference,
            warnings=warnings,
        )

    def synthesize(self, request: SpeechRequest, cancelled: Event) -> Clip:
        """Say a text or phonemes.

        Args:
            request: one of the two.
            cancelled: looked at between phrases; once set, the speech stops.

        Raises:
            ElocuteError: as :meth:`analyze`.
        """
        return self._speech.synthesize(request, self._lexicon, cancelled)

    def _plan(self, request: AnalysisRequest) -> tuple[list[LexiconWord], list[Phrase]]:
        """The words of the text, and what is to be spoken back; what is wrong with them is found before the audio."""
        if request.text is None:
            if request.pronunciations is not None:
                raise InvalidInput("Pronunciations need a text that they belong to.", field="pronunciations")
            return [], []
        words = self._lexicon.words(request.text, request.pronunciations)
        speak = request.reference_audio != "none"
        return words, self._speech.synthesizer.plan_text(request.text, words) if speak else []

    def _decode(self, audio: bytes | memoryview | BinaryIO) -> tuple[Recording, str | None, list[str]]:
        """Decode an upload, keep it where that is wanted, and close it, whatever comes of it.

        Returns:
            The samples; the upload's id in the temporary cache; what went wrong with the latter.
        """
        longest = self._settings.max_audio_seconds
        with BytesIO(audio) if isinstance(audio, bytes | memoryview) else audio as file:
            size = file.seek(0, SEEK_END)
            with self._budget.promise(decoding_mb(size, longest), field="audio"):
                recording = decode_recording(file, max_seconds=longest)
                return recording, *self._speech.keep_recording(file, recording.format)

    def _load(self) -> _Models:
        settings = self._settings
        engine = load_engine(settings.phoneme_model, quantized=settings.use_quantization, fast=settings.use_fast_models)
        return _Models(PhonemeExtractor(engine), PitchTracker(), _scorer(engine, settings.mispronounced_below))


def _scorer(engine: AcousticEngine, mispronounced_below: float | None) -> PronunciationScorer:
    """By the engine's own head where it has one, else by rules."""
    rules = RuleScorer(load_rules(), mispronounced_below)
    return rules if engine.head_folder is None else HeadScorer(engine.head_folder, rules, mispronounced_below)


def _frames(seconds: float) -> int:
    """Frames of 20 ms, the shortest that a model has here, and one more for what is left."""
    return math.ceil(50 * seconds) + 1


def _score_text(
    words: list[LexiconWord],
    posteriors: FramePosteriors,
    heard: Heard,
    scorer: PronunciationScorer,
    cancelled: Event,
) -> tuple[list[Word], SentenceScores, Fluency]:
    """Align and score; without words, the fluency alone."""
    sounds = [(h.phoneme, h.start, h.end) for h in heard.phonemes]
    if not words:
        fluency = measure_fluency(sounds, None, heard.duration)
        score = scorer.fluency_without_text(fluency, heard.pitch.range_semitones)
        return [], SentenceScores(None, None, score, None, None), fluency
    candidates = [[[CLASS_IDS[p] for p in c.phonemes] for c in word.pronunciations] for word in words]
    alignment = align(posteriors.log_probs, candidates, cancelled=cancelled)
    fluency = measure_fluency(sounds, sum(word is not None for word in alignment.words), heard.duration)
    spoken = SpokenText(words, alignment, posteriors, heard.phonemes, fluency, heard.pitch)
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
        return Timings(**{"tts": 0.0} | self._stages, total=1000 * (self._last - self._start))
