"""Fits the weights by which sentences are chosen for quotes, and writes ``operators/quote_weights.py``.

``uv run python -m benchmarks.fit_quotes``, on the `dev` split of the set only; `test` questions are never seen. Two
logistic regressions with a ridge, by Newton's method on standardised features:

- ranking: every sentence found for an answerable question; one that covers evidence counts as 1, one in `also` is
  left out, others count as 0;
- sureness: the best sentence of every question, 1 when it lies in the evidence or in `also`. Beside the questions as
  they are, each answerable one is asked once more without its evidence, and plain ones of another company's documents.

Scores for the second come from rankings fitted on the other companies. So does the limit `SURE`: each company is
judged by weights fitted on the others, and the limit is where `REFUSED` of their unanswerable questions are refused.
"""

import asyncio
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks.answers import SET
from operators.extractive import FEATURES, SURENESS, Asked, candidates_in, features, sureness_features
from operators.ports import SearchScope
from operators.queries import about_user, core_of, queries_of
from operators.quoting import nearness
from rejoinder.evaluation.answer_scoring import covers, places_of
from rejoinder.evaluation.answer_set import Item, load_set
from rejoinder.evaluation.answers import context_of, fill, question_of
from rejoinder.models import Models
from rejoinder.settings import Settings

TARGET = Path(__file__).parent.parent / "operators" / "quote_weights.py"
RIDGE = 10.0
STEPS = 30
REFUSED = 0.9
WEIGHT_UNANSWERABLE, WEIGHT_WITHOUT, WEIGHT_ELSEWHERE = 3.0, 0.1, 0.3


@dataclass(frozen=True)
class Example:
    """One question asked of one company's documents; `labels` per sentence: evidence "e", allowed "a", none "n"."""

    company: str
    rows: np.ndarray
    labels: str
    weight: float
    asked: bool
    answerable: bool


@dataclass(frozen=True)
class Fit:
    """A logistic regression."""

    weights: np.ndarray
    bias: float

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """Give scores, before the logistic function."""
        return np.asarray(rows @ self.weights + self.bias)


def fitted(rows: np.ndarray, labels: np.ndarray, sample: np.ndarray | None = None) -> Fit:
    """Fit on rows with labels 0 and 1, each counting as much as `sample` says."""
    mean, spread = rows.mean(axis=0), rows.std(axis=0) + 1e-6
    design = np.column_stack([np.ones(len(rows)), (rows - mean) / spread]).astype(np.float64)
    ridge = np.diag([0.0] + [RIDGE] * rows.shape[1])
    weights, counted = np.zeros(design.shape[1]), np.ones(len(rows)) if sample is None else sample
    for _ in range(STEPS):
        chances = 1 / (1 + np.exp(-design @ weights))
        slope = design.T @ (counted * (chances - labels)) + ridge @ weights
        curve = (design * (counted * chances * (1 - chances))[:, None]).T @ design + ridge
        weights -= np.linalg.solve(curve, slope)
    plain = weights[1:] / spread
    return Fit(plain, float(weights[0] - mean @ plain))


def ranking(examples: Sequence[Example]) -> Fit:
    """Fit how well a sentence answers."""
    used = [one for one in examples if one.asked and one.answerable and "e" in one.labels]
    rows = np.concatenate([one.rows[[label != "a" for label in one.labels]] for one in used])
    labels = np.array([label == "e" for one in used for label in one.labels if label != "a"], float)
    return fitted(rows, labels)


def sureness(examples: Sequence[Example]) -> Fit:
    """Fit how likely the best sentence answers at all."""
    rows, labels, weights = [], [], []
    for company in sorted({one.company for one in examples}):
        ranked = ranking([one for one in examples if one.company != company])
        for one in examples:
            if one.company == company:
                scores = ranked(one.rows)
                rows.append(sureness_features(one.rows, scores))
                labels.append(one.labels[int(np.argmax(scores))] in "ea")
                weights.append(one.weight)
    return fitted(np.array(rows), np.array(labels, float), np.array(weights))


def judged(ranked: Fit, sure: Fit, one: Example) -> tuple[float, bool]:
    """Give the chance of the best sentence, and whether it answers."""
    scores = ranked(one.rows)
    chance = 1 / (1 + np.exp(-sure(sureness_features(one.rows, scores))))
    return float(chance), one.labels[int(np.argmax(scores))] in "ea"


def limit_of(examples: Sequence[Example]) -> float:
    """Give the chance from which a quote counts as an answer; prints what that costs."""
    right, hopeless = [], []
    for company in sorted({one.company for one in examples}):
        others = [one for one in examples if one.company != company]
        ranked, sure = ranking(others), sureness(others)
        for one in examples:
            if one.company == company and one.asked:
                chance, good = judged(ranked, sure, one)
                (right if one.answerable else hopeless).append((chance, good))
    refused = sorted(chance for chance, _ in hopeless)
    # At least so many: the limit lies above the chance of the last one that must be refused.
    limit = refused[int(np.ceil(REFUSED * len(refused))) - 1] + 0.005
    for tried in (limit - 0.1, limit, limit + 0.1):
        answered = sum(chance >= tried and good for chance, good in right) / len(right)
        wrong = sum(chance >= tried and not good for chance, good in right) / len(right)
        told = sum(chance < tried for chance in refused) / len(refused)
        print(f"limit {tried:.2f}: best sentence right {answered:.3f}, wrong {wrong:.3f}, refused {told:.3f}")
    return limit


def examples_of(models: Models, item: Item, collection: str, documents: dict[str, tuple[str, str]]) -> list[Example]:
    """Give a question asked of a collection, and once more without its evidence."""
    context, own = context_of(item), collection == item.collection
    query = queries_of(question_of(item), context.said)[0]
    asked = Asked(core_of(item.question), query, about_user(item.question, item.kind))
    scope = SearchScope(context.scope.owner_id, (collection,), asked.about_user)
    found = models.knowledge.search_now(query, scope, 6)
    candidates = candidates_in(found)
    if not candidates:
        return []
    near = asyncio.run(nearness(models.knowledge, asked, candidates, found))
    evidence, also = (places_of(places, documents) if own else [] for places in (item.evidence, item.also))
    labels = ""
    for one in candidates:
        begin = one.passage.start + one.sentence.start
        span = one.passage.document_id, begin, begin + len(one.sentence.words)
        in_evidence, allowed = (any(covers(*span, place) for place in places) for places in (evidence, also))
        labels += "e" if in_evidence else "a" if allowed else "n"
    weight = (1.0 if item.answerable else WEIGHT_UNANSWERABLE) if own else WEIGHT_ELSEWHERE
    made = [Example(item.collection, features(asked, candidates, near), labels, weight, own, item.answerable)]
    rest = [number for number, label in enumerate(labels) if label == "n"]
    if own and item.answerable and rest:
        kept = replace(
            near,
            headed=[near.headed[number] for number in rest],
            above=[near.above[number] for number in rest],
            relevant=[near.relevant[number] for number in rest],
            relevant_to_text=[near.relevant_to_text[number] for number in rest],
        )
        rows = features(asked, [candidates[number] for number in rest], kept)
        made.append(Example(item.collection, rows, "n" * len(rest), WEIGHT_WITHOUT, asked=False, answerable=False))
    return made


def main() -> None:
    """Fit and write."""
    answer_set = load_set(SET)
    examples: list[Example] = []
    with tempfile.TemporaryDirectory() as data:
        models = Models(Settings(_env_file=None, data_dir=Path(data), llm="off"))
        placed = fill(models.knowledge, answer_set)
        dev = [item for item in answer_set.items if item.split == "dev" and item.language == "en"]
        companies = sorted({item.collection for item in dev})
        for number, item in enumerate(dev):
            documents = placed[item.resume or "nobody"]
            examples += examples_of(models, item, item.collection, documents)
            if item.type in {"plain", "unanswerable"}:
                step = 1 + number % (len(companies) - 1)
                other = companies[(companies.index(item.collection) + step) % len(companies)]
                examples += examples_of(models, item, other, documents)
        models.close()
    limit = limit_of(examples)
    ranked, sure = ranking(examples), sureness(examples)
    print(f"{len(examples)} examples")
    write(ranked, sure, limit)


def write(ranked: Fit, sure: Fit, limit: float) -> None:
    """Show the weights and write them."""
    leads = ("score", "lead on the next", "lead on the fourth")
    for names, fit in ((FEATURES, ranked), ((*leads, *SURENESS), sure)):
        for name, weight in zip(names, fit.weights, strict=True):
            print(f"{name:20} {weight:7.2f}")
    TARGET.write_text(
        '"""Weights of `operators.extractive`, written by ``python -m benchmarks.fit_quotes``; do not edit."""\n\n'
        '__all__ = ["RANKING", "RANKING_BIAS", "SURE", "SURE_BIAS", "SURE_WEIGHTS"]\n\n'
        f"RANKING_BIAS = {ranked.bias:.3f}\nRANKING = (\n{_lines(ranked)})\n"
        f"SURE_BIAS = {sure.bias:.3f}\nSURE_WEIGHTS = (\n{_lines(sure)})\n"
        f'SURE = {limit:.2f}\n"""Chance from which a quote counts as an answer; below it is only pointed to."""\n'
    )


def _lines(fit: Fit) -> str:
    numbers = [f"{weight:.3f}" for weight in fit.weights]
    return "".join(f"    {', '.join(numbers[at : at + 8])},\n" for at in range(0, len(numbers), 8))


if __name__ == "__main__":
    main()
