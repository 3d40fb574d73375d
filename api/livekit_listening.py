"""Listens to LiveKit rooms: each room that bears the id of an open session has a child that sits in it."""

import asyncio
import json
import re
import struct
import sys
import time
from contextlib import suppress
from pathlib import Path

import structlog
from pydantic import TypeAdapter, ValidationError

from api.deps import Door
from api.errors import Problem
from api.livekit_access import LiveKitAccess, LiveKitRooms
from api.livekit_track import RoomTrack
from api.sessions_seen import SessionSeen
from schemas.base import Identifier
from schemas.errors import EngineError

__all__ = ["RoomWatch"]

logger = structlog.get_logger("api")

_CHILD = Path(__file__).with_name("livekit_child.py")
_HEAD, _SOUND = 5, struct.Struct(">Id")
_NAME: TypeAdapter[str] = TypeAdapter(Identifier)
_SESSION = re.compile(r"[0-9a-f]{32}")
"""What ids of sessions look like; rooms of other names are somebody else's."""

MOST_MESSAGE = 1_000_000
MOST_ROOMS, MOST_VOICES = 64, 100
LOOK_S = 2.0
FIRST_RETRY_S, LONGEST_RETRY_S = 1.0, 30.0
TAKE_OVER_S = 5.0
DEAD_S = 15.0
"""A child that shows no sign of life for so long hangs."""

LASTED_S = 60.0
"""A listener that was in a room for so long did not fail at joining it: the next one tries at once."""

LEAVE_S = 4.0


class _Room:
    """One room that is listened to: the child in it, and the tracks of its participants."""

    def __init__(self, door: Door, session: SessionSeen, access: LiveKitAccess) -> None:
        self._door, self._session, self._access = door, session, access
        self._voices: dict[str, RoomTrack] = {}
        self._streams: dict[int, RoomTrack] = {}
        self._process: asyncio.subprocess.Process | None = None
        self.joined_s, self.heard_s = 0.0, time.monotonic()
        self.reason = "the listener ended without a word"
        self.task = asyncio.ensure_future(self._run())

    async def _run(self) -> None:
        """Listen until the room ends, or the child does."""
        session_id = self._session.session_id
        given = {"address": self._access.url, "token": self._access.listener_token(session_id)}
        self._process = child = await asyncio.create_subprocess_exec(
            sys.executable, "-I", str(_CHILD), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        assert child.stdin is not None  # noqa: S101 - both are pipes
        assert child.stdout is not None  # noqa: S101
        try:
            # The token is not among the arguments, which every user of the machine can see.
            child.stdin.write(json.dumps(given).encode() + b"\n")
            while head := await child.stdout.readexactly(_HEAD):
                size = int.from_bytes(head[1:], "big")
                if size > MOST_MESSAGE:
                    self.reason = "the listener is out of step"
                    return
                self._take(head[:1], await child.stdout.readexactly(size))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # it has ended
        finally:
            await self._leave(child)

    async def _leave(self, child: asyncio.subprocess.Process) -> None:
        """End the child, at once if it does not end by itself, and store what waits."""
        assert child.stdin is not None  # noqa: S101 - it is a pipe
        assert child.stdout is not None  # noqa: S101
        child.stdin.close()
        self._hear({})
        await asyncio.gather(*(voice.close() for voice in self._voices.values()))
        self._voices.clear()
        try:
            async with asyncio.timeout(LEAVE_S):
                while await child.stdout.read(65_536):
                    pass
                await child.wait()
        except TimeoutError:
            with suppress(ProcessLookupError):
                child.kill()
            await child.wait()

    def _take(self, letter: bytes, body: bytes) -> None:
        session_id = self._session.session_id
        self.heard_s = time.monotonic()
        if letter == b"S":
            number, ended_s = _SOUND.unpack_from(body)
            if number in self._streams:
                self._streams[number].put(ended_s, body[_SOUND.size :])
        elif letter == b"B":
            self._begin(**json.loads(body))
        elif letter == b"O":
            self._hear({n: one for n, one in self._streams.items() if n != int.from_bytes(body, "big")})
        elif letter == b"J":
            self.joined_s = time.monotonic()
            logger.info("livekit_joined", session_id=session_id)
        elif letter == b"W":
            logger.warning("livekit_not_heard", session_id=session_id, reason=body.decode("utf-8", "replace"))
        elif letter == b"E":
            self.reason = body.decode("utf-8", "replace")

    def _begin(self, n: int, identity: str, name: str) -> None:
        """Know a stream; of several of one participant the newest is theirs."""
        try:
            _NAME.validate_python(identity)
        except ValidationError:
            logger.warning("livekit_not_heard", session_id=self._session.session_id, reason="the identity is no name")
            return
        voice = self._voices.get(identity)
        if voice is None:
            if len(self._voices) >= MOST_VOICES:
                logger.warning("livekit_not_heard", session_id=self._session.session_id, reason="too many voices")
                return
            voice = self._voices[identity] = RoomTrack(self._door, self._session, identity, name)
        voice.begin()
        self._hear({number: one for number, one in self._streams.items() if one is not voice} | {n: voice})

    def _hear(self, streams: dict[int, RoomTrack]) -> None:
        """Take the sound of these streams from now on."""
        self._door.metrics.audio_open.labels("livekit").inc(len(streams) - len(self._streams))
        self._streams = streams

    async def close(self) -> None:
        """Leave the room."""
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


class RoomWatch:
    """Looks which rooms there are, joins those of open sessions and leaves them when their session is over."""

    def __init__(self, door: Door, access: LiveKitAccess) -> None:
        """Do nothing before `start`."""
        self.access = access
        self.rooms = LiveKitRooms(access)
        self._door = door
        self._listened: dict[str, _Room] = {}
        self._retry: dict[str, tuple[float, float]] = {}
        self._look_now = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._told = ""

    def start(self) -> None:
        """Look from now on."""
        self._task = asyncio.ensure_future(self._run())

    def look(self, session_id: str) -> None:
        """Look at once: somebody is about to come into this room."""
        self._retry.pop(session_id, None)
        self._look_now.set()

    async def _run(self) -> None:
        while True:
            reason = ""
            try:
                await self._look()
            except Problem as problem:
                reason = f"{problem.title}: {problem.detail}"
            except EngineError as error:
                reason = str(error)
            if reason and reason != self._told:
                logger.warning("livekit_rooms_unknown", reason=reason)
            self._told = reason
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await self._look_now.wait()
            self._look_now.clear()

    async def _look(self) -> None:
        """Join and leave.

        Raises:
            Problem: The server does not tell.
            EngineError: The log cannot be read.
        """
        for session_id, room in list(self._listened.items()):
            if not room.task.done() and time.monotonic() - room.heard_s > DEAD_S:
                room.reason = "the listener hangs"
                await room.close()
            if room.task.done():
                self._ended(session_id, room)
            elif await self._session(session_id) is None:
                logger.info("livekit_left", session_id=session_id)
                del self._listened[session_id]
                await room.close()
        names = [name for name in await self.rooms.names() if _SESSION.fullmatch(name)]
        self._retry = {name: at for name, at in self._retry.items() if name in names}
        for name in names:
            if name not in self._listened and time.monotonic() >= self._retry.get(name, (0.0, 0.0))[0]:
                await self._join(name)

    async def _session(self, session_id: str) -> SessionSeen | None:
        """Give an open session."""
        await self._door.load(session_id)
        session = self._door.sessions.find(session_id)
        return session if session is not None and session.closed_at is None else None

    async def _join(self, name: str) -> None:
        session = await self._session(name)
        elsewhere = False
        with suppress(Problem):  # the room has just gone
            elsewhere = session is None or await self.rooms.listened_elsewhere(name)
        if session is None or elsewhere or len(self._listened) >= MOST_ROOMS:
            wait_s = TAKE_OVER_S if elsewhere and session is not None else LONGEST_RETRY_S
            self._retry[name] = time.monotonic() + wait_s, FIRST_RETRY_S
            return
        self._listened[name] = _Room(self._door, session, self.access)

    def _ended(self, session_id: str, room: _Room) -> None:
        """Note when to try again to listen to a room that was left against our will."""
        del self._listened[session_id]
        reason = room.reason
        if not room.task.cancelled() and (error := room.task.exception()) is not None:
            reason = type(error).__name__
        lasted = room.joined_s and time.monotonic() - room.joined_s > LASTED_S
        wait_s = FIRST_RETRY_S if lasted else self._retry.get(session_id, (0.0, FIRST_RETRY_S))[1]
        self._retry[session_id] = time.monotonic() + wait_s, min(LONGEST_RETRY_S, 2 * wait_s)
        logger.info("livekit_room_ended", session_id=session_id, reason=reason)

    async def close(self) -> None:
        """Leave every room."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await asyncio.gather(*(room.close() for room in self._listened.values()))
        self._listened.clear()
        await self.rooms.close()
