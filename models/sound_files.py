"""Sound files of any common kind, read as samples."""

from pathlib import Path

import numpy as np

from operators.voice_ports import Sound
from schemas.audio import SAMPLE_RATE_HZ
from schemas.errors import ModelMissing

__all__ = ["read_sound"]


def read_sound(path: Path) -> Sound:
    """Give the samples of a sound file as 16 kHz mono.

    Raises:
        ModelMissing: The library that reads sound files is not installed.
        ValueError: The file holds no sound that can be read.
    """
    try:
        import av
    except ImportError:
        raise ModelMissing("sound files need PyAV: uv sync --extra speech") from None
    blocks: list[np.ndarray] = []
    try:
        with av.open(str(path)) as container:
            resampler = av.AudioResampler(format="s16", layout="mono", rate=SAMPLE_RATE_HZ)
            for frame in container.decode(audio=0):
                blocks += [one.to_ndarray().ravel() for one in resampler.resample(frame)]
            blocks += [one.to_ndarray().ravel() for one in resampler.resample(None)]
    except (av.FFmpegError, IndexError) as error:
        raise ValueError(f"{path.name} cannot be read as sound: {type(error).__name__}") from None
    if not blocks:
        raise ValueError(f"{path.name} holds no sound")
    return np.concatenate(blocks).astype(np.float32) / np.float32(32768)
