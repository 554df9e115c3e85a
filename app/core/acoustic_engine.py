"""What every acoustic engine gives, and which one the settings ask for."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE = 16_000
BUILT_IN_MODEL = Path(__file__).parents[1] / "models" / "elocute-base"
FAST_MODEL = BUILT_IN_MODEL.with_name("elocute-fast")


@dataclass(frozen=True, slots=True)
class FramePosteriors:
    """What a model says of each frame.

    Attributes:
        log_probs: ``(T, 40)`` log-posteriors over ``app.core.phonemes.CLASSES``, blank first; each frame sums to one.
        frame_seconds: the time from one frame to the next.
        frames: ``(T, F)`` what the model's scoring head pools, see ``app.core.scoring_head``; None without a head.
        energy: ``(T,)`` the mean of the log-mel bands; None without a head.
    """

    log_probs: NDArray[np.float32]
    frame_seconds: float
    frames: NDArray[np.float32] | None = None
    energy: NDArray[np.float32] | None = None


class AcousticEngine(Protocol):
    """A loaded acoustic model.

    Attributes:
        name: shown in the answer's ``models.phoneme``.
        window_seconds: the longest input of one call.
        memory_factor: memory of one call, relative to what :func:`app.core.memory_budget.analysis_mb` expects.
        head_folder: where the model's scoring head is; None for a model without one.
    """

    name: str
    head_folder: Path | None
    window_seconds: float
    memory_factor: float

    def posteriors(self, waveform: NDArray[np.float32]) -> FramePosteriors:
        """Run the model on ``(N,)`` samples, mono at 16 kHz, at most ``window_seconds`` long. Blocks."""


def load_engine(model: str | None, *, quantized: bool, fast: bool = False) -> AcousticEngine:
    """The engine for the settings ``PHONEME_MODEL``, ``USE_QUANTIZATION`` and ``USE_FAST_MODELS``.

    Args:
        model: None for the built-in model, a folder in its layout, or any Hugging Face CTC phoneme model by folder
            or id.
        quantized: int8 by ONNX Runtime, which the built-in model and folders with a graph.onnx have; without it, and
            for other models, PyTorch and its several hundred MB are loaded.
        fast: the smaller one of the two built-in models.

    Raises:
        ModelError: there is no such model, or it cannot be used.
    """
    built_in = FAST_MODEL if fast else BUILT_IN_MODEL
    folder = built_in if model is None else Path(model).expanduser()
    if model is None or _is_of_our_kind(folder):
        from app.core.onnx_engine import GRAPH_FILE, OnnxEngine

        if quantized and (folder / GRAPH_FILE).is_file():
            return OnnxEngine(folder)
        from app.core.torch_engine import TorchEngine

        return TorchEngine(folder)
    from app.core.hugging_face_engine import HuggingFaceEngine
    from app.core.torch_engine import has_bfloat16

    return HuggingFaceEngine(model or "", dtype="bfloat16" if quantized and has_bfloat16() else "float32")


def head_folder(folder: Path) -> Path | None:
    """The folder of a model of our own kind, if that has a scoring head."""
    with contextlib.suppress(OSError, ValueError):
        if json.loads((folder / "config.json").read_text(encoding="utf-8")).get("head_members", 0) > 0:
            return folder
    return None


def energy_of_frames(mel: NDArray[np.float32]) -> NDArray[np.float32]:
    """The mean of the bands in the model's frames ``(T,)``, from log-mel features ``(80, M)`` of twice the rate."""
    level = mel.mean(axis=0)
    energy: NDArray[np.float32] = np.pad(level, (0, len(level) % 2)).reshape(-1, 2).mean(axis=1)
    return energy


def _is_of_our_kind(folder: Path) -> bool:
    with contextlib.suppress(OSError, ValueError):
        return bool(json.loads((folder / "config.json").read_text(encoding="utf-8"))["model_type"] == "elocute")
    return False
