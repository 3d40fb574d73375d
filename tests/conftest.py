"""What all tests share: data folders of their own, no network beyond this machine, and one real Kafka."""

import os
import uuid
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from rejoinder.settings import Settings
from tests.kafka.finding import real_kafka
from tests.livekit_server.finding import livekit_server

os.environ["HF_HUB_OFFLINE"] = "1"
for name in list(os.environ):
    if name.startswith("REJOINDER_"):
        del os.environ[name]

_found: list[str] = []


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Give settings with a data folder of their own and free ports."""
    return Settings(_env_file=None, data_dir=tmp_path / "data", port=0, qa_port=0, epoch_s=0.2)


@pytest.fixture(scope="session")
def kafka_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Give the address of a real broker; without one these tests are skipped, and in CI they fail."""
    try:
        with real_kafka(tmp_path_factory.mktemp("kafka")) as (address, how):
            _found.append(how)
            yield address
    except LookupError as error:
        if os.environ.get("CI"):
            pytest.fail(str(error))
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def livekit_program() -> Path:
    """Give a real LiveKit server's program; without one these tests are skipped, and in CI they fail."""
    try:
        program, how = livekit_server()
    except LookupError as error:
        if os.environ.get("CI"):
            pytest.fail(str(error))
        pytest.skip(str(error))
    _found.append(how)
    return program


def _own_topics(address: str, partitions: int) -> str:
    from eventlog.kafka_client import KafkaOptions, apply_topics

    prefix = f"t{uuid.uuid4().hex[:8]}"
    apply_topics(KafkaOptions(address, prefix=prefix, partitions=partitions))
    return f"kafka://{address}/{prefix}"


@pytest.fixture
def kafka_url(kafka_address: str) -> str:
    """Give the address of a log of one's own on the real broker, four partitions a topic."""
    return _own_topics(kafka_address, 4)


@pytest.fixture
def kafka_single(kafka_address: str) -> str:
    """Give the address of a log of one's own with one partition a topic."""
    return _own_topics(kafka_address, 1)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say which Kafka and which LiveKit were used."""
    for how in _found:
        terminalreporter.write_line(f"real server: {how}")


@pytest.fixture(autouse=True)
def _own_logging() -> Iterator[None]:
    """Undo what a command run inside the test set up: its error stream is closed after it."""
    yield
    structlog.reset_defaults()


@pytest.fixture(autouse=True)
def _quiet_third_parties() -> Iterator[None]:
    with warnings.catch_warnings():
        # Chroma's and the client library's own use of what Python deprecates; none of it is ours to mend.
        warnings.filterwarnings(
            "ignore", category=DeprecationWarning, module=r"(chromadb|opentelemetry|openai|httpx2?)\b.*"
        )
        yield
