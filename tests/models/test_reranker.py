"""A cross-encoder reads question and text together, and decides in which order passages are found."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from models.embedder import KEPT, OnnxEmbedder
from models.reranker import OnnxReranker
from operators.ports import SearchScope
from rejoinder.knowledge.store import KnowledgeStore
from schemas.errors import ModelMissing

TINY = Path(__file__).parent.parent / "data" / "cross_encoder" / "model.onnx"
"""A real graph: its logit is the number of the text's tokens in the question. Made by `tools/make_cross_encoder.py`."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    found = tmp_path / "tiny"
    found.mkdir()
    shutil.copy(TINY, found)
    shutil.copy(KEPT / "tokenizer.json", found)
    return found


@pytest.fixture
def store(tmp_path: Path, folder: Path) -> Iterator[KnowledgeStore]:
    made = KnowledgeStore(tmp_path / "k", OnnxEmbedder(), reranker=OnnxReranker(str(folder)))
    yield made
    made.close()


def test_question_and_text_are_read_together_in_any_length_and_order(folder: Path) -> None:
    texts = ["green tea", "the quay is wet", "where is the quay", "word " * 2_000, ""]
    scores = OnnxReranker(str(folder)).scores("where is the quay", texts)
    # Every text has its end mark in common with the question.
    assert scores.tolist() == [1, 4, 5, 1, 1]
    assert OnnxReranker(str(folder)).scores("x", []).shape == (0,)


def test_passages_come_in_the_order_of_the_cross_encoder(store: KnowledgeStore) -> None:
    store.add("me", "c", "Ships", "The vessel can be boarded at the pier.\n\nNobody may board.")
    store.add("me", "c", "Words", "Where do I get on the ship is what everybody asks, and nobody knows.")
    found = store.search_now("Where do I get on the ship?", SearchScope("me"), 2)
    assert [one.title for one in found] == ["Words", "Ships"]
    assert found[0].score > found[1].score >= 1
    assert store.search_now("Where do I get on the ship?", SearchScope("me"), 1) == found[:1]


def test_answers_say_by_which_reranker_they_were_found(store: KnowledgeStore, tmp_path: Path) -> None:
    plain = KnowledgeStore(tmp_path / "p", OnnxEmbedder())
    assert plain.version("me") != store.version("me")
    plain.close()


def test_what_is_no_cross_encoder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelMissing, match=r"holds no \.onnx graph"):
        OnnxReranker(str(tmp_path))
    with pytest.raises(ModelMissing, match="is no folder"):
        OnnxReranker("/not a name/")
