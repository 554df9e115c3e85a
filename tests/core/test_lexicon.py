from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from itertools import islice, product
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from app.core.errors import ElocuteError, InvalidInput, InvalidPronunciations, TextWithoutWords
from app.core.lexicon import MAX_CANDIDATES, MAX_TOKEN_LENGTH, MAX_WORDS, Lexicon, LexiconWord
from app.core.phonemes import PHONEMES, VOWELS

FRAGMENT_LINES = (
    "bear 2021 $ 5 % p.m. Dr. 1/2 10:30 ½ ² U.S. NASA don't 'em café 中文 😀 \u0301 \u200b \x00 - / & @ # .. 1e9 XIV",
    "km http:// a.b ' '' \" 's ing ed K2 0 00 x= 1 99 , : pm am st K M £ × < ~ Ω ß ٣ ① ™ ﬁ \ud800 January °C ( ) , ; _",
    "+ ★ ǆ İ ⅟ ↉ 〇 ೧ ᵃ million No. to",
)
FRAGMENTS = st.sampled_from([fragment for line in FRAGMENT_LINES for fragment in line.split(" ")])
PIECES = FRAGMENTS | FRAGMENTS | FRAGMENTS | st.just(" ") | st.text(max_size=3)
TEXTS = st.text() | st.lists(PIECES, min_size=1, max_size=12).map("".join)


@pytest.fixture(scope="module")
def lexicon() -> Lexicon:
    return Lexicon()


def said(lexicon: Lexicon, text: str, index: int = 0) -> list[str]:
    return [" ".join(candidate.phonemes) for candidate in lexicon.words(text)[index].pronunciations]


def check(word: LexiconWord) -> None:
    assert word.text
    assert word.text.encode()
    assert 1 <= len(word.pronunciations) <= MAX_CANDIDATES
    assert len({candidate.phonemes for candidate in word.pronunciations}) == len(word.pronunciations)
    for candidate in word.pronunciations:
        assert candidate.phonemes
        for phoneme, stress in zip(candidate.phonemes, candidate.stresses, strict=True):
            assert phoneme in PHONEMES
            assert stress in {0, 1, 2} if phoneme in VOWELS else stress is None
    assert sum(length for _, length in word.parts) == len(word.pronunciations[0].phonemes)
    assert all(text and length > 0 for text, length in word.parts)


def words_or_error(lexicon: Lexicon, text: str) -> list[LexiconWord] | ElocuteError:
    try:
        return lexicon.words(text)
    except ElocuteError as error:
        return error


@settings(max_examples=1500, deadline=None)
@given(TEXTS)
@example("5'10\" -$5.00 ½-½ 1.5.2 '90s' a½ ½a .... 1:99 99:59 0/0 1/0 13/13/13 $.5 $0.00 0% 0s 0th 99pm 99:30pm")
@example("ⅠⅤ ㎞5 5㎞ 5℃ ﷺ ⅟2 1⁄2 ₅ ⁵ \u00ad\u00ada x\ud800y _a_ a_b __ a--b http://// a@b.c @1 #1# $$5 5$$ 5%%")
def test_any_text_gives_a_word_for_each_token_or_an_error_of_ours(lexicon: Lexicon, text: str) -> None:
    tokens = [token for token in text.split() if re.search(r"[^\W_]", token)]
    answer = words_or_error(lexicon, text)
    if isinstance(answer, ElocuteError):
        assert answer.field == "text"
        assert answer.detail.encode()
        assert isinstance(answer, TextWithoutWords) == (not tokens)
    else:
        assert len(answer) == len(tokens)
        for word in answer:
            check(word)


@settings(max_examples=100, deadline=None)
@given(st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1, max_size=30))
def test_every_ascii_word_can_be_said(lexicon: Lexicon, word: str) -> None:
    (answer,) = lexicon.words(word)
    assert answer.text == word
    check(answer)


def test_a_sentence_is_read_word_by_word(lexicon: Lexicon) -> None:
    words = lexicon.words("We call it “bear”.")
    assert [word.text for word in words] == ["We", "call", "it", "bear"]
    assert [word.pronunciations[0].phonemes for word in words] == [
        ("W", "IY"), ("K", "AO", "L"), ("IH", "T"), ("B", "EH", "R"),
    ]  # fmt: skip
    assert {word.source for word in words} == {"lexicon"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("either", ["IY DH ER", "AY DH ER"]),
        ("a", ["AH", "EY"]),
        ("don't", ["D OW N T"]),
        ("café", ["K AH F EY"]),
        ("well-known", ["W EH L N OW N"]),
        ("2021", ["T W EH N T IY T W EH N T IY W AH N", "T UW TH AW Z AH N D T W EH N T IY W AH N"]),
        ("$5.50", ["F AY V D AA L ER Z AH N D F IH F T IY S EH N T S", "F AY V F IH F T IY"]),
        ("10:30", ["T EH N TH ER T IY"]),
        ("Dr.", ["D AA K T ER", "D R AY V"]),
        ("St.", ["S T R IY T", "S EY N T"]),
        ("NASA", ["N AE S AH"]),
        ("FBI", ["EH F B IY AY"]),
        ("e.g.", ["F AO R IH G Z AE M P AH L", "IY JH IY"]),
    ],
)
def test_a_word_has_the_pronunciations_that_people_use(lexicon: Lexicon, text: str, expected: list[str]) -> None:
    assert set(expected) <= set(said(lexicon, text))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("bear.", [("bear", "B EH R")]),
        ("$5", [("five", "F AY V"), ("dollars", "D AA L ER Z")]),
        ("1999", [("nineteen", "N AY N T IY N"), ("ninety", "N AY N T IY"), ("nine", "N AY N")]),
        ("Dr.", [("doctor", "D AA K T ER")]),
        ("U.S.", [("u", "Y UW"), ("s", "EH S")]),
        ("NASA", [("NASA", "N AE S AH")]),
        ("don't", [("don't", "D OW N T")]),
    ],
)
def test_a_word_says_which_phonemes_are_which_part(
    lexicon: Lexicon, text: str, expected: list[tuple[str, str]]
) -> None:
    (word,) = lexicon.words(text)
    phonemes = iter(word.pronunciations[0].phonemes)
    assert [(part, " ".join(islice(phonemes, length))) for part, length in word.parts] == expected


def test_a_pronunciation_of_the_request_is_one_part_in_words(lexicon: Lexicon) -> None:
    given = ["F", "AY1", "B", "AH0", "K", "S"]
    assert lexicon.words("$5", [given])[0].parts == (("five dollars", 6),)
    assert lexicon.words("Bear,", [["B", "IH1", "R"]])[0].parts == (("Bear", 3),)
    assert lexicon.words("中文", [["JH", "OW", "NG"]])[0].parts == (("中文", 3),)


@pytest.mark.parametrize(
    ("text", "ending"),
    [
        ("selfie's", "IY Z"),
        ("Zuckerberg's", "G Z"),
        ("Murdoch's", "K S"),
        ("James's", "Z IH Z"),
        ("dogs'", "G Z"),
        ("pinkest's", "T S"),
        ("avocados'", "OW Z"),
        ("microchipped", "P T"),
        ("googled", "AH L D"),
        ("runnin'", "AH N"),
        ("bearlike's", "K S"),
    ],
)
def test_regular_forms_end_with_the_right_voicing(lexicon: Lexicon, text: str, ending: str) -> None:
    assert said(lexicon, text)[0].replace("IH N", "AH N").endswith(ending)


def test_unknown_words_come_from_the_model(lexicon: Lexicon) -> None:
    (word,) = lexicon.words("glamping")
    assert word.source == "g2p"
    assert said(lexicon, "glamping") == ["G L AE M P IH NG"]


def test_capitals_may_be_letters_but_not_where_all_is_in_capitals(lexicon: Lexicon) -> None:
    assert said(lexicon, "about XUV cars", 1)[0] == "EH K S Y UW V IY"
    assert "AY T IY" in said(lexicon, "about IT jobs", 1)
    assert "AY T IY" not in said(lexicon, "WE CALL IT BEAR", 2)


@pytest.mark.parametrize("text", ["", "  ", "… !! 😀", "%", "- —"])
def test_a_text_without_words_is_refused(lexicon: Lexicon, text: str) -> None:
    with pytest.raises(TextWithoutWords) as caught:
        lexicon.words(text)
    assert caught.value.field == "text"


@pytest.mark.parametrize("text", ["say 中文", "привет", "\u0e2a\u0e27\u0e31\u0e2a", "x" * (MAX_TOKEN_LENGTH + 1)])
def test_a_word_that_cannot_be_said_is_named(lexicon: Lexicon, text: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        lexicon.words(text)
    assert caught.value.field == "text"
    assert text.removeprefix("say ")[:20] in caught.value.detail
    assert len(caught.value.detail) < 120


def test_a_text_of_too_many_words_is_refused(lexicon: Lexicon) -> None:
    assert len(lexicon.words("a " * MAX_WORDS)) == MAX_WORDS
    with pytest.raises(InvalidInput, match="1001 words"):
        lexicon.words("a " * (MAX_WORDS + 1))


def test_a_text_of_long_numbers_is_refused_before_all_of_them_are_read(lexicon: Lexicon) -> None:
    with pytest.raises(InvalidInput, match="longer to say") as refused:
        lexicon.words("777777777 " * MAX_WORDS)
    assert refused.value.field == "text"
    assert len(lexicon.words("1999 " * MAX_WORDS)) == MAX_WORDS


@pytest.mark.parametrize(
    "character", ["9", "a", "1-", "1/", "1,", "$", "(", "½", "a.", "A&", "http://", "'s", "%", "é"]
)
def test_no_repetition_takes_long(lexicon: Lexicon, character: str) -> None:
    token = (character * MAX_TOKEN_LENGTH)[: MAX_TOKEN_LENGTH - 1] + "1"
    check(lexicon.words(token)[0])


def test_the_request_overrules_the_lexicon(lexicon: Lexicon) -> None:
    first, second = lexicon.words("we call.", [["w", "IY0"], None])
    assert first.source == "request"
    assert [candidate.phonemes for candidate in first.pronunciations] == [("W", "IY")]
    assert first.pronunciations[0].stresses == (None, 0)
    assert second.source == "lexicon"


def test_the_request_can_say_what_the_lexicon_cannot(lexicon: Lexicon) -> None:
    (word,) = lexicon.words("中文", [["JH", "OW", "NG"]])
    assert word.pronunciations[0].phonemes == ("JH", "OW", "NG")


@pytest.mark.parametrize(
    ("given_pronunciations", "named"),
    [
        ([], "0 pronunciations for 2 words"),
        ([None] * 3, "3 pronunciations for 2 words"),
        ([None, ["W", "XX1"]], "Pronunciation 1 .*'XX1'"),
        ([[], None], "Pronunciation 0 .*no phoneme"),
        ([[""], None], "Pronunciation 0 .*''"),
        ([[7], None], "Pronunciation 0 .*'7' is no string"),
        ([None, "WIY"], "Pronunciation 1 .*list of phonemes"),
        ([None, 5], "Pronunciation 1 .*list of phonemes"),
        ([["W"] * 1000, None], "1000 phonemes"),
        ([["\ud800"], None], "Pronunciation 0"),
        ("no", "not a list"),
        ({"we": ["W"]}, "not a list"),
        (5, "not a list"),
    ],
)
def test_pronunciations_that_do_not_fit_are_named(lexicon: Lexicon, given_pronunciations: Any, named: str) -> None:
    with pytest.raises(InvalidPronunciations, match=named) as caught:
        lexicon.words("we call", given_pronunciations)
    assert caught.value.field == "pronunciations"
    assert caught.value.detail.encode()


def test_threads_share_a_lexicon() -> None:
    shared = Lexicon()
    texts = [f"{word} {number}" for word, number in product(("glamping", "bear", "mocktail"), range(20))]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(shared.words, texts))
    assert answers == [shared.words(text) for text in texts]


def test_capitals_tell_the_country_from_the_pronoun(lexicon: Lexicon) -> None:
    said = [lexicon.words(text)[1].pronunciations for text in ("the US bank", "for us all", "TELL US NOW")]
    assert [candidates[0].phonemes for candidates in said] == [("Y", "UW", "EH", "S"), ("AH", "S"), ("AH", "S")]
    assert ("AH", "S") in [candidate.phonemes for candidate in said[0]]
