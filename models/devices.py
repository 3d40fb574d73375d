"""Where models run: CUDA when there is a GPU, else the CPU, and in which precision."""

from dataclasses import dataclass
from typing import Literal

__all__ = ["Device", "choose_device"]

TOGETHER_ON_GPU = 16


@dataclass(frozen=True, slots=True)
class Device:
    """A device for speech models.

    Attributes:
        kind: "cpu" or "cuda".
        precision: CTranslate2's compute type.
        together: Stretches in one call: a GPU gains by batches, a CPU does not (measured: batch 4 gave nothing).
    """

    kind: Literal["cpu", "cuda"]
    precision: str
    together: int


def choose_device(
    wanted: Literal["auto", "cpu", "cuda"] = "auto", precision: str = "", gpus: int | None = None
) -> Device:
    """Choose a device.

    Args:
        wanted: "auto" = CUDA when there is a GPU.
        precision: Compute type; "" = int8 on a CPU, float16 on a GPU.
        gpus: How many GPUs there are; None = look.

    Raises:
        ValueError: CUDA is wanted and there is no GPU.
    """
    count = _gpus() if gpus is None else gpus
    if wanted == "cuda" and count == 0:
        raise ValueError("no GPU that CUDA can use; set REJOINDER_SPEECH_DEVICE=cpu")
    if wanted == "cpu" or count == 0:
        return Device("cpu", precision or "int8", 1)
    return Device("cuda", precision or "float16", TOGETHER_ON_GPU)


def _gpus() -> int:
    try:
        import ctranslate2
    except ImportError:
        return 0
    return int(ctranslate2.get_cuda_device_count())
