"""What training makes small: CTC that forgives what was mispronounced, and squared errors of scores at every level."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from app.core.phonemes import CLASSES
from app.core.scoring_head import HeadOutputs
from training.readings import Targets

WILDCARD = len(CLASSES)
"""The target class of a phoneme that the experts heard as wrong: anything may have been said there."""

LEVEL_WEIGHTS = {"phoneme": (1.0,), "word": (0.4, 0.15, 0.4), "sentence": (0.25, 0.25, 0.25, 0.25)}
PRESENT_WEIGHT = 0.2
VARIANCES = {"phoneme": (0.043,), "word": (0.0335, 0.0035, 0.0238), "sentence": (0.020, 0.0217, 0.0205, 0.0288)}
"""Of the experts' scores, 0 to 1, in the corpus: they put the levels on one scale."""


def wildcard_ctc_loss(
    log_probs: torch.Tensor,
    lengths: torch.Tensor,
    targets: torch.Tensor,
    target_lengths: torch.Tensor,
    weight: float = 0.5,
) -> torch.Tensor:
    """CTC (Graves et al., 2006) in which ``WILDCARD`` targets match any frames, as in Star-CTC (Pratap et al., 2022).

    The wildcard is one more class whose probability is the constant ``weight / (1 + weight)`` in every frame, the 40
    others sharing the rest, so that the classes still sum to one as ``ctc_loss`` demands.

    Args:
        log_probs: ``(B, T, 40)`` log-posteriors.
        lengths: ``(B,)`` frames of each recording.
        targets: classes of all recordings, concatenated.
        target_lengths: ``(B,)``.
        weight: of the wildcard against all other classes together.

    Returns:
        The mean over the recordings of each one's loss per phoneme; recordings too short for their text count 0.
    """
    total = math.log1p(weight)
    star = torch.full_like(log_probs[..., :1], math.log(weight) - total)
    losses = nn.functional.ctc_loss(
        torch.cat([log_probs - total, star], dim=-1).transpose(0, 1),
        targets,
        lengths,
        target_lengths,
        zero_infinity=True,
        reduction="none",
    )
    losses = losses - total * lengths  # the constant share of the wildcard, so that figures compare with plain CTC
    return (losses.clamp_min(0) / target_lengths).mean()


def score_loss(outputs: HeadOutputs, targets: Targets, taught: HeadOutputs | None = None) -> torch.Tensor:
    """Squared errors of every member at every level, each in units of the level's variance; absent targets are NaN.

    Args:
        outputs: of the head while training, ``(K, B, …)``.
        targets: the experts' scores.
        taught: the scores of a teacher; half of every target where given.
    """
    loss = PRESENT_WEIGHT * _present_loss(outputs.present, targets.present)
    levels = (
        ("phoneme", outputs.phonemes.unsqueeze(-1), targets.phonemes[..., None], taught and taught.phonemes[..., None]),
        ("word", outputs.words, targets.words, taught and taught.words),
        ("sentence", outputs.sentence, targets.sentence, taught and taught.sentence),
    )
    for level, scores, wanted, teacher in levels:
        errors = _squared_errors(scores, wanted, teacher)
        loss = loss + (torch.tensor(LEVEL_WEIGHTS[level]) / torch.tensor(VARIANCES[level])).to(errors.device) @ errors
    return loss


def _squared_errors(scores: torch.Tensor, targets: NDArray[np.float32], taught: torch.Tensor | None) -> torch.Tensor:
    """``(C,)`` mean squared error of each score; 0 where none is known.

    Args:
        scores: ``(K, …, C)`` of the members.
        targets: ``(…, C)``.
        taught: ``(…, C)``.
    """
    wanted = torch.as_tensor(targets, device=scores.device)
    known = ~wanted.isnan()
    wanted = wanted.nan_to_num(0.0)
    if taught is not None:
        wanted = (wanted + taught) / 2
    squared = (scores - wanted).square() * known
    counts = (known.flatten(0, -2).sum(dim=0) * len(scores)).clamp_min(1)
    return squared.flatten(0, -2).sum(dim=0) / counts


def _present_loss(logits: torch.Tensor, targets: NDArray[np.float32]) -> torch.Tensor:
    """The cross-entropy of ``(K, B, W)`` logits that words were said; 0 where nothing is known."""
    present = torch.as_tensor(targets, device=logits.device)
    known = ~present.isnan()
    logits = logits[:, known]
    total = nn.functional.binary_cross_entropy_with_logits(logits, present[known].expand_as(logits), reduction="sum")
    return total / max(1, logits.numel())
