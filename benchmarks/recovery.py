"""What a hundred thousand sessions leave behind: size of the snapshots, time of a restart, memory of the flows.

``uv run python -m benchmarks.recovery`` lets sessions be opened, speak and be closed, a thousand at a time, as a year
of use would, then kills the flows and starts them again. Counted is how the recovery files grow with the number of
sessions that ever were, and how long a restart takes until a caption that was posted meanwhile has become an
utterance. It writes ``benchmarks/results/recovery.json``.
"""

import argparse
import contextlib
import json
import os
import platform
import tempfile
import time
from itertools import chain
from pathlib import Path
from typing import Any

from benchmarks.scale import Flows
from benchmarks.talk import Crowd

RESULTS = Path(__file__).parent / "results" / "recovery.json"
WAVE = 1_000
AHEAD = 4 * WAVE
"""Records left to read when the next wave comes: the flows never wait for work."""
RESTARTS = 3
FORGOTTEN_S = 65.0
"""The flows forget a closed session five seconds after; answers do after sixty, so that the waves overlap there. Half
of the sessions come after such a pause: their snapshots must fit into what the first half left free."""


def files_mb(folder: Path) -> float:
    """Give the size of the recovery files, MB."""
    sizes = 0
    for one in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):  # files come and go
            sizes += one.stat().st_size if one.is_file() else 0
    return round(sizes / 1e6, 2)


def waves(one: Flows, numbers: range, captions: int) -> list[dict[str, Any]]:
    """Let sessions live and end, a wave at a time; gives how it stood after each fifth."""
    along: list[dict[str, Any]] = []
    for wave in numbers:
        crowd = Crowd(f"w{wave}", WAVE, time.time() - 3600)
        said = crowd.captions(0, captions * WAVE)
        opened = (crowd.opened(place) for place in range(WAVE))
        one.give(chain(opened, said, (crowd.closed(place, captions) for place in range(WAVE))))
        one.keep_up(AHEAD)
        if (wave + 1) % max(1, len(numbers) // 5) == 0:
            told = one.settle()
            along.append(
                {
                    "sessions": (wave + 1) * WAVE,
                    "recovery_mb": files_mb(one.folder / "recovery"),
                    "rss_mb": round(told["rss_mb"], 1),
                }
            )
            print(json.dumps(along[-1]), flush=True)
    return along


def restart(one: Flows, name: str) -> dict[str, float]:
    """Kill the flows, post a caption, start them again; gives seconds until it has become an utterance, and CPU's."""
    one.process.kill()
    one.process.communicate()
    crowd = Crowd(name, 1, time.time() - 10)
    one.give([crowd.opened(0), crowd.caption(0, 0)])
    cursor, began = one.log.cursor_start(), time.monotonic()
    one.start()
    while not one.log.read_key(crowd.session(0), ["utterances"], cursor, 1):
        time.sleep(0.02)
    took_s = time.monotonic() - began
    return {"s": round(took_s, 2), "cpu_s": round(one.ask()["cpu_s"], 2)}


def measure(folder: Path, sessions: int, captions: int) -> dict[str, Any]:
    """Measure once; `captions` are said in each session."""
    one = Flows(folder)
    try:
        one.settle()
        fresh = [restart(one, f"fresh{number}") for number in range(RESTARTS)]
        one.settle()
        half = sessions // WAVE // 2
        along = waves(one, range(half), captions)
        time.sleep(FORGOTTEN_S)
        one.settle()
        along += waves(one, range(half, 2 * half), captions)
        time.sleep(FORGOTTEN_S)
        after = [restart(one, f"after{number}") for number in range(RESTARTS)]
        one.settle()
        told = {"restart": {"empty": fresh, "after": after}, "recovery_mb": files_mb(one.folder / "recovery")}
    finally:
        one.close()
    return {"sessions": sessions, "captions_each": captions, "along": along, **told}


def main() -> None:
    """Measure, print, store."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=int, default=100_000)
    parser.add_argument("--captions", type=int, default=2)
    parser.add_argument("--json", type=Path, default=RESULTS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        result = {
            "machine": {"cores": os.cpu_count(), "python": platform.python_version()},
            "embedded": measure(Path(name), options.sessions, options.captions),
        }
    print(json.dumps(result, indent=1))
    options.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
