"""Questions with the trained scorer, guesses from words that are not final, and questions taken back."""

import pickle
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.question_weights import load_question_scorer, trained_questions
from operators.question_features import Heard, line_features, place_features, words_of
from operators.question_hearing import Hearing, heard_in
from operators.questions import QuestionsOperator
from operators.utterances import UtterancesOperator
from schemas.errors import ModelMissing
from schemas.meeting import MeetingOpened, Participant
from schemas.questions import Question, QuestionWithdrawn
from schemas.speech import Caption

BASE: dict[str, Any] = {"session_id": "s", "created_at": datetime(2026, 1, 1, tzinfo=UTC)}
PEOPLE = (Participant(id="ann", name="Ann", role="interviewer"), Participant(id="me", name="Me", is_user=True))


def caption(number: int, speaker: str, start: float, text: str, *, final: bool = True) -> Caption:
    end = start + 0.4 * len(text.split())
    name = f"c{number}"
    return Caption(
        **BASE, event_id=name, caption_id=name, speaker=speaker, start_s=start, end_s=end, text=text, final=final
    )


class Talk:
    """Captions through utterances and questions, in stream time."""

    def __init__(self, operator: QuestionsOperator | None = None) -> None:
        self.hear, self.ask = UtterancesOperator(), operator or trained_questions()
        self.heard, self.asked = self.hear.initial(), self.ask.initial()
        self.records: list[Question | QuestionWithdrawn] = []
        opened = MeetingOpened(**BASE, event_id="o", owner_id="x", participants=PEOPLE)
        self.heard, _ = self.hear.step(self.heard, opened, 0.0)
        self.asked, _ = self.ask.step(self.asked, opened, 0.0)

    def take(self, record: Caption, now_s: float | None = None) -> "Talk":
        now_s = record.end_s if now_s is None else now_s
        self.wait(now_s)
        self.heard, said = self.hear.step(self.heard, record, now_s)
        for utterance in said:
            self.asked, records = self.ask.step(self.asked, utterance, now_s)
            self.records += records
        return self

    def wait(self, until_s: float) -> "Talk":
        while (due := self.ask.due_s(self.asked)) is not None and due <= until_s:
            self.asked, records = self.ask.tick(self.asked, due)
            self.records += records
        return self

    def questions(self) -> list[Question]:
        return [one for one in self.records if isinstance(one, Question)]

    def texts(self) -> list[str]:
        return [one.text for one in self.questions()]


ASKING = [
    "so what made you leave your last company", "tell me about a time you had to deal with a difficult customer",
    "walk me through the design of that service", "how long have you had the headache",
    "do you have any pain when you breathe in", "have you worked with kafka in production",
    "i'd love to hear how you plan your first month", "What would you do differently today?",
    "Could you describe the architecture for me?", "Why did the migration take so long?",
]  # fmt: skip
NOT_ASKING = [
    "that's what we did with the old system", "i'll tell you how we work here", "it was fine, right?", "Okay?",
    "you know what i mean", "can you hear me okay", "yeah we use it for the reports", "who knows",
    "We looked at what the users wanted.", "mm-hmm", "so i'm going to ask you a few questions about your work",
]  # fmt: skip


@pytest.mark.parametrize("text", ASKING)
def test_what_asks_fires_once_with_its_words(text: str) -> None:
    assert Talk().take(caption(1, "ann", 0, text)).wait(99).texts() == [text]


@pytest.mark.parametrize("text", NOT_ASKING)
def test_what_asks_for_nothing_does_not_fire(text: str) -> None:
    assert Talk().take(caption(1, "ann", 0, text)).wait(99).texts() == []


@pytest.mark.parametrize("text", ASKING)
def test_the_user_may_ask_what_they_like(text: str) -> None:
    assert Talk().take(caption(1, "me", 0, text)).wait(99).texts() == []


def test_a_question_inside_a_run_on_line_is_cut_out() -> None:
    talk = Talk().take(
        caption(1, "ann", 0, "we moved to kafka two years ago so how would you test a pipeline like that")
    )
    assert talk.wait(99).texts() == ["so how would you test a pipeline like that"]


def test_a_plain_question_fires_sooner_than_an_unsure_one() -> None:
    operator = trained_questions()
    sure = Talk().take(caption(1, "ann", 0, "Why did the migration take so long?"))
    assert sure.asked.turn is not None
    assert sure.asked.turn.due == pytest.approx(2.8 + operator.sure_settle_s)
    unsure = Talk().take(caption(1, "ann", 0, "Why did the migration take"))
    assert unsure.asked.turn is None or unsure.asked.turn.due in (None, pytest.approx(2.0 + operator.settle_s))


def test_a_listeners_yeah_inside_a_question_does_not_cut_it() -> None:
    talk = Talk().take(caption(1, "ann", 0, "Have you ever worked with a team that"))
    talk.take(caption(2, "me", 3.0, "yeah"), 3.4).take(
        caption(3, "ann", 3.3, "was spread over several countries?")
    ).wait(99)
    last = {one.question_id: one for one in talk.questions()}
    assert [one.caption_ids for one in last.values()] == [("c1", "c3")]


def test_words_that_are_not_final_fire_a_guess_that_the_final_ones_confirm_in_silence() -> None:
    talk = Talk().take(caption(1, "ann", 0, "why did the migration take so long", final=False)).wait(5)
    assert talk.texts() == ["why did the migration take so long"]
    talk.take(caption(1, "ann", 0, "Why did the migration take so long?"), 5.5).wait(99)
    assert [type(one) for one in talk.records] == [Question]


def test_a_guess_grows_into_the_final_question() -> None:
    talk = Talk().take(caption(1, "ann", 0, "why did the migration take so long", final=False)).wait(5)
    talk.take(caption(1, "ann", 0, "Why did the migration take so long for your team?"), 5.5).wait(99)
    assert [one.revision for one in talk.questions()] == [0, 1]
    assert len({one.question_id for one in talk.questions()}) == 1
    assert talk.texts()[-1] == "Why did the migration take so long for your team?"


def test_a_guess_is_withdrawn_when_the_final_words_do_not_ask() -> None:
    talk = Talk().take(caption(1, "ann", 0, "why did the migration take so long", final=False)).wait(5)
    talk.take(caption(1, "ann", 0, "I did the migration of the song."), 5.5).wait(99)
    first, second = talk.records
    assert isinstance(second, QuestionWithdrawn)
    assert second.question_id == first.question_id  # type: ignore[union-attr]
    assert second.reason == "heard otherwise"


def test_a_guess_that_was_withdrawn_and_is_asked_after_all_is_its_next_revision() -> None:
    talk = Talk().take(caption(1, "ann", 0, "why did the migration take so long", final=False)).wait(5)
    talk.take(caption(1, "ann", 0, "The migration took"), 5.5)
    assert isinstance(talk.records[-1], QuestionWithdrawn)
    assert talk.records[-1].revision == 0
    talk.take(caption(2, "ann", 2.4, "so long, why did it take so long?"), 6).wait(99)
    asked = talk.records[-1]
    assert isinstance(asked, Question)
    assert asked.question_id == talk.records[-2].question_id
    assert asked.revision == 1
    assert len({one.event_id for one in talk.records}) == len(talk.records)


def test_words_that_still_change_fire_no_guess() -> None:
    talk = Talk()
    for count, at in ((4, 1.6), (5, 2.0), (6, 2.4)):
        words = " ".join(["why", "did", "the", "migration", "take", "so", "long"][:count])
        talk.take(caption(1, "ann", 0, words, final=False), at)
    assert talk.records == []


def test_guesses_can_be_switched_off() -> None:
    operator = QuestionsOperator(guess_threshold=1.1)
    assert Talk(operator).take(caption(1, "ann", 0, "Why did it take so long?", final=False)).wait(99).records == []


def test_a_question_is_taken_back() -> None:
    talk = Talk().take(caption(1, "ann", 0, "Why did the migration take so long?")).wait(3.5)
    talk.take(caption(2, "ann", 3.5, "Actually, never mind.")).wait(99)
    assert [type(one) for one in talk.records] == [Question, QuestionWithdrawn]


def test_a_question_taken_back_before_it_fired_is_not_told() -> None:
    talk = Talk().take(caption(1, "ann", 0, "Why did the migration take so long?"))
    talk.take(caption(2, "ann", 2.8, "Never mind."), 3.0).wait(99)
    assert talk.records == []


def test_the_features_of_a_caption_have_one_list_per_word() -> None:
    heard = Heard(words_of("So, why did you leave?"), carried=("we", "grew"), written=True)
    assert len(list(place_features(heard))) == len(heard.words)
    assert "stc=WH.AUX.YOU" in line_features(heard)


def test_pieces_of_an_utterance_are_heard_one_by_one() -> None:
    hear = UtterancesOperator()
    state, hearing, pieces = hear.initial(), Hearing(), []
    for record in (caption(1, "ann", 0, "one two"), caption(2, "ann", 1, "three")):
        state, said = hear.step(state, record, record.end_s)
        hearing, piece, heard = heard_in(hearing, said[0])
        pieces.append((piece, heard))
    assert [piece.text for piece, _ in pieces if piece] == ["one two", "three"]
    assert [heard.carried for _, heard in pieces if heard] == [(), ("one", "two")]
    assert heard_in(hearing, said[0].model_copy(update={"text": "one"}))[1] is None


@given(st.text(max_size=2_000), st.booleans())
def test_any_text_gets_a_probability_and_a_place(text: str, written: bool) -> None:
    heard = Heard(words_of(text), written=written)
    score = load_question_scorer().score(heard, text)
    assert 0 <= score.probability <= 1
    assert 0 <= score.at <= len(heard.words)


def test_the_state_is_small_and_survives_a_restart() -> None:
    talk = Talk()
    for number in range(600):
        who = "ann" if number % 3 else "me"
        talk.take(caption(number, who, number * 3.0, f"how many of the {number} engineers did you hire last year"))
    assert len(pickle.dumps(talk.asked)) < 8_000
    assert pickle.loads(pickle.dumps(talk.asked)) == talk.asked


def test_a_file_that_holds_no_weights_is_refused(tmp_path: Any) -> None:
    wrong = tmp_path / "weights.npz"
    wrong.write_bytes(b"no weights")
    with pytest.raises(ModelMissing):
        load_question_scorer(wrong)
    with pytest.raises(ModelMissing):
        load_question_scorer(tmp_path / "missing.npz")


def test_a_punctuated_question_cut_in_two_is_one_with_both_halves() -> None:
    talk = Talk().take(caption(1, "ann", 0, "At Nordhavn you led the migration."))
    talk.take(caption(2, "ann", 2.4, "Which database did you migrate to, and how long did the migration"))
    talk.take(caption(3, "ann", 7.2, "take?")).wait(99)
    last = {one.question_id: one for one in talk.questions()}
    assert [one.text for one in last.values()] == [
        "Which database did you migrate to, and how long did the migration take?"
    ]
    assert [one.caption_ids for one in last.values()] == [("c2", "c3")]


def test_a_statement_with_a_tag_after_it_is_no_question() -> None:
    talk = Talk().take(caption(1, "ann", 0, "It is raining here, so I'm glad nobody had to"))
    assert talk.take(caption(2, "ann", 4.0, "cycle today, right?")).wait(99).texts() == []


def test_a_follow_up_after_a_bare_no_is_the_same_question() -> None:
    talk = Talk().take(caption(1, "ann", 0, "Do you smoke?")).take(caption(2, "me", 1.6, "No."))
    talk.take(caption(3, "ann", 2.4, "How much alcohol do you drink in a normal week?")).wait(99)
    assert [one.revision for one in talk.questions()] == [0, 1]
    assert talk.texts()[-1] == "Do you smoke? How much alcohol do you drink in a normal week?"


def test_after_a_real_answer_the_next_question_is_another_one() -> None:
    talk = Talk().take(caption(1, "ann", 0, "Do you smoke?")).take(caption(2, "me", 1.6, "I stopped last year."))
    talk.take(caption(3, "ann", 3.6, "How much alcohol do you drink in a normal week?")).wait(99)
    assert len({one.question_id for one in talk.questions()}) == 2


def test_what_is_said_after_a_question_does_not_hide_it() -> None:
    talk = Talk().take(caption(1, "ann", 0, "How do I know if the wound is infected? I live alone, I can't see it."))
    assert talk.wait(99).texts() == ["How do I know if the wound is infected?"]


def test_half_a_sentence_that_turns_out_to_ask_nothing_is_withdrawn() -> None:
    talk = Talk().take(caption(1, "ann", 0, "I've read your resume, and I'd like to go through a few")).wait(7.5)
    talk.take(caption(2, "ann", 5.0, "things."), 7.6).wait(99)
    assert [type(one) for one in talk.records] in ([], [Question, QuestionWithdrawn])
    last = {one.question_id: one for one in talk.records}
    assert not any(isinstance(one, Question) for one in last.values())
