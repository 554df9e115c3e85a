"""Any VITS voice that transformers can load (MMS-TTS, kakao's vits-ljs and vits-vctk ...), by folder or hub id."""

from __future__ import annotations

import math
import weakref
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from app.core.errors import ModelError
from app.core.hub import first_line, resolve
from app.core.torch_engine import quiet_loading
from app.core.vits_text import VitsText
from app.core.voice import Phrase, PhraseWord

if TYPE_CHECKING:
    import torch

SILENCE_SECONDS = 0.1
"""What is heard of a phrase in which nothing can be said, as of Greek by a model that reads our letters."""

_HELLO: Phrase = (PhraseWord("hello", ("HH", "AH", "L", "OW"), (None, 0, None, 1), "."),)
_SEED = 0  # of the noise that makes it sound alive, so that a phrase sounds the same each time
_PIECE_FRAMES = 128  # decoded at once: about 1.5 s, in about 70 MB
_LONGEST_SYMBOL = 1.0  # seconds at the voice's own pace; a model that is off must not fill the memory with a vowel
_UNUSED = "posterior_encoder."  # weights used in training alone


class VitsVoice:
    """A VITS model; says phonemes if its vocabulary has them, reads letters otherwise. See ``app.core.voice.Voice``.

    The waveform is decoded in pieces, so that memory hardly grows with the phrase. Of a model with several speakers
    the first is heard, or the one that ``speaker_id`` in its ``config.json`` says.

    Attributes:
        name: the hub id, or the folder's name.
    """

    def __init__(self, model: str) -> None:
        """Load a model and try it out; takes seconds, and for a hub id that is not in the local cache, a download.

        Args:
            model: a folder in Hugging Face layout, or a hub id such as ``facebook/mms-tts-eng``.

        Raises:
            ModelError: the model is not there, is no VITS model, lacks weights, cannot speak English, or cannot run.
        """
        folder, self.name = resolve(model, "TTS_MODEL")
        try:
            with quiet_loading():
                self._model = _load(folder)
            config = self._model.config
            self._text = VitsText.of_folder(folder, config.vocab_size)
            self._speaker = _speaker(config)
            self.sample_rate = int(config.sampling_rate)
            self._pace = float(config.speaking_rate)
            _bound_memory(self._model)
        except ModelError as error:
            raise ModelError(f"TTS_MODEL {model!r} {error.detail}") from error
        except Exception as error:  # the files are foreign: whatever they make the libraries raise means the same
            raise ModelError(f"TTS_MODEL {model!r} cannot be loaded: {first_line(error)}") from error
        self.speaks_phonemes = self._text.speaks_phonemes
        self._try_out()

    def speak(self, phrase: Phrase, speed: float) -> NDArray[np.float32]:
        """See :meth:`app.core.voice.Voice.speak`; 0.1 s of silence where nothing of the phrase can be said.

        Raises:
            ValueError: the voice reads letters and a word has no text.
        """
        written = self._text.written(phrase)
        if not written:
            return np.zeros(int(SILENCE_SECONDS * self.sample_rate), dtype=np.float32)
        samples = self._forward(self._text.ids(written), speed)
        clipped: NDArray[np.float32] = np.clip(samples, -1.0, 1.0, out=samples)
        return clipped

    def _forward(self, ids: list[int], speed: float) -> NDArray[np.float32]:
        """The waveform ``(N,)`` of symbols, as the model gives it."""
        import torch

        self._model.speaking_rate = self._pace * speed  # the argument of the same name is not in every 5.x
        try:
            # The model draws its noise from the one generator that everybody uses: it is left as it was.
            with torch.random.fork_rng(devices=[]), torch.inference_mode():
                torch.default_generator.manual_seed(_SEED)
                output = self._model(torch.tensor([ids]), speaker_id=self._speaker, return_dict=True)
        finally:
            self._model.speaking_rate = self._pace
        samples: NDArray[np.float32] = output.waveform[0].float().numpy()
        return samples

    def _try_out(self) -> None:
        """Say hello, so that a model that cannot run fails where it is loaded and not in a request."""
        try:
            samples = self._forward(self._text.ids(self._text.written(_HELLO)), 1.0)
        except Exception as error:  # as in __init__
            raise ModelError(f"TTS_MODEL {self.name!r} cannot be run: {first_line(error)}") from error
        if samples.ndim != 1 or not len(samples) or not np.isfinite(samples).all():
            raise ModelError(f"TTS_MODEL {self.name!r} cannot be used: it makes no sound of finite numbers")


def _load(folder: Path) -> Any:
    """The model of a folder, in float32, ready for inference."""
    import torch
    import transformers

    library: Any = transformers  # in good part untyped
    local = {"trust_remote_code": False, "local_files_only": True}
    config = library.AutoConfig.from_pretrained(folder, **local)
    if type(config) is not library.VitsConfig:
        raise ModelError(f"is a {config.model_type} model, not VITS")
    model, info = library.VitsModel.from_pretrained(
        folder, config=config, dtype=torch.float32, output_loading_info=True, **local
    )
    missing = sorted(key for key in info["missing_keys"] if not key.startswith(_UNUSED))
    if missing:
        raise ModelError(f"lacks weights: {', '.join(missing[:3])}")
    _fold_weight_norm(model)
    model.posterior_encoder = None
    return model.eval().requires_grad_(requires_grad=False)


def _fold_weight_norm(model: Any) -> None:
    """Compute the weights once that would be computed in each call.

    The class of a parametrized module also refers to the module, so that a dropped model would keep its memory until
    the garbage collector comes, which never looks at a frozen heap.
    """
    import torch
    from torch.nn.utils import parametrize

    with torch.no_grad():
        for module in list(model.modules()):
            if parametrize.is_parametrized(module, "weight"):
                parametrize.remove_parametrizations(module, "weight")


def _speaker(config: Any) -> int | None:
    """Which speaker to hear, None where there is but one."""
    if config.num_speakers <= 1:
        return None
    speaker = getattr(config, "speaker_id", 0)
    if not isinstance(speaker, int) or speaker not in range(config.num_speakers):
        raise ModelError(f"has no speaker_id {speaker!r}: it has {config.num_speakers} speakers")
    return speaker


def _bound_memory(model: Any) -> None:
    """Decode in pieces, and let no symbol last longer than a second."""
    config, decoder = model.config, model.decoder
    hop = math.prod(config.upsample_rates)
    longest = math.log(_LONGEST_SYMBOL * config.sampling_rate / hop)
    model.duration_predictor.register_forward_hook(lambda _module, _inputs, output: output.clamp(max=longest))
    uneven = [
        rate
        for rate, kernel in zip(config.upsample_rates, config.upsample_kernel_sizes, strict=True)
        if (kernel - rate) % 2
    ]
    if uneven:  # a frame is not exactly `hop` samples then
        return
    # A proxy, as a module that holds its own method would live on until the garbage collector comes
    decode = partial(type(decoder).forward, weakref.proxy(decoder))
    decoder.forward = partial(_decode_in_pieces, decode, hop, context_frames(config))


def _decode_in_pieces(
    decode: Any, hop: int, context: int, spectrogram: torch.Tensor, conditioning: torch.Tensor | None = None
) -> torch.Tensor:
    """What ``decode`` makes of ``(1, D, T)``, the same to the sample: ``(1, 1, T * hop)``."""
    import torch

    frames = spectrogram.shape[-1]
    pieces = []
    for start in range(0, frames, _PIECE_FRAMES):
        end = min(start + _PIECE_FRAMES, frames)
        before = max(start - context, 0)
        piece = decode(spectrogram[..., before : end + context], conditioning)
        pieces.append(piece[..., (start - before) * hop : (end - before) * hop].clone())
    return torch.cat(pieces, dim=-1)


def context_frames(config: Any) -> int:
    """How many frames to either side a sample of the decoder (HiFi-GAN; Kong et al., 2020) depends on, at most.

    Args:
        config: a ``VitsConfig``.
    """
    reach, hop = 3.0, 1  # in frames; the first convolution looks at three to either side
    for rate, kernel in zip(config.upsample_rates, config.upsample_kernel_sizes, strict=True):
        reach += math.ceil(kernel / rate) / hop
        hop *= rate
        reach += max(map(_block_reach, config.resblock_kernel_sizes, config.resblock_dilation_sizes)) / hop
    return math.ceil(reach + 3 / hop)


def _block_reach(kernel: int, dilations: list[int]) -> int:
    """Samples to either side that a residual block looks at: each dilated convolution is followed by a plain one."""
    return sum((kernel - 1) // 2 * (dilation + 1) for dilation in dilations)
