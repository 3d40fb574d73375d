"""Coaching figures, counted by hand."""

from datetime import UTC, datetime

import pytest

from operators.coaching import coach
from schemas.answers import Answer, Citation
from schemas.questions import Question
from schemas.speech import Utterance

NOW = datetime(2026, 1, 1, tzinfo=UTC)
STORY = (
    "In 2021 we were losing parcels, um, every day. My job was to find out why. "
    "I built a tracker and I talked to the drivers. As a result losses fell by 40 percent."
)


def heard(name: str, who: str, start: float, end: float, text: str) -> Utterance:
    return Utterance(session_id="s", event_id=name, created_at=NOW, utterance_id=name, speaker_id=who, speaker_name=who,
                     is_user=who == "Me", start_s=start, end_s=end, text=text)  # fmt: skip


def asked(name: str, start: float, end: float, text: str) -> Question:
    return Question(
        session_id="s", event_id=name, created_at=NOW, question_id=name, text=text, start_s=start, end_s=end
    )


def fact(quote: str, source: str) -> Citation:
    return Citation.model_validate({"marker": 1, "passage_id": "p", "document_id": "d", "title": "Resume",
                                    "source": source, "quote": quote})  # fmt: skip


def suggestion(facts: list[Citation]) -> Answer:
    return Answer(session_id="s", event_id="a", created_at=NOW, answer_id="a", question_id="q1", text="As suggested.",
                  citations=tuple(facts), mode="extractive")  # fmt: skip


QUESTION = asked("q1", 0, 5, "Tell me about a time you solved a problem with parcels.")


def test_a_story_is_taken_apart_with_the_sentence_that_shows_each_part() -> None:
    talk = [heard("u0", "Ann", 0, 5, QUESTION.text), heard("u1", "Me", 6, 26, STORY)]
    (answer,) = coach(talk, [QUESTION], {}).answers
    assert [one.part for one in answer.star] == ["situation", "task", "action", "result"]
    assert answer.star[3].quote == "As a result losses fell by 40 percent."
    assert answer.star_score == 1.0
    assert answer.flags == ("short",)
    assert answer.utterance_ids == ("u1",)
    assert answer.words == 34
    assert answer.pace_wpm == pytest.approx(34 / 20 * 60)
    assert answer.fillers_per_100 == pytest.approx(100 / 34)
    assert answer.direct_after_words == 0
    assert answer.ownership == pytest.approx(2 / 3)


def test_an_answer_ends_where_the_next_question_begins() -> None:
    talk = [heard("u1", "Me", 6, 26, "One answer here."), heard("u2", "Me", 40, 60, "Another answer here.")]
    report = coach(talk, [QUESTION, asked("q2", 30, 35, "And what did you learn?")], {})
    assert [one.said for one in report.answers] == ["One answer here.", "Another answer here."]


def test_what_cannot_be_told_is_none_and_never_nought() -> None:
    report = coach([heard("u1", "Ann", 0, 5, "Hello there.")], [], {})
    assert (report.talk_ratio, report.longest_monologue_s, report.pace_wpm, report.answers) == (None, None, None, ())
    short = coach([heard("u1", "Me", 6, 8, "Yes.")], [QUESTION], {}).answers[0]
    assert short.pace_wpm is None
    assert short.direct_after_words is None
    plain = coach([heard("u1", "Me", 6, 12, "It was fine.")], [asked("q", 0, 5, "How was it?")], {}).answers[0]
    assert plain.star_score is None


def test_facts_of_the_resume_that_were_not_said_are_shown() -> None:
    facts = [
        fact("Mentored three junior engineers.", "resume"),
        fact("Built a tracker; losses of parcels fell by 40 percent.", "resume"),
        fact("The company has 12 depots.", "knowledge"),
    ]
    (answer,) = coach([heard("u1", "Me", 6, 26, STORY)], [QUESTION], {"q1": suggestion(facts)}).answers
    assert [one.quote for one in answer.unused_facts] == ["Mentored three junior engineers."]
    assert [(one.part, one.source) for one in answer.stronger] == [
        ("situation", "said"), ("task", "said"), ("action", "said"), ("result", "said"), ("more", "resume")
    ]  # fmt: skip
    assert answer.stronger[0].text == "In 2021 we were losing parcels, every day."
    assert answer.suggested is not None
    assert answer.suggested.text == "As suggested."


def test_a_part_that_was_left_out_is_quoted_from_the_resume_or_asked_for() -> None:
    facts = [fact("Losses of parcels fell by 40 percent.", "resume"), fact("Works in Leeds.", "resume")]
    talk = [heard("u1", "Me", 6, 26, "Um, in 2021 we we were losing parcels. I built a tracker.")]
    (answer,) = coach(talk, [QUESTION], {"q1": suggestion(facts)}).answers
    assert [(one.part, one.source, one.text) for one in answer.stronger] == [
        ("situation", "said", "In 2021 we were losing parcels."),
        ("task", "missing", "Say what you had to do."),
        ("action", "said", "I built a tracker."),
        ("result", "resume", "Losses of parcels fell by 40 percent."),
        ("more", "resume", "Works in Leeds."),
    ]
    assert answer.stronger[3].citation == facts[0]
    assert answer.stronger[2].utterance_id == "u1"


def test_an_answer_to_a_plain_question_begins_with_the_sentence_that_answers() -> None:
    question = asked("q", 0, 5, "Which database do you use?")
    talk = [heard("u1", "Me", 6, 12, "Well, that depends on things. The database is Postgres.")]
    (answer,) = coach(talk, [question], {}).answers
    assert [(one.part, one.text) for one in answer.stronger] == [("answer", "The database is Postgres.")]
    (answer,) = coach([heard("u1", "Me", 6, 8, "Lovely weather.")], [question], {}).answers
    assert [one.source for one in answer.stronger] == ["missing"]


def test_a_long_monologue_is_flagged() -> None:
    talk = [
        heard("u1", "Me", 0, 70, "Words."),
        heard("u2", "Me", 71, 140, "More."),
        heard("u3", "Ann", 141, 160, "Ok."),
    ]
    report = coach(talk, [], {})
    assert report.longest_monologue_s == 140
    assert report.flags == ("long monologue",)
    assert report.talk_ratio == pytest.approx(139 / 158)
