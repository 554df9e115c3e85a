"""Vocabularies of foreign phoneme models come out as the phonemes a phonetician would name."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.ipa import class_shares, classes_of_arpabet, classes_of_ipa, lend_to_unreached, reached
from app.core.phonemes import ARPABET_TO_IPA, BLANK, CLASS_IDS, CLASSES, PHONEMES

_ESPEAK = """
n s t ə l a i k d m ɛ ɾ e ɪ p o ɐ z ð f j v b ɹ ʁ ʊ iː r w ʌ u ɡ æ aɪ ʃ h ɔ ɑː ŋ ɚ eɪ β uː y ɑ̃ oʊ ᵻ eː θ aʊ ts oː ɔ̃ ɣ ɜ
ɑ dʒ əl x ɜː ç ʒ tʃ ɔː ɑːɹ ɛ̃ ʎ ɔːɹ ʋ aː ɕ œ ø oːɹ ɲ yː ʔ iə i5 s. tɕ ?? nʲ ɛː œ̃ ɭ ɔø ʑ tʲ ɨ ɛɹ ts. rʲ ɪɹ ɭʲ i.5 ɔɪ q sʲ
u5 ʊɹ iɜ a5 iɛ5 øː ʕ ja əɜ th ɑ5 oɪ dʲ ə5 tɕh ts.h ɯ dʑ e̞ tʃʲ ei5 onɡ5 ɑu5 iɑ5 aɪɚ kh ʐ ʉ ħ t[ aɪə ʲ ju pː iɛɜ uoɜ tsh ɵ
ɟ ɑɨ eʊ ä n̩ ɒ ph əɪ ɫ ɬ ɐ̃ʊ̃ 1 yæɜ iouɜ ũ c ɖ dˤ əʊ S u" ʈ ɯᵝ dZ r̝̊ ʝ pf ɳ ɽ l̩ ɻ ʂ r̩ ee u: ʰ
"""
_TIMIT = """
aa ae ah ao aw ax ax-h axr ay b bcl ch d dcl dh dx eh el em en eng epi er ey f g gcl h# hh hv ih ix iy jh k kcl l m n ng
nx ow oy p pau pcl q r s sh t tcl th uh uw ux v w y z zh
"""
_TIMIT_39 = "aa ae ah aw ay b ch d dh dx eh er ey f g hh ih iy jh k l m n ng ow oy p r s sh sil t th uh uw v w y z"
ESPEAK, ARPABET_TIMIT, TIMIT_39 = _ESPEAK.split(), _TIMIT.split(), _TIMIT_39.split()
LETTERS = list("abcdefghijklmnopqrstuvwxyz'|")


@pytest.mark.parametrize("phoneme", PHONEMES)
def test_every_phoneme_is_found_again_by_its_own_ipa_and_by_its_own_name(phoneme: str) -> None:
    assert classes_of_ipa(ARPABET_TO_IPA[phoneme]) == (phoneme,)
    assert classes_of_arpabet(phoneme) == classes_of_arpabet(phoneme.lower() + "1") == (phoneme,)


@pytest.mark.parametrize(
    ("symbol", "meaning"),
    [
        ("t͡ʃ", "CH"), ("d͡ʒ", "JH"), ("ʧ", "CH"), ("ˈiː", "IY"), ("iːː", "IY"), ("g", "G"), ("kʰ", "K"), ("kh", "K"),
        ("ə", "AH"), ("ɐ", "AH"), ("ᵻ", "IH"), ("ɚ", "ER"), ("ɜː", "ER"), ("ə˞", "ER"), ("r̩", "ER"), ("əɹ", "ER"),
        ("ɑːɹ", "AA R"), ("oːɹ", "AO R"), ("ɔːɹ", "AO R"), ("ɛɹ", "EH R"), ("aɪɚ", "AY ER"), ("eə", "EH R"),
        ("əl", "AH L"), ("n̩", "AH N"), ("juː", "Y UW"), ("ts", "T S"), ("ɾ", "T D"), ("əʊ", "OW"), ("oː", "OW"),
        ("ʁ", "R"), ("ɻ", "R"), ("ɕ", "SH"), ("x", "HH"), ("ç", "HH"), ("y", "UW"), ("ʋ", "V"), ("ɑ̃", "AA"),
        ("iɜ", "IY"), ("i5", "IY"), ("ts.h", "CH"), ("s.", "SH"), ("dˤdˤ", "D"), ("ʔ", BLANK),
        ("|", BLANK), (" ", BLANK), ("<s>", BLANK), ("[UNK]", BLANK), ("sil", BLANK), ("h#", BLANK), ("SPN", BLANK),
        ("ɬ", ""), ("ʕ", ""), ("ǃ", ""), ("??", ""), ("1", ""), ("ʲ", ""), ("S", ""), ("ing", "IY N G"), ("tomato", ""),
    ],
)  # fmt: skip
def test_ipa_symbols(symbol: str, meaning: str) -> None:
    assert classes_of_ipa(symbol) == tuple(meaning.split())


@pytest.mark.parametrize(
    ("symbol", "meaning"),
    [
        ("ax", "AH"), ("ix", "IH"), ("ux", "UW"), ("axr", "ER"), ("ax-h", "AH"), ("hv", "HH"), ("nx", "N"),
        ("dx", "T D"), ("en", "AH N"), ("eng", "NG"), ("y", "Y"), ("AH0", "AH"), ("AH0_B", "AH"), ("ZH", "ZH"),
        ("bcl", BLANK), ("h#", BLANK), ("pau", BLANK), ("q", BLANK), ("SIL", BLANK), ("<pad>", BLANK),
        ("aɪ", ""), ("c", ""), ("x", ""),
    ],
)  # fmt: skip
def test_arpabet_symbols(symbol: str, meaning: str) -> None:
    assert classes_of_arpabet(symbol) == tuple(meaning.split())


@given(st.one_of(st.sampled_from(ESPEAK), st.text(max_size=8), st.lists(st.sampled_from(ESPEAK)).map("".join)))
def test_any_symbol_means_known_classes_without_repetition_or_nothing(symbol: str) -> None:
    for meaning in (classes_of_ipa(symbol), classes_of_arpabet(symbol)):
        assert len(meaning) <= 3
        assert set(meaning) <= set(CLASSES)
        assert len(set(meaning)) == len(meaning)


def test_the_notation_is_found_out() -> None:
    for vocabulary in (["<pad>", *ESPEAK], ["<pad>", *ARPABET_TIMIT], ["<pad>", *map(str.upper, ARPABET_TIMIT)]):
        assert reached(class_shares(vocabulary, 0)) == set(PHONEMES)


def test_letters_reach_far_fewer_phonemes_than_phoneme_vocabularies() -> None:
    assert len(reached(class_shares(LETTERS, 0))) < 25
    assert len(reached(class_shares(list(map(str.upper, LETTERS)), 0))) < 25
    assert len(reached(class_shares(TIMIT_39, TIMIT_39.index("sil")))) == 37


def test_a_symbol_is_shared_equally_and_a_foreign_one_has_no_share() -> None:
    shares = class_shares(["x", None, "oːɹ", "ɬ", "s", "z"], 4)
    assert shares[:, CLASS_IDS["AO"]].tolist() == shares[:, CLASS_IDS["R"]].tolist() == [0, 0, 0.5, 0, 0, 0]
    assert shares.sum(axis=1).tolist() == [1, 0, 1, 0, 1, 1]
    assert shares[4, CLASS_IDS[BLANK]] == 1, "the blank is the blank, whatever its symbol looks like"


def test_letter_by_letter_ipa_hears_diphthongs_by_their_beginning() -> None:
    vocabulary = ["[PAD]", *"abdefghijklmnoprstuvwzæðŋɑɔəɛɝɪɹɾʃʊʌʒʔʤʧθ"]
    shares = class_shares(vocabulary, 0)
    assert reached(shares) == set(PHONEMES) - {"OY"}
    assert shares[vocabulary.index("a"), CLASS_IDS["AY"]] == shares[vocabulary.index("a"), CLASS_IDS["AW"]] == 0.5
    assert shares[vocabulary.index("ɑ"), CLASS_IDS["AA"]] == 1


def test_folded_phonemes_are_lent_a_part_and_nothing_is_lost() -> None:
    shares = class_shares(TIMIT_39, TIMIT_39.index("sil"))
    lent = lend_to_unreached(shares)
    assert reached(lent) == set(PHONEMES)
    assert lent[TIMIT_39.index("sh"), CLASS_IDS["ZH"]] == 0.25
    assert lent[TIMIT_39.index("sh"), CLASS_IDS["SH"]] == 0.75
    np.testing.assert_allclose(lent.sum(axis=1), shares.sum(axis=1))


def test_nothing_is_lent_where_every_phoneme_has_a_symbol() -> None:
    shares = class_shares(["<pad>", *ESPEAK], 0)
    np.testing.assert_array_equal(lend_to_unreached(shares), shares)
