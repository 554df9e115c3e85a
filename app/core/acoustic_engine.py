"""Engines that turn a waveform into frame posteriors: what they all give, and the one with the built-in model."""

from __future__ import annotations

import contextlib
import json
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from app.core.errors import ModelError

if TYPE_CHECKING:
    from app.core.acoustic_model import ElocuteForCTC

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
    """

    name: str
    window_seconds: float

    def posteriors(self, waveform: NDArray[np.float32]) -> FramePosteriors:
        """Run the model on ``(N,)`` samples, mono at 16 kHz, at most ``window_seconds`` long. Blocks."""


class BuiltInEngine:
    """The model that comes with the service, or another in its layout.

    Args:
        folder: with config.json, model.safetensors and preprocessor_config.json.
        quantized: int8 weights and, inside the layers, int8 products; otherwise bfloat16 where the processor has
            instructions for it, else float32.

    Raises:
        ModelError: the folder has no such model.
    """

    window_seconds = 30.0

    def __init__(self, folder: Path = BUILT_IN_MODEL, *, quantized: bool = True) -> None:
        import torch
        from transformers import WhisperFeatureExtractor

        from app.core.acoustic_model import ElocuteForCTC

        try:
            with quiet_loading():
                model = ElocuteForCTC.from_pretrained(folder, dtype=torch.float32)
                self._extractor = WhisperFeatureExtractor.from_pretrained(folder)
        except (OSError, ValueError) as error:
            raise ModelError(f"{folder} holds no model of the built-in kind") from error
        model.eval().requires_grad_(requires_grad=False)
        self._autocast = not quantized and _has_bfloat16()
        self._model = _quantize(model) if quantized else model
        self.frame_seconds = 0.02
        self.name = f"{Path(folder).name}-{'int8' if quantized else 'bf16' if self._autocast else 'fp32'}"

    def posteriors(self, waveform: NDArray[np.float32]) -> FramePosteriors:
        """Log-posteriors every 20 ms of ``(N,)`` samples at 16 kHz, N at least 400."""
        import torch

        features = self._extractor(
            waveform, sampling_rate=SAMPLE_RATE, padding="do_not_pad", truncation=False, return_tensors="pt"
        )["input_features"]
        with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=self._autocast):
            output = self._model(features)
        return FramePosteriors(
            log_probs=output.logits[0].float().log_softmax(-1).numpy(),
            hidden=output.hidden_states[-1][0].float().numpy(),
            frame_seconds=self.frame_seconds,
        )


def load_engine(model: str | None, *, quantized: bool) -> AcousticEngine:
    """The engine for the setting ``PHONEME_MODEL``.

    Args:
        model: None for the built-in model, a folder in its layout, or any Hugging Face CTC phoneme model by folder
            or id.
        quantized: use int8 weights; a foreign model uses bfloat16 instead, where the processor has it.

    Raises:
        ModelError: there is no such model, or it cannot be used.
    """
    if model is None:
        return BuiltInEngine(quantized=quantized)
    folder = Path(model).expanduser()
    config = folder / "config.json"
    with contextlib.suppress(OSError, ValueError):
        if json.loads(config.read_text(encoding="utf-8")).get("model_type") == "elocute":
            return BuiltInEngine(folder, quantized=quantized)
    from app.core.hugging_face_engine import HuggingFaceEngine

    return HuggingFaceEngine(model, dtype="bfloat16" if quantized and _has_bfloat16() else "float32")


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


def _has_bfloat16() -> bool:
    """Whether bfloat16 products are fast: without AMX or AVX512-BF16 they are ten times slower than float32."""
    import torch

    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("amx_bf16") or capabilities.get("avx512_bf16"))


def _quantize(model: ElocuteForCTC) -> ElocuteForCTC:
    """Dynamic int8 quantization of the linear layers."""
    import torch

    with warnings.catch_warnings():
        # torchao, its successor, is another dependency and slower on short inputs here
        warnings.filterwarnings("ignore", message=".*torch.ao.quantization.*", category=DeprecationWarning)
        warnings.filterwarnings("ignore", category=UserWarning, module="torch.*")
        quantized: ElocuteForCTC = torch.ao.quantization.quantize_dynamic(model, {torch.nn.Linear}, dtype=torch.qint8)
    return quantized
