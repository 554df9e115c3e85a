"""The corpus is split by speaker, so that nobody is scored by a model that knows their voice."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.training.corpora import make_utterance
from training.corpus import DEV_SPEAKERS, FOLDS, Utterance, fold_of_speakers, split_by_speaker


def of_speakers(ages: list[int]) -> list[Utterance]:
    """Two recordings of each."""
    one = make_utterance(["D", "EY1"])
    return [
        replace(one, speaker=f"{i:04d}", age=age, utterance=f"{i}-{n}") for i, age in enumerate(ages) for n in (0, 1)
    ]


@given(st.lists(st.integers(6, 60), min_size=FOLDS, max_size=150))
def test_every_speaker_is_in_one_fold(ages: list[int]) -> None:
    utterances = of_speakers(ages)
    folds = fold_of_speakers(utterances)
    assert set(folds) == {u.speaker for u in utterances}
    sizes = [list(folds.values()).count(fold) for fold in range(FOLDS)]
    assert max(sizes) - min(sizes) <= 1
    assert fold_of_speakers(reversed(utterances)) == folds


@pytest.mark.parametrize("children", [0, 60, 125])
def test_the_first_fold_are_the_development_speakers(children: int) -> None:
    utterances = of_speakers([9] * children + [30] * (5 * DEV_SPEAKERS - children))
    folds = fold_of_speakers(utterances)
    _, dev = split_by_speaker(utterances)
    assert {speaker for speaker, fold in folds.items() if fold == 0} == {u.speaker for u in dev}
    for fold in range(FOLDS):
        young = sum(u.age < 18 for u in utterances if folds[u.speaker] == fold) / 2
        assert young == pytest.approx(children / FOLDS, abs=1)


def test_what_a_voice_said_is_known_beside_what_it_should_have_said() -> None:
    spoken = make_utterance(["D", "EY1"], said=["D", "AY1"])
    assert spoken.said_ids != spoken.phoneme_ids
    assert len(spoken.said_ids) == 2
    assert make_utterance(["D", "EY1"]).said_ids == spoken.phoneme_ids
