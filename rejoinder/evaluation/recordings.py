"""Recordings with what is known of them: sound, who spoke when (.rttm), who said what (.stm), the words (.txt)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from schemas.errors import LogUnavailable

__all__ = ["Recording", "Span", "read_rttm", "read_stm", "recordings_in", "rttm_of", "stm_of"]

SOUNDS = (".wav", ".flac", ".mp3", ".m4a", ".ogg", ".opus", ".webm")


@dataclass(frozen=True, slots=True)
class Span:
    """One speaker from `start_s` to `end_s`, with the words when they are known."""

    speaker: str
    start_s: float
    end_s: float
    text: str = ""


@dataclass(frozen=True, slots=True)
class Recording:
    """A file of sound and its references; what is not known is None.

    Attributes:
        turns: Who spoke when.
        said: Who said what.
        words: All words, in the order of their start.
    """

    path: Path
    turns: tuple[Span, ...] | None = None
    said: tuple[Span, ...] | None = None
    words: str | None = None

    @property
    def name(self) -> str:
        """Give the name of the file without its ending."""
        return self.path.stem


def recordings_in(folder: Path) -> list[Recording]:
    """Give the recordings of a folder, or the one file that is named, by name.

    Raises:
        LogUnavailable: There are none.
        ValueError: A reference cannot be read; the message names file and line.
    """
    paths = [folder] if folder.is_file() else sorted(folder.glob("*")) if folder.is_dir() else []
    found = [_recording(path) for path in paths if path.suffix.lower() in SOUNDS]
    if not found:
        raise LogUnavailable(f"{folder} holds no sound ({', '.join(SOUNDS)})")
    return found


def _recording(path: Path) -> Recording:
    rttm, stm, txt = (path.with_suffix(ending) for ending in (".rttm", ".stm", ".txt"))
    said = tuple(read_stm(stm)) if stm.exists() else None
    words = txt.read_text() if txt.exists() else None
    if words is None and said is not None:
        words = " ".join(span.text for span in sorted(said, key=lambda span: span.start_s))
    return Recording(path, tuple(read_rttm(rttm)) if rttm.exists() else None, said, words)


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        if line.strip() and not line.startswith((";", "#")):
            yield number, line


def read_rttm(path: Path) -> Iterator[Span]:
    """Give the turns of an RTTM file (``SPEAKER uri 1 start length <NA> <NA> name ...``).

    Raises:
        ValueError: A line is none of that form.
    """
    for number, line in _lines(path):
        fields = line.split()
        try:
            if fields[0] == "SPEAKER":
                start_s = float(fields[3])
                yield Span(fields[7], start_s, start_s + float(fields[4]))
        except (IndexError, ValueError):
            raise ValueError(f"{path.name}, line {number}: no line of an RTTM file") from None


def read_stm(path: Path) -> Iterator[Span]:
    """Give the utterances of an STM file (``uri 1 speaker start end [<label>] words``).

    Raises:
        ValueError: A line is none of that form.
    """
    for number, line in _lines(path):
        fields = line.split(maxsplit=5)
        try:
            text = fields[5] if len(fields) > 5 else ""
            if text.startswith("<") and ">" in text:
                text = text.split(">", 1)[1]
            yield Span(fields[2], float(fields[3]), float(fields[4]), text.strip())
        except (IndexError, ValueError):
            raise ValueError(f"{path.name}, line {number}: no line of an STM file") from None


def rttm_of(name: str, spans: Sequence[Span]) -> str:
    """Give an RTTM file."""
    return "".join(
        f"SPEAKER {name} 1 {span.start_s:.3f} {span.end_s - span.start_s:.3f} <NA> <NA> {span.speaker} <NA> <NA>\n"
        for span in sorted(spans, key=lambda span: span.start_s)
        if span.end_s > span.start_s
    )


def stm_of(name: str, spans: Sequence[Span]) -> str:
    """Give an STM file."""
    return "".join(
        f"{name} 1 {span.speaker} {span.start_s:.3f} {span.end_s:.3f} {' '.join(span.text.split())}\n"
        for span in sorted(spans, key=lambda span: span.start_s)
        if span.text
    )
