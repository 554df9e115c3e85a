"""A Hugging Face CTC phoneme model in a folder becomes an acoustic engine, or is refused with a sentence."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from numpy.typing import NDArray

from app.core.errors import ModelError
from app.core.hugging_face_engine import HuggingFaceEngine, blank_id
from app.core.phonemes import ARPABET_TO_IPA, BLANK, CLASS_IDS, CLASSES

library: Any = transformers  # in good part untyped
IPA = ["<s>", "<pad>", "</s>", "<unk>", *ARPABET_TO_IPA.values(), "oːɹ", "ɾ", "ɬ"]
ARPABET = ["h#", *(name.lower() for name in ARPABET_TO_IPA), "[PAD]", "dx", "ax"]
LETTERS = ["<pad>", "<s>", "</s>", "<unk>", "|", *"ABCDEFGHIJKLMNOPQRSTUVWXYZ'"]
SMALL: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "conv_dim": (8,) * 7,
    "num_conv_pos_embeddings": 4,
    "num_conv_pos_embedding_groups": 2,
}
PHONEME_TOKENIZER = {"tokenizer_class": "Wav2Vec2PhonemeCTCTokenizer", "pad_token": "<pad>"}
FAMILIES = {
    "wav2vec2": (transformers.Wav2Vec2Config, transformers.Wav2Vec2ForCTC),
    "hubert": (transformers.HubertConfig, transformers.HubertForCTC),
    "wavlm": (transformers.WavLMConfig, transformers.WavLMForCTC),
    "conformer": (transformers.Wav2Vec2ConformerConfig, transformers.Wav2Vec2ConformerForCTC),
}


def save_model(
    folder: Path,
    *,
    symbols: Sequence[str] = IPA,
    family: str = "wav2vec2",
    tokenizer: dict[str, Any] | None = PHONEME_TOKENIZER,
    says: str | None = None,
    rate: int = 16000,
    do_normalize: bool = True,
    **config: Any,
) -> Path:
    """Save a tiny random model; with ``says``, one whose every frame is (nearly) sure of that symbol."""
    torch.manual_seed(0)
    make_config, make_model = FAMILIES[family]
    model = make_model(make_config(**{**SMALL, "vocab_size": len(symbols), "pad_token_id": 1, **config}))
    if says is not None:
        model.lm_head.bias.data[list(symbols).index(says)] = 20
    model.save_pretrained(folder)
    library.Wav2Vec2FeatureExtractor(
        sampling_rate=rate, do_normalize=do_normalize, return_attention_mask=True
    ).save_pretrained(folder)
    write_json(folder / "vocab.json", {symbol: index for index, symbol in enumerate(symbols)})
    if tokenizer is not None:
        write_json(folder / "tokenizer_config.json", tokenizer)
    return folder


def write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")


def noise(seconds: float) -> NDArray[np.float32]:
    return np.random.default_rng(0).normal(0, 0.1, int(seconds * 16000)).astype(np.float32)


@pytest.fixture(autouse=True)
def _quiet_saving() -> Any:
    library.utils.logging.disable_progress_bar()
    yield
    library.utils.logging.enable_progress_bar()


def mean_probabilities(engine: HuggingFaceEngine) -> dict[str, float]:
    means = np.exp(engine.posteriors(noise(0.5)).log_probs).mean(axis=0)
    return dict(zip(CLASSES, means.tolist(), strict=True))


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_gives_normalised_posteriors_and_has_no_head(tmp_path: Path, family: str) -> None:
    engine = HuggingFaceEngine(str(save_model(tmp_path / "tiny", family=family)))
    first, second = engine.posteriors(noise(2.0)), engine.posteriors(noise(2.0))
    assert first.frame_seconds == pytest.approx(0.02)
    assert first.log_probs.shape == (99, 40)
    assert first.log_probs.dtype == np.float32
    assert first.frames is None
    assert engine.head_folder is None
    np.testing.assert_allclose(np.exp(first.log_probs).sum(axis=1), 1, atol=1e-5)
    np.testing.assert_array_equal(first.log_probs, second.log_probs)
    assert engine.name == "tiny"


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("samples", [0, 1, 399, 1600])
def test_very_short_inputs_give_a_frame(tmp_path: Path, family: str, samples: int) -> None:
    engine = HuggingFaceEngine(str(save_model(tmp_path, family=family)))
    posteriors = engine.posteriors(noise(samples / 16000))
    assert len(posteriors.log_probs) >= 1
    assert np.isfinite(posteriors.log_probs).all()


@pytest.mark.filterwarnings("ignore:Support for mismatched key_padding_mask")
@pytest.mark.parametrize("normalise", [True, False])
@pytest.mark.parametrize("family", FAMILIES)
def test_outputs_are_those_of_the_model_with_its_own_feature_extractor(
    tmp_path: Path, family: str, normalise: bool
) -> None:
    save_model(tmp_path, family=family, do_normalize=normalise)
    engine = HuggingFaceEngine(str(tmp_path))
    model = transformers.AutoModelForCTC.from_pretrained(tmp_path).eval()
    wave = noise(1.0)
    if not normalise:
        values = torch.from_numpy(wave)[None]
    else:
        values = torch.from_numpy((wave - wave.mean()) / np.sqrt(wave.var() + 1e-7))[None]
    with torch.inference_mode():
        output = model(values, attention_mask=torch.ones_like(values, dtype=torch.int32))
    posteriors = engine.posteriors(wave)
    probabilities = output.logits[0].softmax(-1).numpy()
    english = 1 - probabilities[:, IPA.index("ɬ")]
    np.testing.assert_allclose(
        np.exp(posteriors.log_probs[:, CLASS_IDS["SH"]]), probabilities[:, IPA.index("ʃ")] / english, rtol=1e-3
    )


@pytest.mark.parametrize(
    ("says", "heard"),
    [
        ("aɪ", {"AY": 1}),
        ("ð", {"DH": 1}),
        ("oːɹ", {"AO": 0.5, "R": 0.5}),
        ("ɾ", {"T": 0.5, "D": 0.5}),
        ("<pad>", {BLANK: 1}),
        ("<unk>", {BLANK: 1}),
    ],
)
def test_the_class_of_what_the_model_says_gets_the_mass(tmp_path: Path, says: str, heard: dict[str, float]) -> None:
    means = mean_probabilities(HuggingFaceEngine(str(save_model(tmp_path, says=says))))
    for name, expected in heard.items():
        assert means[name] == pytest.approx(expected, abs=1e-3)


def test_a_foreign_sound_is_dropped_and_the_rest_rescaled(tmp_path: Path) -> None:
    foreign = mean_probabilities(HuggingFaceEngine(str(save_model(tmp_path / "a", says="ɬ"))))
    without = mean_probabilities(HuggingFaceEngine(str(save_model(tmp_path / "b"))))
    assert foreign == pytest.approx(without, abs=1e-5)


@pytest.mark.parametrize(("says", "heard"), [("zh", "ZH"), ("ax", "AH"), ("h#", BLANK), ("[PAD]", BLANK), ("y", "Y")])
def test_arpabet_vocabulary(tmp_path: Path, says: str, heard: str) -> None:
    tokenizer = {"tokenizer_class": "Wav2Vec2CTCTokenizer", "pad_token": "[PAD]"}
    folder = save_model(tmp_path, symbols=ARPABET, tokenizer=tokenizer, says=says, pad_token_id=0)
    assert mean_probabilities(HuggingFaceEngine(str(folder)))[heard] > 0.99


def test_letters_are_refused(tmp_path: Path) -> None:
    folder = save_model(tmp_path, symbols=LETTERS, tokenizer={"tokenizer_class": "Wav2Vec2CTCTokenizer"})
    with pytest.raises(ModelError, match=r"PHONEME_MODEL .* writes letters.* not the phonemes.*NG.*SH.*TH"):
        HuggingFaceEngine(str(folder))


@pytest.mark.parametrize(
    ("pad", "config", "expected", "warnings"),
    [
        ("<pad>", {"pad_token_id": 2}, 1, 0),
        (None, {"pad_token_id": 2}, 2, 0),
        ("[absent]", {"pad_token_id": 2}, 2, 0),
        ("[beyond]", {"pad_token_id": 2}, 2, 1),
        (None, {"pad_token_id": 4}, 0, 1),
        (None, {"pad_token_id": -1, "blank_token_id": 3}, 3, 1),
        ("[beyond]", {"pad_token_id": 4, "blank_token_id": 9}, 0, 3),
        (None, {"pad_token_id": None}, 0, 0),
        (None, {}, 0, 0),
    ],
)
def test_blank_is_the_pad_token_then_the_configured_then_zero(
    pad: str | None, config: dict[str, Any], expected: int, warnings: int, caplog: pytest.LogCaptureFixture
) -> None:
    symbols = {"a": 0, "<pad>": 1, "b": 2, "c": 3, "[beyond]": 4}
    with caplog.at_level(logging.WARNING, "app.core.hugging_face_engine"):
        assert blank_id(symbols, pad, config, outputs=4) == expected
    assert len(caplog.records) == warnings


@pytest.mark.parametrize(
    ("tokenizer", "config_pad", "blank"),
    [
        (PHONEME_TOKENIZER, 10, "<pad>"),
        ({**PHONEME_TOKENIZER, "pad_token": None}, IPA.index("ɬ"), "ɬ"),
        ({**PHONEME_TOKENIZER, "pad_token": "[PAD]"}, IPA.index("ɬ"), "ɬ"),  # added beyond the model's outputs
        ({**PHONEME_TOKENIZER, "pad_token": None}, 999, "<s>"),
        (None, 10, "<pad>"),
        ({"tokenizer_class": "NoSuchTokenizer", "pad_token": {"content": "ɬ"}}, 10, "ɬ"),
    ],
)
def test_the_blank_of_a_saved_model(
    tmp_path: Path, tokenizer: dict[str, Any] | None, config_pad: int, blank: str
) -> None:
    folder = save_model(tmp_path, tokenizer=tokenizer, says=blank)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    write_json(folder / "config.json", {**config, "pad_token_id": config_pad})
    assert mean_probabilities(HuggingFaceEngine(str(folder)))[BLANK] > 0.99


def test_outputs_without_a_symbol_and_phonemes_without_an_output_do_no_harm(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    symbols = [symbol for symbol in IPA if symbol != "ʒ"]
    folder = save_model(tmp_path, symbols=symbols, vocab_size=len(symbols) + 3, says="ʃ")
    with caplog.at_level(logging.WARNING, "app.core.hugging_face_engine"):
        means = mean_probabilities(HuggingFaceEngine(str(folder)))
    assert "no symbol of its own for ZH" in caplog.text
    assert means["SH"] == pytest.approx(0.75, abs=1e-3)
    assert means["ZH"] == pytest.approx(0.25, abs=1e-3)


def test_adapters_make_frames_longer(tmp_path: Path) -> None:
    folder = save_model(tmp_path, add_adapter=True, num_adapter_layers=1, output_hidden_size=16)
    posteriors = HuggingFaceEngine(str(folder)).posteriors(noise(2.0))
    assert posteriors.frame_seconds == pytest.approx(0.04)
    assert len(posteriors.log_probs) == pytest.approx(50, abs=1)


def test_bfloat16_says_the_same(tmp_path: Path) -> None:
    folder = save_model(tmp_path, says="aɪ")
    posteriors = HuggingFaceEngine(str(folder), dtype="bfloat16").posteriors(noise(0.5))
    assert posteriors.log_probs.dtype == np.float32
    assert (posteriors.log_probs.argmax(axis=1) == CLASS_IDS["AY"]).all()


def test_more_than_the_window_is_refused(tmp_path: Path) -> None:
    engine = HuggingFaceEngine(str(save_model(tmp_path)), window_seconds=0.5)
    assert len(engine.posteriors(noise(0.5)).log_probs) > 20
    with pytest.raises(ValueError, match="window"):
        engine.posteriors(noise(0.51))


def test_a_missing_folder_is_named() -> None:
    for model in ("/nowhere/at/all", "./nowhere", "one/two/three"):
        with pytest.raises(ModelError, match=rf"PHONEME_MODEL '{model}' is not a folder"):
            HuggingFaceEngine(model)


def test_a_hub_id_without_internet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelError, match=r"PHONEME_MODEL 'someone/phonemes' is neither a folder nor") as caught:
        HuggingFaceEngine("someone/phonemes")
    assert caught.value.__cause__ is not None


def test_a_hub_id_is_fetched_once_and_named_as_given(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder, asked = save_model(tmp_path / "snapshot"), []

    def snapshot_download(repo: str, **_: Any) -> str:
        asked.append(repo)
        return str(folder)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    assert HuggingFaceEngine("someone/phonemes").name == "someone/phonemes"
    assert asked == ["someone/phonemes"]


def test_a_model_that_was_only_pretrained_is_refused(tmp_path: Path) -> None:
    folder = save_model(tmp_path)
    transformers.AutoModelForCTC.from_pretrained(folder).wav2vec2.save_pretrained(folder)
    with pytest.raises(ModelError, match=r"PHONEME_MODEL .* no trained CTC head"):
        HuggingFaceEngine(str(folder))


def test_a_model_without_ctc_is_refused(tmp_path: Path) -> None:
    transformers.WhisperConfig().save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"PHONEME_MODEL .* is a whisper model, for which there is no CTC head"):
        HuggingFaceEngine(str(tmp_path))


def test_another_sample_rate_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"PHONEME_MODEL .* wants audio at 8000 Hz"):
        HuggingFaceEngine(str(save_model(tmp_path, rate=8000)))


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "preprocessor_config.json"])
@pytest.mark.parametrize("content", [None, b"", b"{"])
def test_absent_and_broken_files_are_told_of_in_one_line(tmp_path: Path, name: str, content: bytes | None) -> None:
    folder = save_model(tmp_path)
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_bytes(content)
    with pytest.raises(ModelError, match="PHONEME_MODEL") as caught:
        HuggingFaceEngine(str(folder))
    assert "\n" not in caught.value.detail
    assert caught.value.__cause__ is not None


def test_outputs_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    folder = save_model(tmp_path)
    model = transformers.AutoModelForCTC.from_pretrained(folder)
    model.lm_head.bias.data[0] = torch.nan
    model.save_pretrained(folder)
    with pytest.raises(ModelError, match="not finite"):
        HuggingFaceEngine(str(folder))


def test_loading_prints_nothing_and_restores_the_libraries_settings(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = save_model(tmp_path)
    settings = library.utils.logging
    settings.enable_progress_bar()
    before = settings.get_verbosity()
    capfd.readouterr()
    HuggingFaceEngine(str(folder))
    assert capfd.readouterr() == ("", "")
    assert settings.get_verbosity() == before
    assert settings.is_progress_bar_enabled()
