"""How people say numbers, amounts, dates and times: every reading that a speaker is likely to choose, best first.

The number words, currencies, units and fractions are normt2s' (MIT, no dependencies); it gives one reading of a text,
while people differ: "2021" is twenty twenty one, two thousand twenty one or two thousand and twenty one. The
recording decides, so what is added here are the alternatives.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from app.core.abbreviations import MONTHS

if TYPE_CHECKING:
    from normt2s import Normalizer

NUMBER = r"\d+(?:,\d{3})+(?:\.\d+)?|\d*\.\d+|\d+"
MONEY = "$€£¥₹₩"
SCALES = {"k": "thousand", "m": "million", "mn": "million", "b": "billion", "bn": "billion", "t": "trillion"}
SCALE_WORDS = frozenset(("hundred", "thousand", "million", "billion", "trillion"))
LONGEST_CARDINAL = 15
HALF_DAY = {"am": "a. m.", "pm": "p. m."}


def as_integer(text: str) -> int | None:
    """The value of ``"1,234"`` or ``"7"``, or None if ``text`` is no whole number that has a name."""
    digits = text.replace(",", "")
    return int(digits) if re.fullmatch(r"\d+(?:,\d{3})*", text) and len(digits) <= LONGEST_CARDINAL else None


class NumberReadings:
    """The readings of tokens with digits. Holds no state beyond the normaliser; safe to share between threads."""

    def __init__(self, normalizer: Normalizer) -> None:
        self._normalizer = normalizer
        self._language = normalizer.lang
        self._units = normalizer.lexicon.units
        patterns: tuple[tuple[str, Callable[[re.Match[str]], Iterable[str]]], ...] = (
            (rf"(?P<number>{NUMBER})", lambda match: self.number(match["number"])),
            (rf"(?P<sign>[-−+±])(?P<number>{NUMBER})", self._signed),
            (rf"[-−]?(?P<symbol>[{MONEY}])(?P<number>{NUMBER})(?P<scale>[kmbt]|mn|bn)?", self._money),
            (rf"(?P<number>{NUMBER})(?P<scale>[kmbt]|mn|bn)?(?P<symbol>[{MONEY}])", self._money),
            (rf"(?P<number>{NUMBER})(?P<after>%|‰|¢|°)", self._followed),
            (r"(?P<number>\d+)(?:st|nd|rd|th)", self._ordinal),
            (r"'?(?P<number>\d+)'?s", self._decade),
            (r"'(?P<number>\d\d)", lambda match: self.number(match["number"])),
            (r"(?P<hour>\d{1,2})[:.](?P<minute>[0-5]\d)(?P<half>[ap]\.?m\.?)", self._time),
            (r"(?P<hour>\d{1,2})(?P<minute>)(?P<half>[ap]\.?m\.?)", self._time),
            (r"(?P<hour>\d{1,2}):(?P<minute>[0-5]\d)(?P<half>)", self._time),
            (r"(?P<hour>\d{1,3}):(?P<minute>[0-5]\d):(?P<second>[0-5]\d)", self._clock),
            (r"(?P<month>\d{1,2})[/.-](?P<day>\d{1,2})[/.-](?P<year>\d{4}|\d{2})", self._date),
            (r"(?P<year>\d{4})[/.-](?P<month>\d{1,2})[/.-](?P<day>\d{1,2})", self._date),
            (r"(?P<above>\d{1,4})[/⁄](?P<below>\d{1,4})", self._fraction),
            (r"(?:\d{1,3}[-.])?(?:\d{3}[-.)])?\d{3}[-.]\d{4}", lambda match: self.digits(match[0])),
            (rf"(?P<first>{NUMBER})(?P<dash>[-–—:])(?P<second>{NUMBER})", self._range),
            (r"\d+(?:\.\d+){2,}", self._version),
            (rf"(?P<first>{NUMBER})[x×](?P<second>{NUMBER})?", self._times),
            (r"(?P<feet>\d+)'(?:(?P<inches>\d+)(?:\"|''))?", self._feet),
            (r"(?P<inches>\d+)(?:\"|'')", lambda match: self._with_noun(match["inches"], ("inches", "inch"))),
            (r"#(?P<number>\d+)", lambda match: self._prefixed(("number", "hashtag", "hash"), match["number"])),
            (rf"(?P<number>{NUMBER})k", lambda match: self._with_noun(match["number"], ("k.", "thousand"))),
        )
        self._patterns = [(re.compile(pattern, re.IGNORECASE | re.ASCII), read) for pattern, read in patterns]

    def __call__(self, token: str) -> list[str]:
        """The readings of a token that a pattern here fits as a whole; none otherwise."""
        for pattern, read in self._patterns:
            if (match := pattern.fullmatch(token)) and (readings := list(read(match))):
                return readings
        return self._quantity(token)

    def number(self, text: str) -> list[str]:
        """A bare number, e.g. ``"2021"``, ``"1,234"``, ``"0.5"``."""
        whole, _, fraction = text.replace(",", "").partition(".")
        if fraction:
            return self._decimal(whole, fraction)
        if len(whole) > LONGEST_CARDINAL or (whole.startswith("0") and len(whole) > 1):
            return self.digits(whole) + (self.cardinal(int(whole)) if len(whole) <= LONGEST_CARDINAL else [])
        value = int(whole)
        readings = self.cardinal(value)
        if len(whole) == 4 and "," not in text:
            pair = f"{self._language.cardinal(value // 100)} {self._two_digits(value % 100)}"
            year = [self._language.year(value).replace(" oh ", " o. "), pair] if value % 1000 else []
            readings = [*year, *readings] if 1100 <= value < 2100 and value // 10 != 200 else [*readings, *year]
            return [*readings, *self.digits(whole)]
        if len(whole) == 3 and value % 100:
            pair = f"{self._language.cardinal(value // 100)} {self._two_digits(value % 100)}"
            return [*readings, pair, *self.digits(whole)]
        if value == 0:
            return ["zero", "o.", "nought"]
        return readings + (self.digits(whole) if len(whole) > 3 and "," not in text else [])

    def cardinal(self, value: int) -> list[str]:
        """A whole number with and without "and", "a" for "one" and hundreds above a thousand."""
        plain = self._language.cardinal(value).replace("-", " ")
        british = re.sub(r"hundred (?=(?!thousand|[mbtq]\w*illion)\w)", "hundred and ", plain)
        if value > 1000 and 0 < value % 1000 < 100:
            tail = self._language.cardinal(value % 1000).replace("-", " ")
            british = f"{british.removesuffix(tail)}and {tail}"
        readings = [plain, british]
        readings += [f"a {text.removeprefix('one ')}" for text in readings if re.match("one (?!$)", text)]
        if 1000 < value < 10_000 and value % 100 == 0 and value % 1000:
            readings.append(f"{self._language.cardinal(value // 100)} hundred")
        return readings

    def digits(self, text: str) -> list[str]:
        """One digit after the other, with zero and with oh; what is no digit is left out."""
        named = self._language.digits("".join(digit for digit in text if digit in "0123456789"))
        return [named.replace("zero", "o."), named] if "zero" in named else [named]

    def ordinal(self, value: int) -> list[str]:
        """``3`` as third."""
        return [self._language.ordinal(value).replace("-", " ")]

    def currency(self, sign: str) -> str:
        """The plural of the currency with this sign, e.g. dollars."""
        form = self._normalizer.lexicon.currencies[sign].major
        return str(form.pick(False))

    def unit(self, symbol: str) -> list[str]:
        """The names of a unit of measure, plural first: ``"km"``, ``"km/h"``, ``"m²"``; none if it is no unit."""
        above, _, below = symbol.partition("/")
        form = self._units.get(above)
        divisor = self._units.get(below)
        if form is None or (below and divisor is None):
            return []
        tail = f" per {divisor.pick(True)}" if divisor else ""
        return [form.pick(False) + tail, form.pick(True) + tail]

    def _two_digits(self, value: int) -> str:
        """The last two digits of a number read in pairs: hundred, oh five, twenty one."""
        if value == 0:
            return "hundred"
        return f"o. {self._language.cardinal(value)}" if value < 10 else self._language.cardinal(value)

    def _decimal(self, whole: str, fraction: str) -> list[str]:
        point = [f"point {digits}" for digits in reversed(self.digits(fraction))]
        if len(fraction) == 2 and fraction[0] != "0":
            point.append(f"point {self._language.cardinal(int(fraction))}")
        if not whole.strip("0"):
            return [f"zero {point[0]}" if whole else point[0], *point, *(f"o. {tail}" for tail in point)]
        head = self.cardinal(int(whole))[:2] if len(whole) <= LONGEST_CARDINAL else self.digits(whole)
        return [f"{number} {tail}" for tail in point for number in head]

    def _signed(self, match: re.Match[str]) -> Iterable[str]:
        words = {"-": ("minus", "negative"), "−": ("minus", "negative"), "+": ("plus",), "±": ("plus or minus",)}
        return self._prefixed(words[match["sign"]], match["number"])

    def _prefixed(self, words: tuple[str, ...], number: str) -> list[str]:
        return [f"{word} {reading}" for reading in self._amount(number) for word in words]

    def _amount(self, number: str) -> list[str]:
        """A number that counts something, so that it is no year."""
        value = as_integer(number)
        if value is None or (number.startswith("0") and value):
            return self.number(number)
        return self.cardinal(value)

    def _with_noun(self, number: str, forms: tuple[str, ...]) -> list[str]:
        return [f"{reading} {form}" for form in forms for reading in self._amount(number)]

    def _money(self, match: re.Match[str]) -> Iterable[str]:
        number, symbol, scale = match["number"], match["symbol"], (match["scale"] or "").lower()
        negative = "minus " if match[0][0] in "-−" else ""
        currency = self._normalizer.lexicon.currencies[symbol]
        whole, _, fraction = number.replace(",", "").partition(".")
        major = currency.major.pick(whole == "1" and len(fraction) in {0, 2} and not scale)
        readings: list[str] = []
        if scale:
            readings = self._with_noun(number, (f"{SCALES[scale]} {major}", f"{SCALES[scale]}"))
        elif len(fraction) == 2 and currency.minor and len(whole) <= LONGEST_CARDINAL:
            head = self.cardinal(int(whole or 0))[:3]
            if int(fraction) == 0:
                readings = [f"{reading} {major}" for reading in head]
            elif int(whole or 0) == 0:
                readings = self._with_noun(fraction.lstrip("0"), (currency.minor.pick(fraction == "01"),))
            else:
                cents = self._language.cardinal(int(fraction))
                minor = f"{cents} {currency.minor.pick(fraction == '01')}"
                tails = (
                    f"{major} and {minor}",
                    f"{major} {minor}",
                    self._two_digits(int(fraction)),
                    f"{major} {cents}",
                )
                readings = [f"{reading} {tail}" for reading in head for tail in tails]
        else:
            readings = self._with_noun(number, (major,))
        return [negative + reading for reading in readings]

    def _followed(self, match: re.Match[str]) -> Iterable[str]:
        one = match["number"] == "1"
        forms = {"%": "percent", "‰": "per mille", "¢": "cent" if one else "cents", "°": "degree" if one else "degrees"}
        return self._with_noun(match["number"], (forms[match["after"]],))

    def _ordinal(self, match: re.Match[str]) -> Iterable[str]:
        return self.ordinal(int(match["number"])) if len(match["number"]) <= LONGEST_CARDINAL else ()

    def _decade(self, match: re.Match[str]) -> Iterable[str]:
        number = match["number"]
        singular = self.number(number)[:2] if len(number) <= LONGEST_CARDINAL else []
        for reading in singular:
            head, _, last = reading.replace("-", " ").rpartition(" ")
            yield f"{head} {self._language.pluralize(last)}".strip()

    def _time(self, match: re.Match[str]) -> Iterable[str]:
        hour, minute = int(match["hour"]), int(match["minute"] or 0)
        half = match["half"].replace(".", "").lower()
        if hour > 24:
            return self._range_words(match["hour"], match["minute"]) if match["minute"] else ()
        suffix = f" {HALF_DAY[half]}" if half else ""
        hours = [self._language.cardinal(hour)]
        if 12 < hour < 24 and not half:
            hours.append(self._language.cardinal(hour - 12))
        if minute == 0:
            tails = (suffix,) if half else (" o'clock", "", " hundred")
            return [f"{name}{tail}" for tail in tails for name in hours]
        spoken = self._two_digits(minute)
        readings = [f"{name} {spoken}{suffix}" for name in hours]
        if half:
            return readings
        following = self._language.cardinal(hour % 12 + 1)
        name = self._language.cardinal((hour - 1) % 12 + 1)
        plain = self._language.cardinal(minute)
        special = {15: f"quarter past {name}", 30: f"half past {name}", 45: f"quarter to {following}"}
        extra = [special[minute]] if minute in special else [f"{plain} past {name}"] if minute < 30 else []
        return [*readings, *extra, *(f"a {text}" for text in extra if text.startswith("quarter"))]

    def _clock(self, match: re.Match[str]) -> Iterable[str]:
        hour, minute, second = (self._language.cardinal(int(match[part])) for part in ("hour", "minute", "second"))
        pairs = f"{hour} {self._two_digits(int(match['minute']))}"
        yield f"{pairs} {self._two_digits(int(match['second']))}"
        yield f"{pairs} and {second} seconds"
        yield f"{hour} hours {minute} minutes and {second} seconds"

    def _date(self, match: re.Match[str]) -> Iterable[str]:
        year = match["year"]
        full = year if len(year) == 4 else f"20{year}" if int(year) < 50 else f"19{year}"
        years = self.number(full)[:3]
        for month, day in ((int(match["month"]), int(match["day"])), (int(match["day"]), int(match["month"]))):
            if 1 <= month <= 12 and 1 <= day <= 31:
                for spoken in years:
                    yield f"{MONTHS[month - 1]} {self.ordinal(day)[0]} {spoken}"
                    yield f"the {self.ordinal(day)[0]} of {MONTHS[month - 1]} {spoken}"

    def _fraction(self, match: re.Match[str]) -> Iterable[str]:
        above, below = int(match["above"]), int(match["below"])
        top, bottom = self._language.cardinal(above), self._language.cardinal(below)
        side_by_side = f"{top} {bottom}"
        fraction = self._language.fraction(above, below) if below > 1 else f"{top} over {bottom}"
        if above >= below or (below > 10 and below not in {12, 16, 32}):
            yield side_by_side
        yield fraction
        if above == 1 < below:
            yield f"a {fraction.removeprefix('one ')}"
        if (above, below) == (1, 2):
            yield "half"
        if below == 4:
            yield fraction.replace("quarter", "fourth")
        yield from (f"{top} over {bottom}", f"{top} out of {bottom}", f"{top} slash {bottom}", side_by_side)
        if 1 <= above <= 12 and 1 <= below <= 31:
            yield f"{MONTHS[above - 1]} {self.ordinal(below)[0]}"

    def _range(self, match: re.Match[str]) -> Iterable[str]:
        return self._range_words(match["first"], match["second"])

    def _range_words(self, first: str, second: str) -> list[str]:
        pairs = list(zip(self.number(first)[:2], self.number(second)[:2], strict=False))
        return [f"{one}{link}{two}" for link in (" to ", " ", " minus ") for one, two in pairs]

    def _version(self, match: re.Match[str]) -> Iterable[str]:
        parts = [self.number(part)[0] for part in match[0].split(".")]
        return [link.join(parts) for link in (" point ", " dot ", " ")]

    def _times(self, match: re.Match[str]) -> Iterable[str]:
        first, second = self._amount(match["first"])[0], match["second"]
        if not second:
            return [f"{first} times", f"{first} x."]
        return [f"{first} {link} {self._amount(second)[0]}" for link in ("by", "times", "x.")]

    def _feet(self, match: re.Match[str]) -> Iterable[str]:
        if not match["inches"]:
            return self._with_noun(match["feet"], ("feet", "foot"))
        feet, inches = self.number(match["feet"])[0], self.number(match["inches"])[0]
        return [f"{feet} {inches}", f"{feet} foot {inches}", f"{feet} feet {inches} inches", f"{feet} feet {inches}"]

    def _quantity(self, token: str) -> list[str]:
        """A number with a unit stuck to it, e.g. ``"5km"``."""
        match = re.match(rf"(?P<sign>[-−]?)(?P<number>{NUMBER})(?P<unit>\D.*)", token)
        names = self.unit(match["unit"]) if match else []
        if not match or not names:
            return []
        sign = "minus " if match["sign"] else ""
        ordered = names[::-1] if match["number"] == "1" else names
        return [sign + reading for reading in self._with_noun(match["number"], tuple(ordered))]
