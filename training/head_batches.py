"""The texts of a lesson as the scoring head takes them: every phoneme with its frames, padded to one batch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from app.core.phoneme_tokens import PhonemeTokens, phoneme_tokens
from app.core.scoring_head import HeadInputs
from training.lessons import FRAME_SECONDS, Lesson


def head_inputs(
    lesson: Lesson,
    segments: Sequence[NDArray[np.int64] | None],
    log_probs: torch.Tensor,
    frames: torch.Tensor,
) -> tuple[HeadInputs, list[int]]:
    """The head's inputs for all readings of a lesson that could be aligned, and which those are.

    Args:
        lesson: with its readings.
        segments: of each item, see ``training.forced_alignment``.
        log_probs: ``(B, T, 40)``.
        frames: ``(B, T, F)``, the encoder's projections.
    """
    kept, tokens = [], []
    done = [0] * len(segments)
    for number, (reading, item) in enumerate(zip(lesson.readings, lesson.item_of, strict=True)):
        aligned = segments[item]
        if aligned is None:
            continue
        count = len(reading.phonemes)
        part = aligned[:, done[item] : done[item] + count]
        done[item] += count
        stresses = [stress for word in reading.words for stress in word.stresses]
        sizes = [len(word.phonemes) for word in reading.words]
        kept.append(number)
        pitch = lesson.pitch[item]
        tokens.append(phoneme_tokens(reading.phonemes, stresses, sizes, part, pitch=pitch, frame_seconds=FRAME_SECONDS))
    items = [lesson.item_of[number] for number in kept]
    return _stack(lesson, tokens, items, log_probs, frames), kept


def _stack(
    lesson: Lesson, tokens: Sequence[PhonemeTokens], items: Sequence[int], log_probs: torch.Tensor, frames: torch.Tensor
) -> HeadInputs:
    """Pad the tokens of all texts and gather what was heard in their frames; ``items`` says where each text is."""
    device = log_probs.device
    count = len(tokens)
    most = max(len(t.phoneme) for t in tokens)
    most_words = max(len(t.words) for t in tokens)
    indices = np.zeros((count, most, tokens[0].indices.shape[1]), np.int64)
    mask = np.zeros(indices.shape, np.float32)
    melody = np.zeros((*indices.shape, 2), np.float32)
    ids = np.zeros((3, count, most), np.int64)
    timing = np.zeros((count, most, tokens[0].timing.shape[1]), np.float32)
    words = np.zeros((count, most_words, most), np.float32)
    for i, (t, item) in enumerate(zip(tokens, items, strict=True)):
        n = len(t.phoneme)
        indices[i, :n], mask[i, :n], timing[i, :n] = t.indices, t.mask, t.timing
        melody[i, :n] = lesson.pitch[item][t.indices]
        ids[0, i, :n], ids[1, i, :n], ids[2, i, :n] = t.phoneme, t.stress, t.place
        words[i, : len(t.words), :n] = t.words
    place = torch.from_numpy(indices).to(device)
    row = torch.tensor(items, device=device)[:, None, None]
    phoneme, stress, in_word = torch.from_numpy(ids).to(device)
    return HeadInputs(
        log_probs=log_probs[row, place],
        frames=frames[row, place],
        contour=torch.cat([lesson.energy[row, place][..., None], torch.from_numpy(melody).to(device)], dim=-1),
        mask=torch.from_numpy(mask).to(device),
        phoneme=phoneme,
        stress=stress,
        place=in_word,
        timing=torch.from_numpy(timing).to(device),
        membership=torch.from_numpy(words).to(device),
        delivery=torch.from_numpy(np.stack([t.delivery for t in tokens])).to(device),
    )
