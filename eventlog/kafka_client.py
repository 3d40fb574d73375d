"""How this process reaches Kafka: the address, its security, its errors and its topics."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from confluent_kafka import KafkaError, KafkaException

from schemas.errors import LogError, LogUnavailable, OffsetGone, RecordTooLarge
from schemas.topics import MAX_RECORD_BYTES, TOPICS, Topic

__all__ = [
    "ERASED_TOPIC",
    "LAYOUT_TOPIC",
    "KafkaOptions",
    "TopicReport",
    "apply_topics",
    "log_error",
    "settled",
    "topics_there",
    "wanted_configs",
]

ERASED_TOPIC = "erased"
"""A compacted topic of Kafka logs only: one marker per erased key."""

LAYOUT_TOPIC = "layout"
"""A topic of Kafka logs only: the number of partitions that is used, written down when the topics are made."""

ANSWER_S = 10.0
"""How long a request to the broker may take before the log counts as unavailable."""

_SETTLING = frozenset(
    {
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError._UNKNOWN_PARTITION,  # noqa: SLF001 - the client library's own codes begin so
        KafkaError._UNKNOWN_TOPIC,  # noqa: SLF001
        KafkaError.OFFSET_NOT_AVAILABLE,
        # The first request of a client that knew the partition before its broker was restarted.
        KafkaError.FENCED_LEADER_EPOCH,
        KafkaError.UNKNOWN_LEADER_EPOCH,
    }
)
"""What a partition answers for a moment after it was made or its broker was restarted."""
_AGAIN_S = 0.05

Given = TypeVar("Given")

_PROTOCOLS = {"plaintext": "PLAINTEXT", "tls": "SSL", "sasl_plaintext": "SASL_PLAINTEXT", "sasl_tls": "SASL_SSL"}
_ROOM_FOR_HEADERS = 64 * 1024
_FOR_EVER = 2**63 - 1


@dataclass(frozen=True, slots=True)
class KafkaOptions:
    """Where the brokers are and how to speak to them.

    Attributes:
        brokers: ``host:port``, comma separated.
        prefix: Put before every topic name, with a dot; several installations may share a cluster.
        partitions: Of each topic, when topics are made.
        replication: Copies of each partition, when topics are made.
        security: plaintext, tls, sasl_plaintext or sasl_tls.
        ca_file: Certificates to trust; empty = the system's.
        cert_file: Our certificate, when the broker asks for one.
        key_file: Its key.
        mechanism: SASL mechanism, such as SCRAM-SHA-512.
        username: SASL user.
        password: SASL password.
        deliver_s: How long an append may wait for the broker. A client is told soon that it must try again; a flow
            has nobody to tell and waits longer.
        cache_bytes: Memory for records of recently read keys.
    """

    brokers: str
    prefix: str = ""
    partitions: int = 8
    replication: int = 1
    security: str = "plaintext"
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    mechanism: str = ""
    username: str = ""
    password: str = ""
    deliver_s: float = 8.0
    cache_bytes: int = 512_000_000

    def topic(self, name: str) -> str:
        """Give the name of a topic in Kafka."""
        return f"{self.prefix}.{name}" if self.prefix else name

    def client(self, **more: Any) -> dict[str, Any]:
        """Give the settings of a client."""
        given = {
            "bootstrap.servers": self.brokers,
            "client.id": "rejoinder",
            "security.protocol": _PROTOCOLS[self.security],
            "ssl.ca.location": self.ca_file,
            "ssl.certificate.location": self.cert_file,
            "ssl.key.location": self.key_file,
            "sasl.mechanism": self.mechanism,
            "sasl.username": self.username,
            "sasl.password": self.password,
            # A broker that was restarted is found again within a second, not after ten.
            "reconnect.backoff.ms": 100,
            "reconnect.backoff.max.ms": 1_000,
            "socket.connection.setup.timeout.ms": 5_000,
            "log_level": 2,
            **more,
        }
        return {name: value for name, value in given.items() if value != ""}


def log_error(error: KafkaError | KafkaException, what: str) -> LogError:
    """Give our error for one of Kafka's."""
    inner = error.args[0] if isinstance(error, KafkaException) else error
    code = inner.code() if isinstance(inner, KafkaError) else None
    text = inner.str() if isinstance(inner, KafkaError) else str(inner)
    if code in (KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.INVALID_MSG_SIZE):
        return RecordTooLarge(f"{what}: {text}")
    if code in (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION):  # noqa: SLF001
        # A broker that was just started says so of topics that it has not loaded yet: whoever waits is served.
        return LogUnavailable(f"{what}: {text}; if it stays so, run: rejoinder topics apply")
    if code in (KafkaError.OFFSET_OUT_OF_RANGE, KafkaError._AUTO_OFFSET_RESET):  # noqa: SLF001
        return OffsetGone(f"{what}: {text}")
    return LogUnavailable(f"{what}: {text}")


def settled(ask: Callable[[float], Given], what: str, wait_s: float = ANSWER_S) -> Given:
    """Ask a broker, with the seconds the answer may take; again while the partition is only settling.

    Raises:
        LogUnavailable: It did not answer within `wait_s` seconds.
    """
    end = time.monotonic() + wait_s
    while True:
        try:
            return ask(max(0.1, end - time.monotonic()))
        except KafkaException as error:
            if error.args[0].code() not in _SETTLING or time.monotonic() > end:
                raise log_error(error, what) from error
            time.sleep(_AGAIN_S)


@dataclass(frozen=True, slots=True)
class TopicReport:
    """What became of one topic: "made", "right" or "wrong" with what differs."""

    name: str
    state: str
    detail: str = ""


def wanted_configs(topic: Topic | None) -> dict[str, str]:
    """Give Kafka's settings of a topic of the table; None = the topic of erased keys, or that of the layout."""
    if topic is None:
        return {"cleanup.policy": "compact", "retention.ms": "-1"}
    kept = "-1" if topic.retention_s is None else str(topic.retention_s * 1000)
    return {
        "cleanup.policy": "delete",
        "retention.ms": kept,
        "retention.bytes": "-1",
        "max.message.bytes": str(MAX_RECORD_BYTES + _ROOM_FOR_HEADERS),
        # The producer's clock orders a replay; one that jumps must not make the broker refuse records.
        "message.timestamp.type": "CreateTime",
        "message.timestamp.after.max.ms": str(_FOR_EVER),
        "message.timestamp.before.max.ms": str(_FOR_EVER),
    }


def topics_there(options: KafkaOptions) -> tuple[Any, Any]:
    """Connect; give the client for topics, and the topics that the broker lists, by name.

    Raises:
        LogUnavailable: No broker answers, or the settings are none to connect with.
    """
    from confluent_kafka.admin import AdminClient

    try:
        admin = AdminClient(options.client())
        return admin, admin.list_topics(timeout=ANSWER_S).topics
    except KafkaException as error:
        raise log_error(error, f"no Kafka broker answers at {options.brokers}") from error


def apply_topics(options: KafkaOptions) -> list[TopicReport]:
    """Make the topics that are missing; say what is wrong with those that are there, and change nothing of them.

    Raises:
        LogUnavailable: No broker answers, or it refuses.
    """
    from confluent_kafka.admin import NewTopic

    admin, there = topics_there(options)
    table: dict[str, Topic | None] = {options.topic(name): topic for name, topic in TOPICS.items()}
    table |= {options.topic(name): None for name in (ERASED_TOPIC, LAYOUT_TOPIC)}
    missing = [
        NewTopic(
            name,
            num_partitions=options.partitions if topic else 1,
            replication_factor=options.replication,
            config=wanted_configs(topic),
        )
        for name, topic in table.items()
        if name not in there
    ]
    reports = []
    for name, made in (admin.create_topics(missing, request_timeout=ANSWER_S) if missing else {}).items():
        try:
            made.result(ANSWER_S)
        except KafkaException as error:
            raise log_error(error, f"topic {name} cannot be made") from error
        reports.append(TopicReport(name, "made", f"{options.partitions if table[name] else 1} partitions"))
    kept = [name for name in table if name in there]
    from eventlog.kafka_layout import keep_layout, kept_layout

    if kept_layout(options) is None:
        counts = [len(there[name].partitions) for name in kept if table[name]]
        keep_layout(options, min(counts, default=options.partitions))
    return reports + _check(admin, options, {name: table[name] for name in kept}, there)


def check_topics(options: KafkaOptions) -> list[TopicReport]:
    """Say which topics are missing, wrong or right, and change nothing.

    Raises:
        LogUnavailable: No broker answers, or it refuses.
    """
    admin, there = topics_there(options)
    table: dict[str, Topic | None] = {options.topic(name): topic for name, topic in TOPICS.items()}
    table |= {options.topic(name): None for name in (ERASED_TOPIC, LAYOUT_TOPIC)}
    missing = [TopicReport(name, "missing", "run: rejoinder topics apply") for name in table if name not in there]
    return missing + _check(admin, options, {name: table[name] for name in table if name in there}, there)


def _check(admin: Any, options: KafkaOptions, table: dict[str, Topic | None], there: Any) -> list[TopicReport]:
    from confluent_kafka.admin import ConfigResource

    if not table:
        return []
    asked = [ConfigResource(ConfigResource.Type.TOPIC, name) for name in table]
    reports = []
    for resource, answer in admin.describe_configs(asked, request_timeout=ANSWER_S).items():
        try:
            found = answer.result(ANSWER_S)
        except KafkaException as error:
            raise log_error(error, f"topic {resource.name} cannot be looked at") from error
        topic = table[resource.name]
        wrong = [
            f"{name} is {found[name].value}, should be {value}"
            for name, value in wanted_configs(topic).items()
            if name in found and found[name].value != value
        ]
        count, should = len(there[resource.name].partitions), options.partitions if topic else 1
        if count != should:
            wrong.insert(0, f"{count} partitions, should be {should}")
        reports.append(TopicReport(resource.name, "wrong" if wrong else "right", "; ".join(wrong)))
    return reports
