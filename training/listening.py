"""The service's own ears over corpus recordings: everything that its scorers look at."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from app.core.acoustic_engine import AcousticEngine, FramePosteriors
from app.core.alignment import Penalties, align
from app.core.fluency import measure_fluency
from app.core.lexicon import LexiconWord
from app.core.phoneme_extractor import free_decode
from app.core.phonemes import CLASS_IDS
from app.core.pitch import PitchContour, PitchTracker
from app.core.pronunciation import parse_pronunciation
from app.core.pronunciation_scorer import SpokenText
from training.corpus import SAMPLE_RATE, Utterance


def corpus_words(utterance: Utterance) -> list[LexiconWord]:
    """The words with the corpus's own pronunciations."""
    return [LexiconWord(word["text"], (parse_pronunciation(word["phones"]),), "request") for word in utterance.words]


def listen(
    engine: AcousticEngine, waveform: NDArray[np.float32], words: Sequence[LexiconWord], pitch: PitchContour
) -> SpokenText:
    """Hear one recording and find its text in it, as the service does.

    Args:
        engine: the acoustic model.
        waveform: ``(N,)`` mono at 16 kHz.
        words: of the text.
        pitch: of the recording.
    """
    return find_text(engine.posteriors(waveform), len(waveform) / SAMPLE_RATE, words, pitch)


def find_text(
    posteriors: FramePosteriors,
    seconds: float,
    words: Sequence[LexiconWord],
    pitch: PitchContour,
    penalties: Penalties | None = None,
) -> SpokenText:
    """Find a text in what was heard.

    Args:
        posteriors: of the recording.
        seconds: its length.
        words: of the text.
        pitch: of the recording.
        penalties: of the alignment; None for the service's.
    """
    heard = free_decode(posteriors)
    candidates = [[[CLASS_IDS[p] for p in c.phonemes] for c in word.pronunciations] for word in words]
    alignment = align(posteriors.log_probs, candidates, penalties)
    said = sum(word is not None for word in alignment.words)
    fluency = measure_fluency([(h.phoneme, h.start, h.end) for h in heard], said, seconds)
    return SpokenText(words, alignment, posteriors, heard, fluency, pitch)


def listen_to_corpus(
    engine: AcousticEngine, utterances: Sequence[Utterance], clips: Iterable[NDArray[np.int16]]
) -> Iterator[SpokenText]:
    """Hear corpus recordings with their own texts, one after the other."""
    tracker = PitchTracker()
    for utterance, clip in zip(utterances, clips, strict=True):
        waveform = clip.astype(np.float32) / 32768.0
        yield listen(engine, waveform, corpus_words(utterance), tracker.track(waveform))
