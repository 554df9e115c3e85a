"""What every voice gives, what it is given, and which one the settings ask for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class PhraseWord:
    """One word of a phrase, as a voice gets it.

    Attributes:
        text: its letters, numbers and abbreviations written out (``"five dollars"``); None where only its phonemes are
            known.
        phonemes: ARPAbet without stress digits.
        stresses: as long as ``phonemes``: 1, 2 or 0 on vowels, None where that is not known; None on consonants.
        pause: the punctuation after it, one of ``PAUSES``.
    """

    text: str | None
    phonemes: tuple[str, ...]
    stresses: tuple[int | None, ...]
    pause: str = ""


PAUSES = ("", ",", ";", ":", "—", ".", "!", "?")
"""What may stand between words: nothing, or a punctuation mark, weakest first."""

Phrase = tuple[PhraseWord, ...]
"""Words that are spoken in one breath; never empty."""


class Voice(Protocol):
    """A loaded voice; one call at a time.

    Attributes:
        name: shown in the answer's ``models.tts``.
        sample_rate: of what it says, in Hz.
        speaks_phonemes: whether it says the phonemes that it is given; otherwise it reads the letters.
    """

    name: str
    sample_rate: int
    speaks_phonemes: bool

    def speak(self, phrase: Phrase, speed: float) -> NDArray[np.float32]:
        """Say a phrase: ``(N,)`` samples within -1 and 1, the same each time. Blocks.

        Args:
            phrase: what to say; each word has a text where the voice does not speak phonemes.
            speed: 0.5 to 2, 1 for the voice's own pace.
        """


@dataclass(frozen=True, slots=True)
class VoiceMemory:
    """What a voice takes, as far as that can be known before it is loaded.

    Attributes:
        load_mb: of loading it.
        factor: of one call, relative to what :func:`app.core.memory_budget.speech_mb` expects.
    """

    load_mb: float
    factor: float


BUILT_IN_MEMORY = VoiceMemory(25.0, 1.0)
VITS_MEMORY = VoiceMemory(550.0, 3.5)
"""Measured with a model of 36 M parameters: 215 MB, and PyTorch's libraries when they are imported first."""


def voice_memory(model: str | None = None) -> VoiceMemory:
    """What the voice for the setting ``TTS_MODEL`` takes."""
    return BUILT_IN_MEMORY if model is None else VITS_MEMORY


def load_voice(model: str | None = None) -> Voice:
    """The voice for the setting ``TTS_MODEL``.

    Args:
        model: None for the built-in voice, or a VITS model by folder or Hugging Face id (loads PyTorch).

    Raises:
        ModelError: there is no such model, or it cannot be used.
    """
    if model is None:
        from app.core.hibari_voice import HibariVoice

        return HibariVoice()
    from app.core.memory_utils import freeze_heap
    from app.core.vits_voice import VitsVoice

    voice = VitsVoice(model)
    freeze_heap()  # PyTorch brings half a million objects along, which every collection would look at
    return voice
