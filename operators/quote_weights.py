"""Weights of `operators.extractive.features`, written by ``python -m benchmarks.fit_quotes``; do not edit."""

__all__ = ["BIAS", "WEIGHTS"]

BIAS = -7.951
WEIGHTS = (2.861, 3.437, 0.862, 1.420, 1.595, 0.215, -1.516, -0.835, 2.722, -0.034, -1.431, 1.475, 0.208, 0.485)
