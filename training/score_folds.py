"""Score every speaker by the model that has not heard them, through the service's own stages.

    python -m training.score_folds --data DATA --models FOLDER --out FILE [--name base] [--folds 0 1 2 3 4]
        [--precision int8]

``FOLDER`` has a model for each fold, ``base0`` to ``base4``, as ``make train-folds`` leaves them. ``FILE``, an
``.npz``, gets the head's outputs before calibration beside the experts' scores; ``training.calibrate`` and
``training.report`` go on from there.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rapidfuzz.distance import Levenshtein
from tqdm import tqdm

from app.core.acoustic_engine import AcousticEngine
from app.core.head_scorer import HeadScorer, HeadScores
from app.core.onnx_engine import OnnxEngine
from app.core.phonemes import CLASS_IDS
from app.core.pronunciation_scorer import SpokenText
from app.core.rule_scorer import RuleScorer, delivery_features
from app.core.score_rules import load_rules
from training.calibrate import NEUTRAL
from training.corpus import FOLDS, Utterance, fold_of_speakers, load_audio, load_corpus
from training.listening import listen_to_corpus
from training.readings import Targets, reading_of, targets_of

Floats = NDArray[np.float64]


def open_engine(folder: Path, precision: str) -> AcousticEngine:
    """A model in ``int8``, ``bfloat16`` or ``float32``, whatever this processor is quick at."""
    if precision == "int8":
        return OnnxEngine(folder)
    from app.core.torch_engine import TorchEngine

    return TorchEngine(folder, bfloat16=precision == "bfloat16")


def open_scorer(folder: Path) -> HeadScorer:
    """The head of a model that is not calibrated yet."""
    return HeadScorer(folder, RuleScorer(load_rules()), calibration=NEUTRAL)


def rows_of(outputs: HeadScores, targets: Targets, sizes: Sequence[int]) -> dict[str, Floats]:
    """One recording's outputs beside its targets; NaN for a word that was taken for an omission."""
    phonemes, words = np.full(sum(sizes), np.nan), np.full((len(sizes), 3), np.nan)
    ends = np.cumsum(sizes)
    for row, number in enumerate(outputs.said):
        phonemes[ends[number] - sizes[number] : ends[number]] = outputs.phonemes[row]
        words[number] = outputs.words[row]
    present = np.zeros(len(sizes))
    present[list(outputs.said)] = outputs.present
    return {
        "phoneme": phonemes,
        "phoneme_expert": targets.phonemes[0],
        "phoneme_word": np.repeat(np.arange(len(sizes)), sizes),
        "word": words,
        "word_expert": targets.words[0],
        "present": present,
        "sentence": outputs.sentence[None],
        "sentence_expert": targets.sentence,
    }


def score(scorer: HeadScorer, utterance: Utterance, spoken: SpokenText) -> tuple[dict[str, Floats], int]:
    """The rows of one recording, and the phoneme errors of its free decode."""
    sizes = [len(word["phones"]) for word in utterance.words]
    rows = rows_of(scorer.outputs(spoken), targets_of([reading_of(utterance)]), sizes)
    said = sum(word is not None for word in spoken.alignment.words)
    rows["delivery"] = delivery_features(spoken.fluency, said, spoken.pitch.range_semitones)[None]
    return rows, Levenshtein.distance([CLASS_IDS[h.phoneme] for h in spoken.heard], utterance.phoneme_ids)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with labels.jsonl and audio/")
    parser.add_argument("--models", type=Path, default=Path("runs/models"), help="folder with a model for each fold")
    parser.add_argument("--name", default="base", help="of the models, before the number of the fold")
    parser.add_argument("--folds", type=int, nargs="+", default=[*range(FOLDS)])
    parser.add_argument("--precision", choices=("int8", "bfloat16", "float32"), default="int8")
    parser.add_argument("--limit", type=int, default=None, help="only so many recordings of each fold")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    corpus = load_corpus(args.data)
    folds = fold_of_speakers(corpus)
    parts: dict[str, list[Floats]] = {}
    errors = count = 0
    for fold in args.folds:
        held = [u for u in corpus if folds[u.speaker] == fold][: args.limit]
        folder = args.models / f"{args.name}{fold}"
        engine, scorer = open_engine(folder, args.precision), open_scorer(folder)
        heard = listen_to_corpus(engine, held, load_audio(held))
        for utterance, spoken in zip(held, tqdm(heard, f"fold {fold}", len(held), mininterval=5), strict=True):
            rows, wrong = score(scorer, utterance, spoken)
            for name, values in rows.items():
                parts.setdefault(name, []).append(values)
            for level in ("phoneme", "word", "sentence"):
                parts.setdefault(f"{level}_of", []).append(np.full(len(rows[level]), count))
            parts.setdefault("fold", []).append(np.array([fold]))
            errors, count = errors + wrong, count + 1
    table: dict[str, Any] = {name: np.concatenate(values) for name, values in parts.items()}
    args.out.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(args.out, **table, per=np.array([errors, len(table["phoneme"])]))
    print(f"wrote {args.out}: {count} recordings, phoneme error rate {errors / len(table['phoneme']):.4f}")


if __name__ == "__main__":
    main()
