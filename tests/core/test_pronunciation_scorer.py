"""Scores of real audio through the real models: right is high, wrong is low, and says where."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from threading import Event

import numpy as np
import pytest
from numpy.typing import NDArray

from app.core.phonemes import PHONEMES, ipa
from app.core.results import AnalysisRequest, AnalysisResult
from app.core.settings import Settings
from app.routers.handlers.audio_processing_handler import AudioProcessingHandler
from tests.voice import encode, say, silence

SENTENCE = "She bought seven green apples from the market."


def analyze(
    pipeline: AudioProcessingHandler,
    waveform: NDArray[np.float32],
    text: str | None,
    pronunciations: list[list[str] | None] | None = None,
) -> AnalysisResult:
    result = pipeline.analyze(AnalysisRequest(encode(waveform), text, pronunciations, "id"), Event())
    check(result)
    return result


def check(result: AnalysisResult) -> None:
    """What holds for every answer."""
    for word in result.words:
        assert (word.start is None) == (word.error_type == "omission")
        assert (word.heard_phonemes is None) == (word.error_type == "none")
        assert (word.heard_phonemes == []) == (word.error_type == "omission")
        assert set(word.heard_phonemes or []) <= set(PHONEMES)
        for phoneme in word.phonemes:
            assert 0 <= phoneme.score <= 100
            if word.start is not None and word.end is not None:
                assert phoneme.start is not None
                assert phoneme.end is not None
                assert word.start <= phoneme.start < phoneme.end <= word.end
                assert len(phoneme.heard) == 3
                probabilities = [h.probability for h in phoneme.heard]
                assert probabilities == sorted(probabilities, reverse=True)
                assert sum(probabilities) <= 1 + 1e-4
    starts = [word.start for word in result.words if word.start is not None]
    assert starts == sorted(starts)
    assert all(0 <= s.start < s.end <= result.audio.duration + 1e-6 for s in result.phonemes)
    for score in (result.scores.pronunciation, result.scores.fluency, result.scores.prosody):
        assert score is None or 0 <= score <= 100


def test_the_right_text_scores_well(pipeline: AudioProcessingHandler) -> None:
    result = analyze(pipeline, say(SENTENCE), SENTENCE)
    assert [w.word for w in result.words] == ["She", "bought", "seven", "green", "apples", "from", "the", "market"]
    assert {w.error_type for w in result.words} <= {"none", "mispronunciation"}
    assert result.scores.completeness == 100
    assert result.scores.pronunciation is not None
    assert result.scores.pronunciation > 75
    assert result.mode == "scripted"
    assert result.models.phoneme == "elocute-base-int8"


@pytest.fixture(scope="module")
def small() -> Iterator[AudioProcessingHandler]:
    handler = AudioProcessingHandler(Settings(_env_file=None, use_fast_models=True, mispronounced_below=40))
    handler.load()
    yield handler
    handler.close()


def test_the_fast_model_does_the_same(small: AudioProcessingHandler) -> None:
    right = analyze(small, say(SENTENCE), SENTENCE)
    assert right.models.phoneme == "elocute-fast-int8"
    assert right.scores.pronunciation is not None
    assert right.scores.pronunciation > 75
    wrong = analyze(small, say("Please turn light at the next corner."), "Please turn right at the next corner.")
    assert min(wrong.words[2].phonemes, key=lambda phoneme: phoneme.score).phoneme == "R"
    assert wrong.words[2].error_type == "mispronunciation"


def test_the_bound_of_a_mispronunciation_is_a_setting() -> None:
    lenient = AudioProcessingHandler(Settings(_env_file=None, mispronounced_below=0))
    result = analyze(lenient, say("Please turn light at the next corner."), "Please turn right at the next corner.")
    assert {word.error_type for word in result.words} == {"none"}
    lenient.close()


def test_another_sentence_scores_far_lower(pipeline: AudioProcessingHandler) -> None:
    right = analyze(pipeline, say(SENTENCE), SENTENCE)
    other = analyze(pipeline, say(SENTENCE), "Yesterday his uncle drove us to work.")
    assert other.scores.pronunciation is not None
    assert right.scores.pronunciation is not None
    assert other.scores.pronunciation < 35 < right.scores.pronunciation
    assert sum(w.error_type in ("omission", "mispronunciation") for w in other.words) >= 5


@pytest.mark.parametrize(
    ("spoken", "meant", "at", "phoneme", "heard"),
    [
        ("Please turn light at the next corner.", "Please turn right at the next corner.", 2, "R", "L"),
        ("Please say vine again.", "Please say wine again.", 2, "W", "V"),
        ("Please say cold again.", "Please say gold again.", 2, "G", "K"),
        ("Please say fan again.", "Please say van again.", 2, "V", "F"),
    ],
)
def test_a_wrong_phoneme_is_found_and_named(
    pipeline: AudioProcessingHandler, spoken: str, meant: str, at: int, phoneme: str, heard: str
) -> None:
    wrong = analyze(pipeline, say(spoken), meant).words[at].phonemes[0]
    right = analyze(pipeline, say(meant), meant).words[at].phonemes[0]
    assert wrong.phoneme == right.phoneme == phoneme
    assert wrong.heard[0].phoneme == heard
    assert wrong.score < right.score - 15


def test_a_word_with_an_error_comes_with_what_was_said_instead(pipeline: AudioProcessingHandler) -> None:
    result = analyze(pipeline, say("Please turn light at the next corner."), "Please turn right at the next corner.")
    assert result.words[2].error_type == "mispronunciation"
    assert result.words[2].heard_phonemes == ["L", "AY", "T"]
    assert any(word.heard_phonemes is None for word in result.words)


def test_a_phoneme_left_out_of_a_word_is_not_in_what_was_said(pipeline: AudioProcessingHandler) -> None:
    result = analyze(pipeline, say("Please say boo again."), "Please say boot again.")
    assert result.words[2].error_type == "mispronunciation"
    assert result.words[2].heard_phonemes == ["B", "UW"]


def test_words_left_out_are_omissions(pipeline: AudioProcessingHandler) -> None:
    result = analyze(pipeline, say("She bought apples from the market."), SENTENCE)
    assert [w.word for w in result.words if w.error_type == "omission"] == ["seven", "green"]
    assert all(w.scores.total == 0 for w in result.words if w.error_type == "omission")
    assert result.scores.completeness == pytest.approx(75)


def test_stopping_halfway_leaves_out_the_rest(pipeline: AudioProcessingHandler) -> None:
    result = analyze(pipeline, say("She bought seven green"), SENTENCE)
    kinds = [w.error_type == "omission" for w in result.words if w.error_type != "insertion"]
    assert kinds == [False] * 4 + [True] * 4


def test_words_beyond_the_text_are_insertions(pipeline: AudioProcessingHandler) -> None:
    speech = np.concatenate([say("My brother works here."), silence(0.3), say(SENTENCE)])
    result = analyze(pipeline, speech, SENTENCE)
    first = result.words[0]
    assert first.error_type == "insertion"
    assert first.word.startswith("/")
    assert first.word.endswith("/")
    assert first.phonemes == []
    assert first.heard_phonemes
    assert first.word == f"/{''.join(ipa(phoneme) for phoneme in first.heard_phonemes)}/"
    assert [w.error_type for w in result.words[1:]].count("omission") == 0


def test_given_pronunciations_are_what_is_scored(pipeline: AudioProcessingHandler) -> None:
    pronunciations: list[list[str] | None] = [None, None, ["L", "AY1", "T"], None, None, None]
    result = analyze(
        pipeline, say("Please turn light at the corner."), "Please turn right at the corner.", pronunciations
    )
    word = result.words[2]
    assert [p.phoneme for p in word.phonemes] == ["L", "AY", "T"]
    assert [p.stress for p in word.phonemes] == [None, 1, None]
    assert word.scores.total > 80


def test_without_a_text_the_fluency_alone_is_scored(pipeline: AudioProcessingHandler) -> None:
    result = analyze(pipeline, say(SENTENCE), None)
    assert result.mode == "unscripted"
    assert result.words == []
    assert result.scores.fluency is not None
    assert result.scores.pronunciation is result.scores.accuracy is None
    assert result.scores.completeness is result.scores.prosody is None
    assert len(result.phonemes) > 20


def test_a_long_pause_is_reported_and_costs_fluency(pipeline: AudioProcessingHandler) -> None:
    halves = say("She bought seven green"), say("apples from the market.")
    fluent = analyze(pipeline, np.concatenate([halves[0], halves[1]]), SENTENCE)
    halting = analyze(pipeline, np.concatenate([halves[0], silence(2.0), halves[1]]), SENTENCE)
    assert any(p.end - p.start > 1.5 for p in halting.fluency.pauses)
    assert fluent.scores.fluency is not None
    assert halting.scores.fluency is not None
    assert halting.scores.fluency < fluent.scores.fluency - 5


def test_noise_without_speech_leaves_everything_out(pipeline: AudioProcessingHandler) -> None:
    noise = np.random.default_rng(0).normal(0, 0.05, 16_000).astype(np.float32)
    result = analyze(pipeline, noise, SENTENCE)
    assert sum(w.error_type == "omission" for w in result.words) > len(result.words) / 2
    assert result.scores.pronunciation is not None
    assert result.scores.pronunciation < 20


def test_a_long_recording_scores_as_its_parts_do(pipeline: AudioProcessingHandler) -> None:
    """35 s, longer than one window of the model."""
    sentences = [SENTENCE, "My brother works in a large office near the river."]
    parts = [np.concatenate([say(s), silence(0.3)]) for s in sentences]
    order = [i % 2 for i in range(12)]
    single = [[w.scores.total for w in analyze(pipeline, p, s).words] for p, s in zip(parts, sentences, strict=True)]
    whole = analyze(pipeline, np.concatenate([parts[i] for i in order]), " ".join(sentences[i] for i in order))
    assert whole.audio.duration > 30
    totals = [w.scores.total for w in whole.words if w.error_type != "insertion"]
    expected = list(itertools.chain.from_iterable(single[i] for i in order))
    assert len(totals) == len(expected)
    assert float(np.mean(np.abs(np.array(totals) - expected))) < 6
