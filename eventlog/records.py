"""Makes a record ready for a log: its key, id, bytes and time all come from the record itself."""

from eventlog.base import NewRecord
from schemas.base import Record
from schemas.codec import encode

__all__ = ["new_record"]


def new_record(topic: str, record: Record, trace: str = "") -> NewRecord:
    """Give what a log is handed to store a record on a topic, with the trace it belongs to."""
    return NewRecord(topic, record.session_id, record.event_id, encode(record), record.created_at.timestamp(), trace)
