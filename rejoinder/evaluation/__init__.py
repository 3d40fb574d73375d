"""Measures the engine on a user's own recordings and captions."""
