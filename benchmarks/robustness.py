"""What the service makes of recordings that differ from their text: omissions, insertions, scores.

    python -m benchmarks.robustness --data DATA --model FOLDER [--fold 0] [--recordings 200]

``FOLDER`` is a model that has not heard the speakers of that fold (``make train`` leaves one for each). The recordings
are made of theirs by cutting and joining, see ``training.made_recordings``. Reported: F1 of the omissions and
insertions found, how far the scores of untouched words move, how the total falls, and the total of another sentence.
Exits 1 if a bar is missed.
"""

from __future__ import annotations

import argparse
import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tqdm import tqdm

from app.core.acoustic_engine import AcousticEngine
from app.core.head_scorer import HeadScorer
from app.core.onnx_engine import OnnxEngine
from app.core.pitch import PitchTracker
from app.core.pronunciation_scorer import PronunciationScorer
from app.core.results import SentenceScores, Word
from app.core.rule_scorer import RuleScorer
from app.core.score_rules import load_rules
from training.corpus import fold_of_speakers, load_audio, load_corpus
from training.listening import corpus_words, listen
from training.made_recordings import Made, Original, cuts_around, make_all

OMISSION_F1, INSERTION_F1 = 0.90, 0.80
OTHER_SCORE, OTHER_SHARE = 35.0, 0.95
FOUND_SHARE = 0.3
"""Of what was inserted, how much has to be covered by insertions of the answer."""


@dataclass
class Counts:
    """Found rightly, found wrongly, missed."""

    right: int = 0
    wrong: int = 0
    missed: int = 0

    @property
    def precision(self) -> float:
        """Of what was found, the share that is there."""
        return self.right / max(1, self.right + self.wrong)

    @property
    def recall(self) -> float:
        """Of what is there, the share that was found."""
        return self.right / max(1, self.right + self.missed)

    @property
    def f1(self) -> float:
        """The harmonic mean of both."""
        return 2 * self.right / max(1, 2 * self.right + self.wrong + self.missed)


@dataclass
class Report:
    """What was found.

    Attributes:
        omissions: of words of three phonemes or more, and of the end of a text.
        insertions: of stretches of speech.
        totals: the pronunciation scores of each kind of recording.
        moved: by how much the total of an untouched word moved, for each such word.
        falls: the total's share of the original's, and the share of the text's phonemes that were said.
    """

    omissions: Counts = field(default_factory=Counts)
    insertions: Counts = field(default_factory=Counts)
    by_kind: dict[str, list[Counts]] = field(default_factory=lambda: defaultdict(lambda: [Counts(), Counts()]))
    totals: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    moved: list[float] = field(default_factory=list)
    falls: list[tuple[float, float]] = field(default_factory=list)

    def add(self, made: Made, words: Sequence[Word], scores: SentenceScores, original: Sequence[Word]) -> None:
        """Count one recording.

        Args:
            made: what was done.
            words: of its answer.
            scores: of its answer.
            original: the words of the answer to the recording that it was made of.
        """
        total = scores.pronunciation or 0.0
        self.totals[made.kind].append(total)
        if made.kind == "another sentence":
            return
        of_text = [word for word in words if word.error_type != "insertion"]
        for counts in (self.omissions, self.by_kind[made.kind][0]):
            for number, word in enumerate(of_text):
                left_out = word.error_type == "omission"
                counts.right += left_out and number in made.skipped
                counts.wrong += left_out and number not in made.skipped
                counts.missed += not left_out and number in made.skipped
        found = [(w.start, w.end) for w in words if w.error_type == "insertion"]
        pairs = [(start, end) for start, end in found if start is not None and end is not None]
        for counts in (self.insertions, self.by_kind[made.kind][1]):
            count_insertions(counts, made, pairs)
        if made.kind == "as it was":
            return
        untouched = [i for i in range(len(of_text)) if i not in made.skipped and original[i].error_type != "omission"]
        self.moved += [of_text[i].scores.total - original[i].scores.total for i in untouched]
        if made.skipped:
            sizes = [len(word.phonemes) for word in of_text]
            self.falls.append((total, 1 - sum(sizes[i] for i in made.skipped) / sum(sizes)))


def count_insertions(counts: Counts, made: Made, found: Sequence[tuple[float, float]]) -> None:
    """Compare the stretches of an answer with what was inserted; several in one place count once."""
    used: set[int] = set()
    for stretches in made.inserted:
        hit = False
        for start, end in stretches:
            inside = [i for i, (a, b) in enumerate(found) if min(b, end) > max(a, start)]
            covered = sum(min(found[i][1], end) - max(found[i][0], start) for i in inside)
            hit |= covered >= FOUND_SHARE * (end - start)
            used.update(inside)
        counts.right += hit
        counts.missed += not hit
    counts.wrong += len(found) - len(used)


def originals_of(data: Path, fold: int, count: int, engine: AcousticEngine, seed: int) -> list[Original]:
    """Some recordings of a fold's speakers, with their words found."""
    corpus = load_corpus(data)
    folds = fold_of_speakers(corpus)
    held = [u for u in corpus if folds[u.speaker] == fold]
    chosen = random.Random(seed).sample(held, min(count, len(held)))
    tracker, originals = PitchTracker(), []
    for utterance, clip in zip(chosen, tqdm(load_audio(chosen), "finding words"), strict=True):
        samples = clip.astype(np.float32) / 32768
        words = corpus_words(utterance)
        aligned = listen(engine, samples, words, tracker.track(samples)).alignment.words
        cuts = cuts_around(aligned, len(samples))
        if cuts is not None:
            originals.append(Original(utterance.speaker, samples, words, cuts))
    return originals


def measure(originals: Sequence[Original], engine: AcousticEngine, scorer: PronunciationScorer, seed: int) -> Report:
    """Make the recordings, analyse them and count."""
    report, tracker = Report(), PitchTracker()
    first: list[Word] = []
    for made in tqdm(make_all(originals, seed), "analysing", 6 * len(originals), mininterval=5):
        words, scores = scorer.score(listen(engine, made.samples, made.words, tracker.track(made.samples)))
        if made.kind == "as it was":
            first = [word for word in words if word.error_type != "insertion"]
        report.add(made, words, scores, first)
    return report


def show(report: Report) -> bool:
    """Print the figures; whether every bar is held."""
    other = np.array(report.totals["another sentence"])
    below = float((other < OTHER_SCORE).mean())
    moved = np.array(report.moved)
    falls = np.array(report.falls)
    print("\n                     precision recall F1")
    for name, counts in (("omissions", report.omissions), ("insertions", report.insertions)):
        print(f"{name:20s} {counts.precision:9.3f} {counts.recall:6.3f} {counts.f1:.3f}")
    for kind, (omissions, insertions) in report.by_kind.items():
        print(f"  {kind:18s} omissions {omissions}, insertions {insertions}")
    print(f"total of untouched words: moves by {moved.mean():+.2f} in the mean, {np.abs(moved).mean():.2f} either way")
    for kind, totals in report.totals.items():
        print(f"pronunciation, {kind:18s} mean {np.mean(totals):5.1f}, quartiles {np.percentile(totals, (25, 50, 75))}")
    fall = np.corrcoef(falls.T)[0, 1]
    print(f"words missing: correlation of the total with the share of the text that was said {fall:.3f}")
    print(f"another sentence: {100 * below:.1f} % under {OTHER_SCORE:g}")
    return report.omissions.f1 >= OMISSION_F1 and report.insertions.f1 >= INSERTION_F1 and below >= OTHER_SHARE


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with labels.jsonl and audio/")
    parser.add_argument("--model", type=Path, required=True, help="a model that has not heard the fold's speakers")
    parser.add_argument("--fold", type=int, default=0)
    parser.add_argument("--recordings", type=int, default=200, help="of the fold, to make others of")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    engine = OnnxEngine(args.model)
    scorer = HeadScorer(args.model, RuleScorer(load_rules()))
    originals = originals_of(args.data, args.fold, args.recordings, engine, args.seed)
    raise SystemExit(not show(measure(originals, engine, scorer, args.seed)))


if __name__ == "__main__":
    main()
