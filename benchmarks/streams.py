"""A thousand clients of one API process: how long until a caption is read, with and without clients that never read.

``uv run python -m benchmarks.streams`` starts the engine (API and flows in one process) on the embedded log and on a
real Kafka, and a second process with the clients: raw sockets that follow the streams of fifty sessions. Captions and
questions are posted at a steady rate. 800 clients are counted; the other 200 read as well in one round and never read
in the next, turn by turn. It writes ``benchmarks/results/streams.json``.
"""

import argparse
import asyncio
import contextlib
import json
import os
import platform
import re
import resource
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from benchmarks.latency import quantiles
from benchmarks.processes import cpu_s, memory_mb
from benchmarks.talk import LINES

RESULTS = Path(__file__).parent / "results" / "streams.json"
PEOPLE = [{"id": "ann", "name": "Ann"}, {"id": "me", "is_user": True}]
MADE = re.compile(rb'event: caption\r\ndata: .*?"text":\s?"T(\d+) ')
SMALL = 4096


class Reader(asyncio.Protocol):
    """One client; notes how long each caption took from the moment it was posted until it was read."""

    def __init__(self, request: bytes, waits: list[float] | None, opened: "asyncio.Future[None]") -> None:
        """Send `request`; keep waits in `waits`, or read nothing at all when there is no such list."""
        self._request, self._waits, self._opened, self._left = request, waits, opened, b""

    def connection_made(self, transport: Any) -> None:
        """Ask for the stream."""
        transport.write(self._request)
        if self._waits is None:
            transport.pause_reading()
            self._opened.set_result(None)

    def data_received(self, data: bytes) -> None:
        """Look for captions."""
        if not self._opened.done():
            self._opened.set_result(None)
        now = time.monotonic_ns()
        whole, end, self._left = (self._left + data).rpartition(b"\r\n\r\n")
        if self._waits is not None:
            self._waits.extend((now - int(made)) / 1e6 for made in MADE.findall(whole + end))


class Clients:
    """The clients of one server, in this process."""

    def __init__(self, port: int, sessions: list[str]) -> None:
        """Connect to `port`; clients are spread evenly over `sessions`."""
        self._port, self._sessions = port, sessions
        self.waits: list[float] = []
        self._open: dict[str, list[asyncio.Transport]] = {}

    async def connect(self, name: str, count: int, *, stalled: bool, counted: bool) -> None:
        """Add a group of clients and wait until all of them are connected."""
        loop, group = asyncio.get_running_loop(), self._open.setdefault(name, [])
        for number in range(count):
            session = self._sessions[number % len(self._sessions)]
            place = "start" if stalled else "now"
            request = f"GET /api/sessions/{session}/stream?from={place} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
            opened: asyncio.Future[None] = loop.create_future()
            plain = socket.socket()
            if stalled:
                plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL)
            plain.setblocking(False)
            await loop.sock_connect(plain, ("127.0.0.1", self._port))
            waits = None if stalled else (self.waits if counted else [])
            transport, _ = await loop.create_connection(_reader(request, waits, opened), sock=plain)
            group.append(transport)
            await opened

    def drop(self, name: str) -> None:
        """Hang up on a group."""
        for transport in self._open.pop(name, []):
            transport.abort()


def _reader(request: bytes, waits: list[float] | None, opened: "asyncio.Future[None]") -> Any:
    return lambda: Reader(request, waits, opened)


async def serve_clients(port: int, sessions: list[str]) -> None:
    """Do what the standard input says, a JSON line each, and answer each with a line."""
    clients, loop = Clients(port, sessions), asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        wish = json.loads(line)
        told: dict[str, Any] = {}
        if wish["do"] == "connect":
            await clients.connect(wish["name"], wish["count"], stalled=wish["stalled"], counted=wish["counted"])
        elif wish["do"] == "drop":
            clients.drop(wish["name"])
        else:
            clients.waits.clear()
            await asyncio.sleep(wish["seconds"])
            waits = sorted(clients.waits) or [float("inf")]
            told = {
                "events": len(waits),
                **quantiles(waits),
                "p95": round(waits[int(0.95 * len(waits))], 2),
            }
        print(json.dumps(told), flush=True)


class ClientProcess:
    """The process with the clients."""

    def __init__(self, port: int, sessions: list[str]) -> None:
        """Start it."""
        command = [sys.executable, "-m", "benchmarks.streams", "--clients-of", str(port), *sessions]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def do(self, **wish: Any) -> dict[str, Any]:
        """Have it do something."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(wish) + "\n")
        self._process.stdin.flush()
        told: dict[str, Any] = json.loads(self._process.stdout.readline())
        return told

    def stop(self) -> None:
        """End it."""
        self._process.communicate(timeout=20)


class Talk:
    """Posts captions round the sessions at a steady rate; the text begins with the time it was posted."""

    def __init__(self, client: httpx.Client, sessions: list[str], per_second: float) -> None:
        """Talk in `sessions` until `stop`."""
        self._client, self._sessions, self._pause = client, sessions, 1 / per_second
        self._stopped = threading.Event()
        self.posted = self.late = 0
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        due = time.monotonic()
        while not self._stopped.is_set():
            number, session = divmod(self.posted, len(self._sessions))
            speaker, text = LINES[number % len(LINES)]
            start_s = 10_000 + number * 10.0
            caption = {"caption_id": f"t{number}", "speaker": speaker, "start_s": start_s, "end_s": start_s + 2}
            body = {"captions": [{**caption, "text": f"T{time.monotonic_ns()} {text}"}]}
            self._client.post(f"/api/sessions/{self._sessions[session]}/captions", json=body).raise_for_status()
            self.posted += 1
            due += self._pause
            left = due - time.monotonic()
            self.late += left < 0
            if left > 0:
                time.sleep(left)
            else:
                due = time.monotonic()

    def stop(self) -> None:
        """Stop talking."""
        self._stopped.set()
        self._thread.join(20)


def counted(client: httpx.Client, name: str) -> float:
    """Give a figure of /metrics."""
    found = re.search(rf"^{name} ([\d.e+]+)$", client.get("/metrics").text, re.MULTILINE)
    return float(found.group(1)) if found else 0.0


@contextlib.contextmanager
def engine(folder: Path, log: str, stalled_s: float) -> Iterator[tuple[httpx.Client, int]]:
    """Give a client of a running engine, and the id of its process."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    env = {
        **os.environ,
        "REJOINDER_DATA_DIR": str(folder / "data"),
        "REJOINDER_LOG": log,
        "REJOINDER_STREAMS": "2000",
        "REJOINDER_STALLED_S": str(stalled_s),
        "REJOINDER_PORT": str(port),
        "REJOINDER_QA_PORT": str(port),
    }
    with (folder / "engine.out").open("ab") as out:
        child = subprocess.Popen([sys.executable, "-m", "rejoinder", "up"], env=env, stdout=out, stderr=out)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30, trust_env=False) as client:
            end = time.monotonic() + 60
            while time.monotonic() < end:
                with contextlib.suppress(httpx.HTTPError):
                    if client.get("/api/health").is_success:
                        break
                time.sleep(0.1)
            yield client, child.pid
    finally:
        child.terminate()
        child.wait(20)


def prepare(client: httpx.Client, sessions: int, history: int) -> list[str]:
    """Open sessions that have talked before; gives their ids."""
    made = []
    for number in range(sessions):
        reply = client.post("/api/sessions", json={"participants": PEOPLE})
        made.append(str(reply.json()["session_id"]))
        captions = [
            {
                "caption_id": f"h{one}",
                "speaker": LINES[one % len(LINES)][0],
                "start_s": one * 3.0,
                "end_s": one * 3.0 + 2,
                "text": LINES[(one + number) % len(LINES)][1],
            }
            for one in range(history)
        ]
        client.post(f"/api/sessions/{made[-1]}/captions", json={"captions": captions}).raise_for_status()
    end = time.monotonic() + 240
    while time.monotonic() < end:
        if all(flow["behind_s"] == 0 for flow in client.get("/api/health").json()["flows"]):
            break
        time.sleep(0.5)
    return made


def measure(folder: Path, log: str, options: argparse.Namespace) -> dict[str, Any]:
    """Measure one log: rounds without and with stalled clients, turn by turn."""
    folder.mkdir()
    few = options.count // 5
    with engine(folder, log, options.stalled) as (client, pid):
        sessions = prepare(client, options.sessions, options.history)
        before_mb = round(memory_mb(pid, "VmRSS"), 1)
        clients = ClientProcess(client.base_url.port or 0, sessions)
        clients.do(do="connect", name="counted", count=options.count - few, stalled=False, counted=True)
        talk = Talk(client, sessions, options.rate)
        rounds: list[dict[str, Any]] = []
        for _ in range(options.rounds):
            one: dict[str, Any] = {}
            for name, stalled in (("all_read", False), ("stalled", True)):
                cut = counted(client, "rejoinder_streams_cut_total")
                clients.do(do="connect", name="others", count=few, stalled=stalled, counted=False)
                time.sleep(1.0)
                cpu, began = cpu_s(pid), time.monotonic()
                one[name] = clients.do(do="measure", seconds=options.seconds)
                one[name]["share_of_a_core"] = round((cpu_s(pid) - cpu) / (time.monotonic() - began), 2)
                one[name]["rss_mb"] = round(memory_mb(pid, "VmRSS"), 1)
                if stalled:
                    end = time.monotonic() + options.stalled * 2
                    while time.monotonic() < end and counted(client, "rejoinder_streams_cut_total") < cut + few:
                        time.sleep(0.2)
                    one["cut"] = counted(client, "rejoinder_streams_cut_total") - cut
                clients.do(do="drop", name="others")
                time.sleep(1.0)
            rounds.append(one)
            print(json.dumps(one), flush=True)
        talk.stop()
        clients.stop()
        ratios = sorted(one["stalled"]["p95"] / one["all_read"]["p95"] for one in rounds)
        return {
            "p95_ms": {name: [one[name]["p95"] for one in rounds] for name in ("all_read", "stalled")},
            "p95_ratio": {"median": round(ratios[len(ratios) // 2], 3), "all": [round(one, 3) for one in ratios]},
            "rounds": rounds,
            "captions_posted": talk.posted,
            "posts_late": talk.late,
            "stalled_cut": [one["cut"] for one in rounds],
            "rss_mb": {"before_clients": before_mb, "peak": round(memory_mb(pid, "VmHWM"), 1)},
        }


def main() -> None:
    """Measure, print, store; or be the process with the clients."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1_000, help="clients; every fifth stalls in every second round")
    parser.add_argument("--sessions", type=int, default=50)
    parser.add_argument("--history", type=int, default=600, help="captions said before anybody connects")
    parser.add_argument("--rate", type=float, default=20.0, help="captions a second over all sessions")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--stalled", type=float, default=20.0, help="REJOINDER_STALLED_S")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--logs", nargs="+", choices=("embedded", "kafka"), default=["embedded", "kafka"])
    parser.add_argument("--json", type=Path, default=RESULTS)
    parser.add_argument("--clients-of", nargs="+", default=[], help=argparse.SUPPRESS)
    options = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_NOFILE, (8_192, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    if options.clients_of:
        asyncio.run(serve_clients(int(options.clients_of[0]), options.clients_of[1:]))
        return
    result: dict[str, Any] = json.loads(options.json.read_text()) if options.json.exists() else {}
    result["machine"] = {"cores": os.cpu_count(), "python": platform.python_version()}
    result["clients"] = {"all": options.count, "stalled": options.count // 5, "sessions": options.sessions}
    result["captions_per_second"] = options.rate
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        for kind in options.logs:
            log = ""
            if kind == "kafka":
                from tests.kafka.finding import real_kafka

                address, _ = stack.enter_context(real_kafka(Path(name) / "broker"))
                log = f"kafka://{address}"
                command = [sys.executable, "-m", "rejoinder", "topics", "apply", "--log", log]
                subprocess.run(command, check=True, capture_output=True, timeout=60)
            result[kind] = measure(Path(name) / kind, log, options)
    print(json.dumps({kind: result[kind]["p95_ratio"] for kind in options.logs}))
    options.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
