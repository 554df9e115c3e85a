"""Recordings on the training device: the features are the service's, and speed moves length and pitch together."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from app.core.log_mel import LogMel
from tests.voice import RATE, say
from training.clip_bank import Augmentation, ClipBank, Piece, mask_features

CPU = torch.device("cpu")


def clip_of(waveform: NDArray[np.float32]) -> NDArray[np.int16]:
    return np.rint(waveform * 32767).astype(np.int16)


def tone(hz: float, seconds: float) -> NDArray[np.float32]:
    return 0.5 * np.sin(2 * np.pi * hz * np.arange(int(seconds * RATE)) / RATE).astype(np.float32)


def test_the_features_are_those_of_the_service() -> None:
    clips = [clip_of(say(text)) for text in ("green leaves", "we call it bear")]
    bank = ClipBank(clips, CPU)
    waves, lengths = bank.waves([[Piece(i, 0, len(clip))] for i, clip in enumerate(clips)])
    mel, frames = bank.log_mel(waves, lengths)
    for row, clip in enumerate(clips):
        ours = mel[row, :, : frames[row]].numpy()
        theirs = LogMel()(clip.astype(np.float32) / 32768.0)
        assert ours.shape == theirs.shape
        # the service reflects the recording at its end, here comes padding: the last two windows reach into it
        assert np.abs(ours - theirs)[:, :-2].max() < 1e-3
        assert not mel[row, :, frames[row] :].any()


@pytest.mark.parametrize("speed", [0.85, 1.0, 1.2])
def test_speed_changes_length_and_pitch(speed: float) -> None:
    bank = ClipBank([clip_of(tone(400, 1.0))], CPU)
    piece = Piece(0, 0, RATE, speed)
    waves, lengths = bank.waves([[piece]])
    assert lengths.tolist() == [piece.samples] == [int(RATE / speed)]
    assert (
        np.abs(waves[0, 500 : piece.samples - 500].numpy() - tone(400 * speed, 2)[500 : piece.samples - 500]).max()
        < 0.01
    )


def test_pieces_are_played_one_after_the_other_and_padded() -> None:
    clips = [clip_of(tone(300, 0.5)), clip_of(tone(500, 0.7))]
    bank = ClipBank(clips, CPU)
    waves, lengths = bank.waves([[Piece(1, 1000, 3000), Piece(0, 0, 500)], [Piece(0, 0, 8000)]])
    assert lengths.tolist() == [2500, 8000]
    assert waves.shape == (2, 10240)
    assert waves[0, :2500].numpy() == pytest.approx(
        np.concatenate([clips[1][1000:3000], clips[0][:500]]) / 32768, abs=1e-4
    )
    assert not waves[0, 2500:].any()


def test_noise_has_the_level_it_should() -> None:
    torch.manual_seed(0)
    bank = ClipBank([clip_of(tone(400, 2.0))], CPU)
    waves, _ = bank.waves([[Piece(0, 0, 2 * RATE)]] * 2)
    noisy = Augmentation(gain_db=0.0, noise_probability=1.0, noise_snr_db=(20.0, 20.0))
    noise = bank.distort(waves, noisy, np.random.default_rng(0)) - waves
    ratio = waves.square().mean(dim=1) / noise.square().mean(dim=1)
    assert ratio.numpy() == pytest.approx([100, 100], rel=0.05)
    quiet = Augmentation(gain_db=6.0, noise_probability=0.0)
    louder = bank.distort(waves, quiet, np.random.default_rng(0))
    gains = louder.square().mean(dim=1).sqrt() / waves.square().mean(dim=1).sqrt()
    assert ((gains > 0.5) & (gains < 2)).all()


def test_masks_hide_bands_and_stretches_of_the_recording_alone() -> None:
    mel = torch.rand(2, 80, 100) + 1
    mel[1, :, 60:] = 0
    masked = mask_features(mel, [100, 60], Augmentation(), np.random.default_rng(1))
    changed = masked != mel
    assert changed.any(dim=(1, 2)).all()
    assert not changed[1, :, 60:].any()
    for row, length in enumerate((100, 60)):
        mean = mel[row].sum() / (80 * length)
        assert torch.allclose(masked[row][changed[row]], mean.expand(int(changed[row].sum())), atol=1e-5)
