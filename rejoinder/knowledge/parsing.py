"""Turns an uploaded file into text, in a limited child process."""

import json
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

__all__ = ["DocumentRefused", "ParseLimits", "kind_of", "parse_upload"]

Kind = Literal["text", "markdown", "pdf", "docx", "json"]
_ENDINGS: dict[str, Kind] = {
    ".txt": "text",
    ".text": "text",
    ".md": "markdown",
    ".markdown": "markdown",
    ".pdf": "pdf",
    ".docx": "docx",
    ".json": "json",
}
_CHILD = Path(__file__).with_name("parse_child.py")
_AT_ONCE = threading.Semaphore(2)


class DocumentRefused(ValueError):
    """The file cannot be used; the message says why, in words for its owner."""


@dataclass(frozen=True, slots=True)
class ParseLimits:
    """What one document may cost."""

    most_bytes: int = 10_000_000
    most_pages: int = 500
    most_chars: int = 2_000_000
    cpu_s: int = 20
    wall_s: float = 40.0
    memory_bytes: int = 1_000_000_000


def kind_of(name: str, content: bytes) -> Kind:
    """Say what a file is, by its first bytes and then by its name.

    Raises:
        DocumentRefused: Of no kind that can be read.
    """
    if content[:1024].lstrip().startswith(b"%PDF-"):
        return "pdf"
    if content.startswith(b"PK\x03\x04"):
        return "docx"
    kind = _ENDINGS.get(Path(name).suffix.lower())
    if kind in ("pdf", "docx"):
        raise DocumentRefused(f"{Path(name).name[:100]!r} is damaged, or no {kind.upper()} in spite of its name")
    if kind is None:
        raise DocumentRefused("only PDF, DOCX, Markdown, text and JSON files can be read")
    return kind


def parse_upload(name: str, content: bytes, limits: ParseLimits | None = None) -> tuple[str, Kind]:
    """Give the text of an uploaded file, and its kind; blocks for as long as reading takes.

    Raises:
        DocumentRefused: Too large, of an unknown kind, damaged, protected, or too costly to read.
    """
    limits = limits or ParseLimits()
    if not content:
        raise DocumentRefused("the file is empty")
    if len(content) > limits.most_bytes:
        raise DocumentRefused(f"the file has {len(content)} bytes; at most {limits.most_bytes} are taken")
    kind = kind_of(name, content)
    numbers = (limits.most_pages, limits.most_chars, limits.cpu_s, limits.memory_bytes)
    command = [sys.executable, "-I", str(_CHILD), kind, *map(str, numbers)]
    with _AT_ONCE:
        try:
            done = subprocess.run(  # noqa: S603 - our own interpreter and script
                command, input=content, capture_output=True, timeout=limits.wall_s, check=False
            )
        except subprocess.TimeoutExpired:
            raise DocumentRefused("the file takes too long to read") from None
    try:
        answer = json.loads(done.stdout)
    except ValueError:
        raise DocumentRefused("the file takes more time or memory to read than is allowed") from None
    if "refused" in answer:
        raise DocumentRefused(answer["refused"])
    return str(answer["text"]), kind
