"""The flow of `benchmarks.throughput` on quixstreams; run by that benchmark with a Python that has quixstreams.

The operators, records and their encoding are those of this repository, so engines are compared and not rules. What an
operator keeps of a session is in quixstreams' own state store (RocksDB with a changelog topic), read and written with
every record, which is how a fault is survived there. Two shapes: `topics` reads each topic again as our flows do, and
`chain` writes the same topics but hands records on in memory.
"""

import argparse
import pickle
import signal
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from quixstreams import Application
from quixstreams.models.serializers import Deserializer, Serializer

from operators.questions import QuestionsOperator
from operators.utterances import UtterancesOperator
from schemas.answers import Answer, AnswerDelta, answer_id_of
from schemas.base import derive_id
from schemas.codec import decode, encode

TEXT = "This is an answer. "


class Decoded(Deserializer):
    """Bytes of a topic to its record."""

    def __init__(self, topic: str) -> None:
        super().__init__()
        self._topic = topic

    def __call__(self, value: bytes, ctx: Any) -> Any:
        del ctx
        return decode(self._topic, value)


class Encoded(Serializer):
    """A record to its bytes."""

    def __call__(self, value: Any, ctx: Any) -> bytes:
        del ctx
        return encode(value)


def stepping(name: str, operator: Any) -> Any:
    """Give the function that steps an operator with the state of the record's session."""

    def step(value: Any, key: Any, timestamp: int, headers: Any, state: Any) -> list[Any]:
        del key, headers
        packed = state.get_bytes(name)
        before = pickle.loads(packed) if packed is not None else operator.initial()
        after, made = operator.step(before, value, timestamp / 1000)
        if after is not before:
            state.set_bytes(name, pickle.dumps(after, pickle.HIGHEST_PROTOCOL))
        return list(made)

    return step


def identified(value: Any, key: Any, timestamp: int, headers: Any) -> list[tuple[str, bytes]]:
    """Give the header by which readers know a repeat; without this each record would have that of its cause."""
    del key, timestamp, headers
    return [("id", value.event_id.encode())]


def answered(question: Any) -> list[Any]:
    """Give the two records of a stub answer, as the engine writes them."""
    identity = answer_id_of(question)
    shared = {
        "session_id": question.session_id,
        "created_at": datetime.now(UTC),
        "answer_id": identity,
        "question_id": question.question_id,
        "question_revision": question.revision,
        "attempt": 1,
    }
    delta = AnswerDelta(**shared, event_id=derive_id(identity, "delta", 1, 0), index=0, text=TEXT)
    return [delta, Answer(**shared, event_id=derive_id(identity, "closed"), text=TEXT, mode="model", model="stub")]


def main() -> None:
    """Run until told to stop."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--address", required=True)
    parser.add_argument("--prefix", required=True)
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--shape", choices=("topics", "chain"), default="topics")
    parser.add_argument("--linger", type=float, default=5.0)
    options = parser.parse_args()
    app = Application(
        options.address,
        consumer_group=f"{options.prefix}.quix",
        auto_offset_reset="earliest",
        state_dir=options.state,
        producer_extra_config={"acks": "all", "enable.idempotence": True, "linger.ms": options.linger},
        loglevel="WARNING",
        auto_create_topics=True,
    )
    names = ("captions", "utterances", "questions", "answers")
    topics = {
        name: app.topic(
            f"{options.prefix}.{name}",
            key_serializer="bytes",
            key_deserializer="bytes",
            value_serializer=Encoded(),
            value_deserializer=Decoded(name),
        )
        for name in names
    }
    utterances = stepping("utterances", UtterancesOperator())
    questions = stepping("questions", QuestionsOperator(sure_settle_s=0.0))
    chain = options.shape == "chain"
    stream = app.dataframe(topics["captions"]).apply(utterances, stateful=True, expand=True, metadata=True)
    stream = stream.set_headers(identified).to_topic(topics["utterances"])
    stream = stream if chain else app.dataframe(topics["utterances"])
    stream = stream.apply(questions, stateful=True, expand=True, metadata=True)
    stream = stream.set_headers(identified).to_topic(topics["questions"])
    stream = stream if chain else app.dataframe(topics["questions"])
    stream.apply(answered, expand=True).set_headers(identified).to_topic(topics["answers"])
    signal.signal(signal.SIGTERM, lambda *_: app.stop())
    app.run()


if __name__ == "__main__":
    main()
