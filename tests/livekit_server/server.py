"""A real LiveKit server on loopback, and real participants made with its SDK."""

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx

KEY, SECRET = "tests", "a secret for tests, long enough for HMAC with SHA-256"

CHILD = Path(__file__).with_name("speaker_child.py")
CONFIG = """\
port: {port}
bind_addresses: ["127.0.0.1"]
rtc:
  tcp_port: {tcp}
  udp_port: {udp}
  node_ip: 127.0.0.1
  use_external_ip: false
  interfaces: {{includes: ["lo"]}}
  enable_loopback_candidate: true
room:
  empty_timeout: 60
  departure_timeout: {departure}
keys:
  {key}: "{secret}"
logging: {{level: warn}}
"""


def _free(kind: int) -> int:
    with socket.socket(socket.AF_INET, kind) as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


class LiveKitServer:
    """The server's process; it may be stopped and started again on the same ports."""

    def __init__(self, program: Path, folder: Path, departure_s: int = 20) -> None:
        self._program, self._config = program, folder / "livekit.yaml"
        self._port = _free(socket.SOCK_STREAM)
        ports = {"port": self._port, "tcp": _free(socket.SOCK_STREAM), "udp": _free(socket.SOCK_DGRAM)}
        self._config.write_text(CONFIG.format(key=KEY, secret=SECRET, departure=departure_s, **ports))
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"ws://127.0.0.1:{self._port}"

    def start(self) -> "LiveKitServer":
        self._process = subprocess.Popen(
            [str(self._program), "--config", str(self._config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        end = time.monotonic() + 30
        while time.monotonic() < end and self._process.poll() is None:
            try:
                httpx.get(f"http://127.0.0.1:{self._port}/", trust_env=False)
            except httpx.HTTPError:
                time.sleep(0.05)
            else:
                return self
        raise AssertionError("the LiveKit server did not start")

    def send(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def stop(self, *, kill: bool = False) -> None:
        if self._process is not None:
            self._process.kill() if kill else self._process.terminate()
            self._process.wait(20)
            self._process = None

    @property
    def settings(self) -> dict[str, str]:
        return {"livekit_url": self.url, "livekit_api_key": KEY, "livekit_api_secret": SECRET}


class Speaker:
    """A real participant, made with LiveKit's SDK, who joins with a token and publishes a microphone."""

    def __init__(self, client: httpx.Client, session: str, identity: str, *, key: str = "", **more: Any) -> None:
        token = more.pop("token", "")
        reply = client.post(f"/api/sessions/{session}/livekit/token", json={"identity": identity, **more})
        assert reply.status_code == 201, reply.text
        self.given: dict[str, str] = reply.json()
        self._child = subprocess.Popen(
            [sys.executable, str(CHILD)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self._write(json.dumps({"url": self.given["url"], "token": token or self.given["token"], "key": key}))
        self.told: dict[str, Any] = {}

    def join(self) -> None:
        """Come in and publish."""
        self.told = json.loads(self.do("join"))

    def _write(self, line: str) -> None:
        assert self._child.stdin is not None
        self._child.stdin.write(line + "\n")
        self._child.stdin.flush()

    def begin(self, command: str) -> None:
        """Give a command."""
        self._write(command)

    def done(self) -> str:
        """Wait until the oldest command is done."""
        assert self._child.stdout is not None
        line = self._child.stdout.readline()
        assert line.startswith("done"), f"the participant ended: {line!r}"
        return line.removeprefix("done").strip()

    def do(self, command: str) -> str:
        self.begin(command)
        return self.done()

    def close(self, *, kill: bool = False) -> None:
        """Leave, or vanish."""
        if kill:
            self._child.kill()
        for pipe in (self._child.stdin, self._child.stdout):
            assert pipe is not None
            with suppress(OSError):
                pipe.close()
        try:
            self._child.wait(10)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait(10)


@contextmanager
def speaking(client: httpx.Client, session: str, identity: str, **more: Any) -> Iterator[Speaker]:
    """Give a participant who is in the room and publishes."""
    speaker = Speaker(client, session, identity, **more)
    try:
        speaker.join()
        yield speaker
    finally:
        speaker.close()
