"""What Prometheus sees of each hop, asked of a real engine."""

import json
import socket
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families

from api.hop_metrics import HopCollector
from eventlog.base import NewRecord
from eventlog.inmemory import InMemoryLog
from flows.arrivals import Decoder
from flows.connectors import ReadingState
from rejoinder.engine import Engine
from rejoinder.serving import serving
from rejoinder.settings import Settings
from schemas.hops import BOUNDS_S, HopCounts, HopShown, Timings
from tests.llm_server import Faulty, chunk
from tests.support import Follower, complete, open_session, running, say, wait_for

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def scraped(client: httpx.Client) -> Samples:
    reply = client.get("/metrics")
    assert reply.status_code == 200
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(reply.text)
        for sample in family.samples
    }


def value(samples: Samples, name: str, **labels: str) -> float:
    return samples.get((f"rejoinder_{name}", tuple(sorted(labels.items()))), 0.0)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_each_hop_counts_what_it_reads_and_writes_and_how_long_it_takes(settings: Settings) -> None:
    with running(settings) as client:
        client.post("/api/knowledge", json={"title": "Ports", "text": "The harbour of Vigo was built in 1881."})
        session = open_session(client)
        follower = Follower(client.base_url, session)
        say(client, session, ("c1", "ann", 0, 3, "When was the harbour of Vigo built?")).raise_for_status()
        wait_for(lambda: complete(client, session) == 1)
        wait_for(lambda: "answer" in follower.types())
        place = {"flow": "answers", "topic": "questions", "partition": "0"}
        wait_for(lambda: value(scraped(client), "hop_lag_records", **place) == 0)
        # What was said is kept in memory once its speaker has been quiet.
        wait_for(lambda: value(scraped(client), "hop_store_seconds_count", flow="memory") > 0)
        seen = scraped(client)
    assert value(seen, "hop_records_read_total", flow="utterances", topic="captions") == 1
    assert value(seen, "hop_records_written_total", flow="utterances", topic="utterances") >= 1
    assert value(seen, "hop_records_read_total", flow="answers", topic="questions") >= 1
    assert value(seen, "hop_records_written_total", flow="answers", topic="answers") >= 2
    for flow in ("utterances", "questions", "memory", "answers"):
        read = sum(
            number
            for (name, labels), number in seen.items()
            if name == "rejoinder_hop_records_read_total" and ("flow", flow) in labels
        )
        assert value(seen, "hop_wait_seconds_count", flow=flow) == read > 0
        assert value(seen, "hop_step_seconds_count", flow=flow) > 0
        assert value(seen, "hop_store_seconds_count", flow=flow) > 0
        assert value(seen, "hop_store_seconds_bucket", flow=flow, le="+Inf") == value(
            seen, "hop_store_seconds_count", flow=flow
        )
    assert value(seen, "model_seconds_count", flow="answers", call="answer") == 1
    assert value(seen, "streams_open") == 1
    assert value(seen, "streams_cut_total") == 0
    assert value(seen, "queue_depth", flow="answers", queue="answers_running") == 0
    assert seen["process_resident_memory_bytes", ()] > 1e6


def test_tokens_of_a_model_and_answers_that_failed_are_counted(settings: Settings) -> None:
    server = Faulty()
    usage: dict[str, Any] = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": []}
    usage["usage"] = {"prompt_tokens": 120, "completion_tokens": 7, "total_tokens": 127}
    pieces = [chunk("In Vigo."), chunk(None, "stop"), f"data: {json.dumps(usage)}\n\n", "data: [DONE]\n\n"]
    server.steps.append(server.stream(pieces))
    with ExitStack() as stack:
        stack.callback(server.stop)
        client = stack.enter_context(
            running(settings.model_copy(update={"llm_base_url": server.url, "llm_model": "m"}))
        )
        session = open_session(client)
        say(client, session, ("c1", "ann", 0, 3, "Where do you live?")).raise_for_status()
        wait_for(lambda: complete(client, session) == 1)
        seen = scraped(client)
        assert value(seen, "tokens_total", kind="prompt") == 120
        assert value(seen, "tokens_total", kind="answer") == 7
        assert value(seen, "model_seconds_count", flow="answers", call="first_piece") == 1
    dead = settings.model_copy(update={"llm_base_url": "http://127.0.0.1:9/v1", "llm_model": "m"})
    with running(dead) as client:
        session = open_session(client)
        say(client, session, ("c1", "ann", 0, 3, "Where do you work?")).raise_for_status()
        wait_for(lambda: value(scraped(client), "answers_failed_total", reason="unavailable") == 1)


def test_the_time_of_text_vectors_is_counted(settings: Settings) -> None:
    def embedded(client: httpx.Client) -> float:
        return value(scraped(client), "model_seconds_count", flow="answers", call="embedding")

    with running(settings) as client:
        assert embedded(client) == 0
        body = {"title": "Ports", "text": "The harbour of Vigo was built in 1881."}
        client.post("/api/knowledge", json=body).raise_for_status()
        stored = embedded(client)
        assert stored > 0
        session = open_session(client)
        say(client, session, ("c1", "ann", 0, 3, "When was the harbour of Vigo built?")).raise_for_status()
        wait_for(lambda: complete(client, session) == 1)
        assert embedded(client) > stored
        assert value(scraped(client), "model_seconds_sum", flow="answers", call="embedding") > 0


def test_a_port_of_their_own_serves_the_metrics_and_nothing_else(settings: Settings) -> None:
    port = free_port()
    apart = settings.model_copy(update={"metrics_port": port})
    with (
        Engine(apart) as engine,
        serving(engine) as served,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as watching,
        httpx.Client(base_url=f"http://127.0.0.1:{served.port}", trust_env=False) as client,
    ):
        open_session(client)
        wait_for(lambda: value(scraped(watching), "hop_records_read_total", flow="utterances", topic="meeting") == 1)
        for path in ("/", "/api/health", "/api/sessions", "/openapi.json"):
            assert watching.get(path).status_code == 404
        assert served.qa_port not in (port, 0)
        with httpx.Client(base_url=f"http://127.0.0.1:{served.qa_port}", trust_env=False) as qa:
            assert qa.get("/api/health").status_code == 200


def test_without_the_setting_there_is_no_such_port(settings: Settings) -> None:
    assert Settings(_env_file=None).metrics_port == 0
    assert Settings(_env_file=None).metrics_host == "127.0.0.1"
    with Engine(settings) as engine:
        assert len(engine.doors()) == 2


def test_a_record_that_cannot_be_read_is_counted_where_it_lay() -> None:
    log, reading = InMemoryLog(), ReadingState()
    log.append([NewRecord("captions", "s", "e", b"{broken", 1.0)])
    decoder = Decoder(log, "utterances", reading.counts)
    assert decoder([("utterances", list(log.read("captions", 0, 0, 10)))]) == []
    assert reading.counts.buried == {"captions": 1}
    assert reading.counts.read == {"captions": 1}


def families(shown: HopShown) -> Mapping[str, list[Any]]:
    return {family.name: family.samples for family in HopCollector(lambda: [shown]).collect()}


def test_a_histogram_adds_its_classes_up() -> None:
    counts = HopCounts()
    for seconds in (-1.0, 0.0002, 0.003, 0.003, 7.0, 1000.0):
        counts.wait.add(seconds)
    samples = families(HopShown("f", counts))["rejoinder_hop_wait_seconds"]
    buckets = {sample.labels["le"]: sample.value for sample in samples if sample.name.endswith("_bucket")}
    assert buckets["0.0005"] == 2
    assert buckets["0.005"] == 4
    assert buckets["10.0"] == 5
    assert buckets["60.0"] == 5
    assert buckets["+Inf"] == 6
    assert next(one.value for one in samples if one.name.endswith("_sum")) == 0.0002 + 0.003 + 0.003 + 7.0 + 1000.0
    assert list(buckets) == [*map(str, BOUNDS_S), "+Inf"]
    assert len(Timings().classes) == len(BOUNDS_S) + 1


def test_lag_is_told_by_topic_and_partition() -> None:
    reading = ReadingState(positions={"captions/0": 4}, ends={"captions/0": 10, "speaker-turns/1": 3})
    samples = families(HopShown("utterances", HopCounts(), reading.lag()))["rejoinder_hop_lag_records"]
    assert {(one.labels["topic"], one.labels["partition"]): one.value for one in samples} == {
        ("captions", "0"): 6,
        ("speaker-turns", "1"): 3,
    }
