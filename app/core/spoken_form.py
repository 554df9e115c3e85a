"""Tokens of a written text -> what people say for them, as words; one written token stays one entry.

What one token says by itself is in ``token_readings``; here its neighbours have their say: "5 p.m.", "March 3",
"$3.5 million", "St. John".
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from app.core import abbreviations
from app.core.number_readings import SCALE_WORDS, as_integer
from app.core.token_readings import INITIALS, MAX_READINGS, TokenReadings
from app.core.tokens import as_shown, fold, is_word, strip_punctuation

HALF_DAY = re.compile(r"[ap]\.?m\.?", re.IGNORECASE)
# a symbol between blanks is no word of its own; it is said together with a neighbour
BEFORE_NUMBER = frozenset("$€£¥₹₩#+±~<>≤≥≈")
AFTER_NUMBER = frozenset("%‰°¢€£$")
LINKS = {"&": "and", "+": "plus", "=": "equals", "@": "at", "×": "times", "÷": "divided by"}


@dataclass(frozen=True, slots=True)
class SpokenToken:
    """A written token and its readings.

    Attributes:
        text: the token as written, without the punctuation around it.
        readings: what people say for it, best first: words in the case of the text; a letter with a full stop
            (``"f."``) is that letter's name. Empty if nothing in the token can be said in English.
    """

    text: str
    readings: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class _Place:
    """A token, cleaned, between its neighbours, folded ("" where there is none)."""

    core: str
    dotted: bool
    before_that: str
    before: str
    after: str

    @property
    def number(self) -> bool:
        return self.core[:1].isdigit()

    @property
    def number_before(self) -> bool:
        return re.search(r"\d[%)]?$", self.before) is not None


class SpokenForms:
    """Reads out the tokens of a text. Nothing changes after it is made, so threads may share one."""

    def __init__(self, knows: Callable[[str], bool]) -> None:
        """``knows`` tells whether the dictionary has a word, so that "no." may be more than a number."""
        self._knows = knows
        self._alone = TokenReadings(knows)

    def __call__(self, text: str) -> list[SpokenToken]:
        """One entry for each white-space separated token of ``text`` that has a letter or a digit, in order."""
        tokens = text.split()
        folded = ["", "", *(fold(token) for token in tokens), ""]
        spoken = []
        for index, token in enumerate(tokens):
            if is_word(token):
                core, dotted = strip_punctuation(folded[index + 2])
                place = _Place(core, dotted, folded[index], folded[index + 1], folded[index + 3])
                words = dict.fromkeys(tuple(reading.replace("-", " ").split()) for reading in self._readings(place))
                words.pop((), None)
                own_stop = dotted and (core.lower() in abbreviations.ABBREVIATIONS or bool(INITIALS.fullmatch(core)))
                spoken.append(SpokenToken(as_shown(token, core, own_stop), tuple(words)[:MAX_READINGS]))
        return spoken

    def _readings(self, place: _Place) -> list[str]:
        """The readings of a token in its place, by the first rule that has any."""
        if place.core in {"a", "A"}:
            return ["a"]
        rules = (self._with_symbol, self._money, self._day, self._hour, self._measured, self._abbreviated)
        for rule in rules:
            if readings := rule(place):
                return readings
        return self._alone(place.core)

    def _with_symbol(self, place: _Place) -> list[str]:
        """A token with a symbol that stands alone beside it: "$ 5", "5 %", "5 - 3", "rock & roll"."""
        core, before = place.core, place.before
        if place.number and before == "-":
            plain = self._alone(core)[:5]
            links = ("minus ", "to ", "") if place.before_that[-1:].isdigit() else ("", "minus ")
            return [link + reading for link in links for reading in plain]
        if place.number and before in BEFORE_NUMBER:
            return self._alone(before + core) + (self._alone(core) if before == "+" else [])
        if core[-1:].isdigit() and place.after in AFTER_NUMBER:
            return self._alone(core + place.after)
        if before in LINKS:
            plain = self._alone(core)
            return [f"{LINKS[before]} {reading}" for reading in plain[:6]] + plain
        return []

    def _money(self, place: _Place) -> list[str]:
        """A large amount: in "$3.5 million" the dollars come after the million."""
        sign = re.match(r"[$€£¥₹₩](?=\d)", place.core)
        if sign and place.after.lower().rstrip(".,;:!?") in SCALE_WORDS:
            return self._alone(place.core[1:])
        if place.core.lower() in SCALE_WORDS and re.match(r"[$€£¥₹₩]\d", place.before):
            return [f"{place.core} {self._alone.numbers.currency(place.before[0])}", place.core]
        return []

    def _day(self, place: _Place) -> list[str]:
        """The day beside a month: "March 3", "3 March"."""
        day = as_integer(place.core)
        beside = {re.sub(r"\W", "", neighbour).lower() for neighbour in (place.before, place.after)}
        if day is None or not 1 <= day <= 31 or len(place.core) > 2 or not beside & abbreviations.MONTH_NAMES:
            return []
        ordinal = self._alone.numbers.ordinal(day)[0]
        return [ordinal, f"the {ordinal}", *self._alone(place.core)]

    def _hour(self, place: _Place) -> list[str]:
        """A time of two tokens: "7:00" before "a.m.", and "p.m." after a number."""
        if HALF_DAY.fullmatch(place.after.rstrip(",;:!?")) and (time := re.fullmatch(r"(\d{1,2}):00", place.core)):
            return [*self._alone(time[1]), *self._alone(place.core)]
        if place.number_before and HALF_DAY.fullmatch(place.core):
            return [f"{place.core[0].lower()}. m."]
        return []

    def _measured(self, place: _Place) -> list[str]:
        """A unit after a number: "5 km"."""
        names = self._alone.numbers.unit(place.core) if place.number_before else []
        if not names:
            return []
        if place.core == "in":  # rather "in 2021 in May" than inches
            return [place.core, *names]
        return [*(names[::-1] if place.before == "1" else names), *self._alone(place.core)]

    def _abbreviated(self, place: _Place) -> list[str]:
        """An abbreviation; the next token tells whether it is a title and whether "no." is a number."""
        lower, name_after = place.core.lower(), place.after[:1].isupper()
        known = abbreviations.ABBREVIATIONS.get(lower, ())
        if (lower == "st" and not name_after) or place.core == "AM":  # street, a. m.
            known = known[::-1]
        if known or not place.dotted:
            return list(known)
        expansions = abbreviations.DOTTED.get(lower, ())
        likely = place.after[:1].isdigit() or (lower in abbreviations.TITLES and name_after) or not self._knows(lower)
        return [*expansions, place.core] if expansions and likely else [place.core, *expansions] if expansions else []
