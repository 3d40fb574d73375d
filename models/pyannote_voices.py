"""Who talks when, on pyannote.audio (extra ``diarization``): a checkpoint of your own, or one of the hub."""

import hashlib
import importlib.util
import threading
from pathlib import Path
from typing import Any

import numpy as np

from models.voices import on_frames
from operators.voice_ports import Activity, Sound
from schemas.audio import SAMPLE_RATE_HZ
from schemas.errors import ModelFailed, ModelMissing

__all__ = ["PyannoteSegmenter", "check_pyannote"]

INSTALL = "uv sync --extra diarization"
CHECKPOINT = "pytorch_model.bin"


def check_pyannote(model: str, sha256: str) -> None:
    """Say early whether a model can be loaded; loads nothing.

    Raises:
        ModelMissing: The extra is not installed, a file is not there or not the one it should be, or no hash is given
            for a file: a checkpoint is a pickle, so reading one that was not looked at runs whatever it holds.
    """
    if importlib.util.find_spec("pyannote.audio") is None:
        raise ModelMissing(f"pyannote.audio is not installed: {INSTALL}")
    if not model:
        raise ModelMissing("set REJOINDER_SPEAKERS_MODEL to a checkpoint or a name such as pyannote/segmentation-3.0")
    if not sha256:
        raise ModelMissing("set REJOINDER_SPEAKERS_SHA256: a checkpoint is a pickle, and only a known one is opened")
    if Path(model).exists():
        _checked(Path(model), sha256)


def _checked(file: Path, sha256: str) -> Path:
    found = hashlib.sha256(file.read_bytes()).hexdigest()
    if found != sha256:
        raise ModelMissing(f"{file.name} has SHA-256 {found}, not the one that is set")
    return file


def _from_hub(name: str) -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    folder = "segmentation" if "speaker-diarization" in name else None  # community-1 is several models in one place
    try:
        return Path(hf_hub_download(name, CHECKPOINT, subfolder=folder))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError):
        raise ModelMissing(f"{name} is not here and cannot be downloaded; accept its terms at the hub first") from None


class PyannoteSegmenter:
    """A segmentation model of pyannote.audio, on a GPU when there is one; usable from any thread."""

    def __init__(self, model: str, *, sha256: str, device: str = "auto") -> None:
        """Load a checkpoint from a path or the hub, if it is the one it should be.

        Raises:
            ModelMissing: See `check_pyannote`; or the hub cannot be reached, or the file is no such checkpoint.
        """
        check_pyannote(model, sha256)
        file = Path(model) if Path(model).exists() else _checked(_from_hub(model), sha256)
        import torch
        from pyannote.audio import Model
        from pyannote.audio.telemetry import set_telemetry_metrics
        from pyannote.audio.utils.powerset import Powerset

        # The library reports each model that is loaded to its makers unless it is told not to.
        set_telemetry_metrics(enabled=False)
        self._torch = torch
        self._device = device if device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
        try:
            loaded: Any = Model.from_pretrained(str(file))
        except (RuntimeError, KeyError, ImportError, EOFError) as error:
            raise ModelMissing(f"{file.name} is no checkpoint of pyannote.audio: {type(error).__name__}") from None
        self._model = loaded.eval().to(self._device)
        specifications = self._model.specifications
        self._powerset: Any = None
        if specifications.powerset:
            most = specifications.powerset_max_classes
            self._powerset = Powerset(len(specifications.classes), most).to(self._device)
        self._name = f"{Path(model).name}-{sha256[:12]}"
        self._lock = threading.Lock()

    @property
    def name(self) -> str:
        """Name of the checkpoint with the start of its hash."""
        return self._name

    def activity(self, sound: Sound) -> Activity:
        """Give who talks when, shape (samples // 320, speakers)."""
        torch = self._torch
        wanted = max(len(sound), SAMPLE_RATE_HZ)
        window = torch.from_numpy(np.pad(np.asarray(sound, np.float32), (0, wanted - len(sound))))
        try:
            with self._lock, torch.inference_mode():
                out = self._model(window[None, None].to(self._device))
                if self._powerset is not None:
                    out = self._powerset.to_multilabel(out)
                found = out[0].float().cpu().numpy()
        except RuntimeError as error:
            raise ModelFailed(f"pyannote segmentation failed: {type(error).__name__}") from None
        field = self._model.receptive_field
        centres = (field.start + field.duration / 2 + field.step * np.arange(len(found))) * SAMPLE_RATE_HZ
        return on_frames(found, centres, len(sound))
