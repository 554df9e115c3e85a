"""What is said for a text or for phonemes: every phoneme, in order, in phrases that a voice can say in one go."""

from __future__ import annotations

import string

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from app.core.errors import ElocuteError
from app.core.hibari_voice import HibariVoice, written
from app.core.lexicon import Lexicon
from app.core.phonemes import PHONEMES, VOWELS
from app.core.phrasing import MAX_PHRASE_PHONEMES, phrase_seconds, phrases_of_phonemes, phrases_of_text, seconds_of
from app.core.pronunciation import Pronunciation, parse_pronunciation
from app.core.voice import PAUSES, Phrase, PhraseWord

TOKENS_TEXT = (
    "a an the to apple pear, eat. USA, U.S. $5.50! 1999? 12:30 — - … (you) \"no\" don't Dr. FBI; us: i'm hurry "
    "777777777777 3.14159265358979, strengths x ok… it's. !! well-known 21st 中文"
)
TOKENS = st.sampled_from(TOKENS_TEXT.split())
TEXTS = st.lists(TOKENS | TOKENS | st.text(string.printable + "…—，。é", max_size=4), min_size=1, max_size=40)
SYMBOLS = st.sampled_from([*PHONEMES, *(f"{vowel}{stress}" for vowel in sorted(VOWELS) for stress in range(3))])
PRONUNCIATIONS = st.lists(SYMBOLS, min_size=1, max_size=12) | st.lists(SYMBOLS, min_size=80, max_size=250)
LONG = (
    "She usually watches television with her brother after she finishes all of her homework in the evening, and she "
    "meets her old friends by the river in the village near the church"
)


@pytest.fixture(scope="module")
def lexicon() -> Lexicon:
    return Lexicon()


@pytest.fixture(scope="module")
def voice() -> HibariVoice:
    return HibariVoice()


def phrases(lexicon: Lexicon, text: str, pronunciations: list[list[str] | None] | None = None) -> list[Phrase]:
    return phrases_of_text(text, lexicon.words(text, pronunciations))


def said(lexicon: Lexicon, text: str) -> list[str]:
    return [written(phrase) for phrase in phrases(lexicon, text)]


def sounds(phrases: list[Phrase]) -> list[str]:
    return [phoneme for phrase in phrases for word in phrase for phoneme in word.phonemes]


def check(phrases: list[Phrase]) -> None:
    """What a voice relies on."""
    for phrase in phrases:
        assert 1 <= sum(len(word.phonemes) for word in phrase) <= MAX_PHRASE_PHONEMES
        for word in phrase:
            assert word.phonemes
            assert word.pause in PAUSES
            for phoneme, stress in zip(word.phonemes, word.stresses, strict=True):
                assert stress in ((0, 1, 2, None) if phoneme in VOWELS else (None,))
    assert phrases[-1][-1].pause in (".", "!", "?")


@settings(max_examples=150, deadline=None)
@given(tokens=TEXTS, data=st.data())
def test_every_phoneme_of_the_lexicon_is_said_in_order(
    lexicon: Lexicon, tokens: list[str], data: st.DataObject
) -> None:
    text = " ".join(tokens)
    try:
        count = len(lexicon.words(text))
        given_ones = data.draw(st.lists(st.none() | st.none() | PRONUNCIATIONS, min_size=count, max_size=count))
        words = lexicon.words(text, given_ones)
    except ElocuteError:
        assume(False)
    planned = phrases_of_text(text, words)
    check(planned)
    spoken = tuple(sounds(planned))
    reached = {0}
    for word in words:  # each as one of its pronunciations
        ends = [(at, candidate.phonemes) for at in reached for candidate in word.pronunciations]
        reached = {at + len(phonemes) for at, phonemes in ends if spoken[at : at + len(phonemes)] == phonemes}
    assert len(spoken) in reached


@settings(max_examples=100, deadline=None)
@given(st.lists(SYMBOLS, min_size=1, max_size=400))
def test_bare_phonemes_are_said_just_so(symbols: list[str]) -> None:
    pronunciation = parse_pronunciation(symbols)
    planned = phrases_of_phonemes(pronunciation)
    check(planned)
    assert sounds(planned) == list(pronunciation.phonemes)
    assert len(planned) == -(-len(symbols) // MAX_PHRASE_PHONEMES)
    if any(stress is not None for stress in pronunciation.stresses):
        assert [s for phrase in planned for word in phrase for s in word.stresses] == list(pronunciation.stresses)


@pytest.mark.parametrize(
    ("symbols", "expected"),
    [
        ("S IH1 NG K", "sˈɪŋk."),
        ("S IH NG K", "sˈɪŋk."),
        ("AH B AW T", "əbˈWt."),
        ("B AH T", "bˈʌt."),
        ("AH0 B AW0 T", "əbWt."),
        ("S", "s."),
    ],
)
def test_phonemes_without_any_stress_get_one(symbols: str, expected: str) -> None:
    assert [written(phrase) for phrase in phrases_of_phonemes(parse_pronunciation(symbols.split()))] == [expected]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("the apple", ["ði ˈæpəl."]),
        ("the pear", ["ðə pˈɛɹ."]),
        ("I go to eat", ["ˌI ɡˈO tˌu ˈit."]),
        ("I go to sleep", ["ˌI ɡˈO tə slˈip."]),
        ("where to?", ["wˈɛɹ tˈu?"]),
        ("I can.", ["ˌI kˈæn."]),
        ("can I", ["kˌæn ˌI."]),
        ("an apple a day", ["ən ˈæpəl ə dˈA."]),
        ("give it to me", ["ɡˈɪv ˌɪt tə mˌi."]),
    ],
)
def test_little_words_are_weak_as_people_say_them(lexicon: Lexicon, text: str, expected: list[str]) -> None:
    assert said(lexicon, text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("in the USA.", ["ɪn ðə jˌuˌɛsˈA."]),
        ("in the U.S.A.", ["ɪn ðə jˈu ˈɛs ˈA."]),
        ("the FBI works", ["ði ˈɛfbˈiˈI wˈɜɹks."]),
    ],
)
def test_the_letters_of_an_abbreviation_are_no_little_words(lexicon: Lexicon, text: str, expected: list[str]) -> None:
    assert said(lexicon, text) == expected


def test_a_little_word_by_itself_is_said_in_full(lexicon: Lexicon) -> None:
    assert said(lexicon, "You") == ["jˈu."]
    assert said(lexicon, "can") == ["kˈæn."]


@pytest.mark.parametrize(
    ("text", "spoken"),
    [("$5", ["five", "dollars"]), ("1999", ["nineteen", "ninety", "nine"]), ("21st", ["twenty", "first"])],
)
def test_a_number_is_said_in_words_and_the_pause_comes_after_the_last(
    lexicon: Lexicon, text: str, spoken: list[str]
) -> None:
    (phrase,) = phrases(lexicon, f"{text}, please")
    assert [word.text for word in phrase] == [*spoken, "please"]
    assert [word.pause for word in phrase] == [*[""] * (len(spoken) - 1), ",", "."]


@pytest.mark.parametrize(
    ("text", "pauses"),
    [
        ("Well, yes; no", ",;."),
        ("Really?! Yes… Well – no", "?.—."),
        ('(quietly): "no" - ok', ":—."),
        ("Dr. Smith, 3 p.m. today", ("", ",", "", "", "", ".")),
        ("a -- b", "—."),
        ("，yes， no。", ",."),
        ("no mark at all", ("", "", "", ".")),
        ("comma at the end,", ("", "", "", ".")),
    ],
)
def test_punctuation_makes_the_pauses(lexicon: Lexicon, text: str, pauses: str | tuple[str, ...]) -> None:
    assert [word.pause for phrase in phrases(lexicon, text) for word in phrase] == list(pauses)


def test_a_sentence_ends_a_phrase(lexicon: Lexicon) -> None:
    assert said(lexicon, "Yes! No. Why?") == ["jˈɛs!", "nˈO.", "wˈI?"]


def test_pronunciations_of_a_request_are_said_as_given(lexicon: Lexicon) -> None:
    text, given_ones = "the big apple to", [["DH", "IY2"], None, ["AE", "P", "L"], ["T", "UW0"]]
    assert [written(phrase) for phrase in phrases(lexicon, text, given_ones)] == ["ðˌi bˈɪɡ ˈæpl tu."]


def test_a_long_sentence_is_cut_at_a_pause_where_it_has_one(lexicon: Lexicon) -> None:
    planned = phrases(lexicon, LONG)
    assert len(planned) == 2
    assert planned[0][-1].text == "evening"
    check(planned)


def test_long_words_after_a_pause_are_cut_again(lexicon: Lexicon) -> None:
    planned = phrases(lexicon, "a b, c d", [["AH"], ["B"], ["K"] * 90, ["D"] * 95])
    assert [len(sounds([phrase])) for phrase in planned] == [2, 90, 95]


@pytest.mark.parametrize("speed", [0.5, 1.0, 2.0])
@pytest.mark.parametrize(
    "text",
    ["Hi.", "Please turn right at the next corner.", "Yes! No! Why?", "The sixths' strengths.", "1999 $5.50", LONG],
)
def test_the_length_is_foretold_from_above(lexicon: Lexicon, voice: HibariVoice, text: str, speed: float) -> None:
    planned = phrases(lexicon, text)
    real = sum(len(voice.speak(phrase, speed)) for phrase in planned) / voice.sample_rate
    assert real < seconds_of(planned, speed) < 2 * real


@pytest.mark.parametrize("phoneme", PHONEMES)
def test_no_phoneme_takes_longer_than_foretold(voice: HibariVoice, phoneme: str) -> None:
    for symbols in ([phoneme], [phoneme] * 12):
        (phrase,) = phrases_of_phonemes(parse_pronunciation(symbols))
        assert len(voice.speak(phrase, 1.0)) / voice.sample_rate < phrase_seconds(phrase)


@pytest.mark.parametrize("speed", [0.5, 1.0, 1.3, 2.0])
@pytest.mark.parametrize("mark", ["", ",", ";", "—"])
@pytest.mark.parametrize("symbol", ["OY1", "ER1", "ER0", "ZH"])
def test_what_nobody_says_is_foretold_too(
    lexicon: Lexicon, voice: HibariVoice, symbol: str, mark: str, speed: float
) -> None:
    text = f"a{mark} " * 100
    real = foretold = 0.0
    for phrase in phrases(lexicon, text, [[symbol]] * 100):
        seconds = len(voice.speak(phrase, speed)) / voice.sample_rate
        assert seconds < 16 / speed
        real, foretold = real + seconds, foretold + phrase_seconds(phrase) / speed
    assert real < 1.12 * foretold


def test_a_long_number_said_as_one_phoneme_is_long_to_a_voice_that_reads_letters(lexicon: Lexicon) -> None:
    number = "1234567890" * 10
    planned = phrases(lexicon, f"{number} " * 10, [["AH"]] * 10)
    assert max(sum(len(word.text or "") for word in phrase) for phrase in planned) < 500  # else gigabytes
    assert seconds_of(planned, 1.0) > 100


def test_all_that_can_be_planned_can_be_said(voice: HibariVoice) -> None:
    for stress in (None, 0, 1, 2):
        stresses = tuple(stress if phoneme in VOWELS else None for phoneme in PHONEMES)
        said = Pronunciation(PHONEMES, stresses)
        for pause in PAUSES:
            samples = voice.speak((PhraseWord(None, said.phonemes, said.stresses, pause),), 2.0)
            assert np.isfinite(samples).all()
