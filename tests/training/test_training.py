"""The command that makes the model, on data that the test makes: a few sentences and a Whisper of no size."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.core.acoustic_engine import AcousticEngine
from app.core.alignment import Penalties, align
from app.core.head_scorer import HeadScorer
from app.core.onnx_engine import OnnxEngine
from app.core.phonemes import CLASS_IDS, CLASSES
from app.core.pitch import PitchTracker
from app.core.pronunciation_scorer import SpokenText
from app.core.rule_scorer import RuleScorer
from app.core.score_calibration import CALIBRATION_FILE
from app.core.score_rules import load_rules
from app.core.torch_engine import TorchEngine
from tests.training.corpora import TEXTS, make_corpus, make_whisper
from tests.voice import say
from training import train_model
from training.calibrate import NEUTRAL, to_json
from training.corpus import fold_of_speakers, load_audio, load_corpus, split_by_speaker
from training.export_graph import export_graph, export_head
from training.listening import corpus_words, listen
from training.train_model import train
from training.trainer import Recipe, Trainer

RECIPE = Recipe(
    acoustic_epochs=8,
    joint_epochs=3,
    encoder_lr=1e-2,
    ctc_head_lr=1e-1,
    head_lr=1e-2,
    warmup_steps=1,
    head_width=8,
    head_layers=1,
    head_members=2,
)
HELD = 4  # the fold of two speakers; the others have one each


class Stop(Exception):
    """In the middle of a run."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_corpus(tmp_path_factory.mktemp("data") / "corpus")


@pytest.fixture(scope="module")
def whisper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_whisper(tmp_path_factory.mktemp("whisper"))


@pytest.fixture(scope="module")
def run(data: Path, whisper: Path) -> Callable[..., list[dict[str, Any]]]:
    """Train, and the rows of the log."""

    def run(out: Path, recipe: Recipe = RECIPE, **given: Any) -> list[dict[str, Any]]:
        train(recipe, data=data, encoder=str(whisper), out=out, pitch=data / "pitch.npz", **given)
        return rows_of(out)

    return run


def rows_of(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "log.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def trained(run: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a whole run."""
    out = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("training.trainer.SAVE_SECONDS", -1)
        run(out, fold=HELD)
    return out


def test_the_loss_falls(trained: Path) -> None:
    rows = rows_of(trained)
    assert [row["epoch"] for row in rows] == list(range(1, 12))
    assert [row["joint"] for row in rows] == [False] * 8 + [True] * 3
    losses = [row["loss"] for row in rows]
    assert max(losses[6:8]) < 0.95 * losses[0], "even here, where every epoch is distorted in another way"
    assert losses[10] < 0.8 * losses[8]


def test_the_speakers_held_out_are_scored(trained: Path, data: Path) -> None:
    corpus = load_corpus(data)
    folds = fold_of_speakers(corpus)
    held = [u for u in corpus if folds[u.speaker] == HELD]
    with np.load(trained / "held.npz") as stored:
        table = dict(stored)
    assert table["names"].tolist() == [u.utterance for u in held]
    assert table["per"][1] == sum(len(u.phoneme_ids) for u in held)
    assert np.isfinite(table["word"]).all()
    assert table["word"].shape == table["word_expert"].shape == (sum(len(u.words) for u in held), 3)
    for number, utterance in enumerate(held):
        experts = table["phoneme_expert"][table["phoneme_of"] == number]
        assert experts == pytest.approx(np.array(utterance.phoneme_scores) / 2)
        scores = [utterance.scores[kind] for kind in ("accuracy", "fluency", "prosodic", "total")]
        assert table["sentence_expert"][table["sentence_of"] == number][0] == pytest.approx(np.array(scores) / 10)


def test_an_interrupted_run_goes_on_and_a_finished_one_has_nothing_to_do(
    run: Callable[..., list[dict[str, Any]]], trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.trainer.SAVE_SECONDS", -1)
    save = Trainer.save

    def save_and_stop(trainer: Trainer) -> None:
        save(trainer)
        if trainer.epoch == 2:
            raise Stop

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "save", save_and_stop)
        with pytest.raises(Stop):
            run(tmp_path, fold=HELD)
    assert len(rows_of(tmp_path)) == 2
    assert not (tmp_path / "model").exists()
    rows = run(tmp_path, fold=HELD)
    assert [row["loss"] for row in rows] == pytest.approx([row["loss"] for row in rows_of(trained)], rel=1e-3)
    assert run(tmp_path, fold=HELD) == rows
    assert not (tmp_path / "checkpoint.part").exists()


def test_another_recipe_is_refused(run: Callable[..., Any], trained: Path) -> None:
    with pytest.raises(ValueError, match="another recipe"):
        run(trained, replace(RECIPE, joint_epochs=4), fold=HELD)


def test_a_trained_model_teaches_another(
    run: Callable[..., list[dict[str, Any]]], trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.trainer.SAVE_SECONDS", -1)
    recipe = replace(RECIPE, acoustic_epochs=4, joint_epochs=2)
    rows = run(tmp_path, recipe, teacher=trained / "model")
    assert all(math.isfinite(row["loss"]) for row in rows)
    assert rows[3]["loss"] < rows[0]["loss"]
    assert run(tmp_path, recipe, teacher=trained / "model") == rows, "its bridge is in the checkpoint too"
    assert not (tmp_path / "held.npz").exists(), "nobody was held out"


@pytest.fixture(scope="module")
def model(trained: Path) -> Path:
    """A model with all that the service wants."""
    folder = trained / "model"
    export_graph(folder)
    export_head(folder)
    (folder / CALIBRATION_FILE).write_text(json.dumps(to_json(NEUTRAL)), encoding="utf-8")
    return folder


def hear_all_words(engine: AcousticEngine, data: Path) -> SpokenText:
    """A recording of the corpus in which no word is taken for an omission, little as the model knows."""
    utterance = load_corpus(data)[0]
    (clip,) = load_audio([utterance])
    waveform = clip.astype(np.float32) / 32768.0
    spoken = listen(engine, waveform, corpus_words(utterance), PitchTracker().track(waveform))
    words = [[[CLASS_IDS[p] for p in c.phonemes] for c in word.pronunciations] for word in spoken.words]
    return replace(spoken, alignment=align(spoken.posteriors.log_probs, words, Penalties(1e4, 0, 1e5, 0)))


@pytest.mark.filterwarnings(  # PyTorch's exporter, of itself, and of the one name that several axes share
    "ignore:.isinstance.treespec, LeafSpec:FutureWarning", "ignore:# The axis name:UserWarning"
)
def test_the_model_serves(model: Path, data: Path) -> None:
    scorer = HeadScorer(model, RuleScorer(load_rules()))
    engines = (TorchEngine(model, bfloat16=False), OnnxEngine(model))
    for engine in engines:
        posteriors = engine.posteriors(say(TEXTS[0]))
        assert posteriors.log_probs.shape[1] == len(CLASSES)
        assert posteriors.frames is not None
        assert len(posteriors.frames) == len(posteriors.log_probs)
        assert engine.head_folder == model
        spoken = hear_all_words(engine, data)
        words, sentence = scorer.score(spoken)
        assert [word.word for word in words if word.error_type != "insertion"] == [w.text for w in spoken.words]
        assert all(word.error_type != "omission" for word in words)
        scores = [p.score for word in words for p in word.phonemes]
        assert 0 <= min(scores) < max(scores) <= 100
        assert sentence.completeness == 100
    theirs, ours = (scorer.outputs(hear_all_words(engine, data)) for engine in engines)
    assert ours.sentence == pytest.approx(theirs.sentence, abs=0.1), "int8 is near full precision"


def test_the_command_takes_every_field_of_the_recipe(
    monkeypatch: pytest.MonkeyPatch, data: Path, tmp_path: Path
) -> None:
    given: dict[str, Any] = {}
    monkeypatch.setattr(train_model, "train", lambda recipe, **others: given.update(others, recipe=recipe))
    monkeypatch.setattr(
        sys, "argv", ["train_model", "--data", str(data), "--encoder", "e", "--out", str(tmp_path), "--head-lr", "0.5"]
    )
    train_model.main()
    assert given["recipe"] == Recipe(head_lr=0.5)
    assert (given["data"], given["encoder"], given["out"]) == (data, "e", tmp_path)
    assert given["teacher"] is given["speech"] is given["fold"] is None


def test_the_split_shares_no_speaker(data: Path) -> None:
    corpus = load_corpus(data)
    fit, dev = split_by_speaker(corpus, dev_speakers=2)
    assert {u.speaker for u in fit}.isdisjoint(u.speaker for u in dev)
    assert len({u.speaker for u in dev}) == 2
    again = split_by_speaker(list(reversed(corpus)), dev_speakers=2)[1]
    assert {u.utterance for u in again} == {u.utterance for u in dev}
    assert len(load_audio(dev)) == len(dev)
