"""What an API process keeps in memory for its clients: bounded, and the same for all of them."""

import json
import time

from api.sessions_seen import SessionDirectory
from api.shown import ShownRecords
from benchmarks.talk import Crowd
from eventlog.base import NewRecord
from eventlog.inmemory import InMemoryLog
from eventlog.records import new_record
from schemas.answers import AnswerDelta


def test_a_session_that_fell_out_of_memory_is_found_again() -> None:
    log, crowd = InMemoryLog(), Crowd("many", 30, time.time())
    log.append([crowd.opened(place) for place in range(30)])
    log.append([crowd.closed(3, 1)])
    directory = SessionDirectory(log, most_found=10)
    for place in range(30):
        assert directory.owned(crowd.session(place), "bench").session_id == crowd.session(place)
    assert len(directory._found) == 10
    found = directory.find(crowd.session(3))
    assert found is not None
    assert found.closed_at is not None
    assert directory.find("nobody") is None


def test_records_are_made_once_for_all_who_are_shown_them_and_the_oldest_are_let_go() -> None:
    log, crowd = InMemoryLog(), Crowd("one", 1, time.time())
    log.append([crowd.opened(0), *crowd.captions(0, 50)])
    lying = log.read_key(crowd.session(0), ["meeting", "captions"], log.cursor_start(), 100)
    shown = ShownRecords(most_bytes=10_000)
    first = shown.of(lying[0])
    assert first is not None
    assert shown.of(lying[0]) is first
    for one in lying:
        made = shown.of(one)
        assert made is not None
        event = made.event(one.cursor, made.text).decode()
        assert json.loads(event.partition("data: ")[2])["session_id"] == crowd.session(0)
        assert shown._held <= 10_000
    again = shown.of(lying[0])
    assert again == first
    assert again is not first
    log.append([NewRecord("captions", crowd.session(0), "bad", b"{}", time.time())])
    assert shown.of(log.read_key(crowd.session(0), ["captions"], log.cursor_start(), 100)[-1]) is None


def test_pieces_of_one_answer_that_are_sent_together_are_one_event() -> None:
    log, at = InMemoryLog(), Crowd("one", 1, time.time()).caption(0, 0).at_s
    for index, (answer, attempt) in enumerate([("a", 1), ("a", 1), ("a", 2), ("b", 2)]):
        fields = {"session_id": "s", "event_id": f"e{index}", "created_at": at, "answer_id": answer, "attempt": attempt}
        fields |= {"question_id": "q", "question_revision": 0, "index": index, "text": f"piece {index} "}
        log.append([new_record("answers", AnswerDelta.model_validate(fields))])
    known = ShownRecords()
    pieces = [known.of(one) for one in log.read_key("s", ["answers"], log.cursor_start(), 10)]
    first, second, third, fourth = (one for one in pieces if one is not None)
    assert second.continues(first)
    assert not third.continues(second)
    assert not fourth.continues(third)
    event = first.event("c7", first.text + second.text).decode()
    assert event.startswith("id: c7\r\nevent: answer_delta\r\ndata: {")
    assert json.loads(event.partition("data: ")[2])["text"] == "piece 0 piece 1 "
