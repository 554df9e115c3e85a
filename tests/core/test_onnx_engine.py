"""The int8 engine: what it loads, what it refuses, and how near it is to full precision."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from app.core.acoustic_engine import BUILT_IN_MODEL, load_engine
from app.core.errors import ModelError
from app.core.onnx_engine import GRAPH_FILE, WEIGHT_LEVELS, OnnxEngine, quantize
from app.core.torch_engine import TorchEngine
from tests.voice import say
from training.export_graph import export_graph


def test_it_says_what_full_precision_says() -> None:
    waveform = say("She bought seven green apples from the market.")
    ours, theirs = OnnxEngine().posteriors(waveform), TorchEngine().posteriors(waveform)
    assert ours.log_probs.shape == theirs.log_probs.shape
    assert ours.frames is not None
    assert theirs.frames is not None
    assert ours.frames.shape == theirs.frames.shape
    distance = np.abs(np.exp(ours.log_probs) - np.exp(theirs.log_probs)).sum(axis=1).mean()
    assert distance < 0.03
    assert np.allclose(np.exp(ours.log_probs).sum(axis=1), 1, atol=1e-4)


def test_the_committed_graph_is_the_one_that_the_command_writes(tmp_path: Path) -> None:
    shutil.copy(BUILT_IN_MODEL / "config.json", tmp_path)
    assert export_graph(tmp_path).read_bytes() == (BUILT_IN_MODEL / GRAPH_FILE).read_bytes()


def test_a_folder_in_its_layout_is_loaded_and_named(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    for name in (GRAPH_FILE, "config.json", "model.safetensors"):
        (folder / name).symlink_to(BUILT_IN_MODEL / name)
    assert load_engine(str(folder), quantized=True).name == "mine-int8"
    (folder / GRAPH_FILE).unlink()
    assert load_engine(str(folder), quantized=True).name in ("mine-bf16", "mine-fp32"), "no graph: PyTorch"


@pytest.mark.parametrize("broken", ["nothing", "no weights", "garbage", "another size"])
def test_what_is_no_model_is_refused(tmp_path: Path, broken: str) -> None:
    if broken != "nothing":
        (tmp_path / GRAPH_FILE).write_bytes((BUILT_IN_MODEL / GRAPH_FILE).read_bytes())
    if broken == "garbage":
        (tmp_path / "model.safetensors").write_bytes(b"no tensors")
    if broken == "another size":
        config = json.loads((BUILT_IN_MODEL / "config.json").read_text(encoding="utf-8"))
        (tmp_path / "config.json").write_text(json.dumps(config | {"d_model": 256}), encoding="utf-8")
        export_graph(tmp_path)
        (tmp_path / "model.safetensors").symlink_to(BUILT_IN_MODEL / "model.safetensors")
    with pytest.raises(ModelError, match="no model of the built-in kind"):
        OnnxEngine(tmp_path)


@given(arrays.arrays(np.float32, (7, 3), elements=st.floats(-100, 100, width=32)))
def test_quantized_weights_are_half_a_step_off_at_most(
    weight: NDArray[np.float32],
) -> None:
    levels, scale = quantize(weight)
    assert np.abs(levels).max() <= WEIGHT_LEVELS
    assert (np.abs(levels * scale - weight) <= scale * 0.501 + 1e-30).all()


def test_no_pair_of_products_overflows_16_bits() -> None:
    """What processors without VNNI add up before they widen: two products of 8-bit activations and weights."""
    assert 2 * 255 * WEIGHT_LEVELS < 2**15
