"""Keeps what a shard knows of its sessions in a file of its own, to which every snapshot adds what changed.

Bytewax writes whatever a shard hands over at a snapshot whole: with forty sessions in a shard, forty for each that
spoke. So Bytewax is handed a place only, the file and how much of it counts; the sessions lie there, newest last.
"""

import os
import pickle
import struct
import time
import zlib
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from eventlog.base import SHARDS

__all__ = ["CLEAR_S", "Piece", "PieceFile", "PieceFolder", "Place"]

Piece = tuple[bytes, float, float | None, float | None, bool]
"""A session in a snapshot: its packed state, when it was touched, two numbers whose meaning is its flow's, and whether
the state is only what became different since the piece before, which is needed as well.
"""
Place = tuple[str, int, int]
"""What Bytewax keeps of a shard: its name, the number of its file, and how many bytes of that count."""

FRAME = struct.Struct("<II")
"""Before every session: the size of what follows, and its checksum."""
CLEAR_S = 1.0
"""A shard that is left alone asks for another snapshot after this time while it has files to remove."""
GONE_S = 60.0
"""A file is written anew when something of a session that is over, erased perhaps, has lain in it for this long."""
SPARE_BYTES = 16 * 1024
"""A file is written anew when it holds three times what is needed and this much more: half a copy for each addition."""
EMPTY: Place = ("", 0, 0)


class PieceFolder:
    """Where the shards of one flow keep their sessions, and how many shards there are."""

    def __init__(self, path: Path | None = None, shards: int = SHARDS) -> None:
        """Use a folder, made when missing; without one nothing is kept.

        Raises:
            OSError: It cannot be made.
        """
        self.path, self.shards = path, shards
        self.found: defaultdict[str, list[int]] = defaultdict(list)
        if path is not None:
            path.mkdir(parents=True, exist_ok=True)
            for one in path.glob("*.*"):
                shard, _, number = one.name.partition(".")
                self.found[shard].append(int(number))

    def file(self, place: Place | None) -> "PieceFile":
        """Open the file of a shard at a place, or of a new one."""
        return PieceFile(self, place)


class PieceFile:
    """The sessions of one shard of one flow, on disk.

    A place is good until the second one after it was given: Bytewax ends an epoch before it begins the next but one.
    What lies behind a place when a process starts is of an epoch that did not end; it is left alone, since the first
    snapshot after a start begins a new file. A killed process loses nothing. After a power loss a file may be shorter
    than its place says, which `restore` notices.
    """

    def __init__(self, folder: PieceFolder, place: Place | None = None) -> None:
        """Go on from `place` in `folder`."""
        self._folder = folder.path
        self.shards = folder.shards
        self.shard, self._number, self._size = place or EMPTY
        self._lying: dict[str, list[tuple[int, int]]] = {}
        self._needed = 0
        self._fresh = True
        self._gone_s: float | None = None
        older = (number for number in folder.found.get(self.shard, ()) if number < self._number)
        self._left: list[Path] = []
        self._leaving: list[Path] = [self._path(number) for number in older]

    @property
    def cleared(self) -> bool:
        """Say whether nothing waits to be removed; each `keep` brings that nearer."""
        return not (self._left or self._leaving or self._gone_s)

    def _path(self, number: int) -> Path:
        return (self._folder or Path()) / f"{self.shard}.{number}"

    def restore(self) -> dict[str, list[Piece]]:
        """Give the sessions at the place, each as a whole piece and those after it that add to it.

        Raises:
            ValueError: The file does not hold what it should.
        """
        pieces: dict[str, list[Piece]] = {}
        data = self._read(self._size)
        at = 0
        while at < len(data):
            size, checksum = FRAME.unpack_from(data, at) if len(data) - at >= FRAME.size else (0, 0)
            end = at + FRAME.size + size
            body = data[at + FRAME.size : end]
            if not size or end > len(data) or zlib.crc32(body) != checksum:
                message = f"the snapshot {self._path(self._number)} is damaged"
                raise ValueError(message)
            session_id, piece = pickle.loads(body)  # noqa: S301 - our own snapshot
            self._note(session_id, piece, (at, end - at))
            if piece is None:
                pieces.pop(session_id, None)
            elif piece[4]:
                pieces[session_id].append(piece)
            else:
                pieces[session_id] = [piece]
            at = end
        return pieces

    def _read(self, size: int) -> bytes:
        if not size:
            return b""
        try:
            with self._path(self._number).open("rb") as file:
                data = file.read(size)
        except FileNotFoundError:
            data = b""
        if len(data) < size:
            message = f"the snapshot {self._path(self._number)} is not whole"
            raise ValueError(message)
        return data

    def _note(self, session_id: str, piece: Piece | None, lies: tuple[int, int]) -> None:
        if piece is None or not piece[4]:
            self._needed -= sum(size for _, size in self._lying.pop(session_id, ()))
        if piece is not None:
            self._lying.setdefault(session_id, []).append(lies)
            self._needed += lies[1]

    def keep(self, changed: Mapping[str, Piece | None]) -> Place:
        """Write the sessions that changed (None: it is gone) and give the place that holds all of them.

        Raises:
            OSError: They cannot be written; the shard must be built anew from its last place.
        """
        if self._folder is None:
            return EMPTY
        self._unlink()
        frames = {one: _frame(one, piece) for one, piece in changed.items() if piece or one in self._lying}
        start = self._size
        for one, frame in frames.items():
            self._note(one, changed[one], (self._size, len(frame)))
            self._size += len(frame)
        if self._gone_s is None and any(changed[one] is None for one in frames):
            self._gone_s = time.monotonic()
        full = frames and self._size > (3 * self._needed + SPARE_BYTES if self._needed else 0)
        if self._fresh or full or (self._gone_s is not None and time.monotonic() - self._gone_s >= GONE_S):
            self._renew(start, b"".join(frames.values()))
        elif frames:
            _write(self._path(self._number), b"".join(frames.values()), os.O_APPEND)
        return self.shard, self._number, self._size

    def _renew(self, start: int, added: bytes) -> None:
        """Begin the next file with what is needed of this one, which ends at `start`, and of what is added to it."""
        held = self._read(start) + added
        if self._number:
            self._left.append(self._path(self._number))
        self._number += 1
        self._size, self._fresh, self._gone_s = 0, False, None
        parts: list[bytes] = []
        for lying in self._lying.values():
            for place, (at, size) in enumerate(lying):
                parts.append(held[at : at + size])
                lying[place] = self._size, size
                self._size += size
        # A process that was killed before its epoch ended may have left one of this number.
        _write(self._path(self._number), b"".join(parts), os.O_TRUNC)

    def _unlink(self) -> None:
        """Remove the files that no place needs any more."""
        for path in self._leaving:
            path.unlink(missing_ok=True)
        self._leaving, self._left = self._left, []


def _frame(session_id: str, piece: Piece | None) -> bytes:
    body = pickle.dumps((session_id, piece), pickle.HIGHEST_PROTOCOL)
    return FRAME.pack(len(body), zlib.crc32(body)) + body


def _write(path: Path, data: bytes, how: int) -> None:
    file = os.open(path, os.O_WRONLY | os.O_CREAT | how, 0o600)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(file, view) :]
    finally:
        os.close(file)
