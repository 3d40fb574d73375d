"""The phases of meetings are files that a user may read and change."""

from pathlib import Path

import pytest

from rejoinder.phasing import SHIPPED, load_phases
from rejoinder.settings import Settings
from rejoinder.tuning import operators_of
from schemas.errors import ModelMissing
from tests.support import open_session, running, say, wait_for


def test_the_shipped_phases_tell_an_interview_from_a_meeting() -> None:
    phases = load_phases()
    assert phases.phase_of("Tell me about a time you had a conflict.", "interview") == "behavioural"
    assert phases.phase_of("Which database would you choose?", "interview") == "technical"
    assert phases.phase_of("Which database would you choose?", "meeting") == ""
    assert phases.phase_of("We decided to wait.", "a kind of ours") == "decisions"
    assert phases.phase_of("Thank you for your time.", "practice") == "closing"


def test_a_file_of_the_user_takes_the_place_of_a_shipped_one_and_adds_a_kind(tmp_path: Path) -> None:
    (tmp_path / "interview.toml").write_text('"hands on" = ["let us code", "Whiteboard!"]\n')
    (tmp_path / "stand-up.toml").write_text('blockers = ["blocked by"]\n')
    phases = load_phases(tmp_path)
    assert phases.phase_of("Please go to the whiteboard.", "interview") == "hands on"
    assert phases.phase_of("Tell me about a time you had a conflict.", "interview") == ""
    assert phases.phase_of("I am blocked by the vendor.", "stand-up") == "blockers"
    assert phases.phase_of("We decided to wait.", "meeting") == "decisions"


@pytest.mark.parametrize("text", ["nonsense", "closing = 'bye'", "closing = []", '"" = ["bye"]', "closing = [1]"])
def test_a_file_that_cannot_be_used_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "meeting.toml").write_text(text)
    with pytest.raises(ModelMissing, match=r"meeting\.toml"):
        load_phases(tmp_path)


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelMissing, match="REJOINDER_PHASES_DIR"):
        operators_of(Settings(_env_file=None, phases_dir=tmp_path / "none"))


def test_the_engine_uses_the_phases_of_the_user(tmp_path: Path) -> None:
    folder = tmp_path / "phases"
    folder.mkdir()
    (folder / "tasting.toml").write_text('aroma = ["smell of"]\n')
    settings = Settings(_env_file=None, data_dir=tmp_path / "data", port=0, qa_port=0, llm="off", phases_dir=folder)
    with running(settings) as client:
        session = open_session(client, kind="tasting")
        say(client, session, ("c1", "ann", 0, 3, "I notice the smell of cedar.")).raise_for_status()
        client.post(f"/api/sessions/{session}/end")
        phases = wait_for(lambda: client.get(f"/api/sessions/{session}/summary").json()["phases"])
    assert [one["name"] for one in phases] == ["aroma"]
    assert sorted(path.stem for path in SHIPPED.glob("*.toml")) == ["any", "interview", "meeting", "practice"]
