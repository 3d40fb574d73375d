"""Sessions that are over are not begun anew by words that still come of them."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from eventlog.inmemory import InMemoryLog
from flows.arrivals import Arrived
from flows.clock import FlowClock
from flows.connectors import ReadingState
from flows.gone import MOST, GoneSessions
from flows.logic import FORGET_CLOSED_S, OperatorLogic
from flows.piece_file import PieceFolder
from operators.utterances import UtterancesOperator
from schemas.meeting import MeetingClosed, MeetingOpened
from schemas.speech import Caption

AT = datetime(2026, 1, 1, tzinfo=UTC)
SHARED: dict[str, Any] = {"session_id": "s", "created_at": AT}


def arrived(record: Any, at_s: float) -> Arrived:
    return Arrived(record, "captions", 0, at_s)


def caption(number: int) -> Caption:
    return Caption(
        **SHARED,
        event_id=f"c{number}",
        caption_id=f"c{number}",
        speaker="ann",
        start_s=0,
        end_s=1,
        text="Yes.",
        final=True,
    )


def test_late_words_of_a_session_that_was_forgotten_are_forgotten_as_well(tmp_path: Path) -> None:
    folder, now = PieceFolder(tmp_path), [1_000.0]
    clock = FlowClock(ReadingState(), wall=lambda: now[0])
    logic = OperatorLogic.builder("utterances", UtterancesOperator(), clock, InMemoryLog(), folder=folder)(None)
    logic.on_batch([arrived(caption(1), 1_000.0), arrived(MeetingClosed(**SHARED, event_id="e"), 1_001.0)])
    now[0] += FORGET_CLOSED_S + 5
    logic.on_notify()
    assert folder.file(logic.snapshot()).restore() == {}
    out, _ = logic.on_batch([arrived(caption(2), 1_002.0)])
    assert list(out), "its words are passed on"
    logic.on_notify()
    assert folder.file(logic.snapshot()).restore() == {}
    opened = MeetingOpened(**SHARED, event_id="o", owner_id="me")
    logic.on_batch([arrived(opened, now[0]), arrived(caption(3), now[0])])
    now[0] += FORGET_CLOSED_S + 5
    logic.on_notify()
    kept = folder.file(logic.snapshot()).restore()
    assert set(kept) == {"s"}, "a session that is opened again, moved here from elsewhere, is a new one"


def test_only_the_last_ones_are_remembered() -> None:
    gone = GoneSessions()
    for number in range(MOST + 1):
        gone.add(str(number))
    assert "0" not in gone
    assert "1" in gone
    assert str(MOST) in gone
