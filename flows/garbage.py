"""How often Python looks for garbage."""

import gc

__all__ = ["look_less"]


def look_less() -> None:
    """Look for garbage less often than by Python's own numbers, in this process.

    A start makes some hundred thousand objects that stay: looking through them was a tenth of it. The state of flows is
    trees without cycles, of which every record makes a few parts anew: a quarter of the work was looking through all
    sessions.
    """
    gc.set_threshold(20_000, 20, 50)
