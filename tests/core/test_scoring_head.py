"""The scoring head looks at what is there, wherever it stands in a batch, and says the same as its graph."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from app.core.acoustic_engine import BUILT_IN_MODEL, FAST_MODEL
from app.core.acoustic_model import ElocuteConfig, ElocuteForScoring
from app.core.head_scorer import HEAD_FILE
from app.core.onnx_session import open_session
from app.core.scoring_head import HeadInputs, HeadOutputs, ScoringHead
from training.export_graph import example_inputs, export_head

WIDTH = 6  # of each half of the frames


@pytest.fixture
def head() -> ScoringHead:
    torch.manual_seed(0)
    new = ScoringHead(WIDTH, width=8, layers=2, members=3)
    for name, parameter in new.named_parameters():
        if name.endswith("bias.weight"):  # the relative positions start at zero
            torch.nn.init.normal_(parameter)
    return new.eval()


def a_sentence(phonemes: int = 7, words: int = 3, seed: int = 0) -> HeadInputs:
    torch.manual_seed(seed)
    inputs: HeadInputs = example_inputs(2 * WIDTH, phonemes, words)
    return inputs


def padded(inputs: HeadInputs, phonemes: int, words: int) -> HeadInputs:
    """With room for more phonemes and words, filled with anything where the mask is 0, as in a batch."""

    def more(values: torch.Tensor, axis: int, count: int) -> torch.Tensor:
        shape = list(values.shape)
        shape[axis] = count
        return torch.cat([values, torch.zeros(shape, dtype=values.dtype)], dim=axis)

    fields = {name: more(value, 1, phonemes) for name, value in inputs._asdict().items() if name != "delivery"}
    fields["membership"] = more(more(inputs.membership, 2, phonemes), 1, words)
    fields["log_probs"][:, inputs.phoneme.shape[1] :] = torch.randn(1, phonemes, *inputs.log_probs.shape[2:])
    return HeadInputs(**fields, delivery=inputs.delivery)


def assert_alike(ours: HeadOutputs, theirs: HeadOutputs) -> None:
    for name, one, two in zip(HeadOutputs._fields, ours, theirs, strict=True):
        assert one.shape == two.shape
        assert torch.allclose(one, two, atol=1e-4), name


@torch.inference_mode()
@pytest.mark.parametrize(("phonemes", "words"), [(1, 0), (9, 4)])
def test_padding_changes_nothing(head: ScoringHead, phonemes: int, words: int) -> None:
    sentence = a_sentence()
    alone, together = head(sentence), head(padded(sentence, phonemes, words))
    trimmed = HeadOutputs(together.phonemes[:, :7], together.words[:, :3], together.present[:, :3], together.sentence)
    assert_alike(trimmed, alone)


@torch.inference_mode()
def test_sentences_of_a_batch_do_not_hear_each_other(head: ScoringHead) -> None:
    first, second = a_sentence(), padded(a_sentence(4, 2, seed=1), 3, 1)
    batch = HeadInputs(*(torch.cat(pair) for pair in zip(first, second, strict=True)))
    together = head(batch)
    for row, sentence in enumerate((first, second)):
        assert_alike(HeadOutputs(*(part[row : row + 1] for part in together)), head(sentence))


@torch.inference_mode()
def test_frames_that_only_fill_up_are_not_looked_at(head: ScoringHead) -> None:
    sentence = a_sentence()
    hidden = (1 - sentence.mask)[..., None]
    noise = {name: getattr(sentence, name) + hidden * 3 for name in ("frames", "contour", "log_probs")}
    assert_alike(head(sentence._replace(**noise)), head(sentence))


@torch.inference_mode()
def test_how_loud_a_recording_is_changes_nothing(head: ScoringHead) -> None:
    sentence = a_sentence()
    louder = sentence.contour.clone()
    louder[..., 0] += 0.7
    assert_alike(head(sentence._replace(contour=louder)), head(sentence))


@torch.inference_mode()
def test_the_score_is_the_mean_of_the_members(head: ScoringHead) -> None:
    sentence = a_sentence()
    mean = head(sentence)
    for module in head.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    members = head.train()(sentence)
    assert members.phonemes.shape == (3, 1, 7)
    assert members.sentence.shape == (3, 1, 4)
    assert_alike(HeadOutputs(*(part.mean(dim=0) for part in members)), mean)
    assert not torch.allclose(members.sentence[0], members.sentence[1])


def save_model(folder: Path) -> ElocuteForScoring:
    torch.manual_seed(0)
    config = ElocuteConfig(
        d_model=16, encoder_layers=2, encoder_attention_heads=2, encoder_ffn_dim=32, max_source_positions=50,
        frame_width=WIDTH, head_width=8, head_layers=2, head_members=3,
    )  # fmt: skip
    model = ElocuteForScoring(config)
    model.eval()
    model.save_pretrained(folder)
    return model


@torch.inference_mode()
@pytest.mark.filterwarnings(  # PyTorch's exporter, of itself, and of the one name that several axes share
    "ignore:.isinstance.treespec, LeafSpec:FutureWarning", "ignore:# The axis name:UserWarning"
)
def test_its_graph_says_the_same(tmp_path: Path) -> None:
    model = save_model(tmp_path)
    assert export_head(tmp_path) == tmp_path / HEAD_FILE
    weights = {f"head.{name}": value.numpy() for name, value in model.head.state_dict().items()}
    session: Any = open_session(tmp_path / HEAD_FILE, weights=weights)
    for phonemes, words in ((7, 3), (1, 1), (40, 11)):
        sentence = a_sentence(phonemes, words, seed=phonemes)
        outputs = session.run(HeadOutputs._fields, {k: v.numpy() for k, v in sentence._asdict().items()})
        assert_alike(HeadOutputs(*map(torch.from_numpy, outputs)), model.head(sentence))
    assert (tmp_path / HEAD_FILE).stat().st_size < 500_000, "no weights in it"


@pytest.mark.parametrize("folder", [BUILT_IN_MODEL, FAST_MODEL], ids=lambda folder: folder.name)
@torch.inference_mode()
def test_the_committed_graphs_are_those_of_the_committed_models(folder: Path) -> None:
    model = ElocuteForScoring.from_pretrained(folder, dtype=torch.float32).eval()
    torch.manual_seed(0)
    sentence: HeadInputs = example_inputs(2 * model.config.frame_width, 12, 4)
    weights = {f"head.{name}": value.numpy() for name, value in model.head.state_dict().items()}
    session: Any = open_session(folder / HEAD_FILE, weights=weights)
    outputs = session.run(HeadOutputs._fields, {k: v.numpy() for k, v in sentence._asdict().items()})
    for ours, theirs in zip(outputs, model.head(sentence), strict=True):
        assert np.abs(ours - theirs.numpy()).max() < 1e-3
