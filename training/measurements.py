"""What the service measures on corpus recordings, beside the expert scores: the ground for fitting its rules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from app.core.acoustic_engine import AcousticEngine
from app.core.alignment import align
from app.core.fluency import measure_fluency
from app.core.goodness import WordGoodness, phoneme_features
from app.core.lexicon import LexiconWord
from app.core.phoneme_extractor import free_decode
from app.core.phonemes import CLASS_IDS
from app.core.pitch import PitchTracker
from app.core.pronunciation import parse_pronunciation
from app.core.pronunciation_scorer import SpokenText, delivery_features, measure_words
from training.corpus import SAMPLE_RATE, Utterance


@dataclass(frozen=True)
class Measured:
    """One recording: what the service measures, by word and for the whole.

    Attributes:
        phonemes: for each word ``(n, 5)``, see ``app.core.goodness.FEATURES``.
        words: goodness of each word, None for one left out.
        delivery: ``(6,)``, see ``app.core.score_rules.DELIVERY_FEATURES``.
        decoded: the free decode as classes.
    """

    utterance: Utterance
    phonemes: list[NDArray[np.float64]]
    words: list[WordGoodness | None]
    delivery: NDArray[np.float64]
    decoded: list[int]


def corpus_words(utterance: Utterance) -> list[LexiconWord]:
    """The words with the corpus's own pronunciations."""
    return [LexiconWord(word["text"], (parse_pronunciation(word["phones"]),), "request") for word in utterance.words]


def measure(
    utterances: Sequence[Utterance], clips: Sequence[NDArray[np.int16]], engine: AcousticEngine
) -> list[Measured]:
    """Run the service's own stages over recordings."""
    tracker = PitchTracker()
    measured = []
    for utterance, clip in tqdm(list(zip(utterances, clips, strict=True)), desc="measuring", unit="file"):
        waveform = clip.astype(np.float32) / 32768.0
        posteriors = engine.posteriors(waveform)
        heard = free_decode(posteriors)
        words = corpus_words(utterance)
        candidates = [[[CLASS_IDS[p] for p in c.phonemes] for c in word.pronunciations] for word in words]
        alignment = align(posteriors.log_probs, candidates)
        said = sum(word is not None for word in alignment.words)
        sounds = [(h.phoneme, h.start, h.end) for h in heard]
        fluency = measure_fluency(sounds, said, len(clip) / SAMPLE_RATE)
        spoken = SpokenText(words, alignment, posteriors, heard, fluency, tracker.track(waveform).range_semitones)
        goodness = measure_words(spoken)
        features = phoneme_features(goodness, [len(w.pronunciations[0].phonemes) for w in words])
        delivery = delivery_features(fluency, said, spoken.pitch_range)
        decoded = [CLASS_IDS[h.phoneme] for h in heard]
        measured.append(Measured(utterance, features, goodness, delivery, decoded))
    return measured
