"""What can be measured of aligned phonemes without a model: their timing and places, and the sentence's delivery.

These are the inputs of the scoring head beside what the encoder says. Training and service compute them here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.core.alignment import MAX_FRAMES_BEYOND_PEAK
from app.core.phonemes import PHONEMES, VOWELS

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

STRESSES = (None, 0, 1, 2)
PLACES = ("alone", "first", "inside", "last")
"""Where in its word a phoneme is."""
TIMING = ("length", "gap_before", "gap_after", "step_before", "step_after", "position")
DELIVERY = (
    "words_per_second",
    "vowels_per_second",
    "phonation_ratio",
    "pauses_per_word",
    "pause_seconds_per_word",
    "longest_pause",
    "pitch_range",
    "pitch_deviation",
    "phonemes",
    "phoneme_seconds",
)

SEGMENT_FRAMES = 2 * MAX_FRAMES_BEYOND_PEAK + 1
"""The most frames that a segment has."""

_PAUSE_SECONDS = 0.2
_LONGEST_GAP = 100  # frames; longer ones are alike

_IS_VOWEL = np.array([phoneme in VOWELS for phoneme in PHONEMES])


@dataclass(frozen=True, slots=True)
class PhonemeTokens:
    """A sentence of ``N`` phonemes and ``W`` words as the scoring head takes it; see ``app.core.scoring_head``.

    Attributes:
        indices: ``(N, SEGMENT_FRAMES)`` the frames of each phoneme.
        mask: ``(N, SEGMENT_FRAMES)`` 1 where they belong to it, 0 where they only fill up.
        phoneme: ``(N,)`` index in ``PHONEMES``.
        stress: ``(N,)`` index in ``STRESSES``.
        place: ``(N,)`` index in ``PLACES``.
        timing: ``(N, 6)``, columns as in ``TIMING``.
        words: ``(W, N)`` 1 where the phoneme is in the word.
        delivery: ``(10,)``, columns as in ``DELIVERY``.
    """

    indices: Ints
    mask: Floats
    phoneme: Ints
    stress: Ints
    place: Ints
    timing: Floats
    words: Floats
    delivery: Floats


def phoneme_tokens(  # noqa: PLR0913
    phonemes: Sequence[int],
    stresses: Sequence[int],
    word_lengths: Sequence[int],
    segments: Ints,
    *,
    pitch: Floats,
    frame_seconds: float,
) -> PhonemeTokens:
    """Measure a sentence's phonemes.

    Args:
        phonemes: N indices in ``PHONEMES``, N at least 1.
        stresses: N indices in ``STRESSES``.
        word_lengths: phonemes of each word, which add up to N.
        segments: ``(3, N)`` first frame of each phoneme, the frame after its last, and its peak, in time order.
        pitch: ``(T, 2)`` of the recording's frames, see ``app.core.pitch.pitch_of_frames``.
        frame_seconds: the time from one frame to the next.
    """
    starts, ends, peaks = segments
    lengths = np.asarray(word_lengths, np.int64)
    phoneme = np.asarray(phonemes, np.int64)
    indices, mask = segment_frames(starts, ends, len(pitch))
    word_of = np.repeat(np.arange(len(lengths)), lengths)
    return PhonemeTokens(
        indices=indices,
        mask=mask,
        phoneme=phoneme,
        stress=np.asarray(stresses, np.int64),
        place=places_in_words(lengths),
        timing=timing(starts, ends, peaks),
        words=(word_of == np.arange(len(lengths))[:, None]).astype(np.float32),
        delivery=delivery(
            starts,
            ends,
            vowels=int(_IS_VOWEL[phoneme].sum()),
            words=len(lengths),
            pitch=pitch,
            frame_seconds=frame_seconds,
        ),
    )


def stress_indices(phonemes: Sequence[int], stresses: Sequence[int | None]) -> list[int]:
    """Indices in ``STRESSES`` of one word; a lone vowel counts as stressed, whatever dictionaries say of it."""
    vowels = _IS_VOWEL[np.asarray(phonemes)]
    if vowels.sum() == 1:
        return [STRESSES.index(1 if vowel else None) for vowel in vowels]
    return [STRESSES.index(stress if vowel else None) for vowel, stress in zip(vowels, stresses, strict=True)]


def segment_frames(starts: Ints, ends: Ints, frames: int) -> tuple[Ints, Floats]:
    """Which frames each segment has.

    Args:
        starts: ``(N,)`` first frame of each phoneme.
        ends: ``(N,)`` the frame after its last.
        frames: of the whole recording.

    Returns:
        ``(N, SEGMENT_FRAMES)`` frame numbers, and 1 where they belong to the segment, 0 where they only fill up.
    """
    indices = starts[:, None] + np.arange(SEGMENT_FRAMES)
    mask = (indices < ends[:, None]).astype(np.float32)
    return np.minimum(indices, frames - 1), mask


def timing(starts: Ints, ends: Ints, peaks: Ints) -> Floats:
    """``(N, 6)`` figures of phonemes in time order, as in ``TIMING``; frames as logarithms."""
    gaps = np.clip(starts[1:] - ends[:-1], 0, _LONGEST_GAP)
    steps = np.clip(np.diff(peaks), 0, _LONGEST_GAP)
    before, after = np.concatenate([[0], gaps]), np.concatenate([gaps, [0]])
    step_before, step_after = np.concatenate([[0], steps]), np.concatenate([steps, [0]])
    position = np.arange(1, len(starts) + 1) / len(starts)
    lengths = np.log(np.maximum(ends - starts, 1))
    return np.stack(
        [lengths, np.log1p(before), np.log1p(after), np.log1p(step_before), np.log1p(step_after), position], axis=1
    ).astype(np.float32)


def places_in_words(lengths: Ints) -> Ints:
    """The place, an index in ``PLACES``, of each phoneme of words with so many phonemes."""
    total, ends = int(lengths.sum()), np.cumsum(lengths)
    places = np.full(total, PLACES.index("inside"))
    places[ends - lengths] = PLACES.index("first")
    places[ends - 1] = PLACES.index("last")
    places[(ends - 1)[lengths == 1]] = PLACES.index("alone")
    return places


def delivery(  # noqa: PLR0913
    starts: Ints, ends: Ints, *, vowels: int, words: int, pitch: Floats, frame_seconds: float
) -> Floats:
    """``(10,)`` figures of how a sentence was said, as in ``DELIVERY``.

    Args:
        starts: ``(N,)`` first frame of each phoneme, in time order; N at least 1.
        ends: ``(N,)`` the frame after its last.
        vowels: among them.
        words: that were said.
        pitch: ``(T, 2)`` of the recording's frames, see ``app.core.pitch.pitch_of_frames``.
        frame_seconds: the time from one frame to the next.
    """
    gaps = np.clip(starts[1:] - ends[:-1], 0, None) * frame_seconds
    pauses = gaps[gaps >= _PAUSE_SECONDS]
    total = max(float(ends[-1] - starts[0]) * frame_seconds, frame_seconds)
    speech = max(total - float(pauses.sum()), frame_seconds)
    span = pitch[starts[0] : ends[-1]]
    octaves = np.sort(span[span[:, 1] > 0, 0])
    edge = len(octaves) // 20
    low, high = (octaves[edge], octaves[-1 - edge]) if len(octaves) else (0.0, 0.0)
    deviation = float(octaves.std()) if len(octaves) else 0.0
    return np.array(
        [
            words / total / 3,
            vowels / speech / 5,
            speech / total,
            len(pauses) / words,
            float(pauses.sum()) / words,
            float(pauses.max(initial=0.0)),
            high - low,
            3 * deviation,
            np.log(len(starts)) / 4,
            np.log(speech / len(starts) / 0.1),
        ],
        dtype=np.float32,
    )
