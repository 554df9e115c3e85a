"""Speaks, and keeps clips for a while. Knows nothing of HTTP."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from io import SEEK_END
from threading import Event
from typing import BinaryIO

from app.core.clip import FORMAT, MEDIA_TYPE, Clip
from app.core.errors import AnalysisTimeout, InvalidInput, MemoryCritical, TooLarge
from app.core.lexicon import MAX_PHONEMES, Lexicon
from app.core.memory_budget import MemoryBudget
from app.core.model_cache import ModelCache
from app.core.pronunciation import parse_pronunciation
from app.core.results import ReferenceAudio, ReferenceKind, SpeechRequest
from app.core.settings import Settings
from app.core.speech_synthesizer import SpeechSynthesizer
from app.core.temp_audio_cache import Content, TempAudioCache
from app.core.voice import Phrase, load_voice, voice_memory

_MEDIA_TYPES = {
    "WAV": "audio/wav", "FLAC": "audio/flac", "OGG": "audio/ogg", "MP3": "audio/mpeg", "WEBM": "audio/webm",
    "MATROSKA": "audio/webm", "MP4": "audio/mp4", "AAC": "audio/aac",
}  # fmt: skip
"""Of the formats that recordings come in; what is not here is kept as bytes of no known type."""

_UNKNOWN = "application/octet-stream"

_log = logging.getLogger(__name__)


class SpeechHandler:
    """Owns the voice; safe to call from several threads.

    Args:
        settings: which voice to load, for how long to keep it, and how long a clip may be.
        budget: promises the memory before anything is spoken.
        models: where the voice is kept.
        clips: the temporary cache, None where it is off.
    """

    def __init__(
        self, settings: Settings, budget: MemoryBudget, models: ModelCache, clips: TempAudioCache | None
    ) -> None:
        self._budget = budget
        self._clips = clips
        self.synthesizer = SpeechSynthesizer(
            models,
            partial(load_voice, settings.tts_model),
            memory=voice_memory(settings.tts_model),
            max_seconds=settings.max_audio_seconds,
            idle_seconds=settings.tts_unload_seconds,
        )

    def synthesize(self, request: SpeechRequest, lexicon: Lexicon, cancelled: Event) -> Clip:
        """Say a text or phonemes.

        Raises:
            ElocuteError: what is wrong with the request; ``MemoryCritical`` where the memory for it cannot be had now,
                ``AnalysisTimeout`` after ``cancelled``.
        """
        speed = request.speed
        if request.text is not None:
            words = lexicon.words(request.text, request.pronunciations)
            return self._say(self.synthesizer.plan_text(request.text, words, speed), speed, "text", cancelled)
        phonemes = request.phonemes or []
        if len(phonemes) > MAX_PHONEMES:
            raise InvalidInput(f"There are {len(phonemes)} phonemes; {MAX_PHONEMES} is the most.", field="phonemes")
        try:
            pronunciation = parse_pronunciation(phonemes)
        except ValueError as error:
            raise InvalidInput(f"The phonemes cannot be said: {error}.", field="phonemes") from error
        return self._say(self.synthesizer.plan_phonemes(pronunciation, speed), speed, "phonemes", cancelled)

    def reference(
        self, phrases: Sequence[Phrase], kind: ReferenceKind, cancelled: Event
    ) -> tuple[ReferenceAudio | None, list[str]]:
        """Speak the text of an analysis; the analysis does not fail where that does not succeed.

        Returns:
            The clip, and None with a sentence where there is none.

        Raises:
            AnalysisTimeout: ``cancelled`` was set.
        """
        try:
            clip = self._say(phrases, 1.0, "reference_audio", cancelled)
        except (MemoryCritical, TooLarge):
            return None, ["There is no reference_audio: the service is short of memory."]
        except AnalysisTimeout:
            raise
        except Exception:
            _log.exception("the voice failed")
            return None, ["There is no reference_audio: the voice failed."]
        spoken = ReferenceAudio(FORMAT, clip.sample_rate, clip.voice, clip.seconds)
        if kind == "inline":
            return replace(spoken, clip=clip), []
        clip_id = self._keep(clip.pieces(), clip.size, MEDIA_TYPE)
        if clip_id is None:
            return None, ["There is no reference_audio: the clip could not be kept in the temporary cache."]
        return replace(spoken, clip_id=clip_id), []

    def keep_recording(self, file: BinaryIO, audio_format: str) -> tuple[str | None, list[str]]:
        """Put a recording into the temporary cache, if there is one.

        Returns:
            Its id, and None with a sentence where it could not be kept.
        """
        if self._clips is None:
            return None, []
        size = file.seek(0, SEEK_END)
        file.seek(0)
        clip_id = self._keep(file, size, _MEDIA_TYPES.get(audio_format, _UNKNOWN))
        return clip_id, [] if clip_id else ["The recording could not be kept in the temporary cache."]

    def _say(self, phrases: Sequence[Phrase], speed: float, field: str, cancelled: Event) -> Clip:
        with self._budget.promise(self.synthesizer.memory_mb(phrases, speed), field=field):
            return self.synthesizer.synthesize(phrases, speed, cancelled)

    def _keep(self, content: Content, size: int, media_type: str) -> str | None:
        if self._clips is None:
            return None
        try:
            return self._clips.put(content, media_type, size=size)
        except OSError as error:
            _log.warning("a clip could not be kept: %s", error)
            return None
