from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.audio_formats import MAX_MP4_SAMPLES, mp4_samples, sniff_format
from tests.core.clips import ENCODINGS, encode, voice


def box(kind: bytes, *contents: bytes) -> bytes:
    body = b"".join(contents)
    return struct.pack(">I4s", 8 + len(body), kind) + body


@pytest.mark.parametrize("name", ENCODINGS)
def test_every_format_is_known_by_its_first_bytes(name: str) -> None:
    assert sniff_format(memoryview(encode(name, voice(16_000, 0.2), 16_000))) == ENCODINGS[name].container


@pytest.mark.parametrize("name", ["mp3", "flac", "adts-aac"])
def test_a_tag_in_front_does_not_hide_the_format(name: str) -> None:
    tag = b"ID3\x04\x00\x00" + bytes([0, 0, 1, 0]) + bytes(128)
    data = encode(name, voice(16_000, 0.2), 16_000)
    assert sniff_format(memoryview(tag + data)) == ENCODINGS[name].container


def test_the_samples_of_real_files_are_counted() -> None:
    data = memoryview(encode("mp4-aac", voice(16_000, 4), 16_000))
    assert 4 * 16_000 / 1024 <= mp4_samples(data) <= 80


@pytest.mark.parametrize(
    "content",
    [
        box(b"moov", box(b"trak", box(b"stsz", struct.pack(">III", 0, 1, 10**8)))),
        box(b"free", box(b"stz2", struct.pack(">III", 0, 4, 10**8))),
        box(b"moof", box(b"traf", box(b"trun", struct.pack(">II", 0, 10**8)))),
        box(b"moov", *[box(b"stsz", struct.pack(">III", 0, 1, 10**5))] * 100),
        box(b"moov", box(b"ctts", struct.pack(">IIIIII", 0, 2, 5, 0, 10**8, 0))),
        box(b"moov", box(b"cmov")),
        struct.pack(">I4sQ", 1, b"moov", 44) + box(b"stsz", struct.pack(">III", 0, 1, 10**8)),
        struct.pack(">I4s", 0x7FFFFFFF, b"moov") + box(b"stsz", struct.pack(">III", 0, 1, 10**8)),
    ],
    ids=["stsz", "stz2", "trun", "many", "ctts", "compressed", "wide", "oversized"],
)
def test_tables_that_claim_too_much_are_noticed(content: bytes) -> None:
    assert mp4_samples(memoryview(box(b"ftyp", b"M4A ") + content)) > MAX_MP4_SAMPLES


def test_media_that_happens_to_look_like_a_table_does_not_count() -> None:
    media = box(b"mdat", b"stsz", b"\xff" * 12, b"cmov")
    assert mp4_samples(memoryview(media + box(b"moov"))) == 0


@given(st.binary(max_size=200))
def test_any_bytes_can_be_looked_at(data: bytes) -> None:
    sniff_format(memoryview(data))
    assert mp4_samples(memoryview(data)) >= 0
