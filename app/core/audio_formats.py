"""What kind of file some bytes are, told by their first bytes and never by a name, and whether it is safe to open."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

MAX_MP4_SAMPLES = 2_000_000
"""Entries that the sample tables of an MP4 may have together; a demuxer spends about 40 bytes on each."""

_TABLES = re.compile(rb"stsz|stz2|trun|stts|ctts|cmov")


def sniff_format(data: memoryview) -> str | None:
    """The container of the bytes, in upper case, or None if it is none that we decode."""
    start = _id3_length(data)
    head = bytes(data[start : start + 64])
    if start and not head.startswith(b"fLaC"):
        head = head.lstrip(b"\0")  # taggers leave padding between the tag and the first frame
    for magic, offset, kinds, name in _MAGIC:
        if head.startswith(magic) and (not kinds or head[offset : offset + 4] in kinds):
            return name
    if head.startswith(b"\x1a\x45\xdf\xa3"):
        return "WEBM" if b"webm" in head else "MATROSKA"
    return _mpeg_audio(head) or ("MP3" if start else None)


_MAGIC: tuple[tuple[bytes, int, tuple[bytes, ...], str], ...] = (
    (b"RIFF", 8, (b"WAVE",), "WAV"),
    (b"RIFX", 8, (b"WAVE",), "WAV"),
    (b"RF64", 8, (b"WAVE",), "WAV"),
    (b"BW64", 8, (b"WAVE",), "WAV"),
    (b"FORM", 8, (b"AIFF", b"AIFC"), "AIFF"),
    (b"caff", 0, (), "CAF"),
    (b"fLaC", 0, (), "FLAC"),
    (b"OggS", 0, (), "OGG"),
    (b"", 4, (b"ftyp",), "MP4"),
)


def _id3_length(data: memoryview) -> int:
    """Length in bytes of an ID3v2 tag at the start, its header included; 0 without one."""
    if len(data) < 10 or bytes(data[:3]) != b"ID3":
        return 0
    size = 0
    for byte in data[6:10]:
        size = size << 7 | byte & 0x7F
    return size + 10


def _mpeg_audio(head: bytes) -> str | None:
    """Tell MP3 from AAC in ADTS by the header of the first frame."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    version, layer = head[1] >> 3 & 3, head[1] >> 1 & 3
    if layer == 0:
        return "AAC" if head[1] & 0xF0 == 0xF0 and head[2] >> 2 & 15 < 13 else None
    bitrate, rate = head[2] >> 4, head[2] >> 2 & 3
    return "MP3" if version != 1 and bitrate != 15 and rate != 3 else None


def mp4_samples(data: memoryview) -> int:
    """How many samples the tables of an MP4 claim, as an upper bound.

    A table of a few bytes can claim four thousand million samples, and a demuxer makes an entry in memory of each
    before the first is read. So the tables are read here first. Anything that looks like a table counts, wherever it is
    nested, except in the media data; a compressed header counts as too many.

    Returns:
        The largest of: the samples by size, by duration and by composition offset, of all tracks and fragments.
    """
    totals = {b"size": 0, b"stts": 0, b"ctts": 0}
    for box in _boxes_without_media(data):
        for match in _TABLES.finditer(box):
            kind, content = match.group(), box[match.end() : match.end() + 12]
            if kind == b"cmov":
                return 1 << 32
            if kind in (b"stsz", b"stz2"):
                totals[b"size"] += _uint32(content, 8)
            elif kind == b"trun":
                totals[b"size"] += _uint32(content, 4)
            else:
                totals[kind] += _run_lengths(box[match.end() + 8 :], _uint32(content, 4))
    return max(totals.values())


def _boxes_without_media(data: memoryview) -> Iterator[memoryview]:
    position = 0
    while position + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, position)
        if size == 1 and position + 16 <= len(data):
            (size,) = struct.unpack_from(">Q", data, position + 8)
        if size < 8:  # 0: to the end of the file; the others are broken, and the rest is looked at as a whole
            size = len(data) - position
        if kind != b"mdat":
            yield data[position : position + size]
        position += size


def _uint32(content: memoryview, offset: int) -> int:
    return int.from_bytes(content[offset : offset + 4], "big")


def _run_lengths(table: memoryview, entries: int) -> int:
    """Sum the run lengths of a table of (run length, value), as far as it is there."""
    entries = min(entries, len(table) // 8)
    return sum(struct.unpack_from(">I", table, 8 * index)[0] for index in range(entries))
