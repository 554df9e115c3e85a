from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.cmudict import CmuDict
from training.make_cmudict import compact


@pytest.fixture(scope="module")
def dictionary() -> CmuDict:
    return CmuDict()


def test_it_holds_the_whole_dictionary(dictionary: CmuDict) -> None:
    assert len(dictionary) > 125_000


def test_a_word_has_its_phonemes_and_stress(dictionary: CmuDict) -> None:
    (bear,) = dictionary("bear")
    assert bear.phonemes == ("B", "EH", "R")
    assert bear.stresses == (None, 1, None)


def test_all_variants_come_in_upstreams_order(dictionary: CmuDict) -> None:
    assert [variant.phonemes for variant in dictionary("either")] == [("IY", "DH", "ER"), ("AY", "DH", "ER")]


@pytest.mark.parametrize("word", ["'bout", "zywicki", "a", "zzz", "don't", "u.s.a."])
def test_words_at_the_edges_are_found_or_not(dictionary: CmuDict, word: str) -> None:
    assert (word in dictionary) == bool(dictionary(word)) == (word != "zzz")


@pytest.mark.parametrize(
    "word", ["", "qwxyz", "bear\tB", "bearz", "bearin", "BEAR", "bäär", "\n", "zzzzzzzz", "\x00", "\ud800"]
)
def test_what_is_no_word_is_not_found(dictionary: CmuDict, word: str) -> None:
    assert word not in dictionary
    assert dictionary(word) == ()


@given(st.text())
def test_no_text_breaks_a_look_up(dictionary: CmuDict, text: str) -> None:
    for variant in dictionary(text):
        assert len(variant.phonemes) == len(variant.stresses) > 0


def test_the_vendored_form_is_sorted_and_without_comments() -> None:
    upstream = "b B IY1 # a letter\na's EY1 Z\na AH0\na(2) EY1\n"
    assert compact(upstream) == b"a\tAH0|EY1\na's\tEY1 Z\nb\tB IY1\n"


@pytest.mark.parametrize("line", ["a AH", "a XX1", "b B1 IY1"])
def test_a_line_with_no_phoneme_stops_the_making(line: str) -> None:
    with pytest.raises(ValueError, match="no phoneme"):
        compact(line)
