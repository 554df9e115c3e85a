"""The comparison of voices: its counting, and a run of it with the voice that is always there."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from app.core.lexicon import Lexicon
from app.core.phonemes import PHONEMES, VOWELS
from app.core.phrasing import phrases_of_text
from app.core.voice import PhraseWord
from benchmarks import voices
from benchmarks.candidate_voices import CANDIDATES, Sentence, espeak_ipa
from benchmarks.voice_process import Cost, measure
from benchmarks.whisper_ear import word_errors


@pytest.mark.parametrize(
    ("text", "heard", "errors", "words"),
    [
        ("Where is it?", "where is it", 0, 3),
        ("I'll pay $4.50, Dr. Brown.", "I will pay four dollars and fifty cents, Doctor Brown", 0, 6),
        ("It is on October 21st.", "It is on October twenty-first.", 0, 5),
        ("a cup of tea", "a cap of tea", 1, 4),
        ("a cup of tea", "cup of green tea", 2, 4),
        ("a cup of tea", "", 4, 4),
    ],
)
def test_word_errors_are_those_of_the_words_not_of_the_spelling(text: str, heard: str, errors: int, words: int) -> None:
    assert word_errors(text, heard) == (errors, words)


def test_the_interval_holds_the_rate_and_is_a_point_where_all_sentences_are_alike() -> None:
    assert voices.bootstrap([1] * 30, [10] * 30) == pytest.approx((0.1, 0.1))
    low, high = voices.bootstrap([0] * 25 + [2] * 5, [10] * 30)
    assert 0 <= low < 10 / 300 < high < 0.1


def test_espeak_ipa_marks_stress_before_the_vowel_and_reduces_what_has_none() -> None:
    words = (
        PhraseWord("about", ("AH", "B", "AW", "T"), (0, None, 1, None), ","),
        PhraseWord("her", ("HH", "ER"), (None, None), "."),
    )
    assert espeak_ipa(words) == "əbˈaʊt, hɜː."
    for phoneme in PHONEMES:
        stress = 1 if phoneme in VOWELS else None
        assert espeak_ipa((PhraseWord(None, (phoneme,), (stress,)),))


def test_a_voice_is_measured_in_a_process_of_its_own(tmp_path: Path) -> None:
    text = "Is it a window seat, please?"
    sentence = Sentence(text, phrases_of_text(text, Lexicon().words(text)))
    cost, (signal,) = measure(CANDIDATES[0], [sentence], 2, tmp_path)
    assert signal.dtype == np.float32
    assert len(signal) / cost.sample_rate == pytest.approx(cost.seconds)
    assert 1 < cost.seconds < 4
    assert len(cost.rounds) == 2
    assert min(cost.rounds) <= cost.real_time_factor <= max(cost.rounds)
    assert 7 < cost.weights_mb < 9
    assert 0 < cost.rss_mb < 100


def report(errors: int | None) -> voices.Report:
    heard = voices.Heard("A cup of tea.", None if errors is None else "a cap", errors, 4, 2, 8, 1, 10, 80.0, 10.0)
    return voices.Report(CANDIDATES[0], Cost(0.01, [0.01], 20.0, 7.6, 24_000, 2.0), [heard])


def test_the_table_and_the_list_of_failures_tell_what_was_misheard() -> None:
    table = voices.table([report(2), report(None)]).splitlines()
    assert len({line.count("|") for line in table}) == 1
    assert "50.0 %" in table[2]
    assert "0.250, 0.100" in table[2]
    assert "50.0 %" not in table[3]
    assert "heard as: a cap" in voices.failures([report(2)])


def test_without_the_other_voices_and_the_ear_it_says_how_to_get_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("benchmarks.whisper_ear.installed", lambda: False)
    monkeypatch.setattr("benchmarks.voices.compare", lambda *_: [report(None)])
    monkeypatch.setattr(sys, "argv", ["voices", "--json", str(tmp_path / "v.json"), "--plot", str(tmp_path / "v.png")])
    voices.main()
    said = capsys.readouterr().out
    assert "apt-get install flite" in said
    assert "pip install --no-deps faster-whisper" in said
    (written,) = json.loads((tmp_path / "v.json").read_text(encoding="utf-8"))
    assert written["phoneme_error_rate"] == 0.25
    assert (tmp_path / "v.png").stat().st_size > 1000
