"""Text vectors from the weights kept in the repository."""

from pathlib import Path

import numpy as np
import pytest

from models.embedder import KEPT_SHA256, OnnxEmbedder, OnnxReader, load_embedder
from schemas.errors import ModelMissing


def test_like_texts_are_near_and_vectors_have_length_one() -> None:
    rows = load_embedder().embed(
        ["How many days off do I get?", "Employees have 27 days of annual leave.", "Kafka has brokers."]
    )
    assert rows.shape == (3, 384)
    assert np.allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    assert rows[0] @ rows[1] > rows[0] @ rows[2] + 0.2


def test_a_text_has_nearly_the_same_vector_in_any_company() -> None:
    embedder = OnnxEmbedder()
    alone = embedder.embed(["A short text."])[0]
    among = embedder.embed(["A short text.", "word " * 400, "", "x"])[0]
    assert alone @ among > 0.98
    assert embedder.embed([]).shape == (0, 384)


def test_missing_and_damaged_weights_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelMissing, match=r"tokenizer\.json"):
        OnnxEmbedder(tmp_path)
    for name, load in (("tokenizer.json", OnnxEmbedder), ("e5-small-v2-int8.onnx", OnnxReader)):
        with monkeypatch.context() as patched:
            patched.setitem(KEPT_SHA256, name, "0" * 64)
            with pytest.raises(ModelMissing, match=f"{name} is missing or damaged"):
                load()


def test_the_reader_puts_a_question_near_its_answer() -> None:
    reader = OnnxReader()
    rows = reader.embed(
        [
            "query: Who do I complain to?",
            "passage: Complaints go to Tjasa Novak, who leads customer care.",
            "passage: Panels need no cleaning on steep roofs, since rain does it.",
        ]
    )
    assert rows.shape == (3, reader.dim)
    assert rows[0] @ rows[1] > rows[0] @ rows[2] + 0.03


def test_the_other_embedder_says_how_to_add_it() -> None:
    try:
        import sentence_transformers  # noqa: F401
    except ImportError:
        with pytest.raises(ModelMissing, match="uv sync --extra gpu"):
            load_embedder("torch")
    else:
        assert load_embedder("torch").dim == 384
