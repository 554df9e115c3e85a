"""A recording's bytes become mono float32 at 16 kHz, within limits, block by block and without a temporary file."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
import soxr

from app.core.audio_decoders import MAX_CHANNELS, Undecodable, decode_blocks
from app.core.audio_formats import sniff_format
from app.core.errors import AudioNotFinite, AudioTooShort, SilentAudio, TooLarge, UnsupportedAudio

if TYPE_CHECKING:
    from numpy.typing import NDArray

SAMPLE_RATE = 16_000
"""Samples per second of every waveform inside the service."""

MIN_SECONDS = 0.1
FULL_SCALE = 0.999
SILENCE_PEAK = 1e-3  # half of peak to peak, so that a DC offset is silence: -60 dBFS

_CANCELLED = 0.05  # a mix with less than this share of the loudest channel's power has lost it
_OVERSCALED = 4.0  # a peak beyond this is no overshoot but samples in another scale


@dataclass(frozen=True, slots=True)
class Recording:
    """A decoded recording.

    Attributes:
        waveform: (samples,) float32, mono at 16 kHz, about -1 to 1.
        source_sample_rate: samples per second of the upload.
        source_channels: channels of the upload.
        format: container of the upload in upper case: WAV, FLAC, OGG, MP3, WEBM, MATROSKA, MP4, AAC, AIFF, CAF.
        clipping_ratio: share of the upload's samples at or beyond full scale, 0 to 1, all channels together.
    """

    waveform: NDArray[np.float32]
    source_sample_rate: int
    source_channels: int
    format: str
    clipping_ratio: float

    @property
    def duration(self) -> float:
        """Length in seconds."""
        return self.waveform.size / SAMPLE_RATE


def decode_recording(data: bytes | bytearray | memoryview | BinaryIO, *, max_seconds: float) -> Recording:
    """Decode an upload to mono float32 at 16 kHz.

    Channels are averaged, unless they cancel each other out (one phase-inverted, or one of many alone in use): then the
    loudest is taken. Only seconds that come out of the decoder count against the limit, never what a header claims.

    Args:
        data: the bytes of the file, or a seekable stream of them (left open).
        max_seconds: the longest recording accepted, in seconds.

    Raises:
        UnsupportedAudio: the bytes are no audio we decode, or break off midway.
        TooLarge: more than ``max_seconds`` came out.
        AudioNotFinite: a sample is infinite or not a number.
        AudioTooShort: less than 0.1 s came out.
        SilentAudio: nothing but silence or a constant offset came out.
    """
    view = memoryview(data if isinstance(data, bytes | bytearray | memoryview) else _read_all(data)).cast("B")
    container = sniff_format(view)
    if container is None:
        reason = "The recording is empty." if not view else "The bytes are no audio format that can be decoded."
        raise UnsupportedAudio(reason, field="audio")
    mixer = _decode(view, container, max_seconds, channel=None)
    if (lost := mixer.cancelled_channel()) is not None:
        mixer = _decode(view, container, max_seconds, channel=lost)
    return _checked(mixer, container)


def _read_all(stream: BinaryIO) -> bytes:
    stream.seek(0)
    return stream.read()


def _decode(view: memoryview, container: str, max_seconds: float, *, channel: int | None) -> _Mixer:
    mixer = _Mixer(max_seconds, channel)
    # Closed here and not by the collector: a generator left half-way holds the decoder open.
    with closing(decode_blocks(view, container)) as blocks:
        try:
            for samples, rate in blocks:
                mixer.push(samples, rate)
        except Undecodable as error:
            if mixer.seconds > 0:
                detail = f"The {container} recording is corrupt or breaks off after {mixer.seconds:.2f} s."
            else:
                detail = f"The {container} recording {error}."
            raise UnsupportedAudio(detail, field="audio") from None
    mixer.flush()
    return mixer


def _checked(mixer: _Mixer, container: str) -> Recording:
    """Turn what was mixed into a recording, or say what is wrong with it."""
    waveform = np.concatenate(mixer.chunks) if mixer.chunks else np.zeros(0, np.float32)
    mixer.chunks.clear()
    if waveform.size < MIN_SECONDS * SAMPLE_RATE:
        seconds = waveform.size / SAMPLE_RATE
        detail = f"The recording is {seconds:.3f} s long; at least {MIN_SECONDS} s are needed."
        raise AudioTooShort(detail, field="audio")
    if mixer.highest - mixer.lowest < 2 * SILENCE_PEAK:
        raise SilentAudio("The recording is silent: nothing in it is louder than -60 dBFS.", field="audio")
    peak = float(np.abs(waveform).max())
    if not np.isfinite(peak):  # finite samples near the largest float overflow in the resampler
        raise AudioNotFinite("The recording has samples far beyond any sensible level.", field="audio")
    if peak > _OVERSCALED:
        waveform /= peak
    return Recording(
        waveform=waveform,
        source_sample_rate=mixer.source_rate,
        source_channels=mixer.source_channels,
        format=container,
        clipping_ratio=mixer.clipped / mixer.samples,
    )


class _Mixer:
    """Mixes blocks to mono, resamples them, and measures what can only be seen at the source."""

    def __init__(self, max_seconds: float, channel: int | None) -> None:
        self.chunks: list[NDArray[np.float32]] = []
        self.seconds = 0.0
        self.source_rate = 0
        self.source_channels = 0
        self.clipped = 0
        self.samples = 0
        self.lowest, self.highest = np.inf, -np.inf
        self._max_seconds = max_seconds
        self._channel = channel
        self._frames = 0
        self._sums = np.zeros((2, MAX_CHANNELS + 1))  # of values and of squares: every channel, then the mix
        self._rate = 0
        self._resampler: soxr.ResampleStream | None = None

    def push(self, samples: NDArray[np.float32], rate: int) -> None:
        """Add a block of (frames, channels) at ``rate`` samples per second."""
        frames, channels = samples.shape
        if not frames:
            return
        self.seconds += frames / rate
        if self.seconds > self._max_seconds:
            detail = f"The recording is longer than {self._max_seconds:g} s, the longest that is accepted."
            raise TooLarge(detail, field="audio")
        if not np.isfinite(samples).all():
            raise AudioNotFinite("The recording has samples that are infinite or not numbers.", field="audio")
        if not self.samples:
            self.source_rate, self.source_channels = rate, channels
        self.samples += samples.size
        self.clipped += int(np.count_nonzero(samples >= FULL_SCALE) + np.count_nonzero(samples <= -FULL_SCALE))
        mono = self._mix(samples)
        self.lowest = min(self.lowest, float(mono.min()))
        self.highest = max(self.highest, float(mono.max()))
        self._resample(mono, rate)

    def flush(self) -> None:
        """Take what the resampler still holds."""
        if self._resampler is not None:
            self._keep(self._resampler.resample_chunk(np.zeros(0, np.float32), last=True))
            self._resampler = None

    def cancelled_channel(self) -> int | None:
        """The loudest channel, if the mix has lost it."""
        if self._channel is not None or self.source_channels < 2 or not self._frames:
            return None
        means, squares = self._sums / self._frames
        power = squares - means**2
        loudest = int(np.argmax(power[:-1]))
        audible = power[loudest] > SILENCE_PEAK**2 / 2
        return loudest if audible and power[-1] < _CANCELLED * power[loudest] else None

    def _mix(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        channels = samples.shape[1]
        if channels == 1:
            return samples[:, 0].copy()  # the decoder fills the same block again
        if self._channel is not None and self._channel < channels:
            return samples[:, self._channel].copy()
        wide = samples.T.astype(np.float64, order="C")  # squares of large floats overflow in float32
        mono: NDArray[np.float64] = wide.sum(axis=0) / channels
        self._frames += mono.size
        self._sums[0, :channels] += wide.sum(axis=1)
        self._sums[1, :channels] += [np.dot(row, row) for row in wide]
        self._sums[:, -1] += mono.sum(), np.dot(mono, mono)
        return mono.astype(np.float32)

    def _resample(self, mono: NDArray[np.float32], rate: int) -> None:
        if rate != self._rate:  # also in the middle of a stream that changes its rate
            self.flush()
            self._rate = rate
            if rate != SAMPLE_RATE:
                self._resampler = soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="float32", quality="HQ")
        self._keep(mono if self._resampler is None else self._resampler.resample_chunk(mono))

    def _keep(self, mono: NDArray[np.float32]) -> None:
        if mono.size:
            self.chunks.append(mono)
