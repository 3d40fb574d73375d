"""Who talks when, and whose voice it is, on onnxruntime: PyanNet and the Resemblyzer encoder, without torch."""

import hashlib
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.mel import mel_spectrum
from operators.ports import Vectors
from operators.voice_ports import ACTIVITY_HZ, Activity, Sound
from schemas.audio import SAMPLE_RATE_HZ
from schemas.errors import ModelFailed, ModelMissing

__all__ = ["OnnxSegmenter", "OnnxVoiceEncoder", "on_frames"]

KEPT = Path(__file__).parent / "weights"
SEGMENTER = "pyannet-5s-3speakers.onnx"
ENCODER = "resemblyzer-encoder.onnx"
KEPT_SHA256 = {
    SEGMENTER: "46e9cd8e1fc930ace20526e72fd2579ab30f4af230dd399f3a13acb5d38478e3",
    ENCODER: "79bdb5c239c4abca57c0659197cb3c55a720fe23037a2cb97ef95e8f3b905408",
}
SPEAKERS = 3
RECEPTIVE = 991
"""Samples one frame of PyanNet looks at; the first frame is centred in them."""
FRAME_STEP = 270
LEAST_SAMPLES = SAMPLE_RATE_HZ

DIM = 256
PIECE_FRAMES = 160
"""The encoder was trained on 1.6 s at a time; much longer speech is cut into pieces that overlap by half."""
WHOLE_FRAMES = 200
LEVEL = 10 ** (-30 / 20)
"""Quieter speech is raised to -30 dB before the mel bands, as in training: their power has no logarithm."""


class _Graph:
    """An ONNX graph kept here: checked by hash, loaded at first use, usable from any thread."""

    def __init__(self, name: str, threads: int) -> None:
        self._file, self._threads = KEPT / name, threads
        self._lock = threading.Lock()
        self._session: Any = None
        if not self._file.exists():
            raise ModelMissing(f"models/weights/{name} is not there; get it with: git checkout -- models/weights")
        if hashlib.sha256(self._file.read_bytes()).hexdigest() != KEPT_SHA256[name]:
            raise ModelMissing(f"models/weights/{name} is damaged; get it again with: git checkout -- models/weights")

    def run(self, name: str, value: NDArray[np.float32]) -> NDArray[np.float32]:
        import onnxruntime

        with self._lock:
            if self._session is None:
                options = onnxruntime.SessionOptions()
                options.intra_op_num_threads = self._threads
                options.inter_op_num_threads = 1
                options.log_severity_level = 3
                self._session = onnxruntime.InferenceSession(
                    str(self._file), options, providers=["CPUExecutionProvider"]
                )
        try:
            out: NDArray[np.float32] = self._session.run(None, {name: value})[0]
        except RuntimeError as error:  # what the library raises has this base for every fault of a graph
            raise ModelFailed(f"{self._file.stem} failed: {type(error).__name__}") from None
        return out


def on_frames(activity: NDArray[np.float32], centres: NDArray[np.float64], samples: int) -> Activity:
    """Give a model's activity on the frames of `Activity`.

    Args:
        activity: Shape (frames of the model, speakers).
        centres: The sample each of those frames is centred on.
        samples: Length of the sound.

    Returns:
        Shape (samples // 320, speakers).
    """
    width = SAMPLE_RATE_HZ // ACTIVITY_HZ
    wanted = (np.arange(samples // width) + 0.5) * width
    columns = [np.interp(wanted, centres, activity[:, speaker]) for speaker in range(activity.shape[1])]
    return np.stack(columns, axis=1).astype(np.float32)


class OnnxSegmenter:
    """PyanNet for windows of 5 s and up to 3 speakers, the checkpoint of the whisperx package."""

    def __init__(self, threads: int = 1) -> None:
        """Check the weights; they are read at the first sound.

        Raises:
            ModelMissing: They are not there, or damaged.
        """
        self._graph = _Graph(SEGMENTER, threads)

    @property
    def name(self) -> str:
        """Name of the weights."""
        return "pyannet-5s-3speakers"

    def activity(self, sound: Sound) -> Activity:
        """Give who talks when, shape (samples // 320, 3); sound of less than 1 s is taken as if silence followed."""
        window = np.ascontiguousarray(sound, np.float32)
        if len(window) < LEAST_SAMPLES:
            window = np.pad(window, (0, LEAST_SAMPLES - len(window)))
        out = self._graph.run("samples", window[None, None])[0]
        centres = (RECEPTIVE - 1) / 2 + FRAME_STEP * np.arange(len(out), dtype=np.float64)
        return on_frames(out, centres, len(sound))


class OnnxVoiceEncoder:
    """The speaker encoder of the Resemblyzer package: 256 numbers per voice."""

    def __init__(self, threads: int = 1) -> None:
        """Check the weights; they are read at the first voice.

        Raises:
            ModelMissing: They are not there, or damaged.
        """
        self._graph = _Graph(ENCODER, threads)

    @property
    def name(self) -> str:
        """Name of the weights."""
        return "resemblyzer"

    @property
    def dim(self) -> int:
        """Give 256."""
        return DIM

    def encode(self, speech: Sequence[Sound]) -> Vectors:
        """Give one unit row per stretch of speech, shape (stretches, 256)."""
        rows = np.zeros((len(speech), DIM), np.float32)
        spectra = [mel_spectrum(_raised(sound)) for sound in speech]
        lengths: dict[int, list[int]] = {}
        for number, mels in enumerate(spectra):
            lengths.setdefault(len(mels), []).append(number)
        # Pieces of one length share a call; a batch of four costs half as much per piece as one.
        for numbers in lengths.values():
            pieces = [_pieces(spectra[number]) for number in numbers]
            vectors = self._graph.run("mels", np.concatenate(pieces)).reshape(len(numbers), -1, DIM).mean(axis=1)
            rows[numbers] = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
        return rows


def _raised(sound: Sound) -> Sound:
    level = float(np.sqrt(np.mean(np.square(sound, dtype=np.float64)))) if len(sound) else 0.0
    return sound * np.float32(max(1.0, LEVEL / max(level, 1e-6)))


def _pieces(mels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Cut mel frames into pieces of the same length, shape (pieces, frames, 40)."""
    if len(mels) <= WHOLE_FRAMES:
        return mels[None]
    count = -(-(len(mels) - PIECE_FRAMES) * 2 // PIECE_FRAMES) + 1
    starts = np.round(np.linspace(0, len(mels) - PIECE_FRAMES, count)).astype(int)
    return np.stack([mels[start : start + PIECE_FRAMES] for start in starts])
