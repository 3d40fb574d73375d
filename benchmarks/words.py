"""Words: sound files through the real captions flow, in real time or as fast as it goes.

    uv run python -m benchmarks.words FILE.flac ... [--fast] [--json OUT]

Beside a file may lie ``.txt`` with what was said, in the order in which it was said, and ``.stm`` with who spoke when.
Gives for each file: word error rate, when words were first shown after they were said, when the final caption came
after the end of speech, words invented in silence, and CPU seconds per second of sound.
"""

import argparse
import json
import re
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventlog import open_log
from eventlog.records import new_record
from flows.run import FlowOptions, FlowRunner
from rejoinder.settings import Settings
from rejoinder.speech import Speech
from schemas.audio import SAMPLE_RATE_HZ, AudioChunk
from schemas.codec import decode
from schemas.meeting import MeetingOpened
from schemas.speech import AudioGap, Caption, TranscriptionLag

CHUNK_S = 0.1
SESSION = "words"


@dataclass(frozen=True, slots=True)
class Shown:
    """A record of the topic `captions` and when it was there: seconds of the sound's own time.

    In real time `at_s` is seconds since the first sample was sent; with `fast` it says nothing.
    """

    record: Caption | AudioGap | TranscriptionLag
    at_s: float


@dataclass(frozen=True, slots=True)
class Heard:
    """What came of one recording.

    Attributes:
        shown: Every record of the topic `captions`, in order.
        cpu_s: CPU seconds of the whole process while it ran.
        sound_s: Length of the recording.
    """

    shown: tuple[Shown, ...]
    cpu_s: float
    sound_s: float

    @property
    def finals(self) -> list[Caption]:
        """The final captions in order."""
        return [one.record for one in self.shown if isinstance(one.record, Caption) and one.record.final]


def captions_of(
    audio: NDArray[np.int16], settings: Settings, *, fast: bool = False, speech: Speech | None = None
) -> Heard:
    """Send a recording through the real flow and log; gives the captions with the times at which they were there.

    Args:
        audio: 16 kHz, mono, shape (samples,).
        settings: Which models and how; its data folder is not used.
        fast: Send all at once instead of in real time.
        speech: Loaded models, to spare loading them for each recording.
    """
    own = speech or Speech(settings)
    with tempfile.TemporaryDirectory() as folder:
        log = open_log(f"sqlite:///{folder}/log.sqlite3")
        options = FlowOptions(Path(folder) / "recovery", names=("captions",), hearing=own.hearing)
        runner = FlowRunner(log, None, options)
        shown: list[Shown] = []
        began = time.monotonic()
        ended = threading.Event()

        def follow() -> None:
            reader = log.reader("words")
            at = 0
            while not ended.is_set() or (log.end("captions") or 0) > at:
                for record in reader.read("captions", 0, at, 100):
                    shown.append(Shown(decode("captions", record.value), time.monotonic() - began))
                    at = record.offset + 1
                time.sleep(0.005)
            reader.close()

        runner.start()
        log.append([new_record("meeting", _opened())])
        follower = threading.Thread(target=follow)
        follower.start()
        began, cpu = time.monotonic(), time.process_time()
        for chunk in _chunks(audio):
            if not fast:
                # A chunk is there when its last sample was spoken.
                end_s = chunk.start_sample / SAMPLE_RATE_HZ + CHUNK_S
                time.sleep(max(0.0, began + end_s - time.monotonic()))
            log.append([new_record("audio", chunk.model_copy(update={"created_at": datetime.now(UTC)}))])
        _wait_until_done(runner, own)
        cpu = time.process_time() - cpu
        ended.set()
        follower.join()
        runner.stop()
        log.close()
    if speech is None:
        own.close()
    return Heard(tuple(shown), cpu, len(audio) / SAMPLE_RATE_HZ)


def _wait_until_done(runner: FlowRunner, speech: Speech) -> None:
    quiet = 0
    while quiet < 10:
        time.sleep(0.05)
        behind = sum(flow.behind_records for flow in runner.states())
        quiet = quiet + 1 if behind == 0 and speech.hearing.room.idle else 0


def _opened() -> MeetingOpened:
    now = datetime.now(UTC)
    return MeetingOpened(session_id=SESSION, event_id="opened", created_at=now, owner_id="local")


def _chunks(audio: NDArray[np.int16]) -> list[AudioChunk]:
    size = int(CHUNK_S * SAMPLE_RATE_HZ)
    starts = range(0, len(audio), size)
    return [
        AudioChunk(
            session_id=SESSION,
            event_id=f"a{start}",
            created_at=datetime.now(UTC),
            track="room",
            sequence=number,
            start_sample=start,
            pcm=audio[start : start + size].astype("<i2").tobytes(),
            last=start + size >= len(audio),
        )
        for number, start in enumerate(starts)
    ]


def sound_of(path: Path) -> NDArray[np.int16]:
    """Read a sound file as 16 kHz mono."""
    import av

    with av.open(str(path)) as opened:
        resampler = av.AudioResampler("s16", "mono", SAMPLE_RATE_HZ)
        frames = [one for frame in opened.decode(audio=0) for one in resampler.resample(frame)]
        frames += resampler.resample(None)
    return np.concatenate([frame.to_ndarray().reshape(-1) for frame in frames]).astype(np.int16)


def plain(text: str) -> list[str]:
    """Give the words as they are compared: Whisper's English normaliser where it is installed, else letters alone."""
    try:
        from whisper_normalizer.english import EnglishTextNormalizer
    except ImportError:
        return re.sub(r"[^\w' ]+", " ", text.casefold()).split()
    return str(EnglishTextNormalizer()(text)).split()


def errors(said: Sequence[str], heard: Sequence[str]) -> tuple[int, int, int]:
    """Count substitutions, deletions and insertions of the best alignment."""
    rows: list[list[tuple[int, int, int, int]]] = [[(i, 0, 0, i) for i in range(len(heard) + 1)]]
    for i, word in enumerate(said, 1):
        row = [(i, 0, i, 0)]
        for j, other in enumerate(heard, 1):
            cost, s, d, n = rows[-1][j - 1]
            wrong = int(word != other)
            best = (cost + wrong, s + wrong, d, n)
            cost, s, d, n = rows[-1][j]
            best = min(best, (cost + 1, s, d + 1, n))
            cost, s, d, n = row[j - 1]
            row.append(min(best, (cost + 1, s, d, n + 1)))
        rows.append(row)
    return rows[-1][-1][1:]


def commit_delays(heard: Heard) -> list[float]:
    """Give for each word of the final captions how long after its end it was first shown where it stayed, seconds."""
    delays = []
    for caption in heard.finals:
        versions = [
            one
            for one in heard.shown
            if isinstance(one.record, Caption) and one.record.caption_id == caption.caption_id
        ]
        for word in caption.words:
            at = next(
                (
                    one.at_s
                    for one in versions
                    if isinstance(one.record, Caption)
                    and any(
                        plain(other.text) == plain(word.text) and abs(other.end_s - word.end_s) < 0.6
                        for other in one.record.words
                    )
                ),
                versions[-1].at_s,
            )
            delays.append(at - word.end_s)
    return delays


def final_delays(heard: Heard, turns: Sequence[tuple[float, float]] = ()) -> list[float]:
    """Give for each final caption with words how long after the end of its last word it came, seconds."""
    del turns
    return [
        one.at_s - one.record.words[-1].end_s
        for one in heard.shown
        if isinstance(one.record, Caption) and one.record.final and one.record.words
    ]


def invented(heard: Heard, turns: Sequence[tuple[float, float]], margin_s: float = 0.5) -> list[str]:
    """Give the words of final captions that lie in silence, farther than `margin_s` from any turn."""
    return [
        word.text
        for caption in heard.finals
        for word in caption.words
        if not any(start - margin_s < (word.start_s + word.end_s) / 2 < end + margin_s for start, end in turns)
    ]


def turns_of(path: Path) -> list[tuple[float, float]]:
    """Read start and end of the turns of an .stm file."""
    lines = [line.split() for line in path.read_text().splitlines() if line.strip()]
    return [(float(line[3]), float(line[4])) for line in lines]


def measured(path: Path, settings: Settings, speech: Speech, *, fast: bool) -> dict[str, Any]:
    """Run one file and give its figures."""
    heard = captions_of(sound_of(path), settings, fast=fast, speech=speech)
    text = " ".join(caption.text for caption in heard.finals)
    found: dict[str, Any] = {"file": path.stem, "sound_s": round(heard.sound_s, 1), "text": text}
    found["cpu_per_s"] = round(heard.cpu_s / heard.sound_s, 3)
    if path.with_suffix(".txt").exists():
        said = plain(path.with_suffix(".txt").read_text())
        counts = errors(said, plain(text))
        found |= {"words": len(said), "errors": counts, "wer": round(100 * sum(counts) / len(said), 1)}
    if path.with_suffix(".stm").exists():
        found["invented"] = invented(heard, turns_of(path.with_suffix(".stm")))
    if not fast:
        commits, finals = commit_delays(heard), final_delays(heard)
        if commits:
            found["commit_s"] = [round(float(np.percentile(commits, at)), 2) for at in (50, 90, 99)]
            found["final_s"] = [round(float(np.percentile(finals, at)), 2) for at in (50, 90, 99)]
    found["lags"] = sum(isinstance(one.record, TranscriptionLag) for one in heard.shown)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--fast", action="store_true")
    parser.add_argument("--text", action="store_true")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    settings = Settings()
    speech = Speech(settings)
    rows = []
    for path in given.files:
        row = measured(path, settings, speech, fast=given.fast)
        rows.append(row)
        print({name: value for name, value in row.items() if name != "text" or given.text}, flush=True)
    words = sum(row.get("words", 0) for row in rows)
    if words:
        wrong = sum(sum(row.get("errors", ())) for row in rows)
        print(f"{speech.model} on {speech.device.kind}: WER {100 * wrong / words:.1f} over {words} words")
    speech.close()
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
