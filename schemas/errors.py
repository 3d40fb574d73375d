"""The one tree of exceptions of the engine.

::

    EngineError
    ├── SchemaError            a record cannot be read or written  -> dead letter
    ├── LogError               the event log cannot do what was asked
    │   ├── UnknownTopic       the topic is not in schemas.topics
    │   ├── OffsetGone         the position was trimmed away or never existed  -> "resync"
    │   ├── KeyErased          the session was erased; nothing more is accepted for it
    │   ├── RecordTooLarge     larger than a record may be  -> 413, dead letter
    │   └── LogUnavailable     the log cannot store now  -> 503, retry
    ├── ModelError             a model cannot do what was asked
    │   ├── ModelMissing       not installed or no weights; the message names the command that fixes it
    │   ├── ModelFailed        failed for this one input
    │   └── ModelTimeout       no (further) output before the deadline
    └── AccessError            the caller may not do this
        ├── NotSignedIn        no or wrong key
        └── NotAllowed         a valid key, but not the owner

A caller's own mistake (a wrong argument) is a plain ``ValueError``.
"""

__all__ = [
    "AccessError",
    "EngineError",
    "KeyErased",
    "LogError",
    "LogUnavailable",
    "ModelError",
    "ModelFailed",
    "ModelMissing",
    "ModelTimeout",
    "NotAllowed",
    "NotSignedIn",
    "OffsetGone",
    "RecordTooLarge",
    "SchemaError",
    "UnknownTopic",
]


class EngineError(Exception):
    """Anything the engine itself can say went wrong."""


class SchemaError(EngineError):
    """A record cannot be decoded or encoded."""


class LogError(EngineError):
    """The event log cannot do what was asked."""


class UnknownTopic(LogError):
    """The topic is not in the table of topics."""


class OffsetGone(LogError):
    """The position was trimmed away, or lies beyond the end of the log."""


class KeyErased(LogError):
    """The session was erased; the log takes nothing more for it."""


class RecordTooLarge(LogError):
    """The record is larger than the log takes; trying again does not help."""


class LogUnavailable(LogError):
    """The log cannot store records at the moment; trying again later may work."""


class ModelError(EngineError):
    """A model cannot do what was asked."""


class ModelMissing(ModelError):
    """The model or its weights are not installed; the message says how to add them."""


class ModelFailed(ModelError):
    """The model failed for this input."""


class ModelTimeout(ModelError):
    """The model gave no output before the deadline."""


class AccessError(EngineError):
    """The caller may not do this."""


class NotSignedIn(AccessError):
    """No key was given, or it is unknown or revoked."""


class NotAllowed(AccessError):
    """The key is valid, but what it asks for belongs to somebody else."""
