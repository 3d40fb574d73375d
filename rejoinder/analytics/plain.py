"""Values of DuckDB as JSON can hold them."""

import math
from typing import Any

__all__ = ["plain"]


def plain(value: Any) -> Any:
    """Give a value of DuckDB as JSON can hold it: times as text, what is no number as nothing."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, dict):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    return str(value)
