"""Utterances, questions and memory by plain calls: time is moved by hand."""

import pickle
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.memory import EMPTY_MEMORY, MemoryOperator, apply_update
from operators.question_cues import cue_of
from operators.questions import QuestionsOperator
from operators.utterances import UtterancesOperator
from schemas.meeting import MeetingClosed, MeetingOpened, Participant
from schemas.speech import AudioGap, Caption, TranscriptionLag

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PEOPLE = (Participant(id="ann", name="Ann"), Participant(id="me", name="Me", is_user=True))
BASE: dict[str, Any] = {"session_id": "s", "created_at": NOW}


def caption(number: int, speaker: str, start: float, text: str, *, final: bool = True) -> Caption:
    end = start + 0.4 * len(text.split())
    name = f"c{number}"
    return Caption(
        **BASE, event_id=name, caption_id=name, speaker=speaker, start_s=start, end_s=end, text=text, final=final
    )


class Pipe:
    """Captions through all three operators, in stream time."""

    def __init__(self, **options: float) -> None:
        self.hear, self.ask, self.keep = UtterancesOperator(), QuestionsOperator(**options), MemoryOperator()  # type: ignore[arg-type]
        self.states: list[Any] = [one.initial() for one in (self.hear, self.ask, self.keep)]
        self.utterances: list[Any] = []
        self.questions: list[Any] = []
        self.memory = EMPTY_MEMORY
        self.take(MeetingOpened(**BASE, event_id="o", owner_id="x", participants=PEOPLE), 0.0)

    def take(self, record: Any, now_s: float) -> None:
        self.wait(now_s)
        self.states[0], heard = self.hear.step(self.states[0], record, now_s)
        self.utterances += heard
        for one in heard or ([] if isinstance(record, Caption) else [record]):
            self.states[1], asked = self.ask.step(self.states[1], one, now_s)
            self.questions += asked
            self.states[2], kept = self.keep.step(self.states[2], one, now_s)
            self._remember(kept)

    def _remember(self, updates: list[Any]) -> None:
        for update in updates:
            self.memory = apply_update(self.memory, update)

    def wait(self, until_s: float) -> None:
        while (due := self.ask.due_s(self.states[1])) is not None and due <= until_s:
            self.states[1], asked = self.ask.tick(self.states[1], due)
            self.questions += asked
        while (due := self.keep.due_s(self.states[2])) is not None and due <= until_s:
            self.states[2], kept = self.keep.tick(self.states[2], due)
            self._remember(kept)

    def say(self, *captions: Caption) -> "Pipe":
        for one in captions:
            self.take(one, one.end_s)
        self.wait(captions[-1].end_s + 10)
        return self

    def texts(self) -> list[str]:
        return [one.text for one in self.questions]


def test_captions_of_one_speaker_join_until_somebody_else_speaks() -> None:
    pipe = Pipe().say(
        caption(1, "Ann", 0, "we moved it"), caption(2, "ann", 1.5, "last year"), caption(3, "me", 3, "I see")
    )
    last = {one.utterance_id: one for one in pipe.utterances}
    assert [(one.text, one.is_user) for one in last.values()] == [("we moved it last year", False), ("I see", True)]
    assert [one.caption_ids for one in last.values()] == [("c1", "c2"), ("c3",)]


def test_a_long_pause_begins_a_new_utterance_and_a_repeat_none() -> None:
    pipe = Pipe().say(caption(1, "ann", 0, "one two"), caption(2, "ann", 9, "three"), caption(2, "ann", 9, "three"))
    assert len(pipe.utterances) == 2
    assert len({one.utterance_id for one in pipe.utterances}) == 2


def test_partial_words_are_tentative_until_final() -> None:
    pipe = Pipe().say(caption(1, "ann", 0, "why did", final=False), caption(1, "ann", 0, "why did you leave?"))
    assert [(one.text, one.tentative) for one in pipe.utterances] == [("", "why did"), ("why did you leave?", "")]
    assert len({one.utterance_id for one in pipe.utterances}) == 1


@pytest.mark.parametrize(
    "text",
    ["Which database did you choose?", "Tell me about a time you failed.", "so what would you do differently",
     "can you walk me through the design", "I'd like to hear about your team.", "do you have any allergies"],
)  # fmt: skip
def test_what_asks_for_something_is_a_question(text: str) -> None:
    assert Pipe().say(caption(1, "ann", 0, text)).texts() == [text]


@pytest.mark.parametrize(
    "text",
    ["It was fine, right?", "Really?", "Can you hear me okay?", "that's what i did last year", "Okay.", "you know",
     "I'll tell you about the team.", "We moved it to Kafka.", "i don't know what they did"],
)  # fmt: skip
def test_what_asks_for_nothing_is_none(text: str) -> None:
    assert Pipe().say(caption(1, "ann", 0, text)).texts() == []


def test_the_users_own_questions_are_not_answered() -> None:
    assert Pipe().say(caption(1, "me", 0, "What does the team look like?")).texts() == []


def test_a_question_over_several_captions_is_one() -> None:
    pipe = Pipe().say(
        caption(1, "ann", 0, "Which database did you migrate to, and how long did"), caption(2, "ann", 4, "it take?")
    )
    assert pipe.texts() == ["Which database did you migrate to, and how long did it take?"]


def test_a_question_waits_for_silence_and_for_words_that_are_not_final() -> None:
    pipe = Pipe(settle_s=0.8)
    pipe.take(caption(1, "ann", 0, "so what happened next"), 2.0)
    pipe.wait(2.7)
    assert pipe.texts() == []
    pipe.take(caption(2, "ann", 2.0, "and how", final=False), 2.7)
    pipe.wait(3.4)
    assert pipe.texts() == []
    pipe.wait(3.6)
    assert pipe.texts() == ["so what happened next"]


def test_going_on_extends_the_same_question() -> None:
    pipe = Pipe()
    pipe.take(caption(1, "ann", 0, "What is your notice period?"), 2.0)
    pipe.wait(2.3)
    pipe.take(caption(2, "ann", 2.5, "And could you start earlier?"), 5.0)
    pipe.wait(9)
    assert [one.revision for one in pipe.questions] == [0, 1]
    assert len({one.question_id for one in pipe.questions}) == 1
    assert pipe.questions[1].text.startswith("What is your notice period?")


def test_no_wait_fires_within_the_step() -> None:
    pipe = Pipe(sure_settle_s=0.0)
    pipe.take(caption(1, "ann", 0, "Where do you live?"), 2.0)
    assert pipe.texts() == ["Where do you live?"]


def test_memory_keeps_lines_and_notes_with_their_evidence() -> None:
    pipe = Pipe().say(
        caption(1, "ann", 0, "My name is Ann. We use Kafka."), caption(2, "me", 5, "I'll send it tomorrow.")
    )
    assert [line.text for line in pipe.memory.said] == ["My name is Ann. We use Kafka.", "I'll send it tomorrow."]
    assert [note.kind for note in pipe.memory.notes] == ["name", "fact", "commitment"]
    assert all(note.utterance_ids for note in pipe.memory.notes)


def test_state_stays_small_over_hours_of_talk() -> None:
    pipe = Pipe()
    for number in range(4_000):
        who = "ann" if number // 3 % 2 else "me"
        pipe.take(
            caption(number, who, number * 3.0, f"We have {number} engineers in the team now, how many do you have?"),
            number * 3.0 + 2,
        )
    assert all(len(pickle.dumps(state)) < 40_000 for state in pipe.states)
    assert len(pickle.dumps(pipe.memory)) < 60_000


def test_a_closed_meeting_is_finished() -> None:
    pipe = Pipe()
    pipe.take(MeetingClosed(**BASE, event_id="x"), 5.0)
    for operator, state in zip((pipe.hear, pipe.ask, pipe.keep), pipe.states, strict=True):
        assert operator.finished(state)


SPOKEN = [
    "so",
    "what",
    "do",
    "you",
    "think",
    "Why?",
    "tell",
    "me",
    "about",
    "it.",
    "and",
    "the",
    "team",
    "Kafka",
    "right?",
    "i",
    "see",
    "how",
    "long",
]
WORDS = st.sampled_from([*SPOKEN, "", "\u202e<b>"])
CAPTIONS = st.lists(
    st.tuples(
        st.sampled_from(["ann", "me", "zoe"]),
        st.floats(0, 60),
        st.lists(WORDS, max_size=8),
        st.booleans(),
        st.integers(0, 20),
    ),
    max_size=25,
)


@settings(max_examples=60, deadline=None)
@given(CAPTIONS, st.integers(0, 25))
def test_any_stream_is_taken_and_a_restart_in_the_middle_changes_nothing(stream: list[Any], cut: int) -> None:
    whole, broken = Pipe(), Pipe()
    for place, (who, start, words, final, number) in enumerate(stream):
        record = caption(number, who, start, " ".join(words), final=final)
        whole.take(record, place * 0.7)
        if place == cut:
            broken.states = pickle.loads(pickle.dumps(broken.states))
        broken.take(record, place * 0.7)
    whole.wait(1e6)
    broken.wait(1e6)
    assert whole.questions == broken.questions
    assert whole.utterances == broken.utterances
    assert whole.memory == broken.memory


@given(st.text(max_size=300), st.booleans())
def test_no_text_breaks_the_rules(text: str, written: bool) -> None:
    cue = cue_of(text, punctuated=written)
    assert cue is None or 0 < cue.confidence <= 1


def test_gaps_and_lag_of_sound_pass_the_utterances_by() -> None:
    operator = UtterancesOperator()
    shared = {"session_id": "s", "event_id": "e", "created_at": NOW, "track": "mic"}
    for one in (AudioGap(**shared, start_s=1, end_s=2), TranscriptionLag(**shared, behind_s=4)):  # type: ignore[arg-type]
        assert operator.step(operator.initial(), one, 1.0) == (operator.initial(), [])
