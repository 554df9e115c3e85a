"""The one command: every step once, in order, and none again that is done."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from app.core.score_calibration import CALIBRATION_FILE
from training import __main__ as everything


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What is run; each command leaves what the real one does."""
    made: list[list[str]] = []

    def run(module: str, *arguments: str | Path) -> None:
        words = [module, *map(str, arguments)]
        made.append(words)
        if module == "make_speech":
            (tmp_path / "speech").mkdir()
            (tmp_path / "speech" / "labels.jsonl").touch()
        if module == "train_model":
            (Path(words[words.index("--out") + 1]) / "model").mkdir(parents=True)
        if module == "export_graph":
            (Path(words[1]) / "head.onnx").touch()
        if module == "calibrate":
            (Path(words[words.index("--model") + 1]) / CALIBRATION_FILE).touch()

    monkeypatch.setattr(everything, "run", run)
    monkeypatch.setattr(sys, "argv", ["training", "--data", "D", "--base", "B", "--fast", "F", "--out", str(tmp_path)])
    return made


def test_every_model_is_trained_once_and_the_fast_ones_by_their_teachers(
    commands: list[list[str]], tmp_path: Path
) -> None:
    everything.main()
    trained = [words for words in commands if words[0] == "train_model"]
    assert len(trained) == 12
    for words in trained:
        name = Path(words[words.index("--out") + 1]).name
        fold = name.removeprefix("base").removeprefix("fast")
        assert ("--fold" in words) == bool(fold)
        if fold:
            assert words[words.index("--fold") + 1] == fold
        if name.startswith("fast"):
            assert Path(words[words.index("--teacher") + 1]) == tmp_path / "models" / f"base{fold}"
    assert [words[0] for words in commands if words[0] in ("score_folds", "calibrate", "report")] == [
        "score_folds", "calibrate", "report",
        "score_folds", "calibrate", "report",
    ]  # fmt: skip
    assert all((tmp_path / "models" / f"base{k}" / CALIBRATION_FILE).exists() for k in range(5))


def test_what_is_there_is_not_made_again(commands: list[list[str]]) -> None:
    everything.main()
    before = len(commands)
    everything.main()
    assert {words[0] for words in commands[before:]} == {"score_folds", "calibrate", "report"}
