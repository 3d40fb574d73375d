"""Sessions that are over: what still comes of them is taken in and does not begin them anew."""

__all__ = ["GoneSessions"]

MOST = 1_024
"""Per shard; what still comes does so within moments of the end, while a flow works off a backlog."""


class GoneSessions:
    """The sessions of a shard that were forgotten last."""

    def __init__(self) -> None:
        """Begin with none."""
        self._ids: dict[str, None] = {}

    def add(self, session_id: str) -> None:
        """Remember a session that was forgotten."""
        self._ids[session_id] = None
        if len(self._ids) > MOST:
            del self._ids[next(iter(self._ids))]

    def opened(self, session_id: str) -> None:
        """Take a session for a new one: it was opened, again when it was moved here from elsewhere."""
        self._ids.pop(session_id, None)

    def __contains__(self, session_id: str) -> bool:
        """Say whether a session was forgotten of late."""
        return session_id in self._ids
