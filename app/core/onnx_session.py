"""Opens ONNX Runtime sessions that keep nothing between calls and tell nobody anything."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

if TYPE_CHECKING:
    import onnxruntime

_ERRORS_ONLY = 3


def open_session(
    model: Path, *, threads: int = 1, weights: Mapping[str, NDArray[Any]] | None = None
) -> onnxruntime.InferenceSession:
    """Load a model for the CPU.

    Args:
        model: the file.
        threads: that one call uses; they sleep between operations, as the event loop wants the cores too.
        weights: the tensors that the file leaves out, by name.

    Raises:
        Exception: what ONNX Runtime raises has no base of its own.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # else its Linux build reports its use; read at its import
    import onnxruntime  # 20 MB

    options = onnxruntime.SessionOptions()
    options.log_severity_level = _ERRORS_ONLY
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.enable_cpu_mem_arena = False  # would keep the longest recording's memory for good
    options.enable_mem_pattern = False  # would keep a plan for every length
    if weights is not None:
        tensors = [onnxruntime.OrtValue.ortvalue_from_numpy(array) for array in weights.values()]
        options.add_external_initializers(list(weights), tensors)
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
