"""How well questions are noticed: F1, false fires and latency over captioned conversations with a gold standard.

``uv run --with scikit-learn python -m benchmarks.questions --data DIR --folds FOLDS`` wants a folder with
``dev/CORPUS.gold.jsonl``, ``dev/CORPUS.VARIANT.captions.jsonl`` and ``score.py``, the scorer that defines a match, and
the weights of each fold (``tools.train_questions --folds FOLDS``): a conversation is judged by weights that were not
trained on it. The baseline of word n-grams is trained on the other conversations as well.
"""

import argparse
import importlib.util
import json
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from models.question_weights import THRESHOLD, load_question_scorer
from operators.questions import QuestionsOperator
from rejoinder.evaluation.questions import asked_in, count, predictions

Line = dict[str, Any]
CORPORA = ("mrda", "primock", "interview")
VARIANTS = ("punct", "asrseg")
FOLDS = 5
SETTLE_S = 0.8
ASKS = re.compile(
    r"^(?:so |and |okay |um |well )*(?:what|how|why|where|when|who|which|do|does|did|are|is|was|were|have|has|can|"
    r"could|would|will|should|tell me|walk me|describe)\b",
    re.IGNORECASE,
)


def conversations(captions: Sequence[Line]) -> dict[str, list[Line]]:
    """Split a caption file by conversation."""
    found: dict[str, list[Line]] = {}
    for caption in captions:
        found.setdefault(caption["conv"], []).append(caption)
    return found


def trained(captions: Sequence[Line], folds: Path, *, every: bool = False) -> list[Line]:
    """Give what the operator finds, each conversation with weights that were not trained on it."""
    own = conversations(captions)
    found: list[Line] = []
    # The folds are dealt out as in tools/train_questions.py: by name, in turn.
    for number, name in enumerate(sorted(own)):
        scorer = load_question_scorer(folds / f"fold{number % FOLDS}.npz")
        found += asked_in(own[name], QuestionsOperator(scorer=scorer, threshold=THRESHOLD), every=every)
    return found


def fires(captions: Iterable[Line]) -> Iterator[Line]:
    """Give a baseline's fires: these captions, 0.8 s after their end, the user's own left out."""
    for caption in captions:
        if caption.get("role") != "candidate":
            yield {"conv": caption["conv"], "caption_ids": [caption["id"]], "t": caption["end"] + SETTLE_S}


def n_grams(captions: Sequence[Line], gold: Sequence[Line], others: Sequence[Line], variant: str) -> list[Line]:
    """Give the captions that a regression over word n-grams takes for questions, trained on other conversations."""
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression

    last = {(event["conv"], one) for event in gold if event["tier"] == "core" for one in event["last"][variant]}
    names = sorted(conversations(captions))
    asked: list[Line] = []
    for fold in range(FOLDS):
        held = {name for number, name in enumerate(names) if number % FOLDS == fold}
        judged = [one for one in captions if one["conv"] in held]
        if not judged:
            continue
        learned = [one for one in [*captions, *others] if one["conv"] not in held and one.get("role") != "candidate"]
        words = CountVectorizer(ngram_range=(1, 3), binary=True, token_pattern=r"[\w']+|[?.!]", min_df=2)
        features = words.fit_transform([one["text"] for one in learned])
        labels = [(one["conv"], one["id"]) in last or one.get("asks", False) for one in learned]
        model = LogisticRegression(max_iter=500, class_weight={0: 1.0, 1: 3.0}).fit(features, labels)
        scores = model.predict_proba(words.transform([one["text"] for one in judged]))[:, 1]
        asked += [one for one, score in zip(judged, scores, strict=True) if score >= 0.5]
    return list(fires(asked))


def scorer(path: Path) -> Any:
    """Load the scorer's module from its file."""
    spec = importlib.util.spec_from_file_location("question_score", path)
    if spec is None or spec.loader is None:
        message = f"no scorer at {path}"
        raise SystemExit(message)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def asking(captions: Sequence[Line], gold: Sequence[Line], variant: str) -> list[Line]:
    """Mark the captions that hold the end of a question, for training on other corpora."""
    last = {(event["conv"], one) for event in gold if event["tier"] == "core" for one in event["last"][variant]}
    return [one | {"asks": (one["conv"], one["id"]) in last} for one in captions]


def main() -> None:
    """Print and store the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--split", default="dev")
    parser.add_argument("--folds", type=Path, required=True)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    module = scorer(options.data / "score.py")
    folder = options.data / options.split
    rows: dict[str, dict[str, Any]] = {}
    for variant in VARIANTS:
        read = {
            corpus: (
                module.rd(str(folder / f"{corpus}.{variant}.captions.jsonl")),
                module.rd(str(folder / f"{corpus}.gold.jsonl")),
            )
            for corpus in CORPORA
        }
        for corpus, (captions, gold) in read.items():
            others = [one for name, own in read.items() if name != corpus for one in asking(own[0], own[1], variant)]
            began = time.process_time()
            ours = trained(captions, options.folds)
            cost_us = (time.process_time() - began) / len(captions) * 1e6
            candidates = {
                "scored": ours,
                "scored, every revision": trained(captions, options.folds, every=True),
                "rules": list(predictions(captions, QuestionsOperator())),
                "n-grams": n_grams(captions, gold, others, variant),
                "wh-regex": list(fires(one for one in captions if ASKS.match(one["text"]))),
                "ends-with-?": list(fires(one for one in captions if one["text"].rstrip().endswith("?"))),
            }
            for name, found in candidates.items():
                rows[f"{corpus}.{variant}.{name}"] = module.score(gold, captions, found, variant=variant)
                agreed = count(gold, captions, found, variant)
                if round(agreed.f1, 3) != rows[f"{corpus}.{variant}.{name}"]["f1"]:
                    raise SystemExit(f"the two scorers disagree on {corpus}.{variant}.{name}")
            rows[f"{corpus}.{variant}.scored"]["cost_us"] = cost_us
        for name in candidates:
            macro = sum(rows[f"{corpus}.{variant}.{name}"]["f1"] for corpus in CORPORA) / len(CORPORA)
            rows[f"macro.{variant}.{name}"] = {"f1": macro}
    for name, row in rows.items():
        print(name, {key: round(value, 3) for key, value in row.items() if isinstance(value, int | float)})
    if options.json:
        kept = {
            name: {key: round(value, 4) for key, value in row.items() if isinstance(value, int | float)}
            for name, row in rows.items()
        }
        options.json.write_text(json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    main()
