"""A LiveKit server: tokens for its rooms, and which rooms there are."""

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

from api.errors import Problem

if TYPE_CHECKING:
    from livekit.api import LiveKitAPI

__all__ = ["INSTANCE", "LISTENER", "LiveKitAccess", "LiveKitRooms"]

LISTENER = "rejoinder-listener"
"""The identity under which the engine listens; nobody else may have it."""

INSTANCE = "rejoinder-instance"
"""The attribute of a listener that says which process it belongs to."""

ASK_S = 5.0
LISTENER_TOKEN_S = 600.0

Given = TypeVar("Given")


@dataclass(frozen=True, slots=True)
class LiveKitAccess:
    """A LiveKit server and the right to it.

    Attributes:
        url: Such as ws://127.0.0.1:7880; participants connect to it as well.
        key: The API key.
        secret: Signs tokens.
        instance: Tells the processes that listen apart; the same after a restart.
    """

    url: str
    key: str
    secret: str = field(repr=False)
    instance: str = ""

    def token(self, room: str, identity: str, name: str, valid_s: float) -> str:
        """Give a token with which somebody joins a room, speaks and hears.

        Raises:
            Problem: 501, the extra is not installed.
        """
        return self._signed(room, identity, valid_s, name=name)

    def listener_token(self, room: str) -> str:
        """Give a token for a hidden listener; the room shows its participants that it is recorded."""
        return self._signed(room, LISTENER, LISTENER_TOKEN_S, listens=True)

    def _signed(self, room: str, identity: str, valid_s: float, *, name: str = "", listens: bool = False) -> str:
        try:
            from livekit.api import AccessToken, VideoGrants
        except ImportError:
            raise Problem(501, "LiveKit is not installed", "uv sync --extra livekit") from None
        grants = VideoGrants(room_join=True, room=room)
        made = AccessToken(self.key, self.secret).with_identity(identity).with_ttl(timedelta(seconds=valid_s))
        if listens:
            grants = VideoGrants(
                room_join=True, room=room, hidden=True, recorder=True, can_publish=False, can_publish_data=False
            )
            made = made.with_attributes({INSTANCE: self.instance})
        return made.with_name(name).with_grants(grants).to_jwt()


class LiveKitRooms:
    """The rooms of a server; asked from one event loop."""

    def __init__(self, access: LiveKitAccess) -> None:
        """Connect at the first question."""
        self._access = access
        self._api: LiveKitAPI | None = None

    def _server(self) -> "LiveKitAPI":
        if self._api is None:
            try:
                from livekit.api import LiveKitAPI
            except ImportError:
                raise Problem(501, "LiveKit is not installed", "uv sync --extra livekit") from None
            access = self._access
            # Other addresses than the one that was set are never asked.
            self._api = LiveKitAPI(access.url, access.key, access.secret, failover=False)
        return self._api

    async def names(self) -> list[str]:
        """Give the names of the rooms there are.

        Raises:
            Problem: 503 the server cannot be reached, 502 it refuses, 501 the extra is not installed.
        """
        server = self._server()
        from livekit.api import ListRoomsRequest

        found = await self._asked(server.room.list_rooms(ListRoomsRequest()))
        return [room.name for room in found.rooms]

    async def open(self, name: str) -> None:
        """Make a room, unless it is there.

        Raises:
            Problem: As `names`.
        """
        server = self._server()
        from livekit.api import CreateRoomRequest

        await self._asked(server.room.create_room(CreateRoomRequest(name=name)))

    async def listened_elsewhere(self, name: str) -> bool:
        """Say whether another process of the engine listens to a room.

        Raises:
            Problem: As `names`.
        """
        server = self._server()
        from livekit.api import ListParticipantsRequest

        found = await self._asked(server.room.list_participants(ListParticipantsRequest(room=name)))
        listeners = [one for one in found.participants if one.identity == LISTENER]
        return any(one.attributes.get(INSTANCE) != self._access.instance for one in listeners)

    async def _asked(self, question: Awaitable[Given]) -> Given:
        from aiohttp import ClientError
        from livekit.api import ServerError

        place = urlsplit(self._access.url).hostname or ""
        try:
            async with asyncio.timeout(ASK_S):
                return await question
        except (ClientError, TimeoutError, OSError) as error:
            reason = f"{place}: {type(error).__name__}"
            raise Problem(503, "LiveKit cannot be reached", reason, {"Retry-After": "5"}) from None
        except ServerError as error:
            if error.status in (401, 403):
                raise Problem(502, "LiveKit refuses the engine's API key", f"{place}: {error.code}") from None
            raise Problem(502, "LiveKit refuses", f"{place}: {error.code}") from None

    async def close(self) -> None:
        """Let go of the connections."""
        if self._api is not None:
            await self._api.aclose()
            self._api = None
