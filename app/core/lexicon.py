"""Text -> words -> candidate pronunciations; which of them was said is left to the alignment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from app.core.errors import InvalidInput, InvalidPronunciations, TextWithoutWords
from app.core.pronunciation import Pronunciation, best_products, join, parse_pronunciation
from app.core.spoken_form import SpokenForms, SpokenToken
from app.core.tokens import is_word
from app.core.word_pronouncer import WordPronouncer

__all__ = ["MAX_CANDIDATES", "MAX_TOKEN_LENGTH", "MAX_WORDS", "Lexicon", "LexiconWord", "Pronunciation"]

MAX_CANDIDATES = 8
MAX_PRODUCTS = 24
MAX_TOKEN_LENGTH = 100
"""Characters of one word; longer than any address that is read aloud."""
MAX_WORDS = 1000
"""Words of one text: more than anybody reads in the two minutes that a recording may take."""
MAX_TEXT_PHONEMES = 20_000
"""Phonemes of one text, in the best reading of each word: eight times what can be said in those two minutes. Without
it, a thousand long numbers would take a second and 14 MB before anybody else could refuse them."""
MAX_PHONEMES = 300
"""Phonemes of one pronunciation that a request gives."""


@dataclass(frozen=True, slots=True)
class LexiconWord:
    """One word of the text and the ways to say it.

    Attributes:
        text: the token as written, without the punctuation around it (``"bear."`` is ``"bear"``).
        pronunciations: the candidates, best first, all different; 1 to ``MAX_CANDIDATES``.
        source: where the best one comes from: the dictionary, the trained model, or the request itself.
        parts: the words that the best one says, each with how many of its phonemes are that word's: ``(("five", 3),
            ("dollars", 6))`` for ``"$5"``. Empty where nothing says so.
    """

    text: str
    pronunciations: tuple[Pronunciation, ...]
    source: Literal["lexicon", "g2p", "request"]
    parts: tuple[tuple[str, int], ...] = ()


class Lexicon:
    """Knows how the words of an English text are said. Safe to share between threads.

    The dictionary is CMUdict; words that it lacks are derived from one that it has, or read by a trained model, which
    is loaded when first needed.
    """

    def __init__(self) -> None:
        self._pronouncer = WordPronouncer()
        self._spoken_forms = SpokenForms(self._pronouncer.knows)

    def clear_cache(self) -> None:
        """Forget the words of earlier texts; they are worked out again when they come."""
        self._pronouncer.clear_cache()

    def words(self, text: str, pronunciations: Sequence[Sequence[str] | None] | None = None) -> list[LexiconWord]:
        """The words of ``text`` in order: one for each white-space separated token with a letter or a digit.

        Args:
            text: what is to be read aloud, in English.
            pronunciations: overrules the lexicon: one entry for each word, None for the lexicon's own or ARPAbet
                phonemes, case-insensitive, stress digit optional.

        Raises:
            TextWithoutWords: if no token has a letter or a digit.
            InvalidInput: if a word is too long or has nothing that can be said in English, or the text has too many
                words or takes too long to say.
            InvalidPronunciations: if ``pronunciations`` does not fit the words or names phonemes that are none.
        """
        tokens = [token for token in text.split() if is_word(token)]
        if not tokens:
            raise TextWithoutWords("The text has no word: nothing in it has a letter or a digit.", field="text")
        if len(tokens) > MAX_WORDS:
            raise InvalidInput(f"The text has {len(tokens)} words; {MAX_WORDS} is the most.", field="text")
        for token in tokens:
            if len(token) > MAX_TOKEN_LENGTH:
                raise InvalidInput(
                    f"The word {_shortened(token)} is {len(token)} characters long; {MAX_TOKEN_LENGTH} is the most.",
                    field="text",
                )
        given = _parse_request(pronunciations, len(tokens))
        shouted = text.isupper() and len(tokens) > 1
        words: list[LexiconWord] = []
        phonemes = 0
        for spoken, token, request in zip(self._spoken_forms(text), tokens, given, strict=True):
            words.append(self._word(spoken, token, request, shouted))
            phonemes += len(words[-1].pronunciations[0].phonemes)
            if phonemes > MAX_TEXT_PHONEMES:
                raise InvalidInput("The text takes longer to say than any recording may last.", field="text")
        return words

    def _word(self, spoken: SpokenToken, token: str, given: Pronunciation | None, shouted: bool) -> LexiconWord:
        if given is not None:
            written = " ".join(_written(word) for word in spoken.readings[0]) if spoken.readings else spoken.text
            return LexiconWord(spoken.text, (given,), "request", ((written, len(given.phonemes)),))
        ranked: list[tuple[int, int, Pronunciation, bool, tuple[tuple[str, int], ...]]] = []
        for order, reading in enumerate(spoken.readings):
            parts = [self._pronouncer(word, shouted=shouted) for word in reading]
            if not all(candidates for candidates, _ in parts):
                continue
            known = all(from_dictionary for _, from_dictionary in parts)
            products = best_products([candidates for candidates, _ in parts], MAX_PRODUCTS)
            for rank, picked in products:
                lengths = tuple((_written(w), len(p.phonemes)) for w, p in zip(reading, picked, strict=True))
                ranked.append((rank, order, join(picked), known, lengths))
        ranked.sort(key=lambda entry: entry[:2])
        distinct = {entry[2].phonemes: entry for entry in reversed(ranked)}
        best = sorted(distinct.values(), key=lambda entry: entry[:2])[:MAX_CANDIDATES]
        if not best:
            raise InvalidInput(f"The word {_shortened(token)} cannot be read as English.", field="text")
        return LexiconWord(
            spoken.text,
            tuple(entry[2] for entry in best),
            "lexicon" if best[0][3] else "g2p",
            best[0][4],
        )


def _parse_request(pronunciations: Sequence[Sequence[str] | None] | None, words: int) -> Sequence[Pronunciation | None]:
    """The request's pronunciations, one entry for each of so many words.

    Raises:
        InvalidPronunciations: saying which entry is wrong, and why.
    """
    if pronunciations is None:
        return [None] * words
    if isinstance(pronunciations, str) or not isinstance(pronunciations, Sequence):
        raise InvalidPronunciations("The pronunciations are not a list.", field="pronunciations")
    if len(pronunciations) != words:
        raise InvalidPronunciations(
            f"There are {len(pronunciations)} pronunciations for {words} words; each word needs one, or null.",
            field="pronunciations",
        )
    parsed: list[Pronunciation | None] = []
    for index, entry in enumerate(pronunciations):
        try:
            parsed.append(None if entry is None else _parse_entry(entry))
        except ValueError as error:
            raise InvalidPronunciations(
                f"Pronunciation {index} cannot be used: {error}.", field="pronunciations"
            ) from error
    return parsed


def _parse_entry(entry: object) -> Pronunciation:
    """One entry of the request.

    Raises:
        ValueError: saying what is wrong with it.
    """
    if isinstance(entry, str) or not isinstance(entry, Sequence):
        raise ValueError("it is neither null nor a list of phonemes")  # noqa: TRY004
    symbols = list(entry)
    if len(symbols) > MAX_PHONEMES:
        raise ValueError(f"it has {len(symbols)} phonemes, and {MAX_PHONEMES} is the most")
    for symbol in symbols:
        if not isinstance(symbol, str):
            raise ValueError(f"{_shortened(repr(symbol))} is no string")  # noqa: TRY004
    return parse_pronunciation(symbols)


def _written(word: str) -> str:
    """A word of a reading as text: the name of a letter is written without its full stop."""
    return word.removesuffix(".")


def _shortened(token: str) -> str:
    """The token in quotes, cut to what fits a sentence and without what cannot be shown."""
    shown = "".join(c if c.isprintable() else "\ufffd" for c in token[:20])
    return f"'{shown}…'" if len(token) > 20 else f"'{shown}'"
