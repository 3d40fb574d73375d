"""Who spoke when, scored: diarization error, how often labels change, and what it costs, on files of your own.

``uv run python -m benchmarks.speakers FOLDER [--step 0.5] [--models onnx|pyannote:FILE:SHA256] [--out FILE] [--alone]``

The folder holds ``name.flac`` (or .wav) with ``name.rttm`` beside it. Each file goes through the operator of the
speaker-turns flow window by window; what was known of each moment one and five seconds later is scored. `collar` of
pyannote.metrics is the whole width around a boundary, so +-0.25 s is 0.5 there. In the same run each file goes through
the peer (`benchmarks.speakers_diart`) on the same two models, which is given whichever of its thresholds are best.
"""

import argparse
import json
import time
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from api.audio_decoding import read_recording
from benchmarks.speakers_diart import Centroids, spans_at, windows_of
from models.voices import OnnxSegmenter, OnnxVoiceEncoder
from operators.diarization import FRAME, hear
from operators.speaker_turns import SpeakerTurns
from operators.voice_ports import Sound, SpeakerSegmenter, VoiceEncoder
from rejoinder.enrolled import sound_of
from schemas.audio import SAMPLE_RATE_HZ
from schemas.speech import SpeakerTurn

__all__ = ["Told", "known_at", "turns_over_time"]

WINDOW = 5 * SAMPLE_RATE_HZ
LATENCIES_S = (1.0, 5.0)
COLLARS = {"0": 0.0, "+-0.25": 0.5}
GRID_S = 0.02
NEW, UPDATE = (0.25, 0.3, 0.35, 0.4, 0.45, 0.5), (0.05, 0.1, 0.2, 0.3)
"""What is tried for the peer: distance of a new voice, and mean activity from which a vector counts."""

Spans = list[tuple[str, float, float]]


@dataclass(frozen=True, slots=True)
class Told:
    """A turn, and when it was told: seconds into the sound."""

    at_s: float
    turn: SpeakerTurn


def turns_over_time(
    sound: Sound,
    segmenter: SpeakerSegmenter,
    encoder: VoiceEncoder,
    *,
    step_s: float = 0.5,
    operator: SpeakerTurns | None = None,
) -> list[Told]:
    """Give every turn that is told for a sound, in order, as the flow tells it.

    A turn counts as told when the window that shows it is complete; what computing takes comes on top.
    """
    operator = operator or SpeakerTurns()
    state = operator.initial("file", "track")
    told: list[Told] = []
    step = round(step_s * SAMPLE_RATE_HZ)
    ends = list(range(step, len(sound) + 1, step))
    if len(sound) // FRAME * FRAME > (ends[-1] if ends else 0):
        ends.append(len(sound) // FRAME * FRAME)
    for end in ends:
        heard = hear(sound[max(0, end - WINDOW) : end], end // FRAME, segmenter, encoder)
        state, turns = operator.step(state, heard, 0.0)
        told += [Told(end / SAMPLE_RATE_HZ, turn) for turn in turns]
    _, turns = operator.finish(state, 0.0)
    return told + [Told(len(sound) / SAMPLE_RATE_HZ, turn) for turn in turns]


def known_at(told: Sequence[Told], latency_s: float, seconds: float) -> list[tuple[str, float, float]]:
    """Give who held the floor as it was known of each moment `latency_s` later: speaker, start, end.

    Args:
        told: What `turns_over_time` gave.
        latency_s: Age of a moment at which its label is taken.
        seconds: Length of the sound.
    """
    found: list[tuple[str, float, float]] = []
    newest: dict[str, SpeakerTurn] = {}
    times = sorted({one.at_s for one in told})
    place = 0
    # Between two times nothing is told, so the moments whose age reaches the latency in between share one state.
    for number, at_s in enumerate(times):
        while place < len(told) and told[place].at_s <= at_s:
            newest[told[place].turn.turn_id] = told[place].turn
            place += 1
        following_s = times[number + 1] if number + 1 < len(times) else seconds + latency_s
        first_s = 0.0 if number == 0 else at_s - latency_s
        past_s = seconds if number + 1 == len(times) else following_s - latency_s
        for turn in newest.values():
            start_s, end_s = max(turn.start_s, first_s), min(turn.end_s, past_s)
            if end_s > start_s:
                found.append((turn.speaker, start_s, end_s))
    return found


def relabelled(early: Spans, late: Spans, seconds: float) -> tuple[int, int]:
    """Give how many frames with speech have another speaker later than early on, and how many there are."""
    names = sorted({one[0] for one in (*early, *late)})
    grids = []
    for spans in (early, late):
        grid = np.zeros((round(seconds / GRID_S) + 1, max(1, len(names))), bool)
        for speaker, start_s, end_s in spans:
            grid[round(start_s / GRID_S) : round(end_s / GRID_S), names.index(speaker)] = True
        grids.append(grid)
    speech = grids[0].any(axis=1) | grids[1].any(axis=1)
    return int(((grids[0] != grids[1]).any(axis=1) & speech).sum()), int(speech.sum())


def read_rttm(path: Path) -> list[tuple[str, float, float]]:
    """Give speaker, start and end of each line."""
    rows = [line.split() for line in path.read_text().splitlines() if line.startswith("SPEAKER")]
    return [(row[7], float(row[3]), float(row[3]) + float(row[4])) for row in rows]


def _annotation(turns: Iterable[tuple[str, float, float]]) -> Any:
    from pyannote.core import Annotation, Segment

    found = Annotation()
    for number, (speaker, start_s, end_s) in enumerate(turns):
        found[Segment(start_s, end_s), number] = speaker
    return found.support()


def score(
    reference: Sequence[tuple[str, float, float]],
    guess: Sequence[tuple[str, float, float]],
    seconds: float,
    collar: float,
) -> dict[str, float]:
    """Give seconds of missed speech, false alarm and confusion, and of speech in all."""
    from pyannote.core import Segment, Timeline
    from pyannote.metrics.diarization import DiarizationErrorRate

    metric = DiarizationErrorRate(collar=collar)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        parts = metric(_annotation(reference), _annotation(guess), uem=Timeline([Segment(0, seconds)]), detailed=True)
    names = {"missed detection": "miss", "false alarm": "false_alarm", "confusion": "confusion", "total": "total"}
    return {short: float(parts[name]) for name, short in names.items()}


def measure(path: Path, segmenter: SpeakerSegmenter, encoder: VoiceEncoder, step_s: float) -> dict[str, Any]:
    """Give the scores of one file."""
    sound = sound_of(read_recording(path))
    seconds = len(sound) / SAMPLE_RATE_HZ
    began_s = time.process_time()
    told = turns_over_time(sound, segmenter, encoder, step_s=step_s)
    cost_s = time.process_time() - began_s
    spans = {latency_s: known_at(told, latency_s, seconds) for latency_s in LATENCIES_S}
    return scored(path, spans, seconds, cost_s) | {"records": len(told)}


def measure_peer(
    path: Path, segmenter: SpeakerSegmenter, encoder: VoiceEncoder, step_s: float
) -> dict[tuple[float, float], dict[str, Any]]:
    """Give the scores of one file through the peer, for each of its thresholds; the models hear it once."""
    sound = sound_of(read_recording(path))
    seconds = len(sound) / SAMPLE_RATE_HZ
    began_s = time.process_time()
    windows = windows_of(sound, segmenter, encoder, step_s)
    heard_s = time.process_time() - began_s
    found = {}
    for new, update in product(NEW, UPDATE):
        began_s = time.process_time()
        centroids = Centroids(new=new, update=update)
        voices = [centroids.step(window) for window in windows]
        spans = {latency_s: spans_at(windows, voices, latency_s) for latency_s in LATENCIES_S}
        found[new, update] = scored(path, spans, seconds, heard_s + time.process_time() - began_s)
    return found


def scored(path: Path, spans: dict[float, Spans], seconds: float, cpu_s: float) -> dict[str, Any]:
    """Give the scores of who spoke when, as it was known after each latency."""
    reference = read_rttm(path.with_suffix(".rttm"))
    changed, frames = relabelled(*spans.values(), seconds)
    scores = {
        f"{latency_s:g}s": {name: score(reference, known, seconds, collar) for name, collar in COLLARS.items()}
        for latency_s, known in spans.items()
    }
    return {
        "file": path.stem, "seconds": seconds, "cpu_s": cpu_s, "changed_frames": changed, "speech_frames": frames,
        "speakers": len({one[0] for one in spans[LATENCIES_S[-1]]}),
        "true_speakers": len({one[0] for one in reference}), "scores": scores,
    }  # fmt: skip


def pooled(files: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Give the scores of all files as one."""
    result: dict[str, Any] = {
        "seconds": round(sum(one["seconds"] for one in files), 1),
        "cpu_s_per_audio_s": round(sum(one["cpu_s"] for one in files) / sum(one["seconds"] for one in files), 3),
        "relabelled_after_1s_percent": round(
            100 * sum(one["changed_frames"] for one in files) / max(1, sum(one["speech_frames"] for one in files)), 1
        ),
    }
    for latency_s in LATENCIES_S:
        for name in COLLARS:
            parts = [one["scores"][f"{latency_s:g}s"][name] for one in files]
            total = max(1e-9, sum(one["total"] for one in parts))
            shares = {
                key: round(100 * sum(one[key] for one in parts) / total, 1)
                for key in ("miss", "false_alarm", "confusion")
            }
            der = 100 * sum(one["miss"] + one["false_alarm"] + one["confusion"] for one in parts) / total
            result[f"der_{latency_s:g}s_{name}"] = {"der": round(der, 1), **shares}
    return result


def best_of_peer(files: Sequence[dict[tuple[float, float], dict[str, Any]]]) -> dict[str, Any]:
    """Give the peer with the thresholds that are best for it on these files, at both latencies together."""
    tried = {thresholds: pooled([one[thresholds] for one in files]) for thresholds in files[0]}

    def errors(thresholds: tuple[float, float]) -> float:
        return float(sum(tried[thresholds][f"der_{latency_s:g}s_+-0.25"]["der"] for latency_s in LATENCIES_S))

    best = min(tried, key=errors)
    curve = [
        {"new": new, "update": update} | {f"der_{latency_s:g}s": found[f"der_{latency_s:g}s_+-0.25"]["der"]
        for latency_s in LATENCIES_S}
        for (new, update), found in tried.items()
    ]  # fmt: skip
    chosen = {"new": best[0], "update": best[1]}
    return {"chosen": chosen, "all": tried[best], "files": [one[best] for one in files], "tried": curve}


def line_of(name: str, one: dict[str, Any]) -> str:
    """Give the figures of one file as a line."""
    all_ = pooled([one])
    at = {latency: all_[f"der_{latency}s_+-0.25"]["der"] for latency in (1, 5)}
    return (
        f"{name:24} DER +-0.25: 1 s {at[1]:5.1f}  5 s {at[5]:5.1f}  "
        f"relabelled {all_['relabelled_after_1s_percent']:4.1f} %  CPU {all_['cpu_s_per_audio_s']:.3f} s/s  "
        f"speakers {one['speakers']} of {one['true_speakers']}"
    )


def models_of(named: str) -> tuple[SpeakerSegmenter, VoiceEncoder]:
    """Load the models, and let them work once."""
    segmenter: SpeakerSegmenter = OnnxSegmenter()
    if named.startswith("pyannote:"):
        from models.pyannote_voices import PyannoteSegmenter

        _, checkpoint, digest = named.split(":")
        segmenter = PyannoteSegmenter(checkpoint, sha256=digest)
    encoder = OnnxVoiceEncoder()
    turns_over_time(np.zeros(SAMPLE_RATE_HZ, np.float32) + np.float32(0.1), segmenter, encoder)
    return segmenter, encoder


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("folder", type=Path)
    options.add_argument(
        "--step", type=float, default=0.5, help="seconds between windows; 1 is what a loaded flow does"
    )
    options.add_argument("--models", default="onnx", help="onnx, or pyannote:CHECKPOINT:SHA256")
    options.add_argument("--out", type=Path)
    options.add_argument("--alone", action="store_true", help="without the peer")
    asked = options.parse_args()
    models = models_of(asked.models)
    files, peers = [], []
    for path in sorted(one for kind in ("*.flac", "*.wav") for one in asked.folder.glob(kind)):
        if not path.with_suffix(".rttm").exists():
            continue
        files.append(measure(path, *models, asked.step))
        print(line_of(path.stem, files[-1]), flush=True)
        if not asked.alone:
            peers.append(measure_peer(path, *models, asked.step))
    result = {"models": asked.models, "step_s": asked.step, "all": pooled(files), "files": files}
    print(json.dumps(result["all"], indent=1))
    if peers:
        result["peer"] = peer = best_of_peer(peers)
        print("\n".join(line_of(f"peer {one['file']}", one) for one in peer["files"]))
        print(json.dumps({"chosen": peer["chosen"], "all": peer["all"]}, indent=1))
    if asked.out is not None:
        asked.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
