"""The Range header: parsed as RFC 9110 says, and whatever else it is, it never fails."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.errors import RangeNotSatisfiable
from app.routers.byte_ranges import ByteRange, parse_range


@pytest.mark.parametrize(
    ("header", "first", "last"),
    [
        ("bytes=0-499", 0, 499),
        ("bytes=500-999", 500, 999),
        ("bytes=500-", 500, 999),
        ("bytes=0-", 0, 999),
        ("bytes=-500", 500, 999),
        ("bytes=-1", 999, 999),
        ("bytes=-5000", 0, 999),
        ("bytes=900-5000", 900, 999),
        ("bytes=0-0", 0, 0),
        ("Bytes=0-0", 0, 0),
        ("bytes= 1-2 ", 1, 2),
        ("bytes=,1-2 ,\t,", 1, 2),
        ("bytes=0000000000000000000000000001-2", 1, 2),
        ("bytes=0-" + "9" * 10_000, 0, 999),
        ("bytes=-" + "9" * 10_000, 0, 999),
    ],
)
def test_one_range(header: str, first: int, last: int) -> None:
    part = parse_range(header, 1000)
    assert part == ByteRange(first, last)
    assert part.length == last - first + 1
    assert part.content_range(1000) == f"bytes {first}-{last}/1000"


@pytest.mark.parametrize(
    "header",
    [
        "", "bytes", "bytes=", "bytes=-", "bytes=,", "bytes=5-4", "bytes=a-b", "bytes=1-2-3", "bytes=+1-2",
        "bytes=1 - 2", "bytes=0-1,5-6", "bytes=0-1, -1", "bytes 0-1", "seconds=0-1", "bytes=0x1-2", "bytes=١-٢",
        "bytes=1.0-2", "=0-1", "bytes =0-1", "bytes=0-1;bytes=2-3", "bytes=0-1\0", "bytes=99999-99998",
    ],
)  # fmt: skip
def test_several_ranges_and_nonsense_are_ignored(header: str) -> None:
    assert parse_range(header, 1000) is None


@pytest.mark.parametrize("header", ["bytes=1000-", "bytes=1000-1001", "bytes=-0", "bytes=-000", f"bytes={'9' * 5000}-"])
def test_what_is_not_there_cannot_be_had(header: str) -> None:
    with pytest.raises(RangeNotSatisfiable):
        parse_range(header, 1000)


def test_nothing_has_no_parts() -> None:
    assert parse_range("bytes=-5", 0) is None
    with pytest.raises(RangeNotSatisfiable):
        parse_range("bytes=0-", 0)


@given(st.text() | st.from_regex(r"bytes=[0-9, \t-]*", fullmatch=True), st.integers(0, 2**40))
def test_any_text_gives_a_part_of_the_whole_or_none(header: str, size: int) -> None:
    try:
        part = parse_range(header, size)
    except RangeNotSatisfiable:
        return
    assert part is None or 0 <= part.first <= part.last < size


@given(st.binary(min_size=1, max_size=50), st.integers(0, 60), st.none() | st.integers(0, 60))
def test_it_is_what_python_slices(whole: bytes, first: int, last: int | None) -> None:
    header = f"bytes={first}-{'' if last is None else last}"
    expected = whole[first:] if last is None else whole[first : last + 1]
    if last is not None and last < first:
        assert parse_range(header, len(whole)) is None
    elif not expected:
        with pytest.raises(RangeNotSatisfiable):
            parse_range(header, len(whole))
    else:
        part = parse_range(header, len(whole))
        assert part is not None
        assert whole[part.first : part.last + 1] == expected


@given(st.binary(min_size=1, max_size=50), st.integers(1, 60))
def test_the_end_is_what_python_slices(whole: bytes, length: int) -> None:
    part = parse_range(f"bytes=-{length}", len(whole))
    assert part is not None
    assert whole[part.first : part.last + 1] == whole[-length:]
