"""The features are Whisper's own, to the last digit that float32 holds."""

from __future__ import annotations

import numpy as np
import pytest
from transformers import WhisperFeatureExtractor

from app.core.log_mel import LogMel, mel_filters
from tests.voice import RATE, say


@pytest.mark.parametrize("seconds", [0.1, 0.347, 3.0, 12.01])
def test_they_are_those_of_transformers(seconds: float) -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, int(seconds * RATE)).astype(np.float32)
    for waveform in (noise, say("She bought seven green apples.")[: len(noise)]):
        theirs = WhisperFeatureExtractor()(
            waveform, sampling_rate=RATE, padding="do_not_pad", truncation=False, return_tensors="np"
        )["input_features"][0]
        ours = LogMel()(waveform)
        assert ours.dtype == np.float32
        assert ours.shape == (80, len(waveform) // 160)
        assert np.abs(ours - theirs[:, : ours.shape[1]]).max() < 1e-4


def test_the_filters_are_those_of_transformers() -> None:
    assert np.allclose(mel_filters(), WhisperFeatureExtractor().mel_filters, atol=1e-6)
