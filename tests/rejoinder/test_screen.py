"""What the terminal shows of a session."""

from io import StringIO
from typing import Any

from rich.console import Console

from rejoinder.screen import Screen


def caption(speaker: str | None, revision: int) -> dict[str, Any]:
    return {
        "type": "caption", "caption_id": "c", "final": True, "text": "How are you today?", "start_s": 1.0,
        "speaker": speaker, "revision": revision,
    }  # fmt: skip


def test_a_caption_is_shown_once_and_its_speaker_when_it_is_known() -> None:
    out = StringIO()
    screen = Screen({"ann": "Ann"}, Console(file=out, width=100, highlight=False))
    for speaker, revision in ((None, 0), ("room-speaker-2", 1), ("room-speaker-2", 2), ("ann", 3)):
        screen.show(caption(speaker, revision))
    assert out.getvalue().splitlines() == [
        "    1.0s ?  How are you today?",
        "    1.0s Speaker 2  said that: How are you today?",
        "    1.0s Ann  said that: How are you today?",
    ]
