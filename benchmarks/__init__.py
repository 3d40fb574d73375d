"""Measures the engine; each figure in the docs comes from a file that one of these renews."""
