"""The command that compares the costs of a reading: it changes words as it says, and counts what is found."""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rapidfuzz.distance import Levenshtein

from app.core.acoustic_engine import load_engine
from app.core.lexicon import Lexicon
from app.core.phonemes import PHONEMES
from app.core.pronunciation import parse_pronunciation
from app.core.voice import load_voice
from training import tune_reading
from training.tune_reading import KINDS, Case, Figures, Studio, changed, measure

TEXTS = ["please turn right", "my brother works here", "a big green bear", "film"]


def case(said: list[int], expected: list[int]) -> Case:
    return Case(said, expected, np.zeros((0, 40), np.float32), [], [])


@given(
    st.lists(st.sampled_from(PHONEMES), min_size=2, max_size=8), st.sampled_from(sorted(set(KINDS))), st.integers(0, 99)
)
def test_a_word_is_changed_in_one_place(symbols: list[str], kind: str, seed: int) -> None:
    right = parse_pronunciation(symbols)
    said = changed(right, kind, random.Random(seed))
    tags = [tag for tag, *_ in Levenshtein.editops(right.phonemes, said.phonemes).as_list()]
    assert len(tags) == (kind != "none")
    assert len(said.phonemes) == len(said.stresses)
    if kind == "left out" and len(symbols) > 2:
        assert tags == ["delete"]
    if kind == "put in":
        assert tags in (["insert"], ["replace"])


def test_what_is_found_is_counted() -> None:
    cases = [case([1, 9, 3], [1, 2, 3]), case([1, 3], [1, 2, 3]), case([4, 5], [4, 5])]
    assert measure(cases, lambda c: c.said) == Figures(1, 1, 1, 1, 1)
    assert measure(cases, lambda c: c.expected) == Figures(0, 0, 0, 0, 1)
    assert measure(cases, lambda _: [1, 9, 3]) == Figures(0.5, 0.5, 0.5, 0.5, 0)


def test_words_are_spoken_as_changed_the_same_each_time() -> None:
    studio = Studio(Lexicon(), load_voice(), load_engine(None, quantized=True))
    first, again = (studio.make_cases(TEXTS, random.Random(3)) for _ in range(2))
    assert [(c.said, c.expected, c.decoded, c.segments) for c in first] == [
        (c.said, c.expected, c.decoded, c.segments) for c in again
    ]
    assert len(first) >= 3
    for one in first:
        assert Levenshtein.distance(one.said, one.expected) <= 1
        assert len(one.segments) == len(one.expected)


def test_the_command_prints_a_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kinds = ("accuracy", "completeness", "fluency", "prosodic", "total")
    records = [
        {"utterance": str(n), "speaker": str(n), "age": 9, "text": text.upper(), "words": [], **dict.fromkeys(kinds, 9)}
        for n, text in enumerate(TEXTS)
    ]
    (tmp_path / "labels.jsonl").write_text("\n".join(map(json.dumps, records)), encoding="utf-8")
    monkeypatch.setattr(tune_reading, "GRID", {"replaced": (1.0, 3.0), "left_out": (4.0,), "put_in": (3.0,)})
    monkeypatch.setattr(sys, "argv", ["tune_reading", "--data", str(tmp_path), "--words", "3"])
    tune_reading.main()
    table = capsys.readouterr().out.splitlines()
    assert "changed and" in table[0]
    assert [line.split("  ")[-1].strip() for line in table[2:4]] == [
        "the free decode",
        "the most probable phoneme of each segment",
    ]
    assert "as it is: replaced" in table[4]
    assert len(table) == 7
