"""What models of text on onnxruntime share: finding the files, loading them at first use, and running them."""

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from schemas.errors import ModelMissing

__all__ = ["HUB_GRAPH", "TOKENIZER", "OnnxText", "by_length", "from_hub", "graph_in"]

TOKENIZER = "tokenizer.json"
HUB_GRAPH = "onnx/model.onnx"


def graph_in(folder: Path) -> str:
    """Give the name of the .onnx graph within a folder; "" when there is none, or no tokenizer.json beside it."""
    graphs = [graph for pattern in ("*.onnx", HUB_GRAPH) for graph in sorted(folder.glob(pattern))]
    return str(graphs[0].relative_to(folder)) if graphs and (folder / TOKENIZER).exists() else ""


def from_hub(name: str, *, no_client: str, no_model: str) -> Path:
    """Give the folder of a model of the hub, from its cache or fetched.

    Raises:
        ModelMissing: The hub's client is not installed (`no_client`), or the model cannot be had (`no_model`).
    """
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
    except ImportError:
        raise ModelMissing(no_client) from None
    try:
        return Path(snapshot_download(name, allow_patterns=[TOKENIZER, HUB_GRAPH]))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError):
        raise ModelMissing(no_model) from None


def by_length(texts: Sequence[str], most: int) -> Iterator[list[int]]:
    """Give the numbers of texts in batches; those of like length share one: padding is computed as if it were text."""
    order = sorted(range(len(texts)), key=lambda number: len(texts[number]))
    for begin in range(0, len(order), most):
        yield order[begin : begin + most]


class OnnxText:
    """A graph with its tokenizer, loaded at first use, usable from any thread."""

    def __init__(
        self, folder: Path, graph: str, threads: int, most_tokens: int, truncation: str = "longest_first"
    ) -> None:
        """Read nothing yet.

        Args:
            folder: Holds tokenizer.json.
            graph: Its .onnx file, from the folder on.
            threads: Of the processor.
            most_tokens: Longer texts are cut.
            truncation: Which of two texts is cut, in the tokenizer's words.
        """
        self._folder, self._graph, self._threads = folder, graph, threads
        self._cut = most_tokens, truncation
        self._lock = threading.Lock()
        self._session: Any = None
        self._tokenizer: Any = None

    def _load(self) -> None:
        with self._lock:
            if self._session is not None:
                return
            import onnxruntime
            from tokenizers import Tokenizer

            tokenizer = Tokenizer.from_file(str(self._folder / TOKENIZER))
            most_tokens, truncation = self._cut
            tokenizer.enable_truncation(most_tokens, strategy=truncation)
            tokenizer.enable_padding()
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = self._threads
            options.inter_op_num_threads = 1
            options.log_severity_level = 3
            self._tokenizer = tokenizer
            self._session = onnxruntime.InferenceSession(
                str(self._folder / self._graph), options, providers=["CPUExecutionProvider"]
            )

    def run(self, texts: Sequence[str] | Sequence[tuple[str, str]]) -> tuple[Any, Any]:
        """Give the first output for texts, or pairs of texts, and which of their tokens are no padding (1 or 0)."""
        self._load()
        coded = self._tokenizer.encode_batch(texts)
        mask = np.array([one.attention_mask for one in coded], np.int64)
        inputs = {
            "input_ids": np.array([one.ids for one in coded], np.int64),
            "attention_mask": mask,
            "token_type_ids": np.array([one.type_ids for one in coded], np.int64),
        }
        wanted = {one.name for one in self._session.get_inputs()}
        return self._session.run(None, {name: value for name, value in inputs.items() if name in wanted})[0], mask
