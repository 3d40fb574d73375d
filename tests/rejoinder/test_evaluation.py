"""Error rates on hand-counted cases, and readers of references."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from rejoinder.cli import app
from rejoinder.evaluation.hearing import Came, Heard
from rejoinder.evaluation.recordings import Recording, Span, read_rttm, read_stm, recordings_in, rttm_of, stm_of
from rejoinder.evaluation.scoring import Words, by_speaker, cp_words, invented, speaker_errors, word_errors
from rejoinder.evaluation.speech import measured, table_of, turns_at
from schemas.errors import LogUnavailable
from schemas.speech import Caption, SpeakerTurn, Utterance, Word
from tests.sound import recording

AT = "2026-01-01T00:00:00Z"


def test_word_errors_are_counted_after_normalising() -> None:
    assert word_errors("It's twenty-one dollars, Mr. Smith.", "it is $21 mister smith") == Words(5)
    assert word_errors("one small step for a man", "one small step for one man now") == Words(6, 1, 0, 1)
    assert word_errors("", "hello there") == Words(0, 0, 0, 2)
    assert word_errors("hello there", "").rate == 100


def test_speakers_are_paired_so_that_errors_are_fewest() -> None:
    reference = {"ann": "how are you today", "bob": "fine thanks"}
    assert cp_words(reference, {"x": "fine thanks", "y": "how are you today"}).errors == 0
    assert cp_words(reference, {"x": "how are you today fine thanks"}).errors == 4
    assert cp_words(reference, {}) == Words(6, 0, 6, 0)
    assert cp_words({}, {"x": "who is there"}).inserted == 3


def test_speaker_errors_are_those_of_a_case_counted_by_hand() -> None:
    reference = [Span("ann", 0, 4), Span("bob", 4, 8)]
    exact = speaker_errors(reference, [Span("1", 0, 4), Span("2", 4, 8)])
    assert exact.rate == 0
    # One second of Bob goes to Ann, one second is missed, one is heard after the end.
    found = speaker_errors(reference, [Span("1", 0, 5), Span("2", 5, 7), Span("2", 8, 9)])
    assert (found.total, found.missed, found.false_alarm, found.confused) == pytest.approx((8, 1, 1, 1))
    assert speaker_errors(reference, [Span("1", 0, 4.2), Span("2", 4.2, 8)], collar_s=0.25).rate == 0


def test_words_where_nobody_spoke_are_invented() -> None:
    turns = [Span("ann", 0, 2), Span("ann", 10, 12)]
    words = [Span("", 1.0, 1.2, "so"), Span("", 2.2, 2.4, "late"), Span("", 5.0, 5.3, "thanks")]
    assert invented(turns, words) == 1


def test_references_are_read_and_written(tmp_path: Path) -> None:
    spans = [Span("ann", 0.5, 2.0, "hello there"), Span("bob", 2.5, 3.0, "hi")]
    (tmp_path / "a.rttm").write_text(rttm_of("a", spans))
    (tmp_path / "a.stm").write_text(";; a comment\n" + stm_of("a", spans).replace("hello", "<o> hello"))
    (tmp_path / "a.wav").write_bytes(b"")
    assert [(one.speaker, one.start_s, one.end_s) for one in read_rttm(tmp_path / "a.rttm")] == [
        ("ann", 0.5, 2.0),
        ("bob", 2.5, 3.0),
    ]
    assert list(read_stm(tmp_path / "a.stm")) == spans
    assert recordings_in(tmp_path)[0].words == "hello there hi"
    assert by_speaker(spans) == {"ann": "hello there", "bob": "hi"}
    (tmp_path / "a.rttm").write_text("SPEAKER a 1 nonsense\n")
    with pytest.raises(ValueError, match=r"a\.rttm, line 1"):
        recordings_in(tmp_path)
    with pytest.raises(LogUnavailable, match="holds no sound"):
        recordings_in(tmp_path / "nowhere")


def _caption(number: int, *, final: bool, words: tuple[tuple[str, float, float], ...], revision: int = 0) -> Caption:
    return Caption(
        session_id="s",
        event_id=f"c{number}-{final}-{revision}-{len(words)}",
        created_at=AT,  # type: ignore[arg-type]
        caption_id=f"c{number}",
        revision=revision,
        start_s=words[0][1],
        end_s=words[-1][2],
        text=" ".join(word for word, _, _ in words),
        final=final,
        words=tuple(Word(text=word, start_s=start, end_s=end) for word, start, end in words),
    )


def _turn(identity: str, revision: int, speaker: str, start_s: float, end_s: float) -> SpeakerTurn:
    return SpeakerTurn(
        session_id="s",
        event_id=f"{identity}-{revision}",
        created_at=AT,  # type: ignore[arg-type]
        turn_id=identity,
        revision=revision,
        speaker=speaker,
        start_s=start_s,
        end_s=end_s,
    )


def test_latencies_follow_the_first_time_a_word_was_told_for_good() -> None:
    partial = _caption(1, final=False, words=(("how", 0.0, 0.3), ("are", 0.4, 0.6)))
    whole = _caption(1, final=True, words=(("how", 0.0, 0.3), ("are", 0.4, 0.6), ("you", 0.7, 1.0)))
    said = Utterance(
        session_id="s",
        event_id="u",
        created_at=AT,  # type: ignore[arg-type]
        utterance_id="u",
        speaker_id="1",
        speaker_name="1",
        start_s=0,
        end_s=1,
        text="how are you",
    )
    turns = [_turn("t", 0, "1", 0.0, 0.5), _turn("t", 1, "2", 0.0, 1.0)]
    heard = Heard(
        [Came(turns[0], 1.0), Came(partial, 1.1), Came(whole, 1.8), Came(said, 1.9), Came(turns[1], 4.0)], 5.0, 1.0, 4.0
    )
    reference = Recording(Path("a.wav"), (Span("ann", 0, 1),), (Span("ann", 0, 1, "How are you?"),), "How are you?")
    found = measured(reference, heard, timed=True)
    assert found.words == Words(3)
    assert found.cp == Words(3)
    assert sorted(found.waits_s) == pytest.approx([0.5, 0.8, 0.8])
    assert found.ends_s == pytest.approx([0.8])
    assert found.invented == 0
    assert [(span.speaker, round(span.end_s, 3)) for span in turns_at(heard, 1.0)] == [("1", 0.5)]
    assert [(span.speaker, round(span.end_s, 3)) for span in turns_at(heard, 5.0)] == [("2", 1.0)]
    assert found.relabelled == (5, 5)
    assert found.speakers["5 s", "0"].rate == 0
    assert found.speakers["1 s", "0"].rate == pytest.approx(50)
    assert "| 100.0 |" in table_of([found])


def test_a_model_that_is_not_there_is_told_before_anything_is_measured(tmp_path: Path) -> None:
    (tmp_path / "talk.wav").write_bytes(recording("wav", 0.5))
    given = ["--audio", str(tmp_path), "--out", str(tmp_path / "out"), "--model", "huge", "--fast"]
    outcome = CliRunner().invoke(app, ["eval", "speech", *given])
    assert outcome.exit_code == 1
    assert "no speech model 'huge'" in outcome.output
    assert not list((tmp_path / "out").iterdir())
