"""A part of what would be answered: the ``Range`` header of RFC 9110, section 14."""

from __future__ import annotations

import re
from dataclasses import dataclass

from app.core.errors import RangeNotSatisfiable

_BEYOND = 10**18  # larger than any file; no more digits than that are read
_RANGE = re.compile(r"([0-9]*)-([0-9]*)", re.ASCII)


@dataclass(frozen=True, slots=True)
class ByteRange:
    """Some bytes of a whole.

    Attributes:
        first: position of the first one, from 0.
        last: position of the last one, which belongs to it; at least ``first``.
    """

    first: int
    last: int

    @property
    def length(self) -> int:
        """How many bytes it is."""
        return self.last - self.first + 1

    def content_range(self, size: int) -> str:
        """The header ``Content-Range`` of an answer with this part of ``size`` bytes."""
        return f"bytes {self.first}-{self.last}/{size}"


def parse_range(header: str, size: int) -> ByteRange | None:
    """Read a ``Range`` header.

    Args:
        header: its value, e.g. ``bytes=0-499``, ``bytes=500-`` or ``bytes=-500``.
        size: of the whole, in bytes.

    Returns:
        The range, cut to what there is; None where the header is to be ignored and the whole answered, as it asks for
        several ranges, for another unit, or for nothing that the grammar knows.

    Raises:
        RangeNotSatisfiable: it asks for bytes that are none of the whole.
    """
    unit, _, wanted = header.partition("=")
    parts = [part for part in (part.strip(" \t") for part in wanted.split(",")) if part]  # a list may have empty items
    if unit.lower() != "bytes" or len(parts) != 1:
        return None
    match = _RANGE.fullmatch(parts[0])
    if match is None or match[0] == "-":
        return None
    if not match[1]:
        return _suffix(_number(match[2]), size)
    first = _number(match[1])
    last = _number(match[2]) if match[2] else _BEYOND
    if last < first:
        return None
    if first >= size:
        raise RangeNotSatisfiable(size)
    return ByteRange(first, min(last, size - 1))


def _suffix(length: int, size: int) -> ByteRange | None:
    """The last bytes."""
    if not length:
        raise RangeNotSatisfiable(size)
    return ByteRange(max(0, size - length), size - 1) if size else None  # all of nothing is the whole


def _number(digits: str) -> int:
    digits = digits.lstrip("0")
    return min(int(digits or "0"), _BEYOND) if len(digits) < 20 else _BEYOND
