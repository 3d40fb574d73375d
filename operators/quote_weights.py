"""Weights of `operators.extractive`, written by ``python -m benchmarks.fit_quotes``; do not edit."""

__all__ = ["RANKING", "RANKING_BIAS", "SURE", "SURE_BIAS", "SURE_WEIGHTS"]

RANKING_BIAS = -19.699
RANKING = (
    1.085,
    -0.946,
    -1.409,
    1.218,
    1.077,
    -1.077,
    -1.640,
    1.938,
    1.215,
    0.040,
    -0.270,
    0.310,
    0.021,
    -0.048,
    -1.024,
    2.015,
    -0.579,
    2.254,
    0.552,
    0.739,
    5.935,
    9.927,
    1.006,
    1.082,
)
SURE_BIAS = -20.109
SURE_WEIGHTS = (
    0.151,
    0.164,
    0.037,
    21.171,
    -0.415,
    -1.295,
    1.019,
    -1.476,
    -0.956,
    1.287,
    -0.344,
    0.393,
    0.553,
    1.748,
    2.689,
)
SURE = 0.52
"""Chance from which a quote counts as an answer; below it is only pointed to."""
