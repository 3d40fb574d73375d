"""The peer of `benchmarks.words`, in an environment of its own: PCM files through WhisperLiveKit in real time.

Reads one JSON object from standard input, ``{"model": folder, "files": [path of 16 kHz mono PCM16, ...]}``, and writes
a line per file: words with the moments at which they were committed, processor seconds and length. It decides by the
agreement of two guesses, with the library's own defaults, on weights of one's choice.
"""

import asyncio
import json
import sys
import time
from typing import Any

CHUNK_BYTES = 3_200
CHUNK_S = 0.1
LOOK_S = 0.02
LONGEST_WAIT_S = 180.0


async def heard(engine: Any, pcm: bytes) -> dict[str, Any]:
    """Send sound at its own pace; give what was committed and when, seconds since the first sample."""
    from whisperlivekit import AudioProcessor

    processor = AudioProcessor(transcription_engine=engine)
    results = await processor.create_tasks()
    told: dict[tuple[float, float, str], float] = {}
    began, cpu = time.monotonic(), time.process_time()

    async def follow() -> None:
        async for _ in results:
            pass

    async def look() -> None:
        while True:
            for token in list(processor.state.tokens):
                key = (float(token.start), float(token.end), str(token.text))
                told.setdefault(key, time.monotonic() - began)
            await asyncio.sleep(LOOK_S)

    following, looking = asyncio.create_task(follow()), asyncio.create_task(look())
    for number, start in enumerate(range(0, len(pcm), CHUNK_BYTES), 1):
        wait_s = began + number * CHUNK_S - time.monotonic()
        if wait_s > 0:
            await asyncio.sleep(wait_s)
        await processor.process_audio(pcm[start : start + CHUNK_BYTES])
    await processor.process_audio(b"")
    await asyncio.wait_for(following, LONGEST_WAIT_S)
    await asyncio.sleep(5 * LOOK_S)
    looking.cancel()
    words = [
        {"word": text, "start_s": start, "end_s": end, "committed_s": at_s} for (start, end, text), at_s in told.items()
    ]
    cpu_s = time.process_time() - cpu
    await processor.cleanup()
    return {"words": sorted(words, key=lambda one: one["start_s"]), "cpu_s": cpu_s, "audio_s": len(pcm) / 32_000}


def main() -> None:
    """Run."""
    from whisperlivekit import TranscriptionEngine

    wanted = json.load(sys.stdin)
    engine = TranscriptionEngine(
        model_dir=wanted["model"], backend="faster-whisper", backend_policy="localagreement", lan="en", pcm_input=True,
        min_chunk_size=wanted.get("min_chunk_s", 1.0), log_level="ERROR",
    )  # fmt: skip
    for path in wanted["files"]:
        with open(path, "rb") as file:
            pcm = file.read()
        sys.stderr.write(f"{path}: {len(pcm) / 32_000:.0f} s\n")
        print("RESULT " + json.dumps(asyncio.run(heard(engine, pcm))), flush=True)


if __name__ == "__main__":
    main()
