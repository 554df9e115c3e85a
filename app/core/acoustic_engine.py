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


@dataclass(frozen=True, slots=True)
class FramePosteriors:
    """What a model says of each frame.

    Attributes:
        log_probs: ``(T, 40)`` log-posteriors over ``app.core.phonemes.CLASSES``, blank first; each frame sums to one.
        hidden: ``(T, D)`` the last hidden layer.
        frame_seconds: the time from one frame to the next.
    """

    log_probs: NDArray[np.float32]
    hidden: NDArray[np.float32]
    frame_seconds: float


class AcousticEngine(Protocol):
    """A loaded acoustic model.

    Attributes:
        name: shown in the answer's ``models.phoneme``.
        window_seconds: the longest input of one call.
        memory_factor: memory of one call, relative to what :func:`app.core.memory_budget.analysis_mb` expects.
    """

    name: str
    window_seconds: float
    memory_factor: float

    def posteriors(self, waveform: NDArray[np.float32]) -> FramePosteriors:
        """Run the model on ``(N,)`` samples, mono at 16 kHz, at most ``window_seconds`` long. Blocks."""


def load_engine(model: str | None, *, quantized: bool) -> AcousticEngine:
    """The engine for the settings ``PHONEME_MODEL`` and ``USE_QUANTIZATION``.

    Args:
        model: None for the built-in model, a folder in its layout, or any Hugging Face CTC phoneme model by folder
            or id.
        quantized: int8 by ONNX Runtime, which the built-in model and folders with a graph.onnx have; without it, and
            for other models, PyTorch and its several hundred MB are loaded.

    Raises:
        ModelError: there is no such model, or it cannot be used.
    """
    folder = BUILT_IN_MODEL if model is None else Path(model).expanduser()
    if model is None or _is_of_our_kind(folder):
        from app.core.onnx_engine import GRAPH_FILE, OnnxEngine

        if quantized and (folder / GRAPH_FILE).is_file():
            return OnnxEngine(folder)
        from app.core.torch_engine import TorchEngine

        return TorchEngine(folder)
    from app.core.hugging_face_engine import HuggingFaceEngine
    from app.core.torch_engine import has_bfloat16

    return HuggingFaceEngine(model or "", dtype="bfloat16" if quantized and has_bfloat16() else "float32")


def _is_of_our_kind(folder: Path) -> bool:
    with contextlib.suppress(OSError, ValueError):
        return bool(json.loads((folder / "config.json").read_text(encoding="utf-8"))["model_type"] == "elocute")
    return False
