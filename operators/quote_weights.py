"""Weights of `operators.extractive.features`, written by ``python -m benchmarks.fit_quotes``; do not edit."""

__all__ = ["BIAS", "WEIGHTS"]

BIAS = -8.037
WEIGHTS = (2.852, 3.391, 0.903, 1.550, 1.466, 0.237, -1.503, -0.805, 2.827, -0.054, -1.433, 1.533, 0.163, 0.464)
