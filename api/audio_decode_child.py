"""Decodes one recording in a process of its own, under limits; run as ``python -I``, never imported by the engine.

Arguments: ``file`` or ``live``, most seconds of sound, CPU seconds, bytes of memory. A file lies on standard input,
which can be sought in. Live pieces come on standard input, each after its length (4 bytes, big-endian); length 0 ends
them. Standard output carries messages of one letter, a length and a body: P 16 kHz mono PCM16, N every piece so far is
used up, R refused (text), E the end (the seconds that were missing and became silence).
"""

import resource
import sys
from collections.abc import Callable
from typing import Any, BinaryIO

RATE_HZ = 16_000
# Sound formats alone: no playlists and no formats that name other files or addresses.
FORMATS = "wav,w64,rf64,aiff,flac,mp3,aac,adts,ogg,matroska,webm,mov,mp4,m4a,3gp,3g2,mj2,caf,au,amr"
EXACT = {"wav", "w64", "aiff", "flac", "caf", "au"}
TIMED = {"matroska", "ogg", "mov"}
GAP_S = 0.06
SHORTER_S, SHORTER_SHARE, SHORTER_EXACT_S = 0.1, 0.001, 0.01
"""A file may end this much before the length that it states; more is a torn-off end or a part left out."""


class Refused(Exception):
    """The recording cannot be used; the message tells its sender why."""


def say(letter: bytes, body: bytes = b"") -> None:
    """Send one message."""
    sys.stdout.buffer.write(letter + len(body).to_bytes(4, "big") + body)
    sys.stdout.buffer.flush()


class Pieces:
    """The pieces of a live recording as a file that cannot be sought in."""

    def __init__(self, source: BinaryIO) -> None:
        """Read from `source`."""
        self._source, self._left, self._over = source, b"", False

    def read(self, most: int) -> bytes:
        """Give bytes that are there, waiting for a piece when there are none; b"" at the end."""
        while not self._left and not self._over:
            say(b"N")
            size = int.from_bytes(self._exactly(4), "big")
            self._left = self._exactly(size)
            self._over = not size
        given, self._left = self._left[:most], self._left[most:]
        return given

    def _exactly(self, size: int) -> bytes:
        held = b""
        while len(held) < size:
            piece = self._source.read(size - len(held))
            if not piece:
                return b"\0" * 4 if size == 4 else b""
            held += piece
        return held


class Sink:
    """Turns decoded frames into 16 kHz mono and counts them."""

    def __init__(self, most_s: float, write: Callable[[bytes], None]) -> None:
        """Write at most so many seconds."""
        import av

        self._most_s, self._write = most_s, write
        self._resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE_HZ)
        self.samples = 0
        self.missing_s = 0.0
        self.timed = False
        self._next_s: float | None = None

    @property
    def seconds(self) -> float:
        """Give how much was written."""
        return self.samples / RATE_HZ

    def take(self, frame: Any) -> None:
        """Take a frame; None ends.

        Raises:
            Refused: It is too long.
        """
        if self.timed and frame is not None and frame.time is not None:
            gap_s = frame.time - self._next_s if self._next_s is not None else 0.0
            self._next_s = frame.time + frame.samples / frame.sample_rate
            # Blocks that a recorder dropped, or that are damaged, show in the times of those that follow.
            if gap_s > GAP_S:
                self.missing_s += gap_s
                self._give_silence(round(gap_s * RATE_HZ))
        for out in self._resampler.resample(frame):
            self._give(out.to_ndarray().tobytes())

    def _give(self, pcm: bytes) -> None:
        self.samples += len(pcm) // 2
        if self.seconds > self._most_s:
            raise Refused(f"it is longer than {self._most_s / 60:.0f} minutes, which is the most that is taken")
        self._write(pcm)

    def _give_silence(self, samples: int) -> None:
        while samples > 0:
            self._give(bytes(2 * min(samples, RATE_HZ)))
            samples -= RATE_HZ


def decode(source: Any, most_s: float, write: Callable[[bytes], None], *, live: bool) -> float:
    """Decode the first sound track of a recording; gives the seconds that were missing in it.

    Raises:
        Refused: No sound in it, damaged, torn off, or too long.
    """
    import av

    # Live, what a header says is enough: looking ahead for more would hold back the first seconds of sound.
    more = {"probesize": "2048", "analyzeduration": "0"} if live else {}
    options, sink = {"format_whitelist": FORMATS, **more}, Sink(most_s, write)
    stated: float | None = None
    try:
        with av.open(source, metadata_errors="ignore", options=options, buffer_size=4_096) as container:
            if not container.streams.audio:
                raise Refused("it holds no sound")
            stream = container.streams.audio[0]
            kind = container.format.name.partition(",")[0]
            sink.timed = kind in TIMED
            stated = None if live else _stated_s(container, stream)
            if stated is not None and stated > most_s:
                raise Refused(f"it is {stated / 60:.0f} minutes long; at most {most_s / 60:.0f} are taken")
            _decode_stream(container, stream, sink)
    except (av.FFmpegError, ValueError, OSError, OverflowError, LookupError) as error:
        if isinstance(error, MemoryError):
            raise
        where = (
            f"it is damaged at second {sink.seconds:.1f}" if sink.samples else "it is no recording of a known format"
        )
        raise Refused(where) from None
    if live:
        return sink.missing_s
    if not sink.samples:
        raise Refused("it holds no sound")
    if kind == "ogg" and torn_ogg(source):
        raise Refused(f"it is torn off after second {sink.seconds:.1f}")
    slack = SHORTER_EXACT_S if kind in EXACT else max(SHORTER_S, (stated or 0) * SHORTER_SHARE)
    if stated is not None and _length_is_known(kind, source) and sink.seconds < stated - slack:
        raise Refused(f"it gives {sink.seconds:.1f} s of sound though it says that it is {stated:.1f} s long")
    return sink.missing_s


def _decode_stream(container: Any, stream: Any, sink: Sink) -> None:
    stream.codec_context.thread_count = 1
    stream.codec_context.options = {"err_detect": "crccheck+bitstream+buffer"}
    for packet in container.demux(stream):
        frames = packet.decode()
        if packet.is_corrupt or any(frame.is_corrupt for frame in frames):
            raise Refused(f"it is damaged at second {sink.seconds:.1f}")
        for frame in frames:
            sink.take(frame)
    sink.take(None)


def _stated_s(container: Any, stream: Any) -> float | None:
    """Give the length that a recording states; None when it does not."""
    if stream.duration and stream.time_base and stream.duration > 0:
        return float(stream.duration * stream.time_base)
    if container.duration and container.duration > 0:
        return float(container.duration / 1_000_000)
    return None


def _length_is_known(kind: str, source: Any) -> bool:
    """Say whether a length was read and not guessed from the bit rate, as for MP3 without a table."""
    if kind not in ("mp3", "aac", "amr"):
        return True
    source.seek(0)
    head = source.read(300_000)
    return b"Xing" in head or b"Info" in head


def torn_ogg(source: Any) -> bool:
    """Say whether the last page of an Ogg file is not whole."""
    size = source.seek(0, 2)
    source.seek(max(0, size - 70_000))  # a page is at most 65,307 bytes long
    tail = source.read(70_000)
    page = tail[tail.rfind(b"OggS") :]
    return len(page) < 27 or len(page) < 27 + page[26] or len(page) < 27 + page[26] + sum(page[27 : 27 + page[26]])


def main() -> None:
    """Set the limits, decode, answer."""
    mode, most_s, cpu_s, memory = sys.argv[1], float(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s + 1))
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    import av

    av.logging.set_level(av.logging.PANIC)
    live = mode == "live"
    source: Any = Pieces(sys.stdin.buffer) if live else open(0, "rb", buffering=0)  # noqa: SIM115 - lives as long as we
    try:
        missing_s = decode(source, most_s, lambda pcm: say(b"P", pcm), live=live)
    except Refused as refused:
        say(b"R", str(refused).encode())
    except MemoryError:
        say(b"R", b"it needs more memory than is allowed for one recording")
    else:
        say(b"E", f"{missing_s:.3f}".encode())


if __name__ == "__main__":
    main()
