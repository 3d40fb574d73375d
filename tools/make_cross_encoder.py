"""Makes the cross-encoder of the tests: its logit is the number of the text's tokens that the question holds too.

``uv run --with onnx python tools/make_cross_encoder.py`` writes ``tests/data/cross_encoder/model.onnx``.
"""

from pathlib import Path

import onnx
from onnx import TensorProto, helper

OUT = Path(__file__).parents[1] / "tests" / "data" / "cross_encoder" / "model.onnx"
NAMES = ("input_ids", "attention_mask", "token_type_ids")


def node(kind: str, inputs: list[str], output: str, **attributes: object) -> onnx.NodeProto:
    """Give a node with one output."""
    return helper.make_node(kind, inputs, [output], **attributes)


def main() -> None:
    """Build, check and write."""
    numbers = {"zero": [0], "one": [1], "two": [2]}
    constants = [helper.make_tensor(name, TensorProto.INT64, [1], value) for name, value in numbers.items()]
    nodes = [
        node("Sub", ["one", "token_type_ids"], "of_question"),
        node("Mul", ["of_question", "attention_mask"], "question"),
        node("Mul", ["token_type_ids", "attention_mask"], "text"),
        node("Unsqueeze", ["input_ids", "two"], "down"),
        node("Unsqueeze", ["input_ids", "one"], "across"),
        node("Equal", ["down", "across"], "same_or_not"),
        node("Cast", ["same_or_not"], "same", to=TensorProto.INT64),
        node("Unsqueeze", ["question", "two"], "question_down"),
        node("Mul", ["same", "question_down"], "matches"),
        node("ReduceMax", ["matches", "one"], "matched", keepdims=0),
        node("Mul", ["matched", "text"], "shared"),
        node("ReduceSum", ["shared", "one"], "count", keepdims=1),
        node("Cast", ["count"], "logits", to=TensorProto.FLOAT),
    ]
    graph = helper.make_graph(
        nodes,
        "shared_tokens",
        [helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "tokens"]) for name in NAMES],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 1])],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_bytes(model.SerializeToString())


if __name__ == "__main__":
    main()
