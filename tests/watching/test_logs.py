"""What leaves the engine as log lines, traces and reports: ids and numbers, never what was said or is secret."""

import gzip
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest
from fastapi.responses import JSONResponse

from rejoinder.accounts.keys import KeyStore
from rejoinder.settings import Settings
from rejoinder.telemetry import traceback_of
from schemas.errors import LogUnavailable
from schemas.speech import Caption
from tests.llm_server import GOOD, Faulty
from tests.support import open_session, say, wait_for
from tests.watching.collector import collecting
from tests.watching.test_dead_letters import append_broken
from tests.watching.test_metrics import free_port

SAID = ("zanzibar", "pomegranate", "marzipan", "quicksilver")


@contextmanager
def reports() -> Iterator[tuple[list[dict[str, Any]], str]]:
    """Give what a real server of Sentry's protocol was told, and its DSN."""
    told: list[dict[str, Any]] = []

    class Door(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            told.extend(json.loads(line) for line in body.splitlines() if line)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Door)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield told, f"http://public@127.0.0.1:{server.server_address[1]}/1"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


@contextmanager
def engine(settings: Settings, port: int, **more: str) -> Iterator[tuple[httpx.Client, subprocess.Popen[str]]]:
    """Run ``rejoinder up`` as a user would, with every log line there is."""
    given = {"DATA_DIR": str(settings.data_dir), "LOG_LEVEL": "debug", "LOG_FORMAT": "json", "QA_PORT": str(port)}
    given |= {"PORT": str(port), "EPOCH_S": "0.2", **more}
    child = subprocess.Popen(
        [sys.executable, "-m", "rejoinder", "up"],
        env={**os.environ, **{f"REJOINDER_{name}": value for name, value in given.items()}},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20, trust_env=False) as client:
            wait_for(lambda: listens(port), 60)
            yield client, child
    finally:
        if child.poll() is None:
            child.kill()
            child.communicate()


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.timeout(180)
def test_nothing_that_was_said_or_is_secret_leaves_the_engine(settings: Settings) -> None:
    store = KeyStore(settings.data_dir / "accounts.sqlite3", key_required=True)
    _, key = store.create("laptop")
    store.close()
    model = Faulty()
    # A server that repeats the prompt in its error, as some do.
    echo = {"error": {"message": f"cannot answer: {SAID[0]}"}}
    model.steps += [lambda: JSONResponse(echo, 400), model.stream([f"data: {{{SAID[3]}\n\n"]), model.stream(GOOD)]
    with reports() as (told, dsn), collecting() as (collector, traces):
        more = {"LLM_BASE_URL": model.url, "LLM_MODEL": "m", "LLM_API_KEY": f"sk-{SAID[2]}"}
        with engine(settings, free_port(), OTEL_ENDPOINT=traces, SENTRY_DSN=dsn, **more) as (client, child):
            client.headers["Authorization"] = f"Bearer {key}"
            document = {"title": f"About {SAID[1]}", "text": f"The {SAID[1]} grows in {SAID[0]}."}
            client.post("/api/knowledge", json=document).raise_for_status()
            session = open_session(client, title=SAID[2])
            for number in range(3):
                caption = (
                    f"c{number}",
                    "ann",
                    number * 9.0,
                    number * 9.0 + 3,
                    f"Where does the {SAID[1]} number {number} grow?",
                )
                say(client, session, caption).raise_for_status()
                wait_for(lambda n=number: len(answers(client, session)) > n, 30)
            append_broken(settings, session, text=f"the {SAID[3]} is broken", start_s=SAID[0])
            client.post(f"/api/sessions/{session}/captions", json={"captions": [{"text": SAID[3], "start_s": SAID[0]}]})
            client.get(f"/api/sessions/{session}/stream", params={"from": "!", "key": key})
            client.post("/api/ask", json={"question": f"Who eats a {SAID[1]}?"})
            wait_for(lambda: any(SENT in json.dumps(one) for one in told), 30)
            child.send_signal(signal.SIGTERM)
            out, err = child.communicate(timeout=30)
        spans = json.dumps([[one.name, one.about] for one in collector.spans()])
    model.stop()
    lines = [json.loads(line) for line in err.splitlines() if line.startswith("{")]
    sent = json.dumps(told)
    for word in (*SAID, key, "sk-", "laptop"):
        for where in (out, err, spans, sent):
            assert word not in where, (word, [line for line in where.splitlines() if word in line][:2])
    buried = next(line for line in lines if line["event"] == "record_buried")
    assert buried["session_id"] == session
    posted = next(line for line in lines if line["event"] == "request_answered" and line["route"].endswith("/captions"))
    assert posted["session_id"] == session
    assert posted["trace_id"] in {one.trace_id for one in collector.spans()}
    report = next(one for one in told if one.get("message") == SENT or SENT in json.dumps(one.get("logentry", "")))
    assert report["tags"]["session_id"] == session
    assert report["tags"]["flow"] == "utterances"
    assert "breadcrumbs" not in report


SENT = "record_buried"


def answers(client: httpx.Client, session: str) -> list[Any]:
    rows = client.get(f"/api/sessions/{session}/answers").json()["answers"]
    return [row for row in rows if row["status"] != "pending"]


def test_a_traceback_has_the_text_of_errors_about_machines_only() -> None:
    try:
        try:
            Caption.model_validate({"text": SAID[0], "start_s": SAID[1]})
        except ValueError as error:
            raise LogUnavailable("the disk is full") from error
    except LogUnavailable as error:
        text = traceback_of(error)
    assert "ValidationError" in text
    assert "LogUnavailable: the disk is full" in text
    assert SAID[0] not in text
    assert SAID[1] not in text


def test_nothing_is_reported_unless_a_setting_says_so_and_a_wrong_address_is_told(tmp_path: Any) -> None:
    from typer.testing import CliRunner

    from rejoinder.cli import app

    assert Settings(_env_file=None).sentry_dsn.get_secret_value() == ""
    outcome = CliRunner().invoke(
        app, ["up", "--data-dir", str(tmp_path), "--port", "0"], env={"REJOINDER_SENTRY_DSN": "nonsense"}
    )
    assert outcome.exit_code == 1
    assert "REJOINDER_SENTRY_DSN" in outcome.output
