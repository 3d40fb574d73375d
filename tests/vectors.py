"""A real Chroma server for tests and benchmarks, in a process of its own."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from rejoinder.supervisor import free_addresses
from tests.support import wait_for


@contextmanager
def vector_server(folder: Path, port: str = "") -> Iterator[str]:
    """Give the address of a server that keeps its data in a folder; on any free port unless one is given."""
    port = port or free_addresses(1)[0].rpartition(":")[2]
    chroma = Path(sys.executable).parent / "chroma"
    with (folder / "chroma.out").open("wb") as out:
        child = subprocess.Popen(
            [chroma, "run", "--path", folder / "vectors", "--host", "127.0.0.1", "--port", port], stdout=out, stderr=out
        )
    try:
        wait_for(lambda: _answers(f"http://127.0.0.1:{port}/api/v2/heartbeat"), 60)
        yield f"http://127.0.0.1:{port}"
    finally:
        child.kill()
        child.wait()


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, trust_env=False, timeout=2).is_success
    except httpx.HTTPError:
        return False
