"""Runs meetings again with other settings, compares what came of it, and moves sessions between installations."""
