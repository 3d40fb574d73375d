"""What is decoded when, and what of it becomes a caption; time is moved by hand."""

import pickle
from typing import Any

from operators.heard_words import believed
from operators.ports import Transcript, TranscriptWord
from operators.speech_activity import SpeechBegan, SpeechEnded
from operators.transcription import Decoded, DecodeRequest, Heard, Transcription, TranscriptionState
from schemas.speech import Caption, TranscriptionLag

RATE = 16_000


def transcript(text: str, **more: Any) -> Transcript:
    words = tuple(TranscriptWord(f" {word}", 0.3 * n, 0.3 * n + 0.25, 0.9) for n, word in enumerate(text.split()))
    fields = {"language": "en", "log_probability": -0.2, "no_speech_probability": 0.01, "compression_ratio": 1.0}
    return Transcript(words, **(fields | more))


class Track:
    def __init__(self, **options: Any) -> None:
        self.operator = Transcription(**options)
        self.state: TranscriptionState = self.operator.initial("s", "mic")
        self.requests: list[DecodeRequest] = []
        self.captions: list[Caption] = []
        self.lags: list[float] = []

    def take(self, event: Any) -> None:
        self.state, made = self.operator.step(self.state, event, 1_000.0)
        for one in made:
            if isinstance(one, DecodeRequest):
                self.requests.append(one)
            elif isinstance(one, Caption):
                self.captions.append(one)
            elif isinstance(one, TranscriptionLag):
                self.lags.append(one.behind_s)

    def speak(self, until_s: float, voiced_s: float | None = None) -> None:
        voiced = until_s if voiced_s is None else voiced_s
        self.take(Heard(int(until_s * RATE), int(voiced * RATE)))

    def answer(self, text: str, **more: Any) -> None:
        self.take(Decoded(self.state.waiting[0], transcript(text, **more)))

    def end(self, start_s: float, end_s: float, voiced_s: float = 1.0) -> None:
        self.take(SpeechEnded(int(start_s * RATE), int(end_s * RATE), voiced_s))


def test_words_are_told_once_two_guesses_agree_on_them() -> None:
    track = Track()
    track.take(SpeechBegan(0))
    track.speak(0.4)
    assert track.requests == []
    track.speak(0.8)
    track.answer("ask not what")
    assert track.captions == []
    track.speak(1.6)
    track.answer("ask not when your country")
    assert [(one.text, one.final) for one in track.captions] == [("ask not", False)]
    track.speak(2.4)
    track.answer("ask not when your country can")
    assert track.captions[-1].text == "ask not when your country"
    assert len({one.caption_id for one in track.captions}) == 1


def test_one_guess_at_a_time_and_none_while_a_final_waits() -> None:
    track = Track()
    track.take(SpeechBegan(0))
    track.speak(1.0)
    track.speak(3.0)
    assert len(track.requests) == 1
    track.end(0, 3.2)
    track.take(SpeechBegan(4 * RATE))
    track.speak(6.0)
    assert [one.kind for one in track.requests] == ["partial", "final"]


def test_the_final_takes_the_place_of_the_partial_and_has_word_times_of_the_session() -> None:
    track = Track()
    track.take(SpeechBegan(10 * RATE))
    for until_s in (11.0, 12.0):
        track.speak(until_s)
        track.answer("good morning all")
    track.end(10, 12.5)
    track.answer("good morning everyone")
    partial, final = track.captions
    assert (final.caption_id, final.final, final.text) == (partial.caption_id, True, "good morning everyone")
    assert final.words[0].start_s == 10.0
    assert final.end_s == 12.5
    assert final.event_id != partial.event_id


def test_finals_come_in_order_one_decode_each() -> None:
    track = Track()
    for number in range(3):
        track.take(SpeechBegan(number * 3 * RATE))
        track.end(number * 3, number * 3 + 2)
    assert len(track.requests) == 1
    for number in range(3):
        track.answer(f"number {number}")
    assert [one.text for one in track.captions] == ["number 0", "number 1", "number 2"]
    assert [one.kind for one in track.requests] == ["final"] * 3


def test_a_decode_begun_in_the_pause_is_the_final_when_the_pause_was_the_end() -> None:
    track = Track(partials=False)
    track.take(SpeechBegan(0))
    track.speak(2.3, voiced_s=2.0)
    assert [(one.kind, one.end_sample) for one in track.requests] == [("final", int(2.2 * RATE))]
    track.answer("all of it")
    assert track.captions == []
    track.end(0, 2.2)
    assert [one.text for one in track.captions] == ["all of it"]
    assert len(track.requests) == 1


def test_without_partials_a_decode_begun_in_the_pause_is_thrown_away_when_the_speaker_goes_on() -> None:
    track = Track(partials=False)
    track.take(SpeechBegan(0))
    track.speak(2.3, voiced_s=2.0)
    track.speak(3.0)
    track.answer("half of")
    track.speak(4.5, voiced_s=4.2)
    track.end(0, 4.4)
    track.answer("half of it is missing")
    assert [one.text for one in track.captions] == ["half of it is missing"]


def test_a_decode_begun_in_the_pause_is_told_as_a_guess_when_the_speaker_goes_on() -> None:
    track = Track()
    track.take(SpeechBegan(0))
    track.speak(2.3, voiced_s=2.0)
    track.answer("ask not what")
    assert track.captions == []
    track.speak(3.0)
    assert [(one.text, one.final) for one in track.captions] == [("ask not what", False)]
    assert [(one.kind, one.start_sample) for one in track.requests] == [("final", 0), ("partial", int(2.2 * RATE))]
    track.answer("your country")
    track.end(0, 3.2)
    track.answer("ask not what your country")
    assert [(one.text, one.final) for one in track.captions[1:]] == [("ask not what your country", True)]


def test_words_agreed_on_after_the_pause_stand_when_its_decode_comes_late() -> None:
    track = Track()
    track.take(SpeechBegan(0))
    track.speak(2.3, voiced_s=2.0)
    for until_s in (2.9, 3.5):
        track.speak(until_s)
        track.answer("one two three four five six seven eight nine")
    track.answer("First second third")
    track.speak(3.6)
    assert [one.text for one in track.captions][1:] == ["First second third eight nine"]


def test_where_nobody_pauses_the_better_model_checks_and_the_last_words_are_held_back() -> None:
    track = Track(check_s=2.0, hold_s=0.8)
    track.take(SpeechBegan(0))
    track.speak(1.0)
    track.answer("one too three")
    track.speak(2.0)
    assert [(one.kind, one.start_sample, one.end_sample) for one in track.requests][1:] == [
        ("check", 0, 2 * RATE),
        ("partial", 0, 2 * RATE),
    ]
    track.answer("one too three for five")
    assert track.captions[-1].text == "one too three"
    track.answer("one two three four five")
    assert track.captions[-1].text == "one two three four", "the fifth ends 0.55 s before the end of the check"
    track.speak(2.6)
    assert track.requests[-1].start_sample == int(1.15 * RATE), "what was checked is not guessed again"
    track.end(0, 2.6)
    track.answer("one two three four five six")
    assert track.captions[-1].final
    assert len({one.event_id for one in track.captions}) == len(track.captions) == 3


def test_a_check_that_heard_nothing_is_tried_again_only_with_more_sound() -> None:
    track = Track(check_s=2.0)
    track.take(SpeechBegan(0))
    for until_s in (2.0, 2.5, 3.0):
        track.speak(until_s)
        while track.state.waiting:
            track.answer("")
    assert [one.kind for one in track.requests].count("check") == 1
    track.speak(4.0)
    assert [one.kind for one in track.requests].count("check") == 2


def test_falling_behind_is_told_once_and_so_is_having_caught_up() -> None:
    track = Track()
    track.take(SpeechBegan(0))
    track.end(0, 2)
    for until_s in (3.0, 4.9, 5.1, 6.0, 7.0, 10.2, 11.0):
        track.speak(until_s)
    assert track.lags == [3.1, 8.2]
    track.answer("at last")
    assert track.lags == [3.1, 8.2, 0.0]


def test_work_done_again_gives_the_same_ids() -> None:
    one, other = Track(), Track(partials=False)
    for track in (one, other):
        track.take(SpeechBegan(RATE))
        track.end(1, 3)
        track.answer("hello")
    assert one.captions[0].event_id == other.captions[0].event_id
    assert one.captions[0].caption_id == other.captions[0].caption_id


def test_a_state_that_was_put_away_asks_again_for_what_was_not_answered() -> None:
    track = Track()
    track.take(SpeechBegan(0))
    track.end(0, 2)
    track.take(SpeechBegan(3 * RATE))
    restored: TranscriptionState = pickle.loads(pickle.dumps(track.state))
    assert restored.waiting == tuple(track.requests)
    assert restored.needed_sample == 0


def test_a_stretch_without_words_ends_in_an_empty_final_so_that_a_guess_is_taken_back() -> None:
    track = Track()
    track.take(SpeechBegan(0))
    track.end(0, 2)
    track.answer("...")
    assert [(one.text, one.final, one.words) for one in track.captions] == [("", True, ())]


def test_a_decode_that_failed_for_good_still_closes_its_caption() -> None:
    track = Track()
    track.take(SpeechBegan(0))
    track.end(0, 2)
    track.take(Decoded(track.requests[0], None))
    assert track.captions[0].final


def test_what_recognisers_invent_is_not_believed() -> None:
    assert believed(transcript("thank you"), 1.0, 2.0)
    assert not believed(transcript("thank you"), 0.1, 2.0), "hardly any sure speech"
    assert not believed(transcript("you you", compression_ratio=3.0), 1.0, 2.0), "repeats itself"
    assert not believed(transcript("bye", no_speech_probability=0.9, log_probability=-1.0), 1.0, 2.0), "unsure"
    assert not believed(transcript(". . . ."), 1.0, 2.0), "punctuation"
    assert not believed(transcript(" ".join("abcdefghijklmnopqrst")), 1.0, 1.0), "faster than anybody speaks"


def test_a_guess_that_grows_long_begins_after_the_agreed_words() -> None:
    track = Track(trim_s=2.0)
    track.take(SpeechBegan(0))
    for until_s in (1.0, 2.0, 3.0):
        track.speak(until_s)
        if until_s < 3.0:
            track.answer("one two three four")
    assert track.requests[-1].start_sample == int(1.15 * RATE)
