"""An epoch's lessons: every recording once, cut and joined so that sound, classes and texts belong together."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from app.core.phonemes import CLASS_IDS
from app.core.pitch import PitchContour, PitchTracker
from tests.training.corpora import make_corpus, make_utterance
from tests.voice import RATE
from training.clip_bank import Augmentation, ClipBank
from training.corpus import load_audio, load_corpus
from training.head_batches import head_inputs
from training.lessons import Lesson, Material, Plan, epoch, in_order, plan_batches
from training.losses import WILDCARD
from training.pitch_tracks import load_pitch
from training.readings import Reading, WrongTexts, reading_of

WORDS = (["G", "R", "IY1", "N"], ["AE1", "P", "AH0", "L", "Z"], ["D", "EY1"], ["T", "ER1", "N"])


def noise_material(seconds: list[float], *, spans: bool = False) -> Material:
    """Recordings of noise, each with another text; if known, each word takes an equal share of the time."""
    rng = np.random.default_rng(0)
    utterances = [make_utterance(*WORDS[: 2 + i % 3], ["EH1"] * (i + 1)) for i in range(len(seconds))]
    clips = [rng.integers(-3000, 3000, int(s * RATE), np.int16) for s in seconds]
    times = [np.arange(0, s, 0.016).astype(np.float32) for s in seconds]
    pitch = [PitchContour(t, np.full(len(t), 200, np.float32)) for t in times]
    edges = [np.linspace(0, len(c), len(u.words) + 1).astype(np.int64) for c, u in zip(clips, utterances, strict=True)]
    known = {i: np.stack([e[:-1], e[1:]], axis=1) for i, e in enumerate(edges)} if spans else {}
    return Material(utterances, ClipBank(clips, torch.device("cpu")), pitch, known)


def texts_of(lessons: list[Lesson]) -> list[Reading]:
    return [reading for lesson in lessons for reading in lesson.readings]


AUGMENTED = Plan(batch_seconds=6.0, augmentation=Augmentation(), unstressed_share=0.0, cut_share=0.0, join_share=0.5)


@settings(max_examples=10, deadline=None)
@given(st.lists(st.floats(0.5, 2.0), min_size=1, max_size=9), st.integers(0, 1000))
def test_every_recording_is_in_one_item(seconds: list[float], seed: int) -> None:
    material = noise_material(seconds)
    lessons = list(epoch(material, AUGMENTED, seed))
    read = sorted(texts_of(lessons), key=lambda reading: len(reading.phonemes) + 100 * len(reading.words))
    whole = [reading_of(utterance) for utterance in material.utterances]
    assert read == sorted(whole, key=lambda reading: len(reading.phonemes) + 100 * len(reading.words))
    for lesson in lessons:
        assert lesson.item_of == sorted(lesson.item_of)
        assert set(lesson.item_of) == set(range(len(lesson.mel)))
        for classes, length in zip(lesson.labels(), lesson.target_lengths.tolist(), strict=True):
            assert len(classes) == length
        assert lesson.targets.tolist() == [c for classes in lesson.labels() for c in classes]
        assert lesson.frames == [(count + 1) // 2 for count in lesson.mel_frames.tolist()]


def test_the_same_seed_gives_the_same_lessons_and_another_others() -> None:
    material = noise_material([0.8, 1.2, 0.6, 1.5, 1.1], spans=True)
    plan = Plan(batch_seconds=4.0, augmentation=Augmentation(), wrong_texts=WrongTexts(), cut_share=0.5)
    first, again, other = (list(epoch(material, plan, seed)) for seed in (1, 1, 2))
    assert len(first) == len(again)
    for one, two in zip(first, again, strict=True):
        assert torch.equal(one.mel, two.mel)
        assert torch.equal(one.targets, two.targets)
        assert [r.phonemes for r in one.readings] == [r.phonemes for r in two.readings]
    assert not torch.equal(first[0].mel.flatten()[:1000], other[0].mel.flatten()[:1000])


@given(st.lists(st.floats(0.3, 20), min_size=1, max_size=60), st.one_of(st.none(), st.integers(0, 99)))
def test_every_recording_is_in_one_batch(durations: list[float], seed: int | None) -> None:
    batches = plan_batches(durations, 40.0, None if seed is None else random.Random(seed))
    assert sorted(i for batch in batches for i in batch) == list(range(len(durations)))
    assert all(len(b) == 1 or max(durations[i] for i in b) * len(b) <= 40.0 + 1e-6 for b in batches)


def test_joined_recordings_are_not_too_long() -> None:
    material = noise_material([0.5, 1.0, 1.5, 1.0, 0.7, 0.9, 1.1])
    plan = Plan(join_share=1.0, join_seconds=2.5)
    (lesson,) = epoch(material, plan, 0)
    assert len(lesson.mel) < 7
    assert lesson.mel_frames.max() <= 250


def test_a_cut_has_the_sound_of_its_words() -> None:
    material = noise_material([3.0] * 6, spans=True)
    texts = [reading_of(utterance).words for utterance in material.utterances]
    cuts = 0
    for lesson in epoch(material, Plan(cut_share=1.0, join_share=0.0), 3):
        for reading, frames, classes in zip(lesson.readings, lesson.mel_frames.tolist(), lesson.labels(), strict=True):
            count = len(reading.words)
            shares = [
                300 / len(text) * count  # each word has an equal share of its recording
                for text in texts
                for first in range(len(text) - count + 1)
                if text[first : first + count] == reading.words
            ]
            assert any(frames == pytest.approx(share, abs=1) for share in shares)
            assert 1 <= count <= 3
            assert len(classes) == len(reading.phonemes)
            assert np.isnan(reading.sentence).all()
            cuts += 1
    assert cuts == len(texts)


def test_what_the_experts_heard_as_wrong_may_be_anything_but_a_voice_said_what_it_said() -> None:
    right, wrong = CLASS_IDS["D"], CLASS_IDS["AY"]
    human = make_utterance(["D", "EY1"], scores=[2.0, 0.2])
    voice = make_utterance(["D", "EY1"], scores=[2.0, 0.2], said=["D", "AY1"])
    clips = [np.zeros(8000, np.int16)] * 2
    silent = PitchContour(np.zeros(0, np.float32), np.zeros(0, np.float32))
    for utterance, expected in ((human, [right, WILDCARD]), (voice, [right, wrong])):
        material = Material([utterance], ClipBank(clips[:1], torch.device("cpu")), [silent], {})
        (lesson,) = epoch(material, Plan(), 0)
        assert lesson.targets.tolist() == expected
        assert lesson.labels() == [[right, CLASS_IDS["EY"]]], "the head reads the text"


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Material:
    folder = make_corpus(tmp_path_factory.mktemp("corpus") / "data", recordings=1)
    corpus = load_corpus(folder)
    clips = load_audio(corpus)
    return Material(corpus, ClipBank(clips, torch.device("cpu")), load_pitch(folder / "p.npz", corpus, clips), {})


def test_in_order_every_recording_comes_as_it_is(material: Material) -> None:
    seen = []
    for numbers, lesson in in_order(material, batch_seconds=6.0):
        seen += numbers
        for row, number in enumerate(numbers):
            assert lesson.readings[row] == reading_of(material.utterances[number])
            assert int(lesson.mel_frames[row]) == material.bank.lengths[number] // 160
            assert lesson.pitch[row][:, 1].any()
    assert sorted(seen) == list(range(len(material.utterances)))


def test_the_head_gets_the_frames_of_each_text_s_phonemes(material: Material) -> None:
    (lesson,) = epoch(material, Plan(join_share=1.0, join_seconds=4.0), 0)
    assert len(lesson.mel) < len(lesson.readings)
    frames = max(lesson.frames)
    log_probs = torch.randn(len(lesson.mel), frames, 40).log_softmax(-1)
    projected = torch.arange(frames).float()[None, :, None].expand(len(lesson.mel), -1, 4)
    segments: list[NDArray[np.int64] | None] = []
    for labels in lesson.labels():
        starts = 2 * np.arange(len(labels))
        segments.append(np.stack([starts, starts + 2, starts]))
    segments[0] = None  # could not be aligned
    inputs, kept = head_inputs(lesson, segments, log_probs, projected)
    assert kept == [i for i, item in enumerate(lesson.item_of) if item != 0]
    start = 0
    for row, number in enumerate(kept):
        reading, item = lesson.readings[number], lesson.item_of[number]
        if number == 0 or lesson.item_of[number - 1] != item:
            start = 0
        count = len(reading.phonemes)
        assert inputs.phoneme[row, :count].tolist() == reading.phonemes
        assert inputs.frames[row, :count, 0, 0].tolist() == [start + 2 * i for i in range(count)]
        assert inputs.mask[row].sum() == 2 * count
        assert torch.equal(inputs.log_probs[row, 0, 0], log_probs[item, start])
        assert torch.equal(inputs.contour[row, 0, 0, 0], lesson.energy[item, start])
        assert inputs.membership[row].sum() == count
        start += 2 * count


def test_pitch_is_tracked_once(material: Material, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = list(material.utterances)
    clips = load_audio(corpus)
    some = load_pitch(tmp_path / "pitch.npz", corpus[:3], clips[:3])
    expected = PitchTracker().track(clips[0].astype(np.float32) / 32768.0)
    assert np.array_equal(some[0].hz, expected.hz)
    assert np.array_equal(some[0].times, expected.times)
    load_pitch(tmp_path / "pitch.npz", corpus, clips)
    monkeypatch.setattr("training.pitch_tracks.PitchTracker", None)
    again = load_pitch(tmp_path / "pitch.npz", corpus[::-1], clips[::-1])
    assert np.array_equal(again[-1].hz, expected.hz)
