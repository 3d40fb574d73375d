"""Records to bytes and back: versioned JSON, audio as a JSON header followed by raw samples."""

import functools
import json
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from schemas.audio import AudioChunk
from schemas.base import Record
from schemas.errors import SchemaError
from schemas.topics import topic_named

__all__ = ["SCHEMA_VERSION", "decode", "encode"]

SCHEMA_VERSION = 1
_HEAD = b'{"v":%d,' % SCHEMA_VERSION
_AUDIO = b"PCM1"
_DEEPEST_SHOWN = 3


@functools.cache
def _reader(topic: str) -> TypeAdapter[Any]:
    return TypeAdapter(topic_named(topic).holds)


def encode(record: Record) -> bytes:
    r"""Give the bytes of a record: ``{"v":1, ...fields}``; an audio chunk keeps its samples raw.

    >>> from schemas.usage import Usage
    >>> u = Usage(session_id="s", event_id="e", created_at="2026-01-01T00:00:00Z", what="answer_count",
    ...           amount=1, cause_id="q")
    >>> decode("usage", encode(u)) == u
    True
    """
    if isinstance(record, AudioChunk):
        head = _HEAD + record.model_dump_json(exclude={"pcm"}).encode()[1:]
        return _AUDIO + len(head).to_bytes(4, "big") + head + record.pcm
    return _HEAD + record.__pydantic_serializer__.to_json(record)[1:]


def decode(topic: str, value: bytes) -> Any:
    """Read a record of a topic.

    A record of this version must fit exactly. One of a newer version is read as far as it is understood:
    fields this reader does not know are passed over.

    Raises:
        SchemaError: Not JSON, not a record of this topic, or a newer one that lacks what this reader needs.
            The message never repeats the record's text.
        UnknownTopic: The topic is not in the table.
    """
    reader = _reader(topic)
    pcm: bytes | None = None
    if value[:4] == _AUDIO:
        size = int.from_bytes(value[4:8], "big")
        value, pcm = value[8 : 8 + size], value[8 + size :]
    try:
        if pcm is None and value.startswith(_HEAD):
            # The usual case stays in pydantic's own parser: one pass, no dict in between.
            return reader.validate_json(b"{" + value[len(_HEAD) :])
        fields = json.loads(value)
        version = fields.pop("v")
        if not isinstance(version, int) or version < 1:
            raise SchemaError("the schema version is not a whole number above 0")
        if pcm is not None:
            fields["pcm"] = pcm
        extra: Literal["ignore", "forbid"] = "ignore" if version > SCHEMA_VERSION else "forbid"
        return reader.validate_python(fields, extra=extra, strict=False)
    except ValidationError as error:
        raise SchemaError(_reasons(error)) from None
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        raise SchemaError(f"not a record: {type(error).__name__}") from None


def _reasons(error: ValidationError) -> str:
    shown = [
        f"{'.'.join(str(place) for place in problem['loc']) or 'record'}: {problem['msg']}"
        for problem in error.errors(include_input=False, include_url=False)[:_DEEPEST_SHOWN]
    ]
    return "; ".join(shown)
