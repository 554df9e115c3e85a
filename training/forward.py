"""What a model says of a lesson: the encoder's posteriors, the scores of its texts, and where their words are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from app.core.acoustic_model import AcousticOutput, ElocuteForScoring
from app.core.scoring_head import HeadOutputs
from training.corpus import SAMPLE_RATE
from training.forced_alignment import align_batch
from training.head_batches import head_inputs
from training.lessons import FRAME_SECONDS, Lesson, Material, in_order

_FRAME = round(FRAME_SECONDS * SAMPLE_RATE)  # in samples


@dataclass
class Heard:
    """What a model says of a lesson: its output, and its log-posteriors ``(B, T, 40)`` in full precision."""

    output: AcousticOutput
    log_probs: torch.Tensor


def hear(model: ElocuteForScoring, lesson: Lesson) -> Heard:
    """Run the encoder in bfloat16 where the device is quick at it."""
    with torch.autocast(lesson.mel.device.type, dtype=torch.bfloat16, enabled=lesson.mel.is_cuda):
        output = model(lesson.mel, lesson.mel_frames)
    return Heard(output, output.logits.float().log_softmax(-1))


def read(model: ElocuteForScoring, heard: Heard, lesson: Lesson, share: float = 1.0) -> tuple[HeadOutputs, list[int]]:
    """Align the lesson's texts and score them; which readings could be aligned.

    Args:
        model: its head.
        heard: by its encoder.
        lesson: with the texts.
        share: of the head's gradient that reaches the encoder.
    """
    segments = align_batch(heard.log_probs.detach(), lesson.frames, lesson.labels())
    states = heard.output.hidden_states
    if share != 1.0:
        states = tuple(share * h + (1 - share) * h.detach() for h in states)
    log_probs = share * heard.log_probs + (1 - share) * heard.log_probs.detach()
    with torch.autocast(lesson.mel.device.type, dtype=torch.bfloat16, enabled=lesson.mel.is_cuda):
        frames = model.projection(states)
    inputs, kept = head_inputs(lesson, segments, log_probs, frames.float())
    return model.head(inputs), kept


@torch.no_grad()
def word_spans(model: ElocuteForScoring, material: Material) -> dict[int, NDArray[np.int64]]:
    """Where the words of each recording are: ``(W, 2)`` first and last sample; none for one that cannot be aligned."""
    model.eval()
    spans = {}
    for numbers, lesson in tqdm(in_order(material), "finding words", mininterval=5):
        segments = align_batch(hear(model, lesson).log_probs, lesson.frames, lesson.labels())
        for number, reading, aligned in zip(numbers, lesson.readings, segments, strict=True):
            if aligned is None:
                continue
            ends = np.cumsum([len(word.phonemes) for word in reading.words])
            starts, last_ends = aligned[0, [0, *ends[:-1]]], aligned[1, ends - 1]
            spans[number] = _FRAME * np.stack([starts, last_ends], axis=1)
    return spans
