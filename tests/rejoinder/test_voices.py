"""Voices are kept only with consent, for their owner, and known by name in the sessions that begin after."""

import json
import stat
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from rejoinder.cli import app
from rejoinder.cli_consents import open_book
from rejoinder.enrolled import VoiceStore, voice_of
from schemas.meeting import Consent
from tests.tones import ToneEncoder, ToneSegmenter, talk


def agreed(name: str, entry: str = "e") -> Consent:
    return Consent(
        session_id="s",
        event_id=entry,
        created_at=datetime.now(UTC),
        participant_id=name,
        purposes=("voice",),
        given=True,
        recorded_by="me",
    )


VECTOR = np.array([0.6, 0.8], np.float32)


def test_a_voice_is_known_to_its_owner_and_its_encoder_only(tmp_path: Path) -> None:
    store = VoiceStore(tmp_path)
    store.add("me", "ann", VECTOR, model="tones", consent=agreed("ann"))
    ((name, vector),) = store.known("me", "tones")
    assert name == "ann"
    assert vector == pytest.approx(VECTOR)
    assert store.known("you", "tones") == []
    assert store.known("me", "another encoder") == []


@pytest.mark.parametrize(
    "wrong", [{"given": False}, {"participant_id": "bob"}, {"purposes": ("audio",)}], ids=["no", "other", "else"]
)
def test_a_voice_without_its_owners_consent_is_not_kept(tmp_path: Path, wrong: dict[str, object]) -> None:
    store = VoiceStore(tmp_path)
    with pytest.raises(ValueError, match="consent"):
        store.add("me", "ann", VECTOR, model="tones", consent=agreed("ann").model_copy(update=wrong))
    assert store.all() == ()


def test_voices_survive_a_restart_are_replaced_and_deleted(tmp_path: Path) -> None:
    store = VoiceStore(tmp_path)
    store.add("me", "ann", VECTOR, model="tones", consent=agreed("ann", "e1"))
    store.add("me", "ann", VECTOR[::-1], model="tones", consent=agreed("ann", "e2"))
    again = VoiceStore(tmp_path)
    (kept,) = again.all()
    assert (kept.consent_id, kept.vector) == ("e2", pytest.approx((0.8, 0.6)))
    assert stat.S_IMODE((tmp_path / "voices.json").stat().st_mode) == 0o600
    assert again.remove("me", "ann")
    assert not again.remove("me", "ann")
    assert store.all() == (), "another process sees the deletion"


def test_the_vector_of_a_recording_is_that_of_its_speaker() -> None:
    sound = talk((1, 0.5, 9), seconds=10).astype(np.float32) / 32768
    vector = voice_of(sound, ToneSegmenter(), ToneEncoder())
    assert int(vector.argmax()) == 1
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)


def test_recordings_with_too_little_speech_or_two_people_are_refused() -> None:
    little = talk((1, 0.5, 3), seconds=10).astype(np.float32) / 32768
    with pytest.raises(ValueError, match="s of speech"):
        voice_of(little, ToneSegmenter(), ToneEncoder())
    two = talk((1, 0, 6), (0, 6, 10), (2, 10, 14), seconds=15).astype(np.float32) / 32768
    with pytest.raises(ValueError, match="more than one"):
        voice_of(two, ToneSegmenter(), ToneEncoder())


def test_commands_list_and_remove_voices_and_the_ledger_keeps_both(tmp_path: Path) -> None:
    with open_book(tmp_path, None, "local") as book:
        given = book.record(book.enrolment(), "ann", ("voice",), given=True, how="by mail on 3 May")
    VoiceStore(tmp_path).add("local", "ann", VECTOR, model="tones", consent=given)
    shown = CliRunner().invoke(app, ["voices", "list", "--data-dir", str(tmp_path)])
    assert "ann" in shown.output
    assert "by mail on 3 May" in shown.output
    assert CliRunner().invoke(app, ["voices", "remove", "ann", "--data-dir", str(tmp_path)]).exit_code == 0
    assert CliRunner().invoke(app, ["voices", "remove", "ann", "--data-dir", str(tmp_path)]).exit_code == 1
    listed = CliRunner().invoke(app, ["consents", "list", "--data-dir", str(tmp_path)])
    assert [line.split()[4] for line in listed.output.splitlines()] == ["given", "withdrawn"]


def test_a_voice_kept_before_there_was_a_ledger_still_shows_its_consent(tmp_path: Path) -> None:
    row = {"owner_id": "local", "name": "bob", "model": "tones", "consent": "in writing", "consented_at": "2026-01-01",
           "vector": [1.0]}  # fmt: skip
    (tmp_path / "voices.json").write_text(json.dumps([row]))
    VoiceStore(tmp_path).add("local", "ann", VECTOR, model="tones", consent=agreed("ann"))
    assert "in writing" in CliRunner().invoke(app, ["voices", "list", "--data-dir", str(tmp_path)]).output


def test_a_file_that_is_no_sound_is_refused_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "ann.wav").write_bytes(b"no sound at all")
    told = CliRunner().invoke(
        app, ["voices", "add", "ann", str(tmp_path / "ann.wav"), "--consent", "yes", "--data-dir", str(tmp_path)]
    )
    assert told.exit_code == 1
    assert VoiceStore(tmp_path).all() == ()
