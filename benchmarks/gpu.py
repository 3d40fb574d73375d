"""One GPU: how much sound it writes down by size of batch, and how many live sessions it keeps up with.

    uv run python -m benchmarks.gpu --audio DIR [--model large-v3-turbo] [--device cuda] [--precision int8_float16]
        [--batches 1,2,4,8,16,32] [--sessions 8,16,32,64,128] [--seconds 60] [--speakers] [--out FILE]

**Batches**: the recordings are cut at pauses as the flow cuts them, and the stretches are given to the model so many at
a time. **Sessions**: the real engine is fed so many sessions at once in real time, each with another part of the
recordings; a step counts as kept up with when half the final captions come within 0.6 s of the end of their last word
and nine in ten within 2 s. It goes up until that fails. Everything runs on a CPU as well (``--device cpu``), where a
batch gains nothing and the numbers say nothing about a GPU. What tells voices apart runs on the CPU.
"""

import argparse
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.feeding import CHUNK, Feeding, Samples, sound_in
from models.silero import load_silero
from operators.audio_tracks import AudioRun
from operators.ports import SoundStretch, Transcriber
from operators.speech_activity import SpeechActivity, SpeechEnded
from rejoinder.evaluation.hearing import engine_for
from rejoinder.player import percentile
from rejoinder.settings import Settings
from rejoinder.speech import chosen_model, speech_shelf
from schemas.audio import SAMPLE_RATE_HZ

__all__ = ["Asked", "measure"]

HALF_WITHIN_S, MOST_WITHIN_S = 0.6, 2.0
LEAST_STRETCHES = 64


@dataclass(frozen=True, slots=True)
class Asked:
    """What is measured.

    Attributes:
        batches: Stretches in one call, one after the other.
        sessions: Live sessions at once, going up.
        seconds: How long each number of sessions is fed.
    """

    batches: Sequence[int] = (1, 2, 4, 8, 16, 32)
    sessions: Sequence[int] = (8, 16, 32, 64, 128)
    seconds: float = 60.0


def stretches_of(sound: Samples) -> list[SoundStretch]:
    """Cut sound at the pauses of its speakers, as the flow does."""
    activity = SpeechActivity(load_silero())
    _, events = activity.step(activity.initial(), AudioRun("room", 0, sound, last=True))
    ended = [one for one in events if isinstance(one, SpeechEnded)]
    return [SoundStretch(sound[one.start_sample : one.end_sample], "en", best=True) for one in ended]


def by_batch(model: Transcriber, stretches: Sequence[SoundStretch], sizes: Sequence[int]) -> list[dict[str, Any]]:
    """Give, for each size of batch, sound written down per second and how long a call takes."""
    # Enough for several calls of the largest size, and the same for all sizes.
    several = list(stretches) * -(-min(LEAST_STRETCHES, 4 * max(sizes)) // len(stretches))
    audio_s = sum(len(one.samples) for one in several) / SAMPLE_RATE_HZ
    found = []
    for size in sizes:
        model.transcribe(several[:size])  # buffers of this size are made once
        waits, words, cpu_s = [], 0, time.process_time()
        for at in range(0, len(several), size):
            began = time.monotonic()
            words += sum(len(one.words) for one in model.transcribe(several[at : at + size]))
            waits.append(time.monotonic() - began)
        found.append({
            "batch": size, "audio_s_per_s": round(audio_s / sum(waits), 2), "words": words,
            "call_p50_ms": round(1000 * (percentile(waits, 0.5) or 0)),
            "call_p95_ms": round(1000 * (percentile(waits, 0.95) or 0)),
            "cpu_s_per_audio_s": round((time.process_time() - cpu_s) / audio_s, 3), "gpu": gpu_state(),
        })  # fmt: skip
        print(found[-1], flush=True)
    return found


def by_sessions(settings: Settings, sound: Samples, asked: Asked) -> list[dict[str, Any]]:
    """Give, for each number of live sessions, how long final captions were waited for; stops where it falls behind."""
    found: list[dict[str, Any]] = []
    length = int(asked.seconds * 10) * CHUNK
    looped = np.resize(sound, max(len(sound), length))
    with engine_for(settings) as engine:
        with Feeding(engine, ["warm"]) as warming:
            warming.in_real_time([looped[: 2 * SAMPLE_RATE_HZ]])
            warming.settle()
        for count in asked.sessions:
            apart = len(looped) // count
            sounds = [np.roll(looped, -number * apart)[:length] for number in range(count)]
            cpu_s, began = time.process_time(), time.monotonic()
            with Feeding(engine, [f"{count}-{number}" for number in range(count)]) as feeding:
                feeding.in_real_time(sounds)
                sent_s = time.monotonic() - began
                feeding.settle()
            waits = [one.wait_s for one in feeding.finals]
            half_s, most_s = percentile(waits, 0.5), percentile(waits, 0.9)
            kept_up = half_s is not None and most_s is not None and half_s <= HALF_WITHIN_S and most_s <= MOST_WITHIN_S
            found.append({
                "sessions": count, "finals": len(waits), "partials": feeding.partials, "kept_up": kept_up,
                "end_to_final_p50_s": half_s and round(half_s, 2), "end_to_final_p90_s": most_s and round(most_s, 2),
                "sending_took_s": round(sent_s, 1),
                "cpu_s_per_audio_s": round((time.process_time() - cpu_s) / (count * asked.seconds), 3),
                "gpu": gpu_state(),
            })  # fmt: skip
            print(found[-1], flush=True)
            if not kept_up:
                break
    return found


def gpu_state() -> str:
    """Give name, memory and load of the GPU as its driver tells; empty where there is none."""
    if shutil.which("nvidia-smi") is None:
        return ""
    query = ["nvidia-smi", "--query-gpu=name,memory.used,memory.total,utilization.gpu", "--format=csv,noheader"]
    return subprocess.run(query, capture_output=True, text=True, timeout=20, check=False).stdout.strip()


def measure(settings: Settings, sound: Samples, asked: Asked) -> dict[str, Any]:
    """Measure batches and sessions; gives everything as plain numbers.

    Raises:
        EngineError: The model is not there, or CUDA is wanted and there is none.
    """
    name = chosen_model(settings)
    model = speech_shelf(settings).get(name)
    device = {"model": name, "device": settings.speech_device, "precision": settings.speech_precision}
    batches = by_batch(model, stretches_of(sound), asked.batches)
    del model  # it would lie in the GPU's memory twice
    sessions = by_sessions(settings, sound, asked)
    most = max((one["sessions"] for one in sessions if one["kept_up"]), default=0)
    return device | {"most_sessions": most, "batches": batches, "sessions": sessions}


def main() -> None:
    """Run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    numbers = lambda text: tuple(int(one) for one in text.split(","))  # noqa: E731
    parser.add_argument("--audio", type=Path, required=True, help="folder of recordings, or one")
    parser.add_argument("--model", default="large-v3-turbo")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--precision", default="")
    parser.add_argument("--batches", type=numbers, default=(1, 2, 4, 8, 16, 32))
    parser.add_argument("--sessions", type=numbers, default=(8, 16, 32, 64, 128))
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--speakers", action="store_true", help="tell voices apart as well")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(
            data_dir=Path(folder), port=0, qa_port=0, llm="off", speech_model=given.model, speech_device=given.device,
            speech_precision=given.precision, speakers="auto" if given.speakers else "off",
        )  # fmt: skip
        asked = Asked(given.batches, given.sessions, given.seconds)
        result = measure(settings, sound_in(given.audio), asked)
    print(f"{result['most_sessions']} sessions on one {given.device}")
    if given.out is not None:
        given.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
