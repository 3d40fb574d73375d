"""Hints to the user, by plain calls."""

import pickle
from datetime import UTC, datetime

from operators.nudges import NudgesOperator, NudgesState
from schemas.meeting import Consent, MeetingClosed, MeetingOpened, Participant
from schemas.nudges import Nudge
from schemas.speech import Utterance

NOW = datetime(2026, 1, 1, tzinfo=UTC)
STORY = "Tell me about a time you solved a hard problem."


class Talk:
    """A talk between Ann and the user; the wall clock is the session's, from 1000 s on."""

    def __init__(self, **options: object) -> None:
        self.operator = NudgesOperator(**options)  # type: ignore[arg-type]
        self.state: NudgesState = self.operator.initial()
        self.nudges: list[Nudge] = []
        people = (Participant(id="ann"), Participant(id="me", is_user=True))
        self.take(MeetingOpened(**envelope("opened"), owner_id="o", participants=people), 0)

    def take(self, record: object, at_s: float) -> None:
        self.until(at_s)
        self.state, out = self.operator.step(self.state, record, 1000 + at_s)  # type: ignore[arg-type]
        self.nudges += out

    def until(self, at_s: float) -> None:
        due = self.operator.due_s(self.state)
        if due is not None and due <= 1000 + at_s:
            self.state, out = self.operator.tick(self.state, due)
            self.nudges += out

    def say(self, name: str, who: str, start: float, end: float, text: str, **more: object) -> None:
        self.take(
            Utterance(**envelope(name), utterance_id=name, speaker_id=who, speaker_name=who, is_user=who == "me",
                      start_s=start, end_s=end, text=text, **more), end  # type: ignore[arg-type]
        )  # fmt: skip

    def kinds(self, at_s: float) -> list[str]:
        self.until(at_s)
        return [one.kind for one in self.nudges]


def envelope(name: str) -> dict[str, object]:
    return {"session_id": "s", "event_id": name, "created_at": NOW}


def words(count: int) -> str:
    return "word " * count


def consent(*, given: bool) -> Consent:
    return Consent.model_validate({
        **envelope(f"consent {given}"), "participant_id": "me", "purposes": ("coaching",), "given": given,
        "recorded_by": "o",
    })  # fmt: skip


def test_a_hint_comes_once_the_user_is_quiet_and_never_while_they_speak() -> None:
    talk = Talk()
    talk.say("u1", "ann", 0, 3, "What did you do there?")
    talk.say("u2", "me", 4, 14, words(40))
    talk.say("u2", "me", 4, 15, words(40), tentative="and then")
    assert talk.kinds(16.1) == []
    assert talk.kinds(16.2) == ["fast"]
    (nudge,) = talk.nudges
    assert nudge.measured == 40 / 11 * 60
    assert nudge.utterance_ids == ("u2",)
    assert nudge.at_s == 15


def test_words_that_are_not_final_yet_hold_a_hint_back() -> None:
    talk = Talk()
    talk.say("u2", "me", 4, 14, words(40))
    talk.say("u3", "me", 15, 15.1, "", tentative="and")
    assert talk.kinds(16) == []
    assert talk.kinds(16.5) == ["fast"]


def test_hints_lie_twenty_seconds_apart_and_are_not_made_up_for_later() -> None:
    talk = Talk()
    fillers = "um " * 5 + words(25)
    talk.say("u1", "me", 0, 10, fillers)
    assert talk.kinds(12) == ["fillers"]
    talk.say("u2", "me", 13, 20, words(45))
    assert talk.kinds(32) == ["fillers"]
    talk.say("u3", "me", 33, 36, words(30))
    assert talk.kinds(40) == ["fillers", "fast"]
    talk.say("u4", "me", 60, 64, words(30))
    assert talk.kinds(70) == ["fillers", "fast"]


def test_a_story_without_a_result_is_hinted_at_and_a_short_one_when_the_floor_is_taken() -> None:
    talk = Talk()
    talk.say("q1", "ann", 0, 3, STORY)
    talk.say("u1", "me", 4, 40, words(60) + "I built a tracker.")
    assert talk.kinds(42) == ["no_result"]
    talk.say("q2", "ann", 45, 48, "Describe another situation, please.")
    talk.say("u2", "me", 49, 60, words(20))
    talk.say("ok", "ann", 62, 63, "Mm, right.")
    assert talk.kinds(64) == ["no_result"]
    talk.say("q3", "ann", 65, 68, "And what do you do today?")
    assert talk.kinds(69) == ["no_result", "short"]
    assert talk.nudges[-1].measured == 11


def test_a_long_answer_and_a_large_share_of_the_talk_are_hinted_at() -> None:
    talk = Talk()
    for number in range(9):
        talk.say(f"a{number}", "ann", 25 * number, 25 * number + 5, "And how does that work?")
        talk.say(f"u{number}", "me", 25 * number + 6, 25 * number + 24, words(36))
    assert set(talk.kinds(250)) == {"talk_ratio"}
    talk = Talk()
    for number in range(6):
        talk.say(f"u{number}", "me", 25 * number, 25 * number + 24.5, words(50))
    assert talk.kinds(200) == ["long"]


def test_nobody_is_coached_who_has_not_agreed_or_no_longer_does() -> None:
    asked_first = Talk(needs_consent=True)
    asked_first.say("u1", "me", 0, 10, words(40))
    assert asked_first.kinds(20) == []
    asked_first.take(consent(given=True), 21)
    asked_first.say("u2", "me", 22, 32, words(40))
    assert asked_first.kinds(40) == ["fast"]
    talk = Talk()
    talk.say("u1", "me", 0, 10, words(40))
    talk.take(consent(given=False), 10.5)
    assert talk.kinds(20) == []


def test_words_that_turn_out_to_be_somebody_elses_count_no_more() -> None:
    talk = Talk()
    talk.say("u1", "me", 0, 10, words(40))
    talk.take(
        Utterance(**envelope("u1b"), utterance_id="u1", revision=1, speaker_id="ann", speaker_name="ann", start_s=0,
                  end_s=10, text=words(40)), 10.5  # type: ignore[arg-type]
    )  # fmt: skip
    assert talk.kinds(20) == []


def test_the_same_records_give_the_same_hints_and_the_state_stays_small() -> None:
    def run() -> Talk:
        talk = Talk()
        for number in range(500):
            talk.say(f"a{number}", "ann", 20 * number, 20 * number + 5, "And how does that work?")
            talk.say(f"u{number}", "me", 20 * number + 6, 20 * number + 16, words(45))
        talk.take(MeetingClosed(**envelope("closed")), 20_000)
        return talk

    first, second = run(), run()
    assert first.nudges == second.nudges
    assert len({one.event_id for one in first.nudges}) == len(first.nudges) > 100
    assert first.operator.finished(first.state)
    assert len(pickle.dumps(first.state)) < 20_000
