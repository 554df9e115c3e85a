"""Phoneme error rate of recordings joined to 28 s, by the length of the windows, against the same one by one.

python -m benchmarks.long_recordings --data DATA [--model FOLDER]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from rapidfuzz.distance import Levenshtein

from app.core.acoustic_engine import BUILT_IN_MODEL, load_engine
from app.core.phoneme_extractor import PhonemeExtractor, free_decode
from app.core.phonemes import CLASS_IDS
from training.corpus import SAMPLE_RATE, load_audio, load_corpus, split_by_speaker

JOINED_SECONDS = 28
WINDOWS = (30.0, 20.0, 15.0, 10.0)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with labels.jsonl and audio/")
    parser.add_argument("--model", type=Path, default=BUILT_IN_MODEL)
    parser.add_argument("--recordings", type=int, default=100)
    args = parser.parse_args()
    dev = split_by_speaker(load_corpus(args.data))[1][: args.recordings]
    groups: list[list[int]] = [[]]
    clips = load_audio(dev)
    for i, clip in enumerate(clips):
        if sum(len(clips[j]) for j in groups[-1]) + len(clip) > JOINED_SECONDS * SAMPLE_RATE:
            groups.append([])
        groups[-1].append(i)
    engine = load_engine(str(args.model), quantized=True)
    extractor = PhonemeExtractor(engine)

    def heard(indices: list[int]) -> list[int]:
        waveform = np.concatenate([clips[i] for i in indices]).astype(np.float32) / np.float32(32768)
        return [CLASS_IDS[h.phoneme] for h in free_decode(extractor.extract(waveform))]

    expected = [[p for i in group for p in dev[i].phoneme_ids] for group in groups]
    total = sum(map(len, expected))
    alone = [[p for i in group for p in heard([i])] for group in groups]
    print(f"{len(dev)} recordings one by one: {sum(map(Levenshtein.distance, expected, alone)) / total:.3f}")
    for window in WINDOWS:
        engine.window_seconds = window
        joined = [heard(group) for group in groups]
        print(f"joined, windows of {window:g} s: {sum(map(Levenshtein.distance, expected, joined)) / total:.3f}")


if __name__ == "__main__":
    main()
