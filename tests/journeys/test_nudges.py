"""Hints to the user through the real engine: once each, whatever is killed in between, and only where chosen."""

import signal
from pathlib import Path

import httpx

from rejoinder.settings import Settings
from tests.journeys.engine_child import ChildEngine
from tests.support import Follower, open_session, running, say, wait_for

FAST = "word " * 60


def hints(client: httpx.Client, session: str) -> list[str]:
    follower = Follower(client.base_url, session)
    follower.thread.join(30)
    return [event["kind"] for _, event in follower.events if event["type"] == "nudge"]


def test_a_hint_is_given_once_although_the_engine_is_killed_around_it(tmp_path: Path) -> None:
    engine = ChildEngine(tmp_path, nudges=True)
    session = open_session(engine.client)
    say(engine.client, session, ("c1", "ann", 0, 3, "What do you do there?"), ("c2", "me", 4, 14, FAST))
    engine.end(signal.SIGKILL)  # it is due and was not given yet, or hardly
    engine = ChildEngine(tmp_path, nudges=True)
    follower = Follower(engine.client.base_url, session, until="nudge")
    wait_for(lambda: "nudge" in follower.types())
    engine.end(signal.SIGKILL)
    engine = ChildEngine(tmp_path, nudges=True)
    say(engine.client, session, ("c3", "ann", 30, 33, "And what did you do before?")).raise_for_status()
    engine.client.post(f"/api/sessions/{session}/end").raise_for_status()
    assert hints(engine.client, session) == ["fast"]
    engine.end(signal.SIGTERM)


def test_hints_are_given_only_where_they_were_chosen_and_may_be_chosen_later(tmp_path: Path) -> None:
    settings = Settings(_env_file=None, data_dir=tmp_path, port=0, qa_port=0, llm="off")
    with running(settings) as client:
        first = open_session(client)
        say(client, first, ("c1", "me", 0, 10, FAST), ("c2", "ann", 14, 17, "And what did you do before?"))
        client.post(f"/api/sessions/{first}/end").raise_for_status()
        assert hints(client, first) == []
    with running(settings.model_copy(update={"nudges": True})) as client:
        second = open_session(client)
        say(client, second, ("c1", "me", 0, 10, FAST)).raise_for_status()
        follower = Follower(client.base_url, second, until="nudge")
        wait_for(lambda: "nudge" in follower.types())
        assert follower.events[-1][1]["text"] == "Slow down."
