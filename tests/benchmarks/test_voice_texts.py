"""What the voices are compared on is what it says it is, and the comparison counts right."""

from __future__ import annotations

import pytest

from app.core.lexicon import Lexicon
from app.core.phonemes import PHONEMES
from benchmarks.voice_texts import MINIMAL_PAIRS, SENTENCES


@pytest.fixture(scope="module")
def lexicon() -> Lexicon:
    return Lexicon()


def said(lexicon: Lexicon, word: str) -> tuple[str, ...]:
    (only,) = lexicon.words(word)
    assert only.source == "lexicon"
    return only.pronunciations[0].phonemes


def test_thirty_sentences_of_everyday_length_that_the_dictionary_can_say(lexicon: Lexicon) -> None:
    assert len(set(SENTENCES)) == 30
    for sentence in SENTENCES:
        words = lexicon.words(sentence)
        assert 5 <= len(words) <= 14, sentence
        assert {word.source for word in words} == {"lexicon"}, sentence


def test_the_sentences_have_every_phoneme(lexicon: Lexicon) -> None:
    heard = {p for s in SENTENCES for word in lexicon.words(s) for p in word.pronunciations[0].phonemes}
    assert heard == set(PHONEMES)


def test_the_sentences_have_questions_commas_contractions_and_numbers() -> None:
    for mark, at_least in (("?", 5), (",", 5), ("'", 5)):
        assert sum(mark in sentence for sentence in SENTENCES) >= at_least
    assert 3 <= sum(any(c.isdigit() for c in s) or "Dr." in s for s in SENTENCES) <= 5


def test_twenty_pairs_of_forty_different_words() -> None:
    assert len(MINIMAL_PAIRS) == 20
    assert len({word for pair in MINIMAL_PAIRS for word in pair}) == 40


@pytest.mark.parametrize("pair", MINIMAL_PAIRS, ids="/".join)
def test_a_pair_differs_in_one_phoneme(lexicon: Lexicon, pair: tuple[str, str]) -> None:
    one, other = (said(lexicon, word) for word in pair)
    assert len(one) == len(other)
    assert sum(a != b for a, b in zip(one, other, strict=True)) == 1


def test_the_pairs_change_vowels_and_consonants_at_the_beginning_and_at_the_end(lexicon: Lexicon) -> None:
    places = []
    for pair in MINIMAL_PAIRS:
        one, other = (said(lexicon, word) for word in pair)
        (place,) = (i for i, (a, b) in enumerate(zip(one, other, strict=True)) if a != b)
        places.append("first" if place == 0 else "last" if place == len(one) - 1 else "middle")
    assert min(places.count(place) for place in ("first", "middle", "last")) >= 4
