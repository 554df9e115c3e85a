"""A VITS model in a folder becomes a voice, or is refused with a sentence."""

from __future__ import annotations

import gc
import json
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
import transformers

from app.core.errors import ModelError
from app.core.vits_voice import VitsVoice
from app.core.voice import Phrase, PhraseWord, load_voice

library: Any = transformers  # in good part untyped
LETTERS = "_abcdefghijklmnopqrstuvwxyz' "
IPA = "_,.!? abdefhijklmnopstuvwzæɑəɚɛɜɡɪŋɔɹʃʊʌʒðθˈˌː"
SMALL: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "ffn_dim": 16,
    "flow_size": 16,
    "spectrogram_bins": 5,
    "upsample_initial_channel": 16,
    "upsample_rates": [4, 2],
    "upsample_kernel_sizes": [8, 4],
    "resblock_kernel_sizes": [3, 7],
    "resblock_dilation_sizes": [[1, 3], [1, 3]],
    "duration_predictor_num_flows": 2,
    "duration_predictor_filter_channels": 8,
    "depth_separable_num_layers": 1,
    "prior_encoder_num_flows": 2,
    "prior_encoder_num_wavenet_layers": 1,
    "posterior_encoder_num_wavenet_layers": 1,
    "sampling_rate": 8000,
}
SAY = (PhraseWord("say", ("S", "EY"), (None, 1), "."),)
HELLO = (PhraseWord("hello", ("HH", "AH", "L", "OW"), (None, 0, None, 1), "."),)


@pytest.fixture(autouse=True)
def _quiet_saving() -> Iterator[None]:
    library.utils.logging.disable_progress_bar()
    yield
    library.utils.logging.enable_progress_bar()


def save_model(
    folder: Path,
    symbols: str = IPA,
    *,
    log_duration: float = 2.0,
    tokenizer: dict[str, Any] | None = None,
    **config: Any,
) -> Path:
    """Save a tiny random model whose symbols last about ``exp(log_duration)`` frames."""
    torch.manual_seed(0)
    model = library.VitsModel(library.VitsConfig(**{**SMALL, "vocab_size": len(symbols), **config}))
    if model.config.use_stochastic_duration_prediction:
        model.duration_predictor.flows[0].translate.data[:] = -log_duration
    else:
        model.duration_predictor.proj.bias.data[:] = log_duration
    model.save_pretrained(folder)
    write_json(folder / "vocab.json", {symbol: index for index, symbol in enumerate(symbols)})
    write_json(folder / "tokenizer_config.json", tokenizer or {"phonemize": symbols == IPA})
    return folder


def write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")


def long_phrase(phonemes: int) -> Phrase:
    pairs = [("T", None), ("AA", 1)] * (phonemes // 2) + [("M", None)] * (phonemes % 2)
    return (PhraseWord("ta" * phonemes, tuple(p for p, _ in pairs), tuple(s for _, s in pairs), "."),)


@pytest.mark.parametrize(("symbols", "phonemes"), [(IPA, True), (LETTERS, False)])
def test_a_model_is_a_voice(tmp_path: Path, symbols: str, phonemes: bool) -> None:
    voice = load_voice(str(save_model(tmp_path / "tiny", symbols)))
    samples = voice.speak(HELLO, 1.0)
    assert voice.name == "tiny"
    assert voice.sample_rate == 8000
    assert voice.speaks_phonemes is phonemes
    assert samples.dtype == np.float32
    assert samples.ndim == 1
    assert len(samples) > 0.05 * 8000
    assert 0 < np.abs(samples).max() <= 1


def test_what_is_said_depends_on_the_phonemes_or_on_the_letters_alone(tmp_path: Path) -> None:
    by_phonemes, by_letters = (VitsVoice(str(save_model(tmp_path / name, name))) for name in (IPA, LETTERS))
    respelled = (PhraseWord("sigh", SAY[0].phonemes, SAY[0].stresses, "."),)
    np.testing.assert_array_equal(by_phonemes.speak(SAY, 1.0), by_phonemes.speak(respelled, 1.0))
    assert not np.array_equal(by_letters.speak(SAY, 1.0), by_letters.speak(respelled, 1.0))


def test_a_phrase_sounds_the_same_each_time_and_leaves_nothing_behind(tmp_path: Path) -> None:
    voice = VitsVoice(str(save_model(tmp_path)))
    torch.manual_seed(7)
    state = torch.get_rng_state()
    first = voice.speak(SAY, 1.0)
    torch.rand(5)
    voice.speak(HELLO, 2.0)
    np.testing.assert_array_equal(voice.speak(SAY, 1.0), first)
    torch.manual_seed(7)
    voice.speak(SAY, 0.5)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("stochastic", [True, False])
def test_speed_changes_the_length(tmp_path: Path, stochastic: bool) -> None:
    voice = VitsVoice(
        str(save_model(tmp_path, log_duration=3.0, use_stochastic_duration_prediction=stochastic, speaking_rate=2.0))
    )
    slow, own, fast = (len(voice.speak(HELLO, speed)) for speed in (0.5, 1.0, 2.0))
    assert slow / own == pytest.approx(2, rel=0.1)
    assert own / fast == pytest.approx(2, rel=0.1)


@pytest.mark.parametrize("speed", [0.5, 2.0])
@pytest.mark.parametrize("phonemes", [1, 2, 400])
@pytest.mark.parametrize("symbols", [IPA, LETTERS])
def test_the_shortest_and_the_longest_can_be_said(tmp_path: Path, symbols: str, phonemes: int, speed: float) -> None:
    voice = VitsVoice(str(save_model(tmp_path, symbols, log_duration=-1.0, tokenizer={"add_blank": False})))
    samples = voice.speak(long_phrase(phonemes), speed)
    assert len(samples)
    assert np.isfinite(samples).all()


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"upsample_rates": [8, 2, 2], "upsample_kernel_sizes": [16, 4, 4], "sampling_rate": 32000},
        {"upsample_rates": [2, 2], "upsample_kernel_sizes": [8, 4], "resblock_dilation_sizes": [[1, 3, 5]] * 2},
        {"upsample_rates": [3, 2], "upsample_kernel_sizes": [8, 4]},  # not a whole number of samples a frame
        {"num_speakers": 3, "speaker_embedding_size": 4},
    ],
)
def test_the_waveform_is_that_of_the_model_itself(tmp_path: Path, config: dict[str, Any]) -> None:
    voice = VitsVoice(str(save_model(tmp_path, log_duration=1.0, **config)))
    model = library.VitsModel.from_pretrained(tmp_path).eval()
    phrase = long_phrase(40)
    text = voice._text
    with torch.random.fork_rng(), torch.inference_mode():
        torch.manual_seed(0)
        speaker = 0 if "num_speakers" in config else None
        output = model(torch.tensor([text.ids(text.written(phrase))]), speaker_id=speaker)
    samples = voice.speak(phrase, 1.0)
    assert output.spectrogram.shape[-1] > 2 * 128  # so that there are several pieces
    np.testing.assert_allclose(samples, output.waveform[0], atol=1e-4)


def test_the_configuration_may_choose_the_speaker(tmp_path: Path) -> None:
    speakers: dict[str, Any] = {"num_speakers": 3, "speaker_embedding_size": 4}
    default, second = save_model(tmp_path / "0", **speakers), save_model(tmp_path / "1", **speakers, speaker_id=1)
    assert not np.array_equal(VitsVoice(str(default)).speak(SAY, 1.0), VitsVoice(str(second)).speak(SAY, 1.0))
    with pytest.raises(ModelError, match=r"TTS_MODEL .* has no speaker_id 3: it has 3 speakers"):
        VitsVoice(str(save_model(tmp_path / "3", **speakers, speaker_id=3)))


def test_what_cannot_be_said_is_a_short_silence(tmp_path: Path) -> None:
    samples = VitsVoice(str(save_model(tmp_path, LETTERS))).speak((PhraseWord("日本", ("N",), (None,)),), 1.0)
    np.testing.assert_array_equal(samples, np.zeros(800, dtype=np.float32))


def test_durations_that_are_off_do_not_fill_the_memory(tmp_path: Path) -> None:
    voice = VitsVoice(str(save_model(tmp_path, log_duration=30.0, tokenizer={"add_blank": False})))
    assert len(voice.speak((PhraseWord("m", ("M",), (None,)),), 0.5)) == pytest.approx(2 * 8000, rel=0.01)


def test_espeak_is_not_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the tokenizer wants the package phonemizer")

    monkeypatch.setattr(library.VitsTokenizer, "__init__", refuse)
    voice = VitsVoice(str(save_model(tmp_path, tokenizer={"phonemize": True, "tokenizer_class": "VitsTokenizer"})))
    assert len(voice.speak(HELLO, 1.0))


def test_weights_under_their_older_names_are_read(tmp_path: Path) -> None:
    expected = VitsVoice(str(save_model(tmp_path))).speak(SAY, 1.0)
    weights = safetensors.torch.load_file(tmp_path / "model.safetensors")
    older = {
        name.replace("parametrizations.weight.original0", "weight_g").replace(
            "parametrizations.weight.original1", "weight_v"
        ): weight
        for name, weight in weights.items()
    }
    assert any(name.endswith("weight_g") for name in older)
    safetensors.torch.save_file(older, tmp_path / "model.safetensors", metadata={"format": "pt"})
    np.testing.assert_array_equal(VitsVoice(str(tmp_path)).speak(SAY, 1.0), expected)


def test_a_dropped_voice_gives_its_memory_back_at_once(tmp_path: Path) -> None:
    voice = VitsVoice(str(save_model(tmp_path)))
    voice.speak(SAY, 1.0)
    weights = [weakref.ref(weight) for weight in (*voice._model.parameters(), *voice._model.buffers())]
    gc.disable()
    try:
        del voice
        assert not [weight for weight in weights if weight() is not None]
    finally:
        gc.enable()


def test_loading_and_speaking_print_nothing_and_write_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    save_model(tmp_path)
    monkeypatch.chdir(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    capfd.readouterr()
    VitsVoice(".").speak(HELLO, 1.0)
    assert capfd.readouterr() == ("", "")
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_a_folder_that_is_not_there_is_told_of(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"TTS_MODEL .* is not a folder"):
        VitsVoice(str(tmp_path / "absent"))


def test_a_hub_id_without_internet_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    def snapshot_download(repo: str, **_: Any) -> str:
        raise OSError("offline")

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    with pytest.raises(ModelError, match=r"TTS_MODEL 'facebook/mms-tts-eng' is neither a folder nor .*: offline$"):
        VitsVoice("facebook/mms-tts-eng")


def test_a_hub_id_is_the_voices_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    save_model(tmp_path)
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda repo, **_: str(tmp_path))
    assert VitsVoice("someone/voice").name == "someone/voice"


def test_a_model_that_is_not_vits_is_refused(tmp_path: Path) -> None:
    library.SpeechT5Config().save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"TTS_MODEL .* is a speecht5 model, not VITS$"):
        VitsVoice(str(tmp_path))


@pytest.mark.parametrize(
    ("symbols", "tokenizer", "reason"),
    [
        ("_абвгдежзийклмнопрстуфхцчшщъыьэюя", {"phonemize": False}, "has neither the phonemes nor the letters"),
        (LETTERS, {"phonemize": False, "is_uroman": True}, "reads a script other than ours"),
        (LETTERS, {"phonemize": True}, "cannot write the phonemes of English"),
    ],
)
def test_a_model_of_another_language_is_refused(
    tmp_path: Path, symbols: str, tokenizer: dict[str, Any], reason: str
) -> None:
    with pytest.raises(ModelError, match=f"^TTS_MODEL '.*' {reason}"):
        VitsVoice(str(save_model(tmp_path, symbols, tokenizer=tokenizer)))


def test_weights_may_lack_what_only_training_needs_and_nothing_else(tmp_path: Path) -> None:
    save_model(tmp_path)
    weights = safetensors.torch.load_file(tmp_path / "model.safetensors")
    for prefix in ("posterior_encoder.", "decoder."):
        weights = {name: weight for name, weight in weights.items() if not name.startswith(prefix)}
        safetensors.torch.save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
        if prefix == "posterior_encoder.":
            VitsVoice(str(tmp_path))
    with pytest.raises(ModelError, match=r"TTS_MODEL .* lacks weights: decoder\."):
        VitsVoice(str(tmp_path))


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "vocab.json", "tokenizer_config.json"])
@pytest.mark.parametrize("content", [None, b"", b"{", b"[]"])
def test_absent_and_broken_files_are_told_of_in_one_line(tmp_path: Path, name: str, content: bytes | None) -> None:
    folder = save_model(tmp_path)
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_bytes(content)
    elif name == "tokenizer_config.json":
        assert VitsVoice(str(folder)).speaks_phonemes
        return
    with pytest.raises(ModelError, match=r"TTS_MODEL") as caught:
        VitsVoice(str(folder))
    assert "\n" not in caught.value.detail


@pytest.mark.parametrize(
    "part", ["decoder.conv_post.weight", "text_encoder.project.bias", "text_encoder.embed_tokens.weight"]
)
def test_a_model_of_broken_numbers_is_refused(tmp_path: Path, part: str) -> None:
    save_model(tmp_path)
    weights = safetensors.torch.load_file(tmp_path / "model.safetensors")
    weights[part][:] = torch.nan
    safetensors.torch.save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"TTS_MODEL .* cannot be (used|run)"):
        VitsVoice(str(tmp_path))
