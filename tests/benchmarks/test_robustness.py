"""A short run of the benchmark of recordings that differ from their text, on what the built-in voice says."""

from __future__ import annotations

import random

import numpy as np
import pytest

from app.core.acoustic_engine import BUILT_IN_MODEL
from app.core.head_scorer import HeadScorer
from app.core.lexicon import Lexicon
from app.core.onnx_engine import OnnxEngine
from app.core.pitch import PitchTracker
from app.core.rule_scorer import RuleScorer
from app.core.score_rules import load_rules
from benchmarks.robustness import Counts, count_insertions, measure
from tests.voice import say
from training.listening import listen
from training.made_recordings import SAMPLE_RATE, Made, Original, cuts_around, make_all, skip_a_word, stop_halfway

TEXTS = (
    "my brother works in a large office",
    "she bought seven green apples yesterday",
    "the children played outside until dinner",
)


@pytest.fixture(scope="module")
def engine() -> OnnxEngine:
    return OnnxEngine()


@pytest.fixture(scope="module")
def originals(engine: OnnxEngine) -> list[Original]:
    lexicon, tracker, made = Lexicon(), PitchTracker(), []
    for number, text in enumerate(TEXTS):
        samples, words = say(text), lexicon.words(text)
        aligned = listen(engine, samples, words, tracker.track(samples)).alignment.words
        cuts = cuts_around(aligned, len(samples))
        assert cuts is not None
        made.append(Original(str(number), samples, words, cuts))
    return made


def test_what_was_done_to_a_recording_is_found(engine: OnnxEngine, originals: list[Original]) -> None:
    report = measure(originals, engine, HeadScorer(BUILT_IN_MODEL, RuleScorer(load_rules())), seed=0)
    assert report.omissions.f1 > 0.85
    assert report.insertions.f1 > 0.6
    assert max(report.totals["another sentence"]) < 35
    assert np.mean(report.totals["stopped halfway"]) < np.mean(report.totals["as it was"]) - 15
    assert np.abs(report.moved).mean() < 6


def test_recordings_are_the_same_for_the_same_seed(originals: list[Original]) -> None:
    first, second = [*make_all(originals, 3)], [*make_all(originals, 3)]
    assert [made.kind for made in first] == [made.kind for made in second]
    assert all(np.array_equal(a.samples, b.samples) for a, b in zip(first, second, strict=True))


def test_what_is_cut_out_is_gone(originals: list[Original]) -> None:
    original = originals[0]
    skipped = skip_a_word(original, random.Random(1))
    assert skipped is not None
    (at,) = skipped.skipped
    lost = original.cuts[at + 1] - original.cuts[at]
    assert len(skipped.samples) == pytest.approx(len(original.samples) - lost, abs=2)
    stopped = stop_halfway(original, random.Random(1))
    assert stopped is not None
    assert stopped.skipped == frozenset(range(min(stopped.skipped), len(original.words)))
    assert len(stopped.samples) == original.cuts[min(stopped.skipped)]


def test_an_insertion_counts_once_where_it_is_and_as_wrong_elsewhere() -> None:
    made = Made("word twice", np.zeros(SAMPLE_RATE, np.float32), [], inserted=(((1.0, 1.5), (1.5, 2.0)),))
    counts = Counts()
    count_insertions(counts, made, [(1.05, 1.3), (1.3, 1.45), (4.0, 4.5)])
    assert (counts.right, counts.wrong, counts.missed) == (1, 1, 0)
    count_insertions(counts, made, [])
    assert (counts.right, counts.wrong, counts.missed) == (1, 1, 1)
    assert counts.f1 == pytest.approx(2 / 4)
