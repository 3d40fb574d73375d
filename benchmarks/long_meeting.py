"""A meeting of hours through the real flows: do captions come as soon at its end, and does memory stay bounded?

    uv run python -m benchmarks.long_meeting --audio DIR [--hours 3] [--live 90] [--share 0.2] [--model tiny.en]
        [--out benchmarks/results/long_meeting.json]

One track of pieces of the recordings, six seconds of each with silence between, so that somebody speaks for `--share`
of the time. Its first and its last `--live` seconds are sent as a microphone sends, and the waits for final captions of
the two are compared. What lies between is sent as fast as it is heard, never more than half a minute ahead; for each
ten minutes of it: processor time, memory of the process, and size of the snapshots. Words and speakers are both heard.
"""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.feeding import CHUNK, Feeding, Samples, sound_in
from rejoinder.engine import Engine
from rejoinder.evaluation.hearing import engine_for
from rejoinder.player import percentile
from rejoinder.settings import Settings
from schemas.audio import SAMPLE_RATE_HZ

PIECE = 6 * SAMPLE_RATE_HZ
AHEAD_S = 30
BLOCK_S = 600
LOOK_S, LONGEST_S = 0.02, 300.0


def meeting_of(sound: Samples, seconds: float, share: float) -> Samples:
    """Give a meeting in which pieces of a sound are heard, one after the other, for a share of the time."""
    period = int(PIECE / share)
    pieces = [sound[at : at + PIECE] for at in range(0, len(sound) - PIECE + 1, PIECE)] or [np.resize(sound, PIECE)]
    count = int(seconds * SAMPLE_RATE_HZ) // CHUNK * CHUNK
    meeting = np.zeros(count, np.int16)
    for number, at in enumerate(range(0, count, period)):
        meeting[at : at + PIECE] = pieces[number % len(pieces)][: count - at]
    return meeting


def wait_until_heard(engine: Engine) -> None:
    """Wait until the flows have read all sound and nothing waits for a model."""
    end = time.monotonic() + LONGEST_S
    while any(flow.behind_records for flow in engine.view.flows()) or any(
        waiting for hop in engine.hops() for waiting in hop.queues.values()
    ):
        if time.monotonic() > end or engine.view.problems():
            raise SystemExit(f"the flows do not go on: {list(engine.view.problems())}")
        time.sleep(LOOK_S)


def memory_mb() -> float:
    """Give the resident memory of this process, MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return round(pages * os.sysconf("SC_PAGE_SIZE") / 1e6, 1)


def snapshots_kb(folder: Path) -> float:
    """Give the size of the flows' snapshots, KB."""
    return round(sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e3, 1)


def live(feeding: Feeding, sound: Samples, *, last: bool) -> dict[str, Any]:
    """Send sound in real time; give how long its final captions were waited for."""
    known = len(feeding.finals)
    feeding.in_real_time([sound], last=last)
    feeding.settle()
    waits = [one.wait_s for one in feeding.finals[known:]]
    half_s, most_s = (percentile(waits, share) or 0.0 for share in (0.5, 0.9))
    return {"finals": len(waits), "wait_p50_s": round(half_s, 2), "wait_p90_s": round(most_s, 2)}


def fast(feeding: Feeding, sound: Samples, recovery: Path) -> dict[str, Any]:
    """Send ten minutes as fast as they are heard."""
    known, cpu_s, began = len(feeding.finals), time.process_time(), time.monotonic()
    for number, at in enumerate(range(0, len(sound), CHUNK), start=1):
        feeding.send([sound[at : at + CHUNK]])
        if number * CHUNK % (AHEAD_S * SAMPLE_RATE_HZ) == 0:
            wait_until_heard(feeding.engine)
    seconds = len(sound) / SAMPLE_RATE_HZ
    return {
        "seconds": seconds, "cpu_s_per_audio_s": round((time.process_time() - cpu_s) / seconds, 4),
        "took_s": round(time.monotonic() - began, 1), "memory_mb": memory_mb(), "snapshots_kb": snapshots_kb(recovery),
        "finals": len(feeding.finals) - known,
    }  # fmt: skip


def measure(settings: Settings, meeting: Samples, live_s: float) -> dict[str, Any]:
    """Send a meeting; gives its live begin and end, and what lies between by tens of minutes."""
    edge = int(live_s * 10) * CHUNK
    between = meeting[edge:-edge]
    with engine_for(settings) as engine, Feeding(engine, ["meeting"]) as feeding:
        first = live(feeding, meeting[:edge], last=False)
        print("first", first, flush=True)
        blocks = []
        for at in range(0, len(between), BLOCK_S * SAMPLE_RATE_HZ):
            part = between[at : at + BLOCK_S * SAMPLE_RATE_HZ]
            blocks.append(fast(feeding, part, settings.data_dir / "recovery"))
            print(blocks[-1], flush=True)
        last = live(feeding, meeting[-edge:], last=True)
        print("last", last, flush=True)
    return {"live_s": live_s, "first": first, "last": last, "blocks": blocks}


def main() -> None:
    """Run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--audio", type=Path, required=True, help="folder of recordings, or one")
    parser.add_argument("--hours", type=float, default=3.0)
    parser.add_argument("--live", type=float, default=90.0, help="seconds in real time at both ends")
    parser.add_argument("--share", type=float, default=0.2, help="share of the time in which somebody speaks")
    parser.add_argument("--model", default="tiny.en")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/long_meeting.json"))
    given = parser.parse_args()
    meeting = meeting_of(sound_in(given.audio), given.hours * 3600, given.share)
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(
            data_dir=Path(folder), port=0, qa_port=0, llm="off", speech_model=given.model, speech_stalled_s=60,
        )  # fmt: skip
        result = measure(settings, meeting, given.live)
    asked = {"hours": given.hours, "share": given.share, "model": given.model}
    given.out.write_text(json.dumps(asked | result, indent=1) + "\n")


if __name__ == "__main__":
    main()
