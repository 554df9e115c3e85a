"""Speech for the tests, made by the voice that is a dependency anyway."""

from __future__ import annotations

from functools import cache
from io import BytesIO
from typing import Any

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

RATE = 16_000


@cache
def _voice() -> Any:
    from hibari import Hibari

    return Hibari()


@cache
def _say(text: str) -> bytes:
    speech: NDArray[np.float32] = soxr.resample(_voice()(text, seed=0), 24_000, RATE).astype(np.float32)
    return speech.tobytes()


def say(text: str) -> NDArray[np.float32]:
    """``(N,)`` samples at 16 kHz of a synthetic voice."""
    return np.frombuffer(_say(text), dtype=np.float32).copy()


def silence(seconds: float) -> NDArray[np.float32]:
    """That many seconds of nothing."""
    return np.zeros(int(seconds * RATE), dtype=np.float32)


def encode(waveform: NDArray[np.float32], kind: str = "WAV") -> bytes:
    """A file of samples at 16 kHz."""
    file = BytesIO()
    soundfile.write(file, waveform, RATE, format=kind)
    return file.getvalue()
