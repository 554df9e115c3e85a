"""Any Hugging Face CTC phoneme model (wav2vec2, HuBERT, WavLM ...) as an acoustic engine, by folder or hub id."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from app.core.acoustic_engine import SAMPLE_RATE, FramePosteriors
from app.core.errors import ModelError
from app.core.hub import first_line, resolve
from app.core.ipa import class_shares, lend_to_unreached, reached
from app.core.phonemes import BLANK, CLASS_IDS, PHONEMES
from app.core.torch_engine import quiet_loading

if TYPE_CHECKING:
    pass

logger = logging.getLogger(__name__)

FEWEST_PHONEMES = 35
"""A vocabulary that reaches fewer of the 39 is refused: letters reach about 22, TIMIT folded to 39 reaches 37."""

_FLOOR = 1e-20  # probability of what a model cannot say; keeps log-posteriors finite (-46) and changes no other one
_UNTRAINED = ("masked_spec_embed",)  # weights used in training alone, left out of some checkpoints


class HuggingFaceEngine:
    """A CTC model with an IPA or ARPAbet vocabulary, its outputs gathered into our 40 classes.

    The posterior of a class is the sum over the symbols that mean it (see ``app.core.ipa``). Probability of sounds
    that English lacks is dropped and the rest rescaled: the posteriors are those given that the sound is English.

    Attributes:
        name: the hub id, or the folder's name.
        window_seconds: the longest input of one call.
    """

    def __init__(self, model: str, *, window_seconds: float = 20.0, dtype: str = "float32") -> None:
        """Load a model; takes seconds, and for a hub id that is not in the local cache, a download.

        Args:
            model: a folder in Hugging Face layout, or a hub id such as ``facebook/wav2vec2-lv-60-espeak-cv-ft``.
            window_seconds: the longest input of one call; memory peaks with it, 20 s of a 300 M-parameter model at
                0.5 GB above its weights.
            dtype: ``float32`` or ``bfloat16``, of weights and computation; the posteriors are always float32.

        Raises:
            ModelError: the model is not there, is no CTC model on 16 kHz waveforms, lacks weights, writes letters
                instead of phonemes, or cannot run.
        """
        folder, self.name = resolve(model, "PHONEME_MODEL")
        self.window_seconds = window_seconds
        self.head_folder: Path | None = None
        self.memory_factor = 16.0  # 0.5 GB for 20 s, of a model of 300 M parameters
        try:
            with quiet_loading():
                self._extractor, self._model = _load(folder, dtype)
                symbols, pad = _vocabulary(folder)
        except ModelError as error:
            raise ModelError(f"PHONEME_MODEL {model!r} {error.detail}") from error
        except Exception as error:  # the files are foreign: whatever they make the libraries raise means the same
            raise ModelError(f"PHONEME_MODEL {model!r} cannot be loaded: {first_line(error)}") from error
        config = self._model.config
        hop, self._least_samples = _frame_geometry(config)
        self._frame_seconds = hop / SAMPLE_RATE
        outputs = int(self._model.lm_head.out_features)
        self._shares = self._plan(symbols, blank_id(symbols, pad, config.to_dict(), outputs), outputs)
        self._try_out()

    def posteriors(self, waveform: NDArray[np.float32]) -> FramePosteriors:
        """Run the model on one window; blocking, one call at a time.

        Args:
            waveform: ``(N,)``, mono at 16 kHz, at most ``window_seconds`` long; a shorter one than the model's
                receptive field (25 ms) is padded with silence.

        Returns:
            At least one frame.

        Raises:
            ValueError: ``waveform`` is longer than the window.
        """
        if len(waveform) > self.window_seconds * SAMPLE_RATE:
            raise ValueError(f"{len(waveform)} samples are more than the window of {self.window_seconds} s")
        return FramePosteriors(log_probs=self._gather(self._forward(waveform)), frame_seconds=self._frame_seconds)

    def _forward(self, waveform: NDArray[np.float32]) -> NDArray[np.float32]:
        """Logits ``(T, V)`` of ``(N,)`` samples."""
        import torch

        padded = np.pad(waveform, (0, max(0, self._least_samples - len(waveform))))
        # The extractor normalises if the model was trained so. Its attention mask is all ones for one window without
        # padding, which means the same as none, costs (T, T) per head, and makes torch warn in WavLM.
        features = self._extractor(padded, sampling_rate=SAMPLE_RATE, return_tensors="pt")
        values = features["input_values"].to(self._model.dtype)
        with torch.inference_mode():
            logits: NDArray[np.float32] = self._model(values).logits[0].float().numpy()
        return logits

    def _gather(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        """Log-posteriors ``(T, 40)`` of logits ``(T, V)``."""
        scaled = logits.astype(np.float64)
        scaled -= scaled.max(axis=1, keepdims=True)
        np.exp(scaled, out=scaled)
        scaled /= scaled.sum(axis=1, keepdims=True)
        classes = scaled @ self._shares
        classes[:, CLASS_IDS[BLANK]] += _FLOOR  # a frame wholly foreign is one without an English phoneme
        classes /= classes.sum(axis=1, keepdims=True)
        np.maximum(classes, _FLOOR, out=classes)
        log_probs: NDArray[np.float32] = np.log(classes, out=classes).astype(np.float32)
        return log_probs

    def _plan(self, symbols: Mapping[str, int], blank: int, outputs: int) -> NDArray[np.float64]:
        """How the ``outputs`` logits are divided among our classes: ``(V, 40)``."""
        vocabulary: list[str | None] = [None] * outputs
        for symbol, index in symbols.items():
            if 0 <= index < outputs:
                vocabulary[index] = symbol
        shares = class_shares(vocabulary, blank)
        missing = sorted(frozenset(PHONEMES) - reached(shares))
        if len(PHONEMES) - len(missing) < FEWEST_PHONEMES:
            raise ModelError(
                f"PHONEME_MODEL {self.name!r} writes letters or another language, not the phonemes of English: "
                f"its vocabulary has nothing for {', '.join(missing)}"
            )
        if missing:
            logger.warning("The vocabulary of %s has no symbol of its own for %s", self.name, ", ".join(missing))
        return lend_to_unreached(shares)

    def _try_out(self) -> None:
        """Run one second of silence, so that a model that cannot run fails at start-up and not in a request."""
        try:
            logits = self._forward(np.zeros(SAMPLE_RATE, dtype=np.float32))
        except Exception as error:  # as in __init__
            raise ModelError(f"PHONEME_MODEL {self.name!r} cannot be run: {first_line(error)}") from error
        if not np.isfinite(logits).all():
            raise ModelError(f"PHONEME_MODEL {self.name!r} cannot be used: its outputs are not finite numbers")
        if abs(len(logits) * self._frame_seconds - 1) > 3 * self._frame_seconds:
            raise ModelError(
                f"PHONEME_MODEL {self.name!r} cannot be used: it makes {len(logits)} frames of a second "
                f"where its configuration says {1 / self._frame_seconds:.0f}"
            )


def blank_id(symbols: Mapping[str, int], pad: str | None, config: Mapping[str, Any], outputs: int) -> int:
    """The output that is the CTC blank: the tokenizer's pad token, else the configuration's, else 0.

    Args:
        symbols: the vocabulary, symbol to output.
        pad: the tokenizer's pad token, if it has one.
        config: the model's configuration.
        outputs: the width of the logits; an id outside is skipped with a warning.

    Returns:
        0 to ``outputs - 1``.
    """
    candidates = [("the tokenizer's pad token", None if pad is None else symbols.get(pad))]
    keys = ("pad_token_id", "blank_token_id", "ctc_blank_id", "blank_id")
    candidates += [(f"the configuration's {key}", config.get(key)) for key in keys]
    for source, candidate in candidates:
        if candidate is None:
            continue
        if 0 <= candidate < outputs:
            return int(candidate)
        logger.warning("%s is %s, outside the model's %d outputs; not used as blank", source, candidate, outputs)
    return 0


def _load(folder: Path, dtype: str) -> tuple[Any, Any]:
    """The feature extractor and the CTC model of a folder."""
    import torch
    import transformers

    library: Any = transformers  # in good part untyped
    local = {"trust_remote_code": False, "local_files_only": True}
    config = library.AutoConfig.from_pretrained(folder, **local)
    if type(config) not in library.MODEL_FOR_CTC_MAPPING:
        raise ModelError(f"is a {config.model_type} model, for which there is no CTC head")
    extractor = library.AutoFeatureExtractor.from_pretrained(folder, **local)
    if extractor.sampling_rate != SAMPLE_RATE:
        raise ModelError(f"wants audio at {extractor.sampling_rate} Hz, not at {SAMPLE_RATE}")
    if dtype not in ("float32", "bfloat16"):
        raise ValueError(f"dtype {dtype!r} is neither float32 nor bfloat16")
    model, info = library.AutoModelForCTC.from_pretrained(
        folder, config=config, dtype=getattr(torch, dtype), output_loading_info=True, **local
    )
    missing = sorted(key for key in info["missing_keys"] if not key.endswith(_UNTRAINED))
    if any(key.startswith("lm_head") for key in missing):
        raise ModelError("has no trained CTC head: it was only pretrained")
    if missing:
        raise ModelError(f"lacks weights: {', '.join(missing[:3])}")
    if model.main_input_name != "input_values" or not hasattr(model, "lm_head"):
        raise ModelError(f"is a {config.model_type} model, which does not read waveforms")
    return extractor, model.eval()


def _vocabulary(folder: Path) -> tuple[dict[str, int], str | None]:
    """Symbol to output, and the tokenizer's pad token."""
    from transformers import AutoTokenizer

    try:
        # Phonemizing text, for which the espeak tokenizer wants a GPL package, is never asked of it.
        tokenizer = AutoTokenizer.from_pretrained(
            folder, do_phonemize=False, trust_remote_code=False, local_files_only=True
        )
        symbols, pad = dict(tokenizer.get_vocab()), tokenizer.pad_token
    except Exception:  # an unknown tokenizer class, or its files incomplete: the vocabulary alone is enough
        if not (folder / "vocab.json").is_file():
            raise
        logger.info("The tokenizer in %s cannot be loaded; reading its vocab.json", folder, exc_info=True)
        symbols, pad = json.loads((folder / "vocab.json").read_text(encoding="utf-8")), _pad_token(folder)
    return symbols, pad


def _pad_token(folder: Path) -> str | None:
    """The pad token as the tokenizer's files name it."""
    for name in ("special_tokens_map.json", "tokenizer_config.json"):
        if (folder / name).is_file():
            pad = json.loads((folder / name).read_text(encoding="utf-8")).get("pad_token")
            if pad is not None:
                return str(pad["content"] if isinstance(pad, dict) else pad)
    return None


def _frame_geometry(config: Any) -> tuple[int, int]:
    """Samples from frame to frame, and the fewest samples that make a frame or two."""
    hop = math.prod(config.conv_stride)
    receptive = 1
    for kernel, stride in reversed(list(zip(config.conv_kernel, config.conv_stride, strict=True))):
        receptive = (receptive - 1) * stride + kernel
    if getattr(config, "add_adapter", False):
        hop *= config.adapter_stride**config.num_adapter_layers
    return hop, receptive + hop
