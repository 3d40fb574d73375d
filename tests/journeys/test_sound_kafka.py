"""Sound on a real Kafka: a sender goes on where it stopped, also after a restart of the engine."""

from pathlib import Path

import pytest

from rejoinder.settings import Settings
from tests.sound import pieces, sending, tone
from tests.support import open_session, running

pytestmark = pytest.mark.kafka


def test_a_sender_goes_on_where_it_stopped_after_a_restart(kafka_url: str, tmp_path: Path) -> None:
    settings = Settings(_env_file=None, data_dir=tmp_path, port=0, qa_port=0, log=kafka_url)
    with running(settings) as client:
        session = open_session(client)
        with sending(client, session) as sender:
            sender.start()
            assert sender.send(pieces(tone(1.0), 3_200))[-1]["next"] == 10
    with running(settings) as client, sending(client, session) as sender:
        assert sender.start()["next"] == 10
        assert sender.send([tone(0.1)], 10)[0]["stored_s"] == 1.1
