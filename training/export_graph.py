"""Write the graphs that ONNX Runtime runs, beside a model's weights: structure only, some kilobytes.

    python -m training.export_graph MODEL_FOLDER

The weights stay in model.safetensors, the one place for them; ``app.core.onnx_engine`` quantizes them as it loads. The
encoder's graph is written node by node, as its layers are to be int8; the scoring head's is exported by PyTorch.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from app.core.head_scorer import HEAD_FILE
from app.core.onnx_engine import GRAPH_FILE

OPSET, CONTRIB_OPSET, IR_VERSION = 17, 1, 10
_CONTRIB = "com.microsoft"
_SMALL = 128  # bytes up to which onnxruntime wants a tensor inside the graph


def export_graph(folder: Path) -> Path:
    """Write the encoder's graph for ``folder``'s config.json and return its path.

    Args:
        folder: a model in the layout of ``app.core.acoustic_model``.
    """
    import onnx

    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    path = folder / GRAPH_FILE
    onnx.save(_Graph(config).build(), path)
    return path


def export_head(folder: Path) -> Path:
    """Write the scoring head's graph for the model in ``folder`` and return its path."""
    import onnx
    import torch

    from app.core.acoustic_model import ElocuteForScoring
    from app.core.scoring_head import HeadInputs, HeadOutputs

    model = ElocuteForScoring.from_pretrained(folder, dtype=torch.float32).eval()
    phonemes, words = torch.export.Dim("phonemes", min=1, max=4096), torch.export.Dim("words", min=1, max=4096)
    by_phoneme = {1: phonemes}
    shapes = [by_phoneme] * len(HeadInputs._fields)
    shapes[HeadInputs._fields.index("membership")] = {1: words, 2: phonemes}
    shapes[HeadInputs._fields.index("delivery")] = {}
    program = torch.onnx.export(
        _flat(model.head).eval(),
        tuple(example_inputs(2 * model.config.frame_width)),
        dynamo=True,
        dynamic_shapes=(tuple(shapes),),
        input_names=HeadInputs._fields,
        output_names=HeadOutputs._fields,
        optimize=False,  # it would fold weights into constants, under other names
        verbose=False,
    )
    if program is None:  # it is one with dynamo, whatever the types say
        raise ValueError("PyTorch gave no graph")
    graph = program.model_proto
    _without_weights(graph)
    onnx.save(graph, path := folder / HEAD_FILE)
    return path


def example_inputs(frame_width: int, phonemes: int = 7, words: int = 3) -> Any:
    """Random inputs of the head, one sentence."""
    import torch

    from app.core.phoneme_tokens import DELIVERY, PLACES, SEGMENT_FRAMES, STRESSES, TIMING
    from app.core.phonemes import CLASSES, PHONEMES
    from app.core.scoring_head import HeadInputs

    segments = (1, phonemes, SEGMENT_FRAMES)
    return HeadInputs(
        log_probs=torch.randn(*segments, len(CLASSES)).log_softmax(-1),
        frames=torch.randn(*segments, frame_width),
        contour=torch.rand(*segments, 3),
        mask=(torch.arange(SEGMENT_FRAMES) < torch.randint(1, SEGMENT_FRAMES, segments[:2])[..., None]).float(),
        phoneme=torch.randint(0, len(PHONEMES), segments[:2]),
        stress=torch.randint(0, len(STRESSES), segments[:2]),
        place=torch.randint(0, len(PLACES), segments[:2]),
        timing=torch.rand(*segments[:2], len(TIMING)),
        membership=(torch.arange(words)[:, None] == torch.arange(phonemes) * words // phonemes)[None].float(),
        delivery=torch.rand(1, len(DELIVERY)),
    )


def _flat(head: Any) -> Any:
    """The head as the exporter wants it: tensors in, tensors out."""
    import torch

    from app.core.scoring_head import HeadInputs

    class Flat(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = head

        def forward(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
            return tuple(self.head(HeadInputs(*inputs)))

    return Flat()


def _without_weights(graph: Any) -> None:
    """Leave the parameters out; the scorer brings them, by the same names."""
    from onnx import TensorProto

    for tensor in graph.graph.initializer:
        if tensor.name.startswith("head."):
            tensor.ClearField("raw_data")
            tensor.ClearField("external_data")
            tensor.data_location = TensorProto.EXTERNAL
            tensor.external_data.add(key="location", value="model.safetensors")
    for node in graph.graph.node:  # where in the source each was traced: no business of the graph
        node.ClearField("metadata_props")
        node.ClearField("doc_string")
    graph.graph.ClearField("value_info")
    graph.graph.ClearField("metadata_props")


class _Graph:
    """The encoder of ``app.core.acoustic_model.ElocuteForCTC``, node by node."""

    def __init__(self, config: dict[str, Any]) -> None:
        from onnx import TensorProto, helper

        self._onnx, self._types = helper, TensorProto
        self._config = config
        self._width: int = config["d_model"]
        self._has_head: bool = config.get("head_members", 0) > 0
        self._nodes: list[Any] = []
        self._weights: list[Any] = []

    def build(self) -> Any:
        """The model, its outputs ``log_probs`` (1, T, 40) and, where it has a head, ``frames`` (1, T, F)."""
        config, width = self._config, self._width
        x = self._conv("mel", "encoder.conv1", config["num_mel_bins"], stride=1)
        x = self._conv(x, "encoder.conv2", width, stride=2)
        x = self._node("Transpose", [x], perm=[0, 2, 1])
        positions = self._weight("encoder.embed_positions.weight", [config["max_source_positions"], width])
        frames = self._node("Shape", [x], start=1, end=2)
        x = self._node("Add", [x, self._node("Slice", [positions, self._ints("zero", 0), frames])])
        total = ""
        for layer in range(config["encoder_layers"]):
            x = self._layer(x, f"encoder.layers.{layer}.")
            if self._has_head:
                normed = self._norm(x, f"projection.norms.{layer}")
                total = self._node("Add", [total, normed]) if total else normed  # so that one sum is kept, not all
        x = self._norm(x, "encoder.layer_norm")
        if self._has_head:
            sharp = self._projection(x, "projection.sharp")
            mean = self._node("Mul", [total, self._float("share", 1 / config["encoder_layers"])])
            smooth = self._projection(mean, "projection.smooth")
            self._node("Concat", [sharp, smooth], output="frames", axis=-1)
        head = self._weight("ctc_head.weight.transposed", [width, config["vocab_size"]])
        logits = self._node("MatMul", [x, head])
        logits = self._node("Add", [logits, self._weight("ctc_head.bias", [config["vocab_size"]])])
        self._node("LogSoftmax", [logits], output="log_probs", axis=-1)
        return self._model()

    def _projection(self, x: str, name: str) -> str:
        weight = self._weight(f"{name}.weight.transposed", [self._width, self._config["frame_width"]])
        x = self._node("MatMul", [x, weight])
        return self._node("Add", [x, self._weight(f"{name}.bias", [self._config["frame_width"]])])

    def _layer(self, x: str, name: str) -> str:
        width, hidden = self._width, self._config["encoder_ffn_dim"]
        h = self._norm(x, f"{name}self_attn_layer_norm")
        q = self._linear(h, f"{name}self_attn.q_proj", width, width)
        k = self._linear(h, f"{name}self_attn.k_proj", width, width, bias=False)
        v = self._linear(h, f"{name}self_attn.v_proj", width, width)
        heads = self._config["encoder_attention_heads"]
        attended = self._node("MultiHeadAttention", [q, k, v], domain=_CONTRIB, num_heads=heads)
        x = self._node("Add", [x, self._linear(attended, f"{name}self_attn.out_proj", width, width)])
        h = self._linear(self._norm(x, f"{name}final_layer_norm"), f"{name}fc1", width, hidden)
        h = self._node("Gelu", [h], domain=_CONTRIB)
        return self._node("Add", [x, self._linear(h, f"{name}fc2", hidden, width)])

    def _conv(self, x: str, name: str, channels: int, stride: int) -> str:
        weight, bias = self._weight(f"{name}.weight", [self._width, channels, 3]), self._weight(f"{name}.bias")
        x = self._node("Conv", [x, weight, bias], kernel_shape=[3], pads=[1, 1], strides=[stride])
        return self._node("Gelu", [x], domain=_CONTRIB)

    def _linear(self, x: str, name: str, inputs: int, outputs: int, *, bias: bool = True) -> str:
        inputs_ = [
            x,
            self._weight(f"{name}.weight.int8", [inputs, outputs], self._types.INT8),
            self._weight(f"{name}.weight.scale", [outputs]),
        ]
        if bias:
            inputs_ += ["", self._weight(f"{name}.bias", [outputs])]  # "": no zero points, the weights are symmetric
        return self._node("DynamicQuantizeMatMul", inputs_, domain=_CONTRIB)

    def _norm(self, x: str, name: str, output: str | None = None) -> str:
        scale, bias = self._weight(f"{name}.weight"), self._weight(f"{name}.bias")
        return self._node("LayerNormalization", [x, scale, bias], output=output, axis=-1, epsilon=1e-5)

    def _node(self, kind: str, inputs: list[str], *, output: str | None = None, domain: str = "", **given: Any) -> str:
        output = output or f"{kind.lower()}_{len(self._nodes)}"
        self._nodes.append(self._onnx.make_node(kind, inputs, [output], domain=domain, **given))
        return output

    def _weight(self, name: str, shape: list[int] | None = None, kind: int | None = None) -> str:
        """A tensor that the engine brings, by the name of the parameter it is made from."""
        tensor = self._types(name=name, dims=shape or [self._width], data_type=kind or self._types.FLOAT)
        tensor.data_location = self._types.EXTERNAL
        tensor.external_data.add(key="location", value="model.safetensors")  # never opened: it has to say something
        self._weights.append(tensor)
        return name

    def _float(self, name: str, value: float) -> str:
        self._weights.append(self._onnx.make_tensor(name, self._types.FLOAT, [], [value]))
        return name

    def _ints(self, name: str, value: int) -> str:
        self._weights.append(self._onnx.make_tensor(name, self._types.INT64, [1], [value]))
        return name

    def _model(self) -> Any:
        info, real = self._onnx.make_tensor_value_info, self._types.FLOAT
        inputs = [info("mel", real, [1, self._config["num_mel_bins"], "mel_frames"])]
        outputs = [info("log_probs", real, [1, "frames", self._config["vocab_size"]])]
        if self._has_head:
            outputs.append(info("frames", real, [1, "frames", 2 * self._config["frame_width"]]))
        graph = self._onnx.make_graph(self._nodes, "elocute", inputs, outputs, self._weights)
        opsets = [self._onnx.make_opsetid("", OPSET), self._onnx.make_opsetid(_CONTRIB, CONTRIB_OPSET)]
        return self._onnx.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="elocute")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    for path in (export_graph(folder), export_head(folder)):
        print(f"{path}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
