"""Decodes recordings in limited child processes: whole files, and containers that arrive piece by piece."""

import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Self

__all__ = ["DecodeLimits", "Decoder", "RecordingRefused", "decode_file", "read_recording"]

_CHILD = Path(__file__).with_name("audio_decode_child.py")
_HEAD = 5


class RecordingRefused(ValueError):
    """The recording cannot be used; the message says why, in words for its sender."""


@dataclass(frozen=True, slots=True)
class DecodeLimits:
    """What decoding one recording may cost.

    Attributes:
        most_s: Longest sound, seconds.
        cpu_s: Most processor seconds.
        wall_s: Most seconds until a file is decoded.
        piece_s: Most seconds until a live piece is.
        memory_bytes: Most memory.
    """

    most_s: float = 4 * 3600.0
    cpu_s: int = 300
    wall_s: float = 600.0
    piece_s: float = 20.0
    memory_bytes: int = 1_500_000_000


class _Child:
    """The process, its messages, and a clock that ends it when it takes too long."""

    def __init__(self, mode: str, source: IO[bytes] | int, limits: DecodeLimits) -> None:
        numbers = (limits.most_s, limits.cpu_s, limits.memory_bytes)
        command = [sys.executable, "-I", str(_CHILD), mode, *map(str, numbers)]
        self.process = subprocess.Popen(  # noqa: S603 - our own interpreter and script
            command, stdin=source, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )

    def messages(self, within_s: float) -> Iterator[tuple[bytes, bytes]]:
        """Give the messages as they come.

        Raises:
            RecordingRefused: The recording is refused, or the child has ended, or had to be ended, without a word.
        """
        assert self.process.stdout is not None  # noqa: S101 - it is a pipe
        late = threading.Event()

        def end() -> None:
            late.set()
            self.process.kill()

        clock = threading.Timer(within_s, end)
        clock.daemon = True
        clock.start()
        try:
            while True:
                head = self.process.stdout.read(_HEAD)
                body = self.process.stdout.read(int.from_bytes(head[1:], "big")) if len(head) == _HEAD else b""
                if head[:1] == b"R":
                    raise RecordingRefused(body.decode("utf-8", "replace"))
                if len(head) < _HEAD:
                    reason = (
                        "it takes too long to decode" if late.is_set() else "it cannot be decoded within the limits"
                    )
                    raise RecordingRefused(reason)
                yield head[:1], body
                if head[:1] == b"E":
                    return
        finally:
            clock.cancel()

    def close(self) -> None:
        """End the process, if it has not ended, and let go of its pipes."""
        self.process.kill()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except OSError:
                    continue  # what was still to be written has no reader any more
        self.process.wait()


def decode_file(source: IO[bytes], limits: DecodeLimits) -> tuple[IO[bytes], float]:
    """Decode a whole recording; blocks until it is done.

    Args:
        source: A real file at its start.
        limits: What it may cost.

    Returns:
        A file at its start that has no name, with the sound as 16 kHz mono PCM16, which the caller closes; and the
        seconds that were missing inside, as the times of the blocks around them tell, and became silence.

    Raises:
        RecordingRefused: Damaged, torn off, of an unknown format, without sound, too long or too costly. A recording is
            taken whole or not at all.
    """
    with ExitStack() as held:
        given = held.enter_context(tempfile.TemporaryFile())
        child, missing_s = _Child("file", source, limits), 0.0
        held.callback(child.close)
        for letter, body in child.messages(limits.wall_s):
            if letter == b"P":
                given.write(body)
            elif letter == b"E":
                missing_s = float(body)
        child.close()
        held.pop_all()
    given.seek(0)
    return given, missing_s


def read_recording(path: Path) -> bytes:
    """Give the whole sound of a recording as 16 kHz mono PCM16, within the usual limits.

    Raises:
        RecordingRefused: It cannot be decoded.
        OSError: It cannot be read.
    """
    with path.open("rb") as source:
        sound, _ = decode_file(source, DecodeLimits())
    with sound:
        return sound.read()


class Decoder:
    """A container that arrives piece by piece; used by one thread at a time, each call blocks until it is done."""

    def __init__(self, limits: DecodeLimits) -> None:
        """Start the child."""
        self._limits = limits
        self._child = _Child("live", subprocess.PIPE, limits)
        self._first = True
        self.closed = False

    def feed(self, piece: bytes) -> bytes:
        """Give the sound that a piece completes, 16 kHz mono PCM16.

        Raises:
            RecordingRefused: The recording is damaged, of an unknown format, too long or too costly.
        """
        if self._first:
            self._take()  # the child asks for its first piece
            self._first = False
        self._send(len(piece).to_bytes(4, "big") + piece)
        return self._take()

    def finish(self) -> bytes:
        """Give the sound that was still inside, and end.

        Raises:
            RecordingRefused: As `feed`.
        """
        try:
            if self._first:
                return b""
            self._send(bytes(4))
            return self._take()
        finally:
            self.close()

    def close(self) -> None:
        """End without the rest."""
        self.closed = True
        self._child.close()

    def _send(self, content: bytes) -> None:
        assert self._child.process.stdin is not None  # noqa: S101 - it is a pipe
        try:
            self._child.process.stdin.write(content)
            self._child.process.stdin.flush()
        except OSError:
            return  # it has ended; its last message says why

    def _take(self) -> bytes:
        given = []
        for letter, body in self._child.messages(self._limits.piece_s):
            if letter == b"P":
                given.append(body)
            elif letter == b"N":
                break
        return b"".join(given)

    def __enter__(self) -> Self:
        """Give itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End."""
        self.close()
