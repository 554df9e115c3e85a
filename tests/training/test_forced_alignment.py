"""The compiled alignment of the training finds what the service's own finds, where that may not leave the text."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from app.core.alignment import Penalties, align
from training.forced_alignment import align_batch

FORBIDDING = Penalties(skip_word=1e4, skip_phoneme=0, enter_filler=1e5, filler_frame=0)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.integers(1, 5), min_size=1, max_size=8),
    st.integers(1, 30),
    st.integers(0, 9),
    st.integers(0, 2**32 - 1),
    st.sampled_from([0.5, 2.0, 8.0]),
)
def test_it_agrees_with_the_service_s_alignment(
    phonemes: list[int], frames: int, padding: int, seed: int, contrast: float
) -> None:
    logits = torch.from_numpy(np.random.default_rng(seed).normal(0, contrast, (frames + padding, 6)))
    log_probs = logits.log_softmax(-1).float()
    (ours,) = align_batch(log_probs[None], [frames], [phonemes])
    theirs = align(log_probs[:frames].numpy(), [[phonemes]], FORBIDDING).words[0]
    if theirs is None:
        assert ours is None
        assert frames < len(phonemes) + sum(a == b for a, b in pairwise(phonemes))
        return
    assert ours is not None
    assert ours.tolist() == [list(theirs.starts), list(theirs.ends), list(theirs.peaks)]


def test_each_recording_of_a_batch_is_aligned_by_itself() -> None:
    torch.manual_seed(0)
    log_probs = torch.randn(3, 12, 6).log_softmax(-1)
    frames, labels = [12, 2, 7], [[1, 2, 2], [3, 4, 5], [5]]
    together = align_batch(log_probs, frames, labels)
    assert together[1] is None, "three phonemes do not fit into two frames"
    for row in (0, 2):
        (alone,) = align_batch(log_probs[row : row + 1, : frames[row]], [frames[row]], [labels[row]])
        aligned = together[row]
        assert aligned is not None
        assert alone is not None
        assert aligned.tolist() == alone.tolist()
