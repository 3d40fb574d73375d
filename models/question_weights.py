"""Reads the trained question scorer from its weights."""

import functools
import zipfile
from pathlib import Path

import numpy as np

from operators.question_scorer import MIXED, LinearScorer, Weights
from operators.questions import QuestionsOperator
from schemas.errors import ModelMissing

__all__ = ["THRESHOLD", "WEIGHTS", "load_question_scorer", "trained_questions"]

THRESHOLD = 0.4
WEIGHTS = Path(__file__).parent / "weights" / "questions.npz"


@functools.cache
def load_question_scorer(path: Path = WEIGHTS) -> LinearScorer:
    """Give the scorer of a file of weights, read once per process; a few MiB in memory.

    Raises:
        ModelMissing: The file is not there or is none of ours.
    """
    try:
        with np.load(path) as stored:
            return LinearScorer(_weights(stored, "raw"), _weights(stored, "written"))
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise ModelMissing(
            f"{path.name}: no weights of a question scorer ({error}); see tools/train_questions.py"
        ) from None


def _weights(stored: "np.lib.npyio.NpzFile", name: str) -> Weights:
    place, line, mix = (stored[f"{name}_{part}"].astype(np.float32) for part in ("place", "line", "mix"))
    biases = [float(one) for one in stored[f"{name}_bias"]]
    buckets = len(place)
    if len(line) != buckets or buckets & (buckets - 1) or mix.shape != (MIXED,):
        raise ValueError("shapes do not fit")
    return Weights(place.tolist(), biases[0], line.tolist(), biases[1], mix.tolist(), biases[2])


def trained_questions() -> QuestionsOperator:
    """Give the operator with the trained scorer and the options it was tuned with (`benchmarks/questions.py`)."""
    return QuestionsOperator(scorer=load_question_scorer(), threshold=THRESHOLD)
