"""How fluently something was spoken: pauses and rates, from the times of the phonemes that were heard."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from app.core.phonemes import VOWELS

SYLLABLES_PER_WORD = 1.45
"""Syllables of an average word of running English speech (published counts lie between 1.4 and 1.5)."""


@dataclass(frozen=True, slots=True)
class Fluency:
    """Rates and pauses, defined as in de Jong & Wempe (2009).

    Attributes:
        words_per_minute: words per minute from the first to the last sound, pauses included; None where nothing was
            spoken.
        articulation_rate: syllables per second of speech, pauses left out; None where nothing was spoken.
        phonation_ratio: share of the time from the first to the last sound that is speech, 0 to 1.
        pauses: (start, end) of the silent gaps between the first and the last sound, in seconds and in time order.
        speech_duration: seconds of speech, pauses left out.
    """

    words_per_minute: float | None
    articulation_rate: float | None
    phonation_ratio: float
    pauses: tuple[tuple[float, float], ...]
    speech_duration: float


def measure_fluency(
    phonemes: Sequence[tuple[str, float, float]],
    word_count: int | None,
    duration: float,
    *,
    min_pause: float = 0.2,
) -> Fluency:
    """Measure pauses and rates.

    Every vowel is one syllable. Without a word count, as in unscripted speech, the words are estimated as the syllables
    over :data:`SYLLABLES_PER_WORD`.

    Args:
        phonemes: (ARPAbet phoneme, start, end) in time order, seconds from the start of the recording.
        word_count: how many words were spoken, or None if that is not known.
        duration: length of the recording in seconds.
        min_pause: shortest gap that is a pause, in seconds; shorter ones belong to the sounds around them (closures of
            stops are up to 0.15 s).

    Returns:
        The measurements; zeros and None where there are no phonemes.
    """
    sounds = _within(phonemes, duration)
    if not sounds:
        return Fluency(None, None, 0.0, (), 0.0)
    pauses = []
    reached = sounds[0][1]
    for _, start, end in sounds:
        if start - reached >= min_pause:
            pauses.append((reached, start))
        reached = max(reached, end)
    total = reached - sounds[0][1]
    speech = max(total - sum(end - start for start, end in pauses), 0.0)
    if speech <= 0:
        return Fluency(None, None, 0.0, tuple(pauses), 0.0)
    syllables = sum(phoneme in VOWELS for phoneme, _, _ in sounds)
    words = syllables / SYLLABLES_PER_WORD if word_count is None else word_count
    return Fluency(
        words_per_minute=60 * words / total,
        articulation_rate=syllables / speech,
        phonation_ratio=min(speech / total, 1.0),
        pauses=tuple(pauses),
        speech_duration=speech,
    )


def _within(phonemes: Sequence[tuple[str, float, float]], duration: float) -> list[tuple[str, float, float]]:
    """The phonemes cut to the recording; frames of a model may reach a little beyond its end."""
    cut = [(phoneme, max(start, 0.0), min(end, duration)) for phoneme, start, end in phonemes]
    return [(phoneme, start, end) for phoneme, start, end in cut if start <= end]
