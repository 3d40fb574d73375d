"""Fits the weights with which sentences are chosen for quotes, and writes ``operators/quote_weights.py``.

``uv run python -m benchmarks.fit_quotes``. Examples: every sentence of the passages found for a question of the set's
`dev` split; a sentence that covers evidence counts as 1, one that lies in `also` is left out, others count as 0. The
questions of one company are also asked of the other's documents, where no sentence answers. Logistic regression with
ridge 1, by Newton's method; `test` questions are never seen.
"""

import tempfile
from pathlib import Path

import numpy as np

from benchmarks.answers import SET
from operators.extractive import FEATURES, Asked, candidates_in, comparable, features
from operators.ports import SearchScope
from operators.queries import about_user, queries_of
from rejoinder.evaluation.answer_scoring import Place, covers, places_of
from rejoinder.evaluation.answer_set import Item, load_set
from rejoinder.evaluation.answers import context_of, fill, question_of
from rejoinder.models import Models
from rejoinder.settings import Settings

TARGET = Path(__file__).parent.parent / "operators" / "quote_weights.py"
RIDGE = 1.0
STEPS = 50


def fitted(rows: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, float]:
    """Give weights and bias of a logistic regression."""
    design = np.column_stack([np.ones(len(rows)), rows]).astype(np.float64)
    ridge = np.diag([0.0] + [RIDGE] * rows.shape[1])
    weights = np.zeros(design.shape[1])
    for _ in range(STEPS):
        chances = 1 / (1 + np.exp(-design @ weights))
        slope = design.T @ (chances - labels) + ridge @ weights
        curve = (design * (chances * (1 - chances))[:, None]).T @ design + ridge
        weights -= np.linalg.solve(curve, slope)
    return weights[1:], float(weights[0])


def examples(
    models: Models, item: Item, collection: str, places: list[Place], allowed: list[Place]
) -> tuple[list[np.ndarray], list[float]]:
    """Give features and labels of the sentences found for one question in one collection."""
    context = context_of(item)
    queries = queries_of(question_of(item), context.said)
    asked = Asked(item.question, queries[0], about_user(item.question, item.kind))
    scope = SearchScope(context.scope.owner_id, (collection,), asked.about_user)
    found = models.knowledge.search_now(queries[0], scope, 6)
    candidates = candidates_in(found)
    if not candidates:
        return [], []
    texts = comparable(candidates, found)
    near, near_query = (models.knowledge.likeness_now(text, texts) for text in (asked.text, asked.query))
    rows, labels = [], []
    for one, row in zip(candidates, features(asked, candidates, near, near_query), strict=True):
        begin = one.passage.start + one.sentence.start
        span = one.passage.document_id, begin, begin + len(one.sentence.words)
        if any(covers(*span, place) for place in allowed):
            continue
        rows.append(row)
        labels.append(float(any(covers(*span, place) for place in places)))
    return rows, labels


def main() -> None:
    """Fit and write."""
    answer_set = load_set(SET)
    rows: list[np.ndarray] = []
    labels: list[float] = []
    with tempfile.TemporaryDirectory() as data:
        models = Models(Settings(_env_file=None, data_dir=Path(data), llm="off"))
        placed = fill(models.knowledge, answer_set)
        dev = [item for item in answer_set.items if item.split == "dev"]
        for item in dev:
            documents = placed[item.resume or "nobody"]
            made = examples(
                models, item, item.collection, places_of(item.evidence, documents), places_of(item.also, documents)
            )
            rows, labels = rows + made[0], labels + made[1]
            for other in {one.collection for one in dev} - {item.collection} if item.type == "plain" else ():
                made = examples(models, item, other, [], [])
                rows, labels = rows + made[0], labels + made[1]
        models.close()
    weights, bias = fitted(np.array(rows), np.array(labels))
    print(f"{len(rows)} sentences, {int(sum(labels))} answer")
    for name, weight in zip(FEATURES, weights, strict=True):
        print(f"{name:14} {weight:6.2f}")
    numbers = ", ".join(f"{weight:.3f}" for weight in weights)
    TARGET.write_text(
        '"""Weights of `operators.extractive.features`, written by ``python -m benchmarks.fit_quotes``; '
        'do not edit."""\n\n'
        f'__all__ = ["BIAS", "WEIGHTS"]\n\nBIAS = {bias:.3f}\nWEIGHTS = ({numbers})\n'
    )


if __name__ == "__main__":
    main()
