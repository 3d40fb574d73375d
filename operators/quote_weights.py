"""Weights of `operators.extractive`, written by ``python -m benchmarks.fit_quotes``; do not edit."""

__all__ = ["RANKING", "RANKING_BIAS", "SURE", "SURE_BIAS", "SURE_WEIGHTS"]

RANKING_BIAS = -18.355
RANKING = (
    1.206,
    -0.951,
    -1.384,
    1.133,
    1.124,
    -1.059,
    -1.647,
    1.918,
    1.239,
    0.011,
    -0.276,
    0.312,
    0.048,
    -0.005,
    -1.014,
    1.914,
    -0.614,
    2.402,
    0.661,
    0.766,
    5.835,
    9.518,
    -0.202,
    1.060,
)
SURE_BIAS = -18.264
SURE_WEIGHTS = (
    0.114,
    0.166,
    0.073,
    18.885,
    -0.255,
    -1.189,
    0.771,
    -1.621,
    -0.992,
    1.212,
    -0.627,
    0.334,
    0.579,
    1.876,
    2.983,
)
SURE = 0.49
"""Chance from which a quote counts as an answer; below it is only pointed to."""
