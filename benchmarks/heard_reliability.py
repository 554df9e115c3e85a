"""Whether the probabilities of ``heard`` mean what they say: how often the first one agrees with the free decode.

    python -m benchmarks.heard_reliability --data DATA --model FOLDER [--fold 0] [--recordings 150]

``FOLDER`` is a model that has not heard the speakers of that fold (``make train`` leaves one for each). Each phoneme of
the text is compared with the phoneme of a second, unscripted pass that shares most of its time; where there is none,
they disagree. The second pass hears the recording a little slower, so that it is not the same computation again.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soxr
from numpy.typing import NDArray
from tqdm import tqdm

from app.core.acoustic_engine import SAMPLE_RATE, AcousticEngine
from app.core.onnx_engine import OnnxEngine
from app.core.phoneme_extractor import HeardSegment, free_decode
from app.core.phonemes import PHONEMES
from app.core.pitch import PitchTracker
from app.core.pronunciation_scorer import measure_words
from training.corpus import fold_of_speakers, load_audio, load_corpus
from training.listening import corpus_words, listen

SLOWER = 0.98
EDGES = (0.0, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0001)


def second_pass(engine: AcousticEngine, waveform: NDArray[np.float32]) -> list[HeardSegment]:
    """The free decode of the recording played slower, its times those of the recording."""
    slower = soxr.resample(waveform, SAMPLE_RATE * SLOWER, SAMPLE_RATE).astype(np.float32)
    heard = free_decode(engine.posteriors(slower))
    return [HeardSegment(h.phoneme, h.start * SLOWER, h.end * SLOWER, h.probability) for h in heard]


def phoneme_at(heard: Sequence[HeardSegment], start: float, end: float) -> str | None:
    """The phoneme that shares most of a stretch."""
    shared = [(min(h.end, end) - max(h.start, start), h.phoneme) for h in heard]
    most = max(shared, default=(0.0, ""))
    return most[1] if most[0] > 0 else None


def reliability(probability: NDArray[np.float64], agrees: NDArray[np.bool_]) -> list[tuple[float, float, int]]:
    """Mean probability, share that agrees, and count, between neighbouring ``EDGES``."""
    place = np.digitize(probability, EDGES)
    groups = [place == i for i in range(1, len(EDGES))]
    return [(float(probability[g].mean()), float(agrees[g].mean()), int(g.sum())) for g in groups if g.any()]


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with labels.jsonl and audio/")
    parser.add_argument("--model", type=Path, required=True, help="a model that has not heard the fold's speakers")
    parser.add_argument("--fold", type=int, default=0)
    parser.add_argument("--recordings", type=int, default=150)
    args = parser.parse_args()
    corpus = load_corpus(args.data)
    folds = fold_of_speakers(corpus)
    held = [u for u in corpus if folds[u.speaker] == args.fold]
    chosen = random.Random(0).sample(held, min(args.recordings, len(held)))
    engine, tracker = OnnxEngine(args.model), PitchTracker()
    probability, agrees = [], []
    for utterance, clip in zip(chosen, tqdm(load_audio(chosen), "listening twice"), strict=True):
        waveform = clip.astype(np.float32) / 32768
        again = second_pass(engine, waveform)
        spoken = listen(engine, waveform, corpus_words(utterance), tracker.track(waveform))
        for word in measure_words(spoken):
            if word is None:
                continue
            for shares, (start, end) in zip(word.heard, word.segments, strict=True):
                probability.append(float(shares.max()))
                agrees.append(PHONEMES[int(shares.argmax())] == phoneme_at(again, start, end))
    points = reliability(np.array(probability), np.array(agrees))
    print(f"{len(probability)} phonemes of {len(chosen)} recordings\nheard[0] says, agrees, phonemes")
    for says, share, count in points:
        print(f"  {says:.3f} {share:.3f} {count}")
    error = sum(count * abs(says - share) for says, share, count in points) / len(probability)
    print(f"expected calibration error {error:.3f}")


if __name__ == "__main__":
    main()
