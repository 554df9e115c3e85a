"""Written tokens, cleaned: accents folded, the punctuation around a word told from what belongs to it."""

from __future__ import annotations

import re
import unicodedata

FRACTION_SIGNS = "¼-¾⅐-⅞"
"""The characters that are fractions, as they stand in a regular expression's brackets."""
SUPERSCRIPTS = "²³"
# letters that Unicode does not take apart into a base letter and an accent
UNACCENTED = str.maketrans(
    {"ß": "ss", "ẞ": "SS", "æ": "ae", "Æ": "Ae", "œ": "oe", "Œ": "Oe", "ø": "o", "Ø": "O", "ł": "l", "Ł": "L",
     "đ": "d", "Đ": "D", "ð": "th", "Ð": "Th", "þ": "th", "Þ": "Th", "ı": "i", "’": "'", "‘": "'", "ʼ": "'", "´": "'",
     "`": "'", "′": "'", "″": '"', "“": '"', "”": '"', "‐": "-", "‑": "-", "‒": "-", "–": "-", "−": "-", "⁄": "/",
     "™": "", "℠": "", "©": "", "®": ""}
)  # fmt: skip

# the punctuation before and after a token that is part of it
BEFORE_DIGIT = re.compile(r"(?:[-+±~<>≤≥≈]?[$€£¥₹₩#]?(?:(?<!\.)\.)?|')$")
BEFORE_LETTER = re.compile(r"[@#']?$")
AFTER_DIGIT = re.compile(r"[%‰°¢$€£¥₹₩+]|''|['\"]|")
AFTER_LETTER = re.compile(r"\+\+?|#(?!\w)|'|")
ELIDED = re.compile(r"(?:s|in|o)$", re.IGNORECASE)  # words that may end in an apostrophe: dogs', goin', o'


def is_word(token: str) -> bool:
    """Whether a white-space separated token counts as a word: it has a letter or a digit."""
    return any(character.isalnum() for character in token)


def fold(token: str) -> str:
    """ASCII where there is an equal: accents off, digits of all scripts to 0-9, one kind of quote and hyphen.

    Fractions and ² and ³ stay; invisible characters go; Greek letters become their names.
    """
    folded = []
    for character in unicodedata.normalize("NFC", token).translate(UNACCENTED):
        if character.isascii():
            folded.append(character if character.isprintable() else "")
        elif re.match(rf"[{FRACTION_SIGNS}{SUPERSCRIPTS}$€£¥₹₩°¢‰×÷±≤≥≈→µ№—…]", character):
            folded.append(character)
        elif (digit := unicodedata.decimal(character, None)) is not None:
            folded.append(str(digit))
        elif unicodedata.name(character, "").startswith("GREEK ") and character.isalpha() and len(token) <= 3:
            name = re.match(r"GREEK (?:SMALL|CAPITAL) LETTER (?:FINAL )?(\w+)", unicodedata.name(character))
            folded.append(f"{name[1].lower()}" if name else "")
        else:
            plain = unicodedata.normalize("NFKD", character).translate(UNACCENTED)
            folded.append("".join(c for c in plain if c.isascii() and c.isprintable()))
    return "".join(folded)


def strip_punctuation(token: str) -> tuple[str, bool]:
    """A folded token without the punctuation around it, and whether a full stop followed that may belong to it.

    What is said stays: ``"$5.50,"`` is ``"$5.50"``, ``"(-5%)"`` is ``"-5%"``, ``"'em"`` and ``"dogs'"`` stay.
    """
    places = [place for place, character in enumerate(token) if character.isalnum()]
    if not places:
        return "", False
    start, end = places[0], places[-1] + 1
    head, body, tail = token[:start], token[start:end], token[end:]
    if body in {"C", "F"} and head.endswith("°"):
        before = "°"
    else:
        opening = (BEFORE_DIGIT if body[0].isdigit() else BEFORE_LETTER).search(head)
        before = opening[0] if opening else ""
    closing = (AFTER_DIGIT if body[-1].isdigit() else AFTER_LETTER).match(tail)
    after = closing[0] if closing else ""
    if before == "'" and "'" in tail and body.lower() != "n":
        before = after = ""
    if after == "'" and ("'" in head or not (body[-1].isdigit() or ELIDED.search(body))):
        after = ""
    if after == '"' and '"' in head:
        after = ""
    return before + body + after, tail[len(after) :].startswith(".") and not tail[len(after) :].startswith("..")


def as_shown(written: str, core: str, own_stop: bool) -> str:
    """The token as it was written, less the punctuation that ``strip_punctuation`` took off its ``core``.

    ``own_stop`` keeps the full stop of an abbreviation.
    """
    visible = "".join(c for c in written if c.isprintable())
    places = [place for place, c in enumerate(visible) if c.isalnum()]
    if not places:
        return visible
    start, end = places[0], places[-1] + 1
    kept_before = next((n for n, c in enumerate(core) if c.isalnum()), 0)
    kept_after = next((n for n, c in enumerate(reversed(core)) if c.isalnum()), 0)
    return visible[max(0, start - kept_before) : end + kept_after + (1 if own_stop else 0)]
