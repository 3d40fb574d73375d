"""Weights of `operators.extractive.features`, written by ``python -m benchmarks.fit_quotes``; do not edit."""

__all__ = ["BIAS", "WEIGHTS"]

BIAS = -8.030
WEIGHTS = (2.854, 3.378, 0.897, 1.551, 1.467, 0.236, -1.504, -0.808, 2.825, -0.055, -1.435, 1.516, 0.161, 0.470)
