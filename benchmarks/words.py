"""Words: recordings through the real flows in real time, and through WhisperLiveKit beside it, in one run.

    uv run python -m benchmarks.words --audio DIR [--out benchmarks/results/words.json] [--alone]

Our side is what `rejoinder eval speech` measures, without speakers, with the same tiny.en weights as the peer and with
base. WhisperLiveKit gets an environment of its own (several GB: it needs torch). Each file is played to one side after
the other, never to both at once. Word waits are from the end of a word until it was told for good.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from api.audio_decoding import read_recording
from models.weights_of import find_weights
from rejoinder.evaluation.recordings import Recording, recordings_in
from rejoinder.evaluation.scoring import Words, word_errors
from rejoinder.evaluation.speech import Measured, measure
from rejoinder.player import percentile
from rejoinder.settings import Settings

PEER = ("whisperlivekit==0.2.26", "faster-whisper==1.2.1")
MIN_CHUNKS_S = (1.0,)
LONGEST_S = 3_000


def figures_of(found: Measured) -> dict[str, Any]:
    """Give the figures both sides have."""
    return {
        "wer": found.words.rate if found.words else None,
        "word_wait_p50_s": percentile(found.waits_s, 0.5),
        "word_wait_p90_s": percentile(found.waits_s, 0.9),
        "end_to_final_p50_s": percentile(found.ends_s, 0.5),
        "cpu_per_audio_second": found.cpu_s / found.audio_s,
        "audio_s": found.audio_s,
        "words": found.words.reference if found.words else 0,
    }


def added(parts: Sequence[Measured]) -> Measured:
    """Give all recordings as one."""
    whole = Measured("all", words=Words())
    for part in parts:
        assert whole.words is not None
        whole.words += part.words or Words()
        whole.waits_s += part.waits_s
        whole.ends_s += part.ends_s
        whole.audio_s += part.audio_s
        whole.cpu_s += part.cpu_s
    return whole


def ours(folder: Path, model: str) -> list[Measured]:
    """Play every recording through the engine, which hears words and no speakers."""
    settings = Settings(speech_model=model, speakers="off")
    with tempfile.TemporaryDirectory() as out:
        return measure(settings, folder, Path(out), lambda line: print(f"  {model}: {line}", flush=True))[:-1]


def peer_python(folder: Path) -> Path:
    """Make an environment with WhisperLiveKit; gives its interpreter."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    subprocess.run(["uv", "venv", "-q", "--python", version, folder], check=True, timeout=60)
    python = folder / "bin" / "python"
    # Away from this project's settings: its pinned versions are not those that the peer allows.
    subprocess.run(
        ["uv", "pip", "install", "-q", "--no-config", "--python", python, *PEER], check=True, timeout=900, cwd=folder
    )
    return python


def peer(recordings: Sequence[Recording], python: Path, work: Path, min_chunk_s: float) -> list[Measured]:
    """Play every recording through WhisperLiveKit on the same weights."""
    files = []
    for number, recording in enumerate(recordings):
        files.append(work / f"{number}.pcm")
        files[-1].write_bytes(read_recording(recording.path))
    wanted = {
        "model": find_weights("tiny.en").folder,
        "files": [str(one) for one in files],
        "min_chunk_s": min_chunk_s,
    }
    script = Path(__file__).with_name("words_whisperlivekit.py")
    ran = subprocess.run(
        [python, script], input=json.dumps(wanted), capture_output=True, text=True, timeout=LONGEST_S, check=True,
        env=os.environ | {"HF_HUB_OFFLINE": "1"}, cwd=work,
    )  # fmt: skip
    lines = [json.loads(line[7:]) for line in ran.stdout.splitlines() if line.startswith("RESULT ")]
    found = []
    for recording, line in zip(recordings, lines, strict=True):
        text = "".join(word["word"] for word in line["words"])
        waits = [word["committed_s"] - word["end_s"] for word in line["words"]]
        errors = word_errors(recording.words or "", text)
        found.append(Measured(recording.name, errors, waits_s=waits, audio_s=line["audio_s"], cpu_s=line["cpu_s"]))
        print(f"  whisperlivekit: {recording.name} {figures_of(found[-1])}", flush=True)
    return found


def main() -> None:
    """Run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--audio", type=Path, required=True, help="folder of recordings, each with a .txt beside it")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/words.json"))
    parser.add_argument("--alone", action="store_true", help="without WhisperLiveKit")
    parser.add_argument("--peer-python", type=Path, help="interpreter with WhisperLiveKit; else one is made")
    given = parser.parse_args()
    recordings = [one for one in recordings_in(given.audio) if one.words is not None]
    sides = {f"rejoinder {model}": ours(given.audio, model) for model in ("tiny.en", "base")}
    if not given.alone:
        with tempfile.TemporaryDirectory() as folder:
            python = given.peer_python or peer_python(Path(folder) / "peer")
            for min_chunk_s in MIN_CHUNKS_S:
                name = f"whisperlivekit tiny.en, {min_chunk_s:g} s"
                sides[name] = peer(recordings, python, Path(folder), min_chunk_s)
    result = {
        name: {"all": figures_of(added(parts)), "files": {part.name: figures_of(part) for part in parts}}
        for name, parts in sides.items()
    }
    given.out.write_text(json.dumps(result, indent=1, default=float) + "\n")
    for name, found in result.items():
        print(name, found["all"])


if __name__ == "__main__":
    main()
