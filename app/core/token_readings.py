"""What people say for one written token by itself; a compound one ("COVID-19", "B2B", "and/or") is taken apart."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence

from normt2s import Normalizer

from app.core import abbreviations
from app.core.number_readings import NumberReadings
from app.core.pronunciation import best_products
from app.core.tokens import FRACTION_SIGNS, is_word

MAX_READINGS = 16

INITIALS = re.compile(r"(?:[A-Za-z]\.)+[A-Za-z]")
ROMAN = re.compile(r"(?=[IVXL]{2})(?:XL|L?X{0,3})(?:IX|IV|V?I{0,3})")
ADDRESS = re.compile(
    r"(?:https?://|www\.)\S+|\S+@\S+\.\S+|[\w.-]+\.(?:com|org|net|edu|gov|io|ai|co|uk|de|info)(?:/\S*)?"
)
PIECE = re.compile(r"'?[A-Za-z]+(?:'[A-Za-z]+)*'?|\d+(?:,\d{3})+(?:\.\d+)?|\d*\.?\d+|.", re.DOTALL)
# what the normaliser's units lack, or get wrong in the plural
UNITS = (
    ("mph", "mile per hour", "miles per hour"),
    ("kph", "kilometer per hour", "kilometers per hour"),
    ("rpm", "revolution per minute", "revolutions per minute"),
    ("fps", "frame per second", "frames per second"),
    ("in", "inch", "inches"),
)
SPECIAL: dict[str, tuple[str, ...]] = {
    "a": ("a.", "a"), "'n": ("'n", "and"), "'n'": ("'n", "and"), "c++": ("c. plus plus",), "c#": ("c. sharp",),
    "24/7": ("twenty four seven",), "at&t": ("a. t. and t.",),
}  # fmt: skip


class TokenReadings:
    """Reads out single tokens. Nothing changes after it is made, so threads may share one.

    Attributes:
        numbers: the readings of tokens with digits.
    """

    def __init__(self, knows: Callable[[str], bool]) -> None:
        """``knows`` tells whether the dictionary has a word."""
        normalizer = Normalizer("en")
        normalizer.add_currency("₹", ["rupee"]).add_currency("₩", ["won", "won"])
        for symbol, singular, plural in UNITS:
            normalizer.add_unit(symbol, singular, plural)
        self._knows = knows
        self._language = normalizer.lang
        self.numbers = NumberReadings(normalizer)

    def __call__(self, token: str) -> list[str]:
        """The readings of a cleaned, folded token by itself, best first."""
        lower = token.lower()
        listed = SPECIAL.get(lower) or self.numbers(token) or abbreviations.ABBREVIATIONS.get(lower)
        return list(listed or self._shaped(token) or self._compound(token))

    def _shaped(self, token: str) -> list[str]:
        """The readings of initials, Roman numerals, fraction signs and units; none if the token is none of them."""
        if INITIALS.fullmatch(token):
            letters = self._letters("".join(letter for letter in token if letter.isalpha()))
            named = abbreviations.ABBREVIATIONS.get(token.replace(".", "").lower(), ())
            return list(dict.fromkeys((*named, *letters)))
        if ROMAN.fullmatch(token):
            return self._roman(token)
        if re.fullmatch(rf"\d*[{FRACTION_SIGNS}]", token):
            return self._vulgar(token)
        return [] if token.isalpha() else self.numbers.unit(token)

    def _compound(self, token: str) -> list[str]:
        """The readings of a token by those of its pieces: words, numbers, symbols."""
        address = bool(ADDRESS.fullmatch(token))
        parts = re.split(r"([-—/_&@+=,;:()…]+)", token) if not address else [token]
        choices: list[Sequence[str]] = []
        for part in parts:
            if part == token or not is_word(part):
                choices += [self._piece(piece, address) for piece in PIECE.findall(part)]
            else:
                choices.append(self(part))
        if len(parts) == 3 and parts[1] == "-" and parts[0][-1:].isdigit() and parts[2][:1].isdigit():
            choices[-2] = ("to", "")
        choices = [choice for choice in choices if choice and tuple(choice) != ("",)]
        return [" ".join(picked) for _, picked in best_products(choices, MAX_READINGS)] if choices else []

    def _piece(self, piece: str, address: bool) -> Sequence[str]:
        """The readings of one piece of a compound token."""
        if piece[-1].isdecimal():
            return self.numbers(piece)
        if piece.isascii() and piece.strip("'").replace("'", "").isalpha():
            spelled = len(piece) == 1 or piece.lower() in {"http", "https", "www"}
            return self._letters(piece) if spelled else (piece,)
        symbol = abbreviations.SYMBOLS.get(piece, ("",))
        spoken = tuple(word for word in symbol if word)
        if address:
            return ("colon",) if piece == ":" else (*spoken[:1], *([""] if piece in "/:" else [])) or ("",)
        if re.fullmatch(rf"[{FRACTION_SIGNS}]", piece):
            return self._vulgar(piece)
        return symbol

    def _letters(self, word: str) -> Sequence[str]:
        return (" ".join(f"{letter}." for letter in word.lower()),)

    def _roman(self, token: str) -> list[str]:
        """A Roman numeral: two, the second, second, and its letters."""
        values = {"I": 1, "V": 5, "X": 10, "L": 50}
        numbers = [values[letter] for letter in token]
        pairs = zip(numbers, [*numbers[1:], 0], strict=True)
        value = sum(-one if one < following else one for one, following in pairs)
        ordinal = self.numbers.ordinal(value)[0]
        word = [token] if self._knows(token) else []
        return [*self.numbers.cardinal(value)[:1], f"the {ordinal}", *self._letters(token), ordinal, *word]

    def _vulgar(self, token: str) -> list[str]:
        """``½`` and ``2½``."""
        above, _, below = unicodedata.normalize("NFKD", token[-1]).partition("⁄")
        language = self._language
        if not (above and below):  # ⅟ has no denominator
            return []
        if not token[:-1] or len(token) > 15:
            half = language.fraction(int(above), int(below))
            return [half, f"a {half.removeprefix('one ')}"] if above == "1" else [half]
        mixed = language.mixed_fraction(int(token[:-1]), int(above), int(below))
        return [mixed, mixed.replace(" a ", " one ")]
