"""A process may end while a model works: it waits for it, and is not torn down from inside."""

import subprocess
import sys

import pytest

MODELS = {
    "words": """
from flows.decoding_room import DecodingRoom, Ear, Job
from models.weights_of import find_weights
from models.whisper import WhisperOptions, load_whisper
from operators.transcription import DecodeRequest
model = load_whisper(find_weights("tiny.en"), WhisperOptions())
room = DecodingRoom(Ear(lambda: model, lambda _: model))
for _ in range(100):
    room.submit(Job(("s", "mic"), DecodeRequest("partial", 0, 0, len(sound)), given, "en"))
""",
    "voices": """
from flows.voice_room import Listening, VoiceModels, VoiceRoom
from models.voices import OnnxSegmenter, OnnxVoiceEncoder
segmenter, encoder = OnnxSegmenter(), OnnxVoiceEncoder()
room = VoiceRoom(VoiceModels(lambda: segmenter, lambda: encoder))
for _ in range(100):
    room.submit(Listening(0, 50, given))
""",
}
WHOLE = """
import threading
import numpy as np
sound = np.random.default_rng(1).normal(0, 3_000, 16_000).astype(np.int16)
begun = threading.Event()
def given():
    begun.set()
    return sound
{}
begun.wait(60)
held = [[number] for number in range(1_000_000)]  # that takes a while to be taken down
raise SystemExit(3)
"""


@pytest.mark.parametrize("kind", MODELS)
def test_a_process_that_ends_by_an_error_while_a_model_works_ends_in_order(kind: str) -> None:
    script = WHOLE.format(MODELS[kind])
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False)
    assert (ended.returncode, ended.stderr) == (3, "")
