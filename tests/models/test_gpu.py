"""The benchmark for a GPU runs here on the CPU: batches of the real model, and live sessions of the real engine."""

from pathlib import Path

from benchmarks.gpu import Asked, measure
from rejoinder.settings import Settings
from tests.speech import FIRST, SECOND, room


def test_batches_and_live_sessions_are_measured(tmp_path: Path) -> None:
    settings = Settings(_env_file=None, data_dir=tmp_path, port=0, qa_port=0, speech_model="tiny.en", speakers="off")
    found = measure(settings, room(FIRST, SECOND, pause_s=0.7), Asked(batches=(1, 2), sessions=(2,), seconds=4.0))
    one, two = found["batches"]
    assert one["words"] == two["words"] == 4 * len((FIRST + " " + SECOND).split())
    assert one["audio_s_per_s"] > 0
    [both] = found["sessions"]
    assert both["finals"] >= 2, "one of each session at least"
    assert both["end_to_final_p90_s"] >= both["end_to_final_p50_s"] > 0
    assert found["most_sessions"] == (2 if both["kept_up"] else 0)
