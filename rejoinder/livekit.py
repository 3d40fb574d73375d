"""What the settings say about LiveKit."""

import platform

from api.livekit_access import LiveKitAccess
from rejoinder.settings import Settings
from schemas.base import derive_id

__all__ = ["livekit_access"]


def livekit_access(settings: Settings, role: str = "engine") -> LiveKitAccess | None:
    """Give the LiveKit server that is set, or None.

    Of several API processes on one log one listens to a room; the instance tells them apart, also after a restart.
    On one data folder they differ by their role.
    """
    if not settings.livekit_url:
        return None
    return LiveKitAccess(
        url=settings.livekit_url,
        key=settings.livekit_api_key,
        secret=settings.livekit_api_secret.get_secret_value(),
        instance=derive_id(platform.node(), str(settings.data_dir.resolve()), role)[:12],
    )
