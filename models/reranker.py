"""Cross-encoders on onnxruntime: a model that reads a question and a text together and says how well they fit."""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from operators.ports import Vectors
from schemas.errors import ModelMissing

__all__ = ["OnnxReranker"]

BATCH = 16
MOST_TOKENS = 512
GRAPHS = ("*.onnx", "onnx/model.onnx")


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
        self._folder = Path(source) if Path(source).is_dir() else _from_hub(source)
        graphs = [graph for pattern in GRAPHS for graph in sorted(self._folder.glob(pattern))]
        if not graphs or not (self._folder / "tokenizer.json").exists():
            raise ModelMissing(f"{source} holds no .onnx graph with a tokenizer.json; unset REJOINDER_RERANKER")
        self._graph, self._threads = graphs[0], threads
        self._name = self._folder.name if Path(source).is_dir() else source
        self._lock = threading.Lock()
        self._session: Any = None
        self._tokenizer: Any = None

    @property
    def name(self) -> str:
        """Name of the weights."""
        return f"{self._name} ({self._graph.stem})"

    def _load(self) -> None:
        with self._lock:
            if self._session is not None:
                return
            import onnxruntime
            from tokenizers import Tokenizer

            tokenizer = Tokenizer.from_file(str(self._folder / "tokenizer.json"))
            tokenizer.enable_truncation(MOST_TOKENS, strategy="only_second")
            tokenizer.enable_padding()
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = self._threads
            options.inter_op_num_threads = 1
            options.log_severity_level = 3
            self._tokenizer = tokenizer
            self._session = onnxruntime.InferenceSession(str(self._graph), options, providers=["CPUExecutionProvider"])

    def scores(self, query: str, texts: Sequence[str]) -> Vectors:
        """Give a logit per text, shape (texts,): the higher, the better it answers."""
        self._load()
        # Texts of like length share a batch: padding is computed as if it were text.
        order = sorted(range(len(texts)), key=lambda number: len(texts[number]))
        found = np.empty(len(texts), np.float32)
        for begin in range(0, len(order), BATCH):
            part = order[begin : begin + BATCH]
            found[part] = self._batch([(query, texts[number]) for number in part])
        return found

    def _batch(self, pairs: list[tuple[str, str]]) -> Vectors:
        coded = self._tokenizer.encode_batch(pairs)
        inputs = {
            "input_ids": np.array([one.ids for one in coded], np.int64),
            "attention_mask": np.array([one.attention_mask for one in coded], np.int64),
            "token_type_ids": np.array([one.type_ids for one in coded], np.int64),
        }
        wanted = {one.name for one in self._session.get_inputs()}
        logits = self._session.run(None, {name: value for name, value in inputs.items() if name in wanted})[0]
        flat: Vectors = np.asarray(logits, np.float32).reshape(len(pairs), -1)[:, -1]
        return flat


def _from_hub(name: str) -> Path:
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
    except ImportError:
        raise ModelMissing(f"{name} is no folder, and the hub's client is not installed") from None
    try:
        return Path(snapshot_download(name, allow_patterns=["tokenizer.json", "onnx/model.onnx"]))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError):
        raise ModelMissing(f"{name} is no folder, and no model that can be downloaded from the hub") from None
