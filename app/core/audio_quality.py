"""How good a recording is, measured on its waveform."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from app.core.audio import SAMPLE_RATE

if TYPE_CHECKING:
    from numpy.typing import NDArray

FRAME_SECONDS = 0.02
MARGIN_SECONDS = 0.05
MIN_NOISE_SECONDS = 0.2
MAX_SNR_DB = 60.0

_NOISE_PERCENTILE = 5


def signal_to_noise_db(waveform: NDArray[np.float32], speech: Sequence[tuple[float, float]]) -> float | None:
    """Power of the speech against power of what is around it.

    The noise is the median 20 ms frame at least 50 ms away from speech, so that a cough does not count. With less than
    0.2 s of that, it is the 5th percentile of all frames.

    Args:
        waveform: (samples,) mono at 16 kHz.
        speech: (start, end) of the spoken stretches in seconds.

    Returns:
        The ratio in dB, 0 to 60, the noise's power taken off the speech's; None without speech.
    """
    size = int(FRAME_SECONDS * SAMPLE_RATE)
    count = waveform.size // size
    if not count:
        return None
    frames = waveform[: count * size].reshape(count, size)
    power = np.var(frames, axis=1, dtype=np.float64)  # the variance, because an offset is no noise
    spoken = _covered(speech, count, margin=0.0)
    if not spoken.any():
        return None
    noise = power[~_covered(speech, count, margin=MARGIN_SECONDS)]
    floor = np.median(noise) if noise.size * FRAME_SECONDS >= MIN_NOISE_SECONDS else None
    if floor is None:
        floor = np.percentile(power, _NOISE_PERCENTILE)
    signal = float(power[spoken].mean()) - float(floor)
    if signal <= 0:
        return 0.0
    ratio = 10 * np.log10(signal / max(float(floor), signal * 10 ** (-MAX_SNR_DB / 10)))
    return float(np.clip(ratio, 0.0, MAX_SNR_DB))


def _covered(stretches: Sequence[tuple[float, float]], count: int, *, margin: float) -> NDArray[np.bool_]:
    """Which of ``count`` frames have their middle within a stretch, widened by ``margin`` seconds on both sides."""
    middles = (np.arange(count) + 0.5) * FRAME_SECONDS
    covered = np.zeros(count, dtype=np.bool_)
    for start, end in stretches:
        covered |= (middles >= start - margin) & (middles < end + margin)
    return covered
