"""Cross-encoders on onnxruntime: a model that reads a question and a text together and says how well they fit."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from models.onnx_text import OnnxText, by_length, from_hub, graph_in
from operators.ports import Vectors
from schemas.errors import ModelMissing

__all__ = ["OnnxReranker"]

BATCH = 16
MOST_TOKENS = 512


class OnnxReranker:
    """A cross-encoder such as cross-encoder/ms-marco-MiniLM-L6-v2 or BAAI/bge-reranker-base, exported to ONNX.

    Loaded at first use, usable from any thread. The graph takes `input_ids` and `attention_mask`, and `token_type_ids`
    where it wants them, and gives one logit per pair.
    """

    def __init__(self, source: str, threads: int = 1) -> None:
        """Find the weights; they are read at the first question.

        Args:
            source: A folder with an .onnx graph and its tokenizer.json, or the name of a model at the hub.
            threads: Of the processor.

        Raises:
            ModelMissing: There is no such folder, and no such model in the hub's cache or at the hub.
        """
        folder = Path(source)
        if not folder.is_dir():
            folder = from_hub(
                source,
                no_client=f"{source} is no folder, and the hub's client is not installed",
                no_model=f"{source} is no folder, and no model that can be downloaded from the hub",
            )
        graph = graph_in(folder)
        if not graph:
            raise ModelMissing(f"{source} holds no .onnx graph with a tokenizer.json; unset REJOINDER_RERANKER")
        name = folder.name if Path(source).is_dir() else source
        self._name = f"{name} ({Path(graph).stem})"
        self._model = OnnxText(folder, graph, threads, MOST_TOKENS, "only_second")

    @property
    def name(self) -> str:
        """Name of the weights."""
        return self._name

    def scores(self, query: str, texts: Sequence[str]) -> Vectors:
        """Give a logit per text, shape (texts,): the higher, the better it answers."""
        found = np.empty(len(texts), np.float32)
        for part in by_length(texts, BATCH):
            logits, _ = self._model.run([(query, texts[number]) for number in part])
            found[part] = np.asarray(logits, np.float32).reshape(len(part), -1)[:, -1]
        return found
