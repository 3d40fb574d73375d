"""Refuses query parameters that a route does not know, on every route: a misspelt one must not be passed over."""

from typing import Any

from fastapi.dependencies.models import Dependant
from pydantic import BaseModel
from starlette.requests import HTTPConnection

from api.deps import takes_key_in_query
from api.errors import Problem

__all__ = ["refuse_unknown_query"]

MOST_NAMED = 10
MOST_NAME = 60
_known: dict[int, tuple[Any, frozenset[str]]] = {}


def refuse_unknown_query(connection: HTTPConnection) -> None:
    """Check the names of a request's query parameters; a dependency of the whole app.

    Raises:
        Problem: 422, with the names that the route does not take and those that it does.
    """
    if not connection.query_params:
        return
    allowed = _names_of(connection.scope["route"].dependant)
    if takes_key_in_query(connection):
        allowed |= {"key"}
    unknown = sorted(set(connection.query_params) - allowed)
    if unknown:
        named = ", ".join(name[:MOST_NAME] for name in unknown[:MOST_NAMED])
        takes = f"this route takes {', '.join(sorted(allowed))}" if allowed else "this route takes none"
        errors = [{"loc": ["query", name[:MOST_NAME]], "msg": "unknown", "type": "unknown"} for name in unknown]
        raise Problem(
            422, "The request is not valid", f"unknown query parameters: {named}; {takes}", errors=errors[:MOST_NAMED]
        )


def _names_of(dependant: Dependant) -> frozenset[str]:
    known = _known.get(id(dependant))
    if known is None:
        # The dependant is kept beside its names, so that nothing else gets its id.
        known = _known[id(dependant)] = dependant, frozenset(_collected(dependant))
    return known[1]


def _collected(dependant: Dependant) -> set[str]:
    names: set[str] = set()
    for field in dependant.query_params:
        kind = field.field_info.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            names |= {one.alias or name for name, one in kind.model_fields.items()}
        else:
            names.add(field.alias)
    for inner in dependant.dependencies:
        names |= _collected(inner)
    return names
