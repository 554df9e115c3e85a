"""The commands that made the model, on data that the test makes: a few sentences and a Whisper of no size."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import WhisperConfig, WhisperModel

from app.core.lexicon import Lexicon
from app.core.torch_engine import TorchEngine
from tests.voice import RATE, say
from training.acoustic_batches import WILDCARD, Batch, join_items, plan_batches, target_classes, wildcard_ctc_loss
from training.corpus import Utterance, load_audio, load_corpus, split_by_speaker
from training.phoneme_errors import greedy_classes, phoneme_error_rate
from training.train_acoustic import Recipe, train

TEXTS = ["we call it bear", "she sells apples", "turn right here", "my brother works", "green leaves", "a good day"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus folder of six speakers, in the layout of the real one."""
    folder = tmp_path_factory.mktemp("corpus")
    (folder / "audio").mkdir()
    lexicon, lines = Lexicon(), []
    for number, text in enumerate(TEXTS):
        words = []
        for word in lexicon.words(text):
            said = word.pronunciations[0]
            phones = [p + ("" if s is None else str(s)) for p, s in zip(said.phonemes, said.stresses, strict=True)]
            scores = [2.0] * (len(phones) - 1) + [0.2]
            words.append(
                {
                    "text": word.text,
                    "phones": phones,
                    "phone_accuracy": scores,
                    "accuracy": 9.0,
                    "stress": 10.0,
                    "total": 9.0,
                }
            )
        kinds = {"accuracy": 9.0, "completeness": 10.0, "fluency": 8.0, "prosodic": 8.0, "total": 8.5}
        record = {
            "utterance": f"{number:05d}",
            "speaker": str(number),
            "age": 8 + 4 * number,
            "text": text,
            "words": words,
        }
        lines.append(json.dumps(record | kinds))
        soundfile.write(folder / "audio" / f"{number:05d}.flac", say(text), RATE)
    (folder / "labels.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def whisper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whisper")
    config = WhisperConfig(
        d_model=16, encoder_layers=2, encoder_attention_heads=2, encoder_ffn_dim=32, decoder_layers=1,
        decoder_attention_heads=2, decoder_ffn_dim=32, vocab_size=64, pad_token_id=0, bos_token_id=0, eos_token_id=0,
        decoder_start_token_id=0, suppress_tokens=None, begin_suppress_tokens=None,
    )  # fmt: skip
    WhisperModel(config).save_pretrained(folder)
    return folder


@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step")
def test_training_learns_is_resumed_and_its_model_serves(
    data: Path, whisper: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.train_acoustic.split_by_speaker", lambda corpus: (corpus[:4], corpus[4:]))
    recipe = Recipe(epochs=2, batch_seconds=8.0, intermediate_layer=1, warmup_steps=2, join_seconds=6.0)
    folder = train(data, str(whisper), tmp_path / "run", recipe)
    log = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in log] == [1, 2]
    assert log[1]["loss"] < log[0]["loss"]
    assert train(data, str(whisper), tmp_path / "run", recipe) == folder  # nothing left to do
    assert len((tmp_path / "run" / "log.jsonl").read_text().splitlines()) == 2
    with pytest.raises(ValueError, match="another recipe"):
        train(data, str(whisper), tmp_path / "run", Recipe(epochs=3))
    posteriors = TorchEngine(folder).posteriors(say(TEXTS[0]))
    assert posteriors.log_probs.shape[1] == 40
    assert posteriors.hidden.shape[1] == 16


def test_the_split_shares_no_speaker(data: Path) -> None:
    corpus = load_corpus(data)
    fit, dev = split_by_speaker(corpus, dev_speakers=2)
    assert {u.speaker for u in fit}.isdisjoint(u.speaker for u in dev)
    assert len({u.speaker for u in dev}) == 2
    again = split_by_speaker(list(reversed(corpus)), dev_speakers=2)[1]
    assert {u.utterance for u in again} == {u.utterance for u in dev}
    assert len(load_audio(dev)) == len(dev)


def test_a_phoneme_the_experts_heard_as_wrong_is_a_wildcard(data: Path) -> None:
    utterance = load_corpus(data)[0]
    targets = target_classes(utterance, 0.5)
    assert targets.count(WILDCARD) == len(utterance.words)
    assert target_classes(utterance, 0.0) == utterance.phoneme_ids


def batch_of(targets: list[list[int]]) -> Batch:
    return Batch(
        features=torch.zeros(0),
        lengths=torch.zeros(0),
        targets=torch.tensor([t for target in targets for t in target]),
        target_lengths=torch.tensor([len(target) for target in targets]),
    )


def test_without_wildcards_the_loss_is_plain_ctc() -> None:
    torch.manual_seed(0)
    log_probs = torch.randn(2, 20, 40).log_softmax(-1)
    lengths, batch = torch.tensor([20, 15]), batch_of([[1, 2, 2], [5, 7]])
    plain = torch.nn.functional.ctc_loss(
        log_probs.transpose(0, 1), batch.targets, lengths, batch.target_lengths, reduction="none"
    )
    expected = (plain / batch.target_lengths).mean()
    assert wildcard_ctc_loss(log_probs, lengths, batch).item() == pytest.approx(expected.item(), rel=1e-4)


def test_a_wildcard_costs_little_whatever_is_there() -> None:
    frames = [1, 0, 9, 0, 3, 0]
    logits = torch.full((1, 6, 40), -8.0)
    logits[0, torch.arange(6), torch.tensor(frames)] = 4.0
    log_probs, lengths = logits.log_softmax(-1), torch.tensor([6])
    wrong = wildcard_ctc_loss(log_probs, lengths, batch_of([[1, 2, 3]]))
    wild = wildcard_ctc_loss(log_probs, lengths, batch_of([[1, WILDCARD, 3]]))
    right = wildcard_ctc_loss(log_probs, lengths, batch_of([[1, 9, 3]]))
    assert right < 0.1
    assert wild < 1.0 < wrong


@given(st.lists(st.floats(0.3, 20), min_size=1, max_size=60), st.sampled_from([0.0, 10.0, 28.0]), st.integers(0, 99))
def test_every_recording_is_in_one_item_and_one_batch(durations: list[float], longest: float, seed: int) -> None:
    rng = random.Random(seed)
    items = join_items(durations, longest, rng)
    assert sorted(i for item in items for i in item) == list(range(len(durations)))
    lengths = [sum(durations[i] for i in item) for item in items]
    assert all(len(item) == 1 or length <= longest + 1e-6 for item, length in zip(items, lengths, strict=True))
    batches = plan_batches(lengths, 40.0, rng)
    assert sorted(i for batch in batches for i in batch) == list(range(len(items)))
    assert all(len(b) == 1 or max(lengths[i] for i in b) * len(b) <= 40.0 + 1e-6 for b in batches)


def test_the_error_rate_counts_edits() -> None:
    word = {"phones": ["K", "AE1", "T"], "phone_accuracy": [2, 2, 2]}
    utterance = Utterance("u", "s", 9, "cat", {}, [word], Path("none.flac"))
    ids = utterance.phoneme_ids
    assert phoneme_error_rate([utterance], [ids]) == 0
    assert phoneme_error_rate([utterance], [ids[:2]]) == pytest.approx(1 / 3)
    assert greedy_classes([0, 4, 4, 0, 4, 5, 5, 0]) == [4, 4, 5]
    assert np.isfinite(utterance.phoneme_scores).all()
