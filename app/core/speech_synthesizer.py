"""Text or phonemes -> waveform, by a voice that is loaded when first needed and dropped when nobody needs it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from threading import Event

from app.core.clip import Clip
from app.core.errors import AnalysisTimeout, InvalidInput
from app.core.lexicon import LexiconWord
from app.core.memory_budget import speech_mb
from app.core.memory_utils import MemoryTracker
from app.core.model_cache import ModelCache
from app.core.phrasing import phrase_seconds, phrases_of_phonemes, phrases_of_text, seconds_of
from app.core.pronunciation import Pronunciation
from app.core.voice import BUILT_IN_MEMORY, Phrase, Voice, VoiceMemory, load_voice

TTS_MODEL = "tts"
"""Name of the voice in the model cache."""

STAGE = "TTS Audio Generation"

LIKELY = 0.7
"""What a sentence takes of the time that is foretold at most."""


class SpeechSynthesizer:
    """Speaks with one voice; safe to call from several threads, which take turns.

    Args:
        cache: keeps the voice between calls, or not.
        load: makes the voice.
        memory: what the voice takes.
        max_seconds: the longest clip.
        idle_seconds: without a call, after which :meth:`unload_unused` drops the voice.
        clock: seconds, never going back.
    """

    def __init__(  # noqa: PLR0913
        self,
        cache: ModelCache,
        load: Callable[[], Voice] = load_voice,
        *,
        memory: VoiceMemory = BUILT_IN_MEMORY,
        max_seconds: float = 120.0,
        idle_seconds: float = 300.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._cache = cache
        self._make = load
        self._memory = memory
        self._max_seconds = max_seconds
        self._idle_seconds = idle_seconds
        self._clock = clock
        self._turn = threading.Lock()
        self._used_at = clock()

    @property
    def loaded(self) -> bool:
        """Whether the voice is in memory now."""
        return TTS_MODEL in self._cache.loaded

    def plan_text(self, text: str, words: Sequence[LexiconWord], speed: float = 1.0) -> list[Phrase]:
        """Make ready to say a text with the lexicon's phonemes.

        Args:
            text: as written.
            words: what the lexicon says of it; one or more.
            speed: 0.5 to 2, 1 for the voice's own pace.

        Raises:
            InvalidInput: it takes longer to say than a clip may be.
        """
        return self._checked(phrases_of_text(text, words), speed, "text")

    def plan_phonemes(self, pronunciation: Pronunciation, speed: float = 1.0) -> list[Phrase]:
        """Make ready to say phonemes as they are.

        Raises:
            InvalidInput: they take longer to say than a clip may be.
        """
        return self._checked(phrases_of_phonemes(pronunciation), speed, "phonemes")

    def memory_mb(self, phrases: Sequence[Phrase], speed: float = 1.0) -> float:
        """The memory that saying phrases takes, at most, in MB: the voice, one phrase at work, and the clip."""
        longest = max(map(phrase_seconds, phrases)) / speed
        needed = self._memory.factor * speech_mb(longest, seconds_of(phrases, speed))
        return needed if self.loaded else needed + self._memory.load_mb

    def synthesize(self, phrases: Sequence[Phrase], speed: float = 1.0, cancelled: Event | None = None) -> Clip:
        """Say phrases, one after the other.

        Args:
            phrases: as planned.
            speed: as planned.
            cancelled: looked at between phrases.

        Raises:
            InvalidInput: the voice reads letters, and there are only phonemes.
            ModelError: the voice cannot be loaded.
            AnalysisTimeout: ``cancelled`` was set.
        """
        with MemoryTracker(STAGE), self._cache.lease(TTS_MODEL, self._make) as voice:
            if not voice.speaks_phonemes and any(word.text is None for phrase in phrases for word in phrase):
                raise InvalidInput(f"The voice {voice.name} reads text and cannot say phonemes.", field="phonemes")
            clip = Clip(voice.sample_rate, voice.name)
            try:
                for phrase in phrases:
                    if cancelled is not None and cancelled.is_set():
                        raise AnalysisTimeout("The speech was stopped.")
                    with self._turn:
                        samples = voice.speak(phrase, speed)
                    clip.append(samples)
            finally:
                clip.finish()
                self._used_at = self._clock()
        return clip

    def unload(self) -> bool:
        """Drop the voice unless it speaks right now; it is loaded again when needed.

        Returns:
            Whether there was one and it is gone.
        """
        return self._cache.unload(TTS_MODEL)

    def unload_unused(self) -> bool:
        """Drop the voice if nobody has used it for a while.

        Returns:
            As :meth:`unload`.
        """
        return self._clock() - self._used_at >= self._idle_seconds and self.unload()

    def _checked(self, phrases: list[Phrase], speed: float, field: str) -> list[Phrase]:
        seconds = LIKELY * seconds_of(phrases, speed)
        if seconds > self._max_seconds:
            raise InvalidInput(
                f"It takes about {seconds:.0f} s to say; {self._max_seconds:g} s is the most.", field=field
            )
        return phrases
