"""Words that the built-in voice says wrongly on purpose, and what they score."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rapidfuzz.distance import Levenshtein

from app.core.lexicon import Lexicon
from app.core.phonemes import PHONEMES, VOWELS
from app.core.pronunciation import parse_pronunciation
from app.core.voice import load_voice
from tests.voice import RATE
from training.make_speech import KINDS, Studio, change, choose_texts
from training.readings import CLEARLY_WRONG


@given(
    st.lists(st.sampled_from(PHONEMES), min_size=1, max_size=8),
    st.sampled_from(sorted(set(KINDS))),
    st.integers(0, 999),
)
def test_a_change_and_its_scores_are_in_step(symbols: list[str], kind: str, seed: int) -> None:
    right = parse_pronunciation(symbols)
    said, scores = change(right, kind, random.Random(seed))
    assert len(scores) == len(right.phonemes)
    assert len(said.phonemes) == len(said.stresses)
    assert all(p in VOWELS or s is None for p, s in zip(said.phonemes, said.stresses, strict=True))
    edits = Levenshtein.editops(right.phonemes, said.phonemes).as_list()
    if said.phonemes == right.phonemes:
        assert scores == [2.0] * len(scores)
    elif len(said.phonemes) == len(right.phonemes):
        ((_, at, _),) = edits
        assert scores == [2 * CLEARLY_WRONG if i == at else 2.0 for i in range(len(scores))]
    elif len(said.phonemes) < len(right.phonemes):
        assert sorted(scores, key=str) == sorted([0.0, *[2.0] * (len(scores) - 1)], key=str)
        missing = scores.index(0.0)
        assert said.phonemes == right.phonemes[:missing] + right.phonemes[missing + 1 :]
    else:
        at = scores.index(None)  # the neighbours of what was put in
        assert set(scores[:at] + scores[at + 2 :]) <= {2.0}
        assert said.phonemes == (*right.phonemes[: at + 1], "AH", *right.phonemes[at + 1 :])


@pytest.fixture(scope="module")
def studio() -> Studio:
    return Studio(Lexicon(), load_voice())


@pytest.mark.parametrize("wrong", [0, 2])
def test_a_reading_has_the_corpus_s_layout(studio: Studio, wrong: int) -> None:
    record, samples = studio.read("please turn right", wrong, random.Random(4))
    assert [word["text"] for word in record["words"]] == ["please", "turn", "right"]
    assert all(len(word["phones"]) == len(word["phone_accuracy"]) for word in record["words"])
    changed = [word for word in record["words"] if "said" in word]
    assert len(changed) <= wrong
    assert all(word["said"] != word["phones"] and word["accuracy"] is None for word in changed)
    assert (record["accuracy"] is None) == bool(changed)
    assert record["fluency"] == 9.5
    assert samples.dtype == np.float32
    assert 0.5 * RATE < len(samples) < 5 * RATE
    assert np.abs(samples).max() > 0.05
    assert np.abs(samples[: RATE // 25]).max() == 0, "silence before the speech"


def test_texts_are_sentences_and_single_words() -> None:
    texts = ["please turn right", "a big green bear"]
    chosen = choose_texts(texts, 5, 30, random.Random(0))
    assert sorted(chosen[:2]) == sorted(texts)
    assert len(chosen) == 32
    assert all(" " not in word for word in chosen[2:])
    assert any(word in {"please", "turn", "right", "big", "green", "bear"} for word in chosen[2:])
