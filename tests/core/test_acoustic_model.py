"""The acoustic model is Whisper's encoder on audio of any length, in transformers' own layout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import WhisperConfig
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from app.core.acoustic_engine import BUILT_IN_MODEL, FAST_MODEL
from app.core.acoustic_model import ElocuteConfig, ElocuteForCTC, ElocuteForScoring
from app.core.phonemes import CLASSES

SIZE: dict[str, Any] = {
    "d_model": 16,
    "encoder_layers": 2,
    "encoder_attention_heads": 2,
    "encoder_ffn_dim": 32,
    "max_source_positions": 50,
}


@pytest.fixture
def model() -> ElocuteForCTC:
    torch.manual_seed(0)
    new = ElocuteForCTC(ElocuteConfig(**SIZE))
    new.eval()
    return new


@torch.inference_mode()
def test_on_a_whole_window_it_is_whisper_s_encoder(model: ElocuteForCTC) -> None:
    whisper = WhisperEncoder(WhisperConfig(**SIZE)).eval()
    whisper.load_state_dict(model.encoder.state_dict())
    mel = torch.randn(2, 80, 100)
    assert torch.allclose(model(mel).hidden_states[-1], whisper(mel).last_hidden_state, atol=1e-5)


@torch.inference_mode()
@pytest.mark.parametrize("frames", [1, 2, 7, 60, 61, 100])
def test_padding_in_a_batch_changes_nothing(model: ElocuteForCTC, frames: int) -> None:
    mel = torch.randn(2, 80, 100)
    together = model(mel, torch.tensor([100, frames]))
    alone = model(mel[1:, :, :frames])
    length = int(together.lengths[1])
    assert length == alone.logits.shape[1] == (frames + 1) // 2
    assert torch.allclose(together.logits[1, :length], alone.logits[0], atol=1e-4)


@torch.inference_mode()
def test_longer_than_the_position_table_is_refused(model: ElocuteForCTC) -> None:
    with pytest.raises(ValueError, match="101 mel frames"):
        model(torch.zeros(1, 80, 101))


@torch.inference_mode()
def test_it_is_saved_and_loaded_as_any_model_of_transformers(model: ElocuteForCTC, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path)
    again = ElocuteForCTC.from_pretrained(tmp_path).eval()
    mel = torch.randn(1, 80, 30)
    assert torch.equal(again(mel).logits, model(mel).logits)
    assert again.config.phonemes == list(CLASSES)


@pytest.mark.parametrize(("folder", "millions"), [(BUILT_IN_MODEL, 23), (FAST_MODEL, 10.6)])
def test_the_committed_models_are_whole_and_small(folder: Path, millions: float) -> None:
    loaded: Any = ElocuteForScoring.from_pretrained(folder, output_loading_info=True)
    model, info = loaded
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert model.config.vocab_size == len(CLASSES) == 40
    assert sum(p.numel() for p in model.parameters()) < millions * 1e6
    assert (folder / "README.md").is_file()


def test_the_committed_models_take_80_mb_together() -> None:
    files = [file for folder in (BUILT_IN_MODEL, FAST_MODEL) for file in folder.iterdir()]
    assert sum(file.stat().st_size for file in files) < 80e6
