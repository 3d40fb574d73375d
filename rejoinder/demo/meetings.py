"""Reads recorded meetings: the two bundled ones, and any file a user names."""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["BUNDLED", "Meeting", "MeetingDocument", "load_meeting"]

FOLDER = Path(__file__).parent / "meetings"
BUNDLED = ("interview", "practice")
WORDS_PER_S = 2.5
_STAMP = re.compile(r"(?:(\d+):)?(\d{1,2}):(\d{1,2})[.,](\d{1,3})\s*-->\s*(?:(\d+):)?(\d{1,2}):(\d{1,2})[.,](\d{1,3})")
_SPEAKER = re.compile(r"^([A-Za-z][\w .'-]{0,40}):\s+(.*)$")


@dataclass(frozen=True, slots=True)
class MeetingDocument:
    """A document that belongs to a meeting."""

    title: str
    source: str
    text: str


@dataclass(frozen=True, slots=True)
class Meeting:
    """A recorded meeting: its captions in order, the people, the documents."""

    title: str
    kind: str
    captions: tuple[dict[str, Any], ...]
    participants: tuple[dict[str, Any], ...] = ()
    documents: tuple[MeetingDocument, ...] = ()
    expected: tuple[dict[str, str], ...] = ()
    language: str = "en"
    collection: str = field(default="demo")

    @property
    def length_s(self) -> float:
        """Give the recorded length, seconds."""
        return max((caption["end_s"] for caption in self.captions), default=0.0)


def load_meeting(name: str) -> Meeting:
    """Give a bundled meeting by name, or the one in a file: .jsonl of captions, .srt, .vtt, or "Name: words" lines.

    Raises:
        ValueError: No such meeting or file, or nothing in it is a caption.
    """
    if name in BUNDLED:
        return _bundled(name)
    path = Path(name)
    if not path.is_file():
        raise ValueError(f"no meeting {name!r}: name one of {', '.join(BUNDLED)}, or a file")
    try:
        text = path.read_text("utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError(f"{path.name} is not UTF-8 text") from None
    if path.suffix == ".jsonl":
        captions = _jsonl(text)
    elif "-->" in text:
        captions = _subtitles(text)
    else:
        captions = _lines(text)
    if not captions:
        raise ValueError(f"{path.name} holds no captions")
    return Meeting(path.stem, "meeting", tuple(captions))


def _bundled(name: str) -> Meeting:
    folder = FOLDER / name
    manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
    captions = [json.loads(line) for line in (folder / "captions.jsonl").read_text("utf-8").splitlines() if line]
    documents = tuple(
        MeetingDocument(one["title"], one["source"], (folder / one["file"]).read_text("utf-8"))
        for one in manifest["documents"]
    )
    return Meeting(
        title=manifest["title"],
        kind=manifest["kind"],
        captions=tuple(captions),
        participants=tuple(manifest["participants"]),
        documents=documents,
        expected=tuple(manifest["expected"]),
        language=manifest["language"],
        collection=f"demo-{name}",
    )


def _jsonl(text: str) -> list[dict[str, Any]]:
    captions = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            found = json.loads(line)
            start, end = found.get("start_s", found.get("start")), found.get("end_s", found.get("end"))
            captions.append(_caption(number, found.get("speaker"), float(start), float(end), str(found["text"])))
            captions[-1]["final"] = bool(found.get("final", True))
            if found.get("caption_id", found.get("id")):
                captions[-1]["caption_id"] = str(found.get("caption_id", found.get("id")))
        except (ValueError, TypeError, KeyError, AttributeError):
            raise ValueError(f"line {number} is no caption: it needs speaker, start_s, end_s and text") from None
    return captions


def _subtitles(text: str) -> list[dict[str, Any]]:
    captions: list[dict[str, Any]] = []
    for number, block in enumerate(re.split(r"\n\s*\n", text.replace("\r\n", "\n")), start=1):
        stamp = _STAMP.search(block)
        if stamp is None:
            continue
        parts = [int(part or 0) for part in stamp.groups()]
        start = parts[0] * 3600 + parts[1] * 60 + parts[2] + parts[3] / 1000
        end = parts[4] * 3600 + parts[5] * 60 + parts[6] + parts[7] / 1000
        words = " ".join(re.sub(r"<[^>]*>", "", block[stamp.end() :]).split())
        named = _SPEAKER.match(words)
        speaker, words = (named.group(1), named.group(2)) if named else (None, words)
        if words:
            captions.append(_caption(number, speaker, start, max(start, end), words))
    return captions


def _lines(text: str) -> list[dict[str, Any]]:
    captions: list[dict[str, Any]] = []
    at = 0.0
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        named = _SPEAKER.match(line.strip())
        speaker, words = (named.group(1), named.group(2)) if named else (None, line.strip())
        end = at + max(0.5, len(words.split()) / WORDS_PER_S)
        captions.append(_caption(number, speaker, at, end, words))
        at = end + 0.8
    return captions


def _caption(number: int, speaker: Any, start_s: float, end_s: float, text: str) -> dict[str, Any]:
    return {
        "caption_id": f"c{number}",
        "speaker": str(speaker) if speaker else None,
        "start_s": round(start_s, 3),
        "end_s": round(end_s, 3),
        "text": text,
        "final": True,
    }
