"""Everything from the corpus to the committed models, one step after the other; a step that is done is not done again.

    python -m training --data DATA --base WHISPER_BASE --fast WHISPER_TINY [--out runs] [--device cuda]

1. Speech of the built-in voice with known mispronunciations.
2. For each fold, and then on all speakers: the base model, and the fast one that it teaches.
3. The scores of each speaker by the models that have not heard them, the calibration from these, and the report.

Minutes for each model on a GPU, hours on a processor. ``OUT/models`` has ``base`` and ``fast``, ready for
``PHONEME_MODEL`` or to be copied to ``app/models/elocute-base`` and ``-fast``, and the models of the folds, ``base0``
to ``fast4``.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from app.core.score_calibration import CALIBRATION_FILE
from training.corpus import FOLDS

FAST_RECIPE = ("--acoustic-epochs", "8", "--joint-epochs", "6", "--encoder-lr", "1.5e-4", "--joint-encoder-lr", "8e-5")


def run(module: str, *arguments: str | Path) -> None:
    """Run one of the training commands.

    Raises:
        CalledProcessError: it failed.
    """
    command = [sys.executable, "-m", f"training.{module}", *map(str, arguments)]
    print("$", *command[1:], flush=True)
    subprocess.run(command, check=True)  # noqa: S603 - our own modules


def train_model(out: Path, name: str, arguments: Sequence[str | Path]) -> Path:
    """Train one model and put it in ``out/models``, unless it is there."""
    folder = out / "models" / name
    if not (folder / "head.onnx").exists():
        run("train_model", *arguments, "--out", out / name, "--pitch", out / "pitch.npz")
        shutil.copytree(out / name / "model", folder, dirs_exist_ok=True)
        run("export_graph", folder)
    return folder


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with labels.jsonl and audio/")
    parser.add_argument("--base", required=True, help="Whisper base: a folder or a Hugging Face id")
    parser.add_argument("--fast", required=True, help="Whisper tiny.en: a folder or a Hugging Face id")
    parser.add_argument("--out", type=Path, default=Path("runs"))
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = parser.parse_args()
    data, out, speech = args.data, args.out, args.out / "speech"
    if not (speech / "labels.jsonl").exists():
        run("make_speech", "--data", data, "--out", speech)
    common = ("--data", data, "--speech", speech, "--device", args.device)
    runs: list[tuple[str, tuple[str, ...]]] = [(str(k), ("--fold", str(k))) for k in range(FOLDS)]
    for suffix, held_out in [*runs, ("", ())]:
        base = train_model(out, f"base{suffix}", [*common, *held_out, "--encoder", args.base])
        teacher = ("--teacher", base)
        train_model(out, f"fast{suffix}", [*common, *held_out, *teacher, *FAST_RECIPE, "--encoder", args.fast])
    for name in ("base", "fast"):
        scores = out / "scores" / f"{name}-int8.npz"
        run("score_folds", "--data", data, "--models", out / "models", "--name", name, "--out", scores)
        run("calibrate", "--scores", scores, "--model", out / "models" / name)
        for fold in range(FOLDS):
            shutil.copy(out / "models" / name / CALIBRATION_FILE, out / "models" / f"{name}{fold}")
        run("report", "--scores", scores, "--plot", out / f"{name}.png")


if __name__ == "__main__":
    main()
