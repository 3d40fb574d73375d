"""A whole session in one file, so that it can be moved to another installation, or replayed elsewhere.

The file is gzip over lines of JSON: a head with the number of records and their digest, then one line per record with
its topic, key, id, time and bytes. What comes out of `import` is byte for byte what went into `export`.
"""

import base64
import gzip
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, ValidationError

from eventlog.base import EventLog, NewRecord
from rejoinder.replay.inputs import everything_of
from schemas.errors import KeyErased, LogUnavailable, SchemaError
from schemas.topics import TOPICS

__all__ = ["Imported", "export_session", "import_session", "read_bundle"]

FORMAT, VERSION = "rejoinder-session", 1
LEFT_OUT = ("progress",)
MOST_BYTES = 4_000_000_000
APPEND_AT_ONCE = 500


class _Head(BaseModel):
    format: Literal["rejoinder-session"]
    version: Annotated[int, Field(ge=1)]
    session_id: str
    records: Annotated[int, Field(ge=1)]
    digest: str


class _Line(BaseModel):
    topic: str
    key: str
    event_id: str
    at_s: float
    value: str


class Imported(BaseModel):
    """What an import did: records in the bundle, and how many of them were there already."""

    session_id: str
    records: int
    repeats: int


def export_session(log: EventLog, session_id: str, target: Path) -> int:
    """Write every record of a session to a new file; gives how many.

    Raises:
        LogUnavailable: No such session, or the file cannot be written.
    """
    topics = [topic for topic in TOPICS if topic not in LEFT_OUT]
    found = [
        NewRecord(record.topic, record.key, record.event_id, record.value, record.at_s)
        for record in everything_of(log, session_id, topics)
    ]
    if not found:
        raise LogUnavailable(f"no session {session_id!r} in this log")
    head = _Head(format=FORMAT, version=VERSION, session_id=session_id, records=len(found), digest=_digest(found))
    fresh = target.with_name(target.name + ".new")
    try:
        with fresh.open("wb") as raw, gzip.GzipFile("", "wb", mtime=0, fileobj=raw) as file:
            file.write(head.model_dump_json().encode() + b"\n")
            for record in found:
                line = _Line(
                    topic=record.topic,
                    key=record.key,
                    event_id=record.event_id,
                    at_s=record.at_s,
                    value=base64.b64encode(record.value).decode(),
                )
                file.write(line.model_dump_json().encode() + b"\n")
        fresh.replace(target)
    except OSError as error:
        raise LogUnavailable(f"{target} cannot be written: {error.strerror}") from error
    return len(found)


def read_bundle(source: Path) -> tuple[str, list[NewRecord]]:
    """Give the session and the records of a bundle.

    Raises:
        SchemaError: It is no bundle, of a newer version, cut off, or changed.
        LogUnavailable: The file cannot be read.
    """
    try:
        with gzip.open(source, "rb") as file:
            text = file.read(MOST_BYTES)
    except (gzip.BadGzipFile, EOFError) as error:
        raise SchemaError(f"{source.name} is no session bundle: {error}") from error
    except OSError as error:
        raise LogUnavailable(f"{source} cannot be read: {error.strerror}") from error
    first, _, rest = text.partition(b"\n")
    try:
        fields: dict[str, Any] = json.loads(first)
        if fields.get("format") == FORMAT and fields.get("version", 0) > VERSION:
            raise SchemaError(f"{source.name} was written by a newer version ({fields['version']})")
        head = _Head.model_validate(fields)
        lines = [_Line.model_validate_json(line) for line in rest.splitlines()]
        records = [
            NewRecord(line.topic, line.key, line.event_id, base64.b64decode(line.value, validate=True), line.at_s)
            for line in lines
        ]
    except (ValidationError, ValueError, AttributeError) as error:
        raise SchemaError(f"{source.name} is no session bundle: {type(error).__name__}") from None
    if len(records) != head.records or _digest(records) != head.digest:
        raise SchemaError(f"{source.name} was cut off or changed: its digest does not fit")
    strange = {record.topic for record in records} - set(TOPICS) | {
        record.key for record in records if record.key != head.session_id
    }
    if strange:
        raise SchemaError(f"{source.name} holds records of other topics or sessions")
    return head.session_id, records


def import_session(log: EventLog, source: Path) -> Imported:
    """Append a bundle's records to a log; doing it again changes nothing.

    Raises:
        SchemaError: It is no whole bundle.
        LogUnavailable: The session was erased here, or the log cannot store.
    """
    session_id, records = read_bundle(source)
    repeats = 0
    try:
        for first in range(0, len(records), APPEND_AT_ONCE):
            repeats += sum(stored.repeat for stored in log.append(records[first : first + APPEND_AT_ONCE]))
    except KeyErased as error:
        raise LogUnavailable(f"{error}; what was deleted here does not come back") from error
    return Imported(session_id=session_id, records=len(records), repeats=repeats)


def _digest(records: Sequence[NewRecord]) -> str:
    digest = hashlib.sha256()
    for record in records:
        for part in (record.topic.encode(), record.key.encode(), record.event_id.encode(), repr(record.at_s).encode()):
            digest.update(len(part).to_bytes(4, "big") + part)
        digest.update(len(record.value).to_bytes(4, "big") + record.value)
    return digest.hexdigest()
