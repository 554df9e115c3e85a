"""Recordings for load, made on the spot by the voice that is a dependency anyway, in every format that is taken."""

from __future__ import annotations

import io
import os
import random
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from app.core.phonemes import PHONEMES, VOWELS

Signal = NDArray[np.float32]

VOICE_RATE = 24_000
"""Samples per second of the voice, and of every signal here before it is encoded."""

# What is said, and how it is written where that differs.
SENTENCES: tuple[tuple[str, str], ...] = (
    ("Please turn right at the next corner.", ""),
    ("We call it bear.", ""),
    ("The ticket costs five dollars and fifty cents.", "The ticket costs $5.50."),
    ("Three thin trees grew through the thick fog.", ""),
    ("She sells sea shells by the shore.", ""),
    ("I would rather walk than wait for another bus.", ""),
    ("Could you tell me where the railway station is?", ""),
    ("He was born on the fourth of July.", "He was born on July 4th."),
    ("My sister usually orders vegetable soup and bread.", ""),
    ("Nobody expected the weather to change so quickly.", ""),
)

_BLOCK = 1 << 15
_SYLLABLE_SECONDS = 0.15
_MOST_SYLLABLES = 150  # /synthesize takes 300 phonemes
_NOISE = 0.001  # a quiet room: -60 dB


@dataclass(frozen=True, slots=True)
class Clip:
    """Something said: ``(N,)`` samples at 24 kHz, and its text."""

    signal: Signal
    text: str

    @property
    def seconds(self) -> float:
        """Its length."""
        return len(self.signal) / VOICE_RATE


@dataclass(frozen=True, slots=True)
class Encoding:
    """How a recording is written.

    Attributes:
        container: libsndfile's name of it, or FFmpeg's where there is a codec.
        rates: samples per second that it is written at.
        codec: FFmpeg's encoder; None where libsndfile writes it.
        subtype: libsndfile's name of the sample format.
    """

    container: str
    rates: tuple[int, ...]
    codec: str | None = None
    subtype: str | None = None


ENCODINGS: dict[str, Encoding] = {
    "wav": Encoding("WAV", (8_000, 16_000, 22_050, 44_100, 48_000)),
    "wav-float": Encoding("WAV", (16_000, 44_100), subtype="FLOAT"),
    "flac": Encoding("FLAC", (16_000, 44_100, 48_000)),
    "ogg-vorbis": Encoding("OGG", (16_000, 44_100), subtype="VORBIS"),
    "mp3": Encoding("MP3", (16_000, 44_100, 48_000)),
    "webm-opus": Encoding("webm", (16_000, 48_000), codec="libopus"),
    "mp4-aac": Encoding("mp4", (16_000, 44_100), codec="aac"),
}


def speak() -> list[Clip]:
    """Every sentence once; takes a second."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # read when onnxruntime is imported
    from hibari import Hibari

    voice = Hibari()
    return [
        Clip(np.asarray(voice(spoken, seed=0), dtype=np.float32), written or spoken) for spoken, written in SENTENCES
    ]


def compose(sentences: list[Clip], seconds: float, rng: random.Random) -> Clip:
    """Sentences one after another with pauses between, cut to a length; the text has what fits, if only in part."""
    samples = round(seconds * VOICE_RATE)
    parts: list[Signal] = []
    words: list[str] = []
    length = 0
    while length < samples:
        sentence = rng.choice(sentences)
        heard = sentence.signal if parts else _from_onset(sentence.signal)
        share = min(1.0, (samples - length) / len(heard))
        said = sentence.text.split()
        words += said[: max(1, round(share * len(said)))]
        pause = np.zeros(round(rng.uniform(0.15, 0.7) * VOICE_RATE), dtype=np.float32)
        parts += [heard, pause]
        length += len(heard) + len(pause)
    signal = np.concatenate(parts)[:samples] * np.float32(rng.uniform(0.3, 1.0))
    noise = np.random.default_rng(rng.getrandbits(32)).normal(0, _NOISE, samples)
    return Clip((signal + noise).astype(np.float32), " ".join(words))


def some_phonemes(seconds: float, rng: random.Random) -> tuple[list[str], float]:
    """Syllables that take about so long to say, as far as so many are taken; and how long that is."""
    count = min(_MOST_SYLLABLES, max(1, round(seconds / _SYLLABLE_SECONDS)))
    consonants, vowels = [p for p in PHONEMES if p not in VOWELS], sorted(VOWELS)
    phonemes = []
    for _ in range(count):
        phonemes += [rng.choice(consonants), rng.choice(vowels) + rng.choice(("", "0", "1", "2"))]
    return phonemes, count * _SYLLABLE_SECONDS


def encode(signal: Signal, name: str, rate: int, *, stereo: bool = False) -> bytes:
    """A file of ``(N,)`` samples at 24 kHz in one of :data:`ENCODINGS`, resampled to ``rate``."""
    encoding = ENCODINGS[name]
    mono = np.clip(soxr.resample(signal, VOICE_RATE, rate).astype(np.float32), -1, 1)
    planes = np.stack([mono, 0.7 * mono]).astype(np.float32) if stereo else mono[None]
    out = io.BytesIO()
    if encoding.codec is None:
        with soundfile.SoundFile(
            out, "w", rate, len(planes), format=encoding.container, subtype=encoding.subtype
        ) as file:
            for start in range(0, planes.shape[1], _BLOCK):  # one long block overflows the Vorbis encoder's stack
                file.write(planes[:, start : start + _BLOCK].T)
        return out.getvalue()
    layout = "stereo" if stereo else "mono"
    with av.open(out, "w", format=encoding.container) as container:
        stream = container.add_stream(encoding.codec, rate=rate, layout=layout)
        assert isinstance(stream, av.AudioStream)
        stream.bit_rate = 64_000
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(planes), "fltp", layout)
        frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    return out.getvalue()


def _from_onset(signal: Signal) -> Signal:
    """Without the silence that the voice begins with, so that the shortest cut has speech in it."""
    loud = np.flatnonzero(np.abs(signal) > 0.1 * np.abs(signal).max())
    return signal[int(loud[0]) :]
