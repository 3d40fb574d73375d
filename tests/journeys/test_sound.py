"""Sound from its sender to the log, through dead engines and lost connections: nothing is missing, nothing is twice."""

import signal
import sqlite3
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import pytest
from typer.testing import CliRunner
from websockets.exceptions import ConnectionClosed

from rejoinder.cli import app
from rejoinder.sending import Sending, SendRefused, TrackSender
from rejoinder.settings import Settings
from tests.journeys.engine_child import ChildEngine
from tests.sound import chunks, pieces, recording, sending, tone, whole
from tests.support import open_session, running, say, wait_for


def _log(folder: Path) -> str:
    return f"sqlite:///{folder}/log.sqlite3"


def test_a_killed_engine_loses_no_sound_and_repeats_none(tmp_path: Path) -> None:
    engine = ChildEngine(tmp_path)
    port = engine.client.base_url.port
    session, sound = open_session(engine.client), tone(30.0)
    start = {"format": "pcm16", "live": False, "start_s": 0}
    kills = 0
    with TrackSender(Sending(f"http://127.0.0.1:{port}", session, "mic", start)) as sender:
        frames = pieces(sound, 640)
        for number, frame in enumerate(frames):
            sender.send(frame)
            if number in (400, 800, 1_200):
                engine.end(signal.SIGKILL)
                kills += 1
                engine = ChildEngine(tmp_path, port=port, qa_port=port)
        sender.end()
        assert sender.connections == kills + 1
        assert sender.stored_s == 30
    engine.end(signal.SIGTERM)
    found = chunks(_log(tmp_path), session)
    assert whole(found) == sound
    assert found[-1].last


def test_what_was_acknowledged_before_a_kill_is_in_the_log(tmp_path: Path) -> None:
    engine = ChildEngine(tmp_path)
    session, frames = open_session(engine.client), pieces(tone(20.0), 640)
    acknowledged = 0
    with sending(engine.client, session) as sender:
        sender.start(live=False)
        threading.Timer(0.3, engine.child.kill).start()
        with suppress(OSError, ConnectionClosed):
            for number, frame in enumerate(frames):
                sender.frame(number, frame)
                acknowledged = sender.hear()["next"]
    engine.end(signal.SIGKILL)
    assert acknowledged > 0
    stored = chunks(_log(tmp_path), session)
    assert len(stored) >= acknowledged
    assert whole(stored[:acknowledged]) == b"".join(frames[:acknowledged])


def test_a_sender_is_told_when_the_session_is_over(settings: Settings) -> None:
    with running(settings) as client:
        session = open_session(client)
        sender = TrackSender(Sending(str(client.base_url), session, "mic", {"format": "pcm16"}))
        sender.send(tone(0.1))
        wait_for(lambda: sender.stored_s > 0)
        client.post(f"/api/sessions/{session}/end")

        def refused() -> bool:
            try:
                sender.send(tone(0.01))
            except SendRefused as error:
                return "ended" in str(error)
            return False

        wait_for(refused)
        sender.close()


def test_a_sender_gives_up_when_nobody_is_there() -> None:
    with TrackSender(Sending("http://127.0.0.1:9", "s", "mic", {"format": "pcm16"}), give_up_s=0.3) as sender:
        sender.send(b"\0\0")
        with pytest.raises(SendRefused, match="cannot be reached"):
            sender.end()


@pytest.mark.parametrize("way", [["--fast"], []])
def test_listen_sends_a_file_and_shows_what_came_of_it(settings: Settings, tmp_path: Path, way: list[str]) -> None:
    file = tmp_path / "talk.ogg"
    file.write_bytes(recording("ogg", 1.5))
    with running(settings) as client:
        url = str(client.base_url)
        outcome = CliRunner().invoke(app, ["listen", str(file), "--url", url, "--participant", "ann", *way])
        assert outcome.exit_code == 0, outcome.output
        shown = client.get("/api/sessions").json()["sessions"][0]
        assert (shown["title"], bool(shown["closed_at"])) == ("talk", True)
    assert shown["session_id"] in outcome.output
    found = chunks(settings.log_url, shown["session_id"])
    assert len(whole(found)) == 2 * 24_000
    assert {one.participant for one in found} == {"ann"}


def test_listen_shows_captions_and_answers_of_a_session_that_is_there(settings: Settings, tmp_path: Path) -> None:
    file = tmp_path / "talk.wav"
    file.write_bytes(recording("wav", 0.5))
    with running(settings) as client:
        session = open_session(client)
        say(client, session, ("c1", "ann", 0, 3, "Where do you live?")).raise_for_status()
        outcome = CliRunner().invoke(app, ["listen", str(file), "--url", str(client.base_url), "--session", session])
        assert outcome.exit_code == 0, outcome.output
        assert client.get(f"/api/sessions/{session}").json()["closed_at"] is None
    assert "Ann" in outcome.output
    assert "Where do you live?" in outcome.output
    assert "answers    1" in outcome.output


def test_listen_says_what_is_wrong(settings: Settings, tmp_path: Path) -> None:
    bad = tmp_path / "bad.wav"
    bad.write_bytes(b"no sound")
    good = tmp_path / "good.wav"
    good.write_bytes(recording("wav", 0.2))
    with running(settings) as client:
        url = str(client.base_url)
        for arguments, words in (
            (["nowhere.wav"], "is no file"),
            ([str(bad), "--url", url], "no recording of a known format"),
            ([str(good), "--url", "http://127.0.0.1:9"], "no engine at"),
            ([str(good), "--url", url, "--session", "nowhere"], "404"),
        ):
            outcome = CliRunner().invoke(app, ["listen", *arguments])
            assert outcome.exit_code == 1
            assert words in outcome.output
        assert client.get("/api/sessions").json()["sessions"] == []


def test_listen_to_a_microphone_that_is_not_there_says_what_to_do() -> None:
    # In a process of its own that has no sound library, whatever is installed here.
    code = "import sys; sys.modules['sounddevice'] = None; from rejoinder.cli import app; app()"
    done = subprocess.run(
        [sys.executable, "-c", code, "listen", "mic"], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert "uv sync --extra mic" in done.stderr


def test_while_the_log_cannot_store_nothing_is_acknowledged(tmp_path: Path) -> None:
    engine = ChildEngine(tmp_path)
    session = open_session(engine.client)
    with sending(engine.client, session) as sender:
        sender.start()
        assert sender.send([tone(0.1)])[0]["next"] == 1
        lock = _locked(tmp_path)
        sender.frame(1, tone(0.1))
        code, said = sender.closed()
        lock.execute("ROLLBACK")
        lock.close()
    assert code == 1013
    assert [one["type"] for one in said] == ["error"]
    with sending(engine.client, session) as sender:
        assert sender.start()["next"] in (1, 2)  # a write that was given up may have come through after all
        assert sender.send([tone(0.1)], 1)[0]["next"] == 2
    engine.end(signal.SIGTERM)
    assert whole(chunks(_log(tmp_path), session)) == tone(0.1) * 2


def _locked(folder: Path) -> sqlite3.Connection:
    """Take the write lock of the log's file, as a backup or a full disk would keep it from writing."""
    connection = sqlite3.connect(folder / "log.sqlite3", isolation_level=None, timeout=10)
    connection.execute("BEGIN IMMEDIATE")
    return connection
