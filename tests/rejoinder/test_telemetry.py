"""What is logged when something breaks."""

from typing import Literal

import pytest
import structlog

from rejoinder.telemetry import set_up_logging


@pytest.mark.parametrize("form", ["console", "json"])
def test_a_traceback_shows_no_values(form: Literal["console", "json"], capsys: pytest.CaptureFixture[str]) -> None:
    before = structlog.get_config()
    try:
        set_up_logging("info", form)
        said = "the purple " + "elephant"
        try:
            raise RuntimeError(str(len(said)))
        except RuntimeError:
            structlog.get_logger("test").exception("it_broke")
    finally:
        structlog.configure(**before)
    err = capsys.readouterr().err
    assert "it_broke" in err
    assert "RuntimeError" in err
    assert "purple elephant" not in err
