"""What all tests share: data folders of their own, and no network beyond this machine."""

import os
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from rejoinder.settings import Settings

os.environ["HF_HUB_OFFLINE"] = "1"
for name in list(os.environ):
    if name.startswith("REJOINDER_"):
        del os.environ[name]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Give settings with a data folder of their own and free ports."""
    return Settings(_env_file=None, data_dir=tmp_path / "data", port=0, qa_port=0, epoch_s=0.2)


@pytest.fixture(autouse=True)
def _quiet_third_parties() -> Iterator[None]:
    with warnings.catch_warnings():
        # Chroma's and the client library's own use of what Python deprecates; none of it is ours to mend.
        warnings.filterwarnings(
            "ignore", category=DeprecationWarning, module=r"(chromadb|opentelemetry|openai|httpx2?)\b.*"
        )
        yield
