"""Containers and codecs, opened from memory: libsndfile where it can, FFmpeg for the rest; blocks of samples come out.

FFmpeg is told which demuxer to use and may open no other decoder, file or protocol: a playlist that names a file of
this machine is never recognised as one.
"""

from __future__ import annotations

import io
from collections.abc import Generator
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import soundfile

from app.core.audio_formats import MAX_MP4_SAMPLES, mp4_samples

if TYPE_CHECKING:
    import av
    from numpy.typing import NDArray

    Block: TypeAlias = tuple[NDArray[np.float32], int]
    Blocks: TypeAlias = Generator[Block, None, None]

MAX_CHANNELS = 32
MIN_RATE, MAX_RATE = 4_000, 384_000

_BLOCK_SAMPLES = 1 << 13  # small: an error is noticed at the end of its block, and the caller is told when it was
_FLAC_SLACK = 0.05  # seconds that may miss at the end before a FLAC counts as broken off
_UNKNOWN_FRAMES = 1 << 40
_MP4_SHORTFALL = 0.1  # share of the sample table that may be missing from the file
_BAD_PACKETS = 0.1  # share of a lossy stream's packets that may be broken

# Not MP3: libsndfile reads no further than its header claims.
_SNDFILE = frozenset(("WAV", "AIFF", "CAF", "FLAC", "OGG"))
_DEMUXERS = {
    "WAV": "wav", "AIFF": "aiff", "CAF": "caf", "OGG": "ogg", "MP3": "mp3", "AAC": "aac", "MP4": "mov",
    "WEBM": "matroska", "MATROSKA": "matroska",
}  # fmt: skip
_CODECS = (
    "aac,aac_latm,alac,amrnb,amrwb,flac,libopencore_amrnb,libopencore_amrwb,mp2,mp2float,mp3,mp3float,opus,libopus,"
    "vorbis,pcm_alaw,pcm_f32be,pcm_f32le,pcm_f64be,pcm_f64le,pcm_mulaw,pcm_s16be,pcm_s16le,pcm_s24be,pcm_s24le,"
    "pcm_s32be,pcm_s32le,pcm_s8,pcm_u8,adpcm_ima_wav,adpcm_ms"
)
_ADTS_PRIMING = 1  # frames; the first only fades in from the encoder's delay, and ADTS cannot say so


class Undecodable(Exception):
    """Decoding stopped; the message goes on "The WAV recording ..."."""


def decode_blocks(data: memoryview, container: str) -> Blocks:
    """Decode a file block by block.

    Args:
        data: the whole file.
        container: its name as :func:`app.core.audio_formats.sniff_format` gives it.

    Yields:
        (frames, channels) float32 with full scale at -1 and 1, and its rate in samples per second.

    Raises:
        Undecodable: at the point where decoding cannot go on.
    """
    if container in _SNDFILE:
        opened = _open_sndfile(data)
        if opened is not None:
            yield from _sndfile_blocks(opened)
            return
    if container not in _DEMUXERS:
        raise Undecodable("cannot be decoded")
    if container == "MP4" and mp4_samples(data) > MAX_MP4_SAMPLES:
        raise Undecodable("claims more samples than any accepted recording can have")
    yield from _ffmpeg_blocks(data, container)


class _MemoryFile(io.RawIOBase):
    """A read-only file over a view, without a copy.

    A corrupt header sends libsndfile to positions that do not exist; an exception in its callbacks would be printed
    rather than raised, so they are clamped.
    """

    def __init__(self, data: memoryview) -> None:
        super().__init__()
        self._data = data
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        chunk = self._data[self._position : self._position + len(buffer)]
        buffer[: len(chunk)] = chunk
        self._position += len(chunk)
        return len(chunk)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position}.get(whence, len(self._data))
        self._position = min(max(base + offset, 0), len(self._data))
        return self._position

    def tell(self) -> int:
        return self._position


class _Sequential(soundfile.SoundFile):  # type: ignore[misc]
    """A sound file read from start to end: soundfile otherwise seeks after every block, which costs and goes wrong."""

    def seekable(self) -> bool:
        return False


def _open_sndfile(data: memoryview) -> _Sequential | None:
    try:
        file = _Sequential(_MemoryFile(data))
    except (soundfile.SoundFileError, TypeError, ValueError):
        return None
    if file.frames == 0:  # also a data chunk that was never given its length, which FFmpeg reads to the end
        file.close()
        return None
    return file


def _sndfile_blocks(file: _Sequential) -> Blocks:
    with file:
        rate, channels = file.samplerate, file.channels
        _check_shape(rate, channels)
        buffer = np.empty((_BLOCK_SAMPLES // channels, channels), np.float32)
        frames = 0
        while True:
            try:
                block = file.read(len(buffer), dtype="float32", always_2d=True, out=buffer)
            except soundfile.SoundFileError:
                raise Undecodable("cannot be decoded") from None
            if not len(block):
                break
            frames += len(block)
            yield block, rate
        # Only a FLAC's header is trusted for what should be there: recorders leave those of the others unfinished.
        missing = file.frames - frames
        if file.format == "FLAC" and file.frames < _UNKNOWN_FRAMES and missing > _FLAC_SLACK * rate:
            raise Undecodable("breaks off before its first sample")


def _check_shape(rate: int, channels: int) -> None:
    if not MIN_RATE <= rate <= MAX_RATE:
        raise Undecodable(f"has {rate} samples per second; {MIN_RATE} to {MAX_RATE} are accepted")
    if not 1 <= channels <= MAX_CHANNELS:
        raise Undecodable(f"has {channels} channels; 1 to {MAX_CHANNELS} are accepted")


def _ffmpeg_blocks(data: memoryview, container: str) -> Blocks:
    import av

    # protocol_whitelist: a data reference inside a container must not open anything.
    options = {"codec_whitelist": _CODECS, "protocol_whitelist": "none", "enable_drefs": "0"}
    try:
        opened = av.open(
            _MemoryFile(data), mode="r", format=_DEMUXERS[container], options=options, metadata_errors="ignore"
        )
    except (av.FFmpegError, ValueError, OSError):
        raise Undecodable("cannot be decoded") from None
    with opened:
        if not opened.streams.audio:
            raise Undecodable("has no sound in it")
        stream = opened.streams.audio[0]
        yield from _ffmpeg_stream(opened, stream, container)


def _ffmpeg_stream(opened: av.container.InputContainer, stream: av.AudioStream, container: str) -> Blocks:
    import av

    packets = bad = frames = 0
    priming = _ADTS_PRIMING if container == "AAC" else 0
    try:
        for packet in opened.demux(stream):
            packets += packet.size > 0
            try:
                decoded = packet.decode()
            except (av.FFmpegError, ValueError):
                bad += 1
                if bad > 1 + _BAD_PACKETS * max(packets, 20):
                    raise Undecodable("cannot be decoded") from None
                continue
            for frame in decoded:
                frames += 1
                if frames > priming and frame.samples:
                    _check_shape(frame.sample_rate, frame.layout.nb_channels)
                    yield _frame_samples(frame), frame.sample_rate
    except (av.FFmpegError, ValueError, OSError):
        raise Undecodable("cannot be decoded") from None
    if not frames and (bad or container not in _SNDFILE):
        raise Undecodable("cannot be decoded" if bad else "has no sound in it")
    # The sample table is in one piece, so what it lists and the file lacks has broken off.
    if container == "MP4" and stream.codec_context.frame_size > 1 and packets < (1 - _MP4_SHORTFALL) * stream.frames:
        raise Undecodable("breaks off before its first sample")


def _frame_samples(frame: av.AudioFrame) -> NDArray[np.float32]:
    """(frames, channels) float32 of a decoded frame of any sample format."""
    samples: NDArray[np.generic] = frame.to_ndarray()
    samples = samples.T if frame.format.is_planar else samples.reshape(-1, frame.layout.nb_channels)
    with np.errstate(
        over="ignore", invalid="ignore"
    ):  # a double beyond float32 becomes infinite, and is then refused as such
        scaled = samples.astype(np.float32)
    if samples.dtype == np.uint8:
        scaled -= 128
    if samples.dtype.kind in "iu":
        scaled /= np.float32(2 ** (8 * samples.dtype.itemsize - 1))
    return scaled
