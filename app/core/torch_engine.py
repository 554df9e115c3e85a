"""The built-in model by PyTorch: full precision, for ``USE_QUANTIZATION=false`` and for training."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.core.acoustic_engine import BUILT_IN_MODEL, FramePosteriors, energy_of_frames, head_folder
from app.core.errors import ModelError
from app.core.log_mel import LogMel


class TorchEngine:
    """The model that comes with the service, or another in its layout, in bfloat16 where that is fast, else float32.

    Args:
        folder: with config.json and model.safetensors.
        bfloat16: whether to use it; None for where it is fast.

    Raises:
        ModelError: the folder has no such model.
    """

    window_seconds = 30.0
    memory_factor = 1.6

    def __init__(self, folder: Path = BUILT_IN_MODEL, *, bfloat16: bool | None = None) -> None:
        import torch

        from app.core.acoustic_model import ElocuteForCTC, ElocuteForScoring

        self.head_folder = head_folder(folder)
        kind = ElocuteForScoring if self.head_folder else ElocuteForCTC
        try:
            with quiet_loading():
                model = kind.from_pretrained(folder, dtype=torch.float32)
        except (OSError, ValueError) as error:
            raise ModelError(f"{folder} holds no model of the built-in kind") from error
        model.eval().requires_grad_(requires_grad=False)
        self._autocast = has_bfloat16() if bfloat16 is None else bfloat16
        self._model: Any = model
        self._log_mel = LogMel()
        self.frame_seconds = 0.02
        self.name = f"{Path(folder).name}-{'bf16' if self._autocast else 'fp32'}"

    def posteriors(self, waveform: NDArray[np.float32]) -> FramePosteriors:
        """Log-posteriors every 20 ms of ``(N,)`` samples at 16 kHz, N at least 400."""
        import torch

        mel = self._log_mel(waveform)
        frames = None
        with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=self._autocast):
            output = self._model(torch.from_numpy(mel)[None])
            if self.head_folder is not None:
                frames = self._model.projection(output.hidden_states)[0].float().numpy()
        log_probs = output.logits[0].float().log_softmax(-1).numpy()
        return FramePosteriors(log_probs, self.frame_seconds, frames, energy_of_frames(mel))


@contextlib.contextmanager
def quiet_loading() -> Iterator[None]:
    """Hold back transformers' progress bars and load reports, and put its settings back."""
    from transformers.utils import logging as transformers_logging

    library: Any = transformers_logging  # untyped
    verbosity, bars = library.get_verbosity(), library.is_progress_bar_enabled()
    library.set_verbosity_error()
    library.disable_progress_bar()
    try:
        yield
    finally:
        library.set_verbosity(verbosity)
        if bars:
            library.enable_progress_bar()


def has_bfloat16() -> bool:
    """Whether bfloat16 products are fast: without AMX or AVX512-BF16 they are ten times slower than float32."""
    import torch

    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("amx_bf16") or capabilities.get("avx512_bf16"))
