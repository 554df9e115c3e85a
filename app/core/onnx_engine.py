"""The built-in model in int8 by ONNX Runtime: a quarter of PyTorch's memory, and quicker on short recordings."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.core.acoustic_engine import BUILT_IN_MODEL, FramePosteriors, energy_of_frames, head_folder
from app.core.errors import ModelError
from app.core.log_mel import LogMel
from app.core.onnx_session import open_session

GRAPH_FILE = "graph.onnx"
"""The structure without weights, written by ``training.export_graph``."""

WEIGHT_LEVELS = 63
"""Weights are -63 to 63: with more, two products of theirs overflow the 16 bits of processors without VNNI."""


class OnnxEngine:
    """Runs ``graph.onnx`` with the weights of ``model.safetensors``, int8 in every linear layer of the encoder.

    Weights are quantized as they are loaded, symmetric and for each output by itself; activations as they come
    (dynamic quantization). Nothing is kept between calls, whatever the lengths of the recordings.

    Args:
        folder: with graph.onnx and model.safetensors.
        threads: that one call uses; None for all cores that the process may use, up to 4.

    Raises:
        ModelError: the folder has no such model.
    """

    window_seconds = 30.0
    frame_seconds = 0.02
    memory_factor = 1.0

    def __init__(self, folder: Path = BUILT_IN_MODEL, *, threads: int | None = None) -> None:
        try:
            weights = _load_weights(folder / "model.safetensors")
            self._session = open_session(folder / GRAPH_FILE, threads=threads or usable_cores(), weights=weights)
        except Exception as error:  # those of onnxruntime and safetensors have no base of their own
            raise ModelError(f"{folder} holds no model of the built-in kind") from error
        self._log_mel = LogMel()
        self.name = f"{folder.name}-int8"
        self.head_folder = head_folder(folder)

    def posteriors(self, waveform: NDArray[np.float32]) -> FramePosteriors:
        """Log-posteriors every 20 ms of ``(N,)`` samples at 16 kHz, N at least 400."""
        mel = self._log_mel(waveform)
        if self.head_folder is None:
            (log_probs,) = self._session.run(("log_probs",), {"mel": mel[None]})
            return FramePosteriors(log_probs[0], self.frame_seconds)
        log_probs, frames = self._session.run(("log_probs", "frames"), {"mel": mel[None]})
        return FramePosteriors(log_probs[0], self.frame_seconds, frames[0], energy_of_frames(mel))


def usable_cores() -> int:
    """Cores that the process may use, as far as more of them make one recording quicker: 1 to 4."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, 4)


def _load_weights(path: Path) -> dict[str, NDArray[Any]]:
    """The graph's tensors by name, made one by one so that the whole model is never there in float32."""
    from safetensors import safe_open

    weights: dict[str, NDArray[Any]] = {}
    with safe_open(path, framework="numpy") as tensors:
        for name in tensors.keys():  # noqa: SIM118 - no dict
            if name.startswith("head."):
                continue
            array = tensors.get_tensor(name).astype(np.float32)
            if array.ndim == 2 and not name.startswith("encoder."):
                weights[f"{name}.transposed"] = np.ascontiguousarray(array.T)
            elif array.ndim == 2 and "embed" not in name:
                weights[f"{name}.int8"], weights[f"{name}.scale"] = quantize(array.T)
            else:
                weights[name] = array
    return weights


def quantize(weight: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Quantize each column by itself.

    Args:
        weight: ``(inputs, outputs)``.

    Returns:
        ``(inputs, outputs)`` int8 and ``(outputs,)`` scales, whose product is about ``weight``.
    """
    largest = np.abs(weight).max(axis=0)
    some = largest > WEIGHT_LEVELS * np.finfo(np.float32).tiny  # what is less would have a step of zero
    scale = np.where(some, largest, 1) / np.float32(WEIGHT_LEVELS)
    return np.ascontiguousarray(np.rint(weight / scale), np.int8), scale.astype(np.float32)
