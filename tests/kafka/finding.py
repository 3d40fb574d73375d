"""Finds a real Kafka for tests, first that works: an address given, Docker, Java with Kafka's own jars."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.kafka.broker import VERSION, Broker, why_no_java

GIVEN = os.environ.get("REJOINDER_TEST_KAFKA", "")
"""Read before the tests clear the environment."""


def docker_works() -> bool:
    if shutil.which("docker") is None:
        return False
    return subprocess.run(["docker", "info"], capture_output=True, timeout=20, check=False).returncode == 0


@contextmanager
def real_kafka(folder: Path) -> Iterator[tuple[str, str]]:
    """Give the address of a broker and how it was found.

    Raises:
        LookupError: None can be had; the message says why.
    """
    if GIVEN:
        yield GIVEN, f"REJOINDER_TEST_KAFKA={GIVEN}"
    elif docker_works():
        from testcontainers.community.kafka import KafkaContainer

        with KafkaContainer("confluentinc/cp-kafka:8.1.0").with_kraft() as container:
            yield container.get_bootstrap_server(), "Docker"
    elif not (missing := why_no_java()):
        broker = Broker(folder).start()
        try:
            yield broker.address, f"Apache Kafka {VERSION} from its jars"
        finally:
            broker.stop()
    else:
        raise LookupError(f"no real Kafka: REJOINDER_TEST_KAFKA is not set, Docker does not run, {missing}")


def need_java() -> None:
    """Skip a test that starts a broker of its own where none can be had; in CI it fails."""
    if missing := why_no_java():
        pytest.fail(missing) if os.environ.get("CI") else pytest.skip(missing)
