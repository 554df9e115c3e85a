"""Goodness of pronunciation of aligned phonemes, from the log-posteriors alone.

Goodness of pronunciation (Witt & Young, 2000) compares the phoneme that should be there with those that could be. CTC
posteriors are peaky: most frames of a segment say blank, so that a mean over the segment says little. The figures here
look at the peak, and at the segment without its blank.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.core.acoustic_engine import FramePosteriors
from app.core.alignment import AlignedWord
from app.core.phonemes import PHONEMES, VOWELS

FLOOR = 1e-5
LEFT_OUT = (-15.0, float(np.log(FLOOR)))
"""The figures of a phoneme that was left out: about the worst that a spoken one gets."""

_DOUBT = 1e-4  # of every frame: one that is sure does not outweigh all others
_OTHER_KIND = 0.1
"""A consonant's prior probability where a vowel should be, and the other way round."""

FEATURES = ("peak", "share", "neighbours", "word", "sentence")


@dataclass(frozen=True, slots=True)
class WordGoodness:
    """The figures of one spoken word of ``n`` phonemes.

    Attributes:
        figures: ``(n, 2)``: the greatest log-posterior of the phoneme in its segment, and the log of its share in what
            the segment says apart from blank.
        heard: ``(n, 39)``: how probable each phoneme of ``PHONEMES`` is in the segment; each row sums to one.
        segments: ``(n, 2)``: start and end of each phoneme in seconds.
    """

    figures: NDArray[np.float64]
    heard: NDArray[np.float32]
    segments: NDArray[np.float64]


def word_goodness(posteriors: FramePosteriors, word: AlignedWord, phonemes: Sequence[int]) -> WordGoodness:
    """Measure one aligned word.

    Args:
        posteriors: of the whole recording.
        word: where it was said.
        phonemes: the classes (1..39) of the pronunciation that was said.
    """
    figures, heard = [], []
    for phoneme, start, end in zip(phonemes, word.starts, word.ends, strict=True):
        segment = posteriors.log_probs[start:end]
        shares = np.exp(segment[:, 1:]).sum(axis=0)
        shares /= max(float(shares.sum()), 1e-20)
        figures.append((float(segment[:, phoneme].max()), float(np.log(shares[phoneme - 1] + FLOOR))))
        heard.append(_heard(segment, phoneme))
    segments = np.stack([word.starts, word.ends], axis=1) * posteriors.frame_seconds
    return WordGoodness(np.array(figures), np.array(heard, dtype=np.float32), segments)


def _heard(segment: NDArray[np.float32], expected: int) -> NDArray[np.float32]:
    """How probable each phoneme is in a segment: ``(39,)``.

    The frames' opinions are multiplied, each with a weight of what it says apart from blank; a sum would let the edges
    speak, where the neighbours sound. A vowel seldom stands for a consonant, or a consonant for a vowel.
    """
    sounds = np.exp(segment[:, 1:])
    weights = sounds.sum(axis=1)
    opinions = np.log(sounds / np.maximum(weights, 1e-20)[:, None] + _DOUBT)
    together = weights @ opinions / max(float(weights.sum()), 1e-20)
    kinds = np.array([phoneme in VOWELS for phoneme in PHONEMES])
    probability = np.exp(together - together.max()) * np.where(kinds == kinds[expected - 1], 1.0, _OTHER_KIND)
    heard: NDArray[np.float32] = (probability / probability.sum()).astype(np.float32)
    return heard


def phoneme_features(words: Sequence[WordGoodness | None], lengths: Sequence[int]) -> list[NDArray[np.float64]]:
    """What the phoneme score is fitted on: a phoneme's own figures, and those around it.

    Args:
        words: one entry per word of the text, None for one left out.
        lengths: how many phonemes each has.

    Returns:
        For each word ``(n, 5)``, columns as in ``FEATURES``: the phoneme's two figures, and the mean peak of its
        neighbours, of its word and of the sentence.
    """
    figures = [
        np.tile(LEFT_OUT, (length, 1)) if word is None else word.figures
        for word, length in zip(words, lengths, strict=True)
    ]
    if not figures:
        return []
    peaks = np.concatenate(figures)[:, 0]
    around = np.pad(peaks, 1, mode="edge")
    neighbours = (around[:-2] + around[2:]) / 2
    features, at = [], 0
    for word in figures:
        n = len(word)
        means = np.tile((word[:, 0].mean(), peaks.mean()), (n, 1))
        features.append(np.hstack((word, neighbours[at : at + n, None], means)))
        at += n
    return features


def most_probable(shares: NDArray[np.float32], count: int = 3) -> list[tuple[str, float]]:
    """The ``count`` most probable phonemes of a segment with their probabilities, best first."""
    best = np.argsort(shares)[::-1][:count]
    return [(PHONEMES[i], float(shares[i])) for i in best]
