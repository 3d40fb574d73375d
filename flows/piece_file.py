"""Keeps what a shard knows of its sessions in a file of its own, to which every snapshot adds what changed.

Bytewax writes whatever a shard hands over at a snapshot whole: with forty sessions in a shard, forty for each that
spoke. So Bytewax is handed a place only, the file and how much of it counts; the sessions lie there, newest last.
"""

import os
import pickle
import struct
import zlib
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from eventlog.base import SHARDS

__all__ = ["Piece", "PieceFile", "PieceFolder", "Place"]

Piece = tuple[bytes, float, float | None, float | None]
"""A session in a snapshot: its packed state, when it was touched, and two numbers that its flow gives a meaning."""
Place = tuple[str, int, int]
"""What Bytewax keeps of a shard: its name, the number of its file, and how many bytes of that count."""

FRAME = struct.Struct("<II")
"""Before every session: the size of what follows, and its checksum."""
CLEAR_S = 1.0
"""A shard that is left alone asks for another snapshot after this time while it has files to remove."""
SPARE_BYTES = 16 * 1024
"""A file is written anew when it holds twice what is needed and this much more."""
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
        self._lying: dict[str, tuple[int, int]] = {}
        self._needed = 0
        self._fresh = True
        older = (number for number in folder.found.get(self.shard, ()) if number < self._number)
        self._left: list[Path] = []
        self._leaving: list[Path] = [self._path(number) for number in older]

    @property
    def cleared(self) -> bool:
        """Say whether no file waits to be removed; each `keep` brings that nearer."""
        return not (self._left or self._leaving)

    def _path(self, number: int) -> Path:
        return (self._folder or Path()) / f"{self.shard}.{number}"

    def restore(self) -> dict[str, Piece]:
        """Give the sessions at the place.

        Raises:
            ValueError: The file does not hold what it should.
        """
        pieces: dict[str, Piece] = {}
        data = self._read()
        at = 0
        while at < len(data):
            size, checksum = FRAME.unpack_from(data, at) if len(data) - at >= FRAME.size else (0, 0)
            end = at + FRAME.size + size
            body = data[at + FRAME.size : end]
            if not size or end > len(data) or zlib.crc32(body) != checksum:
                message = f"the snapshot {self._path(self._number)} is damaged"
                raise ValueError(message)
            session_id, piece = pickle.loads(body)  # noqa: S301 - our own snapshot
            self._note(session_id, None if piece is None else (at, end - at))
            pieces.pop(session_id, None)
            if piece is not None:
                pieces[session_id] = piece
            at = end
        return pieces

    def _read(self) -> bytes:
        if not self._size:
            return b""
        try:
            with self._path(self._number).open("rb") as file:
                data = file.read(self._size)
        except FileNotFoundError:
            data = b""
        if len(data) < self._size:
            message = f"the snapshot {self._path(self._number)} is not whole"
            raise ValueError(message)
        return data

    def _note(self, session_id: str, lies: tuple[int, int] | None) -> None:
        before = self._lying.pop(session_id, None)
        if before is not None:
            self._needed -= before[1]
        if lies is not None:
            self._lying[session_id] = lies
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
        needed = self._needed
        for one, frame in frames.items():
            needed += (len(frame) if changed[one] else 0) - self._lying.get(one, (0, 0))[1]
        size = self._size + sum(map(len, frames.values()))
        if self._fresh or (frames and size > (2 * needed + SPARE_BYTES if needed else 0)):
            self._renew(frames, changed)
        elif frames:
            self._append(frames, changed)
        return self.shard, self._number, self._size

    def _append(self, frames: Mapping[str, bytes], changed: Mapping[str, Piece | None]) -> None:
        _write(self._path(self._number), b"".join(frames.values()), os.O_APPEND)
        self._place(frames, changed)

    def _renew(self, frames: Mapping[str, bytes], changed: Mapping[str, Piece | None]) -> None:
        """Begin the next file with what is needed of this one."""
        old = self._read()
        for session_id in frames:
            self._note(session_id, None)
        kept = {one: old[at : at + size] for one, (at, size) in self._lying.items()}
        put = {one: frame for one, frame in frames.items() if changed[one] is not None}
        if self._number:
            self._left.append(self._path(self._number))
        self._number += 1
        self._size, self._needed, self._lying, self._fresh = 0, 0, {}, False
        # A process that was killed before its epoch ended may have left one of this number.
        _write(self._path(self._number), b"".join([*kept.values(), *put.values()]), os.O_TRUNC)
        self._place(kept, kept)
        self._place(put, put)

    def _place(self, frames: Mapping[str, bytes], pieces: Mapping[str, object]) -> None:
        for session_id, frame in frames.items():
            self._note(session_id, None if pieces[session_id] is None else (self._size, len(frame)))
            self._size += len(frame)

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
