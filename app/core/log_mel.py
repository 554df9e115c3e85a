"""Whisper's input features, in numpy: transformers' own extractor costs 180 MB of imports for these few lines."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE = 16_000
WINDOW, HOP = 400, 160
MEL_BANDS = 80

_BLOCK_FRAMES = 512  # transformed at a time: bounds the work space to about 2 MB
_LINEAR_HZ, _LINEAR_MELS = 200 / 3, 15.0  # Slaney's scale is linear up to 1 kHz, which is 15 mel
_LOG_STEP = np.log(6.4) / 27


class LogMel:
    """Log-mel spectrogram of Whisper (Radford et al., 2022): 25 ms Hann windows every 10 ms, 80 Slaney bands."""

    def __init__(self) -> None:
        self._window = np.hanning(WINDOW + 1)[:-1].astype(np.float32)
        self._filters = mel_filters()

    def __call__(self, waveform: NDArray[np.float32]) -> NDArray[np.float32]:
        """Features of one recording.

        Args:
            waveform: ``(N,)`` mono at 16 kHz, N more than 200.

        Returns:
            ``(80, N // 160)``, about -1 to 2.
        """
        padded = np.pad(waveform, WINDOW // 2, mode="reflect")
        frames = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP][: len(waveform) // HOP]
        mel = np.empty((len(frames), MEL_BANDS), np.float32)
        for start in range(0, len(frames), _BLOCK_FRAMES):
            spectrum = np.fft.rfft(frames[start : start + _BLOCK_FRAMES] * self._window)
            power = spectrum.real**2 + spectrum.imag**2
            mel[start : start + _BLOCK_FRAMES] = power.astype(np.float32, copy=False) @ self._filters
        np.log10(np.maximum(mel, 1e-10, out=mel), out=mel)
        np.maximum(mel, mel.max() - 8, out=mel)
        mel += 4
        mel /= 4
        return np.ascontiguousarray(mel.T)


def mel_filters() -> NDArray[np.float32]:
    """``(201, 80)`` triangular filters up to 8 kHz, each of unit area, on Slaney's (1998) mel scale."""
    edges = _mel_to_hz(np.linspace(0, _hz_to_mel(SAMPLE_RATE / 2), MEL_BANDS + 2))
    bins = np.linspace(0, SAMPLE_RATE / 2, WINDOW // 2 + 1)
    slopes = edges[:, None] - bins
    widths = np.diff(edges)[:, None]
    triangles = np.maximum(0, np.minimum(-slopes[:-2] / widths[:-1], slopes[2:] / widths[1:]))
    return np.ascontiguousarray((triangles * 2 / (edges[2:] - edges[:-2])[:, None]).T, np.float32)


def _hz_to_mel(hz: float) -> float:
    linear = hz / _LINEAR_HZ
    return linear if linear < _LINEAR_MELS else _LINEAR_MELS + float(np.log(hz / 1000)) / float(_LOG_STEP)


def _mel_to_hz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(mel < _LINEAR_MELS, mel * _LINEAR_HZ, 1000 * np.exp(_LOG_STEP * (mel - _LINEAR_MELS)))
