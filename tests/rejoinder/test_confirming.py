"""Who confirms unsure questions, as the settings choose it."""

from pathlib import Path

import pytest

from rejoinder.confirming import confirming_room
from rejoinder.models import server_options
from rejoinder.settings import Settings
from schemas.errors import ModelMissing


def settings(folder: Path, **more: object) -> Settings:
    return Settings(_env_file=None, data_dir=folder, **more)  # type: ignore[arg-type]


def test_nobody_is_asked_unless_it_is_wanted(tmp_path: Path) -> None:
    server = settings(tmp_path, llm_base_url="http://127.0.0.1:9/v1", llm_model="m")
    assert confirming_room(server) is None
    assert confirming_room(settings(tmp_path)) is None


def test_it_wants_a_model(tmp_path: Path) -> None:
    with pytest.raises(ModelMissing, match="REJOINDER_LLM_BASE_URL"):
        confirming_room(settings(tmp_path, confirm_below=0.7))


def test_it_asks_the_server_of_the_answers_within_its_own_deadline(tmp_path: Path) -> None:
    wanted = settings(tmp_path, llm_base_url="http://127.0.0.1:9/v1", llm_model="m", confirm_below=0.7, confirm_s=1.5)
    for options in (None, server_options(wanted)):
        room = confirming_room(wanted, options)
        assert room is not None
        assert (room.options.below, room.options.deadline_s) == (0.7, 1.5)
        room.close()
