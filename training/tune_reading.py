"""Choose what a change costs in ``app.core.reading``, on mispronunciations that the built-in voice speaks.

    python -m training.tune_reading --data DATA

In each text of the development speakers one word is said with one change: a phoneme that learners confuse with the
right one, one left out, a schwa put in after a consonant, or none; so are words alone. The speech is aligned with the
right text, and what is read in the word's stretch is compared with what was said: changed words that are read exactly,
precision, recall and F1 of the changes, and unchanged words that are read as they are. The same for the free decode and
for the most probable phoneme of each segment.
"""

from __future__ import annotations

import argparse
import itertools
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np
import soxr
from numpy.typing import NDArray
from rapidfuzz.distance import Levenshtein
from tqdm import tqdm

from app.core.acoustic_engine import SAMPLE_RATE, AcousticEngine, load_engine
from app.core.alignment import align
from app.core.goodness import word_goodness
from app.core.lexicon import Lexicon, LexiconWord
from app.core.phoneme_extractor import free_decode
from app.core.phonemes import CLASS_IDS
from app.core.phrasing import phrases_of_text
from app.core.pronunciation import Pronunciation
from app.core.reading import ChangeCosts, best_reading
from app.core.voice import Voice, load_voice
from training.corpus import load_corpus, split_by_speaker
from training.make_speech import change

KINDS = ("replaced", "replaced", "replaced", "left out", "put in", "none")
GRID = {
    "replaced": (1.0, 2.0, 3.0, 4.0, 6.0),
    "left_out": (2.0, 3.0, 4.0, 5.0),
    "put_in": (2.0, 3.0, 4.0, 5.0),
}


@dataclass(frozen=True)
class Case:
    """One word as it was said.

    Attributes:
        said: its classes.
        expected: those it should have.
        log_probs: ``(T, C)`` of its stretch.
        decoded: the free decode of its stretch.
        segments: the most probable class of each segment.
    """

    said: list[int]
    expected: list[int]
    log_probs: NDArray[np.float32]
    decoded: list[int]
    segments: list[int]


@dataclass(frozen=True)
class Figures:
    """How well the words are read: shares of the changed words and of their changes, and of the unchanged words."""

    exact: float
    precision: float
    recall: float
    f1: float
    unchanged: float


def changed(said: Pronunciation, kind: str, rng: random.Random) -> Pronunciation:
    """A pronunciation with one change of a kind of ``KINDS``; another phoneme where it has no place for that."""
    return said if kind == "none" else change(said, kind, rng, confused=1.0)[0]


@dataclass(frozen=True)
class Studio:
    """Who reads the texts, who speaks them, and who listens."""

    lexicon: Lexicon
    voice: Voice
    engine: AcousticEngine

    def make_cases(self, texts: Iterable[str], rng: random.Random) -> list[Case]:
        """Say each text with one of its words changed; none for a word that is too short, too long, or not found."""
        cases = []
        for text in texts:
            words = self.lexicon.words(text)
            place = rng.randrange(len(words))
            right = words[place].pronunciations[0]
            if 2 <= len(right.phonemes) <= 8:
                cases.append(self.say(text, words, place, changed(right, rng.choice(KINDS), rng)))
        return [case for case in cases if case is not None]

    def say(self, text: str, words: Sequence[LexiconWord], place: int, said: Pronunciation) -> Case | None:
        """Say a text with the word at ``place`` as given; None where the alignment takes it for left out."""
        given = LexiconWord(words[place].text, (said,), "request")
        spoken = [*words[:place], given, *words[place + 1 :]]
        speech = np.concatenate([self.voice.speak(phrase, 1.0) for phrase in phrases_of_text(text, spoken)])
        posteriors = self.engine.posteriors(soxr.resample(speech, self.voice.sample_rate, SAMPLE_RATE))
        alignment = align(posteriors.log_probs, [[_classes(c) for c in word.pronunciations] for word in words])
        aligned = alignment.words[place]
        if aligned is None:
            return None
        expected = _classes(words[place].pronunciations[aligned.candidate])
        start, end = aligned.starts[0], aligned.ends[-1]
        decoded = free_decode(posteriors)
        middles = [(sound.start + sound.end) / 2 / posteriors.frame_seconds for sound in decoded]
        return Case(
            said=_classes(said),
            expected=expected,
            log_probs=posteriors.log_probs[start:end],
            decoded=[CLASS_IDS[s.phoneme] for s, middle in zip(decoded, middles, strict=True) if start <= middle < end],
            segments=(word_goodness(posteriors, aligned, expected).heard.argmax(axis=1) + 1).tolist(),
        )


def measure(cases: Sequence[Case], read: Callable[[Case], Sequence[int]]) -> Figures:
    """Compare what is read of each word with what was said."""
    right = wrong = missed = exact = changed = kept = 0
    for case in cases:
        reading = list(read(case))
        if case.said == case.expected:
            kept += reading == case.said
            continue
        found, made = _changes(case.expected, reading), _changes(case.expected, case.said)
        right, wrong, missed = right + len(found & made), wrong + len(found - made), missed + len(made - found)
        changed, exact = changed + 1, exact + (reading == case.said)
    return Figures(
        exact=exact / max(1, changed),
        precision=right / max(1, right + wrong),
        recall=right / max(1, right + missed),
        f1=2 * right / max(1, 2 * right + wrong + missed),
        unchanged=kept / max(1, len(cases) - changed),
    )


def with_costs(costs: ChangeCosts) -> Callable[[Case], Sequence[int]]:
    """How the service reads a word, with other costs."""
    return lambda case: best_reading(case.log_probs, case.expected, costs) or []


def _classes(said: Pronunciation) -> list[int]:
    return [CLASS_IDS[phoneme] for phoneme in said.phonemes]


def _changes(expected: Sequence[int], said: Sequence[int]) -> set[tuple[str, int, int]]:
    """Each edit as its kind, its place in ``expected`` and the class that is there now, 0 where it was left out."""
    edits = Levenshtein.editops(expected, said)
    return {(e.tag, e.src_pos, 0 if e.tag == "delete" else said[e.dest_pos]) for e in edits}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with labels.jsonl; its audio is not used")
    parser.add_argument("--texts", type=int, default=250, help="texts to say with one word changed")
    parser.add_argument("--words", type=int, default=100, help="words to say alone")
    parser.add_argument("--seed", type=int, default=0, help="of the texts, the words and the changes")
    args = parser.parse_args()
    rng = random.Random(args.seed)
    _, dev = split_by_speaker(load_corpus(args.data))
    texts = sorted({utterance.text.lower() for utterance in dev})
    words = sorted({word for text in texts for word in text.split() if len(word) > 2})
    chosen = [*rng.sample(texts, min(args.texts, len(texts))), *rng.sample(words, min(args.words, len(words)))]
    studio = Studio(Lexicon(), load_voice(), load_engine(None, quantized=True))
    cases = studio.make_cases(tqdm(chosen, desc="speaking", unit="text"), rng)
    settings = [ChangeCosts(*values) for values in itertools.product(*GRID.values())]
    results = [(measure(cases, with_costs(costs)), costs) for costs in tqdm(settings, unit="setting")]
    results.sort(key=lambda result: (result[0].f1, result[0].exact), reverse=True)
    changed = sum(case.said != case.expected for case in cases)
    print(f"{changed} changed and {len(cases) - changed} unchanged words")
    print("  exact  prec.  recall F1     unchanged")
    as_it_is = ChangeCosts()
    rows = [
        ("the free decode", measure(cases, lambda case: case.decoded)),
        ("the most probable phoneme of each segment", measure(cases, lambda case: case.segments)),
        (f"as it is: {_shown(as_it_is)}", measure(cases, with_costs(as_it_is))),
        *((_shown(costs), figures) for figures, costs in results[:10]),
    ]
    for name, figures in rows:
        print("  " + "  ".join(f"{figure:.3f}" for figure in astuple(figures)), "", name)


def _shown(costs: ChangeCosts) -> str:
    return ", ".join(f"{name} {cost:g}" for name, cost in zip(GRID, astuple(costs), strict=True))


if __name__ == "__main__":
    main()
