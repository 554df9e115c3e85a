"""The built-in acoustic model: a Whisper encoder for audio of any length up to 30 s, with a CTC head on 39 phonemes.

Whisper (Radford et al., 2022) pads every recording to 30 s. Here the encoder sees the recording alone, so that 3 s
cost a tenth; padding inside a batch is masked so that it changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import WhisperConfig
from transformers.models.whisper.modeling_whisper import WhisperEncoder, WhisperPreTrainedModel
from transformers.utils.generic import ModelOutput

from app.core.phonemes import CLASSES
from app.core.scoring_head import FrameProjection, ScoringHead

MEL_FRAMES_PER_FRAME = 2
"""The encoder's second convolution halves the 100 mel frames a second to 50 output frames."""


class ElocuteConfig(WhisperConfig):
    """A Whisper configuration whose vocabulary is the blank and 39 phonemes, named in order by ``phonemes``.

    ``frame_width`` and ``head_…`` are of the scoring head, see ``app.core.scoring_head``; no members, no head.
    """

    model_type = "elocute"

    phonemes: list[str] | None = None
    blank_token_id: int = 0
    frame_width: int = 128
    head_width: int = 128
    head_layers: int = 3
    head_members: int = 0

    def __post_init__(self, **kwargs: Any) -> None:
        """Fill in the class names where a configuration leaves them out."""
        if self.phonemes is None:
            self.phonemes = list(CLASSES)
        self.vocab_size = len(self.phonemes)
        self.pad_token_id = self.blank_token_id  # the CTC convention of transformers' own models
        self.bos_token_id = self.eos_token_id = self.decoder_start_token_id = self.blank_token_id
        self.begin_suppress_tokens = None
        super().__post_init__(**kwargs)  # type: ignore[no-untyped-call]


@dataclass
class AcousticOutput(ModelOutput):
    """What the model says of a batch of ``B`` recordings, padded to ``T`` frames of 20 ms.

    Attributes:
        logits: ``(B, T, 40)``, before the softmax.
        hidden_states: ``(B, T, d_model)`` after each layer, and the normalised last one at the end.
        lengths: ``(B,)``, frames of each recording that are not padding.
    """

    logits: torch.Tensor = None  # type: ignore[assignment] # transformers demands defaults; the model fills in all
    hidden_states: tuple[torch.Tensor, ...] = None  # type: ignore[assignment]
    lengths: torch.Tensor = None  # type: ignore[assignment]


class ElocuteForCTC(WhisperPreTrainedModel):
    """Whisper's encoder with a linear CTC head; ``from_pretrained`` and ``save_pretrained`` work as for any model."""

    config_class = ElocuteConfig
    base_model_prefix = ""

    def __init__(self, config: ElocuteConfig) -> None:
        super().__init__(config)
        self.encoder = WhisperEncoder(config)
        self.ctc_head = nn.Linear(config.d_model, config.vocab_size)
        self.post_init()

    def forward(self, input_features: torch.Tensor, lengths: torch.Tensor | None = None) -> AcousticOutput:
        """Run the encoder and the head.

        Args:
            input_features: ``(B, 80, M)`` log-mel frames of 10 ms, as ``WhisperFeatureExtractor`` makes them.
            lengths: ``(B,)`` mel frames of each recording that are not padding; all of them when None.

        Raises:
            ValueError: the input is longer than the position table (30 s).
        """
        batch, _, mel_frames = input_features.shape
        frames = (mel_frames + 1) // MEL_FRAMES_PER_FRAME
        if frames > self.config.max_source_positions:
            raise ValueError(f"{mel_frames} mel frames are more than {2 * self.config.max_source_positions}")
        mel_mask = mask = None
        out_lengths = torch.full((batch,), frames, device=input_features.device)
        if lengths is not None:
            mel_mask = (torch.arange(mel_frames, device=lengths.device) < lengths[:, None])[:, None]
            out_lengths = (lengths + 1) // MEL_FRAMES_PER_FRAME
            mask = (torch.arange(frames, device=lengths.device) < out_lengths[:, None])[:, None, None]
        hidden = self._embed(input_features, mel_mask)
        states = []
        for layer in self.encoder.layers:
            hidden = layer(hidden, mask)
            states.append(hidden)
        hidden = self.encoder.layer_norm(hidden)
        states.append(hidden)
        return AcousticOutput(logits=self.ctc_head(hidden), hidden_states=tuple(states), lengths=out_lengths)

    def _embed(self, mel: torch.Tensor, mel_mask: torch.Tensor | None) -> torch.Tensor:
        """The two convolutions and the positions; padding is kept at zero, as beyond the end of a lone recording."""
        if mel_mask is not None:
            mel = mel * mel_mask
        hidden = nn.functional.gelu(self.encoder.conv1(mel))
        if mel_mask is not None:
            hidden = hidden * mel_mask
        hidden = nn.functional.gelu(self.encoder.conv2(hidden)).transpose(1, 2)
        return hidden + self.encoder.embed_positions.weight[: hidden.shape[1]]


class ElocuteForScoring(ElocuteForCTC):
    """The acoustic model together with its scoring head."""

    def __init__(self, config: ElocuteConfig) -> None:
        super().__init__(config)
        self.projection = FrameProjection(config.d_model, config.encoder_layers, config.frame_width)
        self.head = ScoringHead(config.frame_width, config.head_width, config.head_layers, config.head_members)
