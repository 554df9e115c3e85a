"""What training makes small: CTC with wildcards, and score errors that know what nobody scored."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from app.core.scoring_head import HeadOutputs
from training.losses import LEVEL_WEIGHTS, PRESENT_WEIGHT, VARIANCES, WILDCARD, score_loss, wildcard_ctc_loss
from training.readings import Targets


def ctc(log_probs: torch.Tensor, lengths: list[int], targets: list[list[int]]) -> torch.Tensor:
    together = torch.tensor([t for target in targets for t in target])
    return wildcard_ctc_loss(log_probs, torch.tensor(lengths), together, torch.tensor([len(t) for t in targets]))


def test_without_wildcards_the_loss_is_plain_ctc() -> None:
    torch.manual_seed(0)
    log_probs = torch.randn(2, 20, 40).log_softmax(-1)
    plain = torch.nn.functional.ctc_loss(
        log_probs.transpose(0, 1),
        torch.tensor([1, 2, 2, 5, 7]),
        torch.tensor([20, 15]),
        torch.tensor([3, 2]),
        reduction="none",
    )
    expected = (plain / torch.tensor([3, 2])).mean()
    assert ctc(log_probs, [20, 15], [[1, 2, 2], [5, 7]]).item() == pytest.approx(expected.item(), rel=1e-4)


def test_a_wildcard_costs_little_whatever_is_there() -> None:
    logits = torch.full((1, 6, 40), -8.0)
    logits[0, torch.arange(6), torch.tensor([1, 0, 9, 0, 3, 0])] = 4.0
    log_probs = logits.log_softmax(-1)
    wrong, wild, right = (ctc(log_probs, [6], [[1, middle, 3]]) for middle in (2, WILDCARD, 9))
    assert right < 0.1
    assert wild < 1.0 < wrong


def test_a_recording_too_short_for_its_text_counts_nothing() -> None:
    log_probs = torch.zeros(1, 2, 40).log_softmax(-1).requires_grad_()
    loss = ctc(log_probs, [2], [[1, 2, 3]])
    loss.backward()
    assert loss.item() == 0
    assert log_probs.grad is not None
    assert not log_probs.grad.any()


def outputs() -> HeadOutputs:
    """Of two members, two sentences, three phonemes and two words."""
    torch.manual_seed(0)
    shapes = ((2, 2, 3), (2, 2, 2, 3), (2, 2, 2), (2, 2, 4))
    return HeadOutputs(*(torch.randn(shape, requires_grad=True) for shape in shapes))


def filled(value: float) -> Targets:
    def array(*shape: int) -> NDArray[np.float32]:
        return np.full(shape, value, np.float32)

    return Targets(array(2, 3), array(2, 2, 3), array(2, 2), array(2, 4))


def test_what_nobody_scored_gives_no_gradient() -> None:
    targets = filled(0.5)
    targets.phonemes[0, 2] = targets.words[1, 0, 2] = targets.present[1, 1] = targets.sentence[0, 3] = math.nan
    said = outputs()
    loss = score_loss(said, targets)
    loss.backward()
    for part, known in zip(said, (targets.phonemes, targets.words, targets.present, targets.sentence), strict=True):
        assert part.grad is not None
        for member in part.grad.numpy():
            assert ((member != 0) == ~np.isnan(known)).all()


def test_where_nothing_is_known_there_is_no_loss() -> None:
    said = outputs()
    loss = score_loss(said, filled(math.nan))
    loss.backward()
    assert loss.item() == 0
    assert all(part.grad is not None and not part.grad.any() for part in said)


def test_every_level_counts_in_units_of_its_variance() -> None:
    right = filled(0.5)
    said = HeadOutputs(*(torch.full_like(part, 0.5) for part in outputs()))
    best = score_loss(said, right).item()
    present = torch.nn.functional.binary_cross_entropy_with_logits(torch.tensor(0.5), torch.tensor(0.5)).item()
    assert best == pytest.approx(PRESENT_WEIGHT * present)
    for level, part in (("phoneme", "phonemes"), ("word", "words"), ("sentence", "sentence")):
        wrong = said._replace(**{part: getattr(said, part) + 0.1})
        cost = sum(weight * 0.01 / v for weight, v in zip(LEVEL_WEIGHTS[level], VARIANCES[level], strict=True))
        assert score_loss(wrong, right).item() - best == pytest.approx(cost, rel=1e-3)


def test_a_teacher_is_half_of_the_target() -> None:
    said = HeadOutputs(*(torch.full_like(part, 0.6) for part in outputs()))
    teacher = HeadOutputs(*(torch.full_like(part[0], 0.8) for part in said))
    assert score_loss(said, filled(0.4), teacher).item() == pytest.approx(
        score_loss(said, replace_present(filled(0.6), 0.4)).item()
    )


def replace_present(targets: Targets, value: float) -> Targets:
    """The teacher has no say in what was said at all."""
    return Targets(targets.phonemes, targets.words, np.full_like(targets.present, value), targets.sentence)
