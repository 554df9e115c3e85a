from __future__ import annotations

import pytest

from app.core.spoken_form import SpokenForms

KNOWN = frozenset(("no", "in", "sun", "apt", "col", "p"))


@pytest.fixture(scope="module")
def forms() -> SpokenForms:
    return SpokenForms(lambda word: word.lower() in KNOWN)


def readings(forms: SpokenForms, text: str, index: int = 0) -> list[str]:
    return [" ".join(reading) for reading in forms(text)[index].readings]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("7", ["seven"]),
        ("0", ["zero", "o."]),
        ("100", ["one hundred", "a hundred"]),
        ("405", ["four hundred five", "four hundred and five", "four o. five"]),
        ("1,234", ["one thousand two hundred thirty four", "one thousand two hundred and thirty four"]),
        ("1,005", ["one thousand five", "one thousand and five"]),
        ("1,500,000", ["one million five hundred thousand"]),
        ("2021", ["twenty twenty one", "two thousand twenty one", "two thousand and twenty one"]),
        ("2005", ["two thousand five", "two thousand and five", "twenty o. five"]),
        ("1905", ["nineteen o. five"]),
        ("1500", ["fifteen hundred", "one thousand five hundred"]),
        ("007", ["o. o. seven", "zero zero seven", "seven"]),
        ("12345678901234567890", [" ".join(["one two three four five six seven eight nine o."] * 2)]),
        ("3.14", ["three point one four", "three point fourteen"]),
        ("0.5", ["zero point five", "point five"]),
        (".5", ["point five"]),
        ("-5", ["minus five", "negative five"]),
        ("+1", ["plus one"]),
        ("#1", ["number one", "hashtag one"]),
        ("3rd", ["third"]),
        ("121st", ["one hundred twenty first"]),
        ("1990s", ["nineteen nineties"]),
        ("'90s", ["nineties"]),
        ("$5", ["five dollars"]),
        ("$1", ["one dollar"]),
        ("$5.50", ["five dollars and fifty cents", "five dollars fifty cents", "five fifty", "five dollars fifty"]),
        ("$1.01", ["one dollar and one cent"]),
        ("$0.99", ["ninety nine cents"]),
        ("£20", ["twenty pounds"]),
        ("$5M", ["five million dollars"]),
        ("50¢", ["fifty cents"]),
        ("5%", ["five percent"]),
        ("1/2", ["one half", "a half", "half", "one over two", "january second"]),
        ("3/4", ["three quarters", "three fourths"]),
        ("9/11", ["nine eleven", "september eleventh"]),
        ("24/7", ["twenty four seven"]),
        ("2½", ["two and a half", "two and one half"]),
        ("⅓", ["one third", "a third"]),
        ("10:30", ["ten thirty", "half past ten"]),
        ("10:05", ["ten o. five", "five past ten"]),
        ("7:00", ["seven o'clock", "seven"]),
        ("12:45", ["twelve forty five", "quarter to one", "a quarter to one"]),
        ("14:30", ["fourteen thirty", "two thirty", "half past two"]),
        ("5pm", ["five p. m."]),
        ("10:30am", ["ten thirty a. m."]),
        ("03/04/2021", ["march fourth twenty twenty one", "the third of april twenty twenty one"]),
        ("2021-03-04", ["march fourth twenty twenty one"]),
        ("25.12.2020", ["december twenty fifth twenty twenty"]),
        ("10-20", ["ten to twenty", "ten twenty"]),
        ("555-1234", ["five five five one two three four"]),
        ("1.2.3", ["one point two point three", "one dot two dot three"]),
        ("3x", ["three times"]),
        ("4x4", ["four by four"]),
        ("5'10\"", ["five ten", "five foot ten", "five feet ten inches"]),
        ("5km", ["five kilometers"]),
        ("60mph", ["sixty miles per hour"]),
        ("20°C", ["twenty degrees Celsius"]),
        ("m²", ["square meters"]),
        ("10³", ["ten cubed"]),
        ("٣", ["three"]),
    ],
)
def test_numbers_have_the_readings_that_people_use(forms: SpokenForms, text: str, expected: list[str]) -> None:
    said = readings(forms, text)
    assert said[0] == expected[0]
    assert set(expected) <= set(said)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Mr.", ["mister"]),
        ("Dr.", ["doctor", "drive"]),
        ("etc.", ["et cetera"]),
        ("e.g.", ["for example", "e. g."]),
        ("p.m.", ["p. m."]),
        ("U.S.A.", ["u. s. a."]),
        ("Ph.D.", ["p. h. d."]),
        ("km", ["kilometers", "kilometer", "k. m."]),
        ("km/h", ["kilometers per hour"]),
        ("A&B", ["a. and b."]),
        ("AT&T", ["a. t. and t."]),
        ("C++", ["c. plus plus"]),
        ("B2B", ["b. two b."]),
        ("MP3", ["MP three"]),
        ("COVID-19", ["COVID nineteen"]),
        ("20-year-old", ["twenty year old"]),
        ("1st-class", ["first class"]),
        ("and/or", ["and or", "and slash or"]),
        ("VIII", ["eight", "the eighth"]),
        ("XIV", ["fourteen"]),
        ("x=5", ["x. equals five"]),
        ("me@example.com", ["me at example dot com"]),
        ("www.example.com", ["w. w. w. dot example dot com"]),
        ("π", ["pi"]),
        ("#tag", ["hashtag tag", "tag"]),
        ("Beyoncé", ["Beyonce"]),
        ("a", ["a"]),
    ],
)
def test_abbreviations_and_compounds_are_spoken_out(forms: SpokenForms, text: str, expected: list[str]) -> None:
    said = readings(forms, text)
    assert said[0] == expected[0]
    assert set(expected) <= set(said)


@pytest.mark.parametrize(
    ("text", "index", "first"),
    [
        ("5 %", 0, "five percent"),
        ("$ 5", 0, "five dollars"),
        ("March 3", 1, "third"),
        ("3 March", 0, "third"),
        ("Sept. 3, 2021", 1, "third"),
        ("5 p.m.", 1, "p. m."),
        ("7:00 a.m.", 0, "seven"),
        ("$3.5 million", 0, "three point five"),
        ("$3.5 million", 1, "million dollars"),
        ("5 km", 1, "kilometers"),
        ("1 km", 1, "kilometer"),
        ("20 °C", 1, "degrees Celsius"),
        ("St. John", 0, "saint"),
        ("Main St.", 1, "street"),
        ("I said no.", 2, "no"),
        ("No. 5", 0, "number"),
        ("Col. Mustard", 0, "colonel"),
        ("5 - 3", 1, "minus three"),
        ("- 3", 0, "three"),
        ("rock & roll", 1, "and roll"),
        ("in 2021 in May", 2, "in"),
    ],
)
def test_neighbours_have_their_say(forms: SpokenForms, text: str, index: int, first: str) -> None:
    assert readings(forms, text, index)[0] == first


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("bear.", "bear"),
        ('("bear!")', "bear"),
        ("don't", "don't"),
        ("$5.50,", "$5.50"),
        ("(-5%).", "-5%"),
        ("e.g.,", "e.g."),
        ("Mr.", "Mr."),
        ("U.S.", "U.S."),
        ("'hello'", "hello"),
        ("‘hello’", "hello"),
        ("'em", "'em"),
        ("the dogs'", "dogs'"),
        ("café…", "café"),
        ("—well—", "well"),
        ("C++!", "C++"),
        ("be\u200bar", "bear"),
    ],
)
def test_the_punctuation_around_a_word_is_not_part_of_it(forms: SpokenForms, text: str, shown: str) -> None:
    assert forms(text)[-1].text == shown


def test_a_lone_symbol_is_no_word(forms: SpokenForms) -> None:
    assert [token.text for token in forms("we - & % are … 5 %")] == ["we", "are", "5"]
