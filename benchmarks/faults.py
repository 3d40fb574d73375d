"""Kills, pauses and fills up everything, again and again, and counts what was lost, missing or told twice.

``uv run python -m benchmarks.faults`` runs the engine on the embedded log and, as processes per role, on a real Kafka.
While captions are posted and followed, random processes are killed with SIGKILL at random moments (`--seed`), the
broker is stopped and paused, and the disk is made full. At the end every acknowledged caption must be there, and every
question answered exactly once as a client saw it. It writes ``benchmarks/results/faults.json`` and fails when a count
must be zero is not. ``--kills 200`` is the full run; with ``--at-once 3`` up to three processes are killed within
seconds of each other, which is harsher and takes less time.
"""

import argparse
import contextlib
import functools
import json
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from benchmarks.latency import quantiles
from benchmarks.processes import memory_mb
from rejoinder.player import events_of
from rejoinder.supervisor import free_addresses

RESULTS = Path(__file__).parent / "results" / "faults.json"
FLOWS = {"utterances": ("utterances",), "questions": ("questions", "memory"), "answers": ("answers",)}
MUST_BE_ZERO = (
    "captions_lost",
    "answers_missing",
    "answers_not_shown_to_the_follower",
    "answered_twice_in_the_log",
    "answered_twice_as_a_client_saw",
)
PEOPLE = [{"id": "ann", "name": "Ann", "role": "interviewer"}, {"id": "me", "is_user": True}]


@dataclass
class Children:
    """The engine's processes; each is started again when it ends, as systemd would do."""

    folder: Path
    env: dict[str, str]
    commands: dict[str, list[str]]
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    stopping: bool = False
    starts: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        for name in self.commands:
            self._start(name)
        threading.Thread(target=self._keep, daemon=True).start()

    def _start(self, name: str) -> None:
        with (self.folder / f"{name}.out").open("ab") as out:
            self.running[name] = subprocess.Popen(
                [sys.executable, "-m", "rejoinder", *self.commands[name]],
                env={**os.environ, **self.env},
                stdout=out,
                stderr=out,
            )
        self.starts[name] += 1

    def _keep(self) -> None:
        while not self.stopping:
            for name, child in list(self.running.items()):
                if child.poll() is not None and not self.stopping:
                    time.sleep(0.1)
                    self._start(name)
            time.sleep(0.02)

    def kill(self, name: str) -> None:
        """Kill one with SIGKILL and wait until it is gone."""
        child = self.running[name]
        child.kill()
        child.wait(20)

    def peak_mb(self, name: str) -> float:
        """Give the most memory that the running process ever held, MB."""
        with contextlib.suppress(OSError):
            return memory_mb(self.running[name].pid, "VmHWM")
        return 0.0

    def stop(self) -> None:
        """End all in order."""
        self.stopping = True
        for child in self.running.values():
            if child.poll() is None:
                child.terminate()
        for child in self.running.values():
            try:
                child.wait(15)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


class Followed:
    """One client of one session: reads the stream, comes back with the last id it saw, keeps what it was shown."""

    def __init__(self, url: str, session: str, stopped: threading.Event) -> None:
        self.answers: Counter[str] = Counter()
        self.answered_at: dict[str, float] = {}
        self.texts: dict[str, str] = {}
        self._url, self._stopped = f"{url}/api/sessions/{session}/stream", stopped
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        cursor = ""
        while not self._stopped.is_set():
            headers = {"Last-Event-ID": cursor} if cursor else {}
            with contextlib.suppress(httpx.HTTPError, json.JSONDecodeError):
                timeout = httpx.Timeout(5, read=25)
                with httpx.stream("GET", self._url, headers=headers, timeout=timeout, trust_env=False) as reply:
                    for identity, event in events_of(reply.iter_lines()) if reply.status_code == 200 else ():
                        cursor = identity or cursor
                        if event["type"] == "question":
                            self.texts[event["question_id"]] = event["text"]
                        elif event["type"] == "answer":
                            self.answers[event["question_id"]] += 1
                            self.answered_at.setdefault(event["question_id"], time.monotonic())
                        if event["type"] == "end" or self._stopped.is_set():
                            break
            time.sleep(0.1)


class Caller:
    """Posts with one kept connection until it is acknowledged; counts the tries that were not."""

    def __init__(self, url: str) -> None:
        self._client = httpx.Client(base_url=url, timeout=5, trust_env=False)
        self.retries = 0

    def insist(self, path: str, body: dict[str, Any], key: str, seconds: float = 240.0) -> dict[str, Any]:
        """Post under an idempotency key until it is accepted."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            with contextlib.suppress(httpx.HTTPError):
                reply = self._client.post(path, json=body, headers={"Idempotency-Key": key})
                if reply.is_success:
                    found: dict[str, Any] = reply.json()
                    return found
            self.retries += 1
            time.sleep(0.05)
        raise TimeoutError(f"{path} was not accepted within {seconds:.0f} s")


class Talk:
    """One session: what was acknowledged in it, what was asked in it, and a client that follows it."""

    def __init__(self, url: str, number: int, stopped: threading.Event) -> None:
        self.caller = Caller(url)
        self.session = str(
            self.caller.insist("/api/sessions", {"participants": PEOPLE}, f"open-{number}")["session_id"]
        )
        self.acknowledged: list[str] = []
        self.asked: list[str] = []
        self.follower = Followed(url, self.session, stopped)

    def say(self, speaker: str, text: str) -> None:
        """Post one caption until it is acknowledged."""
        number = len(self.acknowledged) + 1
        caption = {"caption_id": f"c{number}", "speaker": speaker, "start_s": number * 20.0, "end_s": number * 20.0 + 3}
        path = f"/api/sessions/{self.session}/captions"
        self.caller.insist(path, {"captions": [{**caption, "text": text}]}, f"{self.session}-{number}")
        self.acknowledged.append(f"c{number}")

    def ask(self) -> str:
        """Ask what nobody asked before in this session; gives its words."""
        # The user speaks first: two questions of one speaker in a row would rightly count as one.
        self.say("me", f"We moved {len(self.acknowledged)} boxes to the depot last week.")
        text = f"How many wagons are in train {len(self.acknowledged) + 1000}?"
        self.say("ann", text)
        self.asked.append(text)
        return text


class Load:
    """Sessions in which people talk all the time, and quiet ones in which the time to an answer is taken."""

    def __init__(self, url: str, sessions: int, pause_s: float, probes: int = 3) -> None:
        self.url, self._pause_s = url, pause_s
        self.stopped, self._quiet = threading.Event(), threading.Event()
        self.talks = [Talk(url, number, self.stopped) for number in range(sessions)]
        self.probes = [Talk(url, sessions + number, self.stopped) for number in range(probes)]
        self._threads = [threading.Thread(target=self._run, args=(one,), daemon=True) for one in self.talks]

    @property
    def everything(self) -> list[Talk]:
        """Give all sessions."""
        return [*self.talks, *self.probes]

    @property
    def retries(self) -> int:
        """Give how many posts were not accepted at once."""
        return sum(talk.caller.retries for talk in self.everything)

    def start(self) -> None:
        """Begin to talk."""
        for thread in self._threads:
            thread.start()

    def _run(self, talk: Talk) -> None:
        while not self._quiet.wait(self._pause_s):
            with contextlib.suppress(TimeoutError):
                talk.ask()

    def quiet(self) -> None:
        """Stop talking; followers go on."""
        self._quiet.set()
        for thread in self._threads:
            thread.join(60)


def until(condition: Callable[[], bool], seconds: float) -> bool:
    """Wait for a condition; gives whether it came."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    return False


def answered(url: str, session: str) -> dict[str, int]:
    """Give, by question, how many complete answers the API shows."""
    with httpx.Client(base_url=url, timeout=30, trust_env=False) as client:
        found = _read(client, f"/api/sessions/{session}/answers", {})
    return Counter(row["question"] for row in found["answers"] if row["status"] == "complete")


def recovery_s(load: Load, number: int, began: float) -> float:
    """Give the time from a fault until a question that was asked right after it has been answered."""
    talk = load.probes[number % len(load.probes)]
    text, follower = talk.ask(), talk.follower

    def came() -> bool:
        return any(words == text and follower.answers[one] for one, words in list(follower.texts.items()))

    if not until(came, 120):
        raise TimeoutError(f"no answer 120 s after a fault: {text}")
    return time.monotonic() - began


def verdict(load: Load) -> dict[str, Any]:
    """Count, after everything is quiet, what was lost, missing or told twice."""

    def settled() -> bool:
        with contextlib.suppress(httpx.HTTPError):
            return all(
                set(talk.asked) <= set(answered(load.url, talk.session)) & set(_shown(talk)) for talk in load.everything
            )
        return False

    until(settled, 60)
    found = Counter[str]()
    for talk in load.everything:
        kept = {one["caption_id"] for one in _captions(load.url, talk.session)}
        lying, shown = answered(load.url, talk.session), _shown(talk)
        found["captions_acknowledged"] += len(talk.acknowledged)
        found["captions_lost"] += len(set(talk.acknowledged) - kept)
        found["questions"] += len(talk.asked)
        found["answers_missing"] += sum(text not in lying for text in talk.asked)
        found["answers_not_shown_to_the_follower"] += sum(text not in shown for text in talk.asked)
        found["answered_twice_in_the_log"] += sum(count > 1 for count in lying.values())
        found["answered_twice_as_a_client_saw"] += sum(count > 1 for count in shown.values())
    load.stopped.set()
    return {**{name: 0 for name in MUST_BE_ZERO}, **found, "posts_tried_again": load.retries}


def _shown(talk: Talk) -> Counter[str]:
    """Give, by question, how many closed answers the session's follower was shown."""
    shown = Counter[str]()
    for identity, count in list(talk.follower.answers.items()):
        shown[talk.follower.texts.get(identity, identity)] += count
    return shown


def _read(client: httpx.Client, path: str, params: dict[str, Any], seconds: float = 120.0) -> dict[str, Any]:
    """Read from the API; where it asks to come again later, as a client should: else an hour's run is in vain."""
    end = time.monotonic() + seconds
    while (reply := client.get(path, params=params)).status_code == 503 and time.monotonic() < end:
        time.sleep(float(reply.headers.get("retry-after", "1")))
    found: dict[str, Any] = reply.raise_for_status().json()
    return found


def _captions(url: str, session: str) -> Iterator[dict[str, Any]]:
    cursor = ""
    with httpx.Client(base_url=url, timeout=30, trust_env=False) as client:
        while True:
            asked = {"limit": 1000} | ({"cursor": cursor} if cursor else {})
            page = _read(client, f"/api/sessions/{session}/captions", asked)
            if not page["captions"]:
                return
            yield from page["captions"]
            cursor = page["cursor"]


@contextlib.contextmanager
def full_disk(pid: int, room: int) -> Iterator[None]:
    """Let a process write no file larger than `room` bytes: its writes fail as on a full disk."""
    soft, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (room, hard))
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (soft, hard))


@dataclass(frozen=True, slots=True)
class Target:
    """What is killed, and what brings it back where nothing else does."""

    name: str
    kill: Callable[[], Any]
    revive: Callable[[], Any] = lambda: None


def volleys(targets: Sequence[Target], each: int, at_once: int, chance: random.Random) -> Iterator[list[Target]]:
    """Give the targets in random order, up to `at_once` different ones together, every one of them `each` times."""
    left = {target.name: each for target in targets}
    while ready := [target for target in targets if left[target.name]]:
        # Those with most left first, so that nothing is left over to be killed alone.
        chosen = sorted(ready, key=lambda target: (-left[target.name], chance.random()))[:at_once]
        chance.shuffle(chosen)
        for target in chosen:
            left[target.name] -= 1
        yield chosen


def kills(load: Load, targets: Sequence[Target], each: int, at_once: int, seed: int) -> dict[str, Any]:
    """Kill every target `each` times at random moments; gives recovery times by target.

    Of several that are killed within a second of each other, the time is that from the first kill on, and counted under
    the name "together".
    """
    chance, took, done = random.Random(seed), dict[str, list[float]](), Counter[str]()
    for volley in volleys(targets, each, at_once, chance):
        began = 0.0
        for target in volley:
            time.sleep(chance.uniform(0.05, 1.0))
            began = began or time.monotonic()
            target.kill()
            done[target.name] += 1
        for target in volley:
            target.revive()
        seconds = recovery_s(load, done.total(), began)
        took.setdefault(volley[0].name if len(volley) == 1 else "together", []).append(seconds)
        print(f"  {', '.join(target.name for target in volley)}: {seconds:.1f} s", flush=True)
    return {"kills": dict(done), **{name: {"times": len(one), **quantiles(one)} for name, one in took.items()}}


def embedded(each: int, seed: int) -> dict[str, Any]:
    """One process over the SQLite log: killed, then its disk made full."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        port = free_addresses(1)[0].rpartition(":")[2]
        url = f"http://127.0.0.1:{port}"
        env = {"REJOINDER_DATA_DIR": str(folder / "data"), "REJOINDER_LOG_LEVEL": "error"}
        children = Children(folder, env, {"engine": ["up", "--port", port, "--qa-port", port]})
        try:
            load = Load(url, sessions=6, pause_s=0.2)
            load.start()
            recovery = kills(load, [Target("engine", lambda: children.kill("engine"))], each, 1, seed)
            pid, log = children.running["engine"].pid, folder / "data" / "log.sqlite3"
            size = max(log.stat().st_size, log.with_name(log.name + "-wal").stat().st_size)
            print("  disk full", flush=True)
            refused, before = 0, load.retries
            with full_disk(pid, size // 2):
                time.sleep(5)
                refused = load.retries - before
            disk_s = recovery_s(load, 0, time.monotonic())
            print(f"  recovered after {disk_s:.1f} s", flush=True)
            load.quiet()
            result = verdict(load)
            peak = children.peak_mb("engine")
        finally:
            children.stop()
        result |= {"recovery_s": recovery, "disk_full": {"posts_refused": refused, "recovery_s": round(disk_s, 2)}}
        return result | {"peak_mb": round(peak), "starts": dict(children.starts)}


def raw_repeats(url: str) -> dict[str, int]:
    """Give how many records lie in the topics, and how many of them are repeats that every reader leaves out."""
    from eventlog import open_log
    from schemas.topics import TOPICS

    log = open_log(url, follow=())
    records = repeats = 0
    for topic in TOPICS:
        for partition in range(log.partitions(topic)):
            ids: set[str] = set()
            start, end = 0, log.end(topic, partition)
            while start < end and (found := log.read(topic, partition, start, 1_000)):
                records += len(found)
                repeats += sum(one.event_id in ids for one in found)
                ids.update(one.event_id for one in found)
                start = found[-1].offset + 1
    log.close()
    return {"raw_records": records, "raw_repeats": repeats}


def on_kafka(plan: argparse.Namespace) -> dict[str, Any]:
    """A process per role over a real broker: all killed, the broker stopped and paused, disks made full."""
    from eventlog.kafka_client import KafkaOptions, apply_topics
    from tests.kafka.broker import Broker
    from tests.vectors import vector_server

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        broker = Broker(folder / "broker").start()
        apply_topics(KafkaOptions(broker.address, partitions=4))
        port = free_addresses(1)[0].rpartition(":")[2]
        with vector_server(folder) as vectors:
            env = {
                "REJOINDER_DATA_DIR": str(folder / "data"),
                "REJOINDER_LOG": f"kafka://{broker.address}",
                "REJOINDER_VECTORS_URL": vectors,
                "REJOINDER_LOG_LEVEL": "error",
            }
            commands = {"api": ["api", "--port", port, "--qa-port", port]}
            commands |= {name: ["flow", *names, "--process-id", "0"] for name, names in FLOWS.items()}
            children = Children(folder, env, commands)
            try:
                return _kafka_faults(children, broker, f"http://127.0.0.1:{port}", plan)
            finally:
                children.stop()
                broker.stop()


def _kafka_faults(children: Children, broker: Any, url: str, plan: argparse.Namespace) -> dict[str, Any]:
    load = Load(url, sessions=6, pause_s=0.25)
    load.start()

    targets = [Target(name, functools.partial(children.kill, name)) for name in ("api", *FLOWS)]
    targets.append(Target("broker", broker.kill, broker.start))
    recovery = kills(load, targets, plan.kills, plan.at_once, plan.seed)
    more: dict[str, Any] = {}
    broker.stop()
    time.sleep(plan.away)
    peaks = {name: round(children.peak_mb(name)) for name in children.running}
    began = time.monotonic()
    broker.start()
    more["broker_stopped"] = {
        "seconds": plan.away,
        "recovery_s": round(recovery_s(load, 0, began), 2),
        "peak_mb_while_away": peaks,
    }
    print(f"  broker stopped: {more['broker_stopped']}", flush=True)
    broker.send(signal.SIGSTOP)
    time.sleep(plan.paused)
    began = time.monotonic()
    broker.send(signal.SIGCONT)
    more["broker_paused"] = {"seconds": plan.paused, "recovery_s": round(recovery_s(load, 1, began), 2)}
    print(f"  broker paused: {more['broker_paused']}", flush=True)
    more["disk_full"] = _disks(children, broker, load)
    load.quiet()
    log = f"kafka://{broker.address}"
    return verdict(load) | raw_repeats(log) | {"recovery_s": recovery, **more, "starts": dict(children.starts)}


def _disks(children: Children, broker: Any, load: Load) -> dict[str, Any]:
    """Fill the disk of the recovery store, then that of the log."""
    found: dict[str, Any] = {}
    with full_disk(children.running["questions"].pid, 8_192):
        time.sleep(4)
    found["recovery_store_recovery_s"] = round(recovery_s(load, 2, time.monotonic()), 2)
    before = load.retries
    with full_disk(broker.process.pid, 4_096):
        time.sleep(6)
    stood = broker.process.poll() is None
    found["broker_outlived_it"] = stood
    if not stood:
        broker.start()
    else:
        # A broker takes a log folder that failed out of use until it is started again.
        broker.kill()
        broker.start()
    found["log_posts_refused"] = load.retries - before
    found["log_recovery_s"] = round(recovery_s(load, 3, time.monotonic()), 2)
    print(f"  disk full: {found}", flush=True)
    return found


def main() -> None:
    """Run, print, store; end with 1 when something was lost, missing or told twice."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=10, help="of each process")
    parser.add_argument("--at-once", type=int, default=1, help="different processes killed together")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--log", choices=("embedded", "kafka", "both"), default="both")
    parser.add_argument("--away", type=float, default=60.0, help="seconds the broker is stopped")
    parser.add_argument("--paused", type=float, default=30.0, help="seconds the broker is paused")
    parser.add_argument("--json", type=Path, default=RESULTS)
    options = parser.parse_args()
    # A run on one log leaves what is known of the other; how often each was killed stands with its recovery times.
    kept = options.json.read_text() if options.log != "both" and options.json.exists() else ""
    result: dict[str, Any] = {**(json.loads(kept) if kept.strip() else {}), "seed": options.seed}
    result["at_once"] = options.at_once
    if options.log in ("embedded", "both"):
        print("embedded", flush=True)
        result["embedded"] = embedded(options.kills, options.seed)
    if options.log in ("kafka", "both"):
        print("kafka", flush=True)
        result["kafka"] = on_kafka(options)
    text = json.dumps(result, indent=1)
    print(text)
    options.json.write_text(text + "\n")
    wrong = [
        f"{part}: {name} = {result[part][name]}"
        for part in ("embedded", "kafka")
        for name in MUST_BE_ZERO
        if part in result and result[part][name]
    ]
    if wrong:
        sys.exit("\n".join(wrong))


if __name__ == "__main__":
    main()
