"""A clip is a WAV file that anybody can read, and is in memory just once."""

from __future__ import annotations

import io
from base64 import b64decode
from itertools import pairwise

import numpy as np
import pytest
import soundfile
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from app.core.clip import Clip

RATE = 22_050
PHRASES = st.lists(st.integers(0, 2000) | st.integers(20_000, 80_000), max_size=4)


def noise(samples: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).uniform(-1, 1, samples).astype(np.float32)


def clip_of(*phrases: NDArray[np.float32]) -> Clip:
    clip = Clip(RATE, "somebody")
    for phrase in phrases:
        clip.append(phrase)
    clip.finish()
    return clip


@settings(max_examples=60, deadline=None)
@given(PHRASES)
@example([])
@example([1])
@example([2])
@example([24 * 1024 - 22])
def test_pieces_are_the_file_in_any_length(lengths: list[int]) -> None:
    phrases = [noise(length, seed) for seed, length in enumerate(lengths)]
    clip = clip_of(*phrases)
    file = b"".join(clip.pieces())
    assert clip.size == len(file)
    encoded = b"".join(clip.base64_pieces())
    assert clip.base64_size == len(encoded)
    assert b64decode(encoded, validate=True) == file
    assert clip.seconds == sum(lengths) / RATE
    samples, rate = soundfile.read(io.BytesIO(file), dtype="float32")
    assert rate == RATE
    assert np.allclose(samples, np.concatenate([noise(0), *phrases]), atol=1.01 / 32768)


def test_it_is_a_16_bit_mono_wav() -> None:
    info = soundfile.info(io.BytesIO(b"".join(clip_of(noise(1000)).pieces())))
    assert (info.format, info.subtype, info.channels, info.frames) == ("WAV", "PCM_16", 1, 1000)


@pytest.mark.parametrize("peak", [-1.0, 1.0])
def test_full_scale_does_not_wrap_around(peak: float) -> None:
    samples, _ = soundfile.read(io.BytesIO(b"".join(clip_of(np.full(10, peak, np.float32)).pieces())))
    assert samples == pytest.approx(np.full(10, peak), abs=1e-4)


def test_no_piece_is_a_copy() -> None:
    clip = clip_of(noise(200_000))

    def places() -> list[tuple[int, int]]:
        arrays = [np.frombuffer(piece, np.uint8) for piece in clip.pieces()]
        return [(array.__array_interface__["data"][0], len(array)) for array in arrays]

    first = places()
    assert len(first) > 3
    assert first == places()
    assert all(start + size == following for (start, size), (following, _) in pairwise(first))


def test_base64_is_made_piece_by_piece() -> None:
    pieces = clip_of(noise(2_000_000)).base64_pieces()
    assert max(map(len, pieces)) < 100_000
