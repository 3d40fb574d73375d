"""Silero voice activity detector through onnxruntime: how likely each 32 ms hold speech."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.weights_of import silero_path
from operators.ports import SpeechMemory, Vectors

__all__ = ["Silero", "load_silero"]

HOP = 512
CONTEXT = 64
WIDTH = 128


def load_silero(path: Path | None = None) -> "Silero":
    """Load the detector, from a file or from the installed faster-whisper.

    Raises:
        ModelMissing: It is not installed.
    """
    return Silero(path or silero_path())


class Silero:
    """The detector; one hop takes about 0.2 ms on one CPU thread, and one call takes as many hops as there are."""

    def __init__(self, path: Path) -> None:
        """Load the network from a file."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 4
        self._network: Any = onnxruntime.InferenceSession(
            str(path), providers=["CPUExecutionProvider"], sess_options=options
        )

    @property
    def hop_samples(self) -> int:
        """Samples per hop: 512 at 16 kHz."""
        return HOP

    def initial(self) -> SpeechMemory:
        """Give the memory of a new track."""
        state = np.zeros((1, 1, WIDTH), np.float32)
        return SpeechMemory(state, state, np.zeros(CONTEXT, np.float32))

    def probabilities(self, samples: NDArray[np.int16], memory: SpeechMemory) -> tuple[Vectors, SpeechMemory]:
        """Give the probability of speech in each hop; see `operators.ports.SpeechDetector`."""
        hops = samples.astype(np.float32).reshape(-1, HOP) / 32768.0
        if not len(hops):
            return np.zeros(0, np.float32), memory
        before = np.vstack([memory.context[None], hops[:-1, -CONTEXT:]])
        found, hidden, cell = self._network.run(
            None, {"input": np.hstack([before, hops]), "h": memory.hidden, "c": memory.cell}
        )
        return np.asarray(found, np.float32).reshape(-1), SpeechMemory(hidden, cell, hops[-1, -CONTEXT:].copy())
