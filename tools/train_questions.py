"""Trains the question scorer: labelled conversations in, ``models/weights/questions.npz`` out.

Run: ``uv run --with scikit-learn python -m tools.train_questions --data DIR`` where DIR holds
``CORPUS.utts.jsonl.gz``, ``CORPUS.gold.jsonl`` and ``CORPUS.VARIANT.captions.jsonl``. Nothing of the text is
stored: the weights belong to hashed features. Without ``--write`` it only prints how well conversations that were
not trained on are judged.
"""

import argparse
import gzip
import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score

from operators.question_cues import cue_of
from operators.question_features import FILLERS, Heard, line_features, place_features, words_of
from operators.question_hearing import Hearing, heard_in
from operators.question_scorer import MIXED, LinearScorer, Weights, hashed, mixed
from operators.utterances import UtterancesOperator
from schemas.speech import Caption
from tools.question_sentences import sentences

CORPORA = ("mrda", "primock", "interview")
BUCKETS = 1 << 16
STRENGTH = 0.3
"""Inverse of the regularisation; the first value tried."""
FOLDS = 5
OUT = Path(__file__).parent.parent / "models" / "weights" / "questions.npz"
RAW, WRITTEN = ("asrseg", "asr"), ("punct", "punctseg")
UNALIGNED = {("mrda", "punctseg")}
"""Where the punctuated words and the raw ones are not the same words."""
MARKS = ",.?!"
Rows = list["Row"]
Pairs = dict[frozenset[int], tuple[Any, Any]]


@dataclass(frozen=True, slots=True)
class Row:
    """One caption: what the scorer sees, and what is right.

    Attributes:
        places: Per word 1 where a question begins, -1 where nobody can say, else 0.
        label: 1 when the caption holds the last words of a question, -1 when nobody can say, else 0.
    """

    corpus: str
    conversation: str
    variant: str
    heard: Heard
    text: str
    places: tuple[int, ...]
    label: int


def read(path: Path) -> list[dict[str, Any]]:
    """Read lines of JSON, gzipped or not."""
    stored = path.read_bytes()
    text = (gzip.decompress(stored) if path.suffix == ".gz" else stored).decode()
    return [json.loads(line) for line in text.splitlines() if line.strip()]


def _place_labels(utterances: Sequence[dict[str, Any]], field: str) -> dict[tuple[str, str], list[tuple[str, int]]]:
    """Give each speaker's words in order, each with its label; a question begins after its fillers."""
    labelled: dict[tuple[str, str], list[tuple[str, int]]] = defaultdict(list)
    for one in sorted(utterances, key=lambda one: (one["conv"], one["start"], one["end"])):
        words = words_of(one[field])
        first = _first_word(words)
        for place, word in enumerate(words):
            label = -1 if one["tier"] == "optional" else int(one["tier"] == "core" and place == first)
            labelled[one["conv"], one["speaker"]].append((word, label))
    return labelled


def _caption_labels(gold: Sequence[dict[str, Any]], variant: str) -> dict[tuple[str, str], int]:
    labels: dict[tuple[str, str], int] = {}
    for event in gold:
        last = set(event["last"][variant])
        for caption_id in event["caps"][variant]:
            found = 1 if event["tier"] == "core" and caption_id in last else -1 if event["tier"] != "neg" else 0
            before = labels.get((event["conv"], caption_id), 0)
            labels[event["conv"], caption_id] = 1 if 1 in (found, before) else found or before
    return labels


def _punctuated_cuts(captions: list[dict[str, Any]], written: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Give captions that are cut blind to the ends of sentences their capitals and marks back."""
    tokens: dict[tuple[str, str], list[str]] = defaultdict(list)
    for one in sorted(written, key=lambda one: (one["conv"], one["start"], one["end"])):
        tokens[one["conv"], one["speaker"]] += one["text"].split()
    at: dict[tuple[str, str], int] = defaultdict(int)
    made = []
    for one in sorted(captions, key=lambda one: (one["conv"], one["start"], one["end"])):
        who = one["conv"], one["speaker"]
        left = len(one["text"].split())
        taken: list[str] = []
        while at[who] < len(tokens[who]) and (left or not any(letter.isalnum() for letter in tokens[who][at[who]])):
            token = tokens[who][at[who]]
            left -= any(letter.isalnum() for letter in token)
            taken.append(token)
            at[who] += 1
        made.append(one | {"text": " ".join(taken) or one["text"]})
    return made


def rows_of(folder: Path, corpus: str, variant: str) -> Rows:
    """Give the labelled captions of a corpus, as the operator would hear them."""
    utterances, gold = read(folder / f"{corpus}.utts.jsonl.gz"), read(folder / f"{corpus}.gold.jsonl")
    cuts = "asrseg" if variant == "punctseg" else variant
    captions = read(folder / f"{corpus}.{cuts}.captions.jsonl")
    if variant == "punctseg":
        captions = _punctuated_cuts(captions, read(folder / f"{corpus}.punct.captions.jsonl"))
    labels = _caption_labels(gold, cuts)
    spoken = _place_labels(utterances, "asr" if variant in RAW else "punct")
    at: dict[tuple[str, str], int] = defaultdict(int)
    ends: dict[tuple[str, str], int] = {}
    for one in sorted(captions, key=lambda one: (one["conv"], one["start"], one["end"])):
        who = one["conv"], one["speaker"]
        at[who] += len(words_of(one["text"]))
        ends[one["conv"], one["id"]] = at[who]
    rows = []
    for conversation in sorted({one["conv"] for one in captions}):
        own = sorted((one for one in captions if one["conv"] == conversation), key=lambda one: one["end"])
        for one, heard, text in _listened(own):
            key, spoken_by = (conversation, one["id"]), spoken[conversation, one["speaker"]]
            # A caption that goes on with a sentence is heard with its beginning.
            begin = ends[key] - len(heard.words)
            places = tuple(label for _, label in spoken_by[begin : ends[key]]) if begin >= 0 else ()
            if len(places) == len(heard.words):
                rows.append(Row(corpus, conversation, variant, heard, text, places, labels.get(key, 0)))
    return rows


def _listened(captions: Sequence[dict[str, Any]]) -> Iterable[tuple[dict[str, Any], Heard, str]]:
    """Give each caption of the others with what the operator hears in it."""
    hear, hearing = UtterancesOperator(), Hearing()
    state = hear.initial()
    for one in captions:
        record = Caption(
            session_id=one["conv"], event_id=one["id"], created_at=datetime(2026, 1, 1, tzinfo=UTC),
            caption_id=one["id"], speaker=one["speaker"], start_s=one["start"], end_s=max(one["start"], one["end"]),
            text=one["text"],
        )  # fmt: skip
        state, said = hear.step(state, record, one["end"])
        for utterance in said:
            known = utterance.model_copy(update={"role": one.get("role", "")})
            hearing, piece, heard = heard_in(hearing, known)
            if piece is not None and heard is not None and one.get("role") != "candidate":
                yield one, heard, f"{heard.before} {piece.text}".strip()


def _first_word(words: Sequence[str]) -> int:
    first = 0
    while first < len(words) - 1 and (words[first] in FILLERS or words[first] in MARKS):
        first += 1
    return first


def made_rows(variant: str) -> Rows:
    """Give the sentences of our own as rows; each is its own conversation."""
    rows = []
    for number, sentence in enumerate(sentences()):
        texts = sentence.texts(raw=variant in RAW)
        places: list[int] = []
        for text, (_, asks) in zip(texts, sentence.parts, strict=True):
            words = words_of(text)
            first = _first_word(words)
            places += [int(asks and place == first) for place in range(len(words))]
        heard = Heard(
            words_of(" ".join(texts)), reply=words_of(sentence.reply), asker=sentence.asker, written=variant not in RAW
        )
        label = int(any(asks for _, asks in sentence.parts))
        rows.append(Row("made", f"made{number}", variant, heard, " ".join(texts), tuple(places), label))
    return rows


def _matrix(features: Iterable[Iterable[str]]) -> csr_matrix:
    places, starts = [], [0]
    for one in features:
        places += sorted(hashed(one, BUCKETS))
        starts.append(len(places))
    return csr_matrix((np.ones(len(places), np.float32), places, starts), shape=(len(starts) - 1, BUCKETS))


@dataclass(slots=True)
class Prepared:
    """Rows with their features; `of_place` and `folds` are per place and per row."""

    rows: Rows
    places: csr_matrix
    place_labels: np.ndarray
    row_of_place: np.ndarray
    lines: csr_matrix
    labels: np.ndarray
    rules: np.ndarray
    folds: np.ndarray
    main: np.ndarray


def fold_of(rows: Rows) -> np.ndarray:
    """Give each row's fold: conversations of a corpus are dealt out in turn; sentences of our own are in none (-1)."""
    dealt: dict[str, int] = {}
    for corpus in CORPORA:
        names = sorted({row.conversation for row in rows if row.corpus == corpus})
        dealt |= {name: number % FOLDS for number, name in enumerate(names)}
    return np.array([dealt.get(row.conversation, -1) for row in rows])


def prepare(rows: Rows, main: str) -> Prepared:
    """Make the features of rows; `main` is the variant whose captions the last step is fitted on."""
    return Prepared(
        rows,
        _matrix(features for row in rows for features in place_features(row.heard)),
        np.array([label for row in rows for label in row.places]),
        np.array([number for number, row in enumerate(rows) for _ in row.places]),
        _matrix(line_features(row.heard) for row in rows),
        np.array([row.label for row in rows]),
        np.array([_rule(row) for row in rows]),
        fold_of(rows),
        np.array([row.variant == main for row in rows]),
    )


def _rule(row: Row) -> float:
    cue = cue_of(row.text, punctuated=row.heard.written)
    return cue.confidence if cue is not None else 0.0


def _regression(features: Any, labels: np.ndarray, strength: float) -> LogisticRegression:
    known = labels >= 0
    return LogisticRegression(C=strength, solver="liblinear", tol=1e-3).fit(features[known], labels[known])


def fit(ready: Prepared, held: int | None, pairs: Pairs) -> Weights:
    """Join the two models of one held-out fold; the last step is fitted on scores of rows not trained on."""
    numbers = np.zeros((len(ready.rows), MIXED), np.float32)
    inner = [fold for fold in range(FOLDS) if fold != held]
    for fold in inner:
        numbers_of(ready, pairs[_without(held, fold)], ready.folds == fold, numbers)
    place, line = pairs[_without(held)]
    judged = np.isin(ready.folds, inner) & (ready.labels >= 0) & ready.main
    mix = LogisticRegression(C=1.0, max_iter=1000).fit(numbers[judged], ready.labels[judged])
    return Weights(
        _rounded(place), float(place.intercept_[0]),
        _rounded(line), float(line.intercept_[0]),
        mix.coef_[0].tolist(), float(mix.intercept_[0]),
    )  # fmt: skip


def _without(*folds: int | None) -> frozenset[int]:
    return frozenset(fold for fold in folds if fold is not None)


def _rounded(model: LogisticRegression) -> list[float]:
    """Give a model's weights as they are stored."""
    rounded: list[float] = model.coef_[0].astype(np.float16).astype(np.float32).tolist()
    return rounded


def _pair(ready: Prepared, held: frozenset[int]) -> tuple[Any, Any]:
    kept = ~np.isin(ready.folds, sorted(held))
    of_place = kept[ready.row_of_place]
    place = _regression(ready.places[of_place], ready.place_labels[of_place], STRENGTH)
    return place, _regression(ready.lines[kept], ready.labels[kept], STRENGTH)


def numbers_of(ready: Prepared, pair: tuple[Any, Any], chosen: np.ndarray, numbers: np.ndarray) -> None:
    """Write the numbers that decide for the chosen rows."""
    of_place = chosen[ready.row_of_place]
    scores = np.zeros(len(ready.row_of_place), np.float32)
    scores[of_place] = pair[0].decision_function(ready.places[of_place])
    lines = pair[1].decision_function(ready.lines[chosen])
    starts = np.searchsorted(ready.row_of_place, np.arange(len(ready.rows) + 1))
    for number, line in zip(np.flatnonzero(chosen), lines, strict=True):
        places = scores[starts[number] : starts[number + 1]]
        numbers[number] = mixed(ready.rows[number].heard, places.tolist(), line, ready.rules[number])


def load_rows(folder: Path, variants: Sequence[str], *, made: bool = True) -> Rows:
    """Give the rows of all corpora in these variants, and our own sentences."""
    rows = [row for corpus in CORPORA for variant in variants if (corpus, variant) not in UNALIGNED
            for row in rows_of(folder, corpus, variant)]  # fmt: skip
    return rows + (made_rows(variants[0]) if made else [])


def fitted(ready: Prepared, folds: Sequence[int | None]) -> list[Weights]:
    """Give the weights per held-out fold; models that two of them need are fitted once."""
    needed = {_without(held) for held in folds}
    needed |= {_without(held, fold) for held in folds for fold in range(FOLDS) if fold != held}
    wanted = sorted(needed, key=sorted)
    # scikit-learn's liblinear gives the interpreter lock away while it fits.
    with ThreadPoolExecutor(2) as pool:
        pairs = dict(zip(wanted, pool.map(lambda held: _pair(ready, held), wanted), strict=True))
    return [fit(ready, held, pairs) for held in folds]


def scorers(folder: Path, folds: Sequence[int | None]) -> list[LinearScorer]:
    """Give a scorer per held-out fold; None holds out nothing."""
    raw = fitted(prepare(load_rows(folder, RAW), RAW[0]), folds)
    written = fitted(prepare(load_rows(folder, WRITTEN), WRITTEN[0]), folds)
    return [LinearScorer(one, other) for one, other in zip(raw, written, strict=True)]


def judge(folder: Path, variants: Sequence[str], scorer_of: Sequence[LinearScorer]) -> None:
    """Print the average precision per corpus and variant over captions that were not trained on."""
    for variant in variants:
        for corpus in CORPORA:
            if (corpus, variant) in UNALIGNED:
                continue
            rows = rows_of(folder, corpus, variant)
            folds = fold_of(rows)
            known = [number for number, row in enumerate(rows) if row.label >= 0]
            scores = [
                scorer_of[folds[number]].score(rows[number].heard, rows[number].text).probability for number in known
            ]
            found = average_precision_score([rows[number].label for number in known], scores)
            print(f"{variant:9} {corpus:10} average precision {found:.3f} over {len(known)} captions")


def store(scorer: LinearScorer, path: Path) -> None:
    """Write a scorer's weights; half precision is enough, they are sums of hundreds."""
    stored: dict[str, Any] = {}
    for name, weights in (("raw", scorer.raw), ("written", scorer.written)):
        biases = np.array([weights.place_bias, weights.line_bias, weights.mix_bias])
        stored |= {
            f"{name}_place": np.array(weights.place, np.float16),
            f"{name}_line": np.array(weights.line, np.float16),
        }
        stored |= {f"{name}_mix": np.array(weights.mix), f"{name}_bias": biases}
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, **stored)


def main() -> None:
    """Print how well held-out conversations are judged; write the weights of all when asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--write", action="store_true", help="train on everything and write the weights")
    parser.add_argument("--folds", type=Path, help="a folder for the weights of each fold, for benchmarks/questions.py")
    options = parser.parse_args()
    if options.write:
        store(scorers(options.data, [None])[0], OUT)
        print(f"Wrote {OUT} ({OUT.stat().st_size / 1024:.0f} KiB)")
        return
    found = scorers(options.data, range(FOLDS))
    for fold, scorer in enumerate(found):
        if options.folds is not None:
            store(scorer, options.folds / f"fold{fold}.npz")
    judge(options.data, RAW + WRITTEN, found)


if __name__ == "__main__":
    main()
