"""What users think of answers: from the request to the log, the stream and the analytics."""

from pathlib import Path

import httpx

from eventlog import open_log
from flows.analytics_run import load_once
from rejoinder.analytics.store import AnalyticsStore
from rejoinder.analytics.writer import StoreWriter
from rejoinder.settings import Settings
from schemas.answers import Answer, AnswerFailed
from schemas.feedback import Feedback
from tests.rejoinder.analytics.facts import Talk, conversation, log_with
from tests.rejoinder.analytics.test_serving import ready, rows
from tests.support import Follower, complete, open_session, running, say, wait_for


def answered(client: httpx.Client) -> tuple[str, str]:
    """Give a session and the id of its one answer."""
    session = open_session(client)
    say(client, session, ("c1", "ann", 0, 3, "How many planets are there?")).raise_for_status()
    wait_for(lambda: complete(client, session) == 1)
    return session, client.get(f"/api/sessions/{session}/answers").json()["answers"][0]["answer_id"]


def test_the_newest_rating_counts_in_the_answer_the_stream_and_the_analytics(settings: Settings) -> None:
    with running(settings) as client:
        session, answer = answered(client)
        url = f"/api/sessions/{session}/answers/{answer}/feedback"
        following = Follower(client.base_url, session)
        first = client.post(url, json={"verdict": "useful"}, headers={"Idempotency-Key": "k"})
        again = client.post(url, json={"verdict": "useful"}, headers={"Idempotency-Key": "k"})
        assert (first.status_code, first.json()["cursor"]) == (201, again.json()["cursor"]), "sent twice, stored once"
        client.post(f"/api/sessions/{session}/end").raise_for_status()
        client.post(url, json={"verdict": "wrong", "comment": " Nine, surely. "}).raise_for_status()
        row = client.get(f"/api/sessions/{session}/answers").json()["answers"][0]
        assert (row["verdict"], row["comment"]) == ("wrong", "Nine, surely.")
        wait_for(lambda: following.types().count("feedback") == 2)
        ready(client)
        told = "SELECT verdict, comment_chars, comment, question_id IS NOT NULL FROM feedback"
        wait_for(lambda: rows(client, told) == [["wrong", 13, None, True]])
        board = client.get("/api/analytics/dashboard").json()
        assert [(one["useful"], one["wrong"], one["commented"]) for one in board["feedback"]] == [(0, 1, 1)]
        assert [(one["mode"], one["wrong"]) for one in board["feedback_by"]] == [("extractive", 1)]
        one = client.get(f"/api/analytics/sessions/{session}").json()
        assert [question["verdict"] for question in one["questions"]] == ["wrong"]
        assert not [check for check in client.get("/api/analytics/quality").json()["checks"] if not check["good"]]
        client.delete(f"/api/sessions/{session}").raise_for_status()
        wait_for(lambda: rows(client, "SELECT count(*) FROM feedback") == [[0]])
    log = open_log(settings.log_url)
    assert log.read("feedback", 0, 0, 10) == [], "an erased session takes its ratings with it"
    log.close()


def test_only_a_whole_answer_of_ones_own_session_can_be_rated(settings: Settings) -> None:
    with running(settings.model_copy(update={"analytics": False})) as client:
        session, answer = answered(client)
        path = f"/api/sessions/{session}/answers"
        good = {"verdict": "useful"}
        assert client.post(f"{path}/nothing/feedback", json=good).status_code == 404
        assert client.post(f"/api/sessions/nobody/answers/{answer}/feedback", json=good).status_code == 404
        for bad in ({}, {"verdict": "nice"}, {"verdict": "useful", "comment": "x" * 2_001}, {**good, "stars": 5}):
            assert client.post(f"{path}/{answer}/feedback", json=bad).status_code == 422
    dead = settings.model_copy(update={"analytics": False, "llm_base_url": "http://127.0.0.1:9/v1", "llm_model": "m"})
    with running(dead) as client:
        session = open_session(client)
        say(client, session, ("c1", "ann", 0, 3, "Where do you work?")).raise_for_status()
        wait_for(lambda: [one for one in _answers(client, session) if one["status"] == "failed"])
        failed = _answers(client, session)[0]["answer_id"]
        assert client.post(f"/api/sessions/{session}/answers/{failed}/feedback", json=good).status_code == 409


def _answers(client: httpx.Client, session: str) -> list[dict[str, str]]:
    found: list[dict[str, str]] = client.get(f"/api/sessions/{session}/answers").json()["answers"]
    return found


def test_comments_are_kept_only_where_texts_are_and_findings_tell_the_share(tmp_path: Path) -> None:
    talks = [_rated(number) for number in range(6)]
    log = log_with(tmp_path, *talks)
    for texts, comment in ((False, None), (True, "because")):
        store = AnalyticsStore(tmp_path / f"{texts}.duckdb")
        load_once(log, StoreWriter(store, texts=texts))
        found = store.rows("SELECT verdict, comment_chars, comment, model FROM feedback ORDER BY session_id")
        assert found == [("useful" if number < 4 else "wrong", 7, comment, "m") for number in range(6)]
        store.close()
    log.close()


def _rated(number: int) -> Talk:
    """Give a session whose answer was rated twice: what was said first does not count."""
    talk = conversation(f"s{number}")
    answer = next(one for _, one in talk.records if isinstance(one, Answer) and not isinstance(one, AnswerFailed))
    about = {"answer_id": answer.answer_id, "question_id": answer.question_id}
    talk.add("feedback", Feedback, 20, verdict="wrong" if number < 4 else "useful", **about)
    talk.add("feedback", Feedback, 21, verdict="useful" if number < 4 else "wrong", comment="because", **about)
    return talk
