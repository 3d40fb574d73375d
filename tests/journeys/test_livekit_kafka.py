"""A LiveKit room with two API processes on one Kafka: one listens, and when it is killed the other takes over."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from eventlog import open_log
from rejoinder.settings import Settings
from tests.journeys.test_roles import api, settings_of
from tests.kafka.broker import free_port
from tests.livekit_server.server import LiveKitServer, speaking
from tests.sound import chunks, loud_s, tone
from tests.support import open_session, wait_for
from tests.vectors import vector_server

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(240)]

ONE = 'rejoinder_audio_open{way="livekit"} 1.0'


def answers(client: httpx.Client) -> bool:
    try:
        return client.get("/api/health/live").is_success
    except httpx.TransportError:
        return False


@contextmanager
def api_process(settings: Settings, livekit: dict[str, str]) -> Iterator[tuple[httpx.Client, subprocess.Popen[bytes]]]:
    """Run ``rejoinder api`` beside the test; gives a client of it and its process."""
    port = free_port()
    given = {
        "REJOINDER_DATA_DIR": str(settings.data_dir),
        "REJOINDER_LOG": settings.log,
        "REJOINDER_VECTORS_URL": settings.vectors_url,
        "REJOINDER_PORT": str(port),
        "REJOINDER_QA_PORT": str(port),
        **{f"REJOINDER_{name.upper()}": value for name, value in livekit.items()},
    }
    child = subprocess.Popen(
        [sys.executable, "-m", "rejoinder", "api"],
        env={**os.environ, **given},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20, trust_env=False) as client:
            wait_for(lambda: answers(client), 60)
            yield client, child
    finally:
        child.kill()
        child.wait(20)


def test_another_api_process_takes_a_room_over_when_the_one_that_listens_is_killed(
    kafka_url: str, livekit_program: Path, tmp_path: Path
) -> None:
    def say(seconds: float) -> str:
        file = tmp_path / f"{seconds:g}.pcm"
        file.write_bytes(tone(seconds, 48_000))
        return f"say {file}"

    server = LiveKitServer(livekit_program, tmp_path).start()
    log = open_log(kafka_url)
    try:
        with vector_server(tmp_path) as vectors:
            settings = settings_of(kafka_url, vectors, tmp_path / "second", **server.settings)
            with api_process(settings_of(kafka_url, vectors, tmp_path / "first"), server.settings) as (first, process):
                session = open_session(first)
                log.load(session)
                with speaking(first, session, "ann") as ann, api(settings) as second:
                    wait_for(lambda: chunks(log, session), 60)
                    ann.do(say(4.0))
                    wait_for(lambda: loud_s(chunks(log, session)) > 3.8, 60)
                    assert ONE in first.get("/metrics").text
                    assert ONE not in second.get("/metrics").text
                    process.send_signal(signal.SIGKILL)
                    wait_for(lambda: ONE in second.get("/metrics").text, 60)
                    before = len(chunks(log, session))
                    wait_for(lambda: len(chunks(log, session)) > before, 60)
                    ann.do(say(1.0))
                    wait_for(lambda: loud_s(chunks(log, session)) > 4.8, 60)
        found = chunks(log, session)
        assert loud_s(found) == pytest.approx(5.0, abs=0.2), "nothing was said twice"
        assert sum(one.gap_samples > 0 for one in found) == 1, "what was said while nobody listened"
        assert {one.track for one in found} == {"ann"}
    finally:
        log.close()
        server.stop()
