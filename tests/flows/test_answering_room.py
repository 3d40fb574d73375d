"""Answers that end in a way nobody planned are closed all the same."""

import time
from collections.abc import Sequence
from datetime import UTC, datetime

import pytest

from flows.answering_room import AnsweringRoom
from operators.answering import AnswerContext, Answering
from operators.ports import SearchScope
from schemas.answers import Passage
from schemas.errors import EngineError, ModelTimeout
from schemas.questions import Question

QUESTION = Question(
    session_id="s", event_id="e", created_at=datetime(2026, 1, 1, tzinfo=UTC), question_id="q", text="Where is it?"
)
CONTEXT = AnswerContext(SearchScope("x"))


class Failing:
    """A search whose store is gone."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    async def search(self, query: str, scope: SearchScope, limit: int) -> Sequence[Passage]:
        raise self._error

    def version(self, owner_id: str) -> str:
        return ""


@pytest.mark.parametrize("error", [RuntimeError("the words of a user"), KeyError("k"), OSError(5, "disk")])
def test_an_unexpected_fault_closes_the_answer_without_its_words(error: Exception) -> None:
    ended = _ending(error)
    assert isinstance(ended, EngineError)
    assert type(error).__name__ in str(ended)
    assert "words of a user" not in str(ended)


def test_a_fault_of_the_engine_is_handed_on_as_it_is() -> None:
    timeout = ModelTimeout("too late")
    assert _ending(timeout) is timeout


def _ending(error: Exception) -> object:
    room = AnsweringRoom(Answering(Failing(error)))
    try:
        call = room.start(QUESTION, CONTEXT)
        end = time.monotonic() + 5
        while not call.pieces and time.monotonic() < end:
            time.sleep(0.01)
        assert call.pieces, "the answer was never closed"
        return call.pieces[-1]
    finally:
        room.close()
