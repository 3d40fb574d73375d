"""A meeting of hours through the real flows: do captions come as soon at its end, and does memory stay bounded?

    uv run python -m benchmarks.long_meeting --audio DIR [--hours 3] [--live 40] [--share 0.05] [--model tiny.en]
        [--within 3600] [--out benchmarks/results/long_meeting.json]

One track of pieces of the recordings, six seconds of each with silence between. Its first and its last `--live`
seconds, in which somebody speaks half of the time, are sent as a microphone sends, and the waits for final captions
of the two are compared. What lies between, with speech for `--share` of the time, is sent as fast as it is heard, a
second at a time and never more than half a minute ahead; for each ten minutes of it: processor time, memory of the
process, and size of the snapshots. Final captions and speakers are both heard; guesses are not asked for. What lies
between is cut short after `--within` seconds.
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
    for number, at in enumerate(range(0, len(sound), SAMPLE_RATE_HZ), start=1):
        feeding.send([sound[at : at + SAMPLE_RATE_HZ]])
        if number % AHEAD_S == 0:
            wait_until_heard(feeding.engine)
    seconds = len(sound) / SAMPLE_RATE_HZ
    return {
        "seconds": seconds, "cpu_s_per_audio_s": round((time.process_time() - cpu_s) / seconds, 4),
        "took_s": round(time.monotonic() - began, 1), "memory_mb": memory_mb(), "snapshots_kb": snapshots_kb(recovery),
        "finals": len(feeding.finals) - known,
    }  # fmt: skip


def measure(settings: Settings, edge: Samples, between: Samples, within_s: float) -> dict[str, Any]:
    """Send a meeting; gives its live begin and end, and what lies between by tens of minutes."""
    end_s = time.monotonic() + within_s
    with engine_for(settings) as engine, Feeding(engine, ["meeting"]) as feeding:
        first = live(feeding, edge, last=False)
        print("first", first, flush=True)
        blocks = []
        for at in range(0, len(between), BLOCK_S * SAMPLE_RATE_HZ):
            part = between[at : at + BLOCK_S * SAMPLE_RATE_HZ]
            blocks.append(fast(feeding, part, settings.data_dir / "recovery"))
            print(blocks[-1], flush=True)
            if time.monotonic() > end_s:
                break
        last = live(feeding, edge, last=True)
        print("last", last, flush=True)
    hours = (2 * len(edge) / SAMPLE_RATE_HZ + sum(one["seconds"] for one in blocks)) / 3600
    return {"hours": round(hours, 2), "first": first, "last": last, "blocks": blocks}


def main() -> None:
    """Run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--audio", type=Path, required=True, help="folder of recordings, or one")
    parser.add_argument("--hours", type=float, default=3.0)
    parser.add_argument("--live", type=float, default=40.0, help="seconds in real time at both ends")
    parser.add_argument("--share", type=float, default=0.05, help="share of the time in which somebody speaks")
    parser.add_argument("--model", default="tiny.en")
    parser.add_argument("--within", type=float, default=3_600.0, help="seconds that the part between may take")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/long_meeting.json"))
    given = parser.parse_args()
    sound = sound_in(given.audio)
    edge = meeting_of(sound, given.live, 0.5)
    between = meeting_of(sound, given.hours * 3600 - 2 * given.live, given.share)
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(
            data_dir=Path(folder), port=0, qa_port=0, llm="off", speech_model=given.model, speech_stalled_s=60,
            speech_partials=False,
        )  # fmt: skip
        result = measure(settings, edge, between, given.within)
    asked = {"live_s": given.live, "share": given.share, "model": given.model}
    given.out.write_text(json.dumps(asked | result, indent=1) + "\n")


if __name__ == "__main__":
    main()
