"""The Carnegie Mellon Pronouncing Dictionary, held as one block of sorted text.

A ``dict`` of its 126,000 words takes tens of megabytes; the text and the places where its lines start take under 5,
and a look-up by bisection some microseconds. The data is vendored with its licence beside it
(``app/data/cmudict.LICENSE``) and made by ``training/make_cmudict.py``.
"""

from __future__ import annotations

import bisect
import lzma
import re
from array import array
from importlib import resources

from app.core.pronunciation import Pronunciation, parse_pronunciation


class CmuDict:
    """Looks words up in CMUdict. Nothing changes after it is made, so threads may share one."""

    def __init__(self) -> None:
        packed = resources.files("app").joinpath("data", "cmudict.txt.xz").read_bytes()
        self._text = lzma.decompress(packed)
        self._starts = array("I", [0])
        self._starts.extend(match.end() for match in re.finditer(rb"\n", self._text))
        self._starts.pop()  # after the last line no other starts

    def __len__(self) -> int:
        return len(self._starts)

    def __contains__(self, word: str) -> bool:
        return self._line(word) is not None

    def __call__(self, word: str) -> tuple[Pronunciation, ...]:
        """All variants of ``word`` (lower case, as CMUdict writes it), the commonest first; empty if it has none."""
        line = self._line(word)
        if line is None:
            return ()
        return tuple(parse_pronunciation(variant.split()) for variant in line.split("|"))

    def _line(self, word: str) -> str | None:
        """The variants of ``word`` as they stand in the file, separated by bars, or None."""
        if not word.isascii():
            return None
        key = word.encode() + b"\t"
        place = bisect.bisect_left(self._starts, key, key=lambda start: self._text[start : start + len(key)])
        if place == len(self._starts):
            return None
        start = self._starts[place]
        if self._text[start : start + len(key)] != key:
            return None
        return self._text[start + len(key) : self._text.index(b"\n", start)].decode()
