"""Clips for the tests, encoded on the spot: by libsndfile where it can, by FFmpeg for the rest."""

from __future__ import annotations

import io
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np
import soundfile
from numpy.typing import NDArray

Signal = NDArray[np.float32]


@dataclass(frozen=True)
class Encoding:
    container: str  # as the service names it
    codec: str | None = None  # FFmpeg's encoder; None: libsndfile writes it
    muxer: str = ""
    subtype: str | None = None
    rates: tuple[int, ...] = (16_000, 44_100, 48_000)


ENCODINGS = {
    "wav": Encoding("WAV", rates=(8_000, 16_000, 22_050, 44_100, 96_000, 192_000)),
    "wav-u8": Encoding("WAV", subtype="PCM_U8"),
    "wav-24": Encoding("WAV", subtype="PCM_24"),
    "wav-float": Encoding("WAV", subtype="FLOAT"),
    "wav-double": Encoding("WAV", subtype="DOUBLE"),
    "wav-ulaw": Encoding("WAV", subtype="ULAW"),
    "flac": Encoding("FLAC", rates=(8_000, 16_000, 44_100, 96_000, 192_000)),
    "ogg-vorbis": Encoding("OGG", subtype="VORBIS"),
    "ogg-opus": Encoding("OGG", codec="libopus", muxer="ogg", rates=(16_000, 24_000, 48_000)),
    "webm-opus": Encoding("WEBM", codec="libopus", muxer="webm", rates=(16_000, 24_000, 48_000)),
    "mp3": Encoding("MP3", rates=(16_000, 22_050, 44_100, 48_000)),
    "mp4-aac": Encoding("MP4", codec="aac", muxer="mp4"),
    "mov-pcm": Encoding("MP4", codec="pcm_s16le", muxer="mov"),
    "m4a-alac": Encoding("MP4", codec="alac", muxer="ipod"),
    "adts-aac": Encoding("AAC", codec="aac", muxer="adts"),
    "aiff": Encoding("AIFF"),
    "caf": Encoding("CAF"),
}


def encode(name: str, signal: Signal, rate: int) -> bytes:
    """Encode (frames,) or (frames, channels) at ``rate``."""
    encoding = ENCODINGS[name]
    out = io.BytesIO()
    if encoding.codec is None:
        soundfile.write(out, signal, rate, format=encoding.container, subtype=encoding.subtype)
        return out.getvalue()
    planes = np.atleast_2d(signal.T)
    with av.open(out, "w", format=encoding.muxer) as container:
        stream = container.add_stream(encoding.codec, rate=rate, layout="mono" if len(planes) == 1 else "stereo")
        assert isinstance(stream, av.AudioStream)
        stream.bit_rate = 96_000
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(planes), "fltp", "mono" if len(planes) == 1 else "stereo"
        )
        frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    return out.getvalue()


def tone(rate: int, seconds: float = 1.0, hz: float = 1000.0, peak: float = 0.5) -> Signal:
    return (peak * np.sin(2 * np.pi * hz * np.arange(int(rate * seconds)) / rate)).astype(np.float32)


def voice(rate: int, seconds: float = 1.0) -> Signal:
    """Something like speech: harmonics below 3 kHz that glide and swell, with an onset that can be found again."""
    time = np.arange(int(rate * seconds)) / rate
    phase = 2 * np.pi * (140 * time + 30 * np.sin(2 * np.pi * time) / (2 * np.pi))
    swell = np.clip(np.sin(2 * np.pi * 2.5 * time), 0.05, 1)
    harmonics = sum(np.sin(k * phase) / k for k in range(1, 18))
    return (0.3 * swell * harmonics).astype(np.float32)
