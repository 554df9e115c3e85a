"""Choose the penalties of the alignment on development speakers, with texts that differ from what was said.

    python -m training.tune_alignment --data DATA

A word of another recording put into the text is one that the speaker left out; a word taken out of the text is one that
the speaker inserted. For each setting: F1 of the omissions and of the insertions found, and how many words of the true
text were taken for omissions.
"""

from __future__ import annotations

import argparse
import itertools
import random
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from app.core.acoustic_engine import FramePosteriors, load_engine
from app.core.alignment import Penalties, align
from app.core.phoneme_extractor import HeardSegment, free_decode
from app.core.phonemes import CLASS_IDS, split_stress
from app.core.pronunciation_scorer import MIN_INSERTED_PHONEMES
from training.corpus import Utterance, load_audio, load_corpus, split_by_speaker

Word = list[tuple[int, ...]]
GRID = {
    "skip_word": (4.0, 6.0, 8.0),
    "skip_phoneme": (4.0, 5.0),
    "enter_filler": (3.0, 6.0),
    "filler_frame": (0.5, 1.0),
}


@dataclass(frozen=True)
class Case:
    """One recording with a text that has one word too many (``extra``) and one with a word too few (``missing``)."""

    log_probs: NDArray[np.float32]
    heard: list[HeardSegment]
    text: list[Word]
    with_extra: list[Word]
    extra: int
    with_missing: list[Word]
    missing: int


@dataclass
class Counts:
    """Found rightly, found wrongly, missed."""

    right: int = 0
    wrong: int = 0
    missed: int = 0

    @property
    def f1(self) -> float:
        """The harmonic mean of precision and recall."""
        return 2 * self.right / max(1, 2 * self.right + self.wrong + self.missed)


def word_classes(utterance: Utterance) -> list[Word]:
    """The corpus's pronunciations as the alignment wants them."""
    return [[tuple(CLASS_IDS[split_stress(p)[0]] for p in word["phones"])] for word in utterance.words]


def make_cases(utterances: Sequence[Utterance], posteriors: Sequence[FramePosteriors], seed: int = 0) -> list[Case]:
    """One case per recording of three words or more; added and removed words have three phonemes or more."""
    rng = random.Random(seed)
    texts = [word_classes(u) for u in utterances]
    pool = [word for text in texts for word in text if len(word[0]) >= 3]
    cases = []
    for text, said in zip(texts, posteriors, strict=True):
        long_words = [i for i, word in enumerate(text) if len(word[0]) >= 3]
        if len(text) < 3 or not long_words:
            continue
        at, missing = rng.randint(0, len(text)), rng.choice(long_words)
        extra = [*text[:at], rng.choice(pool), *text[at:]]
        less = [*text[:missing], *text[missing + 1 :]]
        cases.append(Case(said.log_probs, free_decode(said), text, extra, at, less, missing))
    return cases


def try_penalties(cases: Sequence[Case], penalties: Penalties) -> tuple[float, float, float]:
    """F1 of omissions, F1 of insertions, share of the true text's words taken for omissions."""
    omissions, insertions, lost, total = Counts(), Counts(), 0, 0
    for case in cases:
        alignment = align(case.log_probs, case.with_extra, penalties)
        for i, word in enumerate(alignment.words):
            if i == case.extra:
                omissions.right += word is None
                omissions.missed += word is not None
            else:
                omissions.wrong += word is None
        alignment = align(case.log_probs, case.with_missing, penalties)
        found = [f for f in alignment.fillers if _phonemes_in(f.start, f.end, case.heard) >= MIN_INSERTED_PHONEMES]
        at_place = any(f.before == case.missing for f in found)
        insertions.right += at_place
        insertions.missed += not at_place
        insertions.wrong += len(found) - at_place
        alignment = align(case.log_probs, case.text, penalties)
        lost += sum(word is None for word in alignment.words)
        total += len(case.text)
    return omissions.f1, insertions.f1, lost / total


def _phonemes_in(start: int, end: int, heard: Sequence[HeardSegment]) -> int:
    return sum(start <= (h.start + h.end) / 2 / 0.02 < end for h in heard)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with labels.jsonl and audio/")
    parser.add_argument("--recordings", type=int, default=200)
    args = parser.parse_args()
    _, dev = split_by_speaker(load_corpus(args.data))
    random.Random(1).shuffle(dev)
    dev = dev[: args.recordings]
    engine = load_engine(None, quantized=True)
    posteriors = [engine.posteriors(clip.astype(np.float32) / 32768.0) for clip in load_audio(dev)]
    cases = make_cases(dev, posteriors)
    settings = [Penalties(), *(Penalties(*values) for values in itertools.product(*GRID.values()))]
    results = [(try_penalties(cases, p), astuple(p)) for p in tqdm(settings, unit="setting")]
    print(f"{len(cases)} recordings; omission F1, insertion F1, true words lost; (as it is, then the best)")
    best = sorted(results[1:], key=lambda r: r[0][0] + r[0][1] - 5 * r[0][2], reverse=True)[:10]
    for (omission, insertion, lost), values in [results[0], *best]:
        print(f"  {omission:.3f} {insertion:.3f} {lost:.4f}  {dict(zip(GRID, values, strict=True))}")


if __name__ == "__main__":
    main()
